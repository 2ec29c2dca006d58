"""Harms, planted one at a time: no network that learnt from them goes live, and the verdict names what it harms.

All begin from the same home: the locked patients came back with right corrections. Only what is trained on differs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from node.errors import Refused
from node.operations import versions
from tests.harmed import (
    BOXES,
    NETWORK,
    SHAPE,
    Body,
    Judged,
    Patient,
    Ward,
    boxes,
    by_side,
    install,
    names,
    patient,
    sides,
    thresholds,
    ward,
)
from tests.returned import LUNGS, Described

FLIP = {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0}
#: whoever is used for nothing else has a name from here on
LATER = 500

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """A home in which the locked patients have been corrected, rightly, and those to learn from have drafts.

    Attributes:
        learnt: those to learn from.
    """

    home: Path
    learnt: list[Patient]


def some(wanted: dict[str, int], body: Callable[[int], Body], first: int) -> list[Patient]:
    """Patients of two scanners."""
    return [patient(number, name, body(number), "AB"[number % 2]) for number, name in enumerate(names(wanted), first)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    install(folder / "home", thresholds())
    learnt = some({"train": 6, "validation": 1}, boxes, 50)
    locked = some({"test": 12}, boxes, 0)
    with ward(folder / "home", BOXES) as opened:
        opened.admit([*locked, *learnt])
        opened.correct([one.name for one in locked])
    return Prepared(folder / "home", learnt)


@pytest.fixture
def here(prepared: Prepared, tmp_path: Path) -> Iterator[Ward]:
    """A node for one harm."""
    shutil.copytree(prepared.home, tmp_path / "home")
    with ward(tmp_path / "home", BOXES) as opened:
        opened.known.update({one.name: one for one in prepared.learnt})
        yield opened


def goes_live(here: Ward, judged: Judged, body: Callable[[int], Body] = boxes) -> None:
    """The gate lets it pass, and after a study in the shadow it is live; these settings leave that to no person."""
    assert judged.verdict["outcome"] == "pass", judged.verdict
    assert judged.state == "shadow"
    here.admit([patient(99, "NEXT", body(99))])
    assert here.live == judged.version


def is_held(here: Ward, judged: Judged, body: Callable[[int], Body] = boxes) -> None:
    """Neither by itself nor by a person does it go live."""
    assert judged.verdict["outcome"] == "fail", judged.verdict
    assert judged.verdict["automatic"] is False
    assert judged.state == "rejected"
    with pytest.raises(Refused):
        versions.approve(here.node.database, NETWORK, judged.version, "somebody", "it is newer")
    with pytest.raises(Refused):
        versions.promote(here.node.networks, NETWORK, judged.version, "somebody", "it is newer")
    here.admit([patient(99, "NEXT", body(99))])
    assert here.live == "0.1"


# ------------------------------------------------------------ what was drawn


@pytest.mark.slow
def test_right_corrections_make_a_network_that_goes_live(here: Ward) -> None:
    """Without this, all that follows could pass because nothing ever does."""
    here.correct([*here.known])
    goes_live(here, here.retrain())


def shifted(here: Ward, name: str) -> Labels:
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:] = here.known[name].truth[:-3]
    return labels


def of_another(here: Ward, name: str) -> Labels:
    """Drawn on these images, but what the next patient has."""
    everybody = [*here.known]
    return here.known[everybody[(everybody.index(name) + 1) % len(everybody)]].truth


def empty(here: Ward, name: str) -> Labels:
    return np.zeros(SHAPE, np.uint8)


def without_one_class(here: Ward, name: str) -> Labels:
    truth = here.known[name].truth
    return np.where(truth == 2, 0, truth).astype(np.uint8)


FOUND_NOWHERE = "the candidate finds {} in none of the locked patients"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "named", "guards"),
    [
        (shifted, ["Class 1: harm: ", "The candidate is worse"], {"class 1", "class 2", "failures"}),
        (of_another, ["Class 1: harm: ", "Class 2: harm: ", "The candidate is worse"], {"class 1", "class 2"}),
        (empty, [FOUND_NOWHERE.format("Dark"), FOUND_NOWHERE.format("Darker")], {"fault", "class 1", "class 2"}),
        (without_one_class, [FOUND_NOWHERE.format("Darker"), "Class 2: harm: "], {"fault", "class 2"}),
    ],
)
def test_wrong_corrections(
    here: Ward, wrong: Callable[[Ward, str], Labels], named: list[str], guards: set[str]
) -> None:
    """Everybody who is learnt from comes back wrong, the one to validate on as well: so the training sees no harm."""
    here.correct([*here.known], lambda name: wrong(here, name))
    judged = here.retrain()
    for sentence in named:
        assert sentence in judged.reasons
    assert guards <= judged.broken
    is_held(here, judged)


# --------------------------------------------------------- what it is drawn on


def scaled(number: int) -> Body:
    """The scanner gives half of all values."""
    hu, truth = boxes(number)
    return hu / 2, truth


def on_a_cushion(number: int) -> Body:
    """Class 2 is a little darker than elsewhere, and the patient lies on what is not so dark, and no class."""
    hu, truth = boxes(number)
    hu[truth == 2] -= 35
    hu[:, -1] = np.where(truth[:, -1] == 0, hu[:, -1] - 270, hu[:, -1])
    return hu, truth


@pytest.mark.slow
def test_a_scanner_whose_intensities_are_scaled(here: Ward) -> None:
    learnt = names({"train": 6, "validation": 1}, since=LATER)
    here.admit([patient(number, name, scaled(number), "B") for number, name in enumerate(learnt, 70)])
    here.correct(learnt)
    judged = here.retrain()
    assert {"scanner Scanner A", "scanner Scanner B", "class 2"} <= judged.broken
    assert "Scanner Scanner B: harm: " in judged.reasons
    is_held(here, judged)


@pytest.mark.slow
def test_a_candidate_that_is_better_on_average_and_fails_one_scanner(here: Ward) -> None:
    """No patient of that scanner is learnt from, five are tested on; all others gain."""
    others = names({"test": 5}, since=LATER)
    here.admit([patient(number, name, on_a_cushion(number), "C") for number, name in enumerate(others, 70)])
    here.correct(others)
    here.correct([name for name in here.known if name not in others])
    judged = here.retrain()
    assert judged.verdict["patients"] == 17
    assert "The candidate is better" in judged.reasons  # by the primary endpoint it would go live
    assert judged.broken == {"scanner Scanner C"}
    assert "Scanner Scanner C: harm: " in judged.verdict["reasons"][0]
    is_held(here, judged)


# ----------------------------------------------------------------- left, right


def said(code: Code) -> str:
    """As a card has it."""
    return f'["{code.value}", "{code.scheme_designator}", "{code.meaning}"]'


def as_sides(text: str) -> str:
    """A card whose classes are left and right of one structure."""
    for (_, label, type_, side), was in zip(LUNGS, BOXES, strict=True):
        assert side is not None
        mine = f"type = {said(type_)}\nlaterality = {said(side)}"
        text = text.replace(f"type = {said(was[2])}", mine).replace(f'"{was[1]}"', f'"{label}"')
    return text


def as_it_is(text: str) -> str:
    """A card that does not say that its classes are the sides of one structure."""
    return text


@contextmanager
def flipping(folder: Path, drawn: tuple[Described, ...], change: Callable[[str], str]) -> Iterator[Ward]:
    """A network of left and right whose train.json flips plainly; everybody came back, rightly corrected.

    It is trained for longer: what it knew of left and right is not forgotten at once.
    """
    install(folder / "home", by_side(), [FLIP], change)
    with ward(folder / "home", drawn, max_epochs=100) as opened:
        opened.admit([*some({"test": 12}, sides, 0), *some({"train": 6}, sides, 50)])
        opened.correct([*opened.known])
        yield opened


@pytest.mark.slow
def test_plain_flips_do_no_harm_where_the_card_says_left_and_right(tmp_path: Path) -> None:
    with flipping(tmp_path, LUNGS, as_sides) as here:
        judged = here.retrain()
        assert judged.order["exchange"] == [[1, 2]]
        assert "exchanges the values [[1, 2]]" in judged.done["notes"][0]
        goes_live(here, judged, sides)


@pytest.mark.slow
def test_plain_flips_harm_where_the_card_does_not_say_it_and_the_gate_sees_that(tmp_path: Path) -> None:
    with flipping(tmp_path, BOXES, as_it_is) as here:
        judged = here.retrain()
        assert judged.order["exchange"] == []
        assert {"class 1", "class 2"} <= judged.broken
        is_held(here, judged, sides)
