"""A map of uncertainty: on the planes of its images, with the values of the run, and it says what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset

from ...study.facts import text
from .codes import same_code
from .read import Read
from .together import Together

UNITS = ("1", "UCUM", "no units")
#: mm
OFF_PLANE = 1e-3
STEPS = 10000


def faults(one: Read, together: Together) -> Iterator[str]:
    """Whether a Parametric Map is the map of the run, voxel for voxel."""
    ds, wanted = one.ds, together.run.entropy
    if wanted is None:
        yield "the run has no map"
        return
    yield from _meaning(ds)
    if (int(ds.NumberOfFrames), int(ds.Rows), int(ds.Columns)) != wanted.shape:
        yield "its frames are not as many or as large as the images"
        return
    slices = [_slice(frame, together) for frame in ds.PerFrameFunctionalGroupsSequence]
    if sorted(-1 if k is None else k for k in slices) != list(range(len(wanted))):
        yield "its frames are not derived from the images, one from each"
        return
    order = [k for k in slices if k is not None]
    yield from _places(ds, order, together)
    found = np.asarray(ds.pixel_array).reshape(wanted.shape)
    if found.dtype != np.uint16 or not np.array_equal(found, wanted[order]):
        yield "its values are not those of the run"


def _slice(frame: Dataset, together: Together) -> int | None:
    """The slice whose image a frame was made from."""
    images = [image for item in frame.DerivationImageSequence for image in item.SourceImageSequence]
    return together.slice_of(images[0]) if len(images) == 1 else None


def _meaning(ds: Dataset) -> Iterator[str]:
    shared = ds.SharedFunctionalGroupsSequence[0]
    mappings = shared.get("RealWorldValueMappingSequence") or [Dataset()]
    mapping = mappings[0]
    slope, intercept = mapping.get("RealWorldValueSlope"), mapping.get("RealWorldValueIntercept")
    if len(mappings) != 1 or intercept != 0 or slope is None or abs(float(slope) * STEPS - 1) > 1e-9:
        yield "its real world values do not run from 0 to 1"
    if not same_code(mapping.get("MeasurementUnitsCodeSequence"), UNITS):
        yield "its real world values have a unit"
    if any(keyword in ds for keyword in ("RedPaletteColorLookupTableDescriptor", "PixelPaddingValue")):
        yield "it has a palette or a padding that nobody asked for"


def _places(ds: Dataset, order: Sequence[int], together: Together) -> Iterator[str]:
    """Each frame on the plane of the image that it was made from.

    Args:
        order: the slice of each frame.
    """
    shared, run = ds.SharedFunctionalGroupsSequence[0], together.run
    for number, (frame, k) in enumerate(zip(ds.PerFrameFunctionalGroupsSequence, order, strict=True), 1):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        if np.abs(position - np.array(run.sources[k].ImagePositionPatient, float)).max() > OFF_PLANE:
            yield f"frame {number} does not lie on the plane of its image"
            return
    plane = (frame.get("PlaneOrientationSequence") or shared.get("PlaneOrientationSequence"))[0]
    orientation = np.array(plane.ImageOrientationPatient, float)
    if np.abs(orientation - np.array(run.sources[0].ImageOrientationPatient, float)).max() > OFF_PLANE:
        yield "its planes are turned otherwise than the images"
    measures = (frame.get("PixelMeasuresSequence") or shared.get("PixelMeasuresSequence"))[0]
    if text(measures, "PixelSpacing") != text(run.sources[0], "PixelSpacing"):
        yield "its pixels have another size than those of the images"
