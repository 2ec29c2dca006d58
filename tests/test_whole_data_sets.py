"""A data set is whole when every length that it declares fits; anything else is refused before it is stored."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import Refused
from node.inbound.header import WANTED, data_set_start, read_header
from node.inbound.whole import MAX_DEPTH, MAX_ITEMS, MAX_STEPS, STEP, elements_of, plain_elements_of
from tests.synthetic import small_series

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
#: of the pydicom wheel: cut on purpose
CUT = {"MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}


def encoded(ds: Dataset, syntax: UID, *, undefined_lengths: bool = False) -> bytes:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = undefined_lengths
            for item in element.value:
                item.is_undefined_length_sequence_item = undefined_lengths
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(stream, ds)
    return bytes(stream.getvalue())


def nested(depth: int) -> Dataset:
    ds = Dataset()
    ds.PatientID = "x"
    if depth:
        ds.RequestAttributesSequence = Sequence([nested(depth - 1)])
    return ds


def wheel_files() -> Iterator[Path]:
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        try:
            syntax = read_file_meta_info(path).TransferSyntaxUID
        except Exception:  # noqa: BLE001 - the wheel has files without file meta information on purpose
            continue
        if syntax.is_transfer_syntax and "Deflate" not in syntax.name and path.name != "no_meta_group_length.dcm":
            yield path


@pytest.mark.filterwarnings("ignore:Expected explicit VR")  # one is mislabelled
@pytest.mark.parametrize("path", list(wheel_files()), ids=lambda path: path.name)
def test_real_objects_of_the_pydicom_wheel_are_whole_unless_cut(path: Path) -> None:
    data = memoryview(path.read_bytes())
    syntax = read_file_meta_info(path).TransferSyntaxUID
    if path.name in CUT:
        with pytest.raises(Refused) as refused:
            read_header(data, data_set_start(data), syntax, WANTED)
        assert refused.value.code == "truncated"
        return
    header = read_header(data, data_set_start(data), syntax, WANTED)
    ds = dcmread(path, stop_before_pixels=True)
    for keyword in ("SOPInstanceUID", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        assert header.get(keyword) == ds.get(keyword)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("undefined_lengths", [False, True])
def test_cut_anywhere_it_is_refused(syntax: UID, undefined_lengths: bool) -> None:
    ds = small_series((8, 8, 4))[0]
    ds.RequestAttributesSequence = Sequence([nested(2), nested(0)])
    whole = encoded(ds, syntax, undefined_lengths=undefined_lengths)
    header = read_header(memoryview(whole), 0, syntax, WANTED)
    assert header.SOPInstanceUID == ds.SOPInstanceUID
    boundaries = 0
    for length in range(1, len(whole)):
        try:
            read_header(memoryview(whole)[:length], 0, syntax, WANTED)
        except Refused as refused:
            assert refused.code == "truncated"  # noqa: PT017
        else:
            boundaries += 1
    top_level = len(list(ds)) - 1
    assert boundaries <= top_level, "a cut between two elements looks whole to anyone; nowhere else"


def test_a_cut_between_elements_is_caught_by_what_must_be_there() -> None:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    header = read_header(memoryview(encoded(ds, ExplicitVRLittleEndian)), 0, ExplicitVRLittleEndian, WANTED)
    assert "SOPInstanceUID" not in header


def read_both_ways(data: bytes, syntax: UID) -> list[int]:
    """Read an object, and what its beginnings tell of it; the lengths of those that told all."""
    whole, told = memoryview(data), []
    read = refusal_or(lambda: elements_of(whole, 0, syntax, WANTED))
    for length in range(len(data)):
        found = refusal_or(lambda length=length: plain_elements_of(whole[:length], len(data), 0, syntax, WANTED))
        assert found is None or found == read or "malformed" in (found, read), f"{length} bytes tell something else"
        if isinstance(found, tuple):
            told.append(length)
    return told


def refusal_or(read: Callable[[], object]) -> object:
    try:
        return read()
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_the_beginning_of_an_image_tells_all_that_all_of_it_does(syntax: UID) -> None:
    ds = small_series((8, 8, 4))[0]
    plain = encoded(ds, syntax)
    header = len(plain) - len(ds.PixelData) - (8 if syntax.is_implicit_VR else 12)
    assert read_both_ways(plain, syntax) == list(range(header + 12, len(plain))), "no header is longer than 12 bytes"
    assert not read_both_ways(plain[:-1], syntax), "it is cut short"
    assert not read_both_ways(plain + b"x", syntax)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
def test_where_the_beginning_does_not_tell_all_of_it_is_read(syntax: UID) -> None:
    ds = small_series((8, 8, 4))[0]
    ds.DataSetTrailingPadding = b"\0" * 40
    behind = encoded(ds, syntax)
    assert min(read_both_ways(behind, syntax)) > len(behind) - 40 - 12, "what is behind the pixels is looked at"
    del ds.DataSetTrailingPadding, ds.PixelData
    ds.EncapsulatedDocument = b"%PDF" * 40  # not of the pixels: there might be items in it
    assert not read_both_ways(encoded(ds, syntax), syntax) or not syntax.is_implicit_VR
    ds.RequestAttributesSequence = Sequence([nested(2)])
    assert not read_both_ways(encoded(ds, syntax, undefined_lengths=True), syntax)


@pytest.mark.parametrize("undefined_lengths", [False, True])
def test_sequences_are_walked_to_their_depth_and_no_deeper(undefined_lengths: bool) -> None:
    fine = encoded_deep(MAX_DEPTH - 2, undefined=undefined_lengths)
    read_header(memoryview(fine), 0, ExplicitVRLittleEndian, WANTED)


def encoded_deep(depth: int, *, undefined: bool = True) -> bytes:
    """Sequences in sequences, made byte by byte: pydicom itself gives up at such depths."""
    inner = b""
    for _ in range(depth):
        if undefined:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
            inner = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0\0\0\0\0"
        else:
            item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
            inner = b"\x40\x00\x75\x02SQ\0\0" + len(item).to_bytes(4, "little") + item
    return inner


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 300, 20_000])
def test_bottomless_sequences_are_refused_without_recursion(depth: int) -> None:
    with pytest.raises(Refused) as refused:
        read_header(memoryview(encoded_deep(depth)), 0, ExplicitVRLittleEndian, WANTED)
    assert refused.value.code == "malformed"


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("file meta information inside", b"\x02\x00\x10\x00UI\x02\x001\x00"),
        ("undefined length in text", b"\x08\x00\x60\x00UT\0\0\xff\xff\xff\xff"),
        ("an item outside a sequence", b"\xfe\xff\x00\xe0\0\0\0\0"),
        ("no value representation", b"\x08\x00\x05\x00CS\x02\x00  \x08\x00\x60\x00\x01\x02\0\0"),
        ("an element between items", b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\x08\x00\x60\x00CS\x02\x00CT"),
        ("no fragment in the pixels", b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\x08\x00\x60\x00CS\x02\x00"),
    ],
)
def test_what_is_no_data_set_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_header(memoryview(data), 0, ExplicitVRLittleEndian, WANTED)
    assert refused.value.code == "malformed", what


@given(st.binary(max_size=400))
def test_rubbish_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    for syntax in SYNTAXES:
        try:
            read_header(memoryview(data), 0, syntax, {})
        except Refused as refused:
            assert refused.code in ("truncated", "malformed")  # noqa: PT017


@pytest.mark.parametrize("data", [b"", b"DICM", b"\0" * 200, b"\0" * 128 + b"DICM" + b"\0" * 20])
def test_a_file_without_file_meta_information_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        data_set_start(memoryview(data))
    assert refused.value.code == "no-file-meta"


def test_implicit_data_under_an_explicit_label_is_read_as_what_it_is() -> None:
    ds = small_series((8, 8, 4))[0]
    mislabelled = encoded(ds, ImplicitVRLittleEndian)
    header = read_header(memoryview(mislabelled), 0, ExplicitVRLittleEndian, WANTED)
    assert header.SOPInstanceUID == ds.SOPInstanceUID


# ------------------------------------------------------------ what one object may cost

MB = 1 << 20


def plain(tag: int, value: bytes, vr: bytes = b"") -> bytes:
    """An element of the top level: in Implicit VR, or with its VR and a length of four bytes."""
    head = tag.to_bytes(4, "little")[2:] + tag.to_bytes(4, "little")[:2]
    return head + (vr + b"\0\0" if vr else b"") + len(value).to_bytes(4, "little") + value


def read(*elements: bytes, vr: bool = False) -> tuple[Dataset | str, int]:
    """What comes of a data set, or the sentence of its refusal; and the bytes of memory that it took."""
    data = memoryview(b"".join(elements))
    tracemalloc.start()
    try:
        found: Dataset | str = read_header(data, 0, ExplicitVRLittleEndian if vr else ImplicitVRLittleEndian, WANTED)
    except Refused as refused:
        found = f"{refused.code}: {refused.sentence}"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found, peak


ITEM = b"\xfe\xff\x00\xe0"


@pytest.mark.parametrize("vr", [b"", b"UT", b"UN"], ids=["implicit", "UT", "UN"])
@pytest.mark.parametrize("tag", [0x00100020, 0x00080005, 0x0018A001, 0x0020000D])
def test_what_is_read_of_an_object_is_bounded_before_it_is_copied(tag: int, vr: bytes) -> None:
    found, peak = read(plain(tag, bytes(64 * MB), vr), vr=bool(vr))
    assert isinstance(found, str)
    assert found.startswith("malformed: ")
    assert f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is longer than" in found
    assert peak < MB


@pytest.mark.parametrize("out_of_order", [False, True])
def test_equipment_without_end_is_refused_before_any_of_it_is_decoded(out_of_order: bool) -> None:
    inside = b"".join(plain(0x00091000 + n, b"") for n in range(40_000))
    equipment = plain(0x0018A001, ITEM + len(inside).to_bytes(4, "little") + inside)
    found, peak = read(*([plain(0x00200010, b"1 ")] if out_of_order else []), equipment)
    assert isinstance(found, str)
    assert "(0018,A001) is longer than" in found
    assert peak < MB


def test_equipment_of_many_steps_is_read() -> None:
    item = Dataset()
    item.Manufacturer, item.InstitutionName, item.DeviceUID = "M" * 64, "I" * 64, "1.2." + "3" * 60
    item.ContributionDescription = "D" * 200
    ds = Dataset()
    ds.ContributingEquipmentSequence = [item] * 100
    for syntax in SYNTAXES:
        header = read_header(memoryview(encoded(ds, syntax)), 0, syntax, WANTED)
        assert len(header.ContributingEquipmentSequence) == 100


def test_long_values_are_looked_through_for_items_and_not_copied() -> None:
    found, peak = read(plain(0x00111010, bytes(64 * MB), b"UN"), vr=True)
    assert isinstance(found, Dataset)
    assert peak < 4 * MB


def test_items_are_counted_wherever_they_lie() -> None:
    """The third of the steps in which a value is looked through ends inside a tag."""
    fillers = 4 * STEP // 9
    few = plain(0x00111010, (ITEM + bytes(5)) * fillers, b"UN")
    for more, is_refused in ((MAX_ITEMS - fillers, False), (MAX_ITEMS - fillers + 1, True)):
        found, _ = read(few, plain(0x00131010, ITEM * more, b"UN"), vr=True)
        assert isinstance(found, str) is is_refused


def test_elements_inside_sequences_of_undefined_length_are_counted() -> None:
    """Each of them costs whoever reads them later a hundred times its eight bytes."""
    endless = b"\xff" * 4
    begin = bytes.fromhex("40007502") + b"SQ\0\0" + endless + ITEM + endless
    empty = bytes.fromhex("11001010") + b"SH\0\0"
    end = bytes.fromhex("feff0de000000000 feffdde000000000")
    for more, is_refused in ((MAX_STEPS // 8, False), (MAX_STEPS, True)):
        data = memoryview(begin + empty * more + end)
        said = refusal_or(lambda data=data: elements_of(data, 0, ExplicitVRLittleEndian, WANTED))
        assert (said == "malformed") is is_refused


def test_fragments_of_pixels_are_counted() -> None:
    head = bytes.fromhex("e07f1000") + b"OB\0\0" + b"\xff" * 4
    for more, is_refused in ((MAX_ITEMS // 10, False), (MAX_ITEMS, True)):
        data = memoryview(head + (ITEM + bytes(4)) * more + bytes.fromhex("feffdde000000000"))
        said = refusal_or(lambda data=data: elements_of(data, 0, ExplicitVRLittleEndian, WANTED))
        assert (said == "malformed") is is_refused


@pytest.mark.parametrize("vr", [b"", b"OF"], ids=["implicit", "OF"])
def test_floating_point_pixels_have_no_items(vr: bytes) -> None:
    found, peak = read(plain(0x7FE00008, ITEM * (MAX_ITEMS + 1), vr), vr=bool(vr))
    assert isinstance(found, Dataset)
    assert peak < MB
