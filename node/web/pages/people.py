"""Accounts: one's own, and for administrators everybody's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import Refused
from ...operations import accounts, sign_in
from ..page import Form, Navigation, done, needs, node_of, policy_of, render, text, user_of


@needs(Role.VIEWER)
def mine(request: Request) -> Response:
    """One's own account."""
    return render(request, "account.html")


@needs(Role.VIEWER)
def new_password(request: Request, form: Form) -> Response:
    """Another password for oneself; sessions elsewhere end."""
    database, passwords, token = node_of(request).database, policy_of(request).passwords, request.state.token
    name, address = user_of(request).name, request.client.host if request.client else ""
    sign_in.confirm(database, passwords, name, text(form, "password"), address)
    _same_twice(form)
    keep = sign_in.hashed(token)
    sentence = accounts.set_password(database, passwords, name, text(form, "new"), name, keep=keep)
    return done(request, "/account", sentence)


@needs(Role.ADMIN)
def users(request: Request) -> Response:
    """Everybody."""
    return render(request, "users.html", users=accounts.listing(node_of(request).database), roles=list(Role))


@needs(Role.ADMIN)
def add(request: Request, form: Form) -> Response:
    """Let somebody sign in."""
    _same_twice(form)
    database, passwords = node_of(request).database, policy_of(request).passwords
    role, who = accounts.role_of(text(form, "role")), user_of(request).name
    return done(request, "/users", accounts.add(database, passwords, text(form, "name"), text(form, "new"), role, who))


@needs(Role.ADMIN)
def password(request: Request, form: Form) -> Response:
    """Another password for somebody who forgot theirs."""
    _same_twice(form)
    database, passwords, who = node_of(request).database, policy_of(request).passwords, user_of(request).name
    return done(
        request, "/users", accounts.set_password(database, passwords, text(form, "name"), text(form, "new"), who)
    )


@needs(Role.ADMIN)
def role(request: Request, form: Form) -> Response:
    """Let somebody do more or less."""
    wanted = accounts.role_of(text(form, "role"))
    sentence = accounts.set_role(node_of(request).database, text(form, "name"), wanted, user_of(request).name)
    return done(request, "/users", sentence)


@needs(Role.ADMIN)
def switch(request: Request, form: Form) -> Response:
    """Shut somebody out, or let them in again."""
    disabled = text(form, "disabled") == "yes"
    database, who = node_of(request).database, user_of(request).name
    return done(request, "/users", accounts.set_disabled(database, text(form, "name"), who, disabled=disabled))


def _same_twice(form: Form) -> None:
    if text(form, "new") != text(form, "again"):
        raise Refused("passwords-differ", "the two passwords are not the same")


NAVIGATION = Navigation(95, "/users", "Users", Role.ADMIN)
ROUTES = [
    Route("/account", mine),
    Route("/account/password", new_password, methods=["POST"]),
    Route("/users", users),
    Route("/users/add", add, methods=["POST"]),
    Route("/users/password", password, methods=["POST"]),
    Route("/users/role", role, methods=["POST"]),
    Route("/users/switch", switch, methods=["POST"]),
]
