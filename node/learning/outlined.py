"""SEG and RTSTRUCT, from whoever made them, on the grid of the images that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from ..objects import values
from ..study.decode import Decoders
from ..study.frames import FUNCTIONAL_GROUPS
from ..study.volume import Volume
from . import segmentations, structure_sets
from .found import usable
from .label_file import LabelFile, items, line, opened, text
from .segment_frames import instances_of
from .structures import Outlined, Subject

#: where an object says who made it, and when; the first that is there holds
AUTHORS = ("ContentCreatorName", "OperatorsName", "ReviewerName")
MADE = {
    "SEG": ("Content", "InstanceCreation", "Series"),
    "RTSTRUCT": ("StructureSet", "InstanceCreation", "Series"),
}
TOOL = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions")


def subject(file: Path) -> Subject:
    """Which images a SEG or an RTSTRUCT is about, from its header alone.

    Raises:
        Refused: `not-a-label`, `label-unreadable`, `label-encoding`, `truncated`, `malformed`; `uid-missing`,
            `uid-illegal`, `identifier-too-long`, `identifier-ambiguous`, `identifier-undecodable`.
    """
    label = opened(file)
    header = label.header
    series, images = _of_seg(header) if label.kind == "SEG" else _of_structure_set(header)
    return Subject(
        kind=label.kind,
        sop_uid=values.uid(header, "SOPInstanceUID"),
        study_uid=values.uid(header, "StudyInstanceUID"),
        patient_id=line(header, "PatientID", label.charset),
        issuer=line(header, "IssuerOfPatientID", label.charset),
        frames_of_reference=_frames_of_reference(header),
        series=frozenset(text(one, "SeriesInstanceUID") for one in series) - {""},
        images=frozenset(text(one, "ReferencedSOPInstanceUID") for one in images) - {""},
    )


def read(file: Path, volume: Volume, *, fraction: float = 0.5, decoders: Decoders | None = None) -> Outlined:
    """Read a SEG or an RTSTRUCT onto the grid of a volume.

    A structure of which more than a hundredth does not lie on the images, or that cannot be read for certain, is left
    out, and the notes say so. The object is refused where none that marks anything is left.

    Args:
        volume: of the images that the object is about; in the patient, or flat.
        fraction: from which on a pixel of a fractional segmentation is inside, more than 0 and at most 1.
        decoders: that compressed pixels may be decoded by; without, one is started where it is needed.

    Raises:
        Refused: as `subject` does; `label-ambiguous`, `label-between-slices`, `label-elsewhere`, `label-empty`,
            `label-encoding`, `label-frames`, `label-gaps`, `label-no-area`, `label-not-parallel`, `label-other-frame`,
            `label-other-images`, `label-other-size`, `label-pixels`, `label-segments`, `label-too-large`;
            `pixel-data-truncated`, `undecodable-pixels`.
        Failed: `decoder-not-started`.
    """
    label = opened(file)
    if label.kind == "SEG":
        found, notes = segmentations.read(label, volume, fraction=fraction, decoders=decoders)
    else:
        found, notes = structure_sets.read(label, volume), []
    structures, said = usable(found, notes)
    header = label.header
    return Outlined(
        kind=label.kind,
        sop_uid=values.uid(header, "SOPInstanceUID"),
        structures=structures,
        author=_first(line(header, keyword, label.charset) for keyword in AUTHORS),
        tool=" ".join(part for part in (line(header, keyword, label.charset) for keyword in TOOL) if part),
        made=_made(label),
        notes=said,
    )


def _of_seg(header: Dataset) -> tuple[list[Dataset], list[Dataset]]:
    """The items that name series, and those that name images: of the object, or where it has none of its frames."""
    series = items(header, "ReferencedSeriesSequence")
    images = [*items(header, "SourceImageSequence"), *(one for each in series for one in instances_of(each))]
    if not images:
        groups = [*items(header, FUNCTIONAL_GROUPS[0]), *items(header, FUNCTIONAL_GROUPS[1])]
        derived = [one for each in groups for one in items(each, "DerivationImageSequence")]
        images = [one for each in derived for one in items(each, "SourceImageSequence")]
    return series, images


def _of_structure_set(header: Dataset) -> tuple[list[Dataset], list[Dataset]]:
    """The same; of its contours where it names no images itself."""
    frames = items(header, "ReferencedFrameOfReferenceSequence")
    studies = [one for each in frames for one in items(each, "RTReferencedStudySequence")]
    series = [one for each in studies for one in items(each, "RTReferencedSeriesSequence")]
    images = [one for each in series for one in items(each, "ContourImageSequence")]
    if not images:
        rois = items(header, "ROIContourSequence")
        contours = [one for each in rois for one in items(each, "ContourSequence")]
        images = [one for each in contours for one in items(each, "ContourImageSequence")]
    return series, images


def _frames_of_reference(header: Dataset) -> frozenset[str]:
    listed = items(header, "ReferencedFrameOfReferenceSequence")
    rois = items(header, "StructureSetROISequence")
    found = [text(one, "FrameOfReferenceUID") for one in (header, *listed)]
    found += [text(one, "ReferencedFrameOfReferenceUID") for one in rois]
    return frozenset(found) - {""}


def _made(label: LabelFile) -> str:
    """Date and time of its content, YYYYMMDDHHMMSS or less."""
    for when in MADE[label.kind]:
        date = line(label.header, f"{when}Date", label.charset)
        if date:
            return date + line(label.header, f"{when}Time", label.charset).split(".")[0]
    return ""


def _first(stated: Iterable[str]) -> str:
    return next((one for one in stated if one), "")
