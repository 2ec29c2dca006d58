"""A node as a site runs it: `planimeter run` in processes of its own."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from db.database import Database, open_database
from db.tables import study as rows
from node.app import database_url
from node.command_line.options import settings_of
from node.operations.status import overview
from tests import forked
from tests.saying import Saying
from tests.waiting import wait_until

PLANIMETER = [sys.executable, "-P", "-m", "node.cli"]


def planimeter(*arguments: str | Path, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end.

    With `environ` it is started anew: some of that is looked at while things are loaded.
    """
    if not environ:
        return forked.run(list(map(str, arguments)), check=check)
    return subprocess.run(
        [*PLANIMETER, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=check,
        env=os.environ | environ,
        timeout=300,
    )


@contextlib.contextmanager
def begun(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A program that is killed when its test has done with it, also where that fails: `Popen` alone waits for it."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


class RunningNode(Saying):
    """`planimeter run`, its log, and what `planimeter status` says of it."""

    def __init__(self, home: Path, arguments: tuple[str, ...], environ: dict[str, str], *, pages: bool = False) -> None:
        super().__init__()
        self.home, self._environ = home, environ
        self._arguments = arguments if pages else ("--no-web", *arguments)
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._database: Database | None = None

    def start(self) -> None:
        """Start, and wait until it is ready. Started again, it listens on the same port."""
        command = [*PLANIMETER, "run", "--home", str(self.home), "--port", str(self.port), *self._arguments]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | self._environ,
            start_new_session=True,
        )
        self.lines.append("--- start")
        begun = len(self.lines)
        self.listen(self._process)
        line = wait_until(
            "the node is ready",
            lambda: next((line for line in self.lines[begun:] if "receives as" in line), None) or self._died(),
            90,
        )
        self.port = int(line.rsplit(":", 1)[1])

    def _died(self) -> str | None:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError("the node did not start:\n" + "".join(self.lines))
        return None

    def stop(self) -> int | None:
        """SIGTERM; the exit status."""
        if self._database is not None:
            self._database.dispose()
            self._database = None
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None
        return status

    def kill(self) -> None:
        """SIGKILL to the supervisor; its children see that and end by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def processes(self, role: str) -> list[int]:
        """The pids of the children that play a role: receive, work, schedule; or of the hosts: `model host`."""
        assert self._process is not None
        lines, parents = dict[int, bytes](), dict[int, int]()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                lines[int(folder.name)] = (folder / "cmdline").read_bytes()
                parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        ours = {pid for pid, parent in parents.items() if parent == self._process.pid}
        if role == "model host":  # children of the nursery
            return [pid for pid, one in parents.items() if one in ours and b"planimeter model host: " in lines[pid]]
        return [pid for pid in ours if role.encode() in lines[pid].split(b"\0")]

    def kill_child(self, role: str) -> int:
        """SIGKILL to one child; its pid."""
        pid = wait_until(f"a {role} process is there", lambda: self.processes(role))[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def status(self) -> dict[str, list[dict[str, Any]]]:
        """`planimeter status --json`."""
        answer: dict[str, list[dict[str, Any]]] = json.loads(planimeter("status", "--home", self.home, "--json").stdout)
        return answer

    def study(self, study_uid: str) -> dict[str, Any]:
        """One study of the status; empty when it is not there yet.

        Asked in this process: a command that is started again and again takes what the node needs of the machine.
        """
        return next((one for one in overview(self._rows())["studies"] if one["study_uid"] == study_uid), {})

    def be_quiet(self) -> None:
        """As if no image had come for an hour: what is settled is all that was sent, however long that took."""
        with self._rows().write() as tx:
            tx.execute(sa.update(rows).values(last_image=rows.c.last_image - 3600))

    def _rows(self) -> Database:
        """The node's database, found as every command finds it."""
        if self._database is None:
            unset = dict.fromkeys(("config", "ae_title", "port", "database", "quiet_seconds"))
            options = argparse.Namespace(**unset, home=self.home, send_to=[])
            self._database = open_database(database_url(settings_of(options)))
        return self._database

    def wait_for(self, study_uid: str, state: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a study is in a state; ten looks in a second leave the processor to the node."""
        seen: list[str] = []

        def there() -> dict[str, Any]:
            study = self.study(study_uid)
            seen.append(str(study.get("state")))
            return study if study.get("state") == state else {}

        try:
            return wait_until(f"study {study_uid[-12:]} is {state}", there, seconds, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; it was {seen[-1]}: {self.study(study_uid)}\n{self.log[-3000:]}") from None
