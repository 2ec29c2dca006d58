"""What a radiologist should look at first: results ranked by what speaks against them, and a random sample beside.

Each reason is a number from 0 (none) to 1, and they add up as independent doubts do: 1 - (1 - a)(1 - b)... A ranked
list alone would only ever show what the node doubts itself, so one result of 20 is shown whatever it is like: which one
follows from the keyed hash of the result, so that it stays the same, is known to nobody before, and can be chosen by
nobody. What is said of these, and only of these, is an estimate of how often the results are right; a correction of one
of them that came back before anybody looked at the list counts too, else the estimate would be too good.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from db import worklist as rows
from db.database import Database, Row, clock

from ..errors import Refused
from ..learning.buckets import Key
from . import doubts
from .doubts import Called
from .terminal import new_table, output, plain
from .watch.show import moment

DAYS = 30
MOST = 3000
SHOWN = 50
ONE_IN = 20
SAID = ("agreed", "corrected")
#: of the normal distribution, for an interval of 95 %
Z = 1.96


@dataclass(frozen=True, kw_only=True)
class Item:
    """A result to be looked at.

    Attributes:
        run: names the result among those of its input set.
        patient: PatientID, for whoever may see it.
        score: 0 to 1; reasons: in words, the strongest first.
        audit: it is in the random sample.
    """

    input_set_id: int
    run: str
    network: str
    version: str
    study_uid: str
    study_date: str
    patient: str
    made: float
    score: float
    reasons: tuple[str, ...]
    audit: bool


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What was said of the random sample.

    Attributes:
        looked_at, agreed: how many; lower, upper: Wilson's interval of 95 % for the part that is right.
    """

    looked_at: int
    agreed: int
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Worklist:
    """What is to be looked at.

    Attributes:
        sample: of the random sample, oldest first; ranked: the others, the most doubtful first; both cut at SHOWN.
        waiting: how many there are of either.
        looked_at: the newest that were looked at.
    """

    sample: Sequence[Item]
    ranked: Sequence[Item]
    waiting: tuple[int, int]
    looked_at: Sequence[Row]
    audited: Mapping[str, Audited]


def worklist(
    database: Database, key: Key, classes: Callable[[str], Mapping[int, str]], network: str | None = None
) -> Worklist:
    """What waits to be looked at, of the last `DAYS` days.

    Args:
        classes: network -> label value -> name.
    """
    with database.read() as tx:
        found = rows.candidates(tx, clock(tx) - DAYS * 86400, network, MOST)
        ids = [row["input_set_id"] for row in found]
        seen = rows.inspected(tx, ids)
        beside = rows.agreements(tx, ids)
        before = _histories(rows.history(tx, [row["person"] for row in found if not row["slot"] and row["study_date"]]))
        looked_at = [one for one in rows.inspections(tx) if network in (None, one["network"])]
        came_back = [one for one in rows.came_back(tx) if network in (None, one["network"])]
    names = {name: classes(name) for name in {row["network"] for row in found}}
    items = [
        _item(
            row,
            key,
            Called(names[row["network"]]),
            beside.get(row["input_set_id"]),
            before.get((row["person"], row["network"]), ()),
        )
        for row in found
        if (row["input_set_id"], row["run"]) not in seen
    ]
    sample = sorted((one for one in items if one.audit), key=lambda one: one.made)
    ranked = sorted((one for one in items if not one.audit and one.score), key=lambda one: (-one.score, one.made))
    return Worklist(
        sample=sample[:SHOWN],
        ranked=ranked[:SHOWN],
        waiting=(len(sample), len(ranked)),
        looked_at=looked_at[:SHOWN],
        audited=_audited(looked_at, came_back, key),
    )


def is_sampled(key: Key, run: str) -> bool:
    """Whether a result is in the random sample of 1 in 20."""
    digest = hmac.new(key.secret, f"audit {run}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") % ONE_IN == 0


def mark(database: Database, input_set_id: int, said: str, who: str, run: str | None = None) -> str:
    """Somebody looked at a result, and agreed or corrected it elsewhere; a sentence.

    Args:
        run: which result of the input set; None: the newest.

    Raises:
        Refused: `no-such-result`, `no-such-mark`.
    """
    if said not in SAID:
        raise Refused("no-such-mark", f"a result that was looked at was {' or '.join(SAID)}")
    with database.write() as tx:
        run = run or rows.newest_run(tx, input_set_id)
        if run is None or not rows.has_run(tx, input_set_id, run):
            raise Refused(
                "no-such-result", f"there is no result {input_set_id}; `planimeter labels worklist` lists them"
            )
        rows.note(tx, input_set_id, run, who, said)
    return f"result {input_set_id} was looked at by {who}: {said}"


Histories = Mapping[tuple[int, str], Sequence[Row]]


def _histories(found: Sequence[Row]) -> Histories:
    by_person: dict[tuple[int, str], list[Row]] = {}
    for row in found:
        by_person.setdefault((row["person"], row["network"]), []).append(row)
    return by_person


def _item(row: Row, key: Key, called: Called, beside: Mapping[str, Any] | None, history: Sequence[Row]) -> Item:
    found = doubts.of(row["segments"], row["flags"], beside or {}, _before(row, history), called)
    return Item(
        input_set_id=row["input_set_id"],
        run=row["run"],
        network=row["network"],
        version=row["version"],
        study_uid=row["study_uid"],
        study_date=row["study_date"][:8],
        patient=row["patient_id"],
        made=row["created"],
        score=doubts.together(found),
        reasons=tuple(sentence for _, sentence in found),
        audit=is_sampled(key, row["run"]),
    )


def _before(row: Row, history: Sequence[Row]) -> Row | None:
    """What was measured in the study before; None where there is none, or a study has several readings."""
    earlier = [one for one in history if one["study_date"] and one["study_date"] < row["study_date"]]
    return earlier[-1] if earlier and not row["slot"] else None


def _audited(looked_at: Sequence[Row], came_back: Sequence[Row], key: Key) -> dict[str, Audited]:
    """Per network: only what is in the sample counts; of each result the last word, and before it what came back."""
    last: dict[tuple[str, int, str], str] = {}
    for row in came_back:
        place = row["network"], row["input_set_id"], row["run"]
        if last.get(place) != "corrected":
            last[place] = "agreed" if row["state"] == "accepted" else "corrected"
    for row in looked_at:  # newest first
        last.setdefault((row["network"], row["input_set_id"], row["run"]), row["said"])
    found = {}
    for network in sorted({name for name, _, run in last if is_sampled(key, run)}):
        said = [word for (name, _, run), word in last.items() if name == network and is_sampled(key, run)]
        agreed = sum(word == "agreed" for word in said)
        lower, upper = wilson(agreed, len(said))
        found[network] = Audited(looked_at=len(said), agreed=agreed, lower=lower, upper=upper)
    return found


def wilson(right: int, number: int) -> tuple[float, float]:
    """The interval of 95 % for a part (Wilson, J Am Stat Assoc 1927)."""
    part, z2 = right / number, Z * Z
    middle = (part + z2 / (2 * number)) / (1 + z2 / number)
    half = Z * math.sqrt(part * (1 - part) / number + z2 / (4 * number * number)) / (1 + z2 / number)
    return round(max(0.0, middle - half), 4), round(min(1.0, middle + half), 4)


# ----------------------------------------------------------------- terminal


def as_values(found: Worklist) -> dict[str, Any]:
    """For programs; nothing names a patient."""
    items = {
        name: [{**{k: v for k, v in asdict(one).items() if k != "patient"}, "made": moment(one.made)} for one in some]
        for name, some in (("sample", found.sample), ("ranked", found.ranked))
    }
    audited = {network: asdict(one) for network, one in found.audited.items()}
    return {**items, "waiting": {"sample": found.waiting[0], "ranked": found.waiting[1]}, "audited": audited}


def print_tables(found: Worklist, console: Console | None = None) -> None:
    """For people."""
    console = console or output()
    for title, items, number in (
        (f"random sample, 1 in {ONE_IN}", found.sample, found.waiting[0]),
        ("by what speaks against them", found.ranked, found.waiting[1]),
    ):
        table = new_table(f"{title} ({number})", ("id", "network", "study date", "study uid", "score", "reasons"))
        for one in items:
            said = (
                one.input_set_id,
                one.network,
                one.study_date,
                one.study_uid,
                f"{one.score:.2f}",
                "; ".join(one.reasons),
            )
            table.add_row(*map(plain, said))
        console.print(table)
    for network, audited in found.audited.items():
        console.print(plain(in_words(network, audited)))


def in_words(network: str, one: Audited) -> str:
    """How often a network is right, by its sample."""
    part = f"{one.agreed} of {one.looked_at} agreed with"
    return f"{network}, random sample: {part} ({one.lower:.0%} to {one.upper:.0%} with 95 % confidence)"
