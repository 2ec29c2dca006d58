"""Signing in and out, the very first administrator, and showing names of patients."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import Refused
from ...operations import sign_in
from ..guard import cookie
from ..page import Form, done, needs, node_of, policy_of, public, render, text, user_of

HOME = "/queue"


@public
def front(request: Request) -> Response:
    """Where one comes to without naming a page."""
    return RedirectResponse(HOME if request.state.user else "/sign-in", 303)


@public
def icon(_request: Request) -> Response:
    """For what asks for one without having read the page."""
    return RedirectResponse("/static/planimeter.svg", 301)


@public
def show(request: Request) -> Response:
    """The form; on a node without accounts the one of the first administrator."""
    node = node_of(request)
    if request.state.user is not None:
        return RedirectResponse(HOME, 303)
    if sign_in.first_token(node.database, node.archive.home) is not None:
        return render(request, "first.html", fault="", name="")
    return render(request, "sign_in.html", fault="", name="", next=_within(request.query_params.get("next", "")))


@public
def enter(request: Request, form: Form) -> Response:
    """Sign in."""
    node, policy = node_of(request), policy_of(request)
    name, going = text(form, "name"), _within(text(form, "next"))
    try:
        token = sign_in.sign_in(node.database, policy.passwords, name, text(form, "password"), _address(request))
    except Refused as refusal:
        status = 429 if refusal.code == "sign-in-wait" else 401
        return render(request, "sign_in.html", status, fault=refusal.sentence, name=name, next=going)
    return _entered(request, token, going)


@public
def first(request: Request, form: Form) -> Response:
    """Make the first administrator."""
    node, policy = node_of(request), policy_of(request)
    name, password = text(form, "name"), text(form, "password")
    try:
        if password != text(form, "again"):
            raise Refused("passwords-differ", "the two passwords are not the same")
        home, address = node.archive.home, _address(request)
        given = text(form, "token")
        token = sign_in.first_admin(node.database, policy.passwords, home, given, name, password, address)
    except Refused as refusal:
        return render(request, "first.html", 401, fault=refusal.sentence, name=name)
    return _entered(request, token, HOME)


def _entered(request: Request, token: str, going: str) -> Response:
    answer = RedirectResponse(going or HOME, 303)
    answer.headers.append("set-cookie", cookie(policy_of(request), token))
    return answer


@needs(Role.VIEWER)
def leave(request: Request, _form: Form) -> Response:
    """Sign out."""
    sign_in.sign_out(node_of(request).database, request.state.token, user_of(request).name)
    answer = RedirectResponse("/sign-in", 303)
    answer.headers.append("set-cookie", cookie(policy_of(request), ""))
    return answer


@needs(Role.VIEWER)
def patients(request: Request, form: Form) -> Response:
    """Show names of patients, or hide them."""
    wanted = text(form, "show") == "yes"
    who = user_of(request).name
    sentence = sign_in.show_patients(node_of(request).database, request.state.token, who, show=wanted)
    return done(request, _within(text(form, "back")) or HOME, sentence)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _within(url: str) -> str:
    """A path of this site, or nothing: nobody is sent elsewhere."""
    parts = urlsplit(url)
    inside = url.startswith("/") and not url.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return url if inside and url.isprintable() and "\\" not in url else ""


ROUTES = [
    Route("/", front),
    Route("/favicon.ico", icon),
    Route("/sign-in", show, methods=["GET"]),
    Route("/sign-in", enter, methods=["POST"]),
    Route("/first", first, methods=["POST"]),
    Route("/sign-out", leave, methods=["POST"]),
    Route("/patients", patients, methods=["POST"]),
]
