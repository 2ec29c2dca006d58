"""An nnU-Net v2 results folder as a bundle of ours, in which a person sees all that is done.

    nnUNetTrainer__nnUNetPlans__3d_fullres/    plans.json, dataset.json, fold_0/checkpoint_final.pth, fold_1/...

A checkpoint is a pickle: it is read as tensors and numbers only, and its tensors are saved anew as safetensors.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from ..card import FILE, CardError
from ..golden import FOLDER as GOLDEN
from ..nnunet import plans
from ..nnunet.network import Layers, Shape, UNet
from ..nnunet.plans import DATASET, PLANS, Plan
from ..nnunet.transforms import ACQUIRED
from ..weights import PREFIXES
from .draft import MODALITIES

CHECKPOINT = "checkpoint_final.pth"
WEIGHTS = "models/model.safetensors"
#: what nnU-Net's numbers are pickled as, beside tensors: plain values, and no code runs when they are read
PLAIN_VALUES: list[Any] = [
    np.dtype,
    *(
        (np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")  # where NumPy 1 and NumPy 2 have it
        for core in ("core", "_core")
    ),
    *(type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)),
]
#: kept as they are, beside the configuration that was made of them
KEPT = (PLANS, DATASET, "dataset_fingerprint.json")
HERE = __package__.rpartition(".")[0]


def results(folder: Path) -> list[Path]:
    """The results folders of nnU-Net in a folder, itself or below it."""
    if (folder / "configs").is_dir():  # a bundle, which may have been made of such a folder
        return []
    return sorted(file.parent for file in folder.rglob(PLANS) if (file.parent / DATASET).is_file())


def chosen(folder: Path) -> Path | None:
    """The one results folder that is in a folder; None where it holds none.

    Raises:
        CardError: there are several.
    """
    found = results(folder)
    if len(found) > 1:
        listed = ", ".join(one.relative_to(folder).as_posix() for one in found)
        raise CardError(f"holds {len(found)} results of nnU-Net: {listed}; add one of them by its own folder")
    return found[0] if found else None


def bundle(folder: Path, orientation: str) -> Path:
    """Make a bundle of a results folder, within it.

    Args:
        orientation: three letters, to where the axes of the training's files led (nibabel's aff2axcodes), or
            "acquired": slice by slice as images come from the scanner; "": not said.

    Raises:
        CardError: it cannot be run to the same label map, or `orientation` is missing; the sentence says what to do.
    """
    folds = _folds(folder)
    read = {fold: _checkpoint(folder / fold / CHECKPOINT) for fold in folds}
    first = next(iter(read.values()))
    if len({(one["configuration"], one["trainer"]) for one in read.values()}) > 1:
        raise CardError(f"{', '.join(folds)} were not trained for one configuration by one trainer")
    plan = plans.read(folder, first["configuration"])
    orientation = _oriented(plan, orientation)
    axes = first["mirror_axes"]
    if any(axis >= len(plan.patch) for axis in axes):
        raise CardError(f"{CHECKPOINT}: mirrors along axes that its windows do not have: {list(axes)}")
    made = folder / ".bundle"
    (made / "configs").mkdir(parents=True)
    (made / "models").mkdir()
    tensors = {
        f"folds.{number}.{name}": tensor
        for number, (fold, one) in enumerate(read.items())
        for name, tensor in _tensors(plan, one["weights"], fold).items()
    }
    save_file(tensors, made / WEIGHTS)
    config = _inference(plan, len(folds), orientation, axes)
    _write(made / "configs" / "inference.json", config)
    _write(made / "configs" / "metadata.json", _metadata(plan, first["trainer"], folds))
    _keep(folder, made)
    return made


def _folds(folder: Path) -> list[str]:
    """The folds that nnU-Net would take by itself."""
    every = sorted(one.parent.name for one in folder.glob(f"fold_*/{CHECKPOINT}"))
    numbered = [name for name in every if re.fullmatch(r"fold_\d+", name)]
    if not every:
        raise CardError(f"none of its folds has a {CHECKPOINT}: the training did not end, or was not copied whole")
    return numbered or every


def _checkpoint(file: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(PLAIN_VALUES):
            warnings.simplefilter("ignore")  # of other protocols of pickle: what cannot be read is refused
            found = torch.load(file, map_location="cpu", weights_only=True)
        weights, configuration = found["network_weights"], found["init_args"]["configuration"]
        trainer, axes = found["trainer_name"], found.get("inference_allowed_mirroring_axes")
        if not all(isinstance(one, torch.Tensor) for one in weights.values()):
            raise TypeError("network_weights holds more than tensors")
        axes = tuple(sorted({int(axis) for axis in axes})) if axes is not None else ()
    except pickle.UnpicklingError as error:
        said = str(error).split("\n")[0][:300]
        raise CardError(f"{file.parent.name}/{file.name}: reading it would run what it holds: {said}") from None
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, EOFError, OSError) as error:
        said = f"{type(error).__name__}: {error}".split("\n")[0][:300]
        raise CardError(f"{file.parent.name}/{file.name}: is no checkpoint of nnU-Net v2: {said}") from None
    if not plans.trainer_is_known(str(trainer)):
        raise CardError(
            f"it was trained by {trainer}, which is none of nnU-Net's trainers that keep to the planned network; only "
            "its code says what it builds. Export the network as TorchScript and bring that with its own bundle"
        )
    return {"weights": weights, "configuration": str(configuration), "trainer": str(trainer), "mirror_axes": axes}


def _oriented(plan: Plan, orientation: str) -> str:
    if plan.reorients:
        if orientation not in ("", "RAS"):
            raise CardError(f"nnU-Net itself turned its images to RAS ({plans.REORIENTS}), not to {orientation}")
        return "RAS"
    if orientation == ACQUIRED or re.fullmatch("(?=.*[LR])(?=.*[PA])(?=.*[SI])[LRPASI]{3}", orientation):
        return orientation
    raise CardError(
        "nnU-Net reads files as they lie on disk, and its plans do not say how those of its training lay. Say so with "
        "--orientation: nibabel.aff2axcodes of one of imagesTr, such as LAS (dcm2niix, dicom2nifti), LPS (SimpleITK "
        f"from DICOM) or RAS; or `{ACQUIRED}`, if images lay slice by slice in the order of the scanner"
    )


def _tensors(plan: Plan, state: dict[str, torch.Tensor], fold: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint under our names, once each."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    last = f"decoder.seg_layers.{len(plan.architecture.shape['features']) - 2}."
    named: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(last):
            named[f"decoder.last.{name.removeprefix(last)}"] = tensor
        elif name.startswith("decoder.seg_layers."):
            continue  # of deep supervision, which only training has
        elif same := list(_same(name)):
            if not any(one in state and torch.equal(state[one], tensor) for one in same):
                raise CardError(f"{fold}: {name} is not {' or '.join(same)}, whose other name it is")
        else:
            named[name] = tensor
    with torch.device("meta"):
        layers, shape = Layers(**plan.architecture.layers), Shape(**plan.architecture.shape)
        wanted = UNet(layers, shape, len(plan.channels), plan.heads).state_dict()
    if wrong := sorted(set(wanted) ^ set(named)):
        raise CardError(f"{fold}: {len(wrong)} tensors are not those of the planned network, such as {wrong[0]}")
    if other := [name for name, tensor in wanted.items() if tensor.shape != named[name].shape]:
        raise CardError(f"{fold}: {other[0]} has another shape than in the planned network")
    return {name: named[name].contiguous() for name in wanted}


def _same(name: str) -> Iterator[str]:
    """Names under which nnU-Net's modules have the same tensor a second time."""
    if name.startswith("decoder.encoder."):
        yield name.removeprefix("decoder.")
    elif found := re.fullmatch(r"(.*\.)all_modules\.\d+\.(\w+)", name):
        yield from (f"{found[1]}{part}.{found[2]}" for part in ("conv", "norm"))


def _inference(plan: Plan, folds: int, orientation: str, axes: tuple[int, ...]) -> dict[str, Any]:
    """What is done with an image, as MONAI's bundles say it."""
    placed = {"orientation": orientation, "transpose": list(plan.transpose), "spacing_mm": list(plan.spacing_mm)}
    prepared = placed | {"normalisation": list(plan.normalisation), "resampling": plan.resampling}
    labelled = {"image": "image"} | placed | {"regions": list(plan.regions), "resampling": plan.export}
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": f"{HERE}.nnunet.network.Folds",
            "count": folds,
            "in_channels": len(plan.channels),
            "out_channels": plan.heads,
        }
        | asdict(plan.architecture),
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {"_target_": f"{HERE}.nnunet.transforms.Prepared", "keys": "image"} | prepared,
            ],
        },
        "dataset": {"_target_": "Dataset", "data": [], "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": f"{HERE}.nnunet.inferer.Windows",
            "patch": list(plan.patch),
            "mirror_axes": list(axes),
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{HERE}.nnunet.transforms.Labelled", "keys": "pred"} | labelled,
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(plan: Plan, trainer: str, folds: list[str]) -> dict[str, Any]:
    words = {MODALITIES.get(name.split("_")[0].lower(), "") for name in plan.channels}
    modality = words.pop() if len(words) == 1 else ""
    dataset = plan.dataset or "nnU-Net"
    return {
        "version": "",
        "task": f"{dataset}, {plan.configuration}",
        "description": plan.said["description"],
        "copyright": plan.said["licence"],
        "changelog": {"nnU-Net v2": f"{trainer}, {plan.configuration}, {', '.join(folds)}"},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "modality": modality,
                    "num_channels": len(plan.channels),
                    "channel_def": {str(number): name for number, name in enumerate(plan.channels)},
                }
            },
            "outputs": {
                "pred": {"channel_def": {"0": "background"} | {str(key): name for key, name in plan.values.items()}}
            },
        },
    }


def _keep(folder: Path, made: Path) -> None:
    """What nnU-Net said, licences and texts, golden cases and a card, where they are there."""
    (made / "docs").mkdir()
    for one in sorted(folder.iterdir()):
        if one.name in KEPT or re.match(r"(?i)(licen[cs]e|readme)", one.name):
            shutil.copyfile(one, made / "docs" / one.name)
    if (folder / FILE).is_file():
        shutil.copyfile(folder / FILE, made / FILE)
    if (folder / GOLDEN).is_dir():
        shutil.copytree(folder / GOLDEN, made / GOLDEN)


def _write(file: Path, tree: dict[str, Any]) -> None:
    file.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
