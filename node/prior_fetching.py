"""Where no earlier study of a patient is here, one is fetched to be compared with: the `prior` step.

It is read like any other study, and nothing of it is sent anywhere. The study that asked for it waits, but not for
long, and a stat study never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from db import arrivals, fetches, jobs, prior_fetches, studies
from db.database import Row
from db.input_sets import Choice
from db.job_states import Claim, JobState

from . import fetching
from .app import Node
from .attempt import Stages
from .errors import Failed, Refused, Unavailable
from .operations.routes import PRIORITIES
from .pull import retrieve, search
from .pull.query import StudyFound
from .study import facts
from .study.facts import text

#: how often it is looked whether it has come and was read
LOOK_SECONDS = 5.0
MISSED = "prior-missed"


def ask(tx: Any, node: Node, study: Row, choices: Sequence[Choice]) -> None:
    """Ask for one, where there is none, there is a PACS for it, and nobody is in a hurry."""
    pacs = next((one.name for _, one in sorted(node.fetch.pacs.items()) if one.priors), None)
    if pacs is None or not choices or min(one.priority for one in choices) <= PRIORITIES["stat"]:
        return
    uid = study["study_uid"]
    if prior_fetches.is_prior(tx, uid) or fetches.in_no_hurry(tx, uid, node.fetch.pacs):
        return  # it is a prior itself, or one of many that are fetched at night
    if not prior_fetches.holds_other(tx, study["id"]):
        prior_fetches.ask(tx, study["id"], uid, pacs, node.work.attempts)


def unsent(tx: Any, study: Row, choices: Sequence[Choice]) -> Sequence[Choice]:
    """The choices of a study; of one that is here only to be compared with, nothing is sent and nothing is urgent."""
    if not prior_fetches.is_prior(tx, study["study_uid"]):
        return choices
    return [
        replace(one, dispatches=tuple(replace(to, mode="silent") for to in one.dispatches), deadline_seconds=None)
        for one in choices
    ]


def await_prior(tx: Any, node: Node, job: Claim) -> None:
    """Raises:
    Unavailable: `prior-awaited`: what it is to be compared with is on its way.
    """
    if job.priority <= PRIORITIES["stat"] or job.study_id is None:
        return
    if prior_fetches.on_its_way(tx, job.study_id, node.fetch.prior_seconds):
        said = "an earlier study of the patient is fetched, to be compared with; see prior_minutes in [fetch]"
        raise Unavailable("prior-awaited", said, LOOK_SECONDS)


def prior(node: Node, job: Claim, stages: Stages) -> None:
    """Find it and get it. That there is none, or none in time, is no failure of the study that asked."""
    assert job.study_id is not None
    code = "fetched"
    try:
        said = _fetched(node, job.study_id, job.subject, stages)
    except Unavailable as away:
        with node.database.read() as tx:
            if prior_fetches.in_time(tx, job.study_id, node.fetch.prior_seconds):
                raise
        code, said = MISSED, away.sentence
    except (Refused, Failed) as error:
        code, said = MISSED, error.sentence
    with node.database.write() as tx:
        jobs.finish(tx, job, JobState.DONE, stages.report(code, said))


def _fetched(node: Node, study_id: int, study_uid: str, stages: Stages) -> str:
    with node.database.read() as tx:
        asked = prior_fetches.of_study(tx, study_id)
        rows = arrivals.images(tx, study_id)
    pacs = node.fetch.pacs.get(asked["peer"]) if asked is not None else None
    if asked is None or pacs is None:
        raise Refused("no-such-peer", "the PACS that was to be asked is no peer with a `query` any more")
    limits = replace(node.fetch.limits, study_seconds=min(node.fetch.prior_seconds, node.fetch.limits.study_seconds))
    with stages("query"), search.asking(pacs, node.ae_title, limits, node.trail) as finder:
        found = search.priors(finder, _described(node, study_uid, rows), 1)
    if not found:
        return f"{pacs.name} has no earlier study of the patient with the same modality"
    uid = found[0].study_uid
    with node.database.write() as tx:
        if asked["prior_uid"] != uid:  # else an attempt before this one has begun to fetch it
            _require_absent(tx, study_id, uid, pacs.name)
        prior_fetches.found(tx, study_id, uid)
    with stages("retrieve"):
        said = retrieve.study(fetching.us_of(node), pacs, limits, uid, "", found[0].images, _silent)
    with node.database.write() as tx:
        studies.close_arriving(tx, uid, prior_fetches.BECAUSE, node.work.attempts)
    return said


def _require_absent(tx: Any, study_id: int, uid: str, pacs: str) -> None:
    """What is here for itself is not fetched: it would be held for a person, or count as a prior only.

    Raises:
        Refused: its images are here.
    """
    here = studies.find(tx, uid)
    if here is None or here["state"] == "none":
        return
    if prior_fetches.holds_other(tx, study_id):
        raise Refused(MISSED, "an earlier study of the patient has come meanwhile by itself")
    raise Refused(MISSED, f"{pacs} has the earlier study under this patient, and it is here under another one")


def _described(node: Node, study_uid: str, rows: Sequence[Row]) -> StudyFound:
    """The study that is here, as a PACS would describe it; who does not say the same of the patient has no prior."""
    newest = rows[-1]
    header = facts.read(node.archive.at(newest["path"]), also=("StudyDate",))
    return StudyFound(
        study_uid=study_uid,
        patient_id=newest["patient"],
        issuer=newest["issuer"],
        birth_date=newest["birth_date"],
        study_date=text(header, "StudyDate").replace(".", ""),
        modalities=tuple(sorted({row["modality"] for row in rows})),
    )


def _silent(_done: int, _of: int | None) -> None:
    """Nobody looks at a job's progress."""
