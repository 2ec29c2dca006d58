"""A bundle as it comes, a folder or a zip, copied into a folder of ours: plain files, within limits, none outside."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ..card import CardError
from ..confine.room import remove
from ..torchscript import scripted

MOST_FILES = 10_000
MOST_BYTES = 64 * 1024**3
#: a zip whose contents are so much larger than itself was made to fill a disk
MOST_TIMES = 200
LEFT_OUT = ("__pycache__", "__MACOSX", ".git", ".DS_Store")
BLOCK = 1 << 20
#: where a network that comes as one TorchScript file lies in its bundle
PROGRAM = "models/model.ts"


@contextmanager
def unpacked(path: Path, into: Path) -> Iterator[Path]:
    """The bundle's folder within `into`, which goes with all that is in it at the end.

    Args:
        path: a folder, or a zip; of a zip with one folder in it, that folder is the bundle. Or one TorchScript file.
        into: a folder that is not there yet.

    Raises:
        CardError: there is nothing, it is too large, or it holds links or names that lead out of it.
    """
    into.mkdir(parents=True, mode=0o700)
    try:
        if path.is_dir():
            _copy(path, into)
        elif scripted(path):
            (into / PROGRAM).parent.mkdir()
            shutil.copyfile(path, into / PROGRAM)
            yield into
            return
        elif zipfile.is_zipfile(path):
            _unzip(path, into)
        elif path.exists():
            raise CardError(f"{path}: is no folder, no zip and no TorchScript file")
        else:
            raise CardError(f"{path}: there is no such folder or file")
        yield _root(into)
    finally:
        remove(into)


def _copy(path: Path, into: Path) -> None:
    files = size = 0
    for one in sorted(path.rglob("*")):
        name = one.relative_to(path)
        if any(part in LEFT_OUT for part in name.parts):
            continue
        if one.is_symlink():
            raise CardError(f"{one}: is a link; a bundle holds its files itself")
        if one.is_dir():
            continue
        if not one.is_file():
            raise CardError(f"{one}: is no plain file")
        files, size = files + 1, size + one.stat().st_size
        _within_limits(path, files, size)
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one, into / name)


def _unzip(path: Path, into: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [one for one in archive.infolist() if not one.is_dir() and not _left_out(one.filename)]
            size = sum(one.file_size for one in found)
            _within_limits(path, len(found), size)
            if size > MOST_TIMES * max(path.stat().st_size, BLOCK):
                raise CardError(f"{path}: its contents are more than {MOST_TIMES} times its size")
            for one in found:
                _extract(archive, one, into)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise CardError(f"{path}: cannot be unpacked: {error}") from None


def _left_out(name: str) -> bool:
    return any(part in LEFT_OUT for part in PurePosixPath(name).parts)


def _extract(archive: zipfile.ZipFile, one: zipfile.ZipInfo, into: Path) -> None:
    name = PurePosixPath(one.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in one.filename or "\0" in one.filename:
        raise CardError(f"{archive.filename}: {one.filename!r} leads out of it")
    mode = one.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise CardError(f"{archive.filename}: {one.filename} is no plain file")
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    left = one.file_size
    with archive.open(one) as source, target.open("xb") as copy:
        while block := source.read(BLOCK):
            left -= len(block)
            if left < 0:
                raise CardError(f"{archive.filename}: {one.filename} is larger than it says")
            copy.write(block)


def _within_limits(path: Path, files: int, size: int) -> None:
    if files > MOST_FILES or size > MOST_BYTES:
        raise CardError(f"{path}: more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB: that is no bundle")


def _root(into: Path) -> Path:
    inside = list(into.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() and inside[0].name != "configs" else into
