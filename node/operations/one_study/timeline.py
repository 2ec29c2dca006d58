"""What happened to a study, one after the other, with seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from db.database import Row

from .values import Step

#: newer ones are shown, should a job have been tried this often
MOST_ATTEMPTS = 300
WORDS = {"image": "images", "ours": "results of ours", "label": "labels", "other": "other objects"}
VERDICTS = {"release": "released", "discard": "discarded", "withdraw": "withdrawn"}


def steps(
    study: Row,
    arrivals: Sequence[Row],
    jobs: Sequence[Row],
    attempts: Sequence[Row],
    results: Sequence[Row],
    deliveries: Sequence[Row],
    commitments: Sequence[Row],
    verdicts: Sequence[Row],
    sent: Sequence[Row],
    refusals: Sequence[Row],
) -> tuple[Step, ...]:
    """In the order of time; the rows are those of `db.one_study`."""
    networks = {row["input_set_id"]: row["network"] for row in jobs if row["input_set_id"] is not None}
    every = [
        *_arrived(arrivals),
        *_settled(study),
        *_attempts(jobs, attempts),
        *_made(results, networks),
        *_delivered(deliveries, networks),
        *_committed(commitments, networks),
        *_decided(verdicts, networks),
        *_by_hand(sent),
        *(_refused(row) for row in refusals),
    ]
    return tuple(sorted(every, key=lambda step: step.at))


def _arrived(arrivals: Sequence[Row]) -> Iterator[Step]:
    for row in arrivals:
        said = f"{row['objects']} {WORDS.get(row['kind'], row['kind'])} from {row['calling_ae']} ({row['address']})"
        yield Step(at=row["first"], what="arrived", said=said, seconds=row["last"] - row["first"])


def _settled(study: Row) -> Iterator[Step]:
    if study["closed"] is not None:
        quiet = study["closed"] - study["last_image"] if study["last_image"] else None
        said = f"{study['closed_because']}" + (f", {quiet:.1f} s after the last image" if quiet and quiet > 0 else "")
        yield Step(at=study["closed"], what="settled", said=said)


def _attempts(jobs: Sequence[Row], attempts: Sequence[Row]) -> Iterator[Step]:
    of_job = {row["id"]: row for row in jobs}
    for row in attempts:
        job = of_job[row["job_id"]]
        outcome = row["outcome"] or "running"
        why = f": {row['sentence']}" if row["sentence"] else ""
        yield Step(
            at=row["started"],
            what=job["kind"],
            said=f"{_about(job)}{outcome}{why}",
            seconds=row["ended"] - row["started"] if row["ended"] else None,
            state="waiting" if outcome == "unavailable" else outcome,
            stages=tuple((name, float(seconds)) for name, seconds in (row["seconds"] or {}).items()),
            job=job["id"],
        )


def _about(job: Row) -> str:
    if job["kind"] in ("deliver", "commit"):
        return f"{job['subject'].rsplit('/', 1)[0]}: "
    return f"{job['network']}: " if job["network"] else ""


def _made(results: Sequence[Row], networks: Mapping[int, Any]) -> Iterator[Step]:
    keys = lambda row: (row["input_set_id"], row["run"], row["revision"])  # noqa: E731
    for _, rows in groupby(sorted(results, key=lambda row: (*keys(row), row["id"])), key=keys):
        listed = list(rows)
        first = listed[0]
        kinds = ", ".join(sorted({row["kind"] for row in listed}))
        said = f"{networks.get(first['input_set_id'], 'a network')} {first['version']}: {len(listed)} objects ({kinds})"
        yield Step(at=first["created"], what="result", said=said, state=first["state"])


def _delivered(deliveries: Sequence[Row], networks: Mapping[int, Any]) -> Iterator[Step]:
    done = sorted(
        (row for row in deliveries if row["delivered"] is not None),
        key=lambda row: (row["destination"], row["input_set_id"], row["delivered"]),
    )
    for (destination, input_set), rows in groupby(done, key=lambda row: (row["destination"], row["input_set_id"])):
        listed = list(rows)
        at = listed[0]["delivered"]
        said = f"{destination} has {len(listed)} objects of {networks.get(input_set, 'a network')}"
        yield Step(at=at, what="delivered", said=said, seconds=listed[-1]["delivered"] - at)


def _committed(commitments: Sequence[Row], networks: Mapping[int, Any]) -> Iterator[Step]:
    for row in commitments:
        seconds = row["answered"] - row["asked"] if row["answered"] else None
        network = networks.get(row["input_set_id"], "a network")
        said = f"{row['destination']} was asked to take responsibility for the results of {network}: {row['state']}"
        state = {"answered": "committed", "asked": "waiting"}.get(row["state"], "failed")
        yield Step(at=row["asked"], what="commitment", said=said, seconds=seconds, state=state)


def _decided(verdicts: Sequence[Row], networks: Mapping[int, Any]) -> Iterator[Step]:
    for row in verdicts:
        why = f": {row['why']}" if row["why"] else ""
        word = VERDICTS.get(row["what"], row["what"])
        said = f"the result of {networks.get(row['input_set_id'], 'a network')} was {word} by {row['who']}{why}"
        yield Step(at=row["at"], what=row["what"], said=said, state=word)


def _by_hand(sent: Sequence[Row]) -> Iterator[Step]:
    keys = lambda row: (row["at"], row["destination"], row["who"])  # noqa: E731
    for (at, destination, who), rows in groupby(sorted(sent, key=keys), key=keys):
        yield Step(at=at, what="send", said=f"{who} sends {len(list(rows))} objects to {destination}")


def _refused(row: Row) -> Step:
    return Step(at=row["at"], what="refused", said=f"{row['code']}: {row['sentence']}", state="refused")
