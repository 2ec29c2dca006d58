"""The processes of a node: each function plays one role until it is told to stop.

What only one of them needs is brought in by its own function: it takes a second of a processor and the memory of a
process, in each of them.
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.settings import Settings
from models.loading import loading

from . import machine
from .admission import Limits
from .app import Node, open_node
from .audit.codes import What
from .beating import Beating
from .child import Child
from .configured import accepting_of
from .operations import confinement

logger = logging.getLogger(__name__)

WORKER_GRACE_SECONDS = 15.0


def receive(settings: Settings, child: Child, listener: int | None = None, tls_listener: int | None = None) -> None:
    """The C-STORE SCP, or one of several at the same ports.

    Args:
        listener, tls_listener: descriptors of sockets that the supervisor listens with, for all of them; None: its own.
    """
    with loading():
        from .inbound.door import Door
        from .receiver import Receiver
        from .tls.accepting import Acceptor

    node = open_node(settings)
    live = node.configuration.live()
    door = Door(
        ae_title=settings.node.ae_title,
        address=live.settings.listen,
        port=settings.receive.port if settings.tls.plain else None,
        associations=_share(settings, child.role) if listener or tls_listener else settings.receive.associations,
        idle_seconds=settings.receive.idle_seconds,
        max_pdu_bytes=settings.receive.max_pdu_bytes,
        reserve_bytes=live.settings.receive.reserve_bytes,
        refuse_bytes=live.settings.receive.refuse_bytes,
        connections_per_address=settings.receive.connections_per_address,
        waiting_connections=settings.receive.waiting_connections,
        largest_bytes=settings.receive.largest_bytes,
        loop=settings.receive.loop,
        tls_port=settings.tls.port,
    )
    how = accepting_of(settings)
    receiver = Receiver(
        door,
        live.doorkeeper,
        node.inbox,
        node.database,
        tls=Acceptor(how) if how else None,
        listener=_socket(listener),
        tls_listener=_socket(tls_listener),
        shared=settings.receive.receivers > 1,
        trail=node.trail,
        role=child.role,
    )
    receiver.renewed = lambda: node.configuration.live().doorkeeper
    receiver.marks = lambda: marks(node)
    port = receiver.start()
    for number, how_called in ((port if door.port is not None else None, ""), (receiver.tls_port, " over TLS")):
        if number is not None:
            logger.info("%s listens on %s:%s%s", door.ae_title, door.address, number, how_called)
    gc.collect()
    gc.freeze()  # what is here stays here: it is not looked through again for each few images
    child.ready(address=door.address, port=port, tls_port=receiver.tls_port)
    node.trail.note(What.ATTACHED)
    with Beating(node.database, child.role, outdated=child.stopping.set):
        child.stopping.wait()
        receiver.stop()
        node.trail.note(What.DETACHED)
    node.close()


def _socket(descriptor: int | None) -> socket.socket | None:
    return socket.socket(fileno=descriptor) if descriptor is not None else None


def _share(settings: Settings, role: str) -> int:
    """Of the associations, those of one receiver; all shares together are what the configuration says."""
    _, _, number = role.partition("-")
    each, rest = divmod(settings.receive.associations, settings.receive.receivers)
    return each + (int(number or 1) <= rest)


def marks(node: Node) -> tuple[int, int]:
    """Below so much free space callers are turned away, and objects."""
    section = node.configuration.live().settings.receive
    return section.refuse_bytes, section.reserve_bytes


def work(settings: Settings, child: Child, hosts: Path) -> None:
    """One worker; its model hosts belong to the supervisor that `hosts` leads to."""
    with loading():
        from .worker import Worker

    node = open_node(settings, hosts)
    name = f"{machine.name()}:{os.getpid()}:{secrets.token_hex(4)}"
    worker = Worker(node, name, child.stopping, process=machine.process(child.role))
    child.ready(worker=name)
    with Beating(node.database, child.role, outdated=child.stopping.set):
        worker.run(WORKER_GRACE_SECONDS)
    node.decoders.close()


def schedule(settings: Settings, child: Child) -> None:
    """The scheduler."""
    with loading():
        from . import schedule as scheduling

    node = open_node(settings)
    child.ready()
    with Beating(node.database, child.role, outdated=child.stopping.set):
        scheduling.run(node, child.stopping, machine.process(child.role))
    node.close()


def pages(settings: Settings, child: Child) -> None:
    """The pages.

    Raises:
        OSError: it cannot listen there, or the files of the certificate cannot be used.
    """
    with loading():
        from .operations import announce, sign_in
        from .web.server import Server
        from .web.site import site

    node, policy = open_node(settings), _web_policy(settings)
    server = Server(site(node, policy), policy)
    token = sign_in.first_token(node.database, settings.home)
    server.start()
    logger.info("the pages are at %s", server.url)
    if token is not None and not child.has_parent:
        announce.first_sign_in(server.url, token, settings.home / sign_in.FIRST_FILE)
    child.ready(url=server.url, first_token=token, first_file=str(settings.home / sign_in.FIRST_FILE))
    with Beating(node.database, child.role, outdated=child.stopping.set):
        child.stopping.wait()
        server.stop()
    node.close()


def _web_policy(settings: Settings) -> Any:
    from .web.policy import WebPolicy

    web = settings.web
    return WebPolicy(
        address=web.listen,
        port=web.port,
        hosts=frozenset(name.lower() for name in web.hosts),
        certificate=web.certificate,
        key=web.key,
        proxies=tuple(ipaddress.ip_network(one) for one in web.proxies) if web.behind_proxy else None,
        session_hours=web.session_hours,
        idle_minutes=web.idle_minutes,
        viewer_link=web.viewer_link,
    )


def supervise(
    settings: Settings, node: Node, roles: dict[str, list[str]], say: Any, listeners: Mapping[str, socket.socket]
) -> None:
    """All roles of `roles`, each in a process of its own, until SIGTERM.

    Args:
        roles: name -> arguments of `planimeter`.
        say: called once with what each process said of itself when it was ready.
        listeners: that the receivers accept from.

    Raises:
        Refused: `not-confined`.
        NotStarted: one of them could not be started.
    """
    with loading():
        from .supervisor import Supervisor

    confinement.require(node.confine)
    if said := confinement.sentence(node.confine):
        logger.warning("%s", said)
    limits = Limits(int(settings.hosts.memory_gb * 1e9), settings.hosts.warm)
    Supervisor(node, roles, settings.work.device, limits, settings.hosts.at_start, listeners).run(say)
