"""What a node is doing, for people and for programs. Studies are known by their UIDs; no patient data."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydicom.uid import UID

from db import audit_trail, away, deadlines, deliveries, pauses, reconciliations, refusals, results
from db import overview as rows
from db.database import Database
from db.deadlines import Due
from db.job_orders import CANCELLED
from db.job_states import JobState
from db.overview import StudyOverview

from . import machines, promises, proofs
from .promises import Promise, nothing
from .terminal import output, plain, print_table

STYLES = {
    "arriving": "cyan",
    "waiting": "yellow",
    "running": "blue",
    "sending": "magenta",
    "done": "green",
    "purged": "dim",
    "delivered": "green",
    "committed": "green",
    "withdrawn": "yellow",
    "discarded": "dim",
    "cancelled": "dim",
    "refused": "red",
    "failed": "bold red",
    "dead": "bold red",
    "held": "bold yellow",
    "late": "bold red",
    "due soon": "yellow",
    "silent": "bold red",
    "drained": "yellow",
}
BAR_LETTERS = 10
MACHINES = ("machine", "process", "state", "version", "silent_seconds")
#: what is to be delivered within that time is shown
SOON_SECONDS = 600.0
#: so many are listed, beside what is not done
NEWEST = 1000


def overview(
    database: Database, promise: Promise = nothing, most: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Everything, newest first. The keys are kept from version to version.

    Args:
        promise: by when a study that was not chosen from yet is to be delivered.
        most: so many studies, jobs and deliveries, beside all of which something is still to be done; None: all there
            ever were.
    """
    with database.read() as tx:
        studies = rows.studies(tx, ids=None if most is None else rows.latest(tx, most))
        no_images = rows.kinds(tx, [study.row["id"] for study in studies if "image" not in study.instances])
        jobs = rows.jobs(tx, latest=most)
        callers = refusals.callers(tx, latest=most)
        sent = deliveries.listing(tx, latest=most)
        held = results.held(tx)
        aside = proofs.set_aside(tx)
        due = [*promises.unchosen(tx, promise, SOON_SECONDS), *deadlines.due(tx, SOON_SECONDS)]
        lacking = reconciliations.lacking(tx)
        behind = audit_trail.backlog(tx)
    return {
        "machines": [asdict(one) for one in machines.listing(database)],
        "studies": [_study(study, no_images.get(study.row["id"], set())) for study in studies],
        "jobs": [
            {
                "id": job["id"],
                "kind": job["kind"],
                "state": job["state"],
                "model": f"{job['network']} {job['model_version'] or ''}".strip() if job["network"] else None,
                "study_uid": job["study_uid"],
                "attempts": job["attempts"],
                "reason": _reason(job["code"], job["reason"]),
                "seconds": job["seconds"] or {},
                "windows_done": job["windows_done"],
                "windows_of": job["windows_of"],
                "progress": bar(job["windows_done"], job["windows_of"]),
            }
            for job in jobs
        ],
        "callers": [
            {
                "address": caller["address"],
                "ae_title": caller["ae_title"],
                "count": caller["count"],
                "reason": _reason(caller["code"], caller["sentence"]),
                "last": datetime.fromtimestamp(caller["last"]).astimezone().isoformat(timespec="seconds"),
            }
            for caller in callers
        ],
        "deliveries": [
            {
                "result": one["result_id"],
                "sop_uid": one["sop_uid"],
                "study_uid": one["study_uid"],
                "kind": one["kind"],
                "options": one["options"],
                "destination": one["destination"],
                "state": one["state"],
                "attempts": one["attempts"],
                "reason": one["reason"],
            }
            for one in sent
        ],
        "aside": aside,
        "due": [_due(one) for one in sorted(due, key=lambda one: one.deadline)],
        "lacking": [asdict(one) for one in lacking],
        "audit": [asdict(behind)] if behind else [],
        "held": [{"result": one["id"], "study_uid": one["study_uid"], "reason": one["reason"]} for one in held],
    }


def _due(one: Due) -> dict[str, Any]:
    return {
        "state": "late" if one.left_seconds < 0 else "due soon",
        "study_uid": one.study_uid,
        "network": one.network,
        "deadline": datetime.fromtimestamp(one.deadline).astimezone().isoformat(timespec="seconds"),
        "minutes": round(one.left_seconds / 60, 1),
        "waits_for": one.waits_for,
    }


def bar(done: int | None, of: int | None) -> str:
    """How far a network is, in letters; empty where none runs, without a bar where nobody knows how far it goes."""
    if done is None:
        return ""
    if not of:
        return f"{done} windows"
    full = BAR_LETTERS * min(done, of) // of
    return f"{'█' * full}{'░' * (BAR_LETTERS - full)} {done} of {of} windows"


def _reason(code: str | None, sentence: str | None) -> str | None:
    return f"{code}: {sentence}" if code and sentence else sentence


def _study(study: StudyOverview, other_classes: set[str]) -> dict[str, Any]:
    state, reason = state_of(study, other_classes)
    return {
        "study_uid": study.row["study_uid"],
        "state": state,
        "images": study.instances.get("image", 0),
        "reason": reason,
    }


def state_of(study: StudyOverview, other_classes: set[str]) -> tuple[str, str | None]:
    """One of the states that have a style, the deliveries' own apart; and why."""
    reasons = "; ".join(f"{code}: {sentence}" if code else sentence for code, sentence in study.reasons) or None
    in_state = {state for (_, state), count in study.jobs.items() if count}
    computing = {state for (kind, state) in study.jobs if kind in ("choose", "segment")}
    if study.row["state"] == "held":
        return "held", f"{study.row['held_because']}; when it is right, `planimeter reprocess` goes on with the newest"
    if study.row["state"] == "none":
        names = sorted(UID(uid).name for uid in other_classes)
        return "refused", f"no-images: stored, but only images are worked on, and it holds {', '.join(names) or 'none'}"
    if study.row["state"] == "open":
        return "arriving", reasons
    if JobState.RUNNING in computing:
        return "running", reasons
    if JobState.WAITING in computing:
        return "waiting", reasons
    if by_a_person := _by_a_person(study):
        return by_a_person
    if study.deliveries.get("waiting"):
        return "sending", reasons
    if JobState.DEAD in in_state or study.deliveries.get("dead"):
        return "failed", reasons
    if study.row["purged"] is not None:
        on = datetime.fromtimestamp(study.row["purged"]).astimezone().strftime("%Y-%m-%d")
        before = _without_more(study, in_state)
        return "purged", f"{before}; its images are not kept any more since {on}"
    return _without_more(study, in_state), reasons


def _without_more(study: StudyOverview, in_state: set[str]) -> str:
    """Nothing more will come of it by itself."""
    if study.results:
        return "done"
    if any(code == CANCELLED for code, _ in study.reasons):
        return "cancelled"
    return "refused" if JobState.REFUSED in in_state else "done"


def _by_a_person(study: StudyOverview) -> tuple[str, str] | None:
    """State and reason of results that wait for a person, or that a person took away; None for all others."""
    if study.faults:
        return "held", f"self-check: {'; '.join(study.faults)}; nothing of it is sent"
    if study.deliveries.get("held"):
        return "held", "flagged results wait for `planimeter release` or `discard`"
    if study.put_away:
        return study.put_away, "a person decided so; `planimeter reprocess` makes new results"
    return None


def print_tables(everything: dict[str, list[dict[str, Any]]], database: Database) -> None:
    """For people: what matters now first, the latest of the rest."""
    console = output()
    with database.read() as tx:
        paused, outages = pauses.paused(tx), away.listing(tx)
    if paused:
        console.print(f"[bold yellow]Paused: {', '.join(sorted(paused))}[/]; `planimeter resume` ends that")
    for outage in outages:
        since = datetime.fromtimestamp(outage["since"]).astimezone().strftime("%H:%M:%S")
        console.print(f"[bold red]{outage['destination']} does not answer since {since}:[/] {plain(outage['reason'])}")
    for one in everything["audit"]:
        if one["failing_seconds"] is not None:
            said = f"{one['waiting']} audit messages wait, the oldest for {one['oldest_seconds'] / 60:.0f} min"
            console.print(f"[bold red]{said}:[/] {plain(one['reason'])}")
    for one in everything["aside"]:
        console.print(f"[bold red]{plain(one['network'])} is off:[/] {plain(one['reason'])}")
    for one in everything.get("confinement", ()):
        if one["state"] == "lacking":
            console.print(f"[bold red]networks and decoders can {one['can']}:[/] {plain(one['reason'])}")
    columns = {
        "due": ("state", "minutes", "deadline", "network", "waits_for", "study_uid"),
        "studies": ("state", "images", "study_uid", "reason"),
        "jobs": ("id", "kind", "state", "progress", "attempts", "model", "study_uid", "reason"),
        "deliveries": ("result", "state", "kind", "options", "destination", "attempts", "reason"),
        "held": ("result", "study_uid", "reason"),
        "networks": ("machine", "network", "state", "device", "memory_mb", "peak_mb", "last_used"),
        "lacking": ("day", "peer", "modalities", "images", "here", "study_uid"),
        "callers": ("address", "ae_title", "count", "last", "reason"),
        "machines": MACHINES,
    }
    titles = {
        "due": "deadlines",
        "networks": "networks that are warm",
        "lacking": "that a PACS has, and that never came, or not whole",
        "callers": "turned away at the door",
        "held": "held by the self-check: never sent",
    }
    for name, keys in columns.items():
        print_table(console, titles.get(name, name), keys, everything.get(name, []), STYLES)


def print_machines(listed: list[dict[str, Any]]) -> None:
    """What runs on which machine."""
    print_table(output(), "machines", MACHINES, listed, STYLES)


def print_jobs(database: Database) -> int:
    """The jobs, newest first."""
    keys = ("id", "kind", "state", "progress", "attempts", "model", "study_uid", "reason")
    print_table(output(), "jobs", keys, overview(database, most=NEWEST)["jobs"], STYLES)
    return 0


def print_attempts(database: Database, job_id: int) -> int:
    """One job's attempts, with the seconds of their stages."""
    with database.read() as tx:
        attempts = rows.attempts(tx, job_id)
    shown = [
        {
            "started": datetime.fromtimestamp(one["started"]).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            "seconds": ", ".join(f"{stage} {seconds:g}" for stage, seconds in (one["seconds"] or {}).items()),
            "peak MB": ", ".join(f"{who} {mb:.0f}" for who, mb in (one["peak_memory_mb"] or {}).items()),
            "outcome": one["outcome"] or "running",
            "reason": _reason(one["code"], one["sentence"]),
        }
        for one in attempts
    ]
    print_table(output(), f"attempts of job {job_id}", ("started", "outcome", "seconds", "peak MB", "reason"), shown)
    return 0 if shown else 1
