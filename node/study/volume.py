"""From stored images to numbers: a volume in modality units, placed in the patient by an affine; or one 2D image.

Values are those of PS3.3 C.11.1 (slope and intercept or lookup table of each slice by itself), in float32, whatever the
type in which each slice is stored. Where they lie is the business of `geometry`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut

from models.card import Input
from models.wire import SharedArray

from ..errors import Refused
from . import frames, geometry, pixels, suv
from .decode import Decoders
from .facts import UNREADABLE, readable, text, values
from .geometry import Geometry

__all__ = ["PLAIN", "Geometry", "Volume", "build"]

#: a volume in modality units, whatever it shows
PLAIN = Input(modality=("any",))
#: radiographs are shown inverted where the film was: their cards mean one polarity (PS3.3 C.7.6.3.1.2)
RADIOGRAPHY = {"CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF"}
#: what CT scanners write where they did not scan, declared or below what anything has, is air to everybody after them
AIR_HU, NOTHING_BELOW_HU = -1024.0, -2000.0
#: weights of red, green and blue in grey (ITU-R BT.601)
GREY = np.array([0.299, 0.587, 0.114], np.float32)
LARGEST_VALUE = 1e12
#: images whose stored values wait to be reckoned
AHEAD = 2
#: 16 GiB in float32; compressed, so much may come in a few bytes
MOST_VOXELS = 1 << 32
#: values of ImageType whose pixels are no Hounsfield units, whatever their modality
NO_ATTENUATION = {
    "PERFUSION",
    "RCBF",
    "RCBV",
    "RMTT",
    "CBF",
    "CBV",
    "MTT",
    "TTP",
    "EFF_ATOMIC_NUM",
    "MATERIAL_MODIFIED",
}
PADDING = ("PixelPaddingValue", "PixelPaddingRangeLimit")

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Volume:
    """Images as numbers.

    Attributes:
        values: float32 (slices, rows, columns), or (slices, rows, columns, 3) in colour, in memory that can be
            handed to another process.
        geometry: where they are.
        headers: one per slice, in the order of the slices, without pixels; of a multi-frame image, flat ones.
        frames: the frame that each slice is of its image, counted from 1; 0 where the image is a single frame.
        quantity: what the values are: "HU", "suv_bw", or "" for what has no unit of its own.
    """

    values: SharedArray
    geometry: Geometry
    headers: tuple[Dataset, ...]
    frames: tuple[int, ...]
    quantity: str

    def close(self) -> None:
        self.values.close()


@dataclass(frozen=True)
class _Slice:
    """One slice: the image that it is in, its frame there (from 0; None where there is one frame), its own header."""

    image: int
    frame: int | None
    header: Dataset


def build(
    files: Sequence[Path], decoders: Decoders, rule: Input = PLAIN, *, of_each: Sequence[tuple[int, ...]] = ()
) -> Volume:
    """Read images.

    Args:
        files: the images, in any order.
        rule: what the channel wants them to be: kind, values, colour.
        of_each: the frames to be read of each file, counted from 1; an empty one means all.

    Raises:
        Refused: with a code that says what the images are not.
    """
    images = [pixels.read(file) for file in files]
    slices = _slices(images, of_each or [()] * len(images))
    if rule.kind == "volume":
        slices = _without_copies(images, slices, decoders)
        grid, order = geometry.place([one.header for one in slices])
        slices = [slices[n] for n in order]
    else:
        grid = geometry.flat([one.header for one in slices])
    shape = (*grid.shape, 3) if rule.colour == "rgb" else grid.shape
    values = SharedArray.make(shape, np.float32)
    try:
        _fill_all(values.array, images, slices, decoders, rule)
    except BaseException:
        values.close()
        raise
    return Volume(
        values,
        grid,
        tuple(one.header for one in slices),
        tuple(0 if one.frame is None else one.frame + 1 for one in slices),
        rule.values if rule.values != "modality" else _unit(slices[0].header),
    )


def _slices(images: Sequence[pixels.Stored], of_each: Sequence[tuple[int, ...]]) -> list[_Slice]:
    found = []
    for n, (image, numbers) in enumerate(zip(images, of_each, strict=True)):
        readable(image.header)
        if not frames.is_multi_frame(image.header):
            found.append(_Slice(n, None, image.header))
            continue
        wanted = numbers or range(1, frames.count(image.header) + 1)
        flat = frames.flattened(image.header, numbers)
        found += [_Slice(n, number - 1, header) for number, header in zip(wanted, flat, strict=True)]
    voxels = sum(math.prod(pixels.pixel_shape(one.header)) for one in found)
    if voxels > MOST_VOXELS:
        raise Refused("pixel-format", f"the images declare {voxels} pixels, more than a volume is made of")
    return found


def _without_copies(images: Sequence[pixels.Stored], slices: list[_Slice], decoders: Decoders) -> list[_Slice]:
    """Of slices in one place with equal pixels one is kept; with other pixels they all are, and will be refused."""
    dropped: set[int] = set()
    for group in geometry.duplicates([one.header for one in slices]):
        group.sort(key=lambda n: (text(slices[n].header, "SOPInstanceUID"), slices[n].frame or 0))
        found = dict(_stored(images, [slices[n] for n in group], decoders))
        scaled = [rescale(slices[n].header) for n in group]
        if all(np.array_equal(found[0], found[k]) and scaled[0] == scaled[k] for k in range(1, len(group))):
            dropped |= set(group[1:])
    return [one for n, one in enumerate(slices) if n not in dropped]


def _stored(
    images: Sequence[pixels.Stored], slices: Sequence[_Slice], decoders: Decoders
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


def _fill_all(
    into: Array, images: Sequence[pixels.Stored], slices: Sequence[_Slice], decoders: Decoders, rule: Input
) -> None:
    """Write the values of all slices: one is reckoned in a thread while the next ones are read."""
    with ThreadPoolExecutor(1, thread_name_prefix="volume") as pool:
        under_way: deque[Future[None]] = deque()
        try:
            for n, stored in _stored(images, slices, decoders):
                under_way.append(pool.submit(_fill, into[n], stored, slices[n].header, rule))
                if len(under_way) > AHEAD:  # as many as may wait in memory
                    under_way.popleft().result()
            for one in under_way:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fill(into: Array, stored: NDArray[np.integer], header: Dataset, rule: Input) -> None:
    """Write the values of one slice."""
    photometric = text(header, "PhotometricInterpretation")
    if photometric == "PALETTE COLOR":
        stored = pixels.coloured(stored, header)
    if stored.ndim == 3:
        colour = stored.astype(np.float32)
        if colour.max(initial=0) > 255:
            colour /= 257  # 16 bits a sample, as palettes have them
        into[...] = colour if rule.colour == "rgb" else colour @ GREY
        return
    grey = into if rule.colour == "grey" else np.empty(stored.shape, np.float32)
    if header.get("ModalityLUTSequence"):
        grey[...] = _looked_up(stored, header)
    else:
        slope, intercept = rescale(header)
        factor = suv.factor(header) if rule.values == "suv_bw" else 1.0
        np.multiply(stored, np.float32(slope * factor), out=grey, casting="unsafe")
        grey += np.float32(intercept * factor)
    if photometric == "MONOCHROME1" and text(header, "Modality") in RADIOGRAPHY:
        _invert(grey, stored, header)
    _pad(grey, stored, header)
    if rule.colour == "rgb":
        into[...] = grey[..., None]


def _looked_up(stored: NDArray[np.integer], header: Dataset) -> Array:
    try:
        return np.asarray(apply_modality_lut(stored, header), np.float32)
    except UNREADABLE as error:
        raise Refused(
            "modality-lut", f"ModalityLUTSequence of an image cannot be used ({type(error).__name__})"
        ) from None


def _invert(grey: Array, stored: NDArray[np.integer], header: Dataset) -> None:
    """Exchange the two ends of what the image could hold."""
    bits = int(header.get("BitsStored") or stored.dtype.itemsize * 8)
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if stored.dtype.kind == "i" else (0, (1 << bits) - 1)
    if header.get("ModalityLUTSequence"):
        total = float(grey.min() + grey.max())
    else:
        slope, intercept = rescale(header)
        total = slope * sum(ends) + 2 * intercept
    np.subtract(np.float32(total), grey, out=grey)


def _pad(grey: Array, stored: NDArray[np.integer], header: Dataset) -> None:
    """What was not imaged (PixelPaddingValue, PS3.3 C.7.5.1.1.2) becomes air in CT, else the least value imaged."""
    is_ct = text(header, "Modality") == "CT"
    padding = [_as_stored(value, stored) for value in (header.get(keyword) for keyword in PADDING) if _is_whole(value)]
    if padding:
        nothing = (stored >= min(padding)) & (stored <= max(padding))
        if nothing.any() and not nothing.all():
            grey[nothing] = AIR_HU if is_ct else grey[~nothing].min()
    if is_ct:
        grey[grey < NOTHING_BELOW_HU] = AIR_HU


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and abs(value) < 1 << 32


def _as_stored(value: int, stored: NDArray[np.integer]) -> int:
    """The padding value in the images' own signedness, whatever the VR in which it was written."""
    bits = stored.dtype.itemsize * 8
    if stored.dtype.kind == "i" and value >= 1 << bits - 1:
        return value - (1 << bits)
    return value + (1 << bits) if stored.dtype.kind == "u" and value < 0 else value


def rescale(header: Dataset) -> tuple[float, float]:
    """RescaleSlope and RescaleIntercept of one image; 1 and 0 where it has none (PS3.3 C.11.1).

    Raises:
        Refused: `rescale-impossible`.
    """
    numbers = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        value = header.get(keyword)
        try:
            number = default if value in (None, "") else float(value)
        except (ArithmeticError, TypeError, ValueError):
            raise Refused("rescale-impossible", f"{keyword} of an image is not a number") from None
        if not abs(number) < LARGEST_VALUE:
            raise Refused("rescale-impossible", f"{keyword} of an image is {number:g}")
        numbers.append(number)
    if not numbers[0]:
        raise Refused("rescale-impossible", "RescaleSlope of an image is zero")
    return numbers[0], numbers[1]


def _unit(header: Dataset) -> str:
    """Attenuation, unless the image says that it is something else, as maps of blood flow do (PS3.3 C.8.16.2)."""
    kinds = {part.upper() for part in values(header, "ImageType")[2:]}
    attenuation = text(header, "RescaleType").upper() in ("", "HU") and not kinds & NO_ATTENUATION
    return "HU" if text(header, "Modality") == "CT" and attenuation else ""
