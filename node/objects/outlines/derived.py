"""What the objects of this package have in common: patient, study, equipment, and the images that they came from."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from ..run import Run

MARK = "MARKED"
RESEARCH = "Made by a neural network for research. Not a medical device, not for treatment without review."


def options(form: str, *, marked: bool) -> str:
    """The options of a result; a marked one is a result of its own, with other bytes and another UID."""
    return f"{form}-{MARK}" if marked else form


def begun(
    run: Run, sop_class: UID, sop_uid: str, modality: str, series_number: int, description: str, syntax: UID
) -> Dataset:
    """The modules that every object has (PS3.3 C.7.1, C.7.2, C.7.4.1, C.7.5, C.12.1).

    Args:
        sop_uid: of the new object; its series follows from it.
        description: of the series.
        syntax: the transfer syntax that it will be written in.
    """
    provenance, source = run.provenance, run.sources[0]
    ds = hd.base.SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=provenance.series_uid(sop_uid),
        series_number=series_number,
        sop_instance_uid=sop_uid,
        instance_number=1,
        sop_class_uid=sop_class,
        modality=modality,
        series_description=description,
        transfer_syntax_uid=syntax,
        specific_character_set="ISO_IR 192",
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        **provenance.general_equipment(),
    )
    ds.copy_patient_and_study_information(source)
    ds.FrameOfReferenceUID = source.FrameOfReferenceUID
    ds.PositionReferenceIndicator = source.PositionReferenceIndicator
    ds.ContributingEquipmentSequence = provenance.processing_equipment()
    provenance.stamp(ds, source)
    return ds


def written(ds: Dataset) -> bytes:
    """A finished object as the bytes of a Part 10 file."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def item(**values: object) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(source: Dataset, frames: Iterable[int] = ()) -> Dataset:
    """A reference to an image, or to frames of it, counted from 1 (PS3.3 table 10-3)."""
    made = item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    if numbers := [number for number in frames if number]:
        made.ReferencedFrameNumber = numbers
    return made


def images(run: Run) -> list[Dataset]:
    """A reference to each image of a run, with all the frames that were read of it."""
    frames: dict[str, list[int]] = {}
    sources = {}
    for source, frame in zip(run.sources, run.volume.frames, strict=True):
        frames.setdefault(source.SOPInstanceUID, []).append(frame)
        sources[source.SOPInstanceUID] = source
    return [image(sources[uid], sorted(numbers)) for uid, numbers in frames.items()]


def algorithm(run: Run) -> hd.AlgorithmIdentificationSequence:
    """The network, as it is named wherever an algorithm is (PS3.3 table 10-19)."""
    card = run.provenance.card
    return hd.AlgorithmIdentificationSequence(
        name=run.provenance.algorithm_name,
        version=card.version,
        source=card.manufacturer,
        family=codes.DCM.ArtificialIntelligence,
    )
