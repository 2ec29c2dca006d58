"""From stored values to modality units: one slice at a time, by its own header (PS3.3 C.11.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut

from models.card import Input

from ..errors import Refused
from . import suv
from .facts import UNREADABLE, text, values
from .palette import coloured

#: radiographs are shown inverted where the film was: their cards mean one polarity (PS3.3 C.7.6.3.1.2)
RADIOGRAPHY = {"CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF"}
#: what CT scanners write where they did not scan, declared or below what anything has, is air to everybody after them
AIR_HU, NOTHING_BELOW_HU = -1024.0, -2000.0
#: weights of red, green and blue in grey (ITU-R BT.601)
GREY = np.array([0.299, 0.587, 0.114], np.float32)
LARGEST_VALUE = 1e12
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


def fill(into: Array, stored: NDArray[np.integer], header: Dataset, rule: Input) -> None:
    """Write the values of one slice.

    Args:
        into: (rows, columns), or (rows, columns, 3) where the rule wants colour.
        stored: as `pixels` decodes them.

    Raises:
        Refused: `modality-lut`, `rescale-impossible`, or what `suv.factor` refuses.
    """
    photometric = text(header, "PhotometricInterpretation")
    if photometric == "PALETTE COLOR":
        stored = coloured(stored, header)
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


def unit(header: Dataset) -> str:
    """Attenuation, unless the image says that it is something else, as maps of blood flow do (PS3.3 C.8.16.2)."""
    kinds = {part.upper() for part in values(header, "ImageType")[2:]}
    attenuation = text(header, "RescaleType").upper() in ("", "HU") and not kinds & NO_ATTENUATION
    return "HU" if text(header, "Modality") == "CT" and attenuation else ""
