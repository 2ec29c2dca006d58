"""Files of a run that survive a crash at any moment: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np
import torch

from .run import Untrainable, first_line

FILE = "checkpoint.pt"


def write(file: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Replace a file: whoever reads sees the old one or the new one, whole."""
    beside = file.with_name(file.name + ".new")
    with beside.open("wb") as stream:
        fill(stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(file: Path, value: object) -> None:
    data = json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"
    write(file, lambda stream: stream.write(data))


def write_tensors(file: Path, state: dict[str, Any]) -> None:
    write(file, lambda stream: torch.save(state, stream))


def save(folder: Path, state: dict[str, Any]) -> None:
    write_tensors(folder / FILE, state)


def load(folder: Path, identity: str, name: str = FILE) -> dict[str, Any] | None:
    """The state to go on from, with its tensors on the CPU; None where there is none.

    Raises:
        Untrainable: it is that of another run, or no checkpoint.
    """
    file = folder / name
    if not file.is_file():
        return None
    try:
        state = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise Untrainable(f"{file}: cannot be read: {first_line(error)}") from None
    if state.get("identity") != identity:
        raise Untrainable(f"{file}: is of another run (its run.json was another)")
    return dict(state)


def plain(value: object) -> Any:
    """What a scheduler or optimizer says of itself, less what is no number, text or tensor (functions, say).

    Only such values are read back, by torch's weights_only loader; what is dropped is as it was constructed.
    """
    if isinstance(value, dict):
        return {key: kept for key, one in value.items() if (kept := plain(one)) is not None or one is None}
    if isinstance(value, list | tuple):
        items = [plain(one) for one in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, str | int | float | bool | torch.Tensor):
        return value
    return value.item() if isinstance(value, np.generic) else None


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
