"""Bundles in the shapes that Model Zoo bundles have, small, with fixed random weights; and the images they read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from models import card
from tests.mini_bundle import EVALUATOR

HEAD = """format = 1
name = "{name}"
version = "0.1"
title = "Zoo"
manufacturer = "Tests"
device_uid = "1.2.3.4"
intended_use = "Tests."
licence = "Apache-2.0"
weights_licence = "Apache-2.0"
config = "{config}"
weights = "{weights}"
"""
INPUT = """
[[input]]
channel = "{channel}"
kind = "{kind}"
modality = ["CT"]
"""
SEGMENT = """
[[segment]]
value = {value}
label = "Part {value}"
category = ["123037004", "SCT", "Anatomical Structure"]
type = ["39607008", "SCT", "Lung"]
colour = [200, 100, 50]
"""
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
CHECKPOINT = {
    "_target_": "CheckpointLoader",
    "load_path": "$@bundle_root + '/models/model.pt'",
    "load_dict": {"model": "@network"},
}


def invert(nearest: bool = False, **more: Any) -> dict[str, Any]:
    made = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    return made | {"nearest_interp": nearest, "to_tensor": True} | more


def transforms(*steps: Any) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(steps)}


def plain_config() -> dict[str, Any]:
    """The commonest shape: one CT, resampled, cropped, windows, softmax, inverted, argmax."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": "/workspace/zoo",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(UNET),
        "network": "$@network_def.to(@device)",
        "preprocessing": transforms(
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.5], "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -1000,
                "a_max": 400,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ),
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 4},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2, "overlap": 0.5},
        "postprocessing": transforms(SOFTMAX, invert(), ARGMAX, SAVE),
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}, CHECKPOINT],
        "evaluator": EVALUATOR | {"amp": True},
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


@dataclass
class Shape:
    """A bundle to be written, and how MONAI itself is to be asked for its result.

    Attributes:
        channels: names in the card.
        keys: what the data list of the bundle holds for a case: key -> numbers of the channels; none: an empty label.
        values: label values in the card.
        overlapping: the card says that its segments may share voxels.
        made_of: in the card, a segment's value -> the label values whose union it is.
        wrap: what is saved instead of the network's state.
        files: further files, name -> text.
        beside: what else the data list holds.
        stock: ids that have to be set before MONAI itself can run it here, and their values.
        stock_network: MONAI cannot load these weights by itself: it is given the network.
        flat: images in two dimensions, not volumes.
        colour: red, green and blue.
        refused: part of the sentence with which it is refused, when it is loaded; or a code, when it has run.
        needs: a package that the network wants.
    """

    config: dict[str, Any] = field(default_factory=plain_config)
    channels: tuple[str, ...] = ("image",)
    keys: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"image": (0,)})
    values: tuple[int, ...] = (1, 2)
    weights: str = "models/model.pt"
    wrap: Callable[[Any], Any] = lambda state: state
    config_file: str = "configs/inference.json"
    files: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    stock: dict[str, Any] = field(default_factory=dict)
    stock_network: bool = False
    flat: bool = False
    colour: bool = False
    refused: str = ""
    needs: str = ""
    overlapping: bool = False
    made_of: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def preprocessing(self) -> list[Any]:
        steps: list[Any] = self.config["preprocessing"]["transforms"]
        return steps

    def after(self, *steps: Any) -> None:
        self.config["postprocessing"] = transforms(*steps)


#: name -> what makes it
SHAPES: dict[str, Callable[[], Shape]] = {}


def shape(make: Callable[[], Shape]) -> Callable[[], Shape]:
    SHAPES[make.__name__] = make
    return make


@contextmanager
def modules_of(root: Path) -> Iterator[None]:
    """A bundle's own modules can be imported, instead of another's, and are forgotten afterwards."""
    _forget_scripts()
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        sys.path.remove(str(root))
        _forget_scripts()


def _forget_scripts() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]


def write(shape: Shape, root: Path) -> torch.nn.Module:
    """Write the bundle and its card; the network with its weights."""
    for name, text in shape.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "models").mkdir(parents=True)
    file = root / shape.config_file
    if file.suffix in (".json", ".yaml"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(shape.config) if file.suffix == ".json" else _yaml(shape.config))
    if shape.metadata is not None:
        (root / "configs" / "metadata.json").write_text(json.dumps(shape.metadata))
    with modules_of(root):
        network = _network(shape)
    _save(shape.wrap(network.state_dict()), network, shape, root / shape.weights)
    head = HEAD.format(name=root.name, config=shape.config_file, weights=shape.weights)
    kind = "image" if shape.flat else "volume"
    inputs = "".join(INPUT.format(channel=channel, kind=kind) for channel in shape.channels)
    segments = "".join(SEGMENT.format(value=value) + _union(shape, value) for value in shape.values)
    head += f"overlapping = {str(shape.overlapping).lower()}\n"
    (root / card.FILE).write_text(head + inputs + segments + "\n[files]\n")
    card.seal(root)
    return network


def _union(shape: Shape, value: int) -> str:
    return f"made_of = {list(shape.made_of[value])}\n" if value in shape.made_of else ""


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(config, sort_keys=False))


def _network(shape: Shape) -> torch.nn.Module:
    """With random weights, shifted so that every class wins somewhere."""
    definition = {key: value for key, value in shape.config["network_def"].items() if key != "img_size"}
    torch.manual_seed(11)
    network: torch.nn.Module = ConfigParser({"network": definition}).get_parsed_content("network")
    network.eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1 and "embed" not in name:
                value *= 1.5
        side = 64 if "SwinUNETR" in definition["_target_"] else 16
        size = (side,) * (2 if shape.flat or definition.get("spatial_dims") == 2 else 3)
        given = 3 if shape.colour else int(definition["in_channels"])
        found = network(torch.rand(2, given, *size) * torch.linspace(0, 1, side))
        found = found[0] if isinstance(found, list | tuple) else found
        ends = [(name, value) for name, value in network.named_parameters() if value.shape == found.shape[1:2]]
        last = [value for name, value in ends if "head" not in name][-1]  # heads are for training
        middle = found.transpose(0, 1).flatten(1).median(1).values
        last -= middle.reshape(last.shape)
    return network


def _save(state: Any, network: torch.nn.Module, shape: Shape, file: Path) -> None:
    if file.suffix == ".ts":
        size = (16,) * (3 if shape.config["network_def"]["spatial_dims"] == 3 else 2)
        traced = torch.jit.trace(network, torch.rand(1, 1, *size))
        extra = {"inference.json": json.dumps(shape.config)} if shape.config_file.endswith(".ts") else {}
        torch.jit.save(traced, file, _extra_files=extra)
    elif file.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in state.items()}, file)
    else:
        torch.save(state, file)


def images(shape: Shape) -> list[NDArray[np.float32]]:
    """(slices, rows, columns), one per channel of the card: boxes and noise, off the middle."""
    made = []
    for number in range(len(shape.channels)):
        random = np.random.default_rng(100 + number)
        size = (2, 28, 20) if shape.flat else (14, 26, 22)
        volume = np.full(size, -1000.0)
        volume[(slice(None), *(slice(4, -3),) * 2) if shape.flat else (slice(2, -1), slice(4, -2), slice(3, -3))] = 0
        volume[:, 8:16, 6:14] = -600 + 100 * number
        volume += random.normal(0, 120, size) * (volume > -900)
        if shape.flat:
            volume = (volume.clip(-1000, 400) + 1000) // 6
        if shape.colour:
            volume = np.stack([volume, volume[:, ::-1], 255 - volume], axis=-1)
        made.append(np.ascontiguousarray(volume, np.float32))
    return made


#: from (column, row, slice) index to LPS millimetres: slices from the head down, pixels that are not square
AFFINE = np.array([[1.5, 0, 0, -20.0], [0, 1.25, 0, -15.0], [0, 0, -3.0, 40.0], [0, 0, 0, 1.0]])
