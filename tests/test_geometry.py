"""Whatever the plane, order, spacing, tilt and kind of image: the result lies where the patient has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.card import Input, read
from models.network import Network
from node.objects import results
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import mini_bundle, runs, scenes
from tests.runs import provenance_of
from tests.synthetic import as_files

#: a failing grid is shown as it was drawn: making it smaller takes longer than reading it
PHASES = (Phase.explicit, Phase.generate)
LARGE_RADIUS_MM = 36.0
EXAMPLES = int(os.environ.get("PLANIMETER_EXAMPLES", "10"))
MODALITIES = ("CT", "MR", "PT", "NM")
RULE = Input(modality=MODALITIES)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


directions = st.tuples(*[st.floats(-1, 1).map(lambda x: round(x, 3)) for _ in range(3)])
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "upside down": ((1, 0, 0), (0, -1, 0)),
    "transposed": ((0, 1, 0), (1, 0, 0)),
}
planes = st.one_of(
    st.sampled_from(list(PLANES.values())),
    st.tuples(directions, directions).filter(lambda two: np.linalg.norm(np.cross(*two)) > 0.3),
)


@st.composite
def series(draw: Any) -> tuple[str, scenes.Grid, list[int]]:
    kind = draw(st.sampled_from(scenes.KINDS))
    spacing = tuple(draw(st.floats(1.8, 3.2).map(lambda x: round(x, 2))) for _ in range(3))
    tilt = 0.0 if kind == "NM" else draw(st.sampled_from([0.0, 0.0, -18.5, 7.0, 30.0]))
    where = scenes.grid(
        *draw(planes),
        (spacing[0], spacing[1], spacing[2]),
        tilt_degrees=tilt,
        descending=draw(st.booleans()),
    )
    return kind, where, draw(st.permutations(range(where.shape[0])))


def built_of(kind: str, where: scenes.Grid, order: list[int], folder: Path, decoders: Decoders) -> Volume:
    files = as_files(scenes.images(kind, where, order=order), folder)
    return volume.build(files, decoders, RULE)


def seen_in(seg: Dataset, number: int) -> NDArray[np.float64]:
    """The world coordinates of every voxel of a segment, frame by frame, as the object states them."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = (float(part) for part in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for frame, groups in zip(
        seg.pixel_array.reshape(-1, seg.Rows, seg.Columns), seg.PerFrameFunctionalGroupsSequence, strict=True
    ):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        j, i = np.nonzero(frame)
        found.append(origin + i[:, None] * between_columns * cosines[:3] + j[:, None] * between_rows * cosines[3:])
    return np.concatenate(found)


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=PHASES
)
@given(series())
def test_the_segmentation_shows_the_ball_and_the_letter_where_they_are(
    decoders: Decoders, made: tuple[str, scenes.Grid, list[int]]
) -> None:
    kind, where, order = made
    with tempfile.TemporaryDirectory() as folder:
        built = built_of(kind, where, order, Path(folder), decoders)
        values = built.values.array
        labels = np.where(values > 400, 2, np.where(values > -250, 1, 0)).astype(np.uint8)
        seg = dcmread(
            _file(results.make(runs.run_of(built, labels, provenance_of(built, labels)))[0].data, Path(folder))
        )
        built.close()
    truth = where.labels()
    voxel = np.linalg.norm(where.affine[:3, :3], axis=0)
    for value in (1, 2):
        points = seen_in(seg, value)
        index = np.linalg.inv(where.affine) @ np.column_stack([points, np.ones(len(points))]).T
        off = np.abs(np.linalg.inv(where.affine[:3, :3]) @ (points.mean(0) - scenes.centroid(value)))
        assert off.max() < 0.5, (kind, off, voxel)
        back = np.zeros_like(truth, bool)
        i, j, k = np.round(index[:3]).astype(int)
        back[k, j, i] = True
        assert np.abs(index[:3] - np.round(index[:3])).max() < 0.01
        assert _dice(back, truth == value) >= 0.99


def _file(data: bytes, folder: Path) -> Path:
    file = folder / "seg"
    file.write_bytes(data)
    return file


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """It resamples to 1.5 mm in RAS and back, as networks do."""
    return Network(read(mini_bundle.make(tmp_path_factory.mktemp("bundle"), spacing_mm=(1.5, 1.5, 1.5))))


@settings(
    max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=PHASES
)
@given(series())
def test_there_and_back_through_the_grid_of_a_network_keeps_every_shape(
    network: Network, made: tuple[str, scenes.Grid, list[int]]
) -> None:
    _, where, _ = made
    away_mm = np.linalg.norm(where.points() - scenes.CENTRE, axis=-1)
    soft = np.clip((away_mm - LARGE_RADIUS_MM) * 30, -300, 300).astype(np.float32) - 500
    found = np.empty(where.shape, np.uint8)
    network.segment([soft], where.affine, found)
    inside = soft < -500
    assert _dice(found > 0, inside) >= 0.99


@pytest.mark.parametrize("kind", [*scenes.KINDS])
def test_highdicom_agrees_about_where_every_voxel_lies(kind: str, tmp_path: Path, decoders: Decoders) -> None:
    where = scenes.grid(*PLANES["sagittal"], (2.5, 3.0, 4.0))
    made = scenes.images(kind, where)
    built = volume.build(as_files(made, tmp_path), decoders, RULE)
    if len(made) > 1:
        theirs = hd.image.get_volume_from_series([dcmread(file) for file in sorted(tmp_path.glob("*.dcm"))])
    elif kind == "NM":
        pytest.skip("highdicom does not know the geometry of nuclear medicine images")
    else:
        theirs = hd.image.Image.from_dataset(made[0]).get_volume(apply_modality_transform=True)
    ours = hd.Volume(built.values.array, built.geometry.affine[:, [2, 1, 0, 3]], coordinate_system="PATIENT")
    assert np.array_equal(theirs.match_geometry(ours).array, built.values.array)
    built.close()


@pytest.mark.parametrize("spacing", [(2.0, 3.5, 4.0), (3.5, 2.0, 4.0)])
def test_pixels_that_are_no_squares_keep_their_sides(
    spacing: tuple[float, float, float], tmp_path: Path, decoders: Decoders
) -> None:
    where = scenes.grid(*PLANES["axial"], spacing)
    built = built_of("CT", where, list(range(where.shape[0])), tmp_path, decoders)
    assert np.linalg.norm(built.geometry.affine[:3, :3], axis=0) == pytest.approx(spacing)
    assert np.array_equal(built.values.array > 400, where.labels() == 2)
    built.close()
