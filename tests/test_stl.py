"""The surface of a segment: closed, outwards, of the right volume, in the patient's place."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.errors import Refused
from node.objects.outlines.mesh import Surface, surface
from node.objects.outlines.stl import encoded, has_surface, stl
from tests import scenes
from tests.peers_tools import dciodvfy
from tests.synthetic import small_series
from tests.test_rtstruct import BUNDLE, masks, run_of

Corners = NDArray[np.float64]
HALF_DIAGONAL = 3**0.5 / 2


def read(data: bytes) -> tuple[Corners, Corners]:
    """A binary STL -> the corners of its triangles, (n, 3, 3), and their normals, (n, 3)."""
    assert not data.startswith(b"solid"), "it would be taken for text"
    count = int.from_bytes(data[80:84], "little")
    assert len(data) == 84 + 50 * count
    table = np.frombuffer(data, np.uint8, offset=84).reshape(count, 50)
    numbers = np.ascontiguousarray(table[:, :48]).view("<f4").astype(float).reshape(count, 4, 3)
    assert not table[:, 48:].any()
    return numbers[:, 1:], numbers[:, 0]


def is_closed(corners: Corners) -> bool:
    """Whether each edge belongs to two triangles that run along it in opposite directions."""
    _, points = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    a, b, c = points.reshape(-1, 3).T
    ways = np.concatenate([np.column_stack(way) for way in ((a, b), (b, c), (c, a))])
    there, back = ({(int(way[n]), int(way[1 - n])) for way in ways} for n in (0, 1))
    return len(there) == len(ways) and there == back


def volume(corners: Corners) -> float:
    a, b, c = (corners[:, n] - corners.mean(axis=(0, 1)) for n in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def triangles(made: Surface) -> Corners:
    return read(encoded(made))[0]


def ball(radius: float, spacing_mm: tuple[float, float, float] = (1, 1, 1), shape: int = 46) -> NDArray[np.bool_]:
    """(slices, rows, columns), spacing of columns, rows and slices; in the middle of the grid."""
    axis = np.arange(shape) - (shape - 1) / 2
    z, y, x = np.meshgrid(axis * spacing_mm[2], axis * spacing_mm[1], axis * spacing_mm[0], indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 < radius**2)


@pytest.mark.parametrize("radius", [6, 10, 20])
def test_a_ball_has_the_volume_of_its_voxels_and_the_shape_of_a_ball(radius: float) -> None:
    mask = ball(radius)
    corners = triangles(surface(mask, np.eye(4)))
    assert is_closed(corners)
    assert volume(corners) == pytest.approx(mask.sum(), rel=0.001)
    assert volume(corners) == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.02)
    distances = np.linalg.norm(corners.reshape(-1, 3) - 22.5, axis=1)
    assert np.abs(distances - radius).max() < HALF_DIAGONAL


def test_an_ellipsoid_on_thick_slices() -> None:
    spacing = (0.8, 1.1, 3.0)
    mask = ball(18, spacing)
    corners = triangles(surface(mask, np.diag([*spacing, 1.0])))
    assert volume(corners) == pytest.approx(4 / 3 * np.pi * 18**3, rel=0.01)
    assert corners.reshape(-1, 3).mean(axis=0) == pytest.approx(22.5 * np.array(spacing), abs=0.1)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (1, 1, 20), (1, 20, 20), (3, 9, 14), (10, 10, 10)])
def test_boxes_sheets_and_lines_keep_volume_and_place(size: tuple[int, int, int]) -> None:
    mask = np.ones(size, np.bool_)
    corners = triangles(surface(mask, np.eye(4)))
    assert is_closed(corners)
    assert volume(corners) == pytest.approx(mask.sum(), rel=0.01)
    points = corners.reshape(-1, 3)[:, ::-1]
    outside = np.linalg.norm(points - points.clip(-0.5, np.array(size) - 0.5), axis=1)
    inside = np.minimum(points + 0.5, np.array(size) - 0.5 - points).min(axis=1)
    assert max(outside.max(), inside.max()) < HALF_DIAGONAL


@settings(max_examples=60, deadline=None)
@given(masks(6).filter(lambda mask: bool(mask.any())))
def test_any_mask_gives_a_closed_surface(mask: NDArray[np.bool_]) -> None:
    corners = triangles(surface(mask, np.eye(4)))
    assert is_closed(corners)
    assert volume(corners) == pytest.approx(mask.sum(), rel=0.03)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_normals_point_outwards_also_where_the_affine_is_a_mirror(flips: tuple[int, int, int]) -> None:
    affine = np.diag([*flips, 1.0])
    affine[:3, 3] = 100, -50, 30
    corners, normals = read(encoded(surface(ball(6), affine)))
    assert volume(corners) > 0
    middle = affine @ [22.5, 22.5, 22.5, 1]
    away = corners.mean(axis=1) - middle[:3]
    assert ((away * normals).sum(axis=1) > 0).all()
    assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_hole_in_a_surface_is_noticed() -> None:
    corners = triangles(surface(ball(3), np.eye(4)))
    assert is_closed(corners)
    assert not is_closed(corners[1:])
    assert not is_closed(np.concatenate([corners[1:], corners[:1, ::-1]]))


def test_a_large_surface_is_made_of_coarser_voxels() -> None:
    mask, affine = ball(20, (1, 1, 2)), np.diag([1.0, 1.0, 2.0, 1.0])
    fine, coarse = surface(mask, affine), surface(mask, affine, 5000)
    assert (fine.merged, coarse.merged) == ((1, 1, 1), (1, 2, 2))
    assert len(coarse.triangles) < 5000 < len(fine.triangles)
    assert is_closed(triangles(coarse))
    assert volume(triangles(coarse)) == pytest.approx(mask.sum() * 2, rel=0.001)
    assert coarse.points.mean(axis=0) == pytest.approx([22.5, 22.5, 45], abs=0.1)


# ------------------------------------------------------------------ the object


def document(data: bytes) -> tuple[Dataset, Corners]:
    ds = dcmread(BytesIO(data))
    assert ds.EncapsulatedDocumentLength == len(ds.EncapsulatedDocument)
    return ds, read(ds.EncapsulatedDocument)[0]


SCENES = {
    "CT": ((1, 0, 0), (0, 1, 0), 17.0),
    "enhanced MR": ((1, 0.2, -0.1), (0.1, 1, 0.3), 0.0),
    "PT": ((0, 1, 0), (0, 0, -1), 0.0),
}


@pytest.mark.parametrize("kind", SCENES)
def test_the_surface_lies_in_the_patient(tmp_path: Path, kind: str) -> None:
    row, column, tilt = SCENES[kind]
    where = scenes.grid(row, column, (1.9, 2.1, 3.0), tilt_degrees=tilt)
    run = run_of(scenes.images(kind, where), where.labels())
    data = stl(run, 1)
    _, corners = document(data)
    assert is_closed(corners)
    assert corners.reshape(-1, 3).mean(axis=0) == pytest.approx(scenes.CENTRE + scenes.BALL_AT, abs=0.3)
    voxels = int((run.labels == 1).sum()) * run.volume.geometry.voxel_ml
    assert volume(corners) / 1000 == pytest.approx(voxels, rel=0.001)
    distances = np.linalg.norm(corners.reshape(-1, 3) - scenes.CENTRE - scenes.BALL_AT, axis=1)
    diagonal_mm = float(np.linalg.norm(where.affine[:3, :3] @ [1, 1, 1]))
    assert np.abs(distances - scenes.BALL_RADIUS).max() < diagonal_mm / 2
    file = tmp_path / "stl.dcm"
    file.write_bytes(data)
    assert dciodvfy(file) == []


def some_labels() -> NDArray[np.uint8]:
    labels = np.zeros((8, 20, 24), np.uint8)
    labels[2:6, 5:15, 6:12] = 1
    return labels


def test_what_is_said_of_the_model() -> None:
    images = small_series()
    run = run_of(images, some_labels())
    ds, _ = document(stl(run, 1))
    assert (ds.Modality, ds.SeriesNumber, ds.MIMETypeOfEncapsulatedDocument) == ("M3D", 9008, "model/stl")
    (unit,) = ds.MeasurementUnitsCodeSequence
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("mm", "UCUM")
    assert (ds.ModelModification, ds.ModelMirroring, ds.BurnedInAnnotation) == ("NO", "NO", "NO")
    assert ds.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert ds.DocumentTitle == "Left lung, CT lungs [RESEARCH]"
    assert (ds.ConceptNameCodeSequence[0].CodeValue, ds.ImageLaterality) == ("85040-4", "L")
    named = {one.ReferencedSOPInstanceUID for one in ds.SourceInstanceSequence}
    assert named == {one.SOPInstanceUID for one in images}
    assert len(ds.RecommendedDisplayCIELabValue) == 3
    for keyword in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"):
        assert ds.get(keyword), "Enhanced General Equipment, type 1"
    scanner, network = ds.ContributingEquipmentSequence
    assert (scanner.PurposeOfReferenceCodeSequence[0].CodeValue, network.DeviceUID) == (
        "109101",
        BUNDLE.card.device_uid,
    )


def test_the_same_run_gives_the_same_bytes_and_a_marked_one_is_another_object() -> None:
    run = run_of(small_series(), some_labels())
    assert stl(run, 1) == stl(run, 1)
    plain, marked = (dcmread(BytesIO(stl(run, 1, marked=one))) for one in (False, True))
    assert plain.SOPInstanceUID == run.provenance.result_uid("STL", "SEGMENT1")
    assert marked.SOPInstanceUID == run.provenance.result_uid("STL", "SEGMENT1-MARKED")
    assert marked.DocumentTitle.startswith("CHECK!")
    assert marked.SeriesDescription.startswith("CHECK!")


def test_an_empty_segment_has_no_surface() -> None:
    run = run_of(small_series(), some_labels())
    assert has_surface(run, 1)
    assert not has_surface(run, 2)
    with pytest.raises(Refused) as refused:
        stl(run, 2)
    assert refused.value.code == "no-surface"
