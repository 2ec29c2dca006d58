"""Make the headers of real scanners fit to be copied into a new object.

Only what a derived object needs is carried over (Patient, General Study, Patient Study and Clinical Trial modules, the
source's equipment, the frame of reference, the place of every image), decoded and written again as UTF-8. What is not
conformant is repaired or left out; identifiers are never changed, and where one cannot stand in a conformant object the
study is refused. (PS3.3 C.7.1, C.7.2, C.7.4, C.7.5)
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from ..errors import Refused
from ..study.geometry import Geometry
from .characters import UTF8, charset, items
from .values import decimal, positive, sop_class, uid, value

#: of the patient and the study; type 2, so there even where they are empty
STUDY_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
STUDY_OPTIONAL = (
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "PatientBirthTime",
    "PatientComments",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)
OF_SERIES = ("BodyPartExamined", "Modality", "PatientPosition", "SeriesNumber", "SeriesDescription")
#: of the scanner
EQUIPMENT = (
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "InstitutionName",
    "StationName",
)
CODE_SEQUENCES = ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence")
TRIAL_TYPE_1 = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
TRIAL_SUBJECT = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
TRIAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
TYPE_2 = (*STUDY_TYPE_2, "PositionReferenceIndicator")
OPTIONAL = (*STUDY_OPTIONAL, *OF_SERIES, *EQUIPMENT)
#: what every object of the study takes over as it is
PATIENT_AND_STUDY = (
    "StudyInstanceUID",
    *STUDY_TYPE_2,
    *STUDY_OPTIONAL,
    *CODE_SEQUENCES,
    *TRIAL_TYPE_1,
    *TRIAL_SUBJECT,
    *TRIAL_TYPE_2,
)
#: PatientOrientation of a biped (PS3.3 C.7.6.1.1.1)
DIRECTIONS = re.compile(r"[LRAPHF]{1,3}")
CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


def repaired(headers: Sequence[Dataset], geometry: Geometry) -> list[Dataset]:
    """One small data set per image, fit to derive an object from.

    Args:
        headers: in the order of the slices.
        geometry: of the same slices.

    Raises:
        Refused: `identifier-too-long`, `identifier-ambiguous`, `identifier-undecodable`, `uid-missing`, `uid-illegal`,
            `sop-class-unknown`, `mixed-series`.
    """
    shared = _shared(headers[0], geometry)
    return [_placed(shared, header) for header in headers]


def fingerprint(sources: Sequence[Dataset]) -> str:
    """The hash of everything that a derived object takes over from its source images, which are repaired."""
    digest = hashlib.sha256()
    for ds in sources:
        digest.update(ds.to_json().encode())
    return digest.hexdigest()


def _shared(source: Dataset, geometry: Geometry) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = UTF8
    for keyword in (*TYPE_2, *OPTIONAL):
        found = value(source, keyword)
        if found or keyword in TYPE_2:
            setattr(ds, keyword, found)
    for keyword in CODE_SEQUENCES:
        codes = [_code(item, charset(source)) for item in items(source, keyword)]
        if good := [code for code in codes if code is not None]:
            setattr(ds, keyword, DicomSequence(good))
    _fix_identity_removed(ds)
    _carry_trial(source, ds)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid(source, "StudyInstanceUID"), uid(source, "SeriesInstanceUID")
    ds.Rows, ds.Columns = geometry.shape[1], geometry.shape[2]
    if geometry.in_patient:
        _place_in_patient(source, ds, geometry)
        return ds
    if geometry.is_calibrated:
        ds.PixelSpacing = [decimal(float(geometry.affine[axis, axis])) for axis in (1, 0)]
    directions = source.get("PatientOrientation")
    if isinstance(directions, MultiValue) and all(DIRECTIONS.fullmatch(str(one)) for one in directions):
        ds.PatientOrientation = [str(one) for one in directions]
    return ds


def _place_in_patient(source: Dataset, ds: Dataset, geometry: Geometry) -> None:
    ds.FrameOfReferenceUID = uid(source, "FrameOfReferenceUID")
    affine = geometry.affine
    spacing = [math.sqrt(float(affine[:3, axis] @ affine[:3, axis])) for axis in (1, 0)]
    ds.PixelSpacing = [decimal(length) for length in spacing]
    ds.ImageOrientationPatient = [
        decimal(value) for axis, length in ((0, spacing[1]), (1, spacing[0])) for value in affine[:3, axis] / length
    ]
    thickness = positive(source, "SliceThickness")
    ds.SliceThickness = decimal(thickness if thickness else geometry.slice_step_mm)
    ds.SpacingBetweenSlices = decimal(geometry.slice_step_mm)


def _placed(shared: Dataset, header: Dataset) -> Dataset:
    ds = Dataset()
    ds.update(shared)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if uid(header, keyword) != shared[keyword].value:
            raise Refused("mixed-series", f"the images have different values in {keyword}")
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class(header), uid(header, "SOPInstanceUID")
    if "FrameOfReferenceUID" in shared:
        ds.ImagePositionPatient = [decimal(float(part)) for part in header.ImagePositionPatient]
    ds.InstanceNumber = value(header, "InstanceNumber") or "1"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def each_once(sources: Sequence[Dataset]) -> list[Dataset]:
    """One header per image: those of a multi-frame image have as many as there are frames."""
    return list({source.SOPInstanceUID: source for source in sources}.values())


def _code(item: Dataset, above: tuple[str, ...]) -> Dataset | None:
    """A code that can stand as it is (PS3.3 table 8.8-1), or None; only its meaning may be cut."""
    found = {keyword: value(item, keyword, above) for keyword in (*CODE, "CodingSchemeVersion")}
    if not all(found[keyword] for keyword in CODE):
        return None
    code = Dataset()
    for keyword, text in found.items():
        if text:
            setattr(code, keyword, text)
    return code


def _fix_identity_removed(ds: Dataset) -> None:
    """PatientIdentityRemoved YES needs the method (PS3.3 C.7.1.1, type 1C)."""
    if ds.get("PatientIdentityRemoved") != "YES":
        for keyword in ("DeidentificationMethod", "DeidentificationMethodCodeSequence"):
            if keyword in ds:
                delattr(ds, keyword)
    elif not ds.get("DeidentificationMethod") and not ds.get("DeidentificationMethodCodeSequence"):
        ds.DeidentificationMethod = "not stated by the source"


def _carry_trial(source: Dataset, ds: Dataset) -> None:
    """The Clinical Trial Subject module whole, or not at all (PS3.3 C.7.1.3)."""
    found = {keyword: value(source, keyword) for keyword in (*TRIAL_TYPE_1, *TRIAL_SUBJECT, *TRIAL_TYPE_2)}
    if all(found[keyword] for keyword in TRIAL_TYPE_1) and any(found[keyword] for keyword in TRIAL_SUBJECT):
        for keyword, text in found.items():
            if text or keyword in TRIAL_TYPE_2:
                setattr(ds, keyword, text)
