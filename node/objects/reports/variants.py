"""The same report as another object: for a destination that gets another segmentation, or takes another SOP class."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from ..forms import SR
from ..identity import SR_SERIES_NUMBER
from ..run import Run, SegReference
from . import diameters, volumes
from .document import fill


def variant(
    base: Dataset, run: Run, options: str, *, seg: SegReference | None = None, comprehensive: bool = False
) -> Dataset:
    """A report with the same content and UIDs of its own.

    Args:
        base: a finished report of this run; not changed.
        options: of the new result: it decides the UIDs.
        seg: the segmentation to refer to in place of that of `base`.
        comprehensive: as Comprehensive SR, where Comprehensive 3D SR is not taken. Nothing that these reports have is
            forbidden there (PS3.3 A.35.3.3): they have no coordinates in space.

    Raises:
        Failed: `report-incomplete`: the segmentation lacks the frame that a group of a 2D image must refer to.
    """
    ds, provenance = _copied(base), run.provenance
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = provenance.result_uid(SR, options)
    ds.SeriesInstanceUID = provenance.series_uid(ds.SOPInstanceUID)
    if comprehensive:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    if seg is not None:
        of_volumes = base.SeriesNumber == SR_SERIES_NUMBER
        fill(ds, run, seg, volumes.measured_groups(run, seg) if of_volumes else diameters.measured_groups(run))
    return ds


def _copied(base: Dataset) -> Dataset:
    """Through bytes: nothing is shared, and what nobody looks at stays bytes."""
    stream = BytesIO()
    base.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return dcmread(stream)
