"""Weights that are kept beside the cases: training takes longer than a case. `--train` makes them anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tests.cases.case import Place

FOLDER = Path(__file__).with_name("weights")
MOST_BYTES = 1_000_000
Weights = dict[str, Tensor]


def weights(place: Place, name: str, train: Callable[[], Weights]) -> tuple[Weights, str]:
    """The weights, and how long their training took, in words. They are trained where the run asks for it."""
    if place.train:
        keep(name, train)
    return read(name)


def read(name: str) -> tuple[Weights, str]:
    """What is kept under a name, and how long its training took."""
    with safe_open(_file(name), framework="pt") as found:  # type: ignore[no-untyped-call]
        return {key: found.get_tensor(key) for key in found.keys()}, found.metadata()["took"]  # noqa: SIM118


def keep(name: str, train: Callable[[], Weights]) -> None:
    """Train, and write what came of it with the time that it took."""
    begun, spent = time.monotonic(), time.process_time()
    made = {key: value.contiguous() for key, value in train().items()}
    took = f"{time.process_time() - spent:.0f} s of one core, {time.monotonic() - begun:.0f} s by the clock"
    file = _file(name)
    save_file(made, file, metadata={"took": took})
    assert file.stat().st_size <= MOST_BYTES, f"{file.name} has {file.stat().st_size} bytes"


def _file(name: str) -> Path:
    return FOLDER / f"{name}.safetensors"
