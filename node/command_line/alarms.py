"""The commands of whoever watches a node: alarms, metrics, health."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from config.settings import Settings

from .. import __version__, machine
from ..app import database_url
from .answers import node_of, say, show
from .options import settings_of, who

HEALTH_SECONDS = 15.0


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status."""
    return COMMANDS[options.command, getattr(options, "action", "")](options)


def list_alarms(options: argparse.Namespace) -> int:
    from ..operations import alarm_terminal
    from ..operations.alarms import incidents

    found = incidents.listing(node_of(options).database)
    everything = {"alarms": [asdict(one) for one in found]}
    return show(options, everything, partial(alarm_terminal.print_incidents, found))


def acknowledge(options: argparse.Namespace) -> int:
    from ..operations.alarms import incidents

    return say(incidents.acknowledge(node_of(options).database, options.id, who(), options.reason))


def try_recipients(options: argparse.Namespace) -> int:
    from ..operations import alarm_terminal
    from ..operations.alarms import post

    node = node_of(options)
    return alarm_terminal.print_answers(post.try_all(node.alarms, node.serial))


def print_metrics(options: argparse.Namespace) -> int:
    from models.gpus import gpus

    from ..operations import machines, metrics

    node = node_of(options)
    warm = machines.warm_networks(node.database, node.archive.home)
    seen = metrics.snapshot(node.database, node.archive.home, __version__, warm, gpus(), node.confine)
    sys.stdout.write(metrics.exposition(seen).decode())
    return 0


def health(options: argparse.Namespace) -> int:
    """Ask the pages where they are served, as whoever watches from outside does; else look at it from here."""
    settings = settings_of(options)
    here = options.here
    reasons = _asked(settings) if not here and settings.web.enabled and settings.web.port else _looked(settings, here)
    sys.stdout.write("ready\n" if not reasons else "".join(f"{reason}\n" for reason in reasons))
    return 1 if reasons else 0


def _asked(settings: Settings) -> list[str]:
    import ssl

    web = settings.web
    address = f"[{web.listen}]" if ":" in web.listen else web.listen
    address = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(address, address)  # noqa: S104 - to ask, not to listen
    url = f"{'https' if web.tls else 'http'}://{address}:{web.port}/health/ready"
    trust = ssl.create_default_context()
    # it asks this very machine, which its certificate need not name; nothing secret is sent or taken
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_SECONDS, context=trust) as answer:  # noqa: S310 - http, https
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            try:
                return [f"{one['code']}: {one['sentence']}" for one in json.load(error)["reasons"]]
            except (ValueError, LookupError, TypeError):
                return [f"the pages answer {error.code}"]
    except OSError:
        return ["no-pages: the pages do not answer"]
    return []


def _looked(settings: Settings, here: Sequence[str] | None) -> list[str]:
    from db.database import DatabaseError, open_database

    from ..operations import health as looking

    try:
        database = open_database(database_url(settings))
    except DatabaseError:
        return ["database-away: the database does not answer"]
    of = dict[str, Any](roles=here, machine=machine.name()) if here else {}
    found = looking.reasons(database, settings.home, int(settings.receive.reserve_gb * 1e9), **of)
    database.dispose()
    return [f"{one.code}: {one.sentence}" for one in found]


COMMANDS: dict[tuple[str, str], Callable[[argparse.Namespace], int]] = {
    ("alarms", "list"): list_alarms,
    ("alarms", "acknowledge"): acknowledge,
    ("alarms", "test"): try_recipients,
    ("metrics", ""): print_metrics,
    ("health", ""): health,
}
