"""All results of one run: made, read back and compared, ready to be kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..study.volume import Volume
from . import report, seg
from .check import check
from .headers import repaired
from .identity import Provenance
from .measure import measure

#: kind and options of every result of a run, in the order in which they are made and sent
KINDS = ((seg.KIND, seg.OPTIONS), (report.KIND, report.OPTIONS))


@dataclass(frozen=True)
class Made:
    """A finished object as bytes."""

    kind: str
    options: str
    sop_uid: str
    sop_class: str
    series_uid: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def mask_sha256(labels: NDArray[np.uint8]) -> str:
    """The hash of a label map, shape included."""
    digest = hashlib.sha256(repr(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()


def make(volume: Volume, labels: NDArray[np.uint8], provenance: Provenance) -> list[Made]:
    """Write the SEG and the SR of a label map and check both.

    Raises:
        Refused: the headers cannot stand in a conformant object.
        Failed: `self-check`.
    """
    sources = repaired(volume.headers, volume.geometry)
    segmentation = seg.segmentation(sources, labels, provenance, volume.frames)
    values = [segment.value for segment in provenance.card.segment]
    measured = measure(volume.values.array, labels, values, volume.geometry)
    structured_report = report.report(sources, segmentation, measured, provenance, volume)
    made = [
        written(ds, kind, options) for ds, (kind, options) in zip((segmentation, structured_report), KINDS, strict=True)
    ]
    check(made[0].data, made[1].data, labels, volume, sources, provenance.card)
    return made


def written(ds: Dataset, kind: str, options: str) -> Made:
    """An object as bytes."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return Made(
        kind, options, str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID), stream.getvalue()
    )
