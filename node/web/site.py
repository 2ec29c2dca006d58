"""The site: all pages, behind the guard."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from db.database import DatabaseUnreachable
from db.marks import Mark

from ..app import Node
from ..errors import NodeError
from . import pages
from .guard import Guard
from .page import Navigation, refused, render
from .policy import WebPolicy
from .shared import Shared

logger = logging.getLogger(__name__)

SAID = {
    403: "Not allowed",
    404: "There is no such page",
    405: "That cannot be done here",
    408: "Too slow",
    413: "Too much at once",
    503: "Not now",
}


def site(node: Node, policy: WebPolicy) -> Starlette:
    """The pages of a node.

    Raises:
        TypeError: a handler says neither `needs` nor `public`.
    """
    rooms = [import_module(f"{pages.__name__}.{module.name}") for module in iter_modules(pages.__path__)]
    routes = [route for room in rooms for route in room.ROUTES]
    for route in routes:
        if not hasattr(route.endpoint, "planimeter_role"):
            raise TypeError(f"{route.path}: who may see it? its handler says neither `needs` nor `public`")
    app = Starlette(
        routes=[*routes, Mount("/static", _Static(packages=[(__package__, "static")]), name="static")],
        middleware=[Middleware(Guard, policy=policy, database=node.database)],
        exception_handlers={
            NodeError: _node_error,
            DatabaseUnreachable: _unreachable,
            HTTPException: _http_error,
        },
    )
    app.state.node, app.state.policy, app.state.mark = node, policy, Mark(node.database)
    app.state.shared = Shared()
    app.state.navigation = sorted(_navigation(rooms), key=lambda entry: entry.order)
    app.state.banners = [room.banner for room in rooms if hasattr(room, "banner")]
    return app


def routes_of(app: Starlette) -> list[Route]:
    """The routes of the pages, without the static files."""
    return [route for route in app.routes if isinstance(route, Route)]


def _navigation(rooms: Sequence[ModuleType]) -> Iterator[Navigation]:
    for room in rooms:
        entries = getattr(room, "NAVIGATION", ())
        yield from (entries,) if isinstance(entries, Navigation) else entries


class _Static(StaticFiles):
    """Kept by browsers, and asked for again: a new version is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        answer = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        answer.headers["cache-control"] = "no-cache"
        return answer


# Each a plain function: Starlette runs them in its threads, and they may ask the database.


def _node_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NodeError)
    return refused(request, error.sentence)


def _unreachable(request: Request, error: Exception) -> Response:
    logger.warning("%s", error)
    return render(request, "error.html", 503, title=SAID[503], sentence="The database does not answer; try again.")


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = error.detail if error.status_code in (403, 408, 413) else ""
    title = SAID.get(error.status_code, "That did not work")
    return render(request, "error.html", error.status_code, title=title, sentence=sentence)
