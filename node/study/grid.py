"""Where slices lie: which frame of which image is which slice of a grid. Their values are read when they are wanted.

For whoever wants all of them there is `volume`; a page that shows one slice reads one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from models.card import Input
from models.wire import SharedArray

from ..errors import Refused
from . import frames, geometry, pixels
from .decode import Decoders, Piece
from .facts import readable, text
from .geometry import Geometry
from .values import Array, fill, rescale, unit

#: 16 GiB in float32; compressed, so much may come in a few bytes
MOST_VOXELS = 1 << 32


@dataclass(frozen=True)
class Slice:
    """One slice: the image that it is in, its frame there (from 0; None where there is one frame), its own header."""

    image: int
    frame: int | None
    header: Dataset


@dataclass(frozen=True)
class Grid:
    """Images in their places.

    Attributes:
        geometry: where they are.
        images: the files.
        slices: one per slice, in the order of the slices.
        rule: what they are wanted to be.
    """

    geometry: Geometry
    images: tuple[pixels.Stored, ...]
    slices: tuple[Slice, ...]
    rule: Input

    @property
    def headers(self) -> tuple[Dataset, ...]:
        """One per slice; of a multi-frame image, flat ones."""
        return tuple(one.header for one in self.slices)

    @property
    def frames(self) -> tuple[int, ...]:
        """The frame that each slice is of its image, counted from 1; 0 where the image is a single frame."""
        return tuple(0 if one.frame is None else one.frame + 1 for one in self.slices)

    @property
    def quantity(self) -> str:
        """What the values are: "HU", "suv_bw", or "" for what has no unit of its own."""
        return self.rule.values if self.rule.values != "modality" else unit(self.slices[0].header)

    def read(self, k: int, decoders: Decoders) -> Array:
        """The values of one slice, float32 (rows, columns), or (rows, columns, 3) in colour; no other is read.

        Raises:
            Refused: `undecodable-pixels`, `pixel-data-truncated`, and what `values.fill` refuses.
            Failed: `decoder-not-started`.
        """
        one = self.slices[k]
        shape = self.geometry.shape[1:]
        into = np.empty((*shape, 3) if self.rule.colour == "rgb" else shape, np.float32)
        fill(into, _frame(self.images[one.image], one.frame, decoders), one.header, self.rule)
        return into


def lay_out(files: Sequence[Path], decoders: Decoders, rule: Input, *, of_each: Sequence[tuple[int, ...]] = ()) -> Grid:
    """Read the headers of images and put them into their places; pixels only where two images claim one place.

    Args:
        files: the images, in any order.
        rule: what the channel wants them to be: kind, values, colour.
        of_each: the frames to be read of each file, counted from 1; an empty one means all.

    Raises:
        Refused: with a code that says what the images are not.
    """
    images = [pixels.read(file) for file in files]
    slices = _slices(images, of_each or [()] * len(images))
    if rule.kind != "volume":
        return Grid(geometry.flat([one.header for one in slices]), tuple(images), tuple(slices), rule)
    slices = _without_copies(images, slices, decoders)
    placed, order = geometry.place([one.header for one in slices])
    return Grid(placed, tuple(images), tuple(slices[n] for n in order), rule)


def _slices(images: Sequence[pixels.Stored], of_each: Sequence[tuple[int, ...]]) -> list[Slice]:
    found = []
    for n, (image, numbers) in enumerate(zip(images, of_each, strict=True)):
        readable(image.header)
        if not frames.is_multi_frame(image.header):
            found.append(Slice(n, None, image.header))
            continue
        wanted = numbers or range(1, frames.count(image.header) + 1)
        flat = frames.flattened(image.header, numbers)
        found += [Slice(n, number - 1, header) for number, header in zip(wanted, flat, strict=True)]
    voxels = sum(math.prod(pixels.pixel_shape(one.header)) for one in found)
    if voxels > MOST_VOXELS:
        raise Refused("pixel-format", f"the images declare {voxels} pixels, more than a volume is made of")
    return found


def _without_copies(images: Sequence[pixels.Stored], slices: list[Slice], decoders: Decoders) -> list[Slice]:
    """Of slices in one place with equal pixels one is kept; with other pixels they all are, and will be refused."""
    dropped: set[int] = set()
    for group in geometry.duplicates([one.header for one in slices]):
        group.sort(key=lambda n: (text(slices[n].header, "SOPInstanceUID"), slices[n].frame or 0))
        found = dict(stored_values(images, [slices[n] for n in group], decoders))
        scaled = [rescale(slices[n].header) for n in group]
        if all(np.array_equal(found[0], found[k]) and scaled[0] == scaled[k] for k in range(1, len(group))):
            dropped |= set(group[1:])
    return [one for n, one in enumerate(slices) if n not in dropped]


def stored_values(
    images: Sequence[pixels.Stored], slices: Sequence[Slice], decoders: Decoders
) -> Iterable[tuple[int, NDArray[np.integer]]]:
    """The stored values of each slice, with its number; image by image."""
    of_image: dict[int, list[int]] = {}
    for n, one in enumerate(slices):
        of_image.setdefault(one.image, []).append(n)
    read = [images[image] for image in of_image]
    for numbers, stored in zip(of_image.values(), pixels.decoded(read, decoders), strict=True):
        for n in numbers:
            frame = slices[n].frame
            single = frame is None or stored.ndim == len(pixels.pixel_shape(slices[n].header))
            yield n, stored if single else stored[frame]


def _frame(image: pixels.Stored, frame: int | None, decoders: Decoders) -> NDArray[np.integer]:
    """The stored values of one frame, or of an image that is a single one."""
    if frame is None or image.frames == 1:
        (values,) = pixels.decoded([image], decoders)
        return values.reshape(image.frame_shape)
    if image.compressed:
        into = SharedArray.make((1, *image.frame_shape), image.dtype)
        try:
            for _ in decoders.run([Piece(image.file, into, frame)]):
                pass
            return into.array[0].copy()
        finally:
            into.close()
    alone = dataclasses.replace(image, shape=image.frame_shape)
    size = alone.native_bytes
    swapped = image.in_words and image.header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    if swapped and size % 2:  # bytes of one frame and of the next lie in one word
        (values,) = pixels.decoded([image], decoders)
        return values[frame]
    (values,) = pixels.decoded([dataclasses.replace(alone, pixels_at=image.pixels_at + frame * size)], decoders)
    return values
