"""Machines that share a PostgreSQL and a folder, each with a host name and a network of its own, if the kernel lets us.

A machine is a network namespace behind a bridge, as a department's are behind a switch: it has an address, ports
and a loopback of its own. Without the rights for that, or without `ip`, the machines are processes on loopback, with
names that the environment says (PLANIMETER_MACHINE); what they are asked is the same.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

from tests.running import PLANIMETER
from tests.saying import Saying
from tests.waiting import wait_until

_numbers = itertools.count(1)


def _ip(*arguments: str, check: bool = True) -> int:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True).returncode


class Network:
    """A switch, to which machines are put; runs within a `with`.

    Attributes:
        separate: whether machines have networks of their own.
        address: of whoever is no machine: the scanner and the PACS.
    """

    def __init__(self) -> None:
        self._subnet = f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250 + 1}"
        self._name = f"plb{os.getpid() % 100_000}"
        self.separate = False
        self.address = "127.0.0.1"
        self._members: list[str] = []
        self._plugs: list[str] = []

    def __enter__(self) -> Network:
        if (
            shutil.which("ip")
            and os.geteuid() == 0
            and not _ip("link", "add", self._name, "type", "bridge", check=False)
        ):
            self.separate, self.address = True, f"{self._subnet}.1"
            _ip("addr", "add", f"{self.address}/24", "dev", self._name)
            _ip("link", "set", self._name, "up")
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for name in self._members:
            _ip("netns", "del", name, check=False)
        if self.separate:
            _ip("link", "del", self._name, check=False)

    def join(self, machine: str) -> tuple[str, list[str]]:
        """A machine's address, and the words before a command that run it there."""
        if not self.separate:
            return "127.0.0.1", ["env", f"PLANIMETER_MACHINE={machine}"]
        number = next(_numbers)
        name, outside, inside = f"pl{os.getpid()}-{number}", f"plo{os.getpid() % 10_000}-{number}", "eth0"
        address = f"{self._subnet}.{number + 1}"
        _ip("netns", "add", name)
        self._members.append(name)
        self._plugs.append(outside)
        _ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("link", "set", outside, "master", self._name, "up")
        for words in (("addr", "add", f"{address}/24", "dev", inside), ("link", "set", inside, "up")):
            _ip("-n", name, *words)
        _ip("-n", name, "link", "set", "lo", "up")
        # a host name of its own; the script's $0 is that name
        script = 'hostname "$0" && exec "$@"'
        return address, ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script, machine]

    def cut(self) -> None:
        """From now on nobody hears anything of any machine, as if all had lost their power."""
        for plug in self._plugs:
            _ip("link", "set", plug, "down")


class Machine(Saying):
    """One machine, and the `planimeter` that runs on it.

    Args:
        cores: to which all of it is held; None: all.
    """

    def __init__(self, network: Network, name: str, home: Path, config: Path, *, cores: set[int] | None = None) -> None:
        super().__init__()
        self.name, self.home, self._config, self._cores = name, home, config, cores
        self.address, self._before = network.join(name)
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, command: str = "run", *more: str) -> None:
        """Start it, and wait until it says that it is ready."""
        pinned = ["taskset", "-c", ",".join(map(str, sorted(self._cores)))] if self._cores else []
        words = [*self._before, *pinned, *PLANIMETER, command, "--config", str(self._config), "--home", str(self.home)]
        self._process = subprocess.Popen(
            [*words, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines.append("--- start\n")
        begun = len(self.lines)
        self.listen(self._process)
        wait_until(f"{self.name} is ready", lambda: self._is_ready(begun), 120)

    def _is_ready(self, begun: int) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} did not start:\n{self.log}")
        said = self.lines[begun:]
        for line in said:
            if "receives as" in line:
                self.port = int(line.rsplit(":", 1)[1])
        return any("works with" in line or "shows its pages" in line for line in said)

    def planimeter(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there, to its end."""
        words = [*self._before, *PLANIMETER, *arguments, "--config", str(self._config), "--home", str(self.home)]
        return subprocess.run(words, capture_output=True, text=True, check=check, timeout=120)

    def _family(self) -> list[int]:
        """The pids of everything that runs there: the process and all that came of it."""
        assert self._process is not None
        parents: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
        family, fresh = [self._process.pid], [self._process.pid]
        while fresh:
            fresh = [pid for pid, parent in parents.items() if parent in fresh]
            family += fresh
        return family

    def kill(self) -> None:
        """The plug is pulled: SIGKILL to all of it, in no order that anybody could tell another of."""
        assert self._process is not None
        family = self._family()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in family:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        self._process.wait()
        self._process = None

    def stop(self) -> int | None:
        """SIGTERM; the exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        return status
