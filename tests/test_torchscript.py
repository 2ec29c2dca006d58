"""Networks that come as TorchScript: MONAI's own export in one file, said to be the program that it is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle.scripts import ckpt_export
from rich.console import Console

from models import torchscript
from models.card import FILE, CardError
from models.incoming import program
from models.network import Network
from node.app import Node
from node.errors import Refused
from node.operations import installing, show_network
from tests import mini_bundle
from tests.test_installing import METADATA, filled_in


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `python -m monai.bundle ckpt_export` makes of a bundle."""
    monkeypatch.chdir(tmp_path)
    root = mini_bundle.make(tmp_path / "elsewhere", "organs")
    (root / FILE).unlink()
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    file = tmp_path / "organs.ts"
    ckpt_export(
        net_id="network_def",
        filepath=str(file),
        ckpt_file=str(root / "models" / "model.pt"),
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.json"),
        key_in_ckpt="model",
    )
    return file


def test_one_file_is_a_whole_bundle(node: Node, exported: Path) -> None:
    found = installing.add(node.networks, exported, "ann")
    assert found.draft == Path("organs.toml")
    text = found.draft.read_text()
    assert 'config = "models/model.ts"' in text and 'weights = "models/model.ts"' in text
    assert 'label = "left kidney"' in text
    name = installing.add(node.networks, exported, "ann", filled_in(found.draft)).name
    bundle = node.networks.live(name)[1]
    assert list(bundle.card.files) == ["models/model.ts"]
    out = np.zeros((8, 20, 24), np.uint8)
    volume = np.zeros(out.shape, np.float32)
    volume[2:6, 5:15, 5:19] = -700
    Network(bundle).segment([volume], np.diag([2.0, 2.0, 2.0, 1.0]), out)
    np.testing.assert_array_equal(out, np.where(volume < -500, 1, 0))


def test_it_is_shown_as_a_program(node: Node, exported: Path) -> None:
    found = installing.add(node.networks, exported, "ann").program
    ((name, lines),) = found.networks
    assert name == "models/model.ts" and lines > 5 and found.outside == ()
    console = Console(record=True, width=200)
    show_network.print_program(found, console)
    assert "models/model.ts is a program: a network in TorchScript" in console.export_text()


def test_a_program_that_reaches_out_is_said(tmp_path: Path) -> None:
    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("elsewhere", size=1)

    (tmp_path / "models").mkdir()
    torch.jit.save(torch.jit.script(Reads()), tmp_path / "models" / "model.ts")
    (said,) = program.program(tmp_path).outside
    assert "from_file" in said.words and said.file == "models/model.ts"


def test_one_without_a_configuration_and_one_that_is_damaged_are_refused(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "model.ts"
    torch.jit.save(torch.jit.script(torch.nn.Conv3d(1, 2, 1)), file)
    with pytest.raises(Refused, match=r"no TorchScript file with inference\.json inside"):
        installing.add(node.networks, file, "ann")
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/extra/inference.json", "{")
    with pytest.raises(CardError, match=r"inference\.json inside cannot be read"):
        torchscript.extras(file)
