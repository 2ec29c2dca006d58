"""Weights and configs of strangers that would run code, or fill memory: refused in words, and nothing was run."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models import weights
from models.card import CardError
from models.incoming import program

CPU = torch.device("cpu")


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self._file,))


def harmed(kind: str, folder: Path) -> Path:
    """A file of weights of one tensor, "weight", spoilt."""
    file = folder / ("model.safetensors" if "header" in kind or "tensors" in kind else "model.pt")
    if kind == "cut":
        torch.save({"weight": torch.zeros(1000)}, file)
        file.write_bytes(file.read_bytes()[:-200])
    elif kind == "a program":
        file.write_bytes(pickle.dumps({"weight": Trap(folder / "it was run")}, protocol=2))
    elif kind == "a program in a checkpoint":
        torch.save({"weight": Trap(folder / "it was run")}, file)
    elif kind == "a header of 4 GiB":
        file.write_bytes(struct.pack("<Q", 1 << 32) + b"{}" + b" " * 100)
    elif kind == "a header that lies":
        said = {"weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
        header = json.dumps(said).encode()
        file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    else:
        save_file({f"t{n}": torch.zeros(1) for n in range(20_000)}, file)
    return file


@pytest.mark.parametrize(
    "kind",
    ["cut", "a program", "a program in a checkpoint", "a header of 4 GiB", "a header that lies", "20,000 tensors"],
)
def test_weights_that_are_none_are_refused_and_nothing_is_run(tmp_path: Path, kind: str) -> None:
    file = harmed(kind, tmp_path)
    with pytest.raises(CardError) as refused:
        weights.load(torch.nn.Linear(1, 1, bias=False), file, CPU)
    assert file.name in str(refused.value)
    assert not (tmp_path / "it was run").exists()


@pytest.mark.parametrize("kind", ["unfolding", "endless"])
def test_yaml_that_stands_for_more_than_memory_holds_is_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "inference.yaml"
    if kind == "unfolding":
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        file.write_text("\n".join(lines))
    else:
        file.write_text("a: &a [*a, x]")
    with pytest.raises(CardError, match="unfold to more than"):
        program.tree(file)


def test_yaml_with_aliases_is_read(tmp_path: Path) -> None:
    file = tmp_path / "inference.yaml"
    file.write_text("one: &one {_target_: Conv3d}\ntwo: *one\n")
    assert program.tree(file)["two"] == {"_target_": "Conv3d"}
