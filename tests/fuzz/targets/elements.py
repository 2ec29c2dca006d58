"""The walk over a data set (PS3.5 7), and what pydicom reads of the same bytes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from contextlib import suppress
from io import BytesIO

import pydicom
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from node.errors import Refused
from node.inbound.association.data_set import file_meta
from node.inbound.header import KEYWORDS, WANTED, announced, read_header, text
from node.inbound.whole import UNDEFINED, elements_of, plain_elements_of
from tests import wire
from tests.fuzz import words
from tests.fuzz.target import Reader, Target

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit)


def check(read: Reader, data: bytes) -> bool:
    """The first byte says in which transfer syntax the others are."""
    syntax, data = SYNTAXES[data[0] % len(SYNTAXES) if data else 0], data[1:]
    beginnings = {len(data) * eighths // 8 for eighths in range(9)}
    assert len({walked(data, length, syntax) for length in beginnings} - {None}) <= 1, (
        "a beginning tells something else"
    )
    try:
        header: Dataset = read(memoryview(data), 0, syntax, WANTED)
    except Refused as refusal:
        assert refusal.code in ("truncated", "malformed")
        assert refusal.sentence.isprintable()
        return False
    assert {int(tag) for tag in header.keys()} <= WANTED.keys()  # noqa: SIM118
    announced(header)
    for keyword in KEYWORDS:
        assert "\0" not in text(header, keyword), "a NUL, which no row takes"
    theirs = by_pydicom(data, syntax)
    for keyword in KEYWORDS:
        assert text(header, keyword) == text(theirs, keyword), f"pydicom reads another {keyword}"
    return True


def walked(data: bytes, length: int, syntax: UID) -> str | None:
    """What the beginning of an object says of it, or all of it: its elements, or why it is refused; None where the
    beginning does not tell."""
    try:
        found = plain_elements_of(memoryview(data)[:length], len(data), 0, syntax, WANTED)
        if found is None and length == len(data):
            found = elements_of(memoryview(data), 0, syntax, WANTED)
    except Refused as refusal:
        return refusal.sentence
    return None if found is None else str(found)


def by_pydicom(data: bytes, syntax: UID) -> Dataset:
    """The file that is stored, as whoever needs it reads it later; nothing in it may be cut short."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ds = dcmread(BytesIO(file_meta("1.2", "1.2.3", syntax) + data))
    assert not [one for one in said if " in file " in str(one.message)], "pydicom comes to the end too early"
    for element in ds._dict.values():
        if isinstance(element, RawDataElement) and element.length != UNDEFINED:
            assert len(element.value or b"") == element.length, "pydicom finds an element that is cut short"
    return ds


def data_set(syntax: UID) -> bytes:
    """What images have: numbers, sequences of both kinds, private elements, pixels."""
    ds, item, code = Dataset(), Dataset(), Dataset()
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(ds, keyword, "1.2.3")
    ds.SOPClassUID, ds.Modality, ds.PatientID, ds.PatientBirthDate = wire.CT, "CT", "P1", "19700101"
    ds.SpecificCharacterSet, ds.AccessionNumber, ds.ImagesInAcquisition = "ISO_IR 100", "A1", "12"
    code.CodeValue = "1"
    item.DeviceUID, item.PurposeOfReferenceCodeSequence = "1.2.3.4", [code]
    ds.ContributingEquipmentSequence = [item, item]
    ds.private_block(0x0009, "US", create=True).add_new(1, "UN", b"abcd")
    ds.add_new(0x00091002, "SQ", [code])
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.SamplesPerPixel = 2, 2, 8, 8, 1
    ds.PixelRepresentation, ds.PhotometricInterpretation = 0, "MONOCHROME2"
    if syntax.is_compressed:
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xd9"])
        ds["PixelData"].is_undefined_length = True
    else:
        ds.PixelData = b"abcd"
    ds["PixelData"].VR = "OB"
    ds["ContributingEquipmentSequence"].is_undefined_length = True
    to = BytesIO()
    ds.save_as(to, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=False)
    return to.getvalue()


def seeds() -> Iterable[bytes]:
    for number, syntax in enumerate(SYNTAXES):
        whole = data_set(syntax)
        yield bytes((number,)) + whole
        yield bytes((number,)) + whole[:-3]
        yield bytes((number,)) + whole[:100]
    yield b"\0" + wire.instance("1.2.3")


def generous(data: memoryview, start: int, syntax: UID, wanted: Collection[int]) -> Dataset:
    """Does not see where an object is cut short."""
    for more in range(8, 200, 8):
        with suppress(Refused):
            return read_header(memoryview(bytes(data) + b" " * more), start, syntax, wanted)
    return read_header(data, start, syntax, wanted)


def doubled(data: memoryview, start: int, syntax: UID, wanted: Collection[int]) -> Dataset:
    """Takes an UID from elsewhere."""
    found = read_header(data, start, syntax, wanted)
    if "AccessionNumber" in found:
        found.PatientID = found.AccessionNumber
    return found


TARGET = Target(
    read=read_header,
    check=check,
    seeds=seeds,
    faults={"does not see a cut": generous, "mixes two elements up": doubled},
    words=[*words.ELEMENTS, *words.LENGTHS],
)
