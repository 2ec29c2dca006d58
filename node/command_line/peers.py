"""The commands that are about peers: what one can do for us, and what we say of ourselves."""

from __future__ import annotations

import argparse
import sys

from config.settings import Settings, SettingsError

from ..configured import targets_of
from ..outbound.target import Target
from .options import peer_of, settings_of


def call(options: argparse.Namespace) -> int:
    """Run the command that was asked for; its exit status."""
    return doctor(options) if options.command == "doctor" else conformance()


def doctor(options: argparse.Namespace) -> int:
    from ..operations.doctor.line import Wish
    from ..operations.doctor.visit import visit

    if not options.timeout > 0:
        raise SettingsError("--timeout is a number of seconds above 0")
    settings = settings_of(options)
    target = _target(settings, options.peer)
    files = (options.ca_file, options.certificate, options.key)
    tls = Wish(*files) if options.tls or any(files) else None
    return visit(target, settings.node.ae_title, options.timeout, tls, as_json=options.json)


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
