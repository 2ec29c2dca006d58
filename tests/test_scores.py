"""The scores of a label map: against closed forms, brute force and MONAI, on any grid; and what they come to."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from models.scores import curves, summary, surfaces
from models.scores.case import score
from models.scores.lesions import detected
from models.scores.values import CaseScores, ClassScores
from tests.scenes import grid

Labels = NDArray[np.uint8]
Numbers = NDArray[np.float64]

CUBES = np.eye(4)
THICK = np.diag([0.8, 0.8, 3.0, 1.0])
TILTED = grid((1, 0, 0), (0, 1, 0), (0.8, 0.8, 2.0), tilt_degrees=25).affine
OBLIQUE = grid((0.8, 0.5, 0.1), (-0.4, 0.9, 0.3), (0.9, 0.9, 1.3), tilt_degrees=20, descending=True).affine
GRIDS = {"cubes": CUBES, "thick": THICK, "tilted": TILTED, "oblique and tilted": OBLIQUE}
on_every_grid = pytest.mark.parametrize("affine", [pytest.param(affine, id=name) for name, affine in GRIDS.items()])


def places(shape: tuple[int, int, int], affine: Numbers) -> Numbers:
    """Of every voxel in mm: (slices, rows, columns, 3)."""
    s, r, c = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    return np.stack((c, r, s), axis=-1) @ affine[:3, :3].T + affine[:3, 3]


def ball(shape: tuple[int, int, int], affine: Numbers, radius_mm: float, shift_mm: float = 0.0) -> Labels:
    """Around the middle of the grid, moved along the patient's left."""
    where = places(shape, affine)
    centre = where.reshape(-1, 3).mean(axis=0) + np.array([shift_mm, 0.0, 0.0])
    return (np.linalg.norm(where - centre, axis=-1) <= radius_mm).astype(np.uint8)


def one(truth: NDArray[Any], predicted: NDArray[Any], affine: Numbers = CUBES, **more: Any) -> ClassScores:
    (found,) = score(truth.astype(np.uint8), predicted.astype(np.uint8), affine, [1], **more)
    return found


def test_two_boxes_by_hand() -> None:
    """10 x 10 x 10 against the same box moved by 2 columns, on a grid with 1 x 1 x 2 mm."""
    truth, predicted = np.zeros((30, 30, 30), np.uint8), np.zeros((30, 30, 30), np.uint8)
    truth[10:20, 10:20, 10:20] = 1
    predicted[10:20, 10:20, 12:22] = 1
    found = one(truth, predicted, np.diag([1.0, 1.0, 2.0, 1.0]), tolerance_mm=1.0)
    assert found.truth_ml == found.predicted_ml == 2.0
    assert found.volume_error_ml == 0
    assert found.dice == found.precision == found.recall == 0.8
    assert found.accuracy == (27_000 - 400) / 27_000
    assert found.hd95_mm == 2.0  # the two faces across the columns are 2 mm apart; they are over 5 % of the surface
    # of 1000 mm2, beyond 1 mm: one face of 10 x 20 mm, the other one without its rim of 1 mm, and beside the first one
    # a strip of 1 mm around
    assert found.nsd == pytest.approx(1 - (200 + 8 * 18 + 60) / 1000, abs=0.06)


@on_every_grid
def test_balls_within_one_another_lie_as_far_apart_as_their_radii_differ(affine: Numbers) -> None:
    """To the nearest block of voxels that the surface passes: up to half a voxel's diagonal less."""
    shape = (40, 72, 72)
    truth, predicted = ball(shape, affine, 16.0), ball(shape, affine, 12.0)
    apart = surfaces.distances(truth == 1, predicted == 1, affine)
    voxel = float(np.linalg.norm(affine[:3, :3].sum(axis=1)))
    assert 4.0 - voxel / 2 < apart.mean_mm() < 4.05
    assert apart.hd95_mm() == pytest.approx(4.0, abs=voxel / 2)
    # a mask has steps: its surface is larger than that of the body, by 8 % on cubes and 20 % on thick, tilted slices
    assert 1.0 < apart.truth_mm2.sum() / (4 * math.pi * 16**2) < 1.22
    assert 1.0 < apart.predicted_mm2.sum() / (4 * math.pi * 12**2) < 1.22
    assert apart.nsd(4.0 + voxel) > 0.99
    assert apart.nsd(4.0 - voxel) < 0.01


@on_every_grid
def test_a_ball_that_is_moved(affine: Numbers) -> None:
    """The distance of a point at angle a to the moved ball is | sqrt(r^2 + d^2 - 2 r d cos a) - r |."""
    shape, radius, shift = (40, 72, 72), 15.0, 6.0
    found = one(ball(shape, affine, radius), ball(shape, affine, radius, shift), affine, tolerance_mm=3.0)
    voxel = float(np.linalg.norm(affine[:3, :3].sum(axis=1)))
    cosine = np.linspace(-1, 1, 100_001)  # areas on a ball are even in the cosine
    distance = np.abs(np.sqrt(radius**2 + shift**2 - 2 * radius * shift * cosine) - radius)
    part, height = shift / (2 * radius), radius - shift / 2
    assert found.hd95_mm == pytest.approx(float(np.quantile(distance, 0.95)), abs=voxel / 2)
    assert found.nsd == pytest.approx(float((distance <= 3.0).mean()), abs=voxel / 2 / shift + 0.02)
    lens = 2 * math.pi * height**2 * (3 * radius - height) / 3
    assert part < 1
    assert found.dice == pytest.approx(lens / (4 / 3 * math.pi * radius**3), abs=0.02)


@on_every_grid
@settings(max_examples=15, deadline=None)
@given(masks=arrays(np.uint8, (2, 4, 5, 6), elements=st.integers(0, 1)))
def test_surfaces_agree_with_brute_force(affine: Numbers, masks: Labels) -> None:
    truth, predicted = masks
    if not truth.any() or not predicted.any():
        return
    found = surfaces.distances(truth == 1, predicted == 1, affine)
    one_way, other_way = _by_force(truth, predicted, affine), _by_force(predicted, truth, affine)
    np.testing.assert_allclose(np.sort(found.truth_mm), np.sort(one_way), atol=1e-9)
    np.testing.assert_allclose(np.sort(found.predicted_mm), np.sort(other_way), atol=1e-9)


def _by_force(mask: Labels, other: Labels, affine: Numbers) -> list[float]:
    mine, theirs = _corners(mask, affine), _corners(other, affine)
    return [min(float(np.linalg.norm(a - b)) for b in theirs) for a in mine]


def _corners(mask: Labels, affine: Numbers) -> list[Numbers]:
    """Where eight voxels meet that are not all alike."""
    padded = np.pad(mask, 1)
    found = []
    for s, r, c in product(*(range(size - 1) for size in padded.shape)):
        block = padded[s : s + 2, r : r + 2, c : c + 2]
        if 0 < block.sum() < 8:
            found.append(affine[:3, :3] @ np.array([c, r, s], float))
    return found


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")  # MONAI's, of itself
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 0.9)], ids=["cubes", "thick"])
def test_monai_agrees(spacing: tuple[float, float, float]) -> None:
    """Its surface Dice has the same surfaces; its Hausdorff distance is between the centres of voxels at the rim."""
    torch = pytest.importorskip("torch", reason="MONAI's metrics need torch")
    metrics = pytest.importorskip("monai.metrics", reason="needs MONAI")
    affine = np.diag([spacing[2], spacing[1], spacing[0], 1.0])
    shape = (28, 60, 60)
    truth, predicted = ball(shape, affine, 14.0), ball(shape, affine, 13.0, 3.5)
    found = one(truth, predicted, affine, tolerance_mm=2.0)
    tensors = [torch.as_tensor(mask[None, None].astype(np.float32)) for mask in (predicted, truth)]
    more = dict(include_background=True, spacing=list(spacing))
    nsd = float(metrics.compute_surface_dice(*tensors, [2.0], use_subvoxels=True, **more))
    hd95 = float(metrics.compute_hausdorff_distance(*tensors, percentile=95, **more))
    assert found.nsd == pytest.approx(nsd, abs=0.002)
    assert found.hd95_mm == pytest.approx(hd95, abs=max(spacing))


def test_where_a_mask_lies_in_the_scan_changes_nothing() -> None:
    """Also at its ends, and in a larger scan: the surface is closed there."""
    g = np.random.default_rng(3)
    truth = ndimage.binary_opening(g.random((12, 20, 20)) < 0.7).astype(np.uint8)
    predicted = ndimage.binary_opening(g.random((12, 20, 20)) < 0.7).astype(np.uint8)
    assert truth[0].any()
    assert truth[:, 0].any()
    alone = one(truth, predicted, THICK)
    wider = one(np.pad(truth, 7), np.pad(predicted, 7), THICK)
    assert replace(alone, accuracy=None) == replace(wider, accuracy=None)


def test_a_single_slice_has_a_contour() -> None:
    """Discs 4 mm apart in radius: the flat sides of the slice, where both are, say nothing."""
    where = places((1, 80, 80), CUBES)
    away = np.linalg.norm(where - where.reshape(-1, 3).mean(axis=0), axis=-1)
    found = surfaces.distances(away <= 30, away <= 26, CUBES)
    assert found.nsd(2.8) == 0  # four less a voxel's diagonal, of the flat grid
    assert found.mean_mm() == pytest.approx(4.0, abs=0.7)
    assert found.truth_mm2.sum() == pytest.approx(2 * math.pi * 30, rel=0.1)


def test_a_shift_by_a_voxel_along_any_axis_is_seen_at_its_length() -> None:
    """A faulty order of axes would call the thick slices thin."""
    truth = np.zeros((20, 30, 40), np.uint8)
    truth[6:14, 8:20, 10:30] = 1
    lengths = [one(truth, np.roll(truth, 1, axis), np.diag([0.5, 1.5, 4.0, 1.0])).hd95_mm for axis in range(3)]
    assert lengths == [4.0, 1.5, 0.5]


def test_classes_are_scored_by_themselves_and_only_where_annotated() -> None:
    truth, predicted = np.zeros((6, 10, 10), np.uint8), np.zeros((6, 10, 10), np.uint8)
    truth[2:4, 2:5, 2:5], truth[2:4, 6:9, 6:9] = 1, 7
    predicted[2:4, 2:5, 2:5], predicted[2:4, 6:9, 6:9], predicted[0, 0, 0] = 1, 3, 200
    found = score(truth, predicted, CUBES, [7, 1])
    assert [each.value for each in found] == [7, 1]
    assert [each.dice for each in found] == [0.0, 1.0]
    assert found[1].nsd == 1.0
    assert found[1].hd95_mm == 0.0


def test_what_neither_has_is_counted_and_says_nothing() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    found = one(empty, empty, lesions=[1], probabilities={1: np.zeros(empty.shape, np.float16)})
    assert found.both_empty
    numbers = ("dice", "nsd", "hd95_mm", "accuracy", "precision", "recall", "lesion_f1", "roc_auc", "pr_auc")
    assert all(getattr(found, name) is None for name in (*numbers, "calibration_error"))
    assert (found.lesions_found, found.lesions_missed, found.lesions_false) == (0, 0, 0)


@pytest.mark.parametrize("lacks", ["truth", "prediction"])
def test_what_one_of_the_two_lacks_is_worth_nothing(lacks: str) -> None:
    some, empty = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    some[1:3, 1:3, 1:3] = 1
    found = one(*((empty, some) if lacks == "truth" else (some, empty)), lesions=[1])
    assert (found.dice, found.nsd, found.precision, found.recall, found.lesion_f1) == (0, 0, 0, 0, 0)
    assert found.hd95_mm is None
    assert not found.both_empty
    assert abs(found.volume_error_ml) == pytest.approx(0.008)


def test_no_number_is_ever_nan() -> None:
    g = np.random.default_rng(0)
    for _ in range(40):
        truth, predicted = ((g.random((3, 4, 4)) < g.choice([0, 0.02, 0.5, 1])).astype(np.uint8) for _ in range(2))
        found = one(truth, predicted, THICK, lesions=[1], probabilities={1: g.random(truth.shape).astype(np.float16)})
        assert all(math.isfinite(value) for value in asdict(found).values() if value is not None)


@pytest.mark.parametrize(
    ("truth", "predicted", "affine", "said"),
    [
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 4, 3), np.uint8), CUBES, "different grids"),
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.int16), CUBES, "not a label map"),
        (np.zeros((3, 4), np.uint8), np.zeros((3, 4), np.uint8), CUBES, "not a label map"),
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8), np.diag([1.0, 0, 1, 1]), "affine"),
        (np.zeros((2, 3, 4), np.uint8), np.zeros((2, 3, 4), np.uint8), CUBES * np.nan, "affine"),
    ],
)
def test_what_cannot_be_compared_is_refused(truth: Any, predicted: Any, affine: Numbers, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        score(truth, predicted, affine, [1])


def test_classes_that_are_none_are_refused() -> None:
    empty = np.zeros((2, 3, 4), np.uint8)
    for wrong in ([0], [256], [1, 1]):
        with pytest.raises(ValueError, match="annotated"):
            score(empty, empty, CUBES, wrong)


# lesions


def lesion_map(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    found = np.zeros((3, 40, 40), np.bool_)
    for top, bottom, left, right in boxes:
        found[1, top:bottom, left:right] = True
    return found


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        pytest.param([(0, 10, 0, 10)], [(0, 10, 9, 20)], (1, 0, 1), id="a tenth is found, under a tenth is false"),
        pytest.param([(0, 10, 0, 10)], [(1, 10, 9, 12)], (0, 1, 0), id="nine of a hundred voxels are a touch"),
        pytest.param([(0, 4, 0, 4), (4, 8, 4, 8)], [(0, 2, 0, 2)], (1, 0, 0), id="corners connect"),
        pytest.param([(0, 4, 0, 4), (5, 8, 5, 8)], [(0, 2, 0, 2)], (1, 1, 0), id="a voxel between them does not"),
        pytest.param([(5, 8, 5, 8), (20, 23, 20, 23)], [(0, 40, 0, 40)], (2, 0, 1), id="one blob is no reader"),
        pytest.param([(0, 9, 0, 9)], [(0, 3, 0, 9), (5, 9, 0, 9)], (1, 0, 0), id="in two pieces"),
        pytest.param([(0, 9, 0, 9)], [(20, 23, 0, 3), (30, 33, 0, 3)], (0, 1, 2), id="elsewhere"),
    ],
)
def test_lesions(truth: Any, predicted: Any, expected: tuple[int, int, int]) -> None:
    found = detected(lesion_map(*truth), lesion_map(*predicted))
    assert (found.found, found.missed, found.false) == expected


def test_lesions_are_counted_where_asked_for_and_over_the_box_of_both() -> None:
    truth, predicted = lesion_map((0, 3, 0, 3), (20, 23, 20, 23)), lesion_map((0, 3, 0, 3), (30, 33, 5, 8))
    found = one(truth, predicted, lesions=[1])
    assert (found.lesions_found, found.lesions_missed, found.lesions_false) == (1, 1, 1)
    assert found.lesion_f1 == 0.5
    assert one(truth, predicted).lesion_f1 is None


# curves


@settings(max_examples=60, deadline=None)
@given(
    inside=arrays(np.bool_, (2, 3, 4)),
    values=arrays(np.float16, (2, 3, 4), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.50048828125, 0.9, 1.0])),
)
def test_areas_agree_with_brute_force(inside: NDArray[np.bool_], values: NDArray[np.float16]) -> None:
    found = curves.ranked(inside, values)
    of_class, rest = values[inside].astype(float), values[~inside].astype(float)
    if not len(of_class):
        assert found.pr_auc() is None
    if not len(of_class) or not len(rest):
        assert found.roc_auc() is None
        return
    pairs = [(a > b) + 0.5 * (a == b) for a in of_class for b in rest]
    assert found.roc_auc() == pytest.approx(float(np.mean(pairs)), abs=1e-12)
    steps = 0.0
    recall_before = 0.0
    for threshold in sorted({float(value) for value in values.ravel()}, reverse=True):
        taken, right = (values >= threshold).sum(), (of_class >= threshold).sum()
        steps += (right / len(of_class) - recall_before) * right / taken
        recall_before = right / len(of_class)
    assert found.pr_auc() == pytest.approx(float(steps), abs=1e-12)
    across, up = found.roc()
    assert float(np.trapezoid(up, across)) == pytest.approx(found.roc_auc(), abs=0.01)


def test_calibration_by_hand() -> None:
    """Of 100 voxels at 0.8, 60 are of the class; of 100 at 0.05, 5: the gap is 0.2 for half of them."""
    values = np.repeat(np.array([0.8, 0.05], np.float16), 100)[None, None]
    inside = np.zeros((1, 1, 200), np.bool_)
    inside[..., :60], inside[..., 100:105] = True, True
    assert curves.ranked(inside, values).calibration_error() == pytest.approx(0.1, abs=1e-3)


def test_counts_of_cases_add_up() -> None:
    g = np.random.default_rng(0)
    inside, values = g.random((4, 5, 6)) < 0.3, g.random((4, 5, 6)).astype(np.float16)
    parts = curves.ranked(inside[:2], values[:2]) + curves.ranked(inside[2:], values[2:])
    assert parts.roc_auc() == curves.ranked(inside, values).roc_auc()


def test_probabilities_are_scored_over_the_scan_and_calibration_near_the_truth() -> None:
    """Air that is far away and rightly 0 makes no calibration good."""
    truth = np.zeros((80, 80, 80), np.uint8)
    truth[38:42, 38:42, 38:42] = 1
    sure = np.where(truth == 1, np.float16(0.6), np.float16(0))
    near = one(truth, truth, probabilities={1: sure})
    assert (near.roc_auc, near.pr_auc) == (1.0, 1.0)
    assert near.calibration_error == pytest.approx(0.4 * 4**3 / 44**3, rel=1e-2)
    far = sure.copy()
    far[0, 0, 0] = 1
    spotted = one(truth, truth, probabilities={1: far})
    assert spotted.calibration_error == near.calibration_error
    assert spotted.pr_auc == pytest.approx(64 / 65)


@pytest.mark.parametrize("wrong", [np.nan, -0.1, 1.01, np.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    values = np.zeros((1, 2, 2), np.float16)
    values[0, 0, 0] = wrong
    with pytest.raises(ValueError, match="from 0 to 1"):
        curves.ranked(np.zeros((1, 2, 2), np.bool_), values)


def test_probabilities_on_another_grid_are_refused() -> None:
    truth = np.zeros((2, 2, 2), np.uint8)
    for values in (np.zeros((2, 2, 3), np.float16), np.zeros((2, 2, 2), np.float32)):
        with pytest.raises(ValueError, match="do not fit"):
            one(truth, truth, probabilities={1: values})


# what they come to


def scored(patient: str, dice: float | None, case: str = "", **more: Any) -> CaseScores:
    groups = more.pop("groups", {})
    of = ClassScores(value=1, truth_ml=1.0, predicted_ml=2.0, dice=dice, both_empty=dice is None, **more)
    return CaseScores(case=case or patient, patient=patient, classes=(of,), seconds=3.0, groups=groups)


def test_the_patient_is_the_unit() -> None:
    cases = [scored("a", 0.9, "a1"), scored("a", 0.1, "a2"), scored("b", 0.8), scored("c", None), scored("d", 0.4)]
    found = summary.summarise(cases, 1)
    dice = found.spreads["dice"]
    assert dice is not None
    assert (found.patients, found.both_empty, found.failures, dice.count) == (4, 1, 1, 3)
    assert dice.mean == pytest.approx((0.5 + 0.8 + 0.4) / 3)
    assert dice.median == 0.5
    assert dice.interval is None  # of three patients
    error = found.spreads["volume_error_ml"]
    assert error is not None
    assert error.count == 3  # not of the patient who has none and was given none
    assert found.spreads["nsd"] is None


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    g = np.random.default_rng(1)
    hits = 0
    for k in range(300):
        found = summary.spread(g.normal(0.7, 0.1, 40).tolist(), bootstraps=400, seed=k)
        assert found is not None
        assert found.interval is not None
        hits += found.interval[0] <= 0.7 <= found.interval[1]
    assert 0.90 <= hits / 300 <= 0.98


def test_the_order_of_the_cases_changes_nothing() -> None:
    values = np.random.default_rng(0).random(30).tolist()
    assert summary.spread(values) == summary.spread(values[::-1])


def test_nan_is_refused_not_averaged() -> None:
    with pytest.raises(ValueError, match="not finite"):
        summary.spread([0.5, math.nan])


def test_lesions_add_up_and_groups_part_the_cases() -> None:
    counts = dict(lesions_found=1, lesions_missed=2, lesions_false=3)
    cases = [
        scored("a", 0.9, **counts),
        scored("b", 0.7, **counts),
        scored("c", 0.5, **counts),
    ]
    found = summary.summarise(cases, 1)
    assert (found.lesions_found, found.lesions_missed, found.lesions_false) == (3, 6, 9)
    assert summary.mean_dice(cases, [1]) == {"a": 0.9, "b": 0.7, "c": 0.5}
    assert summary.mean_dice(cases, [2]) == {}


def test_a_case_costs_about_as_much_as_its_surface() -> None:
    """A lesion in a large scan takes little more than counting its voxels: the rest is done in its box."""
    truth = np.zeros((120, 256, 256), np.uint8)
    small = ball((20, 20, 20), CUBES, 8.0)
    truth[50:70, 100:120, 100:120] = small
    predicted = np.roll(truth, 2, axis=2)
    surfaces.distances(small == 1, small == 1, CUBES)  # the table is made once
    started = time.thread_time()
    score(truth, predicted, CUBES, [1], lesions=[1])
    whole = time.thread_time() - started
    started = time.thread_time()
    ndimage.distance_transform_edt(truth == 0)
    assert whole < (time.thread_time() - started) / 3
