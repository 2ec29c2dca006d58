"""The tree of a bundle's configuration, as ids and dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dictionary of a configuration with its id."""
    if isinstance(config, dict):
        if path:
            yield path, config
        for key, value in config.items():
            yield from nodes(value, f"{path}#{key}" if path else str(key))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from nodes(value, f"{path}#{number}")


def named(config: Any) -> list[tuple[str, dict[str, Any], str]]:
    """Every component that is not switched off: its id, its dictionary, the last part of its class's name.

    MONAI gives each dictionary transform three names; it is LoadImaged here, never LoadImageD or LoadImageDict.
    """
    found = []
    for path, node in nodes(config):
        name = str(node.get("_target_", "")).rsplit(".", 1)[-1]
        if name and node.get("_disabled_") is not True:
            found.append((path, node, name.removesuffix("Dict") + "d" if name.endswith("Dict") else _lower(name)))
    return found


def _lower(name: str) -> str:
    return name[:-1] + "d" if name.endswith("D") else name
