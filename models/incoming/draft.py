"""A model card for a bundle that has none: what its metadata says, and marks where only a person knows.

What metadata.json says is often free text, and sometimes wrong, so nothing of it is taken on trust: every structure
keeps its mark until a person has put codes there.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import toml_text
from ..card import CardError
from .findings import findings_of
from .marks import FILL_IN, Suggest
from .program import configs

MOST_CHANNELS = 1000
METADATA = "configs/metadata.json"
INFERENCE = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
WEIGHTS = ("models/model.safetensors", "models/model.pt", "models/model.pth", "models/model.ts")
#: the steps of an ending after which channels are what they were
PLAIN_ENDING = (
    "Activations",
    "Invert",
    "AsDiscrete",
    "SaveImage",
    "EnsureType",
    "ToTensor",
    "CopyItems",
    "DeleteItems",
)
#: what bundles write under "modality"
MODALITIES = {
    "ct": "CT",
    "mr": "MR",
    "mri": "MR",
    "pt": "PT",
    "pet": "PT",
    "us": "US",
    "ultrasound": "US",
    "mammogram": "MG",
    "mg": "MG",
    "cr": "CR",
    "dx": "DX",
    "xa": "XA",
    "nm": "NM",
}


def draft(folder: Path, name: str, device_uid: str, suggest: Suggest) -> str:
    """A card in TOML, without its [files], with FILL IN where a person has to say something.

    Args:
        folder: of the bundle.
        suggest: codes for what a label says.

    Raises:
        CardError: the bundle has no inference config, or none of its files are weights.
    """
    trees = configs(folder)
    metadata = trees.get(METADATA) or {}
    config = next((one for one in INFERENCE if one in trees), None)
    config = config or next((one for one in trees if one.startswith("models/")), None)
    if config is None:
        raise CardError(
            f"{name}: has none of {', '.join(INFERENCE)}, and no TorchScript file with inference.json inside (MONAI's "
            "ckpt_export writes one): it is no bundle that can segment"
        )
    overlapping = _overlap(metadata, trees[config])
    card: dict[str, Any] = {
        "format": 1,
        "name": name,
        "version": str(metadata.get("version") or FILL_IN)[:32],
        "title": str(metadata.get("task") or metadata.get("description") or FILL_IN)[:64],
        "manufacturer": str(metadata.get("authors") or FILL_IN)[:64],
        "device_uid": device_uid,
        "intended_use": str(metadata.get("intended_use") or f"{FILL_IN}: what it is for, and for whom"),
        "licence": f"{FILL_IN}: of the bundle's code; its metadata says: {metadata.get('copyright') or 'nothing'}",
        "weights_licence": f"{FILL_IN}: of the weights, which may be another one",
        "config": config,
        "weights": _weights(folder, name),
        **({"overlapping": True} if overlapping else {}),
        "input": _inputs(metadata, trees[config]),
    }
    card |= findings_of(metadata, trees[config], suggest) or {
        "segment": _segments(metadata, suggest, first=0 if overlapping else 1)
    }
    head = (
        f"# Drafted from what {name} says of itself. Wherever it says {FILL_IN}, only a person knows.\n"
        "# docs/model-card.md has every key, and more that a card can say.\n"
    )
    return head + toml_text.dumps(card)


def open_questions(text: str) -> list[str]:
    """The lines of a card where a person has not said yet what has to be said."""
    return [f"line {n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if _is_open(line)]


def _is_open(line: str) -> bool:
    return FILL_IN in line and not line.lstrip().startswith("#")


def _weights(folder: Path, name: str) -> str:
    there = [file.relative_to(folder).as_posix() for file in sorted((folder / "models").glob("*")) if file.is_file()]
    best = next((one for one in WEIGHTS if one in there), None)
    if best is not None:
        return best
    likely = [one for one in there if Path(one).suffix in {Path(known).suffix for known in WEIGHTS}]
    if not likely:
        raise CardError(f"{name}: has no weights below models/: put the file there that its large_files.yml names")
    return likely[0] if len(likely) == 1 else f"{FILL_IN}: one of {', '.join(likely)}"


@dataclass(frozen=True)
class _Tensor:
    """What metadata.json says of the first tensor of one side, whatever it is called there."""

    number: int
    modality: str
    channels: dict[str, str]


def _tensor(metadata: Mapping[str, Any], side: str, number: int) -> _Tensor:
    both = metadata.get("network_data_format")
    tensors = both.get(side) if isinstance(both, dict) else None
    said = next(iter(tensors.values()), None) if isinstance(tensors, dict) else None
    said = said if isinstance(said, dict) else {}
    channels, count = said.get("channel_def"), said.get("num_channels")
    return _Tensor(
        count if isinstance(count, int) and 0 < count <= MOST_CHANNELS else number,
        str(said.get("modality", "")).strip().lower(),
        {str(key): str(value) for key, value in channels.items()} if isinstance(channels, dict) else {},
    )


def _inputs(metadata: Mapping[str, Any], inference: Any) -> list[dict[str, Any]]:
    said = _tensor(metadata, "inputs", 1)
    modality = MODALITIES.get(said.modality, FILL_IN)
    names = [said.channels[key] for key in sorted(said.channels)]
    if said.number == 1:
        names = [_image_key(inference)]
    names += [f"{FILL_IN}: channel {n}" for n in range(len(names), said.number)]
    return [_input(one, modality, which=said.number > 1) for one in names[: said.number]]


def _input(channel: str, modality: str, *, which: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"channel": channel, "modality": [modality]}
    if which:
        made["description_includes"] = [f"{FILL_IN}: what SeriesDescription says of {channel}"]
    return made | {"minimum_slices": 3}


def _image_key(inference: Any) -> str:
    """What the config calls its image: `image_key`, or the first key of LoadImaged."""
    if isinstance(inference, dict):
        said = inference.get("image_key")
        if isinstance(said, str) and not said.startswith(("$", "@")):
            return said
    loaded = _loaded(inference)
    return loaded if loaded and not loaded.startswith(("$", "@")) else "image"


def _loaded(node: Any) -> str:
    if isinstance(node, dict) and str(node.get("_target_", "")).rsplit(".", 1)[-1] == "LoadImaged":
        keys = node.get("keys", "")
        return str(keys[0] if isinstance(keys, list) and keys else keys)
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for one in inside if (found := _loaded(one))), "")


def _overlap(metadata: Mapping[str, Any], inference: Any) -> bool:
    """Whether the bundle ends in a sigmoid and a threshold for each of several channels, of which none is background.

    What it does to them afterwards may make one label map of them; then they are none any more.
    """
    outputs = _tensor(metadata, "outputs", 0)
    said = inference.get("postprocessing") if isinstance(inference, dict) else None
    steps = said.get("transforms") if isinstance(said, dict) else None
    known = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    names = [str(step.get("_target_", "")).rsplit(".", 1)[-1].removesuffix("d") for step in known]
    if (
        not {"Activations", "AsDiscrete"} <= set(names) <= set(PLAIN_ENDING)
        or max(outputs.number, len(outputs.channels)) < 2
    ):
        return False
    discrete = [step for step, name in zip(known, names, strict=True) if name == "AsDiscrete"]
    thresholds = all(step.get("threshold") is not None and not step.get("argmax") for step in discrete)
    return (
        thresholds
        and any(step.get("sigmoid") is True for step in known)
        and not any(_is_background(label) for label in outputs.channels.values())
    )


def _segments(metadata: Mapping[str, Any], suggest: Suggest, first: int) -> list[dict[str, Any]]:
    """A segment per label value; where the first channel is one, the first value is 1 all the same."""
    said = _tensor(metadata, "outputs", 0)
    labels = {int(key): label for key, label in said.channels.items() if key.isascii() and key.isdecimal()}
    every = sorted({*labels, *range(said.number)})
    values = [value for value in every if first <= value < MOST_CHANNELS and not _is_background(labels.get(value))]
    return [
        _segment(value + 1 - first, labels.get(value, ""), n, len(values), suggest)
        for n, value in enumerate(values or [1])
    ]


def _is_background(label: str | None) -> bool:
    return label is not None and label.strip().lower() in ("background", "bg")


def _segment(value: int, label: str, n: int, of: int, suggest: Suggest) -> dict[str, Any]:
    asked = f"{FILL_IN}: what label value {value} is"
    found = suggest(re.sub(r"[_\s]+", " ", label).strip()) if label else None
    category, type_, laterality = found or ([FILL_IN, "SCT", FILL_IN], [FILL_IN, "SCT", asked], None)
    red, green, blue = colorsys.hsv_to_rgb(n / max(of, 1), 0.6, 0.9)
    made: dict[str, Any] = {
        "value": value,
        "label": label[:64] or asked[:64],
        "category": category,
        "type": type_,
        "colour": [round(255 * part) for part in (red, green, blue)],
    }
    return made | ({"laterality": laterality} if laterality else {})
