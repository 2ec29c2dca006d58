"""Which structure is which class: by a person's word, code and side, what we sent, names; never by number alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models import card as cards
from models.card import Card, Segment
from node.errors import Refused
from node.learning.mapping import Mapped, Sent, compose, map_structures, normalised
from node.learning.sides import exchanged
from node.learning.structures import Code, Outlined, Structure

LUNGS = cards.find("ct_lungs", (cards.SHIPPED,)).card
LUNG: Code = ("39607008", "SCT", "Lung")
HEART: Code = ("80891009", "SCT", "Heart")
TISSUE: Code = ("85756007", "SCT", "Tissue")
LEFT: Code = ("7771000", "SCT", "Left")
RIGHT: Code = ("24028007", "SCT", "Right")
SHAPE = (2, 4, 6)


def structure(number: int, name: str, **values: Any) -> Structure:
    mask = np.zeros(SHAPE, bool)
    mask[..., number % SHAPE[2]] = True
    return Structure(**{"number": number, "name": name, "mask": mask, **values})


def outlined(*structures: Structure) -> Outlined:
    return Outlined(kind="SEG", sop_uid="1.2", structures=structures, author="", tool="", made="")


def values(*structures: Structure, card: Card = LUNGS, sent: tuple[Sent, ...] = (), **given: int) -> list[Any]:
    found = map_structures(outlined(*structures), card, sent, given)
    return [(one.value, one.how) for one in found]


def with_segments(*changes: dict[str, Any]) -> Card:
    """The card of the lungs with other segments."""
    made = [Segment.model_validate(LUNGS.segment[0].model_dump() | {"laterality": None} | change) for change in changes]
    return LUNGS.model_copy(update={"segment": tuple(made)})


SENT = (
    Sent(structure(1, "Left lung", type=LUNG, laterality=LEFT, colour=(197, 165, 145), tracking_uid="1.9.1"), 1),
    Sent(structure(2, "Right lung", type=LUNG, laterality=RIGHT, colour=(111, 184, 210), tracking_uid="1.9.2"), 2),
)

# -------------------------------------------------------------------- codes


def test_codes_and_sides_decide_whatever_the_numbers_and_names_say() -> None:
    swapped = structure(1, "Left lung", type=LUNG, laterality=RIGHT), structure(2, "?", type=LUNG, laterality=LEFT)
    assert values(*swapped, sent=SENT) == [(2, "code"), (1, "code")]


@pytest.mark.parametrize(
    ("type_", "laterality", "value"),
    [
        (("T-28000", "SRT", "Lung"), ("G-A101", "SRT", "Left"), 1),
        (("44029006", "SCT", "Left lung"), None, 1),
        (("3341006", "SCT", "Right lung"), None, 2),
        (("3341006", "SCT", "Right lung"), RIGHT, 2),
        (("3341006", "SCT", "Right lung"), LEFT, None),
        (LUNG, None, None),
        (LUNG, ("51440002", "SCT", "Right and left"), None),
        (HEART, LEFT, None),
    ],
)
def test_old_codes_and_codes_that_hold_the_side_are_understood(
    type_: Code, laterality: Code | None, value: int | None
) -> None:
    assert values(structure(7, "x", type=type_, laterality=laterality)) == [(value, "code" if value else "")]


def test_both_sides_are_no_side() -> None:
    both = with_segments({"value": 4, "label": "Lungs"})
    sides: Code = ("51440002", "SCT", "Right and left")
    assert values(structure(1, "x", type=LUNG, laterality=sides), card=both) == [(4, "code")]
    assert values(structure(1, "x", type=LUNG, laterality=LEFT), card=both) == [(None, "")], "half of it is not it"


def test_of_two_classes_with_one_code_the_region_tells_or_nothing_does() -> None:
    mass: Code = ("4147007", "SCT", "Mass")
    liver: Code = ("10200004", "SCT", "Liver")
    card = with_segments(
        {"value": 1, "label": "Mass in the lung", "type": mass, "anatomic_region": LUNG},
        {"value": 2, "label": "Mass in the liver", "type": mass, "anatomic_region": liver},
    )
    assert values(structure(9, "x", type=mass, anatomic_region=liver), card=card) == [(2, "code")]
    assert values(structure(9, "x", type=mass), card=card) == [(None, "")]
    only = card.model_copy(update={"segment": card.segment[:1]})
    assert values(structure(9, "x", type=mass), card=only) == [(1, "code")]
    assert values(structure(9, "x", type=mass, anatomic_region=liver), card=only) == [(None, "")]


# ------------------------------------------------------------ what we sent


@pytest.mark.parametrize(
    ("number", "name", "changes", "value"),
    [
        (1, "Left lung", {}, 1),
        (1, "Segment 1", {"colour": (197, 165, 145)}, 1),
        (1, "Segment 1", {"colour": (197, 165, 145), "type": TISSUE}, 1),
        (1, "Segment 1", {"colour": (1, 2, 3)}, None),
        (3, "anything", {"colour": (197, 165, 145)}, None),
        (1, "Heart", {"colour": (197, 165, 145), "type": HEART}, None),
        (1, "Left lung", {"laterality": RIGHT, "type": TISSUE}, None),
    ],
)
def test_a_segment_of_ours_is_known_by_number_and_label_or_colour(
    number: int, name: str, changes: dict[str, Any], value: int | None
) -> None:
    assert values(structure(number, name, **changes), sent=SENT) == [(value, "draft" if value else "")]


def test_the_colour_of_one_and_the_name_of_another_segment_of_ours_go_by_the_name() -> None:
    mixed = structure(1, "Right lung", colour=(197, 165, 145))
    assert values(mixed, sent=SENT) == [(2, "name")]


# -------------------------------------------------------------------- names


def test_names_are_those_of_the_card_however_they_are_spelt() -> None:
    card = with_segments({"value": 1, "label": "Tumour", "also_called": ["GTV_Mass", "GTV+1"], "type": TISSUE})
    names = ["gtv mass", "GTV-MASS", "tumour", "GTV 1", "GTV 2", "mass"]
    assert [value for value, _ in values(*(structure(n, name) for n, name in enumerate(names)), card=card)] == (
        [1, 1, 1, 1, None, None]
    )
    assert normalised(" GTV__Mass ") == normalised("ｇｔｖ mass") == "gtv mass"


def test_a_name_does_not_win_over_a_code_that_is_another_class() -> None:
    (found,) = map_structures(outlined(structure(1, "Left lung", type=LUNG, laterality=RIGHT)), LUNGS, (), {})
    assert (found.value, found.how) == (2, "code")
    (found,) = map_structures(outlined(structure(1, "Left lung", laterality=RIGHT)), LUNGS, (), {})
    assert found.value is None
    assert "looks like Left lung" in found.why_not


# ----------------------------------------------------------- a person's word


def test_a_person_is_believed_before_all_else_and_may_leave_something_out() -> None:
    coded = structure(1, "A", type=LUNG, laterality=LEFT), structure(2, "B", type=LUNG, laterality=RIGHT)
    assert values(*coded, **{"a": 2, "#2": 0}) == [(2, "given"), (None, "given")]


# ------------------------------------------------------------- a label map


def mapped(one: Structure, value: int, how: str = "code") -> Mapped:
    return Mapped(one, value, how)


def box(number: int, columns: slice) -> Structure:
    mask = np.zeros(SHAPE, bool)
    mask[..., columns] = True
    return structure(number, f"S{number}", mask=mask)


def test_a_class_without_a_voxel_was_looked_for_and_one_that_is_missing_was_not() -> None:
    empty = structure(1, "Left lung", mask=np.zeros(SHAPE, bool))
    made = compose([mapped(empty, 1)], LUNGS, SHAPE)
    assert made.annotated == (1,)
    assert not made.mask.any()


def test_a_shared_voxel_is_of_the_later_class_and_is_counted() -> None:
    wide = tuple(with_segments({"value": 3, "label": "A"}, {"value": 1, "label": "B"}).segment)
    card = LUNGS.model_copy(update={"segment": wide})
    shape = (1, 10, 40)
    one, other = np.zeros(shape, bool), np.zeros(shape, bool)
    one[..., :20], other[..., 20:], other[0, 0, 12:20] = True, True, True
    found = [mapped(structure(1, "B", mask=one), 1), mapped(structure(2, "A", mask=other), 3)]
    made = compose(found, card, shape)
    assert made.annotated == (3, 1), "as the card has them"
    assert (made.mask == 1).sum() == one.sum(), "B is the later one in this card"
    assert made.given_away == {3: 8}
    other[0, :, 12:20] = True
    with pytest.raises(Refused, match="label-overlap"):
        compose(found, card, shape)


def test_two_structures_of_one_class_are_refused_unless_they_are_lesions_apart_or_a_person_says_so() -> None:
    two = [mapped(box(1, slice(0, 2)), 1), mapped(box(2, slice(3, 5)), 1)]
    with pytest.raises(Refused, match=r"label-ambiguous.*'S1' \(#1\) and 'S2' \(#2\)"):
        compose(two, LUNGS, SHAPE)
    lesions = with_segments({"value": 1, "label": "Lesion", "lesions": True})
    assert (compose(two, lesions, SHAPE).mask == 1).sum() == 2 * 4 * 4
    touching = [two[0], mapped(box(2, slice(1, 4)), 1)]
    with pytest.raises(Refused, match="label-ambiguous"):
        compose(touching, lesions, SHAPE)
    by_person = [mapped(one.structure, 1, "given") for one in touching]
    assert (compose(by_person, LUNGS, SHAPE).mask == 1).sum() == 2 * 4 * 4


def test_where_nothing_is_a_class_the_refusal_names_what_there_is_and_what_to_do() -> None:
    with pytest.raises(Refused, match=r"label-unmapped.*'Bladder'.*1 = Left lung, 2 = Right lung.*labels map"):
        compose(map_structures(outlined(structure(1, "Bladder")), LUNGS, (), {}), LUNGS, SHAPE)


# ---------------------------------------------------------------- in a mirror


@pytest.mark.parametrize(
    ("types", "sides", "pairs"),
    [
        (("39607008", "39607008"), (("7771000", "SCT", "L"), ("24028007", "SCT", "R")), [(1, 2)]),
        (("44029006", "3341006"), (None, None), [(1, 2)]),  # codes that hold the side
        (("3341006", "39607008"), (None, ("7771000", "SCT", "Left")), [(2, 1)]),
        (("39607008", "64033007"), (("7771000", "SCT", "Left"), ("24028007", "SCT", "Right")), []),
        (("39607008", "39607008"), (None, None), []),
    ],
)
def test_a_mirror_exchanges_left_and_right_of_one_structure(
    types: tuple[str, str], sides: tuple[Any, Any], pairs: list[tuple[int, int]]
) -> None:
    segments = tuple(
        segment.model_copy(update={"type": (type_, "SCT", "x"), "laterality": side})
        for segment, type_, side in zip(LUNGS.segment, types, sides, strict=True)
    )
    assert exchanged(LUNGS.model_copy(update={"segment": segments})) == pairs
