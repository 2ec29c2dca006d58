"""Real files, spoilt at random: each is refused with a code or read rightly; nothing crashes, hangs or lies.

Every spoilt series goes the way that it would go in a node: through the door, the headers, the choice, the decoders,
the volume and the results, which check themselves. Where a volume comes out, its geometry is compared with what the
files say, read a second time and by nothing of ours. What fails is named with its seed: `spoil(originals, seed)` makes
the very same files again.
"""

from __future__ import annotations

import faulthandler
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID, NuclearMedicineImageStorage, generate_uid

from db import schema
from db.arrivals import Arrival, Kind, Seen
from db.database import Database, open_database, sqlite_url
from models.card import Input
from node.errors import Refused
from node.inbound.filing import Coming, Filing
from node.inbound.header import data_set_start
from node.inbound.inbox import Inbox
from node.inbound.opened import Opened
from node.inbound.whole import LONG_VR, SHORT_VR, _is_explicit, _Walk
from node.objects import results
from node.operations.submit import take_file
from node.study import candidates, frames, geometry, series, volume
from node.study.archive import Archive
from node.study.decode import Decoders
from node.study.facts import USED
from node.study.volume import Volume
from tests import runs, scenes
from tests.runs import BUNDLE, provenance_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what pydicom says of what we have spoilt

#: one series takes a fraction of a second, and a decoder a minute before it is ended; whatever takes this long hangs
HANGS_SECONDS = 180
NO_IMAGES = ("test-SR.dcm", "liver_1frame.dcm", "reportsi.dcm")
PIXEL_DATA, FRAME_OF_REFERENCE = 0x7FE00010, 0x00200052


# ---------------------------------------------------------------- originals


@dataclass(frozen=True)
class Original:
    """A small series, and a channel that reads it."""

    name: str
    files: tuple[bytes, ...]
    rule: Input

    @property
    def weight(self) -> int:
        """Small volumes are spoilt more often than the rest."""
        return 4 if self.rule.kind == "volume" and sum(len(data) for data in self.files) < 300_000 else 1


def original(name: str, files: Sequence[Path], **rule: Any) -> Original:
    """A series of real files. Where its slices name no frame of reference they are given one, to come further."""
    first = dcmread(files[0], stop_before_pixels=True)
    read = [file.read_bytes() for file in files]
    if rule.get("kind") != "image" and "FrameOfReferenceUID" not in first:
        read = [_with_place(data, generate_uid(entropy_srcs=[name])) for data in read]
    return Original(name, tuple(read), permissive(first, **rule))


def permissive(image: Dataset, **rule: Any) -> Input:
    """Reads whatever has the modality of an image."""
    anything = dict(derived=True, secondary_capture=True, burned_in_annotation=True, image_type_excludes=())
    return Input(modality=(str(image.get("Modality", "")),), **anything | rule)


def _with_place(data: bytes, uid: str) -> bytes:
    parts = Parts.of(data)
    n = next(n for n in range(len(parts.elements)) if parts.tag(n) > FRAME_OF_REFERENCE)
    tag = (FRAME_OF_REFERENCE >> 16).to_bytes(2, parts.order) + (FRAME_OF_REFERENCE & 0xFFFF).to_bytes(2, parts.order)
    parts.elements.insert(n, tag + (b"UI\0\0" if parts.explicit else bytes(4)))
    parts.put(n, uid.encode() + bytes(len(uid) % 2))
    return parts.joined()


def of_the_wheel() -> list[Original]:
    """What is installed with pydicom."""
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    studies = files / "dicomdirtests"
    return [
        original("CT", sorted((studies / "77654033" / "CT2").iterdir())[1:]),
        original("CT downwards", sorted((studies / "98892001" / "CT5N").iterdir())),
        *(
            original(name, [files / name], kind="image")
            for name in (
                *("CT_small.dcm", "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"),
                *("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
                *("JPGExtended.dcm", "693_J2KI.dcm", "SC_rgb_rle_2frame.dcm"),
            )
        ),
        *(
            original(name, [files / name], kind="image", colour="rgb")
            for name in (
                *("SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_16bit.dcm", "SC_ybr_full_422_uncompressed.dcm"),
                "examples_palette.dcm",
            )
        ),
        *(scene(kind) for kind in ("enhanced CT", "legacy converted MR", "NM")),
        *(original(name, [files / name], kind="image") for name in NO_IMAGES),
    ]


def scene(kind: str) -> Original:
    """Many frames in one file, as those that are found on the way are few."""
    (ds,) = scenes.images(kind, scenes.grid((1, 0, 0), (0, 1, 0), (8, 8, 16)))
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"  # the same in every run
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return Original(kind, (stream.getvalue(),), permissive(ds))


def of_the_data(folder: Path) -> list[Original]:
    """What the hospital's scanners made."""
    odd, sts = folder / "odd", folder / "rtstruct" / "sts_ibsi_STS_002"
    geometries, wheel = odd / "dicom2nifti_geometry", odd / "pydicom_data"
    compressed = odd / "cornerstone_ct_transfer_syntaxes"
    return [
        original("CT", some(folder / "ct_series" / "cip_chest64", 6)),
        original("MR", some(sts / "MR_T1" / "image", 4)),
        original("PET", some(sts / "PET" / "image", 5), values="suv_bw"),
        original("oblique MR", some(geometries / "generic_anatomical_002_non_isotropic", 4)),
        original("implicit MR", some(geometries / "hitachi_anatomical_001", 4)),
        original("diffusion MR", some(geometries / "ge_dti_002", 16)),
        original("RLE", some(geometries / "generic_compressed_rle_001", 3)),
        original("JPEG 2000 in colour", some(geometries / "generic_rgb_001", 4), colour="rgb"),
        original("enhanced MR of Hyperfine", some(geometries / "hyperfine_anatomical_001", 1)),
        original("enhanced MR of Philips", some(geometries / "philips_enhanced_anatomical_001", 1)),
        original("enhanced MR of Siemens", some(geometries / "siemens_multiframe_anatomical_001", 1)),
        *(
            original(f"frames{name}", [wheel / f"emri_small{name}.dcm"], kind="image")
            for name in ("_big_endian", "_RLE", "_jpeg_2k_lossless", "_jpeg_ls_lossless")
        ),
        original("values by a table", [wheel / "mlut_18.dcm"], kind="image"),
        original("JPEG of two frames", sorted(compressed.glob("CT0012.fragmented*")), kind="image"),
        original("JPEG lossless", sorted(compressed.glob("*.70.dcm")), kind="image"),
        original("ultrasound", [compressed / "no-pixel-spacing.dcm"], kind="image", colour="rgb"),
    ]


def some(folder: Path, number: int) -> list[Path]:
    """Neighbouring slices, of the middle of a series."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.upper().startswith("LICENSE"))
    first = max(0, len(files) // 2 - number // 2)
    return files[first : first + number]


# ---------------------------------------------------------------- mutations


class Everything(dict[int, int]):
    """Every tag is wanted, however long."""

    def __contains__(self, _tag: object) -> bool:
        return True

    def get(self, _tag: Any, _default: Any = None) -> Any:
        return 1 << 62


@dataclass
class Parts:
    """A Part 10 file taken apart: what stands before the data set, and its elements."""

    head: bytes
    elements: list[bytes]
    syntax: UID
    explicit: bool

    @classmethod
    def of(cls, data: bytes) -> Parts:
        start = data_set_start(memoryview(data))
        syntax = _syntax(data)
        walked = _Walk(memoryview(data), start, syntax, Everything()).run()
        return cls(data[:start], walked, syntax, _is_explicit(memoryview(data), start, syntax))

    @property
    def order(self) -> Any:
        return "little" if self.syntax.is_little_endian else "big"

    def joined(self) -> bytes:
        return self.head + b"".join(self.elements)

    def tag(self, n: int) -> int:
        one = self.elements[n]
        return int.from_bytes(one[:2], self.order) << 16 | int.from_bytes(one[2:4], self.order)

    def length_at(self, n: int) -> tuple[int, int]:
        """Where in an element its length stands, and in how many bytes."""
        if not self.explicit:
            return 4, 4
        return (8, 4) if self.elements[n][4:6] in LONG_VR else (6, 2)

    def value(self, n: int) -> bytes:
        return self.elements[n][sum(self.length_at(n)) :]

    def put(self, n: int, value: bytes) -> None:
        at, size = self.length_at(n)
        length = (len(value) & (1 << 8 * size) - 1).to_bytes(size, self.order)
        self.elements[n] = self.elements[n][:at] + length + value

    def pick(self, random: Random) -> int:
        """An element before the pixels; often one that is read."""
        header = [n for n in range(len(self.elements)) if self.tag(n) < PIXEL_DATA]
        used = [n for n in header if self.tag(n) in TAGS]
        return random.choice(used if used and random.random() < 0.6 else header)


TAGS = {tag_for_keyword(keyword) for keyword in USED}


def _syntax(data: bytes) -> UID:
    """The transfer syntax of an unspoilt file."""
    named = re.search(rb"\x02\x00\x10\x00UI..([0-9.]+)", data[:1000], re.DOTALL)
    assert named
    return UID(named[1].decode())


def flips(random: Random, data: bytes, first: int, end: int) -> bytes:
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8, 20))):
        at = random.randrange(first, max(end, first + 1))
        spoilt[at] = random.randrange(256) if random.random() < 0.5 else spoilt[at] ^ 1 << random.randrange(8)
    return bytes(spoilt)


def flips_anywhere(random: Random, data: bytes, _other: bytes) -> bytes:
    return flips(random, data, 132, len(data))


def flips_in_the_header(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    pixels = sum(len(one) for n, one in enumerate(parts.elements) if parts.tag(n) >= PIXEL_DATA)
    return flips(random, data, len(parts.head), len(data) - pixels)


def flips_where_the_pixels_begin(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    before = sum(len(one) for n, one in enumerate(parts.elements) if parts.tag(n) < PIXEL_DATA)
    first = len(parts.head) + before
    return flips(random, data, first, min(first + 160, len(data))) if first < len(data) else data


def a_cut(random: Random, data: bytes, _other: bytes) -> bytes:
    return data[: random.randrange(len(data))]


def swapped_values(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    one, two = parts.pick(random), parts.pick(random)
    first, second = parts.value(one), parts.value(two)
    parts.put(one, second)
    parts.put(two, first)
    return parts.joined()


def swapped_elements(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    one, two = parts.pick(random), random.randrange(len(parts.elements))
    parts.elements[one], parts.elements[two] = parts.elements[two], parts.elements[one]
    return parts.joined()


def a_deleted_element(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    del parts.elements[parts.pick(random)]
    return parts.joined()


def a_doubled_element(random: Random, data: bytes, _other: bytes) -> bytes:
    """Twice, the second time with another value, and perhaps elsewhere."""
    parts = Parts.of(data)
    n = parts.pick(random)
    where = n + 1 if random.random() < 0.6 else random.randrange(len(parts.elements))
    parts.elements.insert(where, parts.elements[n])
    if random.random() < 0.7:
        parts.put(where, hostile(random, parts.value(where)))
    return parts.joined()


def another_length(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    n = parts.pick(random) if random.random() < 0.8 else len(parts.elements) - 1
    at, size = parts.length_at(n)
    found = int.from_bytes(parts.elements[n][at : at + size], parts.order)
    others = (0, 1, found + 1, found + 2, found - 1, found - 2, found * 2, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFF)
    length = random.choice((*others, random.randrange(1 << 8 * size))) & (1 << 8 * size) - 1
    one = parts.elements[n]
    parts.elements[n] = one[:at] + length.to_bytes(size, parts.order) + one[at + size :]
    return parts.joined()


def another_vr(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    n = parts.pick(random)
    if parts.explicit:
        one, value = parts.elements[n], parts.value(n)
        vr = random.choice((*sorted(LONG_VR | SHORT_VR), b"ZZ", b"ox", b"\0\0"))
        parts.elements[n] = one[:4] + vr + bytes(6 if vr in LONG_VR else 2)
        parts.put(n, value if random.random() < 0.8 else hostile(random, value))
    return parts.joined()


#: values that somebody has written into a header, or would
HOSTILE = (
    *(b"", b" ", b"\0", b"\\", b"\\\\\\", b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"-0", b"1e9", b"1E-30"),
    *(b"99999999999999999999", b"0x10", b"1\\2", b"1\\2\\3\\4\\5\\6\\7", b"1,5", b"1.2.3", b"\xff\xff\xff\xff", b"abc"),
    *(b"\x1b$B\x1b(B", b"\xc3\x28", b"\xed\xa0\x80", b"A\0B\\C\0D", b"../../x", b"9" * 400, b"1\\" * 3000, b"\xd8\x00"),
    *(b"ISO 2022 IR 87", b"ISO_IR 192", b"GB18030", b"\\ISO 2022 IR 149", b"nonsense", b"\x00\x00\x00\x80"),
)


def hostile(random: Random, value: bytes) -> bytes:
    if random.random() < 0.4 and value:
        spoilt = bytearray(value)
        for _ in range(random.choice((1, 1, 2, 4))):
            spoilt[random.randrange(len(spoilt))] = random.choice(b"0123456789.-+eE\\ \0^=nx,")
        return bytes(spoilt)
    made = random.choice(HOSTILE)
    return made + b" " * (len(made) % 2 and random.random() < 0.8)


def another_value(random: Random, data: bytes, _other: bytes) -> bytes:
    parts = Parts.of(data)
    n = parts.pick(random)
    parts.put(n, hostile(random, parts.value(n)))
    return parts.joined()


PLACES = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices", "NumberOfFrames")


def other_digits_in_a_place(random: Random, data: bytes, _other: bytes) -> bytes:
    """A position, an orientation, a spacing, a count: also in the functional groups."""
    order: Any = "little" if _syntax(data).is_little_endian else "big"
    tags = [tag_for_keyword(keyword) or 0 for keyword in PLACES]
    named = [(tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order) for tag in tags]
    found = [found.start() for one in named for found in re.finditer(re.escape(one), data)]
    if not found:
        return another_value(random, data, _other)
    at, spoilt = random.choice(found), bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3))):
        digit = random.randrange(at + 8, min(at + 8 + 50, len(data)))
        if chr(spoilt[digit]) in "0123456789.-":
            spoilt[digit] = random.choice(b"0123456789.-+e\\ ")
    return bytes(spoilt)


def spliced(random: Random, data: bytes, other: bytes) -> bytes:
    size = random.choice((1, 4, 16, 64, 512, 4096))
    begin = random.randrange(len(other))
    chunk, at = other[begin : begin + size], random.randrange(132, len(data))
    return data[:at] + chunk + data[at + (len(chunk) if random.random() < 0.6 else 0) :]


Mutation = Callable[[Random, bytes, bytes], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    flips_anywhere,
    flips_in_the_header,
    flips_where_the_pixels_begin,
    a_cut,
    swapped_values,
    swapped_elements,
    a_deleted_element,
    a_doubled_element,
    another_length,
    another_vr,
    another_value,
    other_digits_in_a_place,
    spliced,
)


@dataclass(frozen=True)
class Spoilt:
    """A series of which one file was spoilt, or several, or all in one way."""

    seed: int
    of: Original
    how: str
    files: tuple[bytes, ...]
    before: tuple[bytes, ...] = ()
    """the same series as it was, where that came first"""

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.of.name}, {self.how}"


def spoil(originals: Sequence[Original], seed: int) -> Spoilt:
    random = Random(seed)
    (of,) = random.choices(originals, [one.weight for one in originals])
    other = random.choice(random.choice(originals).files)
    mutation, files = random.choice(MUTATIONS), list(of.files)
    which, again = random.choice(("one", "one", "some", "all alike")), random.randrange(1 << 30)
    chosen = {"one": [random.randrange(len(files))], "some": range(len(files)), "all alike": range(len(files))}[which]
    for n in chosen:
        if which != "some" or random.random() < 0.5:
            files[n] = mutation(Random(again if which == "all alike" else again + n), files[n], other)
    before = of.files if random.random() < 0.1 else ()
    how = f"{mutation.__name__}, {which}" + (", after the real ones" if before else "")
    return Spoilt(seed, of, how, tuple(files), before)


# ---------------------------------------------------------------- the way of a study


@dataclass(frozen=True)
class Shelf(Archive):
    """An archive that does not wait for the disk."""

    def sync(self, descriptor: int) -> None:  # noqa: ARG002
        return

    def publish(self, files: Iterable[tuple[Path, str]]) -> dict[str, OSError]:
        for spooled, path in files:
            self.at(path).parent.mkdir(parents=True, exist_ok=True)
            spooled.rename(self.at(path))
        return {}


class Listing(Filing):
    """A list in place of the rows."""

    def __init__(self, archive: Archive, database: Database) -> None:
        super().__init__(archive, database)
        self.taken: list[Arrival] = []

    def _record(self, batch: Sequence[Coming]) -> list[Seen]:
        self.taken += [one.arrival for one in batch]
        return [Seen.NEW] * len(batch)


class Door(Inbox):
    """The way in, which ends in a list."""

    def __init__(self, archive: Archive, database: Database) -> None:
        super().__init__(archive, database)
        self._filing = listing = Listing(archive, database)
        self.taken = listing.taken

    def _known(self, sop_uid: str, digest: str, syntax: UID, file: Opened, start: int) -> tuple[Any, str, bool]:  # noqa: ARG002
        return None, digest, False


class Wrong(AssertionError):
    """A volume that is not where its files say."""


class Hangs(BaseException):
    """Nobody who tidies up after an error may take it for one."""


def hangs(*_: object) -> None:
    raise Hangs


@dataclass
class Pipeline:
    door: Door
    decoders: Decoders
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def run(self, originals: Sequence[Original], seeds: Sequence[int]) -> None:
        for seed in seeds:
            spoilt = spoil(originals, seed)
            signal.alarm(HANGS_SECONDS)
            faulthandler.dump_traceback_later(2 * HANGS_SECONDS, exit=True, file=sys.__stderr__)  # where C code hangs
            try:
                self.outcomes.update(self.outcome(spoilt))
            except (Exception, Hangs) as error:  # noqa: BLE001 - all of them are told together
                self.failures.append(f"{spoilt}\n{told(error)}")
            finally:
                signal.alarm(0)
                faulthandler.cancel_dump_traceback_later()

    def outcome(self, spoilt: Spoilt) -> list[str]:
        """What became of each file that was turned away, and of each study that was left."""
        home, found = self.door.archive.home, []
        self.door.taken.clear()
        for number, data in enumerate((*spoilt.before, *spoilt.files)):
            file = home / f"{number}.dcm"
            file.write_bytes(data)
            try:
                take_file(self.door, file)
            except Refused as refused:
                found.append(f"door: {refused.code}")
        for text in (text for arrival in self.door.taken for text in vars(arrival).values() if isinstance(text, str)):
            _can_be_a_row(text)
        studies: dict[str, list[Arrival]] = {}
        for arrival in self.door.taken:
            if arrival.kind is Kind.IMAGE:
                studies.setdefault(arrival.study_uid, []).append(arrival)
            else:
                found.append("no image")
        for arrivals in studies.values():
            try:
                found += self.study(spoilt.of.rule, arrivals)
            except Refused as refused:
                found.append(refused.code)
        for arrival in self.door.taken:
            self.door.archive.discard(arrival.path)
        assert not list(self.door.archive.spool.iterdir())
        return found

    def study(self, rule: Input, arrivals: Sequence[Arrival]) -> list[str]:
        """As the steps of `journey`: choose, then segment."""
        archive = self.door.archive
        rows: Any = [
            {
                **vars(arrival),
                **dict(id=number, series_id=1, patient=arrival.patient_id, image_identity=None, purged=None),
            }
            for number, arrival in enumerate(sorted(arrivals, key=lambda arrival: arrival.sop_uid))
        ]
        study = candidates.gather(rows, archive, self.decoders)
        if len(study.patients) > 1:
            return ["ambiguous-patient"]
        for one in study.series:
            for value in (value for values in one.facts().values() for value in values):
                _can_be_a_row(value)
        card = BUNDLE.card.model_copy(update={"input": (rule,), "take": "best"})
        (pick,) = series.choose(card, study.series)
        paths = {row["sop_uid"]: archive.at(row["path"]) for row in rows}
        members = pick.members()
        files = [paths[image.sop_uid] for _, image, _ in members]
        of_each = [frames.from_text(numbers) for _, _, numbers in members]
        built = volume.build(files, self.decoders, rule, of_each=of_each)
        try:
            lies_where_its_files_say(built, paths)
            labels = threshold(built)
            provenance = provenance_of(built, labels, card=card, study_uid=arrivals[0].study_uid)
            made = results.make(runs.run_of(built, labels, provenance))
            assert [one.kind for one in made] == ["SEG", "SR", "SR"]
        finally:
            built.close()
        return ["a volume" if rule.kind == "volume" else "an image"]


def told(error: BaseException) -> str:
    """An error with the lines of ours that it came through."""
    ours = [one for one in traceback.extract_tb(error.__traceback__) if "site-packages" not in one.filename]
    return "".join(traceback.format_list(ours[-5:])) + "".join(traceback.format_exception_only(error))


def _can_be_a_row(text: str) -> None:
    assert "\0" not in text, "PostgreSQL has no NUL in text"
    text.encode()


def threshold(built: Volume) -> NDArray[np.uint8]:
    """What is brighter than the mean, left and right."""
    values = built.values.array
    assert np.isfinite(values).all()
    grey = values.mean(-1) if values.ndim == 4 else values
    labels = (grey > grey.mean()).astype(np.uint8)
    labels[:, :, labels.shape[2] // 2 :] *= 2
    return labels


def lies_where_its_files_say(built: Volume, files: dict[str, Path]) -> None:
    """Every slice, by its own file, within the tolerances that `geometry` states."""
    grid = built.geometry
    assert grid.shape == built.values.array.shape[:3]
    assert len(built.headers) == grid.shape[0]
    for k, (header, frame) in enumerate(zip(built.headers, built.frames, strict=True)):
        said = Said(files[str(header.SOPInstanceUID)], frame)
        if (size := (said["Rows"], said["Columns"])) != grid.shape[1:]:
            raise Wrong(f"slice {k} is {size}, the volume {grid.shape}")
        if grid.in_patient:
            _placed(grid.affine, k, said)
        elif grid.is_calibrated:
            rows, columns = said.numbers("PixelSpacing")
            close(np.diag(grid.affine), (columns, rows, 1, 1), 1e-4 * max(rows, columns), f"pixel size of image {k}")
        else:
            assert said["PixelSpacing"] in (None, "")
            close(grid.affine, np.eye(4), 0, "no pixel size")


def _placed(affine: NDArray[np.float64], k: int, said: Said) -> None:
    step = float(np.linalg.norm(affine[:3, 2]))
    here = (affine @ [0, 0, k, 1])[:3]
    close(here, said.numbers("ImagePositionPatient"), geometry.LINE_TOLERANCE * step + 1e-6, f"position of slice {k}")
    cosines, (rows, columns) = said.numbers("ImageOrientationPatient").reshape(2, 3), said.numbers("PixelSpacing")
    for axis, length in ((0, columns), (1, rows)):
        tolerance = (2 * geometry.ORIENTATION_TOLERANCE + 2e-4) * length
        close(affine[:3, axis], cosines[axis] * length, tolerance, f"axis {axis} of slice {k}")


def close(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    away = float(np.linalg.norm(np.asarray(found) - np.asarray(wanted)))
    if not away <= tolerance:
        raise Wrong(f"{what}: {away:g} mm away, {tolerance:g} allowed")


GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}


@dataclass
class Said:
    """What a file says of one of its frames, also in its functional groups."""

    file: Path
    frame: int

    def __getitem__(self, keyword: str) -> Any:
        ds = dcmread(self.file, stop_before_pixels=True)
        if self.frame and keyword in GROUPS and ds.SOPClassUID == NuclearMedicineImageStorage:
            return self._nuclear(ds, keyword)
        groups: list[Dataset] = []
        if self.frame and keyword in GROUPS and ds.get("PerFrameFunctionalGroupsSequence"):
            groups.append(ds.PerFrameFunctionalGroupsSequence[self.frame - 1])
            groups += (ds.get("SharedFunctionalGroupsSequence") or [])[:1]
        found = [one.get(GROUPS[keyword])[0].get(keyword) for one in groups if one.get(GROUPS[keyword])]
        return next((value for value in found if value not in (None, "")), ds.get(keyword))

    def _nuclear(self, ds: Dataset, keyword: str) -> Any:
        """The first slice is placed, the others follow along the normal (PS3.3 C.8.4.15)."""
        if keyword == "PixelSpacing":
            return ds.PixelSpacing
        detector = ds.DetectorInformationSequence[0]
        if keyword == "ImageOrientationPatient":
            return detector.ImageOrientationPatient
        row, column = np.array(detector.ImageOrientationPatient, float).reshape(2, 3)
        number = ds.SliceVector[self.frame - 1] if ds.get("SliceVector") else self.frame
        step = float(ds.SpacingBetweenSlices) * np.cross(row, column)
        return np.array(detector.ImagePositionPatient, float) + (number - 1) * step

    def numbers(self, keyword: str) -> NDArray[np.float64]:
        return np.array([float(part) for part in self[keyword]])


# ---------------------------------------------------------------- tests


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    archive = Shelf(tmp_path / "home")
    archive.prepare()
    (archive.home / "store").mkdir(exist_ok=True)
    database = open_database(sqlite_url(archive.home / "rows.db"))
    schema.require(database)
    decoders = Decoders(2)
    before = signal.signal(signal.SIGALRM, hangs)
    yield Pipeline(Door(archive, database), decoders)
    signal.signal(signal.SIGALRM, before)
    decoders.close()
    database.dispose()


def told_together(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        counted = ", ".join(f"{number} {what}" for what, number in pipeline.outcomes.most_common())
        sys.stdout.write(f"\n{counted}\n")
    failures = pipeline.failures
    assert not failures, f"{len(failures)} failures\n" + "\n".join(failures[:20])
    assert pipeline.outcomes["a volume"], "some are spoilt where it does no harm"


def test_what_is_not_spoilt_goes_all_the_way(pipeline: Pipeline) -> None:
    """Otherwise the spoilt ones would be refused for what they are."""
    for one in of_the_wheel():
        (found,) = pipeline.outcome(Spoilt(0, one, "as it is", one.files))
        assert found in ("a volume", "an image") or (found == "no image" and one.name in NO_IMAGES), one.name


def test_spoilt_files_of_the_wheel(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.run(of_the_wheel(), range(100))
    told_together(pipeline, capsys)


def test_spoilt_files_of_real_scanners(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], dicom_data: Path
) -> None:
    pipeline.run(of_the_data(dicom_data), range(60))
    told_together(pipeline, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 5000, 500))
def test_five_thousand_spoilt_series(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], dicom_data: Path, first: int
) -> None:
    pipeline.run(of_the_wheel() + of_the_data(dicom_data), range(first, first + 500))
    told_together(pipeline, capsys)
