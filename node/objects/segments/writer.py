"""A label map as a DICOM Segmentation on the grid of its source images: BINARY (PS3.3 A.51) or LABELMAP (A.90).

The header is a small data set. The thousands of frame items and the pixels behind it are written as bytes, without an
object per element, which is where the time of a general writer goes.
"""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from models import membership

from ...errors import Refused
from ..forms import BINARY, LABEL_MAP, SEG, Form
from ..run import Run, SegReference
from .frames import EVERY, Layout, layout, per_frame_groups
from .header import header
from .pixels import write_bits, write_numbers


def segmentation(run: Run, *, label_map: bool = False, marked: bool = False) -> tuple[bytes, SegReference]:
    """Write the label map; the same run gives the same bytes.

    Every segment of the card is described, empty or not, with its place in the card as its number. Frames without a
    voxel are left out, with the exceptions that `frames.layout` names; on images that are no slices of a volume all are
    there.

    Args:
        run: its labels may be of 8 or of 16 bits.
        label_map: all segments in one set of frames, as numbers; in RLE Lossless.
        marked: a person should look at it before trusting it.

    Returns:
        The Part 10 file, and what another object needs to refer to it.

    Raises:
        Refused: `output-unknown-label`, `result-too-large`; `segments-overlap`: a label map was asked for, and the
            segments of the card may share voxels (PS3.3 C.8.20.2.3.3: it has one segment per pixel).
    """
    card = run.provenance.card
    if label_map and membership.overlap(card):
        raise Refused("segments-overlap", f"the segments of {card.name} may overlap, which no label map can show")
    values = [segment.values for segment in card.segment]
    form = Form.of(SEG, LABEL_MAP if label_map else BINARY, marked=marked)
    in_patient = "FrameOfReferenceUID" in run.sources[0]
    frames = layout(run.labels, values, label_map=label_map, in_patient=in_patient)
    ds = header(run, frames, form)
    stream = BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    stream.write(per_frame_groups(frames, run.sources, run.volume.frames))
    (write_numbers if label_map else write_bits)(stream, run.labels, values, frames)
    return stream.getvalue(), _reference(ds, frames, len(values))


def _reference(ds: Dataset, frames: Layout, segments: int) -> SegReference:
    numbers = {
        (number, k): place
        for place, (shown, k) in enumerate(frames.frames, 1)
        for number in ([shown] if shown != EVERY else range(1, segments + 1))
    }
    return SegReference(
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        series_uid=str(ds.SeriesInstanceUID),
        frames=numbers,
    )
