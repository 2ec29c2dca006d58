"""The commands that are about peers: what one can do for us, and what we say of ourselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from config.settings import Settings, SettingsError
from db import schema
from db.database import open_database

from ..app import database_url
from ..audit.trail import SILENT, Trail
from ..configured import calling_of, targets_of
from ..outbound.target import Target
from ..tls.calling import Calling
from ..tls.files import Pair, Trust
from .options import peer_of, settings_of


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status."""
    return doctor(options) if options.command == "doctor" else conformance()


def doctor(options: argparse.Namespace) -> int:
    from ..operations.doctor.visit import visit

    if not options.timeout > 0:
        raise SettingsError("--timeout is a number of seconds above 0")
    settings = settings_of(options)
    target = _target(settings, options.peer)
    tls = _tls(options, settings, target)
    with _trail(settings) as trail:
        return visit(target, settings.node.ae_title, options.timeout, tls, trail, as_json=options.json)


@contextmanager
def _trail(settings: Settings) -> Iterator[Trail]:
    """That of the node, where it keeps one; a peer is examined also where there is no node here, or none yet."""
    url = database_url(settings)
    if not settings.audit.host or (not settings.database.url and not (settings.home / "planimeter.db").is_file()):
        yield SILENT
        return
    database = open_database(url)
    try:
        schema.require(database)
        yield Trail(database)
    finally:
        database.dispose()


def _tls(options: argparse.Namespace, settings: Settings, target: Target) -> Calling | None:
    """How a peer is called over TLS: as it is configured, but for what the command line says; None: in the clear."""
    how = target.tls
    if how is None and (options.tls or options.ca_file or options.certificate or options.key):
        how = calling_of(settings)
    if how is None:
        return None
    if bool(options.certificate) != bool(options.key):
        raise SettingsError("--certificate and --key belong together")
    if options.ca_file:
        how = replace(how, trust=Trust(options.ca_file))
    if options.certificate:
        how = replace(how, pair=Pair(options.certificate, options.key))
    return how


def _target(settings: Settings, named: str) -> Target:
    """A peer by its name as a running node knows it; or anybody, as AET@HOST:PORT.

    Raises:
        SettingsError: it is neither.
    """
    from .in_use import in_use

    if "@" in named:
        return peer_of(settings, named)
    live = in_use(settings)
    if live.said:
        sys.stderr.write(f"planimeter: {live.said}\n")
    try:
        target = peer_of(live.settings, named)
    except SettingsError as error:
        if any(peer.name == named for peer in settings.peer) and live.version is not None:
            raise SettingsError(f"{named} is in {settings.said.where} alone, not in what is live: {error}") from None
        raise
    if live.said and target != targets_of(settings).get(named):
        sys.stderr.write(f"planimeter: {named} is examined as it is live; {settings.said.where} has it otherwise\n")
    return target


def conformance() -> int:
    from config.defaults import defaults

    from ..operations.conformance.statement import statement

    sys.stdout.write(statement(defaults()))
    return 0
