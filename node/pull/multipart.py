"""Take a multipart/related answer apart while it comes: each part goes to a file, never to memory (RFC 2046 5.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import Failed

#: of the headers of one part
LONGEST_HEADERS = 1 << 14


class _Stream:
    """Bytes that come in chunks, read up to a mark."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, bytearray(b"\r\n")  # the first boundary need not stand on a new line

    def more(self) -> bool:
        """Whether there was one more chunk."""
        chunk = next(self._chunks, b"")
        self._held += chunk
        return bool(chunk)

    def begins_with(self, mark: bytes) -> bool:
        """Whether these bytes come next."""
        while len(self._held) < len(mark) and self.more():
            pass
        return self._held.startswith(mark)

    def until(self, mark: bytes, to: BinaryIO | None, limit: int | None = None) -> bytes:
        """What stands before the mark, written to a file where there is one; the mark itself is passed over.

        Raises:
            Failed: the stream ends before it, or it is not within the limit.
        """
        kept = bytearray()
        while (at := self._held.find(mark)) < 0:
            sure = max(0, len(self._held) - len(mark) + 1)  # the rest may be a part of the mark
            self._move(sure, to, kept)
            if limit is not None and len(kept) > limit:
                raise Failed("fetch-failed", "the server's answer is not made of parts as it should be")
            if not self.more():
                raise Failed("fetch-failed", "the server's answer ends in the middle")
        self._move(at, to, kept)
        del self._held[: len(mark)]
        return bytes(kept)

    def _move(self, count: int, to: BinaryIO | None, kept: bytearray) -> None:
        if to is not None:
            to.write(self._held[:count])
        else:
            kept += self._held[:count]
        del self._held[:count]


def parts(chunks: Iterator[bytes], boundary: str, new_file: Callable[[], Path]) -> Iterator[Path]:
    """The parts' bodies, each in a file of its own, as soon as it is whole. Whoever gets a file removes it.

    Raises:
        Failed: `fetch-failed`: the answer is broken, or ends too early; the part that was cut is removed.
    """
    stream, mark = _Stream(chunks), b"\r\n--" + boundary.encode("latin-1")
    stream.until(mark, None, LONGEST_HEADERS)
    while not stream.begins_with(b"--"):
        stream.until(b"\r\n", None, LONGEST_HEADERS)  # spaces behind the boundary
        _headers(stream)
        file = new_file()
        try:
            with file.open("xb") as to:
                stream.until(mark, to)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        yield file


def _headers(stream: _Stream) -> None:
    """Pass over the headers of a part: what it is, the file itself says."""
    while stream.until(b"\r\n", None, LONGEST_HEADERS):
        pass
