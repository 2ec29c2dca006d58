"""Whether what somebody outlined is truth to learn from: mapped, compared with the draft, and by whom it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import membership
from models.card import Card

from ..errors import Refused
from .correction import Correction, compare
from .drafts import Draft
from .mapping import DRAFT, GIVEN, Composed, Mapped, compose, map_structures
from .structures import Outlined

READY, ACCEPTED, QUARANTINED = "ready", "accepted", "quarantined"
AUTOMATIC = "AUTOMATIC"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What an object is to one network.

    Attributes:
        state: "ready", "accepted" or "quarantined".
        why: of the latter two.
        mapped: every structure, with what became of it.
        composed: None where quarantined.
        draft: that it was compared with; None where we sent nothing.
        correction: against that draft.
    """

    state: str
    mapped: tuple[Mapped, ...]
    why: Refused | None = None
    composed: Composed | None = None
    draft: Draft | None = None
    correction: Correction | None = None


def judge(
    outlined: Outlined,
    card: Card,
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    drafts: Iterable[Draft],
    given: Mapping[str, int],
    *,
    is_ours: bool = False,
) -> Judged:
    """Say whether an object is a label of a network.

    Args:
        affine, shape: of the grid.
        drafts: what we sent for these images, the newest first; read as far as needed.
        given: by a person (`mapping.map_structures`); who says what a structure is vouches for it.
        is_ours: the object is one of our results by its UID or its Device UID.
    """
    every = iter(drafts)
    newest = next(every, None)
    mapped = map_structures(outlined, card, newest.sent if newest else (), given)
    try:
        composed = compose(mapped, card, shape)
        correction = _against(newest, composed, card, affine)
        for draft, against in _with(
            newest, correction, ((one, _against(one, composed, card, affine)) for one in every)
        ):
            if against is not None and against.is_unchanged and set(composed.annotated) <= draft.values:
                said = Refused("label-unchanged", "it is what we sent, bit by bit: accepted, and no truth of its own")
                return Judged(
                    state=ACCEPTED, mapped=mapped, why=said, composed=composed, draft=draft, correction=against
                )
        looked_at = tuple(_looked_at(one, outlined.author, newest, is_ours=is_ours) for one in mapped)
        if looked_at != mapped:
            if all(one.value is None for one in looked_at):
                raise _automatic(card)
            mapped, composed = looked_at, compose(looked_at, card, shape)
            correction = _against(newest, composed, card, affine)
        _not_empty(mapped, composed, card, newest)
    except Refused as refusal:
        return Judged(state=QUARANTINED, mapped=mapped, why=refusal)
    return Judged(state=READY, mapped=mapped, composed=composed, draft=newest, correction=correction)


def _against(draft: Draft | None, composed: Composed, card: Card, affine: NDArray[np.float64]) -> Correction | None:
    if draft is None:
        return None
    both = [one for one in composed.annotated if one in draft.values]
    return compare(draft.mask, composed.mask, both, affine, membership.parts(card))


def _with(
    newest: Draft | None, correction: Correction | None, others: Iterable[tuple[Draft, Correction | None]]
) -> Iterable[tuple[Draft, Correction | None]]:
    if newest is not None:
        yield newest, correction
    yield from others


def _looked_at(one: Mapped, author: str, draft: Draft | None, *, is_ours: bool) -> Mapped:
    """A structure that a person has made, or changed; what a machine made, and nobody signed, is not mapped any more.

    A name alone proves nothing: other networks write theirs there. It counts for a structure that came from us, for
    viewers leave AUTOMATIC in what they change.
    """
    structure = one.structure
    if one.value is None or one.how == GIVEN or structure.algorithm != AUTOMATIC:
        return one
    from_us = is_ours or one.how == DRAFT or (draft is not None and structure.tracking_uid in draft.tracking_uids())
    if from_us and author and draft is not None:
        return one
    return replace(one, value=None, how="", why_not="it was made automatically, and nobody says to have corrected it")


def _automatic(card: Card) -> Refused:
    return Refused(
        "label-automatic",
        f"what it has of {card.name} was made automatically, and nobody says to have corrected it; "
        "if somebody has, `planimeter labels map ID NAME=VALUE` says so",
    )


def _not_empty(mapped: Sequence[Mapped], composed: Composed, card: Card, draft: Draft | None) -> None:
    """An empty class is an answer where there may be none of it; in a body that has it, it is a slip.

    Raises:
        Refused: `label-empty`.
    """
    vouched = {one.value for one in mapped if one.how == GIVEN}
    for segment in card.segment:
        least = segment.plausible_ml[0] if segment.plausible_ml else 0.0
        is_asked = segment.value in set(composed.annotated) - vouched and least > 0
        if is_asked and not membership.inside(composed.mask, segment.values).any():
            raise _empty(f"{segment.label} has no voxel in it, and {least:g} ml are the least that is plausible")
    of_it = [value for segment in card.segment if segment.value in composed.annotated for value in segment.values]
    removed = draft is not None and bool(np.isin(draft.mask, of_it).any())
    if not composed.mask.any() and not removed and not vouched:
        raise _empty("nothing is outlined in it, and there was nothing in a draft that it could have removed")


def _empty(why: str) -> Refused:
    return Refused(
        "label-empty", f"{why}; if that is meant, `planimeter labels map ID NAME=VALUE` says so for each structure"
    )


def as_rows(mapped: Sequence[Mapped], given: Mapping[str, int]) -> list[dict[str, Any]]:
    """The structures for the label's row; no voxels, no patient."""
    return [
        {
            "number": one.structure.number,
            "name": one.structure.name,
            "code": " ".join(code[2] for code in (one.structure.laterality, one.structure.type) if code),
            "algorithm": one.structure.algorithm,
            "voxels": int(np.count_nonzero(one.structure.mask)),
            "value": one.value,
            "how": one.how,
            "why_not": one.why_not,
            **({"given": given[key]} if (key := f"#{one.structure.number}") in given else {}),
        }
        for one in mapped
    ]
