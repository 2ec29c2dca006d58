"""Where the structures of a kept segmentation lie, slice by slice, in little memory.

A segmentation of a hundred organs would take gigabytes as masks. Here each structure has one box of bits in each slice
that it reaches.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...learning import label_file, segmentations
from ...learning.patches import Patch, each_patch
from ...learning.placing import UPRIGHT, lay
from ...learning.segment_frames import frames_of
from ...learning.segment_pixels import format_of
from ...objects.pictures.drawing import bright
from ...study.decode import Decoders
from ...study.geometry import Geometry
from ...study.grid import Grid

Mask = NDArray[np.bool_]

#: of all boxes of one segmentation, packed
MOST_BYTES = 256 << 20
#: of structures that say none, one after the other
COLOURS = ((255, 220, 0), (0, 220, 255), (255, 110, 180), (120, 255, 120), (255, 150, 60), (170, 150, 255))


@dataclass(frozen=True)
class Structure:
    """What can be shown and hidden.

    Attributes:
        number: as the segmentation numbers it; counted from 1.
        label: hostile text.
        colour: red, green, blue: light enough to be a line on a dark image.
    """

    number: int
    label: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Part:
    """One structure in one slice: a box of bits."""

    number: int
    row: int
    column: int
    shape: tuple[int, int]
    bits: NDArray[np.uint8]

    def inside(self) -> Mask:
        """(rows, columns) of the box."""
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.bits, count=count).reshape(self.shape).astype(bool)


@dataclass(frozen=True)
class Contours:
    """The structures of a result on the slices of a grid.

    Attributes:
        structures: in their order.
        parts: slice -> what reaches it.
        lacking: why there are none; empty where they are.
    """

    structures: tuple[Structure, ...] = ()
    parts: Mapping[int, Sequence[Part]] = field(default_factory=dict)
    lacking: str = ""

    def fullest(self) -> int | None:
        """The slice with most inside; None where nothing is."""
        sizes = {k: sum(one.shape[0] * one.shape[1] for one in some) for k, some in self.parts.items()}
        return max(sizes, key=lambda k: (sizes[k], -k)) if sizes else None

    def numbers(self, k: int) -> list[int]:
        """The structures that a slice shows."""
        return sorted({one.number for one in self.parts.get(k, ())})


def of_segmentation(file: Path, sha256: str, grid: Grid, decoders: Decoders) -> Contours:
    """The structures of a segmentation of ours.

    Args:
        sha256: of the file as it was kept.

    Raises:
        Refused: the file is not as it was kept, or not on these images.
        Failed: `decoder-not-started`.
    """
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise Refused("contours-gone", "the file of the segmentation is not there any more") from None
    if found != sha256:
        raise Refused("contours-gone", "the file of the segmentation is not the one that was kept")
    label = label_file.opened(file)
    stored, frames = format_of(label), frames_of(label)
    described = segmentations.segments_of(label)
    cut = [_packed(one) for one in each_patch(label, frames, stored, 0.5, decoders) if one.segment in described]
    laid, _ = lay(
        frames, {frame for frame, _ in cut}, stored, label_file.text(label.header, "FrameOfReferenceUID"), grid
    )
    if laid is None or any((one.steps != UPRIGHT).any() for one in laid.values()):
        raise Refused("contours-elsewhere", "the segmentation lies on another grid than these images")
    parts, taken = defaultdict(list), 0
    for frame, part in cut:
        column, row, k = (int(number) for number in laid[frame].start)
        taken += part.bits.nbytes
        if taken > MOST_BYTES:
            raise Refused("contours-too-large", "the segmentation has more in it than a page can show")
        parts[k].append(Part(part.number, part.row + row, part.column + column, part.shape, part.bits))
    return Contours(tuple(_structure(about) for about in described.values()), dict(parts))


def _packed(patch: Patch) -> tuple[int, Part]:
    rows, columns = patch.inside.shape
    return patch.frame, Part(patch.segment, patch.row, patch.column, (rows, columns), np.packbits(patch.inside))


def _structure(about: Mapping[str, Any]) -> Structure:
    name = about["name"] or f"segment {about['number']}"
    return Structure(about["number"], name, bright(about["colour"] or COLOURS[0]))


def of_boxes(records: Sequence[Mapping[str, Any]], grid: Geometry) -> Contours:
    """The boxes of a network that gives no mask, as what was measured keeps them.

    Args:
        records: `measurements.findings.records`.
    """
    structures, parts = [], defaultdict(list)
    for number, one in enumerate((one for one in records if "centre_mm" in one), 1):
        structures.append(Structure(number, f"{one['label']} {one['number']}", COLOURS[number % len(COLOURS)]))
        centre = np.linalg.solve(grid.affine, [*one["centre_mm"], 1.0])[:3]
        half = np.array(one["size_mm"]) / np.linalg.norm(grid.affine[:3, :3], axis=0) / 2
        low = np.maximum(np.round(centre - half + 0.5), 0).astype(int)
        high = np.minimum(np.round(centre + half + 0.5), grid.shape[::-1]).astype(int)
        shape = int(high[1] - low[1]), int(high[0] - low[0])
        if min(shape) < 1:
            continue
        bits = np.packbits(np.ones(shape, bool))
        for k in range(int(low[2]), max(int(high[2]), int(low[2]) + 1)):
            parts[k].append(Part(number, int(low[1]), int(low[0]), shape, bits))
    lacking = "" if structures else "the network draws no outlines"
    return Contours(tuple(structures), dict(parts), lacking)


def layers(parts: Sequence[Part], shape: tuple[int, int]) -> list[tuple[NDArray[np.uint8], dict[int, int]]]:
    """Structures as maps of numbers: those that share pixels are on different maps.

    Args:
        shape: rows and columns of the slice.

    Returns:
        Each map, with what structure a number of it is.
    """
    made: list[tuple[NDArray[np.uint8], dict[int, int]]] = []
    for part in parts:
        inside = part.inside()
        box = slice(part.row, part.row + part.shape[0]), slice(part.column, part.column + part.shape[1])
        for labels, numbers in made:
            if len(numbers) < 255 and not labels[box][inside].any():
                break
        else:
            labels, numbers = np.zeros(shape, np.uint8), {}
            made.append((labels, numbers))
        numbers[len(numbers) + 1] = part.number
        labels[box][inside] = len(numbers)
    return made
