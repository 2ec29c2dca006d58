"""Training runs, followed while they go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...operations import retrain, runs
from ..page import Form, Navigation, done, fragment, needs, node_of, render, text, user_of


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """All of them."""
    return render(request, "runs.html", **_all(request))


@needs(Role.VIEWER)
def rows(request: Request) -> Response:
    """What lives on that page."""
    return fragment(request, "runs_rows.html", lambda: _all(request), from_rows=False)


def _all(request: Request) -> Mapping[str, Any]:
    node = node_of(request)
    found = runs.listing(node.database, node.archive.home)
    return {"runs": found, "asked_for": runs.asked_for(node.database)}


@needs(Role.VIEWER)
def one(request: Request) -> Response:
    """One of them."""
    return render(request, "run.html", **_one(request))


@needs(Role.VIEWER)
def curves(request: Request) -> Response:
    """What lives on its page."""
    return fragment(request, "run_curves.html", lambda: _one(request), from_rows=False)


def _one(request: Request) -> Mapping[str, Any]:
    node = node_of(request)
    run, told = runs.find(node.database, node.archive.home, request.path_params["run"])
    charts = [(chart, Markup(drawn)) for chart, drawn in runs.charts(told)]  # noqa: S704 - its texts are escaped
    return {"run": run, "charts": charts}


@needs(Role.APPROVER)
def stop(request: Request, form: Form) -> Response:
    """Nobody wants it any more."""
    network = request.path_params["network"]
    said = retrain.stop(node_of(request).database, network, user_of(request).name, text(form, "why"))
    return done(request, "/runs", said)


NAVIGATION = Navigation(58, "/runs", "Training")
ROUTES = [
    Route("/runs", show),
    Route("/runs/rows", rows),
    Route("/runs/{run:int}", one),
    Route("/runs/{run:int}/curves", curves),
    Route("/runs/{network}/stop", stop, methods=["POST"]),
]
