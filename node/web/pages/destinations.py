"""The destinations: does each answer, what waits for it, and pause, echo and retry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db import pauses
from db.accounts import Role

from ...errors import Unavailable
from ...operations import destinations
from ..page import Form, Navigation, done, fragment, needs, node_of, render, user_of

HERE = "/destinations"


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """The page."""
    return render(request, "destinations.html", **_values(request))


@needs(Role.VIEWER)
def rows(request: Request) -> Response:
    """What lives on it."""
    return fragment(request, "destinations_rows.html", lambda: _values(request))


def _values(request: Request) -> Mapping[str, Any]:
    node = node_of(request)
    with node.database.read() as tx:
        all_paused = "send" in pauses.paused(tx)
    return {"listed": destinations.listing(node.database, node.targets), "all_paused": all_paused}


@needs(Role.OPERATOR)
def pause(request: Request, _form: Form) -> Response:
    """Send it nothing."""
    return _set_paused(request, paused=True)


@needs(Role.OPERATOR)
def resume(request: Request, _form: Form) -> Response:
    """Go on."""
    return _set_paused(request, paused=False)


def _set_paused(request: Request, *, paused: bool) -> Response:
    node, who = node_of(request), user_of(request).name
    said = destinations.pause(node.database, node.targets, request.path_params["name"], paused=paused, who=who)
    return done(request, HERE, said)


@needs(Role.OPERATOR)
def echo(request: Request, _form: Form) -> Response:
    """Ask it for a sign of life."""
    node, name = node_of(request), request.path_params["name"]
    try:
        said = destinations.echo(node.database, node.targets, name, node.ae_title)
    except Unavailable as error:
        said = f"{name} does not answer: {error.sentence}"
    return done(request, HERE, said)


@needs(Role.OPERATOR)
def retry(request: Request, _form: Form) -> Response:
    """Send again what it did not take."""
    return done(request, HERE, destinations.retry_dead(node_of(request).database, request.path_params["name"]))


NAVIGATION = Navigation(30, HERE, "Destinations")
ROUTES = [
    Route(HERE, show),
    Route(f"{HERE}/rows", rows),
    *(
        Route(f"{HERE}/{{name}}/{handler.__name__}", handler, methods=["POST"])
        for handler in (pause, resume, echo, retry)
    ),
]
