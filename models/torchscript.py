"""Networks as programs of their own: TorchScript files, looked at as the zip archives that they are; nothing is run."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from .card import CardError

#: in the text of a program: what reads or writes outside of its tensors, or is compiled in from elsewhere
REACHES_OUT = re.compile(r"\b(?:torch|aten)\.(?:from_file|save|load)\b|\bops\.(?!prim\b|aten\b|inductor\b)\w+")
MOST_BYTES = 64 * 1024**2


def scripted(file: Path) -> bool:
    """Whether the file is a whole network in TorchScript, program and weights."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def extras(file: Path) -> dict[str, Any]:
    """The JSON files inside, as MONAI's ckpt_export puts them there: `inference`, `metadata` and whatever else.

    Raises:
        CardError: one cannot be read.
    """
    found = {}
    for name, text in _texts(file, r"extra/([^/]+)\.json"):
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CardError(f"{file.name}: {name}.json inside cannot be read: {error}") from None
    return found


def program(file: Path) -> list[tuple[str, str]]:
    """The lines of its code, each with the file and the number that it has inside."""
    return [
        (f"{name}:{number}", line.strip())
        for name, text in _texts(file, r"(code/.+\.py)")
        for number, line in enumerate(text.decode("utf-8", "replace").splitlines(), 1)
    ]


def _texts(file: Path, pattern: str) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as archive:
            wanted = [(re.fullmatch(pattern, one.filename.split("/", 1)[-1]), one) for one in archive.infolist()]
            if sum(one.file_size for found, one in wanted if found) > MOST_BYTES:
                raise CardError(f"{file.name}: holds more than {MOST_BYTES >> 20} MiB of text")
            return [(found[1], archive.read(one)) for found, one in wanted if found]
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, NotImplementedError) as error:
        raise CardError(f"{file.name}: cannot be read as TorchScript: {error}") from None
