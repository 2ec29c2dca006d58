"""The draft of a card for a detector or a classifier, where a bundle can be seen to be one.

A detector is seen by what its configuration is made of. A classifier is seen by metadata.json: its output is
probabilities of classes, without an extent in space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .marks import FILL_IN, Suggest

#: components of MONAI's detectors
DETECTOR = ("RetinaNetDetector", "RetinaNet", "AffineBoxToWorldCoordinated", "ClipBoxToImaged")
MOST_FINDINGS = 100


def findings_of(metadata: Mapping[str, Any], inference: Any, suggest: Suggest) -> dict[str, Any]:
    """What the card says of the result; nothing where the bundle is neither."""
    outputs = _output(metadata)
    names = {str(node.get("_target_", "")).rsplit(".", 1)[-1] for node in _nodes(inference)}
    if names.intersection(DETECTOR):
        count = next((node["num_classes"] for node in _nodes(inference) if _is_count(node.get("num_classes"))), 1)
        threshold = f"{FILL_IN}: the score below which boxes are dropped, such as 0.5"
        made = [_finding(value, outputs.get(value, ""), suggest) for value in range(min(count, MOST_FINDINGS))]
        return {"result": "boxes", "boxes": {"score_threshold": threshold}, "finding": made}
    said = _said(metadata)
    if str(said.get("type", "")).startswith("prob") and str(said.get("format", "")) in ("classes", "class"):
        asked = f"{FILL_IN}: softmax, sigmoid, or none where the network gives probabilities itself"
        wanted = f"{FILL_IN}: the probability from which it is called present, such as 0.5"
        count = said.get("num_channels")
        number = count if isinstance(count, int) and _is_count(count) else max(outputs, default=0) + 1
        values = [value for value in outputs or range(number) if value < MOST_FINDINGS]
        made = [_finding(value, outputs.get(value, ""), suggest) | {"present_from": wanted} for value in values]
        return {"result": "finding", "classes": {"outputs": number, "activation": asked}, "finding": made}
    return {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for inside in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(inside)


def _said(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    both = metadata.get("network_data_format")
    tensors = both.get("outputs") if isinstance(both, dict) else None
    said = next(iter(tensors.values()), None) if isinstance(tensors, dict) else None
    return said if isinstance(said, dict) else {}


def _output(metadata: Mapping[str, Any]) -> dict[int, str]:
    """Number of each output channel -> what it is."""
    channels = _said(metadata).get("channel_def")
    there = channels.items() if isinstance(channels, dict) else ()
    return {int(key): str(label) for key, label in there if str(key).isascii() and str(key).isdecimal()}


def _finding(value: int, label: str, suggest: Suggest) -> dict[str, Any]:
    asked = f"{FILL_IN}: what label or output channel {value} is"
    category, type_, laterality = (suggest(label) if label else None) or (
        [FILL_IN, "SCT", FILL_IN],
        [FILL_IN, "SCT", asked],
        None,
    )
    made: dict[str, Any] = {"value": value, "label": label[:64] or asked[:64], "category": category, "type": type_}
    return made | ({"laterality": laterality} if laterality else {})
