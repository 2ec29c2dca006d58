"""What candidates made of live studies beside the champion: kept, compared, never sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from .database import Clock, insert
from .networks import VersionState
from .tables import model_version, shadow


@dataclass(frozen=True, kw_only=True)
class ClassSummary:
    """How candidate and champion agree on one class.

    Attributes:
        dice, lowest_dice: over the studies where either of them has the class; None where neither ever had it.
        champion_ml, candidate_ml: mean volumes over all studies.
        empty: in how many studies neither has it.
    """

    value: int
    dice: float | None
    lowest_dice: float | None
    champion_ml: float
    candidate_ml: float
    empty: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a candidate does beside the champion; `seconds` is the mean of its runs."""

    studies: int
    classes: tuple[ClassSummary, ...]
    seconds: float


def record(
    tx: Connection,
    *,
    input_set_id: int,
    model_version_id: int,
    champion_id: int,
    mask_path: str,
    agreement: Mapping[str, Any],
    seconds: float,
) -> bool:
    """Keep what a candidate made of an input set; False where it is there already, and the new file is not needed.

    Args:
        mask_path: relative to the home folder.
        agreement: as `node.learning.shadowing.agreement` gives it.
        seconds: that its network took.
    """
    values = dict(
        input_set_id=input_set_id,
        model_version_id=model_version_id,
        champion_id=champion_id,
        mask_path=mask_path,
        agreement=dict(agreement),
        seconds=seconds,
        created=Clock(),
    )
    made = insert(tx, shadow).values(**values).on_conflict_do_nothing().returning(shadow.c.id)
    return tx.execute(made).first() is not None


def has(tx: Connection, input_set_id: int, model_version_id: int) -> bool:
    """Whether a version has run on an input set already."""
    mine = sa.and_(shadow.c.input_set_id == input_set_id, shadow.c.model_version_id == model_version_id)
    return tx.execute(sa.select(shadow.c.id).where(mine)).first() is not None


def mask_paths(tx: Connection) -> set[str]:
    """The masks of versions about which nobody has decided yet; of the others, the agreement is all that is kept."""
    versions = sa.select(model_version.c.id).where(model_version.c.state == VersionState.SHADOW)
    query = sa.select(shadow.c.mask_path).where(shadow.c.model_version_id.in_(versions))
    return set(tx.execute(query).scalars())


def of_version(tx: Connection, model_version_id: int, champion_id: int | None = None) -> Sequence[RowMapping]:
    """What a version has made (beside one champion), oldest first."""
    which = shadow.c.model_version_id == model_version_id
    if champion_id is not None:
        which = sa.and_(which, shadow.c.champion_id == champion_id)
    return tx.execute(sa.select(shadow).where(which).order_by(shadow.c.id)).mappings().all()


def summary(tx: Connection, model_version_id: int) -> Summary | None:
    """All that a version has made, in few numbers; None where there is nothing."""
    rows = of_version(tx, model_version_id)
    if not rows:
        return None
    values = sorted({int(value) for row in rows for value in row["agreement"]})
    return Summary(
        studies=len(rows),
        classes=tuple(_class(value, [row["agreement"].get(str(value)) for row in rows]) for value in values),
        seconds=fmean(row["seconds"] for row in rows),
    )


def _class(value: int, found: Sequence[Mapping[str, Any] | None]) -> ClassSummary:
    there = [one for one in found if one is not None]
    dices = [float(one["dice"]) for one in there if one["dice"] is not None]
    return ClassSummary(
        value=value,
        dice=fmean(dices) if dices else None,
        lowest_dice=min(dices, default=None),
        champion_ml=fmean(one["champion_ml"] for one in there),
        candidate_ml=fmean(one["candidate_ml"] for one in there),
        empty=len(there) - len(dices),
    )
