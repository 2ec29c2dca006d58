"""What bad images, numbered 32 to 45, do to a node, one test each.

Bounded time and memory, a clear outcome, the next study unaffected: refused with a code, or done with a right mask.

Each study comes in as files, as `planimeter submit` takes them; what becomes of it is what `planimeter status` says.
"""

from __future__ import annotations

import copy
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    KeyObjectSelectionDocumentStorage,
    RawDataStorage,
    RLELossless,
    SegmentationStorage,
    VideoEndoscopicImageStorage,
    generate_uid,
)

from db.arrivals import Kind
from db.tables import instance
from node.app import Node
from node.errors import Refused
from node.objects.checks.masks import mask
from node.objects.forms import PLAIN, with_what_may_take_their_place
from node.operations.status import overview, print_tables
from node.operations.submit import take_file
from node.study.geometry import place
from tests import scenes
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_decoding import image, item, jpeg, jpeg_2000, packed, ramp, rle, with_size
from tests.test_journey import rows
from tests.test_mutated_files import Parts
from tests.test_whole_data_sets import encoded_deep
from tests.threshold_host import ThresholdHosts, threshold

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what pydicom says of what we have spoilt

SMALL = (12, 14, 5)
PIXEL_DATA = 0x7FE00010


@pytest.fixture(autouse=True)
def the_next_study_is_unaffected(node: Node, pacs: FakePacs) -> Iterator[None]:
    yield
    images = small_series(SMALL, patient_id="NEXT")
    assert becomes(node, images) == "done"
    right(pacs, images)
    assert "unexpected-error" not in json.dumps(overview(node.database))
    assert all(job["attempts"] <= 1 for job in jobs_of(node))
    assert not list(node.archive.spool.iterdir())


def becomes(node: Node, files: Sequence[Dataset | bytes]) -> str:
    """What becomes of the files of a study: done, or the code of what refused it, at the door or later."""
    before = {study["study_uid"] for study in overview(node.database)["studies"]}
    turned_away = arrive(node, files)
    work_off(node)
    studies = [study for study in overview(node.database)["studies"] if study["study_uid"] not in before]
    if not studies:
        return "door: " + ", ".join(sorted(turned_away))
    return ", ".join(sorted(outcome(study) for study in studies))


def arrive(node: Node, files: Sequence[Dataset | bytes]) -> set[str]:
    """The codes of those that are refused at the door."""
    turned_away = set()
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            path = Path(folder) / "one.dcm"
            path.write_bytes(file if isinstance(file, bytes) else encoded(file))
            try:
                take_file(node.inbox, path)
            except Refused as refused:
                turned_away.add(refused.code)
    return turned_away


def outcome(study: dict[str, Any]) -> str:
    return str(study["state"] if study["state"] == "done" else study["reason"].split(":")[0])


def right(pacs: FakePacs, images: Sequence[Dataset]) -> None:
    """The mask that the PACS was sent of these images is theirs."""
    grid, order = place(images)
    stored = np.stack([np.frombuffer(images[n].PixelData, "<i2").reshape(grid.shape[1:]) for n in order])
    (seg,) = [seg for seg in pacs.of_modality("SEG") if seg.StudyInstanceUID == images[0].StudyInstanceUID]
    assert np.array_equal(mask(seg, grid, [1, 2]), threshold(stored.astype(np.float32)))
    assert mask(seg, grid, [1, 2]).any()


def encoded(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Explicit VR Little Endian."""
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<xxL", length) if long else struct.pack("<H", length)) + value


def with_elements(data: bytes, *elements: bytes) -> bytes:
    """A file with more elements, each where its tag belongs."""
    parts = Parts.of(data)
    for one in elements:
        tag = int.from_bytes(one[:2], "little") << 16 | int.from_bytes(one[2:4], "little")
        before = [n for n in range(len(parts.elements)) if parts.tag(n) < tag]
        parts.elements.insert(len(before), one)
    return parts.joined()


Spoil = Callable[[Dataset], Dataset | bytes]


def added(*elements: bytes) -> Spoil:
    return lambda ds: with_elements(encoded(ds), *elements)


def values(**elements: Any) -> Spoil:
    def spoil(ds: Dataset) -> Dataset:
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        return ds

    return spoil


def without(keyword: str) -> Spoil:
    def spoil(ds: Dataset) -> Dataset:
        delattr(ds, keyword)
        return ds

    return spoil


def typed(keyword: str, vr: str, value: Any) -> Spoil:
    def spoil(ds: Dataset) -> Dataset:
        ds[keyword] = DataElement(keyword, vr, value)
        return ds

    return spoil


def expect(node: Node, pacs: FakePacs, cases: dict[str, tuple[Spoil, str]]) -> None:
    """A study for each case, all of whose images are spoilt in its way."""
    found = {}
    for name, (spoil, wanted) in cases.items():
        images = small_series(SMALL)
        untouched = small_series(SMALL, study_uid=images[0].StudyInstanceUID)
        found[name] = becomes(node, [spoil(ds) for ds in images])
        if wanted == found[name] == "done":
            right(pacs, untouched)
    assert found == {name: wanted for name, (_, wanted) in cases.items()}


# ---------------------------------------------------------------- 32-35


def test_32_truncated_at_every_offset_of_the_last_2_kb(node: Node, pacs: FakePacs) -> None:
    """Between two elements a cut looks whole to anyone; there it is found out by what is missing."""
    *rest, last = small_series((24, 20, 3))
    arrive(node, rest)
    data = encoded(last)
    whole_for_all_we_know = []
    for length in range(len(data) - 2048, len(data)):
        turned_away = arrive(node, [data[:length]])
        assert turned_away <= {"truncated", "uid-missing", "no-file-meta", "transfer-syntax-refused"}
        if not turned_away:
            whole_for_all_we_know.append(length)
    boundaries = np.cumsum([len(Parts.of(data).head), *(len(one) for one in Parts.of(data).elements)])
    assert set(whole_for_all_we_know) <= set(boundaries[:-1].tolist())
    assert whole_for_all_we_know[-1] == boundaries[-2], "all but the pixels"
    work_off(node)
    assert outcome(only_study(node)) == "no-pixels"
    assert not pacs.objects


def test_33_lengths_that_do_not_fit(node: Node, pacs: FakePacs) -> None:
    longer = encoded(small_series(SMALL)[0])
    expect(
        node,
        pacs,
        {
            "past the end": (lambda ds: encoded(ds).replace(b"OW\0\0\x50\x01", b"OW\0\0\x52\x01"), "door: truncated"),
            "4 GB of text": (added(element(0xFFFCFFFC, b"UT", b"text", 0xFFFFFFFE)), "door: truncated"),
            "4 GB of words": (added(element(0xFFFCFFFC, b"OW", b"word", 0xFFFFFFFE)), "door: truncated"),
            "text without end": (added(element(0x00189999, b"UT", b"text", 0xFFFFFFFF)), "door: malformed"),
            "bytes without end": (added(element(0x00111010, b"OB", b"word", 0xFFFFFFFF)), "door: malformed"),
            "meta information of another kind": (
                lambda ds: encoded(ds)[:136] + b"UB" + encoded(ds)[138:],
                "door: no-file-meta",
            ),
            "an odd length": (added(element(0x00181030, b"LO", b"odd")), "done"),
        },
    )
    assert b"OW\0\0\x50\x01" in longer


#: what a program of its own, with so much room, makes of the files of a folder
ALONE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), resource.RLIM_INFINITY))
from config.settings import load
from models import memory
from node.app import open_node
from node.errors import Refused
from node.operations.submit import take_file
from tests.driving import work_off
node = open_node(load(None, {"node": {"home": sys.argv[1]}, "receive": {"quiet_seconds": 0, "reserve_gb": 0}}))
for file in sorted(Path(sys.argv[2]).iterdir()):
    try:
        take_file(node.inbox, file)
    except Refused as refused:
        print(file.name.split("~")[0] + "~door: " + refused.code)
work_off(node)
node.close()
print(memory.peak_held())
"""
ROOM_BYTES, RESIDENT_BYTES, HANGS_SECONDS = 6 << 30, 1 << 30, 300


def become_alone(node: Node, studies: dict[str, Sequence[Dataset | bytes]]) -> dict[str, str]:
    """`becomes` for several studies, in a process that may not take more than its room; one that hangs is ended."""
    with tempfile.TemporaryDirectory() as folder:
        for name, files in studies.items():
            for number, file in enumerate(files):
                data = file if isinstance(file, bytes) else encoded(file)
                (Path(folder) / f"{name}~{number}").write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-P", "-c", ALONE, str(node.archive.home), folder, str(ROOM_BYTES)],
            cwd=Path(__file__).parents[1],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS_SECONDS,
        )
    assert done.returncode == 0, done.stderr
    *said, resident = done.stdout.splitlines()
    assert int(resident) < RESIDENT_BYTES
    turned_away = dict(one.split("~") for one in said)
    outcomes = {study["study_uid"]: outcome(study) for study in overview(node.database)["studies"]}
    return {name: turned_away.get(name) or outcomes[files[0].StudyInstanceUID] for name, files in studies.items()}


MANY_ITEMS = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
SEQUENCES = {
    "65 deep": (lambda: encoded_deep(65), "door: malformed"),
    "20,000 deep": (lambda: encoded_deep(20_000), "door: malformed"),
    "300 deep, of stated length": (lambda: encoded_deep(300, undefined=False), "done"),
}
MANY = {
    "a million items": lambda: element(0x00400275, b"SQ", MANY_ITEMS),
    "a million items of a sequence without end": (
        lambda: element(0x52009229, b"SQ", MANY_ITEMS + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF)
    ),
    "a million private elements": lambda: b"".join(
        element((0x0011 + 2 * (n >> 15)) << 16 | 0x1000 + (n & 0x7FFF), b"LO", b"ab") for n in range(1_000_000)
    ),
}


@pytest.mark.slow
def test_34_sequences_without_bottom_and_elements_without_end(node: Node, pacs: FakePacs) -> None:
    expect(node, pacs, {name: (added(made()), wanted) for name, (made, wanted) in SEQUENCES.items()})
    (ds, *_) = small_series(SMALL)
    found = become_alone(node, {name: [added(made())(ds)] for name, made in MANY.items()})
    assert found == dict.fromkeys(MANY, "door: malformed")


def bomb(ds: Dataset) -> bytes:
    """Deflated: 64 MB of nothing."""
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta = encoded(ds)[: len(Parts.of(encoded(small_series(SMALL)[0])).head)]
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return meta + packer.compress(bytes(64 << 20)) + packer.flush()


def compressed(syntax: UID, frame: bytes, **header: Any) -> list[Dataset]:
    """A series of one image, which is compressed."""
    made = []
    for place_of in small_series((4, 4, 4)):
        ds = packed(image(ramp("u1")), syntax, [frame], **header)
        for keyword in ("ImagePositionPatient", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
            setattr(ds, keyword, place_of[keyword].value)
        made.append(ds)
    return made


def j2k_with(at: int, value: int, size: int) -> bytes:
    """A JPEG 2000 codestream with another number in its SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    frame = jpeg_2000(ramp("u1"))
    assert frame.startswith(b"\xff\x4f\xff\x51")
    return frame[:at] + value.to_bytes(size, "big") + frame[at + size :]


LARGE = dict(Rows=60000, Columns=60000)
BOMBS: dict[str, tuple[Callable[[], Sequence[Dataset | bytes]], str]] = {
    "deflated": (lambda: [bomb(ds) for ds in small_series(SMALL)], "door: transfer-syntax-refused"),
    "a JPEG larger than declared": (
        lambda: compressed(JPEGBaseline8Bit, with_size(jpeg()(ramp("u1")), 60000, 60000)),
        "undecodable-pixels",
    ),
    "a JPEG as large as declared": (
        lambda: compressed(JPEGBaseline8Bit, with_size(jpeg()(ramp("u1")), 60000, 60000), **LARGE),
        "pixel-format",
    ),
    "JPEG 2000 of 16,384 components": (
        lambda: compressed(JPEG2000Lossless, j2k_with(40, 16384, 2)),
        "undecodable-pixels",
    ),
    "JPEG 2000 of tiles of one pixel": (
        lambda: compressed(JPEG2000Lossless, j2k_with(24, 1 << 32 | 1, 8)),
        "undecodable-pixels",
    ),
    "RLE beyond its end": (
        lambda: compressed(RLELossless, rle(ramp("u1"))[:4] + struct.pack("<L", 0xFFFFFFF) + rle(ramp("u1"))[8:]),
        "undecodable-pixels",
    ),
}


def test_35_a_few_bytes_that_would_be_gigabytes(node: Node) -> None:
    found = become_alone(node, {name: made() for name, (made, _) in BOMBS.items()})
    assert found == {name: wanted for name, (_, wanted) in BOMBS.items()}


# ---------------------------------------------------------------- 36-38


def test_36_numbers_that_describe_no_image(node: Node, pacs: FakePacs) -> None:
    cases = {
        "no rows": values(Rows=0),
        "rows as a long": typed("Rows", "UL", 70000),
        "rows as text": typed("Rows", "LO", "many"),
        "two numbers of columns": typed("Columns", "US", [12, 12]),
        "frames without end": values(NumberOfFrames=10**9),
        "fewer frames than none": values(NumberOfFrames=-1),
        "7 bits": values(BitsAllocated=7),
        "12 bits": values(BitsAllocated=12),
        "64 bits": values(BitsAllocated=64),
        "bits elsewhere": values(BitsStored=12, HighBit=15),
        "255 samples": values(SamplesPerPixel=255),
        "a third sign": values(PixelRepresentation=2),
    }
    bits, stored = b"\x28\0\0\1US", b"\x28\0\1\1"  # BitsAllocated, BitsStored
    expect(
        node,
        pacs,
        {name: (spoil, "pixel-format") for name, spoil in cases.items()}
        | {
            "rows beyond the pixels": (values(Rows=65535), "pixel-data-truncated"),
            "frames beyond the file": (values(NumberOfFrames=99_999), "unreadable-header"),
            "1e9 frames": (with_text(b"IS\4\x001111", b"IS\4\x001e9 ", NumberOfFrames=1111), "pixel-format"),
            "NaN frames": (with_text(b"IS\4\x001111", b"IS\4\0nan ", NumberOfFrames=1111), "pixel-format"),
            "infinite frames": (with_text(b"IS\4\x001111", b"IS\4\0inf ", NumberOfFrames=1111), "unreadable-header"),
            "bits in a sequence that is cut short": (
                with_text(stored + b"US\2\0\x10\0", stored + b"SQ\0\0\4\0\0\0\xfe\xff\0\xe0"),
                "unreadable-header",
            ),
            "a number of 5 bytes": (with_text(bits + b"\2\0\x10\0", bits + b"\5\0\x10\0\0\0\0"), "pixel-format"),
        },
    )


def with_text(old: bytes, new: bytes, **elements: Any) -> Spoil:
    def spoil(ds: Dataset) -> bytes:
        data = encoded(values(**elements)(ds))  # type: ignore[arg-type]
        assert data.count(old) == 1
        return data.replace(old, new)

    return spoil


def test_37_pixels_that_are_not_what_is_declared(node: Node, pacs: FakePacs) -> None:
    def cut(ds: Dataset) -> Dataset:
        ds.PixelData = ds.PixelData[:-2]
        return ds

    def longer(ds: Dataset) -> Dataset:
        ds.PixelData += b"\x01\x02" * 50
        return ds

    def nested(ds: Dataset) -> Dataset:
        inner = Dataset()
        inner.PixelData = ds.PixelData
        inner["PixelData"].VR = "OW"
        ds.IconImageSequence = DicomSequence([inner])
        del ds.PixelData
        return ds

    def floats(ds: Dataset) -> Dataset:
        ds.FloatPixelData = bytes(4 * ds.Rows * ds.Columns)
        del ds.PixelData
        return ds

    def in_fragments(ds: Dataset, *, empty: bool = False, odd: bool = False, table: Sequence[int] = ()) -> bytes:
        frame = rle(np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns)) + b"\0\0"
        data = encoded(packed(ds, RLELossless, [b"", frame] if empty else [frame], table))
        return data.replace(item(frame), item(frame[:-1])) if odd else data

    expect(
        node,
        pacs,
        {
            "too few": (cut, "pixel-data-truncated"),
            "too many": (longer, "done"),
            "none": (without("PixelData"), "no-pixels"),
            "twice": (added(element(PIXEL_DATA, b"OW", bytes(2 * SMALL[0] * SMALL[1]))), "door: malformed"),
            "floating-point": (floats, "pixel-format"),
            "of the icon": (nested, "no-pixels"),
            "a table that lies": (lambda ds: in_fragments(ds, table=[77777]), "done"),
            "an empty fragment": (lambda ds: in_fragments(ds, empty=True), "done"),
            "an odd fragment": (lambda ds: in_fragments(ds, odd=True), "done"),
        },
    )


def test_38_another_encoding_than_the_label_says(node: Node, pacs: FakePacs) -> None:
    def labelled(syntax: UID) -> Spoil:
        def spoil(ds: Dataset) -> bytes:
            data = encoded(ds)
            written = encoded(values_of_meta(ds, syntax))
            return written[: len(Parts.of(written).head)] + data[len(Parts.of(data).head) :]

        return spoil

    def values_of_meta(ds: Dataset, syntax: UID) -> Dataset:
        ds.file_meta.TransferSyntaxUID = syntax
        return ds

    def big_endian(ds: Dataset) -> Dataset:
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        return values_of_meta(ds, ExplicitVRBigEndian)

    def big_endian_as_little(ds: Dataset) -> bytes:
        data = encoded(big_endian(ds))
        return data.replace(ExplicitVRBigEndian.encode(), b"1.2.840.10008.1.2.1")

    def jpeg_as_plain(ds: Dataset) -> bytes:
        ds = packed(ds, JPEGBaseline8Bit, [jpeg()(ramp("u1"))])
        return encoded(ds).replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0")

    expect(
        node,
        pacs,
        {
            "explicit as implicit": (labelled(ImplicitVRLittleEndian), "done"),
            "big endian": (big_endian, "done"),
            "big endian as little": (big_endian_as_little, "door: truncated"),
            "JPEG as uncompressed": (jpeg_as_plain, "pixel-format"),
        },
    )


# ---------------------------------------------------------------- 39-41


NAME = b"PN\x0e\x00Test^Synthetic"


def named(value: bytes, charset: bytes = b"") -> Spoil:
    """Another PatientName, in bytes, and the character set that it is said to be in."""

    def spoil(ds: Dataset) -> bytes:
        data = encoded(ds)
        assert data.count(NAME) == 1
        data = data.replace(NAME, b"PN" + struct.pack("<H", len(value)) + value)
        return with_elements(data, element(0x00080005, b"CS", charset)) if charset else data

    return spoil


CHARACTERS = {
    "an unknown set": (b"Doe^Jane", b"ISO_IR 999 ", "Doe^Jane"),
    "GB18030": ("王^小东 ".encode("gb18030"), b"GB18030 ", "王^小东"),
    "broken UTF-8": (b"Doe^\xc3\x28\xff ", b"ISO_IR 192", "Doe^\ufffd(\ufffd"),
    "an escape without end": (b"Doe^\x1b$B\x3b\x33", b"\\ISO 2022 IR 87 ", "Doe^山"),
    "a NUL within": (b"Doe\0^Jane ", b"", "Doe ^Jane"),
}


def test_39_character_sets(node: Node, pacs: FakePacs) -> None:
    found = {}
    for what, (value, charset, _) in CHARACTERS.items():
        images = small_series(SMALL)
        assert becomes(node, [named(value, charset)(ds) for ds in images]) == "done"
        right(pacs, images)
        found[what] = str(pacs.of_modality("SEG")[-1].PatientName)
    assert found == {what: name for what, (_, _, name) in CHARACTERS.items()}

    def endless(ds: Dataset) -> bytes:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        parts = Parts.of(encoded(ds))
        n = next(n for n in range(len(parts.elements)) if parts.tag(n) == 0x00100010)
        parts.put(n, b"Doe^" + b"x" * (10 << 20))
        return parts.joined()

    *images, last = small_series(SMALL)
    assert becomes(node, [endless(images[0]), *images[1:], last]) == "done"
    assert len(str(pacs.of_modality("SEG")[-1].PatientName)) <= 64
    images = small_series(SMALL, patient_id="\xfcml\xe4ut")
    assert becomes(node, [encoded(ds).replace("\xfcml\xe4ut".encode(), b"\xfcml\xe4ut") for ds in images]) != "done"


PREAMBLES = {
    "MZ": b"MZ\x90\x00",
    "ELF": b"\x7fELF\x02\x01\x01",
    "a script": b"#!/bin/sh\necho\n",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
    "HTML": b"<html><script>alert(1)</script>",
}


def test_40_a_preamble_that_is_a_program(node: Node, pacs: FakePacs) -> None:
    images = small_series(SMALL)
    files = [
        preamble.ljust(128, b"\x90") + encoded(ds)[128:]
        for ds, preamble in zip(images, PREAMBLES.values(), strict=True)
    ]
    assert becomes(node, files) == "done"
    right(pacs, images)
    kept = [file.read_bytes() for file in node.archive.home.rglob("*.dcm")]
    assert len(kept) == len(images) + len(with_what_may_take_their_place(PLAIN))
    assert {data[:132] for data in kept} == {bytes(128) + b"DICM"}


TEXTS = [
    "<script>alert(1)</script>",
    "'; DROP TABLE study; --",
    "%n%s%x",
    "first\nsecond",
    "\u202egnp.exe",
    "=cmd|' /C calc'!A0",
    "\x1b[2J\x1b]0;title\x07",
]


def test_41_texts_that_somebody_might_carry_out(node: Node, pacs: FakePacs, capsys: pytest.CaptureFixture[str]) -> None:
    for text in TEXTS:
        images = small_series(SMALL)
        for ds in images:
            ds.SpecificCharacterSet = "ISO_IR 192"
            ds.PatientName, ds.StudyDescription, ds.SeriesDescription = text, text, text
        assert becomes(node, images) == "done"
        right(pacs, images)
        (seg,) = [seg for seg in pacs.of_modality("SEG") if seg.StudyInstanceUID == images[0].StudyInstanceUID]
        plain = "".join(letter if letter.isprintable() else " " for letter in text.replace("\u202e", "")).strip()
        for said in (str(seg.PatientName), seg.StudyDescription):
            assert said.replace("\ufffd", " ").strip() == plain
        shown = small_series(SMALL)
        for ds in shown:
            ds.SpecificCharacterSet, ds.Modality = "ISO_IR 192", text.replace("\u202e", "")
        assert becomes(node, shown) == "not-our-modality"
    print_tables(overview(node.database), node.database)
    assert all(letter.isprintable() or letter == "\n" for letter in capsys.readouterr().out)


# ---------------------------------------------------------------- 42-45


def other(sop_class: UID, modality: str, like: Dataset) -> Dataset:
    """An object of the same study that is no image."""
    ds = Dataset()
    ds.update(like)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = like.file_meta.TransferSyntaxUID
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.Modality = generate_uid(), modality
    return ds


def test_42_objects_that_are_no_images(node: Node, pacs: FakePacs) -> None:
    wheel = Path(pydicom.__file__).parent / "data" / "test_files"
    assert becomes(node, [(wheel / "dicomdirtests" / "DICOMDIR").read_bytes()]) == "door: uid-missing"
    assert becomes(node, [(wheel / "test-SR.dcm").read_bytes()]) == "no-images"
    for sop_class, modality in ((EncapsulatedPDFStorage, "DOC"), (RawDataStorage, "OT")):
        ds = other(sop_class, modality, small_series(SMALL)[0])
        ds.MIMETypeOfEncapsulatedDocument, ds.EncapsulatedDocument = "application/pdf", b"%PDF-1.7"
        assert becomes(node, [ds]) == "no-images"
    (video, *_) = small_series(SMALL)
    video.SOPClassUID = video.file_meta.MediaStorageSOPClassUID = VideoEndoscopicImageStorage
    video.Modality = "ES"
    assert becomes(node, [video]) == "not-our-modality"
    film = packed(small_series(SMALL)[0], MPEG2MPML, [b"\0\0\x01\xb3"])
    assert becomes(node, [film]) == "door: transfer-syntax-refused"
    assert not pacs.objects


def at(number: int, **elements: Any) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda images: [values(**elements)(ds) if n == number else ds for n, ds in enumerate(images)]  # type: ignore[misc]


def everywhere(**elements: Any) -> Callable[[list[Dataset]], list[Dataset]]:
    return lambda images: [values(**elements)(ds) for ds in images]  # type: ignore[misc]


def with_ds(keyword: str, text: bytes) -> Callable[[list[Dataset]], list[bytes]]:
    """A decimal string as nobody writes it."""

    def spoil(images: list[Dataset]) -> list[bytes]:
        made = []
        for ds in images:
            parts = Parts.of(encoded(ds))
            tag = pydicom.datadict.tag_for_keyword(keyword)
            n = next(n for n in range(len(parts.elements)) if parts.tag(n) == tag)
            parts.put(n, text + b" " * (len(text) % 2))
            made.append(parts.joined())
        return made

    return spoil


def moved(images: list[Dataset], number: int, *by: float) -> list[Dataset]:
    here = [float(part) for part in images[number].ImagePositionPatient]
    images[number].ImagePositionPatient = [a + b for a, b in zip(here, by, strict=True)]
    return images


def with_pixels_of(images: list[Dataset]) -> Dataset:
    """The first slice again, with the pixels of the third."""
    ds = copy.deepcopy(images[0])
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PixelData = images[2].PixelData
    return ds


def tilted(images: list[Dataset]) -> list[Dataset]:
    for n, ds in enumerate(images):
        ds.ImagePositionPatient = [0, 2 * n, 5 * n]
    return images


def two_series(images: list[Dataset]) -> list[Dataset]:
    others = small_series((20, 18, 4), study_uid=images[0].StudyInstanceUID)
    return images + everywhere(SeriesInstanceUID=images[0].SeriesInstanceUID)(others)


TRAPS: dict[str, tuple[Callable[[list[Dataset]], Sequence[Dataset | bytes]], str]] = {
    "no position": (
        lambda images: [*images[:2], without("ImagePositionPatient")(images[2]), *images[3:]],
        "geometry-missing",
    ),
    "two slices in one place": (lambda images: [*images, with_pixels_of(images)], "duplicate-position"),
    "uneven slices": (lambda images: moved(images, 2, 0, 0, 2), "uneven-spacing"),
    "a missing slice": (lambda images: images[:2] + images[3:], "missing-slice"),
    "a slice aside": (lambda images: moved(images, 2, 4, 0, 0), "slices-not-in-line"),
    "mixed planes": (at(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "mixed-orientation"),
    "two sizes in one series": (two_series, "mixed-size"),
    "localizers": (everywhere(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "directions that are no right angle": (
        everywhere(ImageOrientationPatient=[1, 0, 0, 0.3, 1, 0]),
        "impossible-orientation",
    ),
    "spacing 0": (everywhere(PixelSpacing=[0, 1]), "impossible-spacing"),
    "spacing below 0": (everywhere(PixelSpacing=[-1, 1]), "impossible-spacing"),
    "spacing NaN": (with_ds("PixelSpacing", b"nan\\nan"), "geometry-missing"),
    "spacing 1e300": (with_ds("PixelSpacing", b"1e300\\1e300"), "impossible-spacing"),
    "slope 0": (at(2, RescaleSlope=0), "rescale-impossible"),
    "slope NaN": (with_ds("RescaleSlope", b"nan"), "rescale-impossible"),
    "one slice": (lambda images: images[:1], "too-few-slices"),
    "a tilted gantry": (tilted, "done"),
    "pixels that are no squares": (everywhere(PixelSpacing=[3, 0.5]), "done"),
    "a slice that trembles": (lambda images: moved(images, 2, 0.1, 0.05, 0.15), "done"),
}


def test_43_geometry_that_is_no_volume(node: Node, pacs: FakePacs) -> None:
    found = {}
    for name, (spoil, wanted) in TRAPS.items():
        images = small_series(SMALL)
        found[name] = becomes(node, spoil(images))
        if found[name] == wanted == "done":
            right(pacs, images)
    assert found == {name: wanted for name, (_, wanted) in TRAPS.items()}


@pytest.mark.slow
def test_43_five_thousand_slices(node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    def few(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        labels = (volume > 400).astype(np.uint8)
        labels[50:] = 0
        return labels

    threshold_hosts.answer = few
    grid = scenes.grid((1, 0, 0), (0, 1, 0), (12, 12, 0.02), extent_mm=100)
    assert grid.shape[0] == 5000
    assert becomes(node, scenes.images("enhanced CT", grid)) == "done"
    threshold_hosts.answer = threshold
    (seg,) = pacs.of_modality("SEG")
    assert seg.pixel_array.sum() == (grid.labels()[:50] == 2).sum()


def test_44_identities_that_contradict_each_other(node: Node, pacs: FakePacs) -> None:
    one = small_series(SMALL)
    assert becomes(node, everywhere(PatientID="OTHER")(one[:2]) + one[2:]) == "ambiguous-patient"
    first, second = small_series(SMALL), small_series(SMALL)
    everywhere(SeriesInstanceUID=first[0].SeriesInstanceUID)(second)
    assert becomes(node, first + second) == "done, done"
    right(pacs, first)
    right(pacs, second)
    nobody = everywhere(PatientID="")(small_series(SMALL))
    assert becomes(node, nobody) == "done"
    right(pacs, nobody)
    people = [typed("SOPInstanceUID", "PN", str(ds.SOPInstanceUID))(ds) for ds in small_series(SMALL)]
    assert becomes(node, people) == "door: uid-illegal"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        assert becomes(node, [without(keyword)(ds) for ds in small_series(SMALL)]) == "door: uid-missing"


def test_45_results_that_come_back_make_no_work(node: Node, pacs: FakePacs) -> None:
    images = small_series(SMALL)
    assert becomes(node, images) == "done"
    done = [(job["id"], job["kind"]) for job in jobs_of(node)]
    foreign = Dataset()
    foreign.update(pacs.of_modality("SEG")[0])
    foreign.file_meta = pacs.of_modality("SEG")[0].file_meta
    foreign.SOPInstanceUID = foreign.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    foreign.SeriesInstanceUID = generate_uid()
    foreign.Manufacturer, foreign.DeviceSerialNumber = "Others", "1"
    del foreign.ContributingEquipmentSequence
    take_in(node, [*pacs.objects, foreign])
    for sop_class, modality in (
        (UID("1.2.840.10008.5.1.4.1.1.11.1"), "PR"),
        (KeyObjectSelectionDocumentStorage, "KO"),
        (SegmentationStorage, "SEG"),
    ):
        take_in(node, [other(sop_class, modality, images[0])])
    work_off(node)
    assert [(job["id"], job["kind"]) for job in jobs_of(node)] == done
    assert only_study(node)["state"] == "done"
    kinds = [row["kind"] for row in rows(node, instance)]
    assert (kinds.count(Kind.OURS), kinds.count(Kind.LABEL), kinds.count(Kind.OTHER)) == (3, 2, 2)
