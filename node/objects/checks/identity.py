"""Whose an object is, which one it is, and that it says so in the form of the Standard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    ImplicitVRLittleEndian,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    ParametricMapStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from ...study.facts import text
from ..forms import (
    COMPREHENSIVE,
    LABEL_MAP,
    LABEL_MAP_SEGMENTATION_STORAGE,
    MARKED,
    PDF,
    PM,
    RTSTRUCT,
    SC,
    SEG,
    SR,
    STL,
    Form,
)
from ..run import Run
from .read import Read, of_vr
from .together import Together

#: kind -> its classes, and its Modality
CLASSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    SEG: ((SegmentationStorage,), ("SEG",)),
    SR: ((Comprehensive3DSRStorage,), ("SR",)),
    SC: ((SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage), ("OT", "SC")),
    PDF: ((EncapsulatedPDFStorage,), ("DOC",)),
    RTSTRUCT: ((RTStructureSetStorage,), ("RTSTRUCT",)),
    STL: ((EncapsulatedSTLStorage,), ("M3D",)),
    PM: ((ParametricMapStorage,), ("OT",)),
}
#: long contours cannot be written with explicit VRs (PS3.5 6.2.2)
ALSO_IN = {RTSTRUCT: (ImplicitVRLittleEndian,)}
#: kinds that lie in the frame of reference of their images; reports and pictures lie nowhere
PLACED = (SEG, RTSTRUCT, STL, PM)
SAME = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", re.ASCII)
#: of a tag: its group is odd, so the element is private (PS3.5 7.8); pydicom's `is_private` is slow for thousands
ODD_GROUP = 0x00010000
RESEARCH, WARNING = "[RESEARCH]", "CHECK!"


def faults(one: Read, together: Together) -> Iterator[str]:
    """Whether an object is of the patient and the study, and is the result that the run has under its name."""
    run = together.run
    ds, source = one.ds, run.sources[0]
    for keyword in SAME:
        if text(ds, keyword) != text(source, keyword):
            yield f"{keyword} is not that of the images"
    # in the header as it came, too: an error of the repair would be in the repaired one
    if text(ds, "StudyInstanceUID") != text(run.volume.headers[0], "StudyInstanceUID"):
        yield "it is filed in another study than its images"
    if one.form.kind in PLACED and text(ds, "FrameOfReferenceUID") != text(source, "FrameOfReferenceUID"):
        yield "its frame of reference (FrameOfReferenceUID) is not that of the images"
    yield from _named(one, run)
    yield from _form(one)
    yield from _labelled(one, run)


def _named(one: Read, run: Run) -> Iterator[str]:
    """The UIDs that follow from the run."""
    ds, meta = one.ds, one.ds.file_meta
    sop_uid = run.provenance.result_uid(*one.form)
    if text(ds, "SOPInstanceUID") != sop_uid:
        yield "SOPInstanceUID is not the one that follows from what made it"
    if text(ds, "SeriesInstanceUID") != run.provenance.series_uid(run.provenance.result_uid(*_first(one.form))):
        yield "SeriesInstanceUID is not the one that follows from what made it"
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if text(ds, keyword) != text(meta, f"MediaStorage{keyword}"):
            yield f"the file's meta information has another {keyword}"
    if text(meta, "TransferSyntaxUID") not in (one.form.transfer_syntax, *ALSO_IN.get(one.form.kind, ())):
        yield "it is not in the transfer syntax that such an object is kept in"
    if any(tag.is_private for tag in meta):
        yield "its meta information has private elements"


def _first(form: Form) -> Form:
    """The object that names the series: key images share one, everything else has one of its own."""
    return Form(SC, "-".join(["KEY01", *form.words[1:]])) if form.kind == SC else form


def classes_of(form: Form) -> tuple[str, ...]:
    """The SOP classes that an object of a form may be of."""
    if form.kind == SEG and form.has(LABEL_MAP):
        return (LABEL_MAP_SEGMENTATION_STORAGE,)
    if form.kind == SR and form.has(COMPREHENSIVE):
        return (ComprehensiveSRStorage,)
    return CLASSES[form.kind][0]


def _form(one: Read) -> Iterator[str]:
    """What the Standard asks of every object."""
    ds = one.ds
    if text(ds, "SOPClassUID") not in classes_of(one.form):
        yield f"it is of the SOP class {text(ds, 'SOPClassUID')}, not that of {one.form.kind} {one.form.options}"
    if text(ds, "Modality") not in CLASSES[one.form.kind][1]:
        yield f"its Modality is {text(ds, 'Modality')!r}"
    if text(ds, "SpecificCharacterSet") != "ISO_IR 192":
        yield "its texts are not in UTF-8 (SpecificCharacterSet)"
    uids = [element for _, item in one.items for element in of_vr(item, "UI")]
    if illegal := sorted({element.keyword for element in uids if not all(map(is_legal, _values(element)))}):
        yield f"not a UID as PS3.5 9.1 has it: {', '.join(illegal)}"
    if any(tag & ODD_GROUP for _, item in one.items for tag in item.keys()):  # noqa: SIM118 - no value is needed
        yield "it has private elements"


def _values(element: DataElement) -> list[str]:
    several = isinstance(element.value, MultiValue)
    return [str(value) for value in (element.value if several else [element.value])]


def is_legal(uid: str) -> bool:
    """Whether a text is a UID (PS3.5 9.1)."""
    return len(uid) <= 64 and UID.fullmatch(uid) is not None


def _labelled(one: Read, run: Run) -> Iterator[str]:
    """Research use and doubts are said where every viewer shows them."""
    description, qualification = text(one.ds, "SeriesDescription"), text(one.ds, "ContentQualification")
    if RESEARCH not in description or len(description) > 64:
        yield f"SeriesDescription does not say {RESEARCH}"
    if f" rev {run.provenance.revision} " not in description:
        yield "SeriesDescription does not say the revision"
    if description.startswith(WARNING) is not one.form.has(MARKED):
        yield f"SeriesDescription says {WARNING} though it should not, or does not though it should"
    if qualification != "RESEARCH" and (qualification or one.form.kind in (SEG, SR)):
        yield "ContentQualification is not RESEARCH"
    equipment = run.provenance.general_equipment()
    for keyword, name in EQUIPMENT.items():
        if text(one.ds, keyword) != equipment[name]:
            yield f"{keyword} is not that of this node"


#: General Equipment (PS3.3 C.7.5.1): what packaged the result
EQUIPMENT = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "manufacturer_model_name",
    "SoftwareVersions": "software_versions",
    "DeviceSerialNumber": "device_serial_number",
}


def one_each(objects: Sequence[Read]) -> Iterator[str]:
    """UIDs name one thing each: an instance is no other, and no series, study or frame of reference."""
    instances = [text(one.ds, "SOPInstanceUID") for one in objects]
    series = {(text(one.ds, "SeriesInstanceUID"), one.form.kind) for one in objects}
    if len(set(instances)) < len(instances):
        yield "two objects have the same SOPInstanceUID"
    if len({uid for uid, _ in series}) < len(series):
        yield "objects of different kinds are in one series"
    above = {text(one.ds, keyword) for one in objects for keyword in ("StudyInstanceUID", "FrameOfReferenceUID")}
    if set(instances) & above or {uid for uid, _ in series} & (above | set(instances)):
        yield "one UID names things of different kinds"
