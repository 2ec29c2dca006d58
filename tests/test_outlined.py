"""Segmentations, ours and strangers', on the grid of the images."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from node.errors import Refused
from node.learning.outlined import read, subject
from node.learning.structures import Outlined
from node.objects.outlines.rtstruct import rtstruct
from node.objects.segments.writer import segmentation
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import outlines, scenes
from tests.test_mutated_files import MUTATIONS
from tests.test_rtstruct import run_of
from tests.test_segments import picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what pydicom and highdicom say of odd files

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "77654033"
FORMS = pytest.mark.parametrize("label_map", [False, True], ids=["BINARY", "LABELMAP"])
SCENES = {
    "axial": scenes.grid((1, 0, 0), (0, 1, 0), (6, 7, 8)),
    "sagittal, downwards": scenes.grid((0, 1, 0), (0, 0, -1), (6, 7, 8), descending=True),
    "oblique": scenes.grid((1, 0.3, 0.1), (-0.2, 1, 0.4), (6, 7, 8)),
    "tilted": scenes.grid((1, 0, 0), (0, 1, 0), (6, 7, 8), tilt_degrees=18),
}


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    return scenes.images("CT", SCENES["axial"])


@pytest.fixture
def volume(images: list[Dataset]) -> Volume:
    return outlines.volume_of(images)


@pytest.fixture(scope="module")
def labels() -> NDArray[np.uint8]:
    """The ball and the letter: nothing that is its own mirror image."""
    return SCENES["axial"].labels()


@pytest.fixture
def back(tmp_path: Path, volume: Volume, decoders: Decoders) -> Callable[..., Outlined]:
    def reread(ds: Dataset, onto: Volume | None = None, **options: Any) -> Outlined:
        return read(outlines.saved(ds, tmp_path), onto or volume, decoders=decoders, **options)

    return reread


def assert_holds(found: Outlined, labels: NDArray[Any]) -> None:
    assert [one.number for one in found.structures] == [1, 2]
    for one in found.structures:
        assert one.mask.any()
        np.testing.assert_array_equal(one.mask, labels == one.number)


# ---------------------------------------------------------------- real ones


@pytest.fixture(scope="module")
def abdomen(dicom_data: Path) -> Volume:
    return outlines.volume_of(outlines.headers_in(dicom_data / "seg" / "dcmqi_ct3slice" / "ct"))


def test_dcmqi_segments_are_those_of_its_label_maps(dicom_data: Path, abdomen: Volume) -> None:
    folder = dicom_data / "seg" / "dcmqi_ct3slice"
    found = read(folder / "liver.dcm", abdomen)
    (liver,) = found.structures
    np.testing.assert_array_equal(liver.mask, outlines.nrrd(folder / "liver_seg.nrrd", abdomen))
    assert (liver.name, liver.type, liver.colour) == ("Liver", ("T-62000", "SRT", "Liver"), (221, 130, 101))
    assert (liver.algorithm, found.made, found.notes) == ("SEMIAUTOMATIC", "20160318174852", ())
    about = subject(folder / "liver.dcm")
    assert about.series == {str(abdomen.headers[0].SeriesInstanceUID)}
    assert about.images == {str(header.SOPInstanceUID) for header in abdomen.headers}


def test_segments_that_overlap_stay_apart(dicom_data: Path, abdomen: Volume) -> None:
    found = read(dicom_data / "seg" / "dcmqi_ct3slice" / "partial_overlaps.dcm", abdomen)
    frames = dcmread(dicom_data / "seg" / "dcmqi_ct3slice" / "partial_overlaps.dcm")
    pixels = frames.pixel_array
    for one in found.structures:
        shown = [
            n
            for n, groups in enumerate(frames.PerFrameFunctionalGroupsSequence)
            if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == one.number
        ]
        assert one.mask.sum() == pixels[shown].sum() > 0
    together = sum(one.mask.astype(int) for one in found.structures)
    assert np.max(together) > 1
    assert found.author == "Slicer"


@pytest.mark.parametrize("encoding", ["expb", "rle", "j2k", "deflate", "nonbyte_aligned"])
def test_odd_encodings_of_bits(dicom_data: Path, abdomen: Volume, decoders: Decoders, encoding: str) -> None:
    folder = dicom_data / "seg" / "pydicom_liver_seg_encodings"
    (right,) = read(folder / "liver.dcm", abdomen).structures
    files = sorted(folder.glob(f"liver*{encoding}*.dcm"))
    assert files
    for file in files:
        (one,) = read(file, abdomen, decoders=decoders).structures
        np.testing.assert_array_equal(one.mask, right.mask)


def test_highdicom_fractions(dicom_data: Path) -> None:
    folder = dicom_data / "seg" / "highdicom_ct_segs"
    volume = outlines.volume_of(outlines.headers_in(folder / "source_ct_pydicom_wheel")[1:])
    file = folder / "seg_image_ct_true_fractional.dcm"
    stored = hd.seg.segread(file).pixel_array
    for fraction in (0.2, 0.3, 0.5):
        found = read(file, volume, fraction=fraction)
        assert found.structures[0].mask.sum() == (stored >= 255 * fraction).sum() > 0
        assert f"fractions from {fraction:g} on count" in found.notes


def test_a_radiograph_is_placed_by_its_name(dicom_data: Path) -> None:
    file = dicom_data / "seg" / "highdicom_ct_segs" / "seg_image_cr_binary.dcm"
    stored = dcmread(file).pixel_array
    (one,) = read(file, outlines.volume_of([dcmread(WHEEL / "CR1" / "6154")], flat=True)).structures
    np.testing.assert_array_equal(one.mask[0], stored > 0)
    with pytest.raises(Refused, match="label-other-images"):
        read(file, outlines.volume_of([dcmread(WHEEL / "CR2" / "6247")], flat=True))


def test_a_label_map_in_ct_clothes_is_no_label(dicom_data: Path) -> None:
    for file in sorted((dicom_data / "seg" / "lungfcp_vessel_label_as_ct" / "label").iterdir()):
        with pytest.raises(Refused, match="not-a-label"):
            subject(file)


# ---------------------------------------------------------------- our own


@FORMS
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", ["CT", "enhanced MR"])
def test_what_we_write_is_read_exactly(
    name: str, kind: str, label_map: bool, tmp_path: Path, decoders: Decoders
) -> None:
    made = scenes.images(kind, SCENES[name])
    volume = outlines.volume_of(made)
    labels = SCENES[name].labels()
    run = run_of(made, labels)
    file = tmp_path / "seg.dcm"
    file.write_bytes(segmentation(run, label_map=label_map)[0])
    found = read(file, volume, decoders=decoders)
    assert_holds(found, labels)
    for one, segment in zip(found.structures, run.provenance.card.segment, strict=True):
        coded = (one.name, one.category, one.type, one.laterality, one.anatomic_region, one.algorithm)
        wanted = (segment.label, segment.category, segment.type, segment.laterality, segment.anatomic_region)
        assert coded == (*wanted, "AUTOMATIC")
        assert one.tracking_uid == run.provenance.tracking_uid(segment)
        assert one.colour is not None
        assert np.abs(np.subtract(one.colour, segment.colour)).max() <= 4
    assert not found.notes


@FORMS
@pytest.mark.parametrize("frames", [0, 4])
def test_what_we_write_of_flat_images_is_read_exactly(
    frames: int, label_map: bool, tmp_path: Path, decoders: Decoders
) -> None:
    image = picture(frames)
    volume = outlines.volume_of([image], flat=True)
    labels = np.random.default_rng(1).choice(3, volume.geometry.shape).astype(np.uint8)
    file = tmp_path / "seg.dcm"
    file.write_bytes(segmentation(run_of([image], labels), label_map=label_map)[0])
    assert_holds(read(file, volume, decoders=decoders), labels)
    assert subject(file).frames_of_reference == frozenset()
    with pytest.raises(Refused, match="label-other-images"):
        read(file, outlines.volume_of([picture(frames)], flat=True), decoders=decoders)
    wider = deepcopy(image)
    wider.Columns = 14
    with pytest.raises(Refused, match="label-other-size"):
        read(file, outlines.volume_of([wider], flat=True), decoders=decoders)


# ---------------------------------------------------------------- where strangers put their frames

TURNS: dict[str, Callable[[hd.Volume], hd.Volume]] = {
    "cropped": lambda one: one[2:-1, 1:-2, 2:],
    "reversed": lambda one: one.flip_spatial(0),
    "mirrored": lambda one: one.flip_spatial([1, 2]),
    "sagittal": lambda one: one.permute_spatial_axes([2, 0, 1]),
    "coronal, mirrored": lambda one: one.permute_spatial_axes([1, 2, 0]).flip_spatial([0, 2]),
    "larger": lambda one: one.pad(3),
}


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("turn", TURNS)
def test_the_same_grid_in_other_hands(
    back: Any, images: list[Dataset], volume: Volume, labels: NDArray[np.uint8], turn: str, kind: str
) -> None:
    given = TURNS[turn](outlines.as_hd(labels, volume))
    found = back(outlines.seg(images, given, kind))
    assert_holds(found, labels)
    assert not found.notes
    assert (found.author, found.tool) == ("Reader^Ruth", "Somebody Workstation 1.2")


@pytest.mark.parametrize("plain", [False, True])
def test_the_order_of_frames_says_nothing(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8], plain: bool
) -> None:
    """Frames in any order, each twice; empty ones there or not."""
    ds = outlines.reread(outlines.seg(images, labels, omit_empty_frames=plain))
    pixels = ds.pixel_array
    order = np.random.default_rng(2).permutation(np.repeat(np.arange(len(pixels)), 2))
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    ds.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    ds.NumberOfFrames = len(order)
    packed = np.packbits(pixels[order].ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + bytes(len(packed) % 2)
    assert_holds(back(ds), labels)


def test_frames_that_contradict_each_other_are_refused(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    ds = outlines.reread(outlines.seg(images, labels))
    first, second = ds.PerFrameFunctionalGroupsSequence[:2]
    second.PlanePositionSequence = first.PlanePositionSequence
    with pytest.raises(Refused, match="label-ambiguous"):
        back(ds)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=["RLE", "JPEG 2000", "JPEG-LS"])
@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_compressed_frames(back: Any, kind: str, syntax: str) -> None:
    where = scenes.grid((1, 0, 0), (0, 1, 0), (2.5, 2.5, 16))
    made, labels = scenes.images("CT", where), where.labels()
    pixels: NDArray[Any] = labels
    if kind == "FRACTIONAL":
        pixels = np.stack([labels == 1, labels == 2], axis=-1) * np.float32(0.75)
    ds = outlines.seg(made, pixels, kind, transfer_syntax_uid=syntax)
    assert_holds(back(ds, outlines.volume_of(made)), labels)


def test_sixteen_bits(back: Any, images: list[Dataset], labels: NDArray[np.uint8]) -> None:
    many = [outlines.described(n, f"Organ {n}", outlines.LIVER) for n in range(1, 261)]
    for syntax in ("1.2.840.10008.1.2.1", RLELossless):
        found = back(
            outlines.seg(images, labels.astype(np.uint16) * 130, "LABELMAP", segments=many, transfer_syntax_uid=syntax)
        )
        assert len(found.structures) == 260
        for number, value in ((130, 1), (260, 2)):
            np.testing.assert_array_equal(found.structures[number - 1].mask, labels == value)


def test_another_grid_is_resampled_and_said_so(back: Any, volume: Volume, images: list[Dataset]) -> None:
    """Finer, oblique or shifted by half a pixel: each voxel has what was drawn at its middle."""
    finer = scenes.grid((1, 0.05, 0), (0, 1, 0.1), (2, 2.5, 3))
    other = outlines.volume_of(scenes.images("CT", finer))
    given = outlines.as_hd(finer.labels(), other)
    ds = outlines.seg(images, hd.Volume(given.array, given.affine, "PATIENT", frame_of_reference_uid=place(volume)))
    found = back(ds)
    right = SCENES["axial"].labels()
    for one in found.structures:
        assert outlines.dice(one.mask, right == one.number) > 0.85
    assert any(note.startswith("resampled: drawn on a grid of 2 x 2.5 x 3 mm") for note in found.notes)


def place(volume: Volume) -> str:
    return str(volume.headers[0].FrameOfReferenceUID)


def test_resampling_takes_the_nearest_pixel(back: Any, volume: Volume, images: list[Dataset]) -> None:
    """A grid of half the step, so placed that every other of its pixels is the middle of a voxel, and one is not."""
    labels = np.random.default_rng(4).choice(3, volume.geometry.shape).astype(np.uint8)
    twice = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = outlines.as_hd(labels, volume).affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [0.25, 0.25, 0.25]
    affine[:3, :3] /= 2
    found = back(outlines.seg(images, hd.Volume(twice, affine, "PATIENT", frame_of_reference_uid=place(volume))))
    assert_holds(found, labels)
    assert any("resampled" in note for note in found.notes)


@pytest.mark.parametrize("stated", [True, False])
def test_frames_on_every_second_slice(
    back: Any, volume: Volume, images: list[Dataset], labels: NDArray[np.uint8], stated: bool
) -> None:
    """Drawn on a series of twice the thickness, a frame stands for two slices; else the others are empty."""
    ds = outlines.reread(outlines.seg(images, outlines.as_hd(labels, volume)[::2]))
    if not stated:
        for groups in [ds.SharedFunctionalGroupsSequence[0], *ds.PerFrameFunctionalGroupsSequence]:
            for measures in groups.get("PixelMeasuresSequence", []):
                del measures.SpacingBetweenSlices
    found = back(ds)
    for one in found.structures:
        right = labels == one.number
        np.testing.assert_array_equal(one.mask[::2], right[::2])
        nearest = [right[::2], np.concatenate([right[2::2], np.zeros_like(right[:1])])]
        assert any(np.array_equal(one.mask[1::2], same) for same in nearest) == stated
        assert one.mask[1::2].any() == stated
    assert any("resampled" in note for note in found.notes) == stated


def test_what_lies_elsewhere_is_refused(
    back: Any, volume: Volume, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    given = outlines.as_hd(labels, volume)
    for shift, drawn in ((30, labels), (6, labels * (labels == 2))):
        affine = given.affine.copy()
        affine[:3, 3] += affine[:3, 0] * shift
        moved = hd.Volume(drawn, affine, "PATIENT", frame_of_reference_uid=place(volume))
        with pytest.raises(Refused, match="label-elsewhere"):
            back(outlines.seg(images, moved))
    padded = np.pad(labels * np.uint8(0), ((0, 2), (0, 0), (0, 0)))
    padded[3:6, 2:12, 2:12], padded[-1, 5, 5] = 1, 1
    padded[5:, 13:, 13:] = 2
    found = back(outlines.seg(images, hd.Volume(padded, given.affine, "PATIENT", frame_of_reference_uid=place(volume))))
    assert [one.number for one in found.structures] == [1]
    assert any("1 voxels lie outside" in note for note in found.notes)
    assert any("Lung" in note and "label-elsewhere" in note for note in found.notes)


def test_another_frame_of_reference(
    back: Any, volume: Volume, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    """It is refused, unless each frame names the very image that it lies on."""
    ds = outlines.reread(outlines.seg(images, labels))
    ds.FrameOfReferenceUID = generate_uid()
    assert_holds(back(ds), labels)
    assert any("another frame of reference" in note for note in back(ds).notes)
    shifted = outlines.reread(outlines.seg(images, labels))
    shifted.FrameOfReferenceUID = generate_uid()
    for groups in shifted.PerFrameFunctionalGroupsSequence:
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + 8]
    with pytest.raises(Refused, match="label-other-frame"):
        back(shifted)
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence
    with pytest.raises(Refused, match="label-other-frame"):
        back(ds)


def test_frames_that_name_other_images_are_placed_and_told_of(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    ds = outlines.reread(outlines.seg(images, labels))
    frames = ds.PerFrameFunctionalGroupsSequence
    named = [groups.DerivationImageSequence for groups in frames]
    for groups, other in zip(frames, named[::-1], strict=True):
        groups.DerivationImageSequence = other
    found = back(ds)
    assert_holds(found, labels)
    assert any("name another image" in note for note in found.notes)


def test_no_place_at_all_but_names(back: Any, images: list[Dataset], labels: NDArray[np.uint8]) -> None:
    ds = outlines.reread(outlines.seg(images, labels))
    del ds.FrameOfReferenceUID
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    assert_holds(back(ds), labels)


# ---------------------------------------------------------------- habits


def test_ohif_loses_codes_and_keeps_names(back: Any, images: list[Dataset], labels: NDArray[np.uint8]) -> None:
    """A label map in RLE, without tracking, codes and the images of its frames; its background may be described."""
    ds = outlines.reread(outlines.seg(images, labels, "LABELMAP", transfer_syntax_uid=RLELossless))
    for segment in ds.SegmentSequence:
        for keyword in ("TrackingUID", "TrackingID", "SegmentAlgorithmType"):
            if keyword in segment:
                del segment[keyword]
        for keyword in ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence"):
            segment[keyword].value[0].CodeValue = ""
    for groups in ds.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in groups:
            del groups.DerivationImageSequence
    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence", "ContentCreatorName"):
        if keyword in ds:
            del ds[keyword]
    found = back(ds)
    assert_holds(found, labels)
    first, second = found.structures
    assert (first.name, first.type, first.algorithm, first.tracking_uid) == ("Liver", None, "", "")
    assert first.colour is not None
    assert np.abs(np.subtract(first.colour, (200, 30, 90))).max() <= 3
    assert second.colour is None


def test_what_is_empty_is_still_there(back: Any, images: list[Dataset], labels: NDArray[np.uint8]) -> None:
    """A reader has removed all of it."""
    found = back(outlines.seg(images, np.zeros_like(labels)))
    assert [one.mask.sum() for one in found.structures] == [0, 0]


def test_the_side_stands_with_the_organ_or_with_the_region(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    left = Dataset()
    left.CodeValue, left.CodingSchemeDesignator, left.CodeMeaning = "7771000", "SCT", "Left"
    ds = outlines.reread(outlines.seg(images, labels))
    ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [left]
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    region.AnatomicRegionModifierSequence = [left]
    ds.SegmentSequence[1].AnatomicRegionSequence = [region]
    first, second = back(ds).structures
    assert first.laterality == second.laterality == ("7771000", "SCT", "Left")
    assert (first.anatomic_region, second.anatomic_region) == (None, ("51185008", "SCT", "Chest"))


def test_a_segment_that_is_not_described_is_refused(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    for kind in ("BINARY", "LABELMAP"):
        ds = outlines.reread(outlines.seg(images, labels, kind))
        ds.SegmentSequence = [one for one in ds.SegmentSequence if one.SegmentNumber != 2]
        with pytest.raises(Refused, match="label-segments"):
            back(ds)


# ---------------------------------------------------------------- what is broken, or means harm


def declared(images: list[Dataset], labels: NDArray[np.uint8], kind: str, **values: Any) -> Dataset:
    ds = outlines.reread(outlines.seg(images, labels, kind, transfer_syntax_uid=RLELossless))
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "values",
    [
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 99_999_999},
        {"NumberOfFrames": 99_999},
        {"Rows": 8000, "Columns": 8000},
        {"Columns": 0},
        {"BitsAllocated": 32},
        {"SamplesPerPixel": 3},
        {"SegmentationType": "COLOURFUL"},
    ],
    ids=str,
)
def test_absurd_sizes_are_refused_before_they_take_memory(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8], values: dict[str, Any]
) -> None:
    ds = declared(images, labels, "LABELMAP", **values)
    tracemalloc.start()
    with pytest.raises(Refused):
        back(ds)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_deflated_bomb_is_no_larger_than_its_frame(
    back: Any, images: list[Dataset], labels: NDArray[np.uint8]
) -> None:
    ds = outlines.reread(outlines.seg(images, labels))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(1 << 26)) + packer.flush()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.840.10008.1.2.8.1")
    ds.PixelData = encapsulate([bomb] * int(ds.NumberOfFrames))
    ds["PixelData"].is_undefined_length = True
    tracemalloc.start()
    assert not any(one.mask.any() for one in back(ds).structures)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000


def test_pixels_that_are_not_as_many_as_declared(back: Any, images: list[Dataset], labels: NDArray[np.uint8]) -> None:
    for change in (-2, 2):
        ds = outlines.reread(outlines.seg(images, labels))
        ds.PixelData = ds.PixelData[:change] if change < 0 else ds.PixelData + bytes(change)
        with pytest.raises(Refused, match="label-pixels"):
            back(ds)


def test_a_file_that_ends_early_is_refused(
    images: list[Dataset], volume: Volume, labels: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Nothing that lacks a slice may be taken for a mask."""
    run = run_of(images, labels)
    for number, data in enumerate((segmentation(run)[0], segmentation(run, label_map=True)[0], rtstruct(run))):
        file = tmp_path / f"{number}.dcm"
        for part in (0, 200, len(data) // 3, len(data) // 2, len(data) - 20, len(data) - 2):
            file.write_bytes(data[:part])
            with pytest.raises(Refused):
                read(file, volume)


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP", "FRACTIONAL", "RTSTRUCT"])
@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 2000), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_spoilt_files_are_refused_or_read(
    images: list[Dataset],
    volume: Volume,
    labels: NDArray[np.uint8],
    tmp_path: Path,
    decoders: Decoders,
    form: str,
    seeds: range,
) -> None:
    run, file = run_of(images, labels), tmp_path / "spoilt.dcm"
    if form == "RTSTRUCT":
        data = rtstruct(run)
    elif form == "FRACTIONAL":
        pixels = np.stack([labels == 1, labels == 2], axis=-1) * np.float32(0.75)
        data = outlines.saved(outlines.seg(images, pixels, form), tmp_path).read_bytes()
    else:
        data = segmentation(run, label_map=form == "LABELMAP")[0]
    outcomes = set()
    for seed in seeds:
        random = Random(seed)
        file.write_bytes(random.choice(MUTATIONS)(random, data, data))
        try:
            subject(file)
            found = read(file, volume, decoders=decoders)
            assert all(one.mask.shape == volume.geometry.shape for one in found.structures)
            outcomes.add("read")
        except Refused as refused:
            outcomes.add(refused.code)
    assert "read" in outcomes
    assert len(outcomes) > 3
