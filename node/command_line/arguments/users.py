"""The commands of `planimeter users`, as the command line spells them."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from ..subcommands import Commands, command

#: as db.accounts.Role has them, whose module is not loaded for --help; a test compares
ROLES = ("viewer", "operator", "approver", "admin")


def add(users: Commands, node: ArgumentParser) -> None:
    """Add them.

    Args:
        users: the group.
        node: the options that say which node is meant.
    """
    listed = command(users, node, "list", "who may sign in, and as what")
    listed.add_argument("--json", action="store_true", help="the same for programs")
    added = command(users, node, "add", "let somebody sign in; the password is asked for, or comes on standard input")
    secret = command(users, node, "password", "give somebody another password; whoever is signed in so is signed out")
    role = command(users, node, "role", "let somebody do more or less: viewer < operator < approver < admin")
    for each in (added, secret, role):
        each.add_argument("name", metavar="NAME")
    added.add_argument("--role", choices=ROLES, default="viewer", help="default: viewer")
    for each in (added, secret):
        each.add_argument("--password-file", type=Path, metavar="FILE", help="whose first line is the password")
    role.add_argument("role", choices=ROLES)
    for name, text in (("disable", "shut somebody out, at once"), ("enable", "let somebody in again")):
        command(users, node, name, text).add_argument("name", metavar="NAME")
