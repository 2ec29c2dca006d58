"""The processes of a node: each function plays one role until it is told to stop."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from config.settings import Settings

from . import schedule as scheduling
from .admission import Limits
from .app import Node, open_node
from .child import Child
from .configured import doorkeeper
from .receiver import Door, Receiver
from .supervisor import Supervisor
from .worker import Worker

logger = logging.getLogger(__name__)

WORKER_GRACE_SECONDS = 15.0


def receive(settings: Settings, child: Child) -> None:
    """The C-STORE SCP."""
    node = open_node(settings)
    door = Door(
        ae_title=settings.node.ae_title,
        address=settings.listen,
        port=settings.receive.port,
        associations=settings.receive.associations,
        idle_seconds=settings.receive.idle_seconds,
        max_pdu_bytes=settings.receive.max_pdu_bytes,
        reserve_bytes=settings.receive.reserve_bytes,
        refuse_bytes=settings.receive.refuse_bytes,
    )
    receiver = Receiver(door, doorkeeper(settings), node.inbox, node.database)
    port = receiver.start()
    logger.info("%s listens on %s:%s", door.ae_title, door.address, port)
    child.ready(address=door.address, port=port)
    child.stopping.wait()
    receiver.stop()
    node.close()


def work(settings: Settings, child: Child, hosts: Path) -> None:
    """One worker; its model hosts belong to the supervisor that `hosts` leads to."""
    node = open_node(settings, hosts)
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    worker = Worker(node, name, child.stopping)
    child.ready(worker=name)
    worker.run(WORKER_GRACE_SECONDS)
    node.decoders.close()


def schedule(settings: Settings, child: Child) -> None:
    """The scheduler."""
    node = open_node(settings)
    child.ready()
    scheduling.run(node, child.stopping)
    node.close()


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
