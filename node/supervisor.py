"""Start the processes of a node, keep them alive, and end them together.

A worker that dies has its jobs put back into the queue at once; the lease is for workers whose supervisor cannot
say so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db import lost_jobs
from db.database import DatabaseUnreachable
from models.card import CardError
from models.confine.room import Room

from . import warm
from .admission import Limits
from .app import Node
from .child import stop_on_signals
from .errors import NodeError
from .hosts import Hosts

logger = logging.getLogger(__name__)

START_SECONDS = 120.0
STOP_SECONDS = 25.0
FIRST_PAUSE_SECONDS = 0.5
#: with a start on top of it there is somebody again within the fifteen seconds that a dead worker's job may wait
LONGEST_PAUSE_SECONDS = 8.0
#: a process that lived so long is started again without a pause
HEALTHY_SECONDS = 60.0


class NotStarted(Exception):
    """A process ended before it was ready; it has said why on standard error."""

    def __init__(self, role: str, status: int) -> None:
        super().__init__(f"{role} did not start (exit status {status})")
        self.status = status


@dataclass
class _Process:
    role: str
    command: list[str]
    popen: subprocess.Popen[bytes]
    line: socket.socket
    started: float
    facts: dict[str, Any] = field(default_factory=dict)
    pause: float = FIRST_PAUSE_SECONDS
    again_at: float | None = None
    """it has died, and is started again then"""
    hearing: threading.Thread | None = None
    """waits for what it says of itself"""
    is_late: bool = False
    """it was not ready in time, and is ended"""


def _exit_status(process: _Process, deadline: float) -> int:
    """Of one that says nothing more; -1 where it lives on."""
    try:
        return process.popen.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return -1


@dataclass
class Supervisor:
    """The parent of a node's processes.

    Attributes:
        node: for putting back the jobs of dead workers.
        roles: name -> arguments of `planimeter` that play it; the names are for the log.
        device: where model hosts run.
        limits: what they may take together.
        at_start: whether they load the networks of the routes before a study comes for them.
        listeners: that all receivers accept from, by the option that takes each. They stay open here, so that callers
            wait for a moment, and are not refused, while one that died is started again.
    """

    node: Node
    roles: dict[str, list[str]]
    device: str
    limits: Limits
    at_start: bool = True
    listeners: Mapping[str, socket.socket] = field(default_factory=dict)
    start_seconds: float = START_SECONDS
    stopping: threading.Event = field(default_factory=threading.Event)
    _processes: dict[str, _Process] = field(default_factory=dict)

    def run(self, on_ready: Callable[[dict[str, dict[str, Any]]], None]) -> None:
        """Start everything, call `on_ready` with what each process said of itself, and stay until `stopping` is set.

        Raises:
            NotStarted: a process cannot be started; the others have been ended.
        """
        stop_on_signals(self.stopping)
        folder = Path(tempfile.mkdtemp(prefix="planimeter-"))
        room = Room(reserve_bytes=self.node.alarms.reserve_bytes)
        hosts = Hosts(folder, self.device, self.limits, warm.folder(self.node.archive.home), self.node.confine, room)
        try:
            address = hosts.serve()
            for role, arguments in self.roles.items():
                command = [sys.executable, "-P", "-m", "node.cli", *arguments, "--hosts", str(address)]
                command += ["--role", role]
                self._processes[role] = self._start(role, command)
            for process in self._processes.values():
                process.facts = self._await_ready(process)
            if self.at_start:
                threading.Thread(target=self._warm_up, args=(hosts,), name="warm-up", daemon=True).start()
            on_ready({role: process.facts for role, process in self._processes.items()})
            while not self.stopping.wait(0.2):
                self._look_after()
        finally:
            self._end_all()
            hosts.stop()
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, role: str, command: list[str]) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as unstarted:
            unstarted.push(ours)
            passed, given = [theirs.fileno()], ["--parent", str(theirs.fileno())]
            for option, listener in self.listeners.items() if role.startswith("receive") else ():
                passed.append(listener.fileno())
                given += [option, str(listener.fileno())]
            popen = subprocess.Popen(
                [*command, *given], stdin=subprocess.DEVNULL, pass_fds=passed, start_new_session=True
            )
            unstarted.pop_all()
        return _Process(role, command, popen, ours, time.monotonic())

    def _await_ready(self, process: _Process) -> dict[str, Any]:
        """What a process says of itself when it is ready."""
        deadline = time.monotonic() + self.start_seconds
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.line, selectors.EVENT_READ)
            while not received.endswith(b"\n") and not self.stopping.is_set():
                if selector.select(0.1):
                    part = process.line.recv(4096)
                    if not part:
                        raise NotStarted(process.role, _exit_status(process, deadline))
                    received += part
                elif time.monotonic() > deadline:
                    raise NotStarted(process.role, -1)
        facts = json.loads(received or b"{}")
        return dict(facts)

    def _look_after(self) -> None:
        """Start again what died; while one waits for that, or does not get ready, the others are looked after."""
        for role, process in list(self._processes.items()):
            if process.again_at is not None:
                if time.monotonic() >= process.again_at:
                    self._start_again(role, process)
            elif (status := process.popen.poll()) is not None:
                if process.hearing is not None:
                    process.hearing.join()  # its line has ended
                process.line.close()
                logger.error("%s ended with exit status %s; it is started again", role, status)
                self._put_back_meanwhile(process)
                ended = time.monotonic()
                if ended - process.started > HEALTHY_SECONDS and not process.is_late:
                    process.pause = FIRST_PAUSE_SECONDS
                process.again_at = ended + process.pause

    def _start_again(self, role: str, process: _Process) -> None:
        pause = min(process.pause * 2, LONGEST_PAUSE_SECONDS)
        try:
            again = self._start(role, process.command)
        except OSError as error:  # no process, memory or descriptor is left; there may be one soon
            logger.error("%s is not started again yet: %s", role, error)  # noqa: TRY400
            process.pause, process.again_at = pause, time.monotonic() + pause
            return
        self._processes[role] = again
        again.pause = pause
        hearing = threading.Thread(target=self._hear, args=(again,), name=f"{role} starts", daemon=True)
        try:
            hearing.start()
        except RuntimeError as error:
            logger.warning("nobody hears what %s says of itself: %s", role, error)
        else:
            again.hearing = hearing

    def _hear(self, process: _Process) -> None:
        try:
            process.facts = self._await_ready(process)
        except NotStarted as error:
            if process.popen.poll() is None:
                logger.error("%s is not ready after %.0f s and is killed", process.role, self.start_seconds)  # noqa: TRY400
                process.is_late = True
                process.popen.kill()  # and so it is started again, as all that died
                return
            logger.error("%s", error)  # noqa: TRY400 - the process has printed its own traceback

    def _put_back_meanwhile(self, process: _Process) -> None:
        """A database that does not answer keeps the other processes waiting for nothing."""
        role = process.role
        try:
            threading.Thread(target=self._put_back, args=(process,), name=f"jobs of {role}", daemon=True).start()
        except RuntimeError as error:
            logger.warning("the jobs of %s are put back before anything else is done: %s", role, error)
            self._put_back(process)

    def _put_back(self, process: _Process) -> None:
        worker = process.facts.get("worker")
        if worker is None:
            return
        try:
            with self.node.database.write() as tx:
                count = lost_jobs.rescue(tx, worker=worker)
        except DatabaseUnreachable as error:
            logger.warning("the jobs of %s wait for their leases to run out: %s", worker, error)
            return
        if count:
            logger.warning("%d jobs of %s wait again", count, worker)

    def _warm_up(self, hosts: Hosts) -> None:
        """Load the networks that the routes name, before the first study needs them; no more than may stay loaded."""
        off = self.node.networks.switched_off()
        named = sorted({name for route in self.node.routes for name in route.networks} - off)
        for name in named[: self.limits.warm or None]:
            if self.stopping.is_set():
                return
            try:
                _, bundle = self.node.networks.live(name)
                hosts.address(str(bundle.folder), bundle.card_sha256)
            except (NodeError, CardError, DatabaseUnreachable) as error:
                if self.stopping.is_set():
                    return
                logger.error("%s is not ready: %s", name, error)  # noqa: TRY400
            else:
                logger.info("%s %s is warm", name, bundle.card.version)

    def _end_all(self) -> None:
        for process in self._processes.values():
            if process.popen.poll() is None:
                process.popen.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            try:
                process.popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.error("%s did not end within %.0f s and is killed", process.role, STOP_SECONDS)  # noqa: TRY400
                process.popen.kill()
                process.popen.wait()
                self._put_back(process)
            if process.hearing is not None:
                process.hearing.join()  # its line has ended
            process.line.close()
