"""What pages are made with: templates, who may see them, forms that were checked, fragments that live."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Message, Receive

from db import sessions
from db.accounts import Role
from db.database import DatabaseUnreachable

from .. import __version__
from ..app import Node
from ..errors import NodeError, Refused
from ..operations import sign_in
from ..operations.sign_in import User
from . import shown
from .guard import FRAGMENT, SAFE
from .policy import WebPolicy

logger = logging.getLogger(__name__)

Form: TypeAlias = FormData
Handler: TypeAlias = Callable[..., Any]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
#: of a form without files
MOST_BYTES = 256 * 1024
MOST_FILES = 0


@dataclass(frozen=True)
class Navigation:
    """An entry of the navigation; smaller numbers come first."""

    order: int
    path: str
    label: str
    role: Role = Role.VIEWER


templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def node_of(request: Request) -> Node:
    """The node whose pages these are, with the configuration that is live."""
    return cast(Node, request.app.state.node).fresh()


def policy_of(request: Request) -> WebPolicy:
    """What the site decided about its pages."""
    return cast(WebPolicy, request.app.state.policy)


def user_of(request: Request) -> User:
    """Who is signed in; in a handler with `needs` there is somebody."""
    user: User | None = request.state.user
    if user is None:
        raise HTTPException(401)
    return user


# ------------------------------------------------------------------ answers


def render(request: Request, template: str, status: int = 200, /, **values: Any) -> Response:
    """A page. The sentence that a POST left behind is on it, once."""
    flash = request.state.flash
    if flash:
        with node_of(request).database.write() as tx:
            sessions.say(tx, sign_in.hashed(request.state.token), None)
    return HTMLResponse(_rendered(request, template, values | {"flash": flash}), status)


def fragment(
    request: Request,
    template: str,
    make: Callable[[], Mapping[str, Any]],
    *,
    shared: bool = False,
    from_rows: bool = True,
) -> Response:
    """A part of a page that is asked for again and again; 304 where it has not changed.

    Args:
        make: the template's values. It is not called where nothing was written to the database since the last time.
        shared: it is the same for everybody of a role (no form is in it, so no token): made once for all who ask.
        from_rows: False where the values come from files too, of which the database says nothing: then it always is.
    """
    mark = request.app.state.mark.current()  # before the question: what is committed after it is seen next time
    user: User | None = request.state.user
    key = (f"{request.url.path}?{request.url.query}", user and user.role, request.state.shows)
    said_of, _, said_body = request.headers.get("if-none-match", "").strip('W/"').partition(".")
    if from_rows and said_of == _digest(f"{mark} {key}"):
        return Response(status_code=304, headers={"etag": f'"{said_of}.{said_body}"'})
    if shared:
        mark, body = request.app.state.shared.get(key, mark, lambda: _rendered(request, template, make()))
    else:
        body = _rendered(request, template, make())
    digest = _digest(body)
    headers = {"etag": f'"{_digest(f"{mark} {key}")}.{digest}"'}
    if digest == said_body:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, headers=headers)


def done(request: Request, url: str, sentence: str) -> Response:
    """What a POST answers: go to that page, and see the sentence there."""
    if request.state.user is not None:
        with node_of(request).database.write() as tx:
            sessions.say(tx, sign_in.hashed(request.state.token), sentence)
    return RedirectResponse(url, 303)


def refused(request: Request, sentence: str) -> Response:
    """What could not be done: the sentence on the page one came from, or on a page of its own."""
    came_from = urlsplit(request.headers.get("referer", ""))
    back = came_from.path + (f"?{came_from.query}" if came_from.query else "")
    here = came_from.netloc == request.headers.get("host") and back.startswith("/") and not back.startswith("//")
    if request.method not in SAFE and here and request.state.user is not None:
        return done(request, back, sentence)
    return render(request, "error.html", 409, title="That cannot be done", sentence=sentence)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _rendered(request: Request, template: str, values: Mapping[str, Any]) -> str:
    user: User | None = request.state.user
    return templates.get_template(template).render(
        user=user,
        path=request.url.path,
        query=request.query_params,
        navigation=[one for one in request.app.state.navigation if user is not None and user.role.may(one.role)],
        version=__version__,
        ae_title=node_of(request).ae_title,
        shows=request.state.shows,
        csrf=lambda: Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, csrf_of(request)),
        may=lambda role: user is not None and user.role.may(Role(role)),
        patient=lambda text: shown.patient(text, visible=request.state.shows),
        when=shown.when,
        clock_time=shown.clock_time,
        state=shown.state,
        study_page=lambda study_uid: f"/studies/{quote(study_uid, safe='')}",
        viewer=lambda study_uid: _viewer(request, study_uid),
        banner=lambda: [line for make in request.app.state.banners for line in make(node_of(request))],
        **values,
    )


def _viewer(request: Request, study_uid: str) -> str:
    """Where the site's own viewer shows a study; empty where none is configured."""
    return policy_of(request).viewer_link.replace("{study_uid}", quote(study_uid, safe=""))


# ------------------------------------------------------- who may, and forms


def csrf_of(request: Request) -> str:
    """The token of forms: follows from the session's, and does not tell it."""
    return hashlib.sha256(f"csrf {request.state.token}".encode()).hexdigest()


def public(handler: Handler) -> Endpoint:
    """A page that needs no sign-in."""
    return _endpoint(handler, None, MOST_BYTES, MOST_FILES)


def needs(role: Role, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> Callable[[Handler], Endpoint]:
    """Only somebody who is signed in in that role, or one that includes it.

    Args:
        most_bytes, most_files: of the form; more is answered 413.
    """

    def made(handler: Handler) -> Endpoint:
        return _endpoint(handler, role, most_bytes, most_files)

    return made


def _endpoint(handler: Handler, role: Role | None, most_bytes: int, most_files: int) -> Endpoint:
    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        try:
            return await _answer(request, handler, role, most_bytes, most_files)
        except (HTTPException, NodeError, DatabaseUnreachable):
            raise  # the site has a sentence for each
        except Exception:
            # the edge of a request
            logger.exception("a page failed: %s of %s.%s", request.method, handler.__module__, handler.__name__)
            sentence = "The log of the node says why."
            return await run_in_threadpool(
                render, request, "error.html", 500, title="That did not work", sentence=sentence
            )

    endpoint.planimeter_role = role  # type: ignore[attr-defined]
    return endpoint


async def _answer(request: Request, handler: Handler, role: Role | None, most_bytes: int, most_files: int) -> Response:
    if role is not None:
        user: User | None = request.state.user
        if user is None:
            return _to_sign_in(request)
        if not user.role.may(role):
            raise HTTPException(403, f"This needs the role {role}; {user.name} is {user.role}.")
    if request.method in SAFE:
        return await _call(handler, request)
    limited = Request(request.scope, _limited(request, most_bytes))
    async with limited.form(max_files=most_files, max_fields=1000) as form:
        said = form.get(CSRF_FIELD) or request.headers.get(CSRF_HEADER, "")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), csrf_of(request).encode()):
            raise HTTPException(403, "This form is out of date. Go back, load the page again, and repeat it.")
        return await _call(handler, request, form)


async def _call(handler: Handler, *arguments: Any) -> Response:
    if inspect.iscoroutinefunction(handler):
        return cast(Response, await handler(*arguments))
    return cast(Response, await run_in_threadpool(handler, *arguments))


def _to_sign_in(request: Request) -> Response:
    if FRAGMENT in request.headers:
        return Response(status_code=401)
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(
        f"/sign-in?next={quote(asked)}" if request.method in SAFE and asked != "/" else "/sign-in", 303
    )


def _limited(request: Request, most_bytes: int) -> Receive:
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > most_bytes:
            raise HTTPException(413, f"That is more than {most_bytes:,} bytes.")
        return message

    return receive


def text(form: Form, name: str) -> str:
    """A field of a form; empty where there is none."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def whole(form: Form, name: str) -> int:
    """A whole number.

    Raises:
        Refused: `not-a-number`.
    """
    value = text(form, name)
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise Refused("not-a-number", f"{name} has to be a number")
    return int(value)


def files(form: Form, name: str) -> list[UploadFile]:
    """The files of a field."""
    return [value for value in form.getlist(name) if isinstance(value, UploadFile)]
