"""The record: what was learnt, judged, decided, removed and erased, by whom; and whether it is whole."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import Refused
from ...operations import audit
from ..page import Form, Navigation, done, needs, node_of, render, text

COLUMNS = ("what", "who", "subject")
PER_PAGE = 50


@needs(Role.APPROVER)
def show(request: Request) -> Response:
    """The page; filtered and turned over by its address."""
    asked = {name: request.query_params.get(name, "").replace("\0", "") for name in COLUMNS}
    which = {name: value for name, value in asked.items() if value}
    before = request.query_params.get("before", "")
    number = int(before) if before.isascii() and before.isdecimal() and len(before) < 16 else None
    page = audit.page(node_of(request).database, number, PER_PAGE, **which)
    return render(request, "audit.html", page=page, which=asked)


@needs(Role.APPROVER)
def verify(request: Request, form: Form) -> Response:
    """Read all of it: what `planimeter audit verify` does."""
    try:
        said = audit.verify(node_of(request).database, text(form, "head").strip() or None)
    except Refused as refusal:
        said = refusal.sentence
    return done(request, "/audit", said)


NAVIGATION = Navigation(80, "/audit", "Audit", Role.APPROVER)
ROUTES = [Route("/audit", show), Route("/audit/verify", verify, methods=["POST"])]
