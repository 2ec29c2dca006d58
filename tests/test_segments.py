"""The segmentation writer: strangers read the same voxels, and all else is what highdicom would have written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from rle import rle as pylibjpeg_rle

from models import card
from models.card import Card
from models.input_rules import Input
from node.errors import Refused
from node.objects.headers import repaired
from node.objects.run import Run, SegReference
from node.objects.segments import rle
from node.objects.segments.describe import segments
from node.objects.segments.frames import Layout, layout
from node.objects.segments.pixels import write_bits
from node.objects.segments.writer import segmentation
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import scenes
from tests.peers_tools import dciodvfy, dcmqi_labels
from tests.runs import provenance
from tests.synthetic import as_files, small_series

SHIPPED = card.find("ct_lungs", (card.SHIPPED,)).card
PICTURE = Input(modality=("CR", "US"), kind="image", secondary_capture=True)
FORMS = pytest.mark.parametrize("label_map", [False, True], ids=["BINARY", "LABELMAP"])
LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"

Labels = NDArray[Any]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


@pytest.fixture
def read(tmp_path: Path, decoders: Decoders) -> Iterator[Callable[..., Volume]]:
    """Images -> volume."""
    opened: list[Volume] = []

    def one(images: Sequence[Dataset], rule: Input = volume.PLAIN) -> Volume:
        opened.append(volume.build(as_files(images, tmp_path / f"in{len(opened)}"), decoders, rule))
        return opened[-1]

    yield one
    for built in opened:
        built.close()


def card_of(values: Sequence[int]) -> Card:
    """A network with these label values; every other segment lies on a side, every third in a region."""
    first, made = SHIPPED.segment[0], []
    for n, value in enumerate(values):
        changes: dict[str, Any] = {"value": value, "label": f"Organ {value}", "colour": (n % 256, 90, 255 - n % 256)}
        changes["laterality"] = first.laterality if n % 2 == 0 else None
        changes["anatomic_region"] = ("51185008", "SCT", "Chest") if n % 3 == 0 else None
        made.append(first.model_copy(update=changes))
    return SHIPPED.model_copy(update={"segment": tuple(made)})


def run_of(built: Volume, labels: Labels, values: Sequence[int] = (1, 2), **changes: Any) -> Run:
    sources = repaired(built.headers, built.geometry)
    made_by = provenance(sources, card=card_of(values), **changes)
    return Run(volume=built, sources=sources, labels=labels, measured=(), provenance=made_by)


def scattered(shape: tuple[int, ...], values: Sequence[int], seed: int = 1) -> Labels:
    """Every value in a few boxes, so that nothing is symmetric; the first and the last slice stay empty."""
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    for value in [*values, *values]:
        low = [int(random.integers(0, n)) for n in (shape[0] - 2, *shape[1:])]
        k, j, i = (slice(at, at + int(random.integers(1, n))) for at, n in zip(low, shape, strict=True))
        labels[1:-1][k, j, i] = value
    for n, value in enumerate(values):  # none is quite hidden behind later ones
        labels[1 + n % (shape[0] - 2), n // shape[2] % shape[1], n % shape[2]] = value
    return labels


# ------------------------------------------------------------------ readers


def by_frames(ds: Dataset, run: Run) -> Labels:
    """The label values, frame by frame: a frame lies where it says, or on the image and frame that it names."""
    values = [segment.value for segment in run.provenance.card.segment]
    back = np.zeros(run.labels.shape, run.labels.dtype)
    for frame, groups in zip(ds.pixel_array.reshape(-1, ds.Rows, ds.Columns), per_frame(ds), strict=True):
        named = groups.DerivationImageSequence[0].SourceImageSequence[0]
        k = index_of(run, named)
        if "FrameOfReferenceUID" in ds:
            assert groups.PlanePositionSequence[0].ImagePositionPatient == run.sources[k].ImagePositionPatient
        if ds.SegmentationType == "LABELMAP":
            back[k] = np.array([0, *values])[frame]
        else:
            number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            assert not back[k][frame > 0].any()
            back[k][frame > 0] = values[number - 1]
    return back


def per_frame(ds: Dataset) -> list[Dataset]:
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    assert len(groups) == ds.NumberOfFrames
    return groups


def index_of(run: Run, named: Dataset) -> int:
    known = [(one.SOPInstanceUID, frame) for one, frame in zip(run.sources, run.volume.frames, strict=True)]
    return known.index((named.ReferencedSOPInstanceUID, int(named.get("ReferencedFrameNumber") or 0)))


def by_highdicom(file: Path, run: Run) -> Labels:
    """Segment numbers on the grid of the images."""
    grid = run.volume.geometry.affine[:, [2, 1, 0, 3]]
    wanted = hd.Volume(np.zeros(run.labels.shape, np.float32), grid, coordinate_system="PATIENT")
    read = hd.seg.segread(file).get_volume(combine_segments=True, skip_overlap_checks=True)
    return np.asarray(read.match_geometry(wanted).array)


def by_dcmqi(file: Path, run: Run, folder: Path) -> Labels:
    """Segment numbers; dcmqi writes the slices that have something, in an order of its own."""
    folder.mkdir()
    labels, affine, _ = dcmqi_labels(file, folder)
    to_ours = np.linalg.inv(run.volume.geometry.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    found = np.argwhere(labels)
    at = np.round((to_ours @ np.column_stack([found, np.ones(len(found))]).T)[:3]).astype(int)
    back = np.zeros(run.labels.shape, np.uint8)
    back[at[2], at[1], at[0]] = labels[tuple(found.T)]
    return back


def numbered(run: Run) -> Labels:
    """Segment numbers, by definition."""
    back = np.zeros(run.labels.shape, np.uint16)
    for number, segment in enumerate(run.provenance.card.segment, 1):
        back[run.labels == segment.value] = number
    return back


def written(run: Run, folder: Path, *, label_map: bool, **options: bool) -> tuple[Path, Dataset, SegReference]:
    """A file, what pydicom reads in it, and the reference; conformant, and encoded as pydicom encodes it."""
    data, reference = segmentation(run, label_map=label_map, **options)
    file = folder / "seg.dcm"
    file.write_bytes(data)
    assert dciodvfy(file) == []
    ds = dcmread(file)
    again = BytesIO()
    ds.save_as(again, enforce_file_format=True)
    assert again.getvalue() == data
    assert ds.file_meta.TransferSyntaxUID == (RLELossless if label_map else ExplicitVRLittleEndian)
    return file, ds, reference


# ------------------------------------------------------------ voxel for voxel


def rotated() -> list[Dataset]:
    return scenes.images("CT", scenes.grid((1, 0.3, -0.2), (-0.1, 0.9, 0.5), (3, 4, 7), extent_mm=60))


SERIES: dict[str, Callable[[], list[Dataset]]] = {
    "axial": small_series,
    "odd": lambda: small_series((7, 5, 6)),
    "one bit over": lambda: small_series((11, 3, 5)),
    "oblique": rotated,
}


@FORMS
@pytest.mark.parametrize(
    ("series", "segment_count"),
    [("axial", 1), ("axial", 2), ("axial", 24), ("odd", 1), ("odd", 24), ("one bit over", 2), ("oblique", 2)],
)
def test_strangers_read_the_same_voxels(
    read: Any, tmp_path: Path, series: str, segment_count: int, label_map: bool
) -> None:
    built = read(SERIES[series]())
    values = range(1, segment_count + 1)
    run = run_of(built, scattered(built.geometry.shape, values), values)
    file, ds, reference = written(run, tmp_path, label_map=label_map)
    assert np.array_equal(by_frames(ds, run), run.labels)
    assert np.array_equal(by_highdicom(file, run), run.labels)
    assert np.array_equal(by_dcmqi(file, run, tmp_path / "dcmqi"), run.labels)
    assert refers_to_frames(reference, ds, run)


def refers_to_frames(reference: SegReference, ds: Dataset, run: Run) -> bool:
    assert (reference.sop_class_uid, reference.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)
    assert reference.series_uid == ds.SeriesInstanceUID
    found = {}
    for place, groups in enumerate(per_frame(ds), 1):
        k = index_of(run, groups.DerivationImageSequence[0].SourceImageSequence[0])
        shown = groups.get("SegmentIdentificationSequence")
        numbers = range(1, len(run.provenance.card.segment) + 1)
        for number in [shown[0].ReferencedSegmentNumber] if shown else numbers:
            found[int(number), k] = place
    return found == reference.frames


@FORMS
@pytest.mark.parametrize("what", ["empty", "full", "single voxel", "edges", "one segment"])
def test_masks_of_every_shape(read: Any, tmp_path: Path, what: str, label_map: bool) -> None:
    labels = np.zeros((6, 5, 16), np.uint8)
    if what == "full":
        labels[:] = 2
    elif what == "single voxel":
        labels[3, 4, 15] = 1
    elif what == "edges":
        labels[0], labels[-1], labels[:, 0, 0], labels[:, -1, -1] = 1, 2, 1, 2
    elif what == "one segment":
        labels[2:5, 1:3, 2:6] = 2
    run = run_of(read(small_series((16, 5, 6))), labels)
    file, ds, reference = written(run, tmp_path, label_map=label_map)
    slices = {"empty": 1, "full": 6, "single voxel": 1, "edges": 6, "one segment": 3}[what]
    both = 12 if what == "edges" else slices
    assert ds.NumberOfFrames == (slices if label_map else both)
    assert [one.SegmentNumber for one in ds.SegmentSequence] == ([0, 1, 2] if label_map else [1, 2])
    assert np.array_equal(by_frames(ds, run), labels)
    assert np.array_equal(by_highdicom(file, run), labels)
    assert np.array_equal(by_dcmqi(file, run, tmp_path / "dcmqi"), labels)
    assert refers_to_frames(reference, ds, run)


@FORMS
def test_numbers_are_places_in_the_card_whatever_the_label_values(read: Any, tmp_path: Path, label_map: bool) -> None:
    values = (200, 3, 255, 17)
    built = read(small_series())
    run = run_of(built, scattered(built.geometry.shape, values), values)
    file, ds, _ = written(run, tmp_path, label_map=label_map)
    described = {one.SegmentNumber: one.SegmentLabel for one in ds.SegmentSequence if one.SegmentNumber}
    assert described == {1: "Organ 200", 2: "Organ 3", 3: "Organ 255", 4: "Organ 17"}
    assert np.array_equal(by_frames(ds, run), run.labels)
    assert np.array_equal(by_highdicom(file, run), numbered(run))


@pytest.mark.parametrize("pixels", range(1, 33))
def test_the_length_of_the_pixels_says_where_frames_begin(pixels: int) -> None:
    """As cornerstone3D concludes: first from the length of frames that begin at bytes, then from that of bits."""
    for frames in range(1, 20):
        labels = np.zeros((40, 1, pixels), np.uint8)
        labels[10 : 10 + frames, 0, 0] = 1
        made = layout(labels, [(1,)], label_map=False, in_patient=True)
        length = -(-len(made.frames) * pixels // 8)
        assert length % 2 == 0
        if length == len(made.frames) * -(-pixels // 8):
            assert pixels % 8 == 0 or len(made.frames) == 1
        added = len(made.frames) - frames
        assert added == 0 if pixels % 16 == 0 else added < 16
        assert np.ptp(made.slices) == len(made.slices) - 1
        assert len(layout(labels, [(1,)], label_map=True, in_patient=True).frames) == frames


def test_more_segments_than_a_byte_holds(read: Any, tmp_path: Path) -> None:
    built = read(small_series((30, 20, 5)))
    labels = np.zeros(built.geometry.shape, np.uint16)
    values = [5 + 7 * n for n in range(256)]
    labels.ravel()[200:968] = np.repeat(values, 3)
    run = run_of(built, labels, values)
    file, ds, _ = written(run, tmp_path, label_map=True)
    assert ds.BitsAllocated == 16
    assert np.array_equal(by_frames(ds, run), labels)
    assert np.array_equal(by_highdicom(file, run), numbered(run))


def test_a_value_that_the_card_does_not_know_is_refused(read: Any) -> None:
    labels = np.zeros((8, 20, 24), np.uint8)
    labels[4, 5, 6] = 3
    with pytest.raises(Refused) as refused:
        segmentation(run_of(read(small_series()), labels))
    assert refused.value.code == "output-unknown-label"


def test_what_is_larger_than_a_dicom_object_can_be_is_refused() -> None:
    many = Layout(frames=((1, 0),) * 2049, slices=(0,), in_patient=True)
    stream = BytesIO()
    with pytest.raises(Refused) as refused:
        write_bits(stream, np.zeros((1, 4096, 4096), np.uint8), [(1,)], many)
    assert refused.value.code == "result-too-large"
    assert not stream.getvalue()


# --------------------------------------------------------- other than axial CT


@FORMS
def test_a_tilted_stack_lies_where_its_images_lie(read: Any, tmp_path: Path, label_map: bool) -> None:
    where = scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 6), tilt_degrees=18)
    built = read(scenes.images("CT", where))
    run = run_of(built, where.labels())
    _, ds, _ = written(run, tmp_path, label_map=label_map)
    assert np.array_equal(by_frames(ds, run), run.labels)
    assert "DimensionOrganizationType" not in ds
    places = np.array([groups.PlanePositionSequence[0].ImagePositionPatient for groups in per_frame(ds)], float)
    assert np.ptp(places[:, 1]) > 5


@FORMS
def test_frames_of_a_multi_frame_image_are_named(read: Any, tmp_path: Path, label_map: bool) -> None:
    where = scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 6))
    order = [3, 1, 2, 0, *range(4, where.shape[0])]
    (image,) = scenes.images("enhanced CT", where, order=order)
    run = run_of(read([image]), where.labels())
    file, ds, _ = written(run, tmp_path, label_map=label_map)
    assert np.array_equal(by_frames(ds, run), run.labels)
    assert np.array_equal(by_highdicom(file, run), run.labels)
    for groups in per_frame(ds):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        place = image.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(place.ImagePositionPatient)
    references = [ds.SourceImageSequence, ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    for (once,) in references:
        assert (once.ReferencedSOPClassUID, once.ReferencedSOPInstanceUID) == (image.SOPClassUID, image.SOPInstanceUID)


def picture(frames: int, **values: Any) -> Dataset:
    """A radiograph, or so many frames of ultrasound."""
    ds = scenes.header("US" if frames else "CR", generate_uid(), generate_uid())
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage if frames else ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.InstanceNumber, ds.PatientOrientation = 1, ["L", "F"]
    scenes.with_pixels(ds, np.zeros((*([frames] if frames else []), 9, 13), np.int16))
    if frames:
        ds.NumberOfFrames = frames
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@FORMS
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(("frames", "spacing"), [(0, None), (0, [0.5, 0.25]), (4, None)])
def test_what_lies_nowhere_has_all_frames_and_no_place(
    read: Any, tmp_path: Path, frames: int, spacing: Any, empty: bool, label_map: bool
) -> None:
    image = picture(frames, **({"PixelSpacing": spacing} if spacing else {}))
    labels = np.zeros((max(frames, 1), 9, 13), np.uint8)
    if not empty:
        labels[-1, 2:5, 3:9] = 2
    run = run_of(read([image], PICTURE), labels)
    _, ds, reference = written(run, tmp_path, label_map=label_map)
    assert ds.NumberOfFrames == max(frames, 1) * (1 if label_map else 2)
    assert np.array_equal(by_frames(ds, run), labels)
    assert refers_to_frames(reference, ds, run)
    shared = ds.SharedFunctionalGroupsSequence[0]
    assert {"FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"}.isdisjoint(ds.dir())
    assert "PlaneOrientationSequence" not in shared
    assert ("PixelMeasuresSequence" in shared) is bool(spacing)
    assert list(ds.PatientOrientation) == ["L", "F"]
    for groups in per_frame(ds):
        assert "PlanePositionSequence" not in groups
        content = groups.FrameContentSequence[0]
        k = index_of(run, groups.DerivationImageSequence[0].SourceImageSequence[0])
        assert content.TemporalPositionIndex == k + 1


# ------------------------------------------------------------- what is said


#: what differs, and why
BY_CHANCE = {"DimensionOrganizationUID"}
OURS = {
    "ContributingEquipmentSequence": "highdicom names itself",
    "InstanceCreationDate": "of the first attempt",
    "InstanceCreationTime": "of the first attempt",
    "ContentDate": "of the first attempt",
    "ContentTime": "of the first attempt",
    "SeriesDate": "highdicom has none",
    "SeriesTime": "highdicom has none",
    "BodyPartExamined": "highdicom has none",
    "ContentCreatorName": "highdicom has none; type 2, so it is there, empty (PS3.3 table 10-12)",
    "PixelData": "compared by every other test",
}


@FORMS
@pytest.mark.parametrize("segment_count", [1, 3])
def test_all_else_is_what_highdicom_writes(read: Any, tmp_path: Path, segment_count: int, label_map: bool) -> None:
    built = read(small_series())
    values = range(1, segment_count + 1)
    run = run_of(built, scattered(built.geometry.shape, values), values)
    _, ds, _ = written(run, tmp_path, label_map=label_map)
    theirs = highdicoms(run, ds, label_map=label_map)
    if segment_count == 1 and not label_map:  # shared there; ours stays in each frame, where every viewer looks
        shared = theirs.SharedFunctionalGroupsSequence[0]
        for groups in theirs.PerFrameFunctionalGroupsSequence:
            groups.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
        del shared.SegmentIdentificationSequence
    assert plain(ds) == plain(theirs)


def highdicoms(run: Run, ours: Dataset, *, label_map: bool) -> Dataset:
    made = hd.seg.Segmentation(
        source_images=run.sources,
        pixel_array=run.labels,
        segmentation_type="LABELMAP" if label_map else "BINARY",
        segment_descriptions=segments(run.provenance, label_map=False),
        series_instance_uid=ours.SeriesInstanceUID,
        series_number=ours.SeriesNumber,
        series_description=ours.SeriesDescription,
        sop_instance_uid=ours.SOPInstanceUID,
        instance_number=1,
        content_label=ours.ContentLabel,
        content_description=ours.ContentDescription,
        content_qualification="RESEARCH",
        transfer_syntax_uid=ours.file_meta.TransferSyntaxUID,
        specific_character_set="ISO_IR 192",
        **run.provenance.general_equipment(),
    )
    stream = BytesIO()
    made.save_as(stream)
    return dcmread(BytesIO(stream.getvalue()))


def plain(ds: Dataset) -> dict[str, Any]:
    """Keyword -> values, without what differs."""
    return {
        one.keyword: [plain(item) for item in one.value] if one.VR == "SQ" else one.value
        for one in ds
        if one.keyword not in OURS and one.keyword not in BY_CHANCE
    }


@FORMS
def test_who_made_it_where_it_belongs_and_what_it_shows(read: Any, tmp_path: Path, label_map: bool) -> None:
    built = read(small_series())
    run = run_of(built, scattered(built.geometry.shape, (1, 2)))
    _, ds, _ = written(run, tmp_path, label_map=label_map)
    one = run.provenance.card
    scanner, network = ds.ContributingEquipmentSequence
    assert (scanner.ManufacturerModelName, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("phantom", "109101")
    assert (network.ManufacturerModelName, network.PurposeOfReferenceCodeSequence[0].CodeValue) == (one.name, "109102")
    assert network.DeviceUID == one.device_uid
    assert (ds.Manufacturer, ds.SoftwareVersions, ds.DeviceSerialNumber) == ("Planimeter", "0.1.0", "0123456789abcdef")
    assert ds.SOPClassUID == (LABEL_MAP_STORAGE if label_map else "1.2.840.10008.5.1.4.1.1.66.4")
    assert ds.SeriesNumber == (9002 if label_map else 9001)
    for described, segment in zip(ds.SegmentSequence[-2:], one.segment, strict=True):
        assert described.TrackingUID == run.provenance.tracking_uid(segment)
        assert described.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == one.version
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        assert ("SegmentedPropertyTypeModifierCodeSequence" in kind) is bool(segment.laterality)
        assert ("AnatomicRegionSequence" in described) is bool(segment.anatomic_region)
    named = [item.ReferencedSOPInstanceUID for item in ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert named == [header.SOPInstanceUID for header in built.headers]
    for groups in per_frame(ds):
        assert groups.DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved == "YES"


def test_images_without_a_manufacturer_name_no_scanner(read: Any, tmp_path: Path) -> None:
    images = small_series()
    for ds in images:
        del ds.Manufacturer, ds.ManufacturerModelName
    built = read(images)
    _, ds, _ = written(run_of(built, scattered(built.geometry.shape, (1, 2))), tmp_path, label_map=False)
    assert [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in ds.ContributingEquipmentSequence] == ["109102"]


def test_the_same_run_gives_the_same_bytes_and_each_form_a_uid_and_series(read: Any, tmp_path: Path) -> None:
    built = read(small_series())
    run = run_of(built, scattered(built.geometry.shape, (1, 2)))
    uids, series = set(), set()
    for label_map, options in ((False, "BINARY"), (True, "LABELMAP")):
        for marked in (False, True):
            data, reference = segmentation(run, label_map=label_map, marked=marked)
            assert segmentation(run, label_map=label_map, marked=marked)[0] == data
            name = options + "-MARKED" * marked
            assert reference.sop_instance_uid == run.provenance.result_uid("SEG", name)
            described = dcmread(BytesIO(data)).SeriesDescription
            assert described == run.provenance.described("SEG", marked=marked)
            assert ("CHECK" in described) is marked
            uids.add(reference.sop_instance_uid)
            series.add(reference.series_uid)
    assert len(uids) == len(series) == 4


@pytest.mark.parametrize("fault", ["a bit", "a place", "a number", "a frame lost"])
def test_the_readers_of_these_tests_notice(read: Any, tmp_path: Path, fault: str) -> None:
    """A planted fault each: what these tests would not see, they would not prove."""
    built = read(small_series())
    run = run_of(built, scattered(built.geometry.shape, (1, 2)))
    file, ds, _ = written(run, tmp_path, label_map=False)
    groups = ds.PerFrameFunctionalGroupsSequence
    if fault == "a bit":
        ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]
    elif fault == "a place":
        ends = (groups[0], groups[-1])
        ends[0].DerivationImageSequence, ends[1].DerivationImageSequence = (
            ends[1].DerivationImageSequence,
            ends[0].DerivationImageSequence,
        )
        ends[0].PlanePositionSequence, ends[1].PlanePositionSequence = (
            ends[1].PlanePositionSequence,
            ends[0].PlanePositionSequence,
        )
    elif fault == "a number":
        number = groups[0].SegmentIdentificationSequence[0]
        number.ReferencedSegmentNumber = 3 - number.ReferencedSegmentNumber
    else:
        groups.pop()
        ds.NumberOfFrames -= 1
        ds.PixelData = ds.PixelData[: -ds.Rows * ds.Columns // 8]
    ds.save_as(file)
    for seen in (lambda: by_frames(ds, run), lambda: by_highdicom(file, run)):
        try:
            same = np.array_equal(seen(), run.labels)
        except (AssertionError, RuntimeError):
            same = False
        assert not same


# ----------------------------------------------------------------------- RLE


def decoded(frame: Labels) -> None:
    """By two decoders; and each row ends where a run ends (PS3.5 G.3.1)."""
    coded = rle.encoded(frame)
    bits, size = frame.dtype.itemsize * 8, frame.dtype.newbyteorder("<")
    assert len(coded) % 2 == 0
    assert np.array_equal(np.frombuffer(_rle_decode_frame(coded, *frame.shape, 1, bits), size), frame.ravel())
    again = pylibjpeg_rle.decode_frame(coded, frame.size, bits, "<")
    assert np.array_equal(np.frombuffer(again, size), frame.ravel())
    offsets = np.frombuffer(coded[4:64], "<u4")[: frame.dtype.itemsize]
    for begin, end in zip(offsets, [*offsets[1:], len(coded)], strict=True):
        assert begin % 2 == 0
        assert end - begin - bytes_of_rows(coded[begin:end], *frame.shape) in (0, 1)


def bytes_of_rows(segment: bytes, rows: int, columns: int) -> int:
    """How many bytes the runs of all rows take; no run reaches over the end of a row."""
    at = 0
    for _ in range(rows):
        seen = 0
        while seen < columns:
            length = segment[at]
            assert length != 128
            seen += 257 - length if length > 128 else length + 1
            at += 2 if length > 128 else length + 2
        assert seen == columns
    return at


ROWS = {
    "one byte": [7],
    "two the same": [7, 7],
    "two others": [7, 8],
    "a run of 127": [1] * 127,
    "a run of 128": [1] * 128,
    "a run of 129": [1] * 129,
    "a run of 256 and one": [1] * 257,
    "a literal of 127": [n % 251 for n in range(127)],
    "a literal of 128": [n % 251 for n in range(128)],
    "a literal of 129": [n % 251 for n in range(129)],
    "a literal of 300": [n % 251 for n in range(300)],
    "alternating": [0, 1] * 150,
    "runs of two": [n // 2 % 251 for n in range(300)],
    "a run between literals": [1, 2, 3, *[9] * 130, 4, 5, 6],
    "a literal between runs": [*[9] * 128, 1, 2, *[9] * 129],
    "ends alone": [*[9] * 128, 1],
    "a wide row": [0] * 5000,
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_rows_at_the_limits_of_rle(row: str, rows: int) -> None:
    frame = np.array([ROWS[row]] * rows, np.uint8)
    decoded(frame)
    decoded(np.roll(frame, 1, axis=1))
    decoded(frame.astype(np.uint16) * 257 + np.arange(rows, dtype=np.uint16)[:, None])


def test_a_run_ends_with_its_row() -> None:
    assert len(rle.encoded(np.zeros((2, 100), np.uint8))) == 64 + 4
    assert len(rle.encoded(np.arange(6, dtype=np.uint8).reshape(2, 3))) == 64 + 8


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    npst.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 4), st.integers(1, 400)),
        elements=st.integers(0, 2),
        fill=st.just(1),
    ),
    st.integers(1, 140),
)
def test_any_frame_comes_back_from_rle(frame: Labels, stretch: int) -> None:
    decoded(frame * 130 + (frame.dtype.itemsize == 2) * 126)
    decoded(np.repeat(frame[:, :8], stretch, axis=1))
