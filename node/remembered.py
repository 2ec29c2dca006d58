"""What the command line said when a node was started, noted beside its data."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from . import machine

MEMORY_FILE = "node.json"


def remember(home: Path, config: Path | None, database: str | None) -> None:
    """Note beside the data what the command line said, so that `planimeter status --home DIR` means this node.

    Machines that share the folder may have been told different things: each finds what it was told itself.
    """
    noted = json.dumps({"database": database, "config": str(config.absolute()) if config else None}) + "\n"
    for file in (_of_this_machine(home), home / MEMORY_FILE):
        file.parent.mkdir(exist_ok=True, mode=0o700)
        file.write_text(noted, encoding="utf-8")
        file.chmod(0o600)


def _of_this_machine(home: Path) -> Path:
    return home / "run" / f"{machine.name()}.{MEMORY_FILE}"


def recall(home: Path) -> dict[str, str | None]:
    """What `remember` noted here, else on another machine; empty where nothing was."""
    for file in (_of_this_machine(home), home / MEMORY_FILE):
        with suppress(OSError, ValueError):
            noted = json.loads(file.read_text(encoding="utf-8"))
            return noted if isinstance(noted, dict) else {}
    return {}
