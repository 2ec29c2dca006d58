"""The commands that are about peers: what one can do for us, and what we say of ourselves."""

from __future__ import annotations

import argparse
import sys

from config.settings import SettingsError

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
    target = peer_of(settings, options.peer)
    files = (options.ca_file, options.certificate, options.key)
    tls = Wish(*files) if options.tls or any(files) else None
    return visit(target, settings.node.ae_title, options.timeout, tls, as_json=options.json)


def conformance() -> int:
    from config.defaults import defaults

    from ..operations.conformance.statement import statement

    sys.stdout.write(statement(defaults()))
    return 0
