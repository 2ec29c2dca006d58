"""One model host: a process of its own, as long as it lives."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import card, client
from models.confine.rights import Demand
from models.confine.room import LOOK_SECONDS, SHARE_LOOKING, Room, remove
from models.host import EXIT_FULL, EXIT_UNCONFINED, EXIT_UNUSABLE_BUNDLE
from models.host_rights import scratch

from .admission import Tenant
from .errors import Failed, Unavailable
from .nursery import START_SECONDS, Forked, Nursery

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = "out-of-memory"
TOO_MUCH = "too-much-written"
#: bytes of the sentence that says why the node has ended a host
MOST_WORDS = 400


@dataclass(frozen=True, kw_only=True)
class Order:
    """What host is wanted.

    Attributes:
        folder: of the bundle.
        address: where it shall listen.
        device: "auto", "cpu", "cuda", ...
        known: the file of what was learnt of the network's memory; None: nothing is kept.
        most_bytes: what it may hold on the CPU; 0: what is free.
        needs: bytes that it is expected to hold at its peak.
        instead: whether it runs on the CPU because the network does not fit on the device.
        confine: what is wanted of the kernel, so that the bundle can do no harm.
        room: what it may hold in the folders that it may write into.
    """

    folder: Path
    card_sha256: str
    address: Path
    device: str
    known: Path | None = None
    most_bytes: int = 0
    needs: int = 0
    instead: bool = False
    confine: Demand = Demand.BEST
    room: Room = field(default_factory=Room)

    @property
    def written(self) -> tuple[Path, ...]:
        """Folders that it may write into, and nobody else does."""
        return (scratch(self.address), *([self.known.parent] if self.known else []))

    def words(self) -> list[str]:
        """Its command line."""
        words = [str(self.folder), "--card", self.card_sha256, "--socket", str(self.address), "--device", self.device]
        words += ["--most-bytes", str(self.most_bytes), "--confine", self.confine]
        words += ["--instead"] if self.instead else []
        return words + (["--known", str(self.known)] if self.known else [])


@dataclass
class HostProcess:
    """A host that was started.

    Attributes:
        last_used: when its address was last asked for, in seconds since 1970.
        loaded_bytes: what it held when it was loaded, before any work; 0: not known.
    """

    order: Order
    process: Forked
    lifeline: int
    title: str
    last_used: float = field(default_factory=time.time)
    loaded_bytes: int = 0
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, order: Order, nursery: Nursery) -> HostProcess:
        """Start one; it does not listen yet.

        Raises:
            Failed: `host-not-started`.
            Unavailable: `no-thread`: nobody could watch it.
        """
        with contextlib.suppress(FileNotFoundError):
            order.address.unlink()
        with contextlib.suppress(OSError):  # its room is taken now: when it is needed the disk may be full
            client.ended(order.address).write_bytes(b" " * MOST_WORDS)
        theirs, ours = os.pipe()
        try:
            process = nursery.start(order.words(), theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            of = card.read(order.folder).card
            title = f"{of.name} {of.version}"
        except card.CardError:
            title = order.folder.name  # the host will say what is wrong with it
        logger.info("model host of %s starts (pid %s)", title, process.pid)
        host = cls(order, process, ours, title)
        try:
            threading.Thread(target=host._watch, name=f"room of {title}", daemon=True).start()
        except RuntimeError as error:
            host.end()
            raise Unavailable("no-thread", f"this machine lets the supervisor start no thread: {error}") from error
        return host

    def _watch(self) -> None:
        """End it when it holds more than it may; what it has written goes as soon as it has ended."""
        pause = LOOK_SECONDS
        while not self._over.wait(pause):
            began = time.monotonic()
            lives = self.process.poll() is None
            why = self.order.room.exceeded(self.order.written, self.process.pid if lives else None)
            pause = max(LOOK_SECONDS, (time.monotonic() - began) / SHARE_LOOKING)
            if why:
                logger.error("model host of %s: it %s, and is ended", self.title, why)
                self.end(f"the network {why}, and was ended")
            elif not lives:
                self.end()

    def listens(self) -> bool:
        """Whether it is alive and answers."""
        if self.process.poll() is not None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.order.address))
            return True
        return False

    def wait_until_it_listens(self) -> None:
        """Raises:
        Failed: `network-unusable`, `out-of-memory`, `host-not-started`, `too-much-written`.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.listens():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.05)
                if why := client.why_ended(self.order.address):
                    raise Failed(TOO_MUCH, why)
                if status == EXIT_UNUSABLE_BUNDLE:
                    raise Failed(
                        "network-unusable", "the bundle is not what its card says; see the log, `planimeter check`"
                    )
                if status == EXIT_UNCONFINED:
                    raise Failed(
                        "not-confined", "the network cannot be confined as `work.confine` requires; see the log"
                    )
                if status == EXIT_FULL:
                    raise Failed(OUT_OF_MEMORY, "there is too little memory to load the network")
                raise Failed("host-not-started", f"the model host ended with exit status {status} while it started")
        raise Failed("host-not-started", f"the model host was not ready after {START_SECONDS:.0f} s")

    def room(self) -> dict[str, Any] | None:
        """What it says of its memory (`client.room`); None while it starts, is stuck or dead."""
        return client.room(self.order.address) if self.process.poll() is None else None

    def tenant(self, room: dict[str, Any] | None) -> Tenant:
        """As admission sees it.

        Args:
            room: what it says; None counts as at work: it takes what it is expected to.
        """
        held = int(room["held"]) if room else 0
        peak = max(held, self.order.needs, int(room["peak"]) if room else 0)
        return Tenant(self.order.card_sha256, held, peak, busy=room is None or bool(room["busy"]), last=self.last_used)

    def leave(self, *, soon: bool = False) -> bool:
        """Ask it to end, which it does only while it is idle; whether it has ended."""
        if not client.end(self.order.address, soon=soon):
            return False
        self.end()
        return True

    def end(self, why: str = "") -> None:
        """End it, whatever it does; its scratch folder goes with it.

        Args:
            why: where it has written too much: then all that it wrote goes, and whoever it works for is told.
        """
        with self._ending:
            if self._over.is_set():
                return  # another one may have its address by now
            self._over.set()
            if why:
                with contextlib.suppress(OSError), client.ended(self.order.address).open("r+b") as stream:
                    stream.write(why.encode()[:MOST_WORDS])
            self.process.kill()
            self.process.wait()
            os.close(self.lifeline)
            for folder in self.order.written if why else (scratch(self.order.address),):
                remove(folder)
