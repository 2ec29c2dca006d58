"""One study: what happened to it and why, its results and numbers, and what a person can do about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from db.accounts import Role

from ... import giving_up
from ...deidentify.options import USUAL, Option
from ...errors import Refused
from ...operations import by_hand, control, verdicts
from ...operations.exporting import asked
from ...operations.one_study import gather
from ...operations.one_study.chart import chart
from ...operations.one_study.heading import heading
from ...operations.one_study.values import StudyView
from ..looks import looked_at
from ..page import Form, done, fragment, needs, node_of, render, text, user_of, whole


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """The page."""
    node = node_of(request)
    study = _study(request)
    looked_at(request, study.study_uid)
    return render(
        request,
        "study.html",
        heading=heading(node.database, node.archive, study.study_uid),
        networks=sorted(set(node.networks.names()) - node.networks.switched_off()),
        destinations=sorted(node.targets),
        chart=chart,
        export_options=[(str(one), one in USUAL) for one in Option if one not in DATES],
        exports=asked.listing(node.database, study.study_uid),
        **_live(study, _seen(study)),
    )


@needs(Role.VIEWER)
def live(request: Request) -> Response:
    """What changes while one looks."""
    seen = request.query_params.get("seen", "")
    return fragment(request, "study_live.html", lambda: _live(_study(request), seen))


def _study(request: Request) -> StudyView:
    node = node_of(request)
    return gather.study(node.database, node.networks, request.path_params["study_uid"])


def _seen(study: StudyView) -> str:
    """What results and images the page has: where it is another one, there is something new to be loaded."""
    made = [(run.id, run.state, run.waits_for_person) for one in study.readings for run in one.results]
    said = repr((made, [(one.series_uid, one.objects) for one in study.series], study.row_state))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _live(study: StudyView, seen: str) -> Mapping[str, Any]:
    return {"study": study, "seen": seen, "news": _seen(study) != seen}


#: of them one at most
DATES = (Option.FULL_DATES, Option.MODIFIED_DATES)

# -------------------------------------------------------------------- doing


def _back(request: Request, sentence: str) -> Response:
    return done(request, f"/studies/{request.path_params['study_uid']}", sentence)


@needs(Role.OPERATOR)
def retry(request: Request, form: Form) -> Response:
    """Open an ended job again."""
    return _back(request, control.retry(node_of(request).database, _job(request, form)))


@needs(Role.OPERATOR)
def cancel(request: Request, form: Form) -> Response:
    """Nobody wants what a network would find."""
    return _back(request, giving_up.cancel(node_of(request), _job(request, form), user_of(request).name))


def _job(request: Request, form: Form) -> int:
    number = whole(form, "job")
    if number not in {job.id for job in _study(request).jobs}:
        raise Refused("no-such-job", f"job {number} is none of this study")
    return number


@needs(Role.OPERATOR)
def close(request: Request, _form: Form) -> Response:
    """Do not wait for more images; or let a held study go on."""
    node, uid = node_of(request), request.path_params["study_uid"]
    return _back(request, control.close(node.database, uid, user_of(request).name, node.work.attempts))


@needs(Role.OPERATOR)
def reprocess(request: Request, form: Form) -> Response:
    """Choose again, and run the networks again; or one that a person names."""
    node, uid, who = node_of(request), request.path_params["study_uid"], user_of(request).name
    attempts, network = node.work.attempts, text(form, "network")
    if not network:
        return _back(request, control.reprocess(node.database, uid, who, attempts))
    to = [text(form, "destination")] if text(form, "destination") else []
    said = by_hand.reprocess_with(node.database, node.networks, node.targets, uid, network, to, who, attempts)
    return _back(request, said)


@needs(Role.OPERATOR)
def send(request: Request, form: Form) -> Response:
    """Send a result to a destination."""
    node, to, result = node_of(request), text(form, "destination"), _result(request, form)
    who, attempts = user_of(request).name, node.send.attempts
    return _back(request, by_hand.send_result(node.database, node.targets, result, to, who, attempts))


@needs(Role.OPERATOR)
def release(request: Request, form: Form) -> Response:
    """Let results go that wait for a person."""
    node = node_of(request)
    said = verdicts.release(node.database, _result(request, form), user_of(request).name, node.send.attempts)
    return _back(request, said)


@needs(Role.OPERATOR)
def discard(request: Request, form: Form) -> Response:
    """Put results away that were not sent."""
    node, why, who = node_of(request), text(form, "reason"), user_of(request).name
    tries = node.send.attempts, node.work.attempts
    return _back(request, verdicts.discard(node.database, _result(request, form), who, why, *tries))


@needs(Role.OPERATOR)
def withdraw(request: Request, form: Form) -> Response:
    """Take results back wherever they are."""
    node, why, who = node_of(request), text(form, "reason"), user_of(request).name
    if not why.strip():
        raise Refused("no-reason", "a withdrawal needs a reason")
    tries = node.send.attempts, node.work.attempts
    return _back(request, verdicts.withdraw(node.database, _result(request, form), who, why, *tries))


@needs(Role.APPROVER)
def export(request: Request, form: Form) -> Response:
    """De-identify it, to be fetched here."""
    wanted = [str(one) for one in Option if text(form, str(one))]
    if dates := text(form, "dates"):
        wanted.append(dates)
    who, results = user_of(request).name, bool(text(form, "results"))
    uid = request.path_params["study_uid"]
    return _back(request, asked.ask(node_of(request).database, uid, who, wanted, results=results))


@needs(Role.APPROVER)
def fetch_export(request: Request) -> Response:
    """The file of an export; its name is the export's, which names nobody."""
    node, uid = node_of(request), request.path_params["study_uid"]
    file = asked.file_of(node.database, node.archive.home, uid, request.path_params["export"])
    return FileResponse(file, media_type="application/zip", filename=f"export-{file.name}")


def _result(request: Request, form: Form) -> str:
    """The result that a form names, which is one of this study."""
    name = text(form, "result")
    ids = {str(one.id) for reading in _study(request).readings for run in reading.results for one in run.objects}
    if name not in ids:
        raise Refused("no-such-result", f"{name or 'that'} is no result of this study")
    return name


AT = "/studies/{study_uid}"
ROUTES = [
    Route(AT, show),
    Route(f"{AT}/live", live),
    Route(f"{AT}/exports/{{export:int}}.zip", fetch_export),
    *(
        Route(f"{AT}/{handler.__name__}", handler, methods=["POST"])
        for handler in (retry, cancel, close, reprocess, send, release, discard, withdraw, export)
    ),
]
