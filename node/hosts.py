"""Model hosts on this machine: started when a network is first needed, kept warm, started again when they die.

They belong to the supervisor; its workers ask for a host's address over a Unix socket, so that all of them share one
process per network. What the device holds is given to the networks that were used last (`admission`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import card
from models.card import Bundle
from models.confine.rights import Demand
from models.confine.room import Room
from models.wire import Disconnected, Receiver, send

from . import admission, warm
from .admission import Limits, Tenant
from .errors import Failed, NodeError, Unavailable
from .host_process import OUT_OF_MEMORY, TOO_MUCH, HostProcess, Order
from .nursery import START_SECONDS, Nursery

__all__ = ["OUT_OF_MEMORY", "TOO_MUCH", "Hosts", "ask"]

logger = logging.getLogger(__name__)

#: when a job that waits for memory comes again
WAIT_SECONDS = 3.0
#: a network that waited for so long has one at work leave after its present study
PATIENCE_SECONDS = 60.0
#: so old may be what `planimeter status` shows
TELL_SECONDS = 5.0
#: what was learnt of a network's memory, in a folder that only its host may write into
KNOWN = "memory.json"
#: after a worker could not be answered
AGAIN_SECONDS = 1.0
#: a host that has answered is busy with its own affairs for no longer
TIDYING_SECONDS = 1.0


@dataclass
class Hosts:
    """The supervisor's side.

    Attributes:
        folder: private to this user, short (a socket's path may have 107 characters), removed by the supervisor.
        device: "auto", "cpu", "cuda", ...
        limits: what they may take together.
        home: folder where it is kept what was learnt of their memory, and who is warm; None: nowhere.
        confine: what is wanted of the kernel, so that a bundle can do no harm.
        room: what each may hold on the disk.
        nursery: that forks them, where somebody else has one; it does not end with these hosts.
    """

    folder: Path
    device: str
    limits: Limits = field(default_factory=Limits)
    home: Path | None = None
    confine: Demand = Demand.BEST
    room: Room = field(default_factory=Room)
    nursery: Nursery | None = None
    _own: Nursery = field(default_factory=Nursery)
    _hosts: dict[str, HostProcess] = field(default_factory=dict)
    _starting: dict[str, threading.Lock] = field(default_factory=dict)
    _turned_away: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _telling: threading.Lock = field(default_factory=threading.Lock)
    _news: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def address(self, folder: str, card_sha256: str) -> Path:
        """Where the host of a bundle listens; it is started when it does not run.

        Raises:
            Failed: `network-unusable`, `out-of-memory`, `host-not-started`, `too-much-written`.
            Unavailable: `device-full`: networks that are at work leave no room for it.
        """
        with self._lock:
            starting = self._starting.setdefault(card_sha256, threading.Lock())
        with starting:
            host = self._hosts.get(card_sha256)
            if host is None or not host.listens() or self._has_leaked(host):
                host = self._started(Path(folder), card_sha256)
            host.last_used = time.time()
            self._turned_away.pop(card_sha256, None)
        self._news.set()
        return host.order.address

    def _has_leaked(self, host: HostProcess) -> bool:
        """Whether a host holds too much while it is idle; then it has ended."""
        room = host.room()
        if room is None or not host.loaded_bytes:
            return False
        if not admission.has_grown(int(room["held"]), host.loaded_bytes, self.limits):
            return False
        until = time.monotonic() + TIDYING_SECONDS
        while not host.leave():  # it may be at work, or have answered and not yet tidied up
            if time.monotonic() > until or self._stopped.wait(0.05):
                return False
        logger.warning("model host of %s has grown to %d MB and starts anew", host.title, room["held"] >> 20)
        return True

    def _started(self, folder: Path, card_sha256: str) -> HostProcess:
        if (before := self._hosts.pop(card_sha256, None)) is not None:
            before.end()
        order = self._order(folder, card_sha256)
        self._make_room(order)
        while True:
            self._hosts[card_sha256] = host = HostProcess.start(order, self.nursery or self._own)
            try:
                host.wait_until_it_listens()
            except Failed as failed:
                if self._hosts.pop(card_sha256, None) is not None:  # else `stop` has ended it
                    host.end()
                order = self._after(failed, order)
            else:
                room = host.room()
                host.loaded_bytes = int(room["held"]) if room else 0
                return host

    def _order(self, folder: Path, card_sha256: str) -> Order:
        known = self.home / card_sha256[:16] / KNOWN if self.home else None
        try:
            weights = folder / card.read(folder).card.weights
        except card.CardError as error:
            raise Failed("network-unusable", str(error)) from None
        return Order(
            folder=folder,
            card_sha256=card_sha256,
            address=self.folder / f"{card_sha256[:16]}.sock",
            device=self.device,
            known=known,
            most_bytes=self.limits.memory_bytes,
            needs=admission.needed(known, weights, self.limits),
            confine=self.confine,
            room=self.room,
        )

    def _after(self, failed: Failed, order: Order) -> Order:
        """What is tried after a host could not be started: there may be room once another one goes, or on the CPU.

        Raises:
            Failed: nothing is left to try.
            Unavailable: as `address`.
        """
        if failed.code != OUT_OF_MEMORY:
            raise failed
        tenants, _ = self._tenants()
        if self._end_one(tenants):
            return order
        if tenants:
            raise self._wait(order.card_sha256, tenants)
        if order.device == "cpu":
            raise failed
        logger.warning("%s does not fit on %s, and runs on the CPU", order.folder.name, order.device)
        return dataclasses.replace(order, device="cpu", instead=True)

    def _make_room(self, order: Order) -> None:
        """End idle hosts until one more fits, the least recently used first.

        Raises:
            Unavailable: as `address`.
        """
        while True:
            tenants, free = self._tenants()
            lacks = admission.shortage(order.needs, free, tenants, self.limits)
            if lacks <= 0 and not admission.too_many(tenants, self.limits):
                return
            if self._end_one(tenants):
                continue
            if lacks > 0 and tenants:
                raise self._wait(order.card_sha256, tenants)
            return  # alone with the device, it does what it can; or there are too many, and all of them are at work

    def _tenants(self) -> tuple[list[Tenant], int | None]:
        """Who is there, and what the device has free, in bytes, as one of them says; None: not known."""
        found, free = [], None
        for host in list(self._hosts.values()):
            room = host.room()
            if host.process.poll() is None:
                found.append(host.tenant(room))
                free = int(room["free"]) if room else free
        return found, free

    def _end_one(self, tenants: list[Tenant]) -> bool:
        """End the idle host that was not used for the longest time; whether there was one."""
        for one in sorted((one for one in tenants if not one.busy), key=lambda one: one.last):
            host = self._hosts.get(one.card_sha256)
            if host is not None and host.leave():
                logger.info("model host of %s has ended: its memory is needed", host.title)
                return True
        return False

    def _wait(self, card_sha256: str, tenants: list[Tenant]) -> Unavailable:
        """A network has to wait; after a while one of those at work is asked to go after its present study."""
        since = self._turned_away.setdefault(card_sha256, time.monotonic())
        if time.monotonic() - since > PATIENCE_SECONDS and (one := admission.goes_first(tenants, busy=True)):
            host = self._hosts.get(one.card_sha256)
            if host is not None:
                host.leave(soon=True)
        return Unavailable("device-full", "networks at work leave no memory for it; it waits for them", WAIT_SECONDS)

    def _tell(self) -> None:
        """Write down who is warm, for `planimeter status`."""
        if self.home is not None:
            with self._telling:
                warm.write(self.home, list(self._hosts.values()))

    def _keep_telling(self) -> None:
        while not self._stopped.is_set():
            self._news.wait(TELL_SECONDS)
            self._news.clear()
            self._tell()

    def stop(self) -> None:
        """End all hosts."""
        self._stopped.set()
        self._news.set()
        with self._lock:
            hosts, self._hosts = list(self._hosts.values()), {}
        for host in hosts:
            host.end()
        self._own.stop()
        self._tell()

    def serve(self) -> Path:
        """Answer the workers, in threads of this process; the address to give them."""
        address = self.folder / "hosts.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address))
        address.chmod(0o600)
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), name="hosts", daemon=True).start()
        threading.Thread(target=self._keep_telling, name="warm", daemon=True).start()
        return address

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = listener.accept()
                with contextlib.ExitStack() as unanswered:
                    unanswered.push(connection)
                    threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
                    unanswered.pop_all()
            except (OSError, RuntimeError) as error:  # no descriptor or no thread is left; there may be one soon
                logger.warning("a worker that asks for a network is not answered: %s", error)
                self._stopped.wait(AGAIN_SECONDS)

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Disconnected, TimeoutError):
            connection.settimeout(10)
            message = Receiver(connection).hear()
            try:
                answer: dict[str, Any] = {"address": str(self.address(message["folder"], message["card"]))}
            except NodeError as error:
                wait = error.retry_seconds if isinstance(error, Unavailable) else None
                answer = {"code": error.code, "sentence": error.sentence, "wait": wait}
            send(connection, answer)


def ask(hosts: Path, bundle: Bundle) -> Path:
    """The worker's side: where the host of this bundle listens.

    Raises:
        Failed: it cannot be started.
        Unavailable: the supervisor does not answer; or networks at work leave it no room.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(START_SECONDS + 10)
            connection.connect(str(hosts))
            send(connection, {"folder": str(bundle.folder), "card": bundle.card_sha256})
            answer = Receiver(connection).hear()
    except (OSError, Disconnected) as error:
        raise Unavailable("no-supervisor", f"nobody starts model hosts here: {error}") from None
    if "address" not in answer and answer.get("wait"):
        raise Unavailable(answer["code"], answer["sentence"], answer["wait"])
    if "address" not in answer:
        raise Failed(answer["code"], answer["sentence"])
    return Path(answer["address"])
