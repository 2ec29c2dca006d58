"""What must not be found in anything that leaves: every identifier of a person, as the person's own objects have it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from ..learning.buckets import is_nobody
from ..objects.characters import UNREADABLE_ELEMENT, vr_of
from . import representation
from .dates import spellings
from .keys import OF_KINDS, is_well_known
from .options import Option
from .table import Action, action
from .text import ordinary

#: values of these are looked for as a whole
NUMBERS = frozenset(
    [
        "PatientID",
        "OtherPatientIDs",
        "IssuerOfPatientID",
        "AccessionNumber",
        "StudyID",
        "AdmissionID",
        "ServiceEpisodeID",
        "MedicalRecordLocator",
        "PlacerOrderNumberImagingServiceRequest",
        "FillerOrderNumberImagingServiceRequest",
        "RequestedProcedureID",
        "ScheduledProcedureStepID",
        "PerformedProcedureStepID",
        "SpecimenAccessionNumber",
        "ContainerIdentifier",
        "SpecimenIdentifier",
        "InsurancePlanIdentification",
        "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID",
        "PatientTelephoneNumbers",
        "ReferringPhysicianTelephoneNumbers",
        "PersonTelephoneNumbers",
        "PatientBirthDateInAlternativeCalendar",
        "PatientDeathDateInAlternativeCalendar",
        "PatientAddress",
        "PersonAddress",
        "ReferringPhysicianAddress",
        "ResponsibleOrganization",
    ]
)
#: the last two: who gives out numbers, in the words and the OID of the house
INSTITUTION = frozenset(["InstitutionName", "InstitutionAddress", "LocalNamespaceEntityID", "UniversalEntityID"])
DEVICE = frozenset(
    [
        "DeviceSerialNumber",
        "StationName",
        "PerformedStationName",
        "ScheduledStationName",
        "DetectorID",
        "PlateID",
        "CassetteID",
        "GantryID",
        "GeneratorID",
        "UniqueDeviceIdentifier",
        "SourceSerialNumber",
        "XRaySourceID",
        "XRayDetectorID",
        "LensSerialNumber",
    ]
)
BIRTH = "PatientBirthDate"
#: of a name's five components the last two are titles (PS3.5 6.2.1)
NAMING = 3
PARTS = re.compile(r"[\s,.\-'/]+")
#: what is not looked for: too short to be found on purpose
SHORTEST = 3


@dataclass
class Identifiers:
    """Of one person, gathered from all objects that are to leave.

    Attributes:
        texts: identifier -> the attribute that it was found in.
        raw: the same as bytes in a file's own character set.
        uids: of studies, series, objects, frames of reference, devices ...
        together: parts of names that are ordinary words or too short: looked for only beside another part.
    """

    texts: dict[str, str] = field(default_factory=dict)
    raw: dict[bytes, str] = field(default_factory=dict)
    uids: set[str] = field(default_factory=set)
    together: set[str] = field(default_factory=set)

    def gather(self, ds: Dataset, options: Collection[Option]) -> None:
        """Add those of a data set, of its items, and of what its private elements are known to be."""
        representation.settle(ds)
        for ds_or_item, element in _elements(ds):
            self._bytes(element, options)
            try:
                made = ds_or_item[element.tag]
            except UNREADABLE_ELEMENT:
                continue
            if made.VR == "UI":
                self._uids(made, options)
            else:
                self._element(made.keyword, made.VR, made.value, options)

    def note(self, text: str, kind: str) -> None:
        """Look for a text, unless it names nobody."""
        text = text.strip(" \0")
        if len(text) >= SHORTEST and not is_nobody(text):
            self.texts.setdefault(text, kind)

    def _uids(self, element: DataElement, options: Collection[Option]) -> None:
        what = action(int(element.tag), "UI", options)
        if Option.RETAIN_UIDS in options or what is Action.KEEP:
            return
        if what is Action.UID or not element.keyword.endswith(OF_KINDS):
            self.uids.update(one for one in _texts(element.value) if not is_well_known(one))

    def _element(self, keyword: str, vr: str, value: Any, options: Collection[Option]) -> None:
        values = _texts(value)
        if vr == "PN":
            for name in values:
                self.name(name, keyword)
        elif keyword == BIRTH:
            for one in values:
                for spelt in spellings(one):
                    self.texts.setdefault(spelt, BIRTH)
        elif _is_sought(keyword, options):
            for one in values:
                self.note(one, keyword)

    def name(self, name: str, keyword: str) -> None:
        """A person's name: each part of each of its spellings, and family and given name beside one another."""
        for spelling in name.split("="):
            parts = [part.strip() for part in spelling.split("^")[:NAMING] if part.strip()]
            for part in parts:
                for word in {part, *PARTS.split(part)}:
                    self._part(word, keyword)
            if len(parts) > 1:
                for first, second in ((parts[0], parts[1]), (parts[1], parts[0])):
                    for mark in ("^", " ", ", ", ","):
                        self.note(f"{first}{mark}{second}", keyword)

    def _part(self, word: str, keyword: str) -> None:
        if word.lower() in ordinary() or (len(word) < SHORTEST and word.isascii()):
            self.together.add(word)
        elif not word.isascii() and word and len(word.encode()) >= SHORTEST:
            self.texts.setdefault(word, keyword)
        else:
            self.note(word, keyword)

    def _bytes(self, element: Any, options: Collection[Option]) -> None:
        """As they stand in the file, whatever its character set says that they are."""
        if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
            return
        keyword = str(keyword_for_tag(element.tag))
        is_name = element.VR == "PN" or (keyword and vr_of(keyword) == "PN")
        if not is_name and not _is_sought(keyword, options):
            return
        for part in re.split(rb"[\\^=]" if is_name else rb"\\", element.value):
            part = part.strip(b" \0")
            if not part.isascii() or b"\x1b" in part:
                self.raw.setdefault(part, keyword)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, MultiValue) else [value]) if one]


def _is_sought(keyword: str, options: Collection[Option]) -> bool:
    if keyword == "UniversalEntityID" and Option.RETAIN_UIDS in options:
        return False  # the UIDs that stay begin with it
    if keyword in INSTITUTION:
        return Option.RETAIN_INSTITUTION not in options
    if keyword in DEVICE:
        return Option.RETAIN_DEVICE not in options
    return keyword in NUMBERS


def _elements(ds: Dataset) -> Iterator[tuple[Dataset, Any]]:
    """Every element of a data set and of its items, raw where nobody has looked at it yet."""
    for tag in list(ds.keys()):
        element = ds.get_item(tag)
        if element is None:
            continue
        yield ds, element
        try:
            value = ds[tag].value if element.VR in ("SQ", "UN", None) else None
        except UNREADABLE_ELEMENT:
            continue
        if isinstance(value, Sequence):
            for item in value:
                yield from _elements(item)
