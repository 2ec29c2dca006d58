"""The live queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...operations import queue
from ..page import Navigation, fragment, needs, node_of, render


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """The page."""
    return render(request, "queue.html", **_values(request))


@needs(Role.VIEWER)
def rows(request: Request) -> Response:
    """What lives on it."""
    return fragment(request, "queue_rows.html", lambda: _values(request))


def _values(request: Request) -> Mapping[str, Any]:
    return {"entries": queue.page(node_of(request).database)}


NAVIGATION = Navigation(10, "/queue", "Queue")
ROUTES = [Route("/queue", show), Route("/queue/rows", rows)]
