"""ROC, FROC and their intervals against brute force and against what is known."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from models.scores.detection import Candidate, Froc, Lesion, Roc, Study, matched, of_parts


def scores(rng: np.random.Generator, count: int, above: float) -> tuple[float, ...]:
    return tuple((rng.normal(above, 1, count).round(1)).tolist())


@pytest.mark.parametrize("seed", range(5))
def test_the_area_is_the_part_of_pairs_that_are_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    roc = Roc(scores(rng, 17, 0.8), scores(rng, 23, 0))
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(roc.positive, roc.negative)]
    assert roc.auc() == pytest.approx(sum(pairs) / len(pairs))
    points = np.array(roc.points())
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(roc.auc())
    assert tuple(points[0]) == (0, 0)
    assert tuple(points[-1]) == (1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_variance_is_delongs(seed: int) -> None:
    """By his formula term by term, and near to what drawing again gives."""
    rng = np.random.default_rng(10 + seed)
    roc = Roc(scores(rng, 40, 1.2), scores(rng, 50, 0))
    auc, interval = roc.auc(), roc.interval()
    assert auc is not None
    assert interval is not None
    v10 = [sum((a > b) + 0.5 * (a == b) for b in roc.negative) / 50 for a in roc.positive]
    v01 = [sum((a > b) + 0.5 * (a == b) for a in roc.positive) / 40 for b in roc.negative]
    variance = sum((v - auc) ** 2 for v in v10) / 39 / 40 + sum((v - auc) ** 2 for v in v01) / 49 / 50
    logits = [math.log(end / (1 - end)) for end in interval]
    wide = (logits[1] - logits[0]) / 2 * auc * (1 - auc)
    assert wide == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    drawn = []
    for _ in range(600):
        again = Roc(tuple(rng.choice(roc.positive, 40)), tuple(rng.choice(roc.negative, 50)))
        drawn.append(again.auc())
    low, high = np.percentile(np.array(drawn, float), (2.5, 97.5))
    assert interval == pytest.approx((low, high), abs=0.035)


def test_no_interval_is_given_where_it_would_mislead() -> None:
    told_apart = Roc((0.9,) * 8, (0.1,) * 8)
    assert (told_apart.auc(), told_apart.interval()) == (1.0, None)
    assert Roc((0.9, 0.2, 0.4, 0.8), (0.1,) * 8 + (0.5,)).interval() is None
    assert (Roc((), (0.1,)).auc(), Roc((), (0.1,)).points()) == (None, [])


def test_the_interval_of_a_part_is_wilsons() -> None:
    """Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for found, of, wanted in ((81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)),
                              (1, 29, (0.0061, 0.1718))):  # fmt: skip
        assert of_parts(found, of) == pytest.approx(wanted, abs=1e-4)
    assert of_parts(0, 0) is None


A, B = Lesion((0, 0, 0), (10, 10, 10)), Lesion((4, 0, 0), (10, 10, 10))


def test_a_lesion_is_found_once_and_more_boxes_in_it_count_neither_way() -> None:
    boxes = [Candidate(0.4, (1, 0, 0)), Candidate(0.9, (-4.9, 4, 0)), Candidate(0.8, (5.1, 5.1, 0))]
    assert matched([A], boxes) == Study((0.9,), (0.8,), 1)
    assert matched([A, B], [Candidate(0.5, (3, 0, 0)), Candidate(0.6, (1, 0, 0))]) == Study((0.6, 0.5), (), 2)
    assert matched([A, B], [Candidate(0.5, (-2, 0, 0))]) == Study((0.5,), (), 2)
    assert matched([], [Candidate(0.5, (0, 0, 0))]) == Study((), (0.5,), 0)
    assert matched([A], []).score == 0


def some_studies(seed: int, count: int = 12) -> Froc:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        lesions = int(rng.integers(0, 4))
        hits = tuple(rng.random(int(rng.integers(0, lesions + 1))).round(2).tolist())
        made.append(Study(hits, tuple(rng.random(int(rng.integers(0, 4))).round(2).tolist()), lesions))
    return Froc(tuple(made))


@pytest.mark.parametrize("seed", range(4))
def test_every_point_of_the_curve_is_counted_at_its_threshold(seed: int) -> None:
    froc = some_studies(seed)
    thresholds = sorted({one for study in froc.studies for one in (*study.hits, *study.false)}, reverse=True)
    wanted = [(0.0, 0.0)]
    for threshold in thresholds:
        false = sum(1 for study in froc.studies for one in study.false if one >= threshold)
        hits = sum(1 for study in froc.studies for one in study.hits if one >= threshold)
        wanted.append((false / 12, hits / sum(study.lesions for study in froc.studies)))
    assert np.array(froc.points()) == pytest.approx(np.array(wanted))
    for per in (0.125, 1.0, 8.0):
        assert froc.sensitivity(per) == max(part for at, part in wanted if at <= per)
    low, high = froc.interval(0.2) or (1, 0)
    _, part = froc.at(0.2)
    assert part is not None
    assert low <= part <= high


def test_without_lesions_there_are_false_positives_alone() -> None:
    froc = Froc((Study((), (0.4, 0.8), 0), Study((), (), 0)))
    assert froc.at(0.5) == (0.5, None)
    assert (froc.points(), froc.sensitivity(1), froc.mean_sensitivity(), froc.interval(0.5)) == ([], None, None, None)
    assert froc.roc().auc() is None


def test_studies_are_told_apart_by_their_surest_box() -> None:
    froc = Froc((Study((0.9,), (), 1), Study((), (0.3,), 2), Study((), (0.4,), 0), Study((), (), 0)))
    assert froc.roc() == Roc((0.9, 0.3), (0.4, 0.0))
    assert froc.roc().auc() == 0.75
