"""The structure set: whoever fills its contours gets back the mask, where the images lie."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from models.wire import SharedArray
from node.errors import Refused
from node.objects import results
from node.objects.headers import repaired
from node.objects.outlines.rtstruct import can_have, rtstruct
from node.objects.outlines.trace import trace
from node.objects.run import Run
from node.study import geometry
from node.study.frames import flattened, is_multi_frame
from node.study.volume import Volume
from tests import scenes
from tests.peers_tools import dciodvfy
from tests.runs import BUNDLE, provenance
from tests.synthetic import small_series
from tests.test_raster import rounded

Labels = NDArray[np.uint8]
SHAPE = (8, 20, 24)


def run_of(images: list[Dataset], labels: Labels, **changes: Any) -> Run:
    """A run of the lung network on images that gave these labels; changes: of the provenance."""
    framed = is_multi_frame(images[0])
    headers = flattened(images[0]) if framed else images
    if "FrameOfReferenceUID" in images[0]:
        grid, order = geometry.place(headers)
    else:
        grid, order = geometry.flat(headers), list(range(len(headers)))
    headers = [headers[n] for n in order]
    memory = SharedArray.make((1,), np.float32)
    memory.close()
    frames = tuple(n + 1 if framed else 0 for n in order)
    sources = repaired(headers, grid)
    return Run(
        volume=Volume(memory, grid, tuple(headers), frames, "HU"),
        sources=sources,
        labels=labels,
        measured=(),
        provenance=provenance(sources, mask_sha256=results.mask_sha256(labels), **changes),
    )


# ---------------------------------------------------------- readers of contours


def by_even_odd(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """How often (mod 2) a ray from the left crosses a polygon before the centre of each pixel."""
    inside = np.zeros(shape, np.int64)
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crossed = rows[(y1 <= rows) != (y2 <= rows)]
        if len(crossed):
            inside[crossed] += (x1 + (crossed - y1) * (x2 - x1) / (y2 - y1))[:, None] < columns
    return inside % 2


def by_rounding(points: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Vertices rounded to pixels, filled with the border, as the readers that are built on OpenCV do."""
    return rounded(points, *shape).astype(np.int64)


def together(polygons: Sequence[tuple[int, NDArray[np.float64]]], shape: tuple[int, ...], fill: Any) -> Any:
    """How many of the polygons each voxel is in: XOR and union agree where that is nowhere more than one."""
    count = np.zeros(shape, np.int64)
    for k, points in polygons:
        count[k] += fill(points, shape[1:])
    return count


def polygons_of(data: bytes, number: int, images: list[Dataset], labels: Labels) -> list[Any]:
    """The contours of an ROI, (slice, points), in the pixels of the images that they name, by their own headers."""
    ds = dcmread(BytesIO(data))
    framed = is_multi_frame(images[0])
    headers = flattened(images[0]) if framed else images
    by_name = {(one.SOPInstanceUID, k + 1 if framed else None): one for k, one in enumerate(headers)}
    normal = np.cross(*np.array(headers[0].ImageOrientationPatient, float).reshape(2, 3))
    heights = sorted(float(np.array(one.ImagePositionPatient, float) @ normal) for one in headers)
    (roi,) = [one for one in ds.ROIContourSequence if one.ReferencedROINumber == number]
    found = []
    for contour in roi.get("ContourSequence", []):
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        (named,) = contour.ContourImageSequence
        header = by_name[named.ReferencedSOPInstanceUID, named.get("ReferencedFrameNumber")]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints >= 4
        away = points - np.array(header.ImagePositionPatient, float)
        across, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        assert np.abs(away @ np.cross(across, down)).max() < 0.01, "a contour lies beside the plane of its image"
        rows, columns = (float(part) for part in header.PixelSpacing)
        k = int(np.argmin(np.abs(np.array(heights) - float(np.array(header.ImagePositionPatient, float) @ normal))))
        found.append((k, np.column_stack([away @ across / columns, away @ down / rows])))
    return found


def _shapes() -> dict[str, Labels]:
    names = (
        "empty",
        "single voxel",
        "line",
        "diagonal",
        "checkerboard",
        "rings in rings",
        "holes in a column",
        "holes that touch at corners",
        "full",
        "edges",
        "two components",
    )
    made = {name: np.zeros(SHAPE, np.uint8) for name in names}
    steps = np.arange(15)
    made["single voxel"][3, 7, 11] = 1
    made["line"][3, 7, 2:20] = made["line"][4, 2:15, 9] = 1
    made["diagonal"][2, steps, steps] = made["diagonal"][3, steps, 15 - steps] = 1
    made["checkerboard"][2:4] = np.indices(SHAPE).sum(0)[2:4] % 2
    for width in range(10):
        made["rings in rings"][3, width : 20 - width, width : 24 - width] = width % 2
    column = made["holes in a column"]
    column[3, 1:19, 2:20] = 1
    column[3, 3:17:2, 5] = column[3, 3:17:3, 8:12] = column[3, 2:18:4, 15] = 0
    corners = made["holes that touch at corners"]
    corners[3, 1:19, 2:20] = 1
    corners[3, steps[4:10], steps[5:11]] = corners[3, steps[4:10], 16 - steps[4:10]] = 0
    made["full"][...] = 1
    made["edges"][:, 0, :] = made["edges"][:, :, -1] = made["edges"][0] = 1
    made["two components"][2:6, 3:8, 4:9] = made["two components"][1:7, 11:17, 14:20] = 1
    return made


SHAPES = _shapes()


@pytest.mark.parametrize("what", SHAPES)
def test_every_shape_comes_back_whoever_fills_the_contours(what: str) -> None:
    labels, images = SHAPES[what], small_series()
    polygons = polygons_of(rtstruct(run_of(images, labels)), 1, images, labels)
    assert np.array_equal(together(polygons, SHAPE, by_even_odd), labels)
    assert np.array_equal(together(polygons, SHAPE, by_rounding), labels)
    wanted = labels.any(axis=(1, 2))
    assert {k for k, _ in polygons} == set(np.flatnonzero(wanted).tolist())


def noise(slices: int, rows: int, columns: int, part: float, seed: int) -> NDArray[np.bool_]:
    """A mask in which each voxel is inside with this probability: hypothesis' own arrays are mostly empty."""
    return np.random.default_rng(seed).random((slices, rows, columns)) < part


def masks(most: int) -> st.SearchStrategy[NDArray[np.bool_]]:
    sizes = [st.integers(1, most)] * 3
    return st.builds(noise, *sizes, st.floats(0.05, 1), st.integers(0, 1 << 32))


@settings(max_examples=80, deadline=None)
@given(masks(8))
def test_any_mask_comes_back(mask: NDArray[np.bool_]) -> None:
    polygons = [(one.slice, one.points) for one in trace(mask)]
    assert np.array_equal(together(polygons, mask.shape, by_even_odd), mask)
    assert np.array_equal(together(polygons, mask.shape, by_rounding), mask)


def test_a_part_of_a_mask_is_traced_where_it_lies() -> None:
    mask = SHAPES["holes in a column"] > 0
    whole, part = trace(mask), trace(mask[2:5, 1:, 2:21], (2, 1, 2))
    assert [one.slice for one in whole] == [one.slice for one in part]
    for one, other in zip(whole, part, strict=True):
        assert np.allclose(one.points, other.points)


def test_the_area_of_the_contours_is_that_of_the_pixels() -> None:
    labels, images = SHAPES["rings in rings"] + 2 * SHAPES["two components"], small_series()
    data = rtstruct(run_of(images, labels))
    for number in (1, 2):
        area = 0.0
        for _, points in polygons_of(data, number, images, labels):
            x, y = points.T
            area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
        assert area == pytest.approx((labels == number).sum(), rel=0.01)


def test_the_readers_of_these_tests_notice_a_contour_that_is_wrong() -> None:
    labels, images = SHAPES["holes in a column"], small_series()
    data = dcmread(BytesIO(rtstruct(run_of(images, labels))))

    def fault(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Labels:
        ds = dcmread(BytesIO(_bytes(data)))
        for contour in ds.ROIContourSequence[0].ContourSequence:
            points = change(np.array(contour.ContourData, float).reshape(-1, 3))
            contour.ContourData = [f"{part:.4f}" for part in points.ravel()]
        return np.asarray(together(polygons_of(_bytes(ds), 1, images, labels), SHAPE, by_even_odd))

    assert np.array_equal(fault(lambda points: points), labels)
    assert not np.array_equal(fault(lambda points: points + np.array([1.2, 0, 0])), labels)  # 0.6 pixels
    assert not np.array_equal(fault(lambda points: points * [-1, 1, 1]), labels)
    with pytest.raises(AssertionError, match="beside the plane"):
        fault(lambda points: points + np.array([0, 0, 0.02]))


def _bytes(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


GRIDS = {
    "axial, feet first": ((1, 0, 0), (0, 1, 0), 0.0, True),
    "sagittal": ((0, 1, 0), (0, 0, -1), 0.0, False),
    "oblique": ((1, 0.2, -0.1), (0.1, 1, 0.3), 0.0, False),
    "tilted gantry": ((1, 0, 0), (0, 1, 0), 17.0, False),
    "oblique and tilted": ((0.9, 0.3, 0.1), (-0.2, 0.8, -0.5), 9.0, True),
}


@pytest.mark.parametrize("kind", ["CT", "enhanced MR"])
@pytest.mark.parametrize("name", GRIDS)
def test_contours_lie_where_the_images_lie(tmp_path: Path, kind: str, name: str) -> None:
    row, column, tilt, descending = GRIDS[name]
    where = scenes.grid(row, column, (3.1, 4.3, 7.7), tilt_degrees=tilt, descending=descending)
    images = scenes.images(kind, where)
    labels = where.labels()[::-1] if descending else where.labels()  # the slices of a run follow the normal
    run = run_of(images, np.ascontiguousarray(labels))
    data = rtstruct(run)
    for number in (1, 2):
        polygons = polygons_of(data, number, images, labels)
        if descending and kind != "CT":
            assert run.volume.frames[0] == len(labels)
        assert np.array_equal(together(polygons, labels.shape, by_even_odd), labels == number)
        assert np.array_equal(together(polygons, labels.shape, by_rounding), labels == number)
    file = tmp_path / "rtstruct.dcm"
    file.write_bytes(data)
    assert dciodvfy(file) == []


def test_a_slice_beside_the_even_steps_keeps_its_contours() -> None:
    labels, images = SHAPES["two components"], small_series()
    x, y, z = images[4].ImagePositionPatient
    images[4].ImagePositionPatient = [x, y, float(z) + 0.1]
    polygons = polygons_of(rtstruct(run_of(images, labels)), 1, images, labels)
    assert np.array_equal(together(polygons, SHAPE, by_even_odd), labels)


# ----------------------------------------------------------------- the object


@pytest.mark.parametrize("what", ["empty", "full", "rings in rings"])
def test_strangers_read_it(tmp_path: Path, dcmtk: Callable[[str], str], what: str) -> None:
    file = tmp_path / "rtstruct.dcm"
    file.write_bytes(rtstruct(run_of(small_series(), SHAPES[what])))
    assert dciodvfy(file) == []
    said = subprocess.run([dcmtk("drtdump"), str(file)], capture_output=True, text=True, check=True)
    assert "RT Structure Set object" in said.stdout
    assert said.stderr == ""


def test_what_is_said_of_each_region() -> None:
    images, labels = small_series(), SHAPES["two components"]
    ds = dcmread(BytesIO(rtstruct(run_of(images, labels))))
    assert (ds.Modality, ds.SeriesNumber, ds.ApprovalStatus) == ("RTSTRUCT", 9007, "UNAPPROVED")
    assert (ds.StructureSetLabel, ds.PatientID) == ("AI CT lungs", images[0].PatientID)
    assert (ds.StructureSetDate, ds.StructureSetTime) == (ds.SeriesDate, ds.SeriesTime)
    segments = BUNDLE.card.segment
    assert [one.ROIName for one in ds.StructureSetROISequence] == [segment.label for segment in segments]
    assert {one.ROIGenerationAlgorithm for one in ds.StructureSetROISequence} == {"AUTOMATIC"}
    volumes = [float(one.ROIVolume) for one in ds.StructureSetROISequence]
    assert volumes == pytest.approx([(labels == 1).sum() * 0.03, 0])
    assert [list(one.ROIDisplayColor) for one in ds.ROIContourSequence] == [list(one.colour) for one in segments]
    assert ["ContourSequence" in one for one in ds.ROIContourSequence] == [True, False]  # the second one is empty
    for number, (one, segment) in enumerate(zip(ds.RTROIObservationsSequence, segments, strict=True), 1):
        assert (one.ReferencedROINumber, one.RTROIInterpretedType) == (number, "ORGAN")
        (code,) = one.RTROIIdentificationCodeSequence
        assert (code.CodeValue, code.CodingSchemeDesignator) == segment.type[:2]
        assert segment.laterality
        assert code.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == segment.laterality[0]
    scanner, network = ds.ContributingEquipmentSequence
    assert (scanner.PurposeOfReferenceCodeSequence[0].CodeValue, network.DeviceUID) == (
        "109101",
        BUNDLE.card.device_uid,
    )


def test_all_images_are_named_in_the_frame_of_reference() -> None:
    images = small_series()
    ds = dcmread(BytesIO(rtstruct(run_of(images, SHAPES["single voxel"]))))
    (place,) = ds.ReferencedFrameOfReferenceSequence
    (study,) = place.RTReferencedStudySequence
    (series,) = study.RTReferencedSeriesSequence
    uids = {images[0].FrameOfReferenceUID}
    assert {place.FrameOfReferenceUID, ds.FrameOfReferenceUID} == uids
    assert {one.ReferencedFrameOfReferenceUID for one in ds.StructureSetROISequence} == uids
    assert (study.ReferencedSOPInstanceUID, series.SeriesInstanceUID) == (
        images[0].StudyInstanceUID,
        images[0].SeriesInstanceUID,
    )
    assert {one.ReferencedSOPInstanceUID for one in series.ContourImageSequence} == {
        one.SOPInstanceUID for one in images
    }


def test_a_contour_of_more_than_64_kilobytes_is_whole() -> None:
    """With explicit VRs it would be UN, which planning systems do not read."""
    labels = np.zeros((2, 100, 100), np.uint8)
    labels[0] = np.random.default_rng(5).random((100, 100)) < 0.8
    images = small_series((100, 100, 2))
    ds = dcmread(BytesIO(rtstruct(run_of(images, labels))))
    assert ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    contours = ds.ROIContourSequence[0].ContourSequence
    texts = [contour.get_item("ContourData").value for contour in contours]
    assert max(len(text) for text in texts) > 65534
    assert max(len(part) for text in texts for part in text.split(b"\\")) <= 16
    polygons = polygons_of(_bytes(ds), 1, images, labels)
    assert np.array_equal(together(polygons, labels.shape, by_even_odd), labels)


@pytest.mark.parametrize("pixel_mm", [0.0101, 0.07, 0.5, 0.703125, 3.9])
def test_numbers_are_exact_enough_for_every_size_of_pixel(pixel_mm: float) -> None:
    images, labels = small_series(), SHAPES["holes in a column"]
    for one in images:
        one.PixelSpacing = [f"{pixel_mm:.8g}"] * 2
        one.ImagePositionPatient = [-98765.4321, 12345.678, one.ImagePositionPatient[2]]
    data = rtstruct(run_of(images, labels))
    assert np.array_equal(together(polygons_of(data, 1, images, labels), SHAPE, by_rounding), labels)
    for contour in dcmread(BytesIO(data)).ROIContourSequence[0].ContourSequence:
        assert max(len(part) for part in contour.get_item("ContourData").value.split(b"\\")) <= 16


def test_the_same_run_gives_the_same_bytes_and_a_marked_one_is_another_object() -> None:
    run = run_of(small_series(), SHAPES["two components"])
    assert rtstruct(run) == rtstruct(run)
    plain, marked = (dcmread(BytesIO(rtstruct(run, marked=one))) for one in (False, True))
    assert plain.SOPInstanceUID == run.provenance.result_uid("RTSTRUCT", "CONTOURS")
    assert marked.SOPInstanceUID == run.provenance.result_uid("RTSTRUCT", "CONTOURS-MARKED")
    assert marked.SeriesInstanceUID != plain.SeriesInstanceUID
    assert marked.StructureSetLabel.startswith("CHECK!")
    assert marked.SeriesDescription.startswith("CHECK!")
    assert len(marked.StructureSetLabel) <= 16


def test_images_that_lie_nowhere_have_no_contours() -> None:
    images = small_series()[:1]
    for keyword in ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(images[0], keyword)
    run = run_of(images, SHAPES["single voxel"][3:4])
    assert not can_have(run)
    with pytest.raises(Refused) as refused:
        rtstruct(run)
    assert refused.value.code == "no-contours"
