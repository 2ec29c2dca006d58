"""What a process says while it runs, line by line."""

from __future__ import annotations

import subprocess
import threading


class Saying:
    """Its lines so far; whoever starts it anew goes on with the same list."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def listen(self, process: subprocess.Popen[str]) -> None:
        """Take down what it writes to its standard output, to its end."""
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self.lines.append(line)
