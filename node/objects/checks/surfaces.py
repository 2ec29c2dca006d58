"""A surface for planning: whole, finite, and where its segment is (PS3.3 A.85.1, C.35.1; binary STL)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.membership import inside

from ...study.facts import text
from .pictures import whole_document
from .read import Read
from .together import Together

HEADER, FACET = 80, 50
FACETS = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])


def faults(one: Read, together: Together) -> Iterator[str]:
    """Whether an encapsulated STL is the surface of the segment in its name."""
    ds = one.ds
    if text(ds, "MIMETypeOfEncapsulatedDocument") != "model/stl":
        yield "it is not said to be an STL"
    units = ds.get("MeasurementUnitsCodeSequence") or ()
    if [(text(unit, "CodeValue"), text(unit, "CodingSchemeDesignator")) for unit in units] != [("mm", "UCUM")]:
        yield "its unit is not the millimetre"
    document = whole_document(ds)
    if document is None or len(document) < HEADER + 4:
        yield "the document is not as long as it says"
        return
    count = int.from_bytes(document[HEADER : HEADER + 4], "little")
    if len(document) != HEADER + 4 + FACET * count:
        yield f"the surface is said to have {count} facets, which is not the length of the document"
        return
    yield from _where(np.frombuffer(document, FACETS, count, HEADER + 4)["corners"].reshape(-1, 3), one, together)


def _where(corners: NDArray[np.float32], one: Read, together: Together) -> Iterator[str]:
    if not np.isfinite(corners).all():
        yield "a corner of the surface is no number"
        return
    run = together.run
    number = int(one.form.base.removeprefix("SEGMENT"))
    mask = inside(run.labels, run.provenance.card.segment[number - 1].values)
    if not mask.any() or not len(corners):
        if mask.any() or len(corners):
            yield "the surface is not that of its segment: one of them is empty"
        return
    box = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in (2, 1, 0)]
    low, high = np.array([(one[0], one[-1]) for one in box]).T
    inverse = np.linalg.inv(run.volume.geometry.affine)
    at = corners.astype(np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
    if (at < low - 1).any() or (at > high + 1).any():
        yield "the surface reaches beyond its segment"
    elif (at.min(axis=0) > low + 1).any() or (at.max(axis=0) < high - 1).any():
        yield "the surface does not reach as far as its segment"
