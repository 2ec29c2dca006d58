"""What `planimeter users` does: settings, a node, one call."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable

from db.accounts import Role

from ..errors import Refused
from ..operations import accounts
from ..operations.passwords import Passwords
from ..operations.terminal import output, print_table
from .answers import node_of, say, show
from .options import who

STYLES = {"disabled": "dim"}


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status."""
    return COMMANDS[options.action](options)


def listing(options: argparse.Namespace) -> int:
    listed = [
        {
            "name": one.name,
            "role": one.role.value,
            "state": "disabled" if one.disabled else "enabled",
            "created": one.created.isoformat(timespec="seconds"),
        }
        for one in accounts.listing(node_of(options).database)
    ]
    keys = ("name", "role", "state", "created")
    return show(options, listed, lambda: print_table(output(), "users", keys, listed, STYLES))


def add(options: argparse.Namespace) -> int:
    database, role = node_of(options).database, Role(options.role)
    return say(accounts.add(database, Passwords(), options.name, _password(options), role, who()))


def password(options: argparse.Namespace) -> int:
    database = node_of(options).database
    return say(accounts.set_password(database, Passwords(), options.name, _password(options), who()))


def role(options: argparse.Namespace) -> int:
    return say(accounts.set_role(node_of(options).database, options.name, Role(options.role), who()))


def switch(options: argparse.Namespace) -> int:
    disabled = options.action == "disable"
    return say(accounts.set_disabled(node_of(options).database, options.name, who(), disabled=disabled))


def _password(options: argparse.Namespace) -> str:
    """Never an argument of the command: everybody on the machine can read those."""
    if options.password_file is not None:
        lines = options.password_file.read_text(encoding="utf-8").splitlines()
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise Refused("passwords-differ", "the two passwords are not the same")
    return first


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": listing,
    "add": add,
    "password": password,
    "role": role,
    "disable": switch,
    "enable": switch,
}
