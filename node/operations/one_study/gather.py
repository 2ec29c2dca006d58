"""From rows to one study as it is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Any

from db import by_hand, destinations, input_sets, measurements, one_study, overview, refusals, route_decisions, studies
from db.database import Database, Row
from db.job_orders import CANCELLABLE
from db.job_states import OPEN, JobState
from db.results import REJECTION

from ...errors import Refused
from ...networks import Networks
from ..status import state_of
from . import measured, timeline
from .values import DeliveryView, JobView, ObjectView, ReadingView, Refusal, ResultView, SeriesView, StudyView

Rows = Sequence[Row]


def study(database: Database, networks: Networks, study_uid: str) -> StudyView:
    """All that is known of one study.

    Raises:
        Refused: `no-such-study`.
    """
    with database.read() as tx:
        row = one_study.find(tx, study_uid)
        if row is None:
            raise Refused("no-such-study", f"there is no study {study_uid} here")
        study_id = row["id"]
        (counted,) = overview.studies(tx, ids=[study_id])
        other = overview.kinds(tx, [study_id]).get(study_id, set())
        came, series = one_study.arrivals(tx, study_id), one_study.series_of(tx, study_id)
        jobs, tried = one_study.jobs(tx, study_id), one_study.attempts(tx, study_id, timeline.MOST_ATTEMPTS)
        made, sent = one_study.results(tx, study_id), one_study.deliveries(tx, study_id)
        sets, reads = one_study.input_sets(tx, study_id), one_study.read_series(tx, study_id)
        routed, refused = one_study.dispatches(tx, study_id), refusals.of_study(tx, study_id)
        decided, facts = route_decisions.of_study(tx, study_id), studies.facts(tx, study_id)
        steps = timeline.steps(
            row,
            came,
            jobs,
            tried,
            made,
            sent,
            one_study.commitments(tx, study_id),
            one_study.verdicts(tx, study_id),
            by_hand.sent(tx, study_id),
            refused,
        )
        asked, paused = by_hand.asked_networks(tx, study_id), destinations.paused(tx)
        history = {one["id"]: measurements.history(tx, one["id"], measured.MOST_STUDIES) for one in sets}
        numbers = {one["id"]: measurements.newest(tx, one["id"]) for one in sets}
    state, reason = state_of(counted, other)
    readings = tuple(
        _reading(networks, one, reads.get(one["id"], {}), routed, made, sent, numbers[one["id"]], history[one["id"]])
        for one in sets
    )
    return StudyView(
        study_uid=study_uid,
        state=state,
        reason=reason or "",
        patient_id=row["patient"],
        issuer=row["issuer"],
        row_state=row["state"],
        arrived=row["arrived"],
        last_image=row["last_image"],
        closed=row["closed"],
        closed_because=row["closed_because"] or "",
        pacs_images=row["pacs_images"],
        pacs_name=row["pacs_name"] or "",
        images=sum(one["objects"] for one in series if one["kind"] == "image"),
        size=sum(int(one["size"] or 0) for one in series),
        steps=steps,
        series=tuple(_series(one, facts.get(one["series_uid"], {}), decided, sets, reads) for one in series),
        readings=readings,
        jobs=tuple(_job(one, paused) for one in jobs),
        refusals=tuple(
            Refusal(at=one["at"], of=one["of"], code=one["code"], sentence=one["sentence"]) for one in refused
        ),
        asked=tuple((one["network"], one["destination"], one["who"]) for one in asked),
    )


def has(database: Database, study_uid: str, input_set_id: int) -> bool:
    """Whether an input set is one of a study."""
    with database.read() as tx:
        return one_study.has(tx, study_uid, input_set_id)


def _series(row: Row, facts: Mapping[str, Mapping[str, int]], decided: Rows, sets: Rows, reads: Any) -> SeriesView:
    mine = [one for one in decided if one["series_id"] == row["id"]]  # the newest choice first
    of_set = {one["id"]: one for one in sets}
    read_by = {
        of_set[number]["network"]
        for number, channels in reads.items()
        if of_set[number]["slot"] != input_sets.UNREAD and of_set[number]["replaced_by"] is None
        for uids in channels.values()
        if row["series_uid"] in uids
    }
    return SeriesView(
        series_uid=row["series_uid"],
        number=_listed(facts, "SeriesNumber"),
        modality=row["modality"],
        description=_listed(facts, "SeriesDescription"),
        kind=row["kind"],
        objects=row["objects"],
        came_again=row["revisions"] - row["objects"],
        size=int(row["size"] or 0),
        facts={keyword: dict(counts) for keyword, counts in facts.items()},
        routes=tuple(mine[0]["said"]) if mine else (),
        read_by=tuple(sorted(read_by)),
    )


def _listed(facts: Mapping[str, Mapping[str, int]], keyword: str) -> str:
    return ", ".join(sorted(value for value in facts.get(keyword, {}) if value))


def _job(row: Row, paused: Collection[str]) -> JobView:
    open_ = row["state"] in OPEN
    to = row["subject"].rsplit("/", 1)[0] if row["kind"] in ("deliver", "commit") else ""
    return JobView(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        network=" ".join(part for part in (row["network"], row["version"]) if part),
        destination=to,
        attempts=row["attempts"],
        code=row["code"] or "",
        reason=f"{to} is paused" if open_ and to in paused else row["reason"] or "",
        due=row["run_after"],
        can_retry=row["state"] in (JobState.DEAD, JobState.REFUSED, JobState.CANCELLED),
        can_cancel=open_ and row["kind"] in CANCELLABLE,
        windows_done=row["windows_done"],
        windows_of=row["windows_of"],
    )


def _reading(
    networks: Networks,
    row: Row,
    reads: Mapping[str, Any],
    routed: Rows,
    made: Rows,
    sent: Rows,
    newest: Any,
    history: Rows,
) -> ReadingView:
    mine = [one for one in made if one["input_set_id"] == row["id"] and one["kind"] != REJECTION]
    shown = measured.of(networks, newest, history)
    return ReadingView(
        id=row["id"],
        network=row["network"],
        because=row["because"],
        created=row["created"],
        images=row["members"],
        unread=row["slot"] == input_sets.UNREAD,
        replaced=row["replaced_by"] is not None,
        channels=tuple((channel, tuple(uids)) for channel, uids in reads.items()),
        routes=tuple(
            (one["route"], one["mode"], one["destination"]) for one in routed if one["input_set_id"] == row["id"]
        ),
        results=_results(mine, sent),
        flags=shown.flags,
        measured=shown.quantities,
        trends=shown.trends,
    )


def _results(made: Rows, sent: Rows) -> tuple[ResultView, ...]:
    """The runs, the newest first."""
    keys = lambda row: (row["revision"], row["run"])  # noqa: E731
    found = []
    for _, rows in groupby(sorted(made, key=lambda row: (*keys(row), row["id"])), key=keys):
        listed = list(rows)
        first, ids = listed[0], {row["id"] for row in listed}
        mine = [one for one in sent if one["result_id"] in ids]
        found.append(
            ResultView(
                id=first["id"],
                version=first["version"],
                revision=first["revision"],
                state=first["state"],
                reason=first["reason"] or "",
                created=first["created"],
                objects=tuple(_object(one, mine) for one in listed),
                waits_for_person=tuple(sorted({one["destination"] for one in mine if one["state"] == "held"})),
                delivered_to=tuple(
                    sorted({one["destination"] for one in mine if one["delivered"] is not None or one["unanswered"]})
                ),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.id))


def _object(row: Row, sent: Rows) -> ObjectView:
    return ObjectView(
        id=row["id"],
        kind=row["kind"],
        options=row["options"],
        sop_uid=row["sop_uid"],
        size=row["size"],
        there=row["path"] is not None,
        deliveries=tuple(
            DeliveryView(
                result=row["id"],
                destination=one["destination"],
                state=one["state"],
                status="" if one["status"] is None else f"0x{one['status']:04X}",
                attempts=one["attempts"],
                reason=one["reason"] or "",
                delivered=one["delivered"],
                committed=one["committed"],
                rejected=one["rejected_by"] is not None,
            )
            for one in sent
            if one["result_id"] == row["id"]
        ),
    )
