"""The parts of an answer to WADO-RS, as they come (RFC 2046 5.1)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import count
from pathlib import Path

from node.errors import Failed
from node.pull.multipart import LONGEST_HEADERS, parts
from tests.fuzz.target import Reader, Target

BOUNDARY = "b0"
MARK = b"\r\n--b0"
NUMBERS = count()


@cache
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix=f"planimeter-fuzz-{os.getpid()}-", dir="/dev/shm"))


def new_file() -> Path:
    return folder() / str(next(NUMBERS))


def chunks(data: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(data), step):
        yield data[at : at + step]


def taken(read: Reader, data: bytes, step: int) -> tuple[list[bytes], bool]:
    """The bodies, and whether the answer came to its end."""
    found = []
    try:
        for file in read(chunks(data, step), BOUNDARY, new_file):
            found.append(file.read_bytes())
            file.unlink()
    except Failed as failed:
        assert failed.code == "fetch-failed"
        return found, False
    finally:
        assert not list(folder().iterdir()), "the file of a part that was cut is still there"
    return found, True


def expected(data: bytes) -> tuple[list[bytes], bool]:
    """The same, by slicing what is there all at once."""
    found: list[bytes] = []
    _, mark, rest = (b"\r\n" + data).partition(MARK)
    while mark and not rest.startswith(b"--"):
        _, _, rest = rest.partition(b"\r\n")  # spaces behind the boundary
        rest, is_whole = behind_headers(rest)
        body, mark, rest = rest.partition(MARK)
        if not (is_whole and mark):
            return found, False
        found.append(body)
    return found, bool(mark)


def behind_headers(rest: bytes) -> tuple[bytes, bool]:
    """What follows the first empty line, and whether there is one."""
    line = end = b"?"
    while line and end:
        line, end, rest = rest.partition(b"\r\n")
    return rest, bool(end)


def check(read: Reader, data: bytes) -> bool:
    """The first byte says in which steps the others come, which must not matter."""
    step, data = 1 + data[0] % 67 if data else 1, data[1:]
    whole = taken(read, data, len(data) + 1)
    assert taken(read, data, step) == whole, f"in steps of {step} bytes it is another answer"
    assert len(data) < LONGEST_HEADERS
    assert whole == expected(data), "other parts"
    return bool(whole[0])


def seeds() -> Iterable[bytes]:
    part = b"--b0\r\nContent-Type: application/dicom\r\n\r\n"
    yield b"\x00" + part + b"ONE\r\n" + part + b"TWO\r\n--b0--\r\n"
    yield b"\x05preamble\r\n" + part + b"ONE\r\n--b\r\n--b0--"
    yield b"\x01" + part + b"ONE\r\n--b0  \r\n\r\n\r\n--b0--"
    yield b"\x11" + part + b"ONE\r\n" + part + b"TWO"
    yield b"\x11--b0\r\nno end of headers\r\n--b0--"


def losing(data: Iterator[bytes], boundary: str, new_file: Callable[[], Path]) -> Iterator[Path]:
    """Loses what is left of a chunk that begins with a new line."""
    return parts((one for one in data if one[:1] != b"\n" or len(one) > 1), boundary, new_file)


def leaving(data: Iterator[bytes], boundary: str, new_file: Callable[[], Path]) -> Iterator[Path]:
    """Leaves the file of a part that was cut."""
    made: list[Path] = []

    def noted() -> Path:
        made.append(new_file())
        return made[-1]

    try:
        yield from parts(data, boundary, noted)
    except Failed:
        if made:
            made[-1].touch()
        raise


TARGET = Target(
    read=parts,
    check=check,
    seeds=seeds,
    faults={"loses bytes": losing, "leaves files behind": leaving},
    words=[b"\r\n--b0\r\n", b"--b0--", b"\r\n\r\n", b"\r\n--b", b"--"],
)
