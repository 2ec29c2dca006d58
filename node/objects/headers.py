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
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from ..errors import Refused
from ..study.volume import Geometry

UTF8 = "ISO_IR 192"

IDENTIFIERS = ("PatientID", "AccessionNumber", "IssuerOfPatientID")
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
OPTIONAL = (
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "OtherPatientIDs",
    "PatientBirthTime",
    "PatientComments",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
    "BodyPartExamined",
    "Modality",
    "PatientPosition",
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "SeriesNumber",
    "SeriesDescription",
)
CODE_SEQUENCES = ("ProcedureCodeSequence", "DeidentificationMethodCodeSequence")
TRIAL_TYPE_1 = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")
TRIAL_SUBJECT = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
TRIAL_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
MANY_VALUED = ("OtherPatientIDs", "SoftwareVersions", "DeidentificationMethod")

LONGEST = {"SH": 16, "LO": 64, "CS": 16, "PN": 64, "LT": 10240, "ST": 1024}
PATTERNS = {
    "DA": re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]{1,16}"),
    "IS": re.compile(r"[+-]?\d{1,11}"),
}
CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def repaired(headers: Sequence[Dataset], geometry: Geometry) -> list[Dataset]:
    """One small data set per image, fit to derive an object from.

    Args:
        headers: in the order of the slices.
        geometry: of the same slices.

    Raises:
        Refused: `identifier-too-long`, `identifier-ambiguous`.
    """
    shared = _shared(headers[0], geometry)
    return [_placed(shared, header) for header in headers]


def fingerprint(headers: Sequence[Dataset], geometry: Geometry) -> str:
    """The hash of everything that a derived object takes over from its source images."""
    digest = hashlib.sha256()
    for ds in repaired(headers, geometry):
        digest.update(ds.to_json().encode())
    return digest.hexdigest()


def _shared(source: Dataset, geometry: Geometry) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = UTF8
    for keyword in (*TYPE_2, *OPTIONAL):
        value = _value(source, keyword)
        if value not in (None, "", []) or keyword in TYPE_2:
            setattr(ds, keyword, value if value is not None else "")
    for keyword in CODE_SEQUENCES:
        if items := [item for item in source.get(keyword) or [] if _is_code(item)]:
            setattr(ds, keyword, DicomSequence([_code(item) for item in items]))
    _fix_identity_removed(ds)
    _carry_trial(source, ds)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = source.StudyInstanceUID, source.SeriesInstanceUID
    ds.FrameOfReferenceUID = source.FrameOfReferenceUID
    ds.Rows, ds.Columns = geometry.shape[1], geometry.shape[2]
    affine = geometry.affine
    spacing = [math.sqrt(float(affine[:3, axis] @ affine[:3, axis])) for axis in (1, 0)]
    ds.PixelSpacing = [_decimal(value) for value in spacing]
    ds.ImageOrientationPatient = [
        _decimal(value) for axis, length in ((0, spacing[1]), (1, spacing[0])) for value in affine[:3, axis] / length
    ]
    thickness = _positive(source, "SliceThickness")
    ds.SliceThickness = _decimal(thickness if thickness else geometry.slice_step_mm)
    ds.SpacingBetweenSlices = _decimal(geometry.slice_step_mm)
    return ds


def _placed(shared: Dataset, header: Dataset) -> Dataset:
    ds = Dataset()
    ds.update(shared)
    ds.SOPClassUID, ds.SOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    ds.ImagePositionPatient = [_decimal(float(part)) for part in header.ImagePositionPatient]
    number = _value(header, "InstanceNumber")
    ds.InstanceNumber = number or "1"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _value(source: Dataset, keyword: str) -> Any:
    """The value as a conformant one, "" or None where there is none."""
    raw = source.get(keyword)
    if raw is None:
        return None
    many = isinstance(raw, (MultiValue, list))
    if many and keyword in IDENTIFIERS:
        raise Refused("identifier-ambiguous", f"the images have several values in {keyword}")
    vr = dictionary_VR(tag_for_keyword(keyword) or 0)
    parts = [_conformant(keyword, vr, part) for part in (raw if many else [raw])]
    if many and keyword in MANY_VALUED:
        return [part for part in parts if part]
    return parts[0] if parts else ""


def _conformant(keyword: str, vr: str, raw: Any) -> str:
    value = str(raw).strip().rstrip("\x00")
    if keyword in IDENTIFIERS:
        return _identifier(keyword, vr, value)
    if keyword in SPECIAL:
        return SPECIAL[keyword](value)
    if vr in ("DS",):
        number = _number(value)
        return _decimal(number) if number else ""
    if vr in PATTERNS:
        return value if PATTERNS[vr].fullmatch(value) else ""
    value = CONTROL.sub(" ", value)
    return value if vr == "PN" and _is_name(value) else value[: LONGEST.get(vr, 64)].strip()


def _identifier(keyword: str, vr: str, value: str) -> str:
    if len(value) > LONGEST[vr]:
        raise Refused(
            "identifier-too-long", f"{keyword} has {len(value)} characters; {LONGEST[vr]} are allowed (PS3.5 6.2)"
        )
    if CONTROL.search(value):
        raise Refused("identifier-ambiguous", f"{keyword} contains control characters")
    return value


def _is_name(value: str) -> bool:
    groups = value.split("=")
    return len(groups) <= 3 and all(len(group) <= 64 and group.count("^") <= 4 for group in groups)


def _sex(value: str) -> str:
    return {"M": "M", "F": "F", "O": "O"}.get(value.upper()[:1], "")


def _yes_or_no(value: str) -> str:
    return value if value in ("YES", "NO") else ""


SPECIAL: dict[str, Callable[[str], str]] = {
    "PatientSex": _sex,
    "PatientIdentityRemoved": _yes_or_no,
    "TimezoneOffsetFromUTC": lambda value: value if re.fullmatch(r"[+-](0\d|1[0-4])[0-5]\d", value) else "",
}


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _positive(source: Dataset, keyword: str) -> float:
    return _number(str(source.get(keyword) or ""))


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, DS), as exact as these allow."""
    for digits in range(15, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"


def _is_code(item: Dataset) -> bool:
    return bool(item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning"))


def _code(item: Dataset) -> Dataset:
    code = Dataset()
    for keyword, longest in (("CodeValue", 16), ("CodingSchemeDesignator", 16), ("CodeMeaning", 64)):
        setattr(code, keyword, CONTROL.sub(" ", str(item.get(keyword)))[:longest])
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
    found = {keyword: _value(source, keyword) for keyword in (*TRIAL_TYPE_1, *TRIAL_SUBJECT, *TRIAL_TYPE_2)}
    if all(found[keyword] for keyword in TRIAL_TYPE_1) and any(found[keyword] for keyword in TRIAL_SUBJECT):
        for keyword, value in found.items():
            if value or keyword in TRIAL_TYPE_2:
                setattr(ds, keyword, value or "")
