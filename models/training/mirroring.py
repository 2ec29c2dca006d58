"""Where a train.json flips left and right plainly and the network tells them apart, the flips are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .flips import ExchangingFlipd
from .tree import named

TARGET = f"{ExchangingFlipd.__module__}.{ExchangingFlipd.__name__}"
FLIPS = ("RandFlipd", "RandAxisFlipd", "RandRotate90d")


def exchange_in_flips(parser: Any, pairs: Sequence[tuple[int, int]], source_axes: Sequence[int]) -> list[str]:
    """Replace every random flip along left-right.

    A quarter turn puts left where no label value is right; of turns in a plane with left-right only the half turn
    remains, which is a flip along both axes.

    Args:
        source_axes: which axis runs along left-right in each case; asked where train.json does not orient.

    Returns:
        What was done, in words.
    """
    found = [one for one in named(parser.get()) if one[2] in FLIPS] if pairs else []
    if not found:
        return []
    axis = _oriented(parser)
    if axis is None:
        axis = source_axes[0] if len(set(source_axes)) == 1 else None
    notes = []
    for path, node, kind in found:
        said = _replacement(parser, path, node, kind, axis, pairs)
        if said:
            notes.append(said)
    return notes


def _oriented(parser: Any) -> int | None:
    """The axis along left-right after the last Orientationd; None where there is none, or it says it otherwise."""
    found = [path for path, _, name in named(parser.get()) if name == "Orientationd"]
    codes = parser.get_parsed_content(f"{found[-1]}#axcodes") if found and f"{found[-1]}#axcodes" in parser else None
    along = [number for number, code in enumerate(codes or "") if str(code).upper() in ("L", "R")]
    return along[0] if along else None


def _replacement(
    parser: Any, path: str, node: dict[str, Any], kind: str, axis: int | None, pairs: Sequence[tuple[int, int]]
) -> str:
    if axis is None:
        parser[f"{path}#_disabled_"] = True
        return f"{path}: {kind} is left out: which axis is left-right differs between the cases"
    which = "spatial_axes" if kind == "RandRotate90d" else "spatial_axis"
    axes = parser.get_parsed_content(f"{path}#{which}") if which in node else None
    if kind == "RandRotate90d":
        axes = axes or (0, 1)
        most_turns = parser.get_parsed_content(f"{path}#max_k") if "max_k" in node else 3
        if most_turns < 2 and _acts(axes, axis):
            parser[f"{path}#_disabled_"] = True
            return f"{path}: {kind} is left out: a quarter turn leaves no left and right"
    if not _acts(axes, axis):
        return ""
    made: dict[str, Any] = {
        key: node[key] for key in ("keys", "prob", "allow_missing_keys", "_disabled_") if key in node
    }
    parser[path] = {
        "_target_": TARGET,
        **made,
        "pairs": [list(pair) for pair in pairs],
        "spatial_axis": None if axes is None else [axes] if isinstance(axes, int) else list(axes),
        "one_axis": kind == "RandAxisFlipd",
        "left_right_axis": axis,
    }
    turns = "half turns only, and " if kind == "RandRotate90d" else ""
    return f"{path}: {kind}: {turns}a flip along left-right exchanges the values {[list(pair) for pair in pairs]}"


def _acts(axes: Any, axis: int) -> bool:
    if axes is None:
        return True
    return axis in ([one % 3 for one in axes] if isinstance(axes, Sequence) else [axes % 3])
