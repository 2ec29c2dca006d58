"""Alarms: what is wrong now, what was, and that somebody knows of it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...app import Node
from ...operations import machines
from ...operations.alarms import incidents
from ..page import Form, Navigation, done, fragment, needs, node_of, render, text, user_of, whole

PAGE = 50


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """The page."""
    return render(request, "alarms.html", **_values(request))


@needs(Role.VIEWER)
def rows(request: Request) -> Response:
    """What lives on it."""
    return fragment(request, "alarms_rows.html", lambda: _values(request))


@needs(Role.OPERATOR)
def acknowledge(request: Request, form: Form) -> Response:
    """Somebody knows of it."""
    who, why = user_of(request).name, text(form, "reason")[:500]
    sentence = incidents.acknowledge(node_of(request).database, whole(form, "id"), who, why)
    return done(request, "/alarms", sentence)


def _values(request: Request) -> dict[str, Any]:
    node = node_of(request)
    before = request.query_params.get("before", "")
    found = incidents.listing(node.database, PAGE, int(before) if before.isdecimal() and len(before) < 18 else None)
    with node.database.read() as tx:
        standing = incidents.open_ones(tx)
    return {
        "standing": standing[::-1],
        "past": [one for one in found if one.state == "closed"],
        "older": found[-1].id if len(found) == PAGE else None,
        "recipients": [one.name for one in node.alarms.recipients],
        "before": before,
        "running": machines.listing(node.database),
    }


def banner(node: Node) -> list[str]:
    """On top of every page."""
    with node.database.read() as tx:
        return incidents.banner(tx)


NAVIGATION = Navigation(60, "/alarms", "Alarms")
ROUTES = [
    Route("/alarms", show),
    Route("/alarms/rows", rows),
    Route("/alarms/acknowledge", acknowledge, methods=["POST"]),
]
