"""Finished bytes as a data set, by pydicom alone: highdicom may have written them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Protocol

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from ..forms import SEG, Form
from .ends import Incomplete, is_whole

#: frames are many, and are read in a way of their own
PER_FRAME = 0x52009230
#: tag, VR, two reserved bytes, and the length of the value (PS3.5 7.1.2)
PIXEL_DATA = b"\xe0\x7f\x10\x00"
LONG_HEADER = 12


class Object(Protocol):
    """What is looked at."""

    @property
    def kind(self) -> str: ...

    @property
    def options(self) -> str: ...

    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True)
class Read:
    """One object, read.

    Attributes:
        form: that it is said to have.
        ds: all of it; without PixelData where `pixels` has them.
        pixels: of a segmentation that is not compressed, as they lie in the file; else None.
    """

    form: Form
    ds: Dataset
    pixels: memoryview | None = None

    @cached_property
    def items(self) -> list[tuple[str, Dataset]]:
        """The data set and every item in it, each with the keyword of its sequence; without the frames' groups."""
        return list(nested(self.ds))


def read(one: Object) -> Read:
    """Read an object back.

    The pixels of a segmentation are not copied: there may be gigabytes of them.

    Raises:
        UNREADABLE: as pydicom raises them.
        Incomplete: the file ends before its data set does, or goes on behind it.
    """
    form, stream = Form(one.kind, one.options), BytesIO(one.data)
    ds = dcmread(stream, stop_before_pixels=form.kind == SEG)
    syntax = ds.file_meta.TransferSyntaxUID
    if not is_whole(one.data, syntax):
        raise Incomplete("the file does not end where its data set ends")
    if form.kind != SEG or syntax != ExplicitVRLittleEndian:
        return Read(form, dcmread(BytesIO(one.data)) if form.kind == SEG else ds)
    start = stream.tell()
    header = one.data[start : start + LONG_HEADER]
    length = int.from_bytes(header[8:], "little")
    if header[:4] != PIXEL_DATA or start + LONG_HEADER + length != len(one.data):
        raise Incomplete("its pixels are not the last of its elements")
    return Read(form, ds, memoryview(one.data)[start + LONG_HEADER :])


def nested(ds: Dataset) -> Iterator[tuple[str, Dataset]]:
    """A data set and every item in it, each with the keyword of its sequence; without the frames' groups."""
    yield "", ds
    for element in of_vr(ds, "SQ"):
        for item in element.value:
            for keyword, each in nested(item):
                yield keyword or element.keyword, each


def of_vr(ds: Dataset, vr: str) -> Iterator[DataElement]:
    """The elements of a value representation; no other is decoded, where the file says which they are."""
    for element in list(ds.values()):  # as they were read: iterating over the data set would decode every one
        if element.VR in (vr, None) and element.tag != PER_FRAME and (decoded := ds[element.tag]).VR == vr:
            yield decoded
