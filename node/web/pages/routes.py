"""Routes and peers: look at them, try others on what came in the last days, apply them, go back."""

from __future__ import annotations

import tempfile
import time as clock
from collections.abc import Mapping
from datetime import datetime
from difflib import unified_diff
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Page

from db import config_versions
from db.accounts import Role

from ... import reloading
from ...app import Node
from ...errors import Refused
from ...operations import replay, route_trial, routes
from ...operations.routes import Route
from ...reloading import WHERE, Mistake
from ..page import Form, Navigation, done, files, needs, node_of, render, text, user_of, whole

DAY_SECONDS = 86_400.0
MOST_DAYS = 92
#: of a trial, on the page; the count is of all
SHOWN_STUDIES = 100
#: lines that are shown before and behind a mistake
AROUND = 5
MOST_BYTES, MOST_FILES = 1 << 30, 4000


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """What is live, and the versions; or the text of one of them beside what is live."""
    asked = request.query_params.get("version", "")
    with node_of(request).database.read() as tx:
        live = config_versions.live(tx)
        row = config_versions.find(tx, int(asked)) if asked.isdecimal() and len(asked) < 10 else live
    if row is None and asked:
        raise Refused("no-such-version", f"there is no version {asked}")
    said, before = (row["text"] if row else ""), (live["text"] if live else "")
    return _page(request, said, of=row["id"] if row else None, difference=_difference(before, said))


@needs(Role.OPERATOR, most_bytes=MOST_BYTES, most_files=MOST_FILES)
def attempt(request: Request, form: Form) -> Response:
    """Try a text: on the last days, on a study that is here, on files that are dropped; nothing is changed."""
    node, said = node_of(request), _plain_lines(text(form, "text"))
    made, mistakes = reloading.examined(node.configuration, said)
    if made is None:
        return _page(request, said, mistakes=mistakes)
    days = whole(form, "days")
    if not 1 <= days <= MOST_DAYS:
        raise Refused("not-a-number", f"days has to be 1 to {MOST_DAYS}")
    study_uid = text(form, "study_uid").strip()
    dropped = [one for one in files(form, "files") if one.filename]
    if dropped:
        return _page(request, said, tried=_on_files(node, made.routes, dropped), fine=True)
    if study_uid:
        return _page(request, said, tried=_on_study(node, made.routes, study_uid), fine=True, study_uid=study_uid)
    since = clock.time() - days * DAY_SECONDS
    found = replay.replay(node.database, node.archive, node.routes, made.routes, since)
    return _page(request, said, replayed=found, days=days, fine=True)


@needs(Role.ADMIN)
def apply(request: Request, form: Form) -> Response:
    """Make a text live, unless somebody else was quicker."""
    node, said = node_of(request), _plain_lines(text(form, "text"))
    made, mistakes = reloading.examined(node.configuration, said)
    if made is None:
        return _page(request, said, mistakes=mistakes)
    after = whole(form, "after") if text(form, "after") else None
    why = text(form, "reason").strip()
    try:
        version = reloading.apply(node.configuration, said, WHERE, who=user_of(request).name, why=why, after=after)
    except Refused as refusal:
        return _page(request, said, mistakes=(Mistake(None, refusal.sentence),))
    return done(request, "/routes", f"Version {version} is live; what runs takes it with its next job.")


@needs(Role.ADMIN)
def back(request: Request, form: Form) -> Response:
    """Make an earlier version live again."""
    number, why = whole(form, "version"), text(form, "reason").strip()
    configuration = node_of(request).configuration
    version = reloading.roll_back(configuration, number, who=user_of(request).name, why=why)
    return done(request, "/routes", f"Version {version} is live, with the text of version {number}.")


def _page(request: Request, said: str, **values: Any) -> Response:
    """The page with a text, and what came of it."""
    with node_of(request).database.read() as tx:
        versions = config_versions.listing(tx)
    nothing: Mapping[str, Any] = {
        "of": None,
        "difference": (),
        "mistakes": (),
        "tried": None,
        "replayed": None,
        "days": 7,
        "study_uid": "",
        "fine": False,
    }
    values = {**nothing, **values}
    wrong = {one.line for one in values["mistakes"] if one.line is not None}
    return render(
        request,
        "routes.html",
        422 if values["mistakes"] else 200,
        text=said,
        lines=[(n, line) for n, line in enumerate(said.splitlines(), 1) if any(abs(n - at) <= AROUND for at in wrong)],
        wrong=wrong,
        versions=versions,
        live=versions[0]["id"] if versions else "",
        shown=SHOWN_STUDIES,
        **values,
    )


def _difference(before: str, after: str) -> tuple[str, ...]:
    lines = unified_diff(before.splitlines(), after.splitlines(), "live", "this version", lineterm="", n=2)
    return tuple(lines)[2:]


def _on_study(node: Node, every: tuple[Route, ...], study_uid: str) -> list[dict[str, Any]]:
    study = route_trial.of_study(
        node.database, node.archive, node.decoders, study_uid, routes.keywords(every, node.expected.values())
    )
    if study is None:
        raise Refused("no-such-study", f"there is no study {study_uid} with images here")
    return [route_trial.trial(every, node.networks, study_uid, study, _now())]


def _on_files(node: Node, every: tuple[Route, ...], dropped: list[UploadFile]) -> list[dict[str, Any]]:
    """Tried as if they had been sent; they are gone afterwards."""
    with tempfile.TemporaryDirectory(dir=node.archive.spool) as folder:
        for number, one in enumerate(dropped):
            with Path(folder, f"{number}.dcm").open("wb") as stream:
                while part := one.file.read(1 << 20):
                    stream.write(part)
        try:
            found, _ = route_trial.of_path(Path(folder), "SUBMIT", routes.keywords(every))
        except Refused as refusal:
            if refusal.code == "no-images":
                raise Refused("no-images", "there is no DICOM image among these files") from None
            raise
        return [route_trial.trial(every, node.networks, uid, study, _now()) for uid, study in found.items()]


def _now() -> Any:
    return datetime.now().astimezone().time()


def _plain_lines(said: str) -> str:
    """Forms send lines with carriage returns."""
    return said.replace("\r\n", "\n").strip() + "\n" if said.strip() else ""


NAVIGATION = Navigation(60, "/routes", "Routes")
ROUTES = [
    Page("/routes", show),
    Page("/routes/try", attempt, methods=["POST"]),
    Page("/routes/apply", apply, methods=["POST"]),
    Page("/routes/rollback", back, methods=["POST"]),
]
