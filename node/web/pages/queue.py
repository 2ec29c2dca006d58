"""The live queue: what arrives, waits, runs, is sent, and what went wrong; kept up to date while one looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from db.accounts import Role

from ...operations import queue
from ...operations.queue import STATES, Wanted
from .. import shown
from ..page import Form, Navigation, fragment, needs, node_of, render, text

FILTERS = ("route", "network", "destination")
#: these are red where there are any
ALARMING = frozenset({"failed", "held"})
MOST_DIGITS = 18


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """The page."""
    node = node_of(request)
    choices = {
        "route": [route.name for route in node.routes],
        "network": sorted({name for route in node.routes for name in route.networks}),
        "destination": sorted(node.targets),
    }
    return render(request, "queue.html", choices=choices, **_values(request))


@needs(Role.VIEWER)
def rows(request: Request) -> Response:
    """What lives on it."""
    return fragment(request, "queue_rows.html", lambda: _values(request), shared=True)


@needs(Role.VIEWER)
def search(request: Request, form: Form) -> Response:
    """Look for studies. What was typed names a patient, so it is in no address: those go into logs and histories."""
    found = queue.search(node_of(request).database, text(form, "text"))
    return RedirectResponse(f"/queue?ids={'.'.join(map(str, found))}", 303)


def _values(request: Request) -> Mapping[str, Any]:
    asked = request.query_params
    state = asked.get("state", "")
    wanted = Wanted(**{name: asked.get(name, "") for name in FILTERS}, ids=_ids(asked.get("ids", "")))
    state = state if state in STATES else ""
    before, after = _number(asked.get("before", "")), _number(asked.get("after", ""))
    node, urgent = node_of(request), asked.get("order") == "due"
    if urgent:
        page = queue.urgent(node.database, wanted, node.alarms.promise)
    else:
        page = queue.page(node.database, wanted, state, before=before, after=after, promise=node.alarms.promise)
    kept = {name: asked[name] for name in (*FILTERS, "ids") if asked.get(name)}

    def address(**changed: object) -> str:
        values = kept | ({"state": state} if state and not urgent else {}) | changed
        return "/queue?" + urlencode({name: value for name, value in values.items() if value not in ("", None)})

    here = {"order": "due"} if urgent else {"before": before, "after": after}
    return {
        "page": page,
        "chosen": "" if urgent else state,
        "urgent": urgent,
        "due": shown.due,
        "wanted": wanted,
        "states": STATES,
        "alarming": ALARMING,
        "address": address,
        "refresh": address(**here).replace("/queue", "/queue/rows", 1),
        "filtered": bool(kept),
    }


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


def _ids(text: str) -> tuple[int, ...] | None:
    """Ids with dots between them; None where none were asked for."""
    numbers = [_number(part) for part in text.split(".")[: queue.MOST_FOUND]]
    return tuple(number for number in numbers if number is not None) if text else None


NAVIGATION = Navigation(10, "/queue", "Queue")
ROUTES = [
    Route("/queue", show),
    Route("/queue/rows", rows),
    Route("/queue/search", search, methods=["POST"]),
]
