"""The processes of a node: all of it supervised, or its parts alone."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable

from config.settings import Settings

from .. import logs, machine, place
from ..app import Node, open_node
from ..audit.codes import What
from ..remembered import remember
from .options import same_options, settings_of, who

EXIT_FAILED = 1


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    pages = ["web"] if settings.web.enabled and not options.no_web else []
    for port in _ports(settings):
        try:
            # the supervisor will; whoever cannot hears of it before everything else has started
            _try_to_listen(settings.listen, port)
        except OSError as error:
            return _cannot_listen(settings, error, port)
    if pages:
        try:
            _try_to_listen(settings.web.listen, settings.web.port)
        except OSError as error:
            return _no_pages(f"{error.strerror} ({settings.web.listen}:{settings.web.port})")
    return _supervise(options, settings, [*_receivers(settings), *_workers(settings), "schedule", *pages])


def work(options: argparse.Namespace) -> int:
    from .. import roles
    from ..child import Child

    settings = settings_of(options)
    if options.hosts is None:
        return _supervise(options, settings, _workers(settings))
    _log(settings, options.role or "work")
    roles.work(settings, Child(options.parent, options.role or "work"), options.hosts)
    return 0


def receive(options: argparse.Namespace) -> int:
    from .. import roles
    from ..child import Child

    settings = settings_of(options)
    role = options.role or "receive"
    _log(settings, role)
    child = Child(options.parent, role)
    if options.parent is None:
        _prepare(options, settings, [role])
    try:
        roles.receive(settings, child, options.listener, options.tls_listener)
    except OSError as error:
        return _cannot_listen(settings, error, *_ports(settings))
    return 0


def _ports(settings: Settings) -> list[int]:
    """Where callers are listened to."""
    return list(_listening(settings).values())


def _listening(settings: Settings) -> dict[str, int]:
    """Where callers are listened to, by the option of `planimeter receive` that takes a socket for it."""
    plain = {"--listener": settings.receive.port} if settings.tls.plain else {}
    return plain | ({"--tls-listener": settings.tls.port} if settings.tls.is_on else {})


def _try_to_listen(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the receiver's, after one that has just ended
        tried.bind((address, port))


def _cannot_listen(settings: Settings, error: OSError, *ports: int) -> int:
    where = " or ".join(map(str, ports))
    sys.stderr.write(
        f"planimeter: cannot listen on {settings.listen}:{where}: {error.strerror}; "
        "is another node running, or another port needed?\n"
    )
    return EXIT_FAILED


def schedule(options: argparse.Namespace) -> int:
    from .. import roles
    from ..child import Child

    settings = settings_of(options)
    _log(settings, "schedule")
    if options.parent is None:
        _prepare(options, settings, ["schedule"])
    roles.schedule(settings, Child(options.parent, "schedule"))
    return 0


def web(options: argparse.Namespace) -> int:
    from .. import roles
    from ..child import Child

    settings = settings_of(options)
    _log(settings, "web")
    if options.parent is None:
        _prepare(options, settings, ["web"]).close()
    try:
        roles.pages(settings, Child(options.parent, "web"))
    except OSError as error:
        return _no_pages(error.strerror or str(error))
    return 0


def _no_pages(why: str) -> int:
    sys.stderr.write(
        f"planimeter: the pages cannot be served: {why}; `port`, `certificate` and `key` in [web] say where and how, "
        "and `enabled = false` does without them\n"
    )
    return EXIT_FAILED


def _receivers(settings: Settings) -> list[str]:
    count = settings.receive.receivers
    return [f"receive-{number + 1}" for number in range(count)] if count > 1 else ["receive"]


def _workers(settings: Settings) -> list[str]:
    return [f"work-{number + 1}" for number in range(settings.work.workers)]


def _log(settings: Settings, process: str) -> None:
    logs.configure(process, settings.log.format, settings.log.level)


def _prepare(options: argparse.Namespace, settings: Settings, roles: list[str]) -> Node:
    node = open_node(settings, started_by=who())
    here = machine.name()
    place.take(settings.home, here, roles)
    place.require_alone(node.database, here)
    remember(settings.home, options.config, options.database)
    node.trail.note(What.STARTED, who=who())
    return node


def _supervise(options: argparse.Namespace, settings: Settings, names: list[str]) -> int:
    from .. import roles
    from ..inbound.listener import bound
    from ..operations import announce

    _log(settings, "planimeter")
    node = _prepare(options, settings, [name.split("-")[0] for name in names])
    same = same_options(options)
    commands = {name: [name.split("-")[0], *same] for name in names}
    live = node.configuration.live().settings
    senders = [peer.name for peer in live.senders]
    receives = any(name.startswith("receive") for name in names)
    listeners: dict[str, socket.socket] = {}
    try:
        for option, port in _listening(settings).items() if receives else ():
            listeners[option] = bound(live.listen, port)
    except OSError as error:
        return _cannot_listen(settings, error, *_ports(settings))
    roles.supervise(
        settings,
        node,
        commands,
        lambda facts: announce.ready(node.ae_title, facts, senders, sorted(node.targets)),
        listeners,
    )
    for listener in listeners.values():
        listener.close()
    node.trail.note(What.STOPPED, who=who())
    node.close()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "receive": receive,
    "work": work,
    "schedule": schedule,
    "web": web,
}
