"""A change is what two scans can show: one body imaged twice is the same, and what grew has grown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from models import card
from models.wire import SharedArray
from node.measurements.change import changes, long_axis_resolution_mm, record, volume_resolution_ml
from node.measurements.measure import measure
from node.measurements.values import Change, Line, Measured, PixelSize, Verdict
from node.study.geometry import Geometry
from node.study.volume import Volume

SEGMENT = card.find("ct_lungs", (card.SHIPPED,)).card.segment[0]
STEPS_MM = (0.7, 1.0, 1.25, 2.0, 3.0, 5.0)

Stored = dict[str, float | int | None]
Lengths = Sequence[float] | NDArray[np.float64]
Body = Callable[[Any, Any, Any], Any]
"""(x, y, z) in mm -> whether it is inside, by broadcasting"""


def ellipsoid(half_mm: Lengths, turn: Rotation | None = None) -> Body:
    axes = (turn or Rotation.identity()).as_matrix()
    m = axes @ np.diag(1 / np.square(half_mm)) @ axes.T
    return lambda x, y, z: (
        m[0, 0] * x * x + m[1, 1] * y * y + m[2, 2] * z * z + 2 * (m[0, 1] * x * y + m[0, 2] * x * z + m[1, 2] * y * z)
        < 1
    )


def box(half_mm: Lengths) -> Body:
    """The worst case: every face is flat and lies across an axis of the grid."""
    a, b, c = half_mm
    return lambda x, y, z: (abs(x) < a) & (abs(y) < b) & (abs(z) < c)


def balls(centres: NDArray[np.float64], radii: NDArray[np.float64]) -> Body:
    def inside(x: Any, y: Any, z: Any) -> Any:
        each = ((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < r * r for (a, b, c), r in zip(centres, radii, strict=True))
        return np.logical_or.reduce(list(np.broadcast_arrays(*each)))

    return inside


def imaged(
    body: Body, reach_mm: float, random: np.random.Generator, *, pixel_mm: float, step_mm: float, thick_mm: float = 0.0
) -> Stored:
    """The record of a body in a scan that lies anywhere, as it comes out of the database.

    Args:
        reach_mm: the body lies within so much of the origin.
        thick_mm: slices that show the mean over so much, where the mask begins at one half; 0: what is at their centre.
    """
    spacing = np.array([pixel_mm, pixel_mm, step_mm])
    counts = np.ceil(2 * reach_mm / spacing).astype(int) + 3
    first = (random.uniform(-0.5, 0.5, 3) - (counts - 1) / 2) * spacing
    x, y, z = (at + np.arange(count) * step for at, count, step in zip(first, counts, spacing, strict=True))
    depths = (np.arange(7) - 3) / 7 * thick_mm if thick_mm else [0.0]
    grid = [body(x[None, None, :], y[None, :, None], (z + depth)[:, None, None]) for depth in depths]
    labels = (np.mean(grid, axis=0) > 0.5).astype(np.uint8)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = first
    geometry = Geometry(affine, labels.shape)
    values = SharedArray.make(labels.shape, np.float32)
    volume = Volume(values, geometry, (Dataset(),) * len(labels), (0,) * len(labels), "HU")
    (one,) = measure(volume, labels, (SEGMENT,))
    volume.close()
    loaded: Stored = json.loads(json.dumps(record(one, geometry, thick_mm or None)))
    return loaded


def scan(random: np.random.Generator) -> dict[str, float]:
    """A scanner's settings; every other one has thick slices that are shown as means, some of them overlapping."""
    step_mm = float(random.choice(STEPS_MM))
    thick_mm = step_mm * float(random.choice([0, 0, 1, 1.5]))
    return dict(pixel_mm=float(random.uniform(0.5, 1.0)), step_mm=step_mm, thick_mm=thick_mm)


def compared(now: Stored, prior: Stored | None, *, other_version: bool = False) -> dict[str, Change]:
    before = None if prior is None else [prior]
    found = changes([now], before, prior_study_uid="1.2.3", prior_date="20260101", other_version=other_version)
    return {one.quantity: one for one in found}


def twice(kind: str, bodies: int, images: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Difference over resolution for every pair of images of each body: quantity -> (pairs,)."""
    random = np.random.default_rng(seed)
    ratios: dict[str, list[float]] = {"volume": [], "long axis": []}
    for _ in range(bodies):
        half = random.uniform(3, 18, 3)
        if kind == "ball":
            half[:] = half[0]
        body, reach = ellipsoid(half, Rotation.random(random_state=int(random.integers(1 << 30)))), float(half.max())
        if kind == "box":
            body = box(half)
        elif kind == "balls":
            body, reach = balls(random.uniform(-20, 20, (8, 3)), random.uniform(2, 5, 8)), 25.0
        taken = [imaged(body, reach, random, **scan(random)) for _ in range(images)]
        for n, one in enumerate(taken):
            for other in taken[:n]:
                for quantity, change in compared(one, other).items():
                    assert change.prior is not None
                    ratios[quantity].append(abs(change.now - change.prior) / change.least)
    return {quantity: np.array(found) for quantity, found in ratios.items()}


KINDS = ("ball", "ellipsoid", "box", "balls")


@pytest.mark.parametrize("kind", KINDS)
def test_one_body_imaged_twice_is_the_same(kind: str) -> None:
    for quantity, ratios in twice(kind, bodies=7, images=6, seed=len(kind)).items():
        assert (ratios >= 1).sum() <= 0.01 * len(ratios), quantity


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_body_imaged_twice_is_the_same_in_two_thousand_trials(kind: str) -> None:
    for quantity, ratios in twice(kind, bodies=72, images=8, seed=10 + len(kind)).items():
        assert len(ratios) > 2000 or (kind, quantity) == ("balls", "long axis"), "of several parts none is compared"
        assert (ratios >= 1).sum() < 0.01 * len(ratios) or not len(ratios), quantity


def test_the_resolution_is_no_larger_than_flat_ends_need() -> None:
    assert twice("box", bodies=6, images=6, seed=7)["volume"].max() > 0.5


def test_slices_that_miss_the_widest_place_do_not_make_it_shorter() -> None:
    random = np.random.default_rng(9)
    taken = [imaged(ellipsoid([9, 9, 5]), 9, random, pixel_mm=0.5, step_mm=5.0) for _ in range(14)]
    found = [compared(one, other)["long axis"] for one in taken for other in taken]
    assert max(change.now - (change.prior or 0) for change in found) > 1.2, "more than the pixels explain"
    assert {change.verdict for change in found} == {Verdict.SAME}


def test_what_grew_by_more_than_the_resolution_has_grown() -> None:
    random = np.random.default_rng(5)
    clear = 0
    for _ in range(40):
        half, growth = random.uniform(5, 12, 3), float(random.choice([0.6, 0.9, 1.1, 1.5]))
        prior = imaged(ellipsoid(half), 20, random, **scan(random))
        now = imaged(ellipsoid(half * growth), 20, random, **scan(random))
        change = compared(now, prior)["volume"]
        truly = 4 / 3000 * np.pi * np.prod(half) * (growth**3 - 1)
        if abs(truly) > 1.5 * change.least:
            clear += 1
            assert change.verdict is (Verdict.LARGER if truly > 0 else Verdict.SMALLER)
    assert clear > 12, "it can tell something"


@pytest.mark.parametrize(("step_mm", "least_percent"), [(1.0, 17), (3.0, 37), (5.0, 60)])
def test_how_much_a_nodule_of_20_mm_has_to_change(step_mm: float, least_percent: float) -> None:
    random = np.random.default_rng(6)
    one, other = (imaged(ellipsoid([10] * 3), 10, random, pixel_mm=0.7, step_mm=step_mm) for _ in range(2))
    found = volume_resolution_ml(one, other) / 4.19 * 100
    assert found == pytest.approx(least_percent, rel=0.1)


def test_finer_scans_show_smaller_changes() -> None:
    random = np.random.default_rng(8)
    body = ellipsoid([12, 9, 10])
    fine, coarse, overlapping = (
        imaged(body, 12, random, **settings)
        for settings in (
            dict(pixel_mm=0.6, step_mm=1.0),
            dict(pixel_mm=0.9, step_mm=5.0),
            dict(pixel_mm=0.6, step_mm=1.0, thick_mm=5.0),
        )
    )
    for resolution in (volume_resolution_ml, long_axis_resolution_mm):
        assert resolution(fine, fine) < resolution(fine, coarse) < resolution(coarse, coarse)
        assert resolution(fine, coarse) == resolution(coarse, fine)
        assert resolution(overlapping, overlapping) > 1.5 * resolution(fine, fine), "the thickness counts"


BALL = imaged(ellipsoid([10] * 3), 10, np.random.default_rng(1), pixel_mm=0.7, step_mm=1.0)
NOTHING = imaged(lambda x, y, z: (x + y + z) > 1e6, 10, np.random.default_rng(1), pixel_mm=0.7, step_mm=1.0)


def test_values_and_least_differences_are_rounded_as_they_are_printed() -> None:
    for quantity, change in compared(BALL, BALL | {"volume_ml": 1.23456, "long_axis_mm": 9.8765}).items():
        digits = 2 if quantity == "volume" else 1
        for number in (change.now, change.prior, change.least):
            assert number == round(number or 0, digits)
        assert (change.segment, change.prior_study_uid, change.prior_date) == (1, "1.2.3", "20260101")
        assert change.verdict is Verdict.LARGER


@pytest.mark.parametrize(("part", "verdict"), [(0.99, Verdict.SAME), (1.0, Verdict.LARGER), (1.01, Verdict.LARGER)])
def test_the_least_difference_is_a_change_and_nothing_below_it(part: float, verdict: Verdict) -> None:
    least = compared(BALL, BALL)["volume"].least
    now = BALL | {"volume_ml": round(float(BALL["volume_ml"] or 0), 2) + part * least}
    change = compared(now, BALL)["volume"]
    assert change.least == least
    assert change.verdict is verdict


def test_what_appears_has_grown_and_what_is_gone_has_shrunk() -> None:
    (appeared,) = compared(BALL, NOTHING).values()
    (gone,) = compared(NOTHING, BALL).values()
    assert (appeared.quantity, appeared.prior, appeared.verdict) == ("volume", 0.0, Verdict.LARGER)
    assert (gone.now, gone.verdict) == (0.0, Verdict.SMALLER)


def test_what_thick_slices_may_have_missed_did_not_appear() -> None:
    random = np.random.default_rng(3)
    small = imaged(ellipsoid([2] * 3), 10, random, pixel_mm=0.7, step_mm=1.0)
    assert small["volume_ml"]
    assert compared(small, NOTHING | {"slice_mm": 5.0})["volume"].verdict is Verdict.SAME


def test_nothing_twice_is_the_same() -> None:
    (change,) = compared(NOTHING, NOTHING).values()
    assert (change.now, change.prior, change.least, change.verdict) == (0.0, 0.0, 0.01, Verdict.SAME)


def test_without_a_prior_there_is_nothing_to_say() -> None:
    assert compared(BALL, None) == {}
    assert compared(BALL, BALL | {"value": 2}) == {}


@pytest.mark.parametrize("prior", [None, BALL])
def test_another_version_is_named_and_not_compared(prior: Stored | None) -> None:
    found = compared(BALL, prior, other_version=True)
    assert set(found) == {"volume", "long axis"}
    for change in found.values():
        assert (change.prior, change.verdict, change.prior_date) == (None, Verdict.OTHER_VERSION, "20260101")
    assert set(compared(NOTHING, prior, other_version=True)) == {"volume"}


def image_of(pixel_size: PixelSize, *, length: float = 40.0, parts: int = 1) -> Stored:
    """A record of a mask of 20 x 25 pixels of 0.5 mm in an image that is no slice of a volume."""
    known = pixel_size is not PixelSize.UNKNOWN
    one = Measured(
        value=1,
        voxels=500,
        volume_ml=None,
        largest_slice=0,
        pixels=500,
        area_mm2=125.0 if known else None,
        pixel_size=pixel_size,
        intensity=None,
        long_axis=Line(length=length, slice=0, ends=((0, 0), (20, 25))),
        short_axis=None,
        diameter_3d_mm=None,
        surface_mm2=None,
        components=parts,
    )
    grid = Geometry(np.eye(4), (1, 512, 512), in_patient=False, is_calibrated=False)
    loaded: Stored = json.loads(json.dumps(record(one, grid)))
    return loaded


def test_images_are_compared_by_length_where_it_is_the_patients() -> None:
    (change,) = compared(image_of(PixelSize.PATIENT), image_of(PixelSize.PATIENT, length=42.0, parts=3)).values()
    assert (change.quantity, change.verdict) == ("long axis", Verdict.SMALLER)
    assert change.least == 1.0, "half a diagonal of 0.71 mm at each end, in both"


@pytest.mark.parametrize("size", [PixelSize.DETECTOR, PixelSize.UNKNOWN])
def test_lengths_at_a_detector_or_in_pixels_are_not_compared(size: PixelSize) -> None:
    assert compared(image_of(size), image_of(size)) == {}
