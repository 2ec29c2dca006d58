"""One object made into one that names nobody: PS3.15 Annex E, Basic Application Level Confidentiality Profile.

The table is asked for every element at every depth. What it does not name is kept, without identifiers that are known;
but private elements, elements that no dictionary has, curves and overlays go, and names of persons are emptied.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from pydicom import dcmwrite
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ..errors import Refused
from ..objects.characters import UNREADABLE_ELEMENT
from . import content, dates, private, representation, scrub, text
from .dummies import DUMMIES, REMOVED, code
from .identifiers import Identifiers
from .keys import OF_KINDS, Keys
from .options import Option, codes, dates_are
from .table import Action, action

TEXTS = {"AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"}
OVERLAYS, CURVES = range(0x6000, 0x6100, 2), range(0x5000, 0x5100, 2)
CHARACTER_SET, UTC_OFFSET = 0x00080005, 0x00080201
#: free text of content items, whatever the table says
CONTENT_TEXT = 0x0040A160


@dataclass(frozen=True)
class Person:
    """Whose objects they are: as which they leave, and what must not be found in them."""

    pseudonym: str
    days: int
    identifiers: Identifiers

    @cached_property
    def known(self) -> Any:
        """The pattern of all identifiers."""
        return scrub.pattern(self.identifiers.texts)


@dataclass(frozen=True)
class Profile:
    """How objects are de-identified, all of an export alike."""

    options: frozenset[Option]
    keys: Keys

    def person(self, identity: str, identifiers: Identifiers) -> Person:
        """Somebody, by whatever the house knows the person by."""
        return Person(self.keys.pseudonym(identity), self.keys.days(identity), identifiers)


def deidentified(ds: Dataset, profile: Profile, person: Person) -> Dataset:
    """The object that may leave; `ds` is used up.

    Raises:
        Refused: `unreadable-object`.
    """
    try:
        syntax = ds.file_meta.TransferSyntaxUID
        representation.settle(ds)
        ds.decode()
    except UNREADABLE_ELEMENT as error:
        raise Refused("unreadable-object", f"it cannot be read ({type(error).__name__})") from None
    _Pass(profile, person).over(ds)
    ds.PatientID = ds.PatientName = person.pseudonym
    ds.SpecificCharacterSet = "ISO_IR 192"
    _say(ds, profile)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    ds.file_meta, ds.preamble = meta, b"\0" * 128
    return ds


def written(ds: Dataset) -> bytes:
    """The bytes of a Part 10 file, its meta information made anew.

    Raises:
        Refused: `unwritable-object`.
    """
    stream = BytesIO()
    try:
        dcmwrite(stream, ds, enforce_file_format=True)
    except UNREADABLE_ELEMENT as error:
        raise Refused("unwritable-object", f"what is left of it cannot be written ({type(error).__name__})") from None
    return stream.getvalue()


def _say(ds: Dataset, profile: Profile) -> None:
    """What was done (PS3.3 C.7.1.1, C.12.1; CID 7050)."""
    ds.PatientIdentityRemoved = "YES"
    said = codes(profile.options)
    ds.DeidentificationMethod = [meaning[:64] for _, meaning in said]
    ds.DeidentificationMethodCodeSequence = [code(value, "DCM", meaning) for value, meaning in said]
    ds.LongitudinalTemporalInformationModified = dates_are(profile.options)


@dataclass(frozen=True)
class _Pass:
    profile: Profile
    person: Person

    def over(self, ds: Dataset, *, dummies: bool = False) -> None:
        """Go over a data set and its items.

        Args:
            dummies: it is an item of a sequence that is replaced: text that the table does not name is replaced too.
        """
        self._private(ds)
        told = content.told(ds)  # now: its code is a text that may lose an identifier
        for tag in list(ds.keys()):
            if tag.is_private:
                continue
            if tag == CHARACTER_SET or tag.group in OVERLAYS or tag.group in CURVES or not dictionary_has_tag(tag):
                del ds[tag]
                continue
            try:
                element = ds[tag]
                self._element(ds, element, action(int(tag), element.VR, self.profile.options), dummies)
            except UNREADABLE_ELEMENT:
                del ds[tag]  # what cannot be read cannot be told to be clean
        content.settle(ds, told, self.profile.options)

    def _element(self, ds: Dataset, element: DataElement, what: Action | None, dummies: bool) -> None:
        if what is Action.REMOVE:
            del ds[element.tag]
        elif what is Action.EMPTY:
            element.value = Sequence() if element.VR == "SQ" else None
        elif what is Action.DUMMY:
            self._dummy(element)
        elif element.VR == "SQ":
            for item in element.value:
                self.over(item, dummies=dummies)
        elif element.VR == "UI":
            self._uids(element, what)
        elif element.tag == UTC_OFFSET and what is not None:  # it belongs to the dates that are kept or moved
            if not all(dates.is_offset(str(value)) for value in _values(element)):
                del ds[element.tag]
        elif what is Action.CLEAN or element.tag == CONTENT_TEXT:
            self._clean(ds, element)
        else:
            self._kept(element, what, dummies)

    def _kept(self, element: DataElement, what: Action | None, dummies: bool) -> None:
        """What the table keeps, or does not name: without identifiers that are known."""
        if element.VR == "PN":
            element.value = DUMMIES["PN"] if dummies else None
        elif dummies and what is None and element.VR in TEXTS - {"CS"}:
            self._dummy(element)
        elif element.VR in TEXTS:
            _each(element, self._scrubbed)
        elif element.VR == "AS":
            _each(element, dates.capped)
        elif what is None and element.VR in ("DA", "DT"):
            self._unlisted_date(element)

    def _unlisted_date(self, element: DataElement) -> None:
        """A date that the table of that edition does not name is treated as those that it names."""
        if Option.MODIFIED_DATES in self.profile.options:
            self._move(element)
        elif Option.FULL_DATES not in self.profile.options:
            self._dummy(element)

    def _uids(self, element: DataElement, what: Action | None) -> None:
        if what is Action.KEEP or (what is not Action.UID and element.keyword.endswith(OF_KINDS)):
            return
        if what is None and Option.RETAIN_UIDS in self.profile.options:
            return
        _each(element, self.profile.keys.uid)

    def _dummy(self, element: DataElement) -> None:
        if element.VR == "UI":
            _each(element, self.profile.keys.uid)
        elif element.VR != "SQ":
            element.value = DUMMIES.get(element.VR, REMOVED)
        elif element.keyword.endswith("CodeSequence"):
            element.value = Sequence([code()])
        else:
            for item in element.value:
                self.over(item, dummies=True)

    def _clean(self, ds: Dataset, element: DataElement) -> None:
        if element.VR in ("DA", "DT"):
            self._move(element)
        elif element.VR in TEXTS:
            _each(element, lambda said: text.cleaned(self._scrubbed(said)))
            if not _has_value(element):
                self._left_empty(ds, element)
        elif element.VR == "TM":
            _each(element, dates.time_of_day)
        else:
            del ds[element.tag]

    def _left_empty(self, ds: Dataset, element: DataElement) -> None:
        """Where no word was left, what the profile does without the option."""
        plain = self.profile.options - {Option.CLEAN_DESCRIPTORS, Option.CLEAN_GRAPHICS, Option.RETAIN_PATIENT}
        without = action(int(element.tag), element.VR, plain)
        if without is Action.REMOVE:
            del ds[element.tag]
        elif without is not Action.EMPTY:
            element.value = REMOVED

    def _move(self, element: DataElement) -> None:
        _each(element, lambda said: dates.moved(said, self.person.days, element.VR))

    def _scrubbed(self, said: str) -> str:
        found = self.person.identifiers
        return scrub.scrubbed(said, self.person.known, found.uids, self.profile.keys)

    def _private(self, ds: Dataset) -> None:
        """Private elements go, but for safe ones and the names of their blocks."""
        tags = [tag for tag in ds.keys() if tag.is_private]  # noqa: SIM118 - a Dataset iterates over elements
        keep = set()
        if Option.SAFE_PRIVATE in self.profile.options:
            for tag in tags:
                if tag.element > 0xFF and (creator := _creator(ds, tag)) and _is_safe(ds, tag, creator):
                    keep |= {tag, (tag.group << 16) | (tag.element >> 8)}
        for tag in tags:
            if tag not in keep:
                del ds[tag]


def _creator(ds: Dataset, tag: Any) -> str:
    block = ds.get((tag.group, tag.element >> 8))
    return str(block.value).strip(" \0") if block is not None and isinstance(block.value, str) else ""


def _is_safe(ds: Dataset, tag: Any, creator: str) -> bool:
    try:
        element = ds[tag]
    except UNREADABLE_ELEMENT:
        return False
    return private.is_safe(creator, tag.group, tag.element, element.VR, _values(element))


def _values(element: DataElement) -> list[Any]:
    value = element.value
    if isinstance(value, (MultiValue, list)):
        return list(value)
    return [] if value is None or value == "" else [value]


def _has_value(element: DataElement) -> bool:
    return any(str(value) for value in _values(element))


def _each(element: DataElement, change: Any) -> None:
    """Change every value of an element."""
    changed: Listed[str] = [change(str(value)) for value in _values(element)]
    element.value = changed[0] if len(changed) == 1 else list(changed) or None
