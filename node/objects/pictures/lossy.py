"""What has once been compressed with loss says so for ever (PS3.3 C.7.6.1.1.5)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from ..characters import texts
from ..run import Run
from ..values import decimal

#: image with any of these has lost something, whether it says so or not
ALWAYS = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)


def carry_over(run: Run, slices: Iterable[int], ds: Dataset) -> None:
    """Say of a picture that it shows images which were compressed with loss, how, and how much."""
    headers = [header for header in (run.volume.headers[k] for k in slices) if _lost(header)]
    if not headers:
        ds.LossyImageCompression = "00"
        return
    ds.LossyImageCompression = "01"
    ratios, methods = (texts(headers[0], f"LossyImageCompression{what}") for what in ("Ratio", "Method"))
    numbers = [decimal(float(ratio)) for ratio in ratios if _is_ratio(ratio)]
    if numbers and len(numbers) == len(methods):
        ds.LossyImageCompressionRatio, ds.LossyImageCompressionMethod = numbers, [one.upper()[:16] for one in methods]


def _lost(header: Dataset) -> bool:
    meta = getattr(header, "file_meta", None)
    syntax = meta.get("TransferSyntaxUID") if meta is not None else None
    return texts(header, "LossyImageCompression") == ["01"] or syntax in ALWAYS


def _is_ratio(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()
