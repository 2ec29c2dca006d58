"""What takes the space, what would go next, and the last backup."""

from __future__ import annotations

from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...operations import purge, storage
from ..page import Form, Navigation, done, needs, node_of, render, user_of

SHOWN = 50


@needs(Role.OPERATOR)
def show(request: Request) -> Response:
    """The page."""
    node = node_of(request)
    found = storage.look(node.archive, node.database, node.retention, datetime.now().astimezone())
    return render(request, "storage.html", storage=found, shown=SHOWN)


@needs(Role.ADMIN)
def remove(request: Request, _form: Form) -> Response:
    """What would go at night goes now: what `planimeter purge` does."""
    node = node_of(request)
    gone = purge.purge(node.archive, node.database, node.retention, user_of(request).name)
    return done(request, "/storage", str(gone))


NAVIGATION = Navigation(70, "/storage", "Storage", Role.OPERATOR)
ROUTES = [Route("/storage", show), Route("/storage/purge", remove, methods=["POST"])]
