"""Results that were sent go to another destination too, as the same bytes: how one moves to a new PACS.

They become deliveries like any other: tried again, committed, shown. What the destination has or gets already stays
as it is, so the command may be repeated.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import groupby
from typing import Any

from pydicom.uid import UID
from rich.console import Console
from rich.progress import track

from db import audit_trail, deliveries, resending
from db.database import Database

from ..audit.codes import What
from ..audit.trail import Trail
from ..errors import Refused
from ..objects import forms
from ..objects.forms import Form
from ..outbound import scu, stow
from ..outbound.scu import Parcel
from ..outbound.statuses import Answer
from ..outbound.target import Target
from ..study.archive import Archive

AT_ONCE = 100
#: PS3.8 9.3.2.2: a presentation context ID is odd and one byte; each kind of object takes one
MOST_KINDS = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """Objects of one run that a destination is to get.

    Attributes:
        ids: of the results, in the order of sending.
        held_because: why a person has to release them there, or "".
    """

    input_set_id: int
    study_id: int
    study_uid: str
    ids: tuple[int, ...]
    bytes: int
    held_because: str


def day(text: str) -> float:
    """The beginning of a day by the machine's clock, in seconds since 1970.

    Raises:
        Refused: `no-such-time`.
    """
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time()).astimezone().timestamp()
    except ValueError:
        raise Refused("no-such-time", f"{text!r} is no day, such as 2026-01-31") from None


def plan(
    database: Database, target: Target, *, since: float | None, study_uid: str | None, network: str | None
) -> list[Run]:
    """What a destination would get, of what it is to get by its configuration and has not."""
    with database.read() as tx:
        rows = resending.standing(tx, since=since, study_uid=study_uid, network=network)
        known = resending.known_at(tx, target.name)
    made = []
    for _, group in groupby(rows, key=lambda row: (row["input_set_id"], row["revision"], row["run"])):
        run = list(group)
        wanted = [row for row in _for(target, run) if row["id"] not in known]
        if wanted:
            flags = [str(flag["sentence"]) for flag in run[0]["flags"] or ()]
            made.append(
                Run(
                    input_set_id=run[0]["input_set_id"],
                    study_id=run[0]["study_id"],
                    study_uid=run[0]["study_uid"],
                    ids=tuple(row["id"] for row in wanted),
                    bytes=sum(row["size"] for row in wanted),
                    held_because="; ".join(flags) if target.flagged == "hold" else "",
                )
            )
    return made


def _for(target: Target, run: Sequence[Any]) -> list[Any]:
    """Those objects of a run that the destination wants, of the forms that were made then."""
    stored = {Form(row["kind"], row["options"]): row for row in run}
    plain = [form for form in stored if form.kind in target.objects and not form.has(forms.COMPREHENSIVE)]
    as_label_map = target.label_map and any(form.kind == forms.SEG and form.has(forms.LABEL_MAP) for form in plain)
    marked = target.flagged == "mark" and bool(run[0]["flags"]) and any(form.has(forms.MARKED) for form in plain)
    wanted = [
        form
        for form in plain
        if form.has(forms.MARKED) == marked
        and (form.kind not in (forms.SEG, forms.SR) or form.has(forms.LABEL_MAP) == as_label_map)
    ]
    return [stored[form] for form in sorted(wanted, key=lambda form: stored[form]["id"])]


def resend(database: Database, target: Target, runs: Sequence[Run], attempts: int) -> str:
    """Queue them, with a progress bar; a sentence."""
    console = Console(stderr=True)
    parts = [runs[n : n + AT_ONCE] for n in range(0, len(runs), AT_ONCE)]
    for part in track(parts, "queueing", console=console, transient=True):
        with database.write() as tx:
            for run in part:
                to = [target.name]
                queue = (run.input_set_id, run.study_id, run.ids, to, attempts)
                deliveries.queue(tx, *queue, held_because=run.held_because)
    return f"{said(runs)} go to {target.name}; `planimeter status` shows how far they are"


def said(runs: Sequence[Run]) -> str:
    """How much it is."""
    objects, studies = sum(len(run.ids) for run in runs), len({run.study_uid for run in runs})
    return f"{objects} objects of {studies} studies, {sum(run.bytes for run in runs) / 1e9:.2f} GB,"


def send_originals(
    database: Database,
    archive: Archive,
    trail: Trail,
    target: Target,
    study_ids: Sequence[int],
    ae_title: str,
    seconds: float,
) -> int:
    """Send what was received of these studies, here and now; the exit status. What is there already is no harm.

    Args:
        trail: is told before and after, as of results.

    Raises:
        Unavailable: the destination does not answer, or not to us.
    """
    delivered = count = 0
    console = Console(stderr=True)
    to = {"destination": target.name, "ae": target.ae_title, "address": target.machine}
    for study_id in track(sorted(set(study_ids)), "sending images", console=console, transient=True):
        with database.read() as tx:
            rows = resending.originals(tx, [study_id])
            (study_uid,) = audit_trail.study_uids(tx, [study_id])
        parcels = [Parcel(archive.at(row["path"]), row["sop_class"], UID(row["transfer_syntax"])) for row in rows]
        parcels.sort(key=lambda parcel: (parcel.sop_class, parcel.transfer_syntax))
        for some in _portions(parcels):
            with (stow if target.web else scu).connect(target, ae_title, some, seconds) as sender:
                told = Counter(str(parcel.sop_class) for parcel in some)
                trail.note(What.SENDING, study_uid, **to, classes=dict(told))
                taken: Counter[str] = Counter()
                try:
                    for parcel in some:
                        receipt = sender.send(parcel)
                        if receipt.answer is Answer.DELIVERED:
                            taken[str(parcel.sop_class)] += 1
                        else:
                            console.print(f"not taken: {receipt.sentence}", markup=False)
                finally:
                    failed = len(some) - taken.total()
                    trail.note(What.TRANSFER_OUT, study_uid, **to, classes=dict(taken), failed=failed)
                count, delivered = count + len(some), delivered + taken.total()
    sys.stdout.write(f"{delivered} of {count} images are at {target.name}\n")
    return 0 if delivered == count else 1


def _portions(parcels: Sequence[Parcel]) -> list[list[Parcel]]:
    """As many kinds as one association can offer."""
    portions: list[list[Parcel]] = []
    kinds: set[tuple[str, UID]] = set()
    for parcel in parcels:
        kind = (parcel.sop_class, parcel.transfer_syntax)
        if not portions or len(kinds | {kind}) > MOST_KINDS:
            portions.append([])
            kinds = set()
        kinds.add(kind)
        portions[-1].append(parcel)
    return portions
