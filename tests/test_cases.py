"""Worked cases in a short form, each the whole way: the page is made, masks and numbers agree with the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from node.measurements.calibration import calibration
from tests.cases import drawn_tumour, open_ms, page, ultrasound, way
from tests.cases.balls import Ball, Places, insert
from tests.cases.case import Judged, Place
from tests.cases.known import CASES
from tests.cases.mr_images import Volume, read

ROOT = Path(__file__).parents[1]
#: of torch's and MONAI's own
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def short(tmp_path: Path) -> Callable[..., list[Judged]]:
    """Run a case in its short form; what was judged, run by run, and a page."""

    def run(name: str, data: Path) -> list[Judged]:
        case = CASES[name]
        went = way.all_runs(case, Place(data, tmp_path / "work", "", short=True))
        written = page.write(case, went, tmp_path / "docs").read_text()
        pictures = re.findall(rf"((?:{page.PICTURES}|{page.OF_PATIENTS})/[\w-]+\.png)", written)
        assert pictures
        assert all((tmp_path / "docs" / one).is_file() for one in pictures)
        assert "## What this is not" in written
        return [one.judged for one in went]

    return run


def test_every_case_has_a_make_target() -> None:
    targets = set(re.findall(r"^case-([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets == set(CASES)


@pytest.mark.parametrize("page_of", sorted((ROOT / "docs" / "cases").glob("*.md")), ids=lambda page_of: page_of.stem)
def test_every_page_is_of_a_case_and_says_its_command_and_what_it_is_not(page_of: Path) -> None:
    case, written = CASES[page_of.stem], page_of.read_text()
    assert f"    {case.command}\n" in written
    assert case.is_not.strip() in written
    assert f"docs/cases/{page_of.name}" in (ROOT / "README.md").read_text()


def test_drawn_frames_are_calibrated_by_their_region_alone() -> None:
    drawn = [ultrasound.frame(seed, sector=bool(seed % 2)) for seed in (1, 2)]
    for one, header in zip(drawn, ultrasound.images(drawn), strict=True):
        assert "PixelSpacing" not in header
        ((box, scale),) = calibration(header).regions or ()
        assert (scale.rows_mm, scale.columns_mm) == pytest.approx((one.pixel_mm, one.pixel_mm))
        outside = one.pixels.copy()
        outside[box.top : box.bottom, box.left : box.right] = 0
        assert not one.labels[outside > 0].any(), "nothing is to be found in the bar of greys"
        assert 20 < one.area_mm2(ultrasound.NODULE) * 2 < one.area_mm2(ultrasound.GLAND, ultrasound.NODULE)


def test_a_drawn_tumour_is_a_core_in_a_whole_and_none_of_the_training_is_near() -> None:
    values = np.full((40, 80, 80), 500, np.float32)
    grid = Volume(values, np.array([[1.5, 0, 0, -60], [0, 1.5, 0, -60], [0, 0, 3, -60], [0, 0, 0, 1.0]]))
    brain = drawn_tumour.brain(grid, grid)
    sent = drawn_tumour.Tumour((10.0, -8.0, 3.0), 18.0, 0.6, 4.0, seed=1)
    contrasts, (core, whole, enhancing) = drawn_tumour.draw(brain, [sent])
    assert whole[core].all() and core[enhancing].all()
    assert 0 < enhancing.sum() < core.sum() < whole.sum()
    centre = (grid.affine @ [*np.argwhere(whole).mean(axis=0)[::-1], 1])[:3]
    assert np.linalg.norm(centre - sent.centre_mm) < 3
    t1c, t1, _, flair = contrasts
    assert t1c[enhancing].mean() > 1.5 * t1[enhancing].mean()
    assert flair[whole].mean() > 1.2 * flair[~whole].mean()
    others = drawn_tumour.scattered(brain, 20, 1, sent, 30.0)
    assert min(np.linalg.norm(np.subtract(one.centre_mm, sent.centre_mm)) for one in others) >= 30


@pytest.mark.slow
def test_drawn_ultrasound_comes_back_with_areas_in_square_millimetres(
    short: Callable[..., list[Judged]], tmp_path: Path
) -> None:
    (judged,) = short("thyroid", tmp_path)
    figures = judged.figures
    assert len(judged.rows) == 4
    for n in (0, 1):
        for label, least in (("Thyroid gland", 0.85), ("Thyroid nodule", 0.6)):
            assert figures[f"{label} {n} dice"] > least
            assert figures[f"{label} {n} mm2"] == pytest.approx(figures[f"{label} {n} pixels in mm2"], abs=0.006)


@pytest.mark.slow
def test_a_drawn_tumour_comes_back_as_three_segments_that_overlap(
    short: Callable[..., list[Judged]], dicom_data: Path
) -> None:
    (judged,) = short("tumour", dicom_data)
    figures = judged.figures
    assert figures["overlap"] == 1
    assert figures["shared voxels"] > 100
    for label, least in (("Whole tumor", 0.7), ("Tumor core", 0.6), ("Enhancing tumor", 0.5)):
        assert figures[f"{label} dice"] > least
        assert figures[f"{label} ml"] == pytest.approx(figures[f"{label} voxels in ml"], abs=0.006)


def test_a_ball_lies_where_its_box_says_and_leaves_what_is_denser() -> None:
    spacing = (2.0, 1.0, 1.5)
    hu = np.full((30, 60, 40), -850, np.float32)
    hu[:, 30, 20] = 400
    ball = Ball(centre_mm=(28.6, 30.2, 31.0), diameter_mm=14.0, hu=20.0, edge_mm=0.5)
    made = insert(hu, spacing, [ball], np.random.default_rng(1))
    assert (made[:, 30, 20] >= 399).all()
    dense = np.argwhere((made > -415) & (hu < 0))
    low, high = ball.corners(spacing)
    assert dense.min(0) == pytest.approx(np.ceil(low), abs=1)
    assert dense.max(0) == pytest.approx(np.floor(high), abs=1)
    assert len(dense) * np.prod(spacing) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.06)


def test_balls_are_put_into_lung_and_apart() -> None:
    hu = np.full((40, 80, 80), 40, np.float32)
    hu[:, :4] = -1000  # around the patient
    hu[:, 20:70, 15:65] = -850
    hu[10:14, 40:44, 10:70] = 30
    balls = Places.of(hu, (2.0, 2.0, 2.0), across=(1, 2)).scattered(6, np.random.default_rng(3))
    assert len(balls) == 6
    for number, ball in enumerate(balls):
        low, high = ball.corners((2.0, 2.0, 2.0))
        assert (low[1:] >= (19, 14)).all() and (high[1:] <= (70, 65)).all()
        for other in balls[:number]:
            apart = np.linalg.norm(np.subtract(ball.centre_mm, other.centre_mm))
            assert apart > (ball.diameter_mm + other.diameter_mm) / 2


def test_sagittal_slices_hold_the_same_voxels_in_the_same_places() -> None:
    axial = Volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.diag([2.0, 3.0, 4.0, 1.0]))
    turned = open_ms.sagittal(axial)
    for k, j, i in np.ndindex(turned.values.shape):
        x, y, z = np.linalg.solve(axial.affine, turned.affine @ [i, j, k, 1])[:3].round().astype(int)
        assert axial.values[z, y, x] == turned.values[k, j, i]


def test_series_lie_where_the_nifti_file_says(dicom_data: Path) -> None:
    whole = read(open_ms.file_of(dicom_data, 26, open_ms.T1))
    made = open_ms.images(dicom_data, 26, (open_ms.FLAIR, open_ms.T1), slice(70, 72))
    assert len({ds.FrameOfReferenceUID for ds in made}) == len({ds.StudyInstanceUID for ds in made}) == 1
    t1 = [ds for ds in made if ds.SeriesDescription.startswith(open_ms.T1)][90]
    j, i = 100, 120
    down, across = (float(part) for part in t1.PixelSpacing)
    cosines = np.array(t1.ImageOrientationPatient, float)
    at = np.array(t1.ImagePositionPatient, float) + i * across * cosines[:3] + j * down * cosines[3:]
    x, y, z = np.linalg.solve(whole.affine, [*at, 1])[:3].round().astype(int)
    assert t1.pixel_array[j, i] * float(t1.RescaleSlope) == pytest.approx(whole.values[z, y, x], abs=open_ms.SLOPE)
    assert whole.values[z, y, x] > 0


@pytest.mark.slow
def test_lesions_come_back_from_one_series_and_from_two(short: Callable[..., list[Judged]], dicom_data: Path) -> None:
    first, second, both = (judged.figures for judged in short("brain", dicom_data))
    for figures in (first, second, both):
        assert figures["dice"] > 0.3
        assert figures["ml"] == pytest.approx(figures["voxels in ml"], abs=0.006)


@pytest.mark.slow
def test_balls_come_back_as_boxes_of_a_report(short: Callable[..., list[Judged]], dicom_data: Path) -> None:
    for judged in short("lung", dicom_data):
        assert judged.figures["found"] > judged.figures["balls"] / 2
        assert judged.figures["furthest"] < 5.0
