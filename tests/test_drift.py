"""Drift: what changes on purpose is found, what does not is not, and looking every week finds no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from node.operations.watch import drift
from node.operations.watch.drift import Bounds

KERNELS = ("B30f", "B50f", "B70f")


def person(random: np.random.Generator, *, thickness_mm: float = 2.5, kernel: str = "", shift: float = 0) -> list[Any]:
    """One person's chest CT, as a site's scanners differ."""
    values = random.dirichlet(np.exp(-((np.arange(20) - 8 - shift) ** 2) / 18) * 60) * 1000
    numbers = {
        "pixel_spacing_mm": round(float(random.normal(0.75, 0.06)), 3),
        "slice_spacing_mm": 2.0,
        "slice_thickness_mm": thickness_mm if random.random() < 0.8 else 5.0,
    }
    words = {"kernel": kernel or KERNELS[random.integers(3)], "scanner": f"Vendor model {random.integers(2)}"}
    return [{"channel": "CT", "numbers": numbers, "words": words, "values": values.tolist(), "unit": "HU"}]


def drifted(reference: Any, now: Any) -> set[str]:
    random = np.random.default_rng(1)
    return {one.what for one in drift.look(reference, now, Bounds(), random) if one.drifted}


@pytest.fixture(scope="module")
def reference() -> list[Any]:
    random = np.random.default_rng(20261122)
    return [person(random) for _ in range(100)]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"thickness_mm": 1.0}, "CT slice thickness"),
        ({"kernel": "Br40"}, "CT kernel"),
        ({"shift": 3}, "CT values"),
    ],
)
def test_what_a_scanner_changes_is_found_and_nothing_else(reference: Any, changed: Any, what: str) -> None:
    random = np.random.default_rng(3)
    assert drifted(reference, [person(random, **changed) for _ in range(40)]) == {what}


def test_fewer_persons_than_can_be_judged_are_not_tested(reference: Any) -> None:
    random = np.random.default_rng(4)
    few = [person(random, thickness_mm=1.0) for _ in range(19)]
    assert drift.look(reference, few, Bounds(), random) == []


def test_what_the_images_do_not_say_is_not_compared(reference: Any) -> None:
    random = np.random.default_rng(5)
    silent = [person(random) for _ in range(30)]
    for one in silent:
        one[0]["numbers"]["slice_thickness_mm"] = None
        one[0]["values"] = []
    found = {one.what for one in drift.look(reference, silent, Bounds(), random)}
    assert found == {"CT pixel spacing", "CT slice spacing", "CT kernel", "CT scanner"}


def test_two_years_of_weeks_that_are_like_the_reference_raise_no_alarm(reference: Any) -> None:
    """With p < 0.05 in every test, some thirty of these weeks would."""
    random = np.random.default_rng(6)
    weeks = [[person(random) for _ in range(25)] for _ in range(104)]
    looks = [drift.look(reference, week, Bounds(), random) for week in weeks]
    assert sum(one.drifted for found in looks for one in found) == 0
    assert sum(one.p < 0.05 for found in looks for one in found) > 5  # the planted fault: without the correction


def test_many_persons_do_not_make_a_difference_that_does_not_matter() -> None:
    """0.01 mm is sure with thousands, and is no drift."""
    random = np.random.default_rng(7)
    before, now = ([person(random) for _ in range(3000)] for _ in range(2))
    for one in now:
        one[0]["numbers"]["pixel_spacing_mm"] += 0.01
    found = {one.what: one for one in drift.look(before, now, Bounds(), random)}
    spacing = found["CT pixel spacing"]
    assert spacing.p < spacing.bound
    assert not spacing.drifted


def test_the_index_is_that_of_the_textbook() -> None:
    """Siddiqi's formula on shares that can be reckoned by hand."""
    before, now = (
        np.repeat(np.eye(2, dtype=np.float32), [500, 500], 0),
        np.repeat(np.eye(2, dtype=np.float32), [700, 300], 0),
    )
    effect, p = drift.stability(before, now, 2000, np.random.default_rng(8))
    assert effect == pytest.approx((0.7 - 0.5) * np.log(0.7 / 0.5) + (0.3 - 0.5) * np.log(0.3 / 0.5), abs=0.01)
    assert p < 0.001
