"""The processes of a node: each function plays one role until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
from pathlib import Path
from typing import Any

from config.settings import Settings

from . import machine
from . import schedule as scheduling
from .admission import Limits
from .app import Node, open_node
from .beating import Beating, name_of
from .child import Child
from .receiver import Door, Receiver
from .supervisor import Supervisor
from .worker import Worker

logger = logging.getLogger(__name__)

WORKER_GRACE_SECONDS = 15.0


def receive(settings: Settings, child: Child) -> None:
    """The C-STORE SCP."""
    node = open_node(settings)
    live = node.configuration.live()
    door = Door(
        ae_title=settings.node.ae_title,
        address=live.settings.listen,
        port=settings.receive.port,
        associations=settings.receive.associations,
        idle_seconds=settings.receive.idle_seconds,
        max_pdu_bytes=settings.receive.max_pdu_bytes,
        reserve_bytes=settings.receive.reserve_bytes,
        refuse_bytes=settings.receive.refuse_bytes,
    )
    receiver = Receiver(door, live.doorkeeper, node.inbox, node.database)
    receiver.renewed = lambda: node.configuration.live().doorkeeper
    port = receiver.start()
    logger.info("%s listens on %s:%s", door.ae_title, door.address, port)
    child.ready(address=door.address, port=port)
    with Beating(node.database, child.role, outdated=child.stopping.set):
        child.stopping.wait()
        receiver.stop()
    node.close()


def work(settings: Settings, child: Child, hosts: Path) -> None:
    """One worker; its model hosts belong to the supervisor that `hosts` leads to."""
    node = open_node(settings, hosts)
    name = f"{machine.name()}:{os.getpid()}:{secrets.token_hex(4)}"
    worker = Worker(node, name, child.stopping, process=name_of(child.role))
    child.ready(worker=name)
    with Beating(node.database, child.role, outdated=child.stopping.set):
        worker.run(WORKER_GRACE_SECONDS)
    node.decoders.close()


def schedule(settings: Settings, child: Child) -> None:
    """The scheduler."""
    node = open_node(settings)
    child.ready()
    with Beating(node.database, child.role, outdated=child.stopping.set):
        scheduling.run(node, child.stopping, name_of(child.role))
    node.close()


def pages(settings: Settings, child: Child) -> None:
    """The pages.

    Raises:
        OSError: it cannot listen there, or the files of the certificate cannot be used.
    """
    # what only this process needs is brought in here
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


def supervise(settings: Settings, node: Node, roles: dict[str, list[str]], say: Any) -> None:
    """All roles of `roles`, each in a process of its own, until SIGTERM.

    Args:
        roles: name -> arguments of `planimeter`.
        say: called once with what each process said of itself when it was ready.

    Raises:
        NotStarted: one of them could not be started.
    """
    limits = Limits(int(settings.hosts.memory_gb * 1e9), settings.hosts.warm)
    Supervisor(node, roles, settings.work.device, limits, settings.hosts.at_start).run(say)
