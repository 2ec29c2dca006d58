"""Drop a folder, or a zip, and see what a network makes of it. Nothing of it is sent or learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db.accounts import Role

from ...audit.codes import What
from ...errors import NodeError, Refused
from ...operations import trying_out
from ..page import Form, Navigation, needs, node_of, render, text, user_of

MOST_LETTERS = 1000


@needs(Role.OPERATOR)
def show(request: Request) -> Response:
    """The page."""
    node = node_of(request)
    found = trying_out.choices(node.networks)
    return render(request, "try.html", choices=found, trials=trying_out.newest(node.database))


@needs(Role.OPERATOR)
def begin(request: Request, form: Form) -> Response:
    """Somebody has dropped something."""
    who = user_of(request).name
    return _said(lambda: {"study": trying_out.begin(node_of(request).networks, text(form, "network"), who)})


@needs(Role.OPERATOR)
async def file(request: Request, _form: Form) -> Response:
    """One file of it, as it is: the body of the request, of whatever size there is room for."""
    node, study_uid = node_of(request), request.path_params["study_uid"]
    name = request.query_params.get("name", "")[:MOST_LETTERS]
    bounds = _bounds(request)
    spooled = node.archive.new_spool_file()
    try:
        await _received(request, spooled, study_uid, bounds)
        taken = await run_in_threadpool(trying_out.take, node.inbox, spooled, name, study_uid, bounds)
        return JSONResponse(trying_out.in_words(taken))
    except NodeError as error:
        return JSONResponse({"said": error.sentence}, 409)
    except ClientDisconnect:
        return JSONResponse({"said": "it did not come whole"}, 400)
    finally:
        spooled.unlink(missing_ok=True)


async def _received(request: Request, spooled: Path, study_uid: str, bounds: trying_out.Bounds) -> None:
    inbox, written, looked = node_of(request).inbox, 0, 0
    declared = request.headers.get("content-length", "0")
    await run_in_threadpool(trying_out.must_have_room, inbox, study_uid, int(declared), bounds)
    with spooled.open("xb") as target:
        async for chunk in request.stream():
            written += len(chunk)
            if written - looked > trying_out.CHUNK:
                looked = written
                await run_in_threadpool(trying_out.must_have_room, inbox, study_uid, written, bounds)
            target.write(chunk)
    if not written:
        raise Refused("no-file-meta", "it is empty")


@needs(Role.OPERATOR)
def end(request: Request, form: Form) -> Response:
    """That was all."""
    node, study_uid = node_of(request), request.path_params["study_uid"]
    who, outcome, attempts = user_of(request).name, text(form, "outcome"), node.work.attempts

    def ended() -> dict[str, Any]:
        said = trying_out.end(node.database, study_uid, who, outcome, attempts)
        node.trail.note(What.IMPORTED, study_uid, who=who, address=request.client.host if request.client else "")
        return {"said": said, "go": f"/studies/{study_uid}"}

    return _said(ended)


def _bounds(request: Request) -> trying_out.Bounds:
    limits = node_of(request).fetch.limits
    return trying_out.Bounds(most_files=limits.most_images, reserve_bytes=limits.reserve_bytes)


def _said(call: Callable[[], dict[str, Any]]) -> Response:
    """An answer for the script of the page."""
    try:
        return JSONResponse(call())
    except NodeError as error:
        return JSONResponse({"said": error.sentence}, 409)


NAVIGATION = Navigation(62, "/try", "Try", Role.OPERATOR)
ROUTES = [
    Route("/try", show),
    Route("/try/begin", begin, methods=["POST"]),
    Route("/try/{study_uid}/file", file, methods=["POST"]),
    Route("/try/{study_uid}/end", end, methods=["POST"]),
]
