"""`planimeter receive` in a process of its own, to be killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.running import PLANIMETER


class ReceiverProcess:
    """A receiver on a port that it keeps.

    Args:
        arguments: of `planimeter receive`, beside home and port.
        before: what stands before the command: a tracer.
        program: what is run in place of `planimeter`.

    Attributes:
        port: 0 until it listened once.
    """

    def __init__(self, home: Path, arguments: Sequence[str] = (), *, program: Sequence[str] = PLANIMETER) -> None:
        self.home, self.port, self._arguments, self._program = home, 0, arguments, program
        self.before: Sequence[str] = ()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started; of its tracer where there is one."""
        assert self._process is not None
        return self._process.pid

    def start(self, **environ: str) -> None:
        """Start, and wait until it listens.

        Raises:
            AssertionError: it ended before.
        """
        self.kill()
        command = [*self._program, "receive", "--home", str(self.home), "--port", str(self.port), *self._arguments]
        self._process = subprocess.Popen(
            [*self.before, *command],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environ,
            start_new_session=True,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if found := re.search(r"listens on 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
                self._reader.start()
                return
        raise AssertionError(f"the receiver did not start: {''.join(said)}")

    def kill(self) -> None:
        """SIGKILL, to its tracer too."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            self._process.wait(60)
        if self._reader is not None and self._process is not None and self._process.stderr is not None:
            self._reader.join()
            self._process.stderr.close()

    def has_died(self) -> bool:
        """Whether somebody else ended it."""
        return self._process is not None and self._process.poll() is not None
