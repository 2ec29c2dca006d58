"""Labels that came back, and the list of what a radiologist should look at."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import Failed
from ...operations import labels, worklist
from ...operations.watch.show import classes
from ..page import Form, Navigation, done, needs, node_of, render, text, user_of, whole

STATES = ("quarantined", "waiting", "ready", "accepted", "superseded", "rejected")
MOST = 200


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """All of them, or those in one state."""
    asked = request.query_params.get("state", "")
    chosen = asked if asked in STATES else None
    every = labels.listing(node_of(request).database)
    counts = {state: sum(one["state"] == state for one in every) for state in STATES}
    found = [one for one in every if chosen in (None, one["state"])]
    return render(request, "labels.html", labels=found[:MOST], more=len(found[MOST:]), counts=counts, chosen=chosen)


@needs(Role.VIEWER)
def one(request: Request) -> Response:
    """One of them, with what can be decided."""
    node = node_of(request)
    found = labels.find(node.database, request.path_params["label"])
    try:
        card = node.networks.known(found["network"])[1].card if found["network"] else None
    except Failed:
        card = None  # it cannot be used now: nothing can be mapped
    return render(request, "label.html", label=found, classes=card.segment if card else ())


@needs(Role.OPERATOR)
def decide(request: Request, form: Form) -> Response:
    """Map its structures, or reject it: as the commands do."""
    node, label, who = node_of(request), request.path_params["label"], user_of(request).name
    if text(form, "what") == "reject":
        said = labels.reject(node.database, label, who, text(form, "why"), node.work.attempts)
    else:
        given = {name: text(form, name) for name in form if name.startswith("#")}
        pairs = [f"{name}={value}" for name, value in given.items() if value]
        said = labels.map_structures(node.database, node.networks, label, pairs, who, node.work.attempts)
    return done(request, f"/labels/{label}", said)


@needs(Role.VIEWER)
def work(request: Request) -> Response:
    """What should be looked at."""
    node = node_of(request)
    network = request.query_params.get("network") or None
    found = worklist.worklist(node.database, node.learning.key, partial(classes, node.networks), network)
    return render(
        request, "worklist.html", of=found, one_in=worklist.ONE_IN, days=worklist.DAYS, in_words=worklist.in_words
    )


@needs(Role.OPERATOR)
def mark(request: Request, form: Form) -> Response:
    """Somebody has looked."""
    said = worklist.mark(
        node_of(request).database,
        whole(form, "input_set"),
        text(form, "said"),
        user_of(request).name,
        text(form, "run"),
    )
    return done(request, "/worklist", said)


NAVIGATION = [Navigation(54, "/worklist", "Work list"), Navigation(56, "/labels", "Labels")]
ROUTES = [
    Route("/labels", show),
    Route("/labels/{label:int}", one),
    Route("/labels/{label:int}/decide", decide, methods=["POST"]),
    Route("/worklist", work),
    Route("/worklist/mark", mark, methods=["POST"]),
]
