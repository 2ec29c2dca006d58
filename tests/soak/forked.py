"""Workers, model hosts and receivers as processes that start in a moment: forked from one that has their modules."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.soak.ahead", "tests.soak.forked"])


def _started(target: object, *arguments: object) -> BaseProcess:
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
    process.start()
    return process


def role(name: str, config: Path, hosts: Path, log: Path, place: str = "") -> BaseProcess:
    """`planimeter receive`, `planimeter schedule` or `planimeter work`.

    Args:
        hosts: where a worker asks for model hosts.
        log: what it says is added there.
        place: where it is to end (`node.failpoints`).
    """
    return _started(_play, name, config, hosts, log, place)


def _play(name: str, config: Path, hosts: Path, log: Path, place: str) -> None:
    from config.settings import load
    from node import logs, roles
    from node.child import Child

    _say_into(log)
    os.environ["PLANIMETER_FAILPOINT"] = place
    logs.configure(name)
    settings, child = load(config), Child(None, name)
    if name == "receive":
        roles.receive(settings, child)
    elif name == "schedule":
        roles.schedule(settings, child)
    else:
        roles.work(settings, child, hosts)


def host(address: Path, hangs: Path) -> BaseProcess:
    """A model host that thresholds; it hangs over its next volume where it can make a file, until that is gone.

    Args:
        hangs: the file, with the pid of whoever waits; its folder is there as long as it is to hang.
    """
    return _started(_host, address, hangs)


def _host(address: Path, hangs: Path) -> None:
    from tests.threshold_host import ThresholdHosts, threshold

    def answer(volume: Any) -> Any:
        with contextlib.suppress(OSError):
            with hangs.open("x") as mark:
                mark.write(str(hosts.asking.pid))
            wait_until("it is to go on", lambda: not hangs.exists(), 600)
        return threshold(volume)

    hosts = ThresholdHosts()
    hosts.answer = answer
    hosts.listen(address)
    threading.Event().wait()


def _say_into(log: Path) -> None:
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - as long as the process lives


def end(process: BaseProcess, seconds: float = 60) -> None:
    """SIGTERM, and its end."""
    process.terminate()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
