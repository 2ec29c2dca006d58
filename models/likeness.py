"""A bundle like another one, for other structures: the same input and the same network, with as many classes as wanted.

What is known of the bundle that it is like is how the Model Zoo writes them: configs as JSON, the network under
`network_def` with `out_channels`, and `to_onehot` where label maps become channels. Where that does not hold, it is
refused; nothing is guessed.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from . import toml_text
from .card import FILE, Bundle, CardError

#: what the structures' card may say; the rest is of the images, and as in the bundle that it is like
SAID = (
    "title",
    "manufacturer",
    "intended_use",
    "smallest_component_ml",
    "smallest_component_part",
    "one_class_per_core_mm",
    "fill_holes_mm2",
    "grow_mm",
    "grow_below",
    "segment",
    "gate",
)
NEEDED = ("title", "manufacturer", "intended_use", "segment", "gate")
TAKEN_OVER = ("licence", "weights_licence", "take", "config", "weights", "input")
CONFIGS = ("configs/inference.json", "configs/train.json")
METADATA = "configs/metadata.json"
FIRST_VERSION = "0.1.0"


def structures(file: Path) -> dict[str, Any]:
    """What a file says of the structures that a new network is to find.

    Raises:
        CardError: it is not TOML, lacks what is needed, or says what it may not.
    """
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{file}: not valid TOML: {error}") from None
    if strange := [key for key in said if key not in SAID]:
        raise CardError(
            f"{file}: {', '.join(strange)}: not of the structures; a new network reads what the one it is like reads"
        )
    if missing := [key for key in NEEDED if key not in said]:
        raise CardError(f"{file}: needs {', '.join(missing)}")
    segments = said["segment"]
    if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
        raise CardError(f"{file}: segment: write each structure as a [[segment]]")
    values = [one.get("value") for one in segments]
    if values != list(range(1, len(values) + 1)):
        raise CardError(f"{file}: the values of the [[segment]] are {values}; they are 1, 2, 3 ... in this order")
    gate = said["gate"]
    wanted = gate.get("absolute", {}) if isinstance(gate, dict) else {}
    if lacking := [str(value) for value in values if str(value) not in wanted]:
        raise CardError(
            f"{file}: [gate] absolute has no Dice for {', '.join(lacking)}: without a predecessor to be better than, "
            "each class has to reach one"
        )
    return said


def card_text(like: Bundle, said: dict[str, Any], name: str, device_uid: str, freeze_epochs: int) -> str:
    """The card of the new network, without its [files]: it says that it was not trained yet.

    Args:
        said: as `structures` gives it.
        freeze_epochs: for so long the layers that are taken over stay as they are.
    """
    before = tomllib.loads((like.folder / FILE).read_text(encoding="utf-8"))
    made: dict[str, Any] = {"format": 1, "name": name, "version": FIRST_VERSION, "device_uid": device_uid}
    made |= {key: said[key] for key in SAID if key in said and not isinstance(said[key], list | dict)}
    made |= {key: before[key] for key in TAKEN_OVER if key in before}
    made |= {"segment": said["segment"], "gate": said["gate"]}
    made["start"] = {"like": f"{like.card.name} {like.card.version}", "freeze_epochs": freeze_epochs}
    return toml_text.dumps(made)


def configs(like: Bundle, labels: list[str]) -> dict[str, bytes]:
    """The files of the bundle in which the number of classes stands, with the new number.

    Args:
        labels: of the new classes, in the order of their values.

    Raises:
        CardError: where it stands cannot be told.
    """
    before, after = len(like.card.segment) + 1, len(labels) + 1
    made = {name: _with_classes(like, name, before, after) for name in CONFIGS}
    if METADATA in like.card.files:
        made[METADATA] = _metadata(_tree(like, METADATA), labels)
    return {name: (json.dumps(tree, indent=2) + "\n").encode() for name, tree in made.items()}


def _tree(like: Bundle, name: str) -> Any:
    if name not in like.card.files:
        raise CardError(f"{like.folder}: has no {name}: another network can be made only like one with configs as JSON")
    return json.loads((like.folder / name).read_text(encoding="utf-8"))


def _with_classes(like: Bundle, name: str, before: int, after: int) -> Any:
    tree = _tree(like, name)
    network = tree.get("network_def")
    if not isinstance(network, dict) or network.get("out_channels") != before:
        raise CardError(
            f"{like.folder / name}: network_def has no out_channels = {before}: where the number of classes stands "
            "cannot be told"
        )
    network["out_channels"] = after
    _renumber(tree, before, after)
    return tree


def _renumber(node: Any, before: int, after: int) -> None:
    """Wherever label maps become channels."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _renumber(value, before, after)
    if isinstance(node, dict) and "to_onehot" in node:
        said = node["to_onehot"]
        exchanged = [after if one == before else one for one in (said if isinstance(said, list) else [said])]
        node["to_onehot"] = exchanged if isinstance(said, list) else exchanged[0]


def _metadata(tree: Any, labels: list[str]) -> Any:
    tree["version"], tree["changelog"] = FIRST_VERSION, {FIRST_VERSION: "not trained yet"}
    for output in tree.get("network_data_format", {}).get("outputs", {}).values():
        output["num_channels"] = len(labels) + 1
        output["channel_def"] = {str(n): label for n, label in enumerate(["background", *labels])}
    for key in ("task", "description", "label_classes", "pred_classes", "data_source", "references", "eval_metrics"):
        tree.pop(key, None)
    return tree
