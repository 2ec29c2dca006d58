"""The networks that are warm on this machine, written down by the supervisor for whoever asks.

A file in the home folder, replaced as a whole: the command line is another process, and must not disturb a network.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .host_process import HostProcess

logger = logging.getLogger(__name__)

FILE = "warm.json"
#: of the home folder: the list, and what was learnt of the networks' memory
FOLDER = "hosts"


def write(folder: Path, hosts: Sequence[HostProcess]) -> None:
    """Write the list; the last used first."""
    listed = []
    for host in sorted(hosts, key=lambda one: -one.last_used):
        room = host.room()
        listed.append(
            {
                "network": host.title,
                "state": "starting" if not host.loaded_bytes else "idle" if room and not room["busy"] else "at work",
                "device": f"{room['on']} ({room['device']})" if room else "",
                "memory_mb": round(room["held"] / 2**20) if room else 0,
                "peak_mb": round(room["peak"] / 2**20) if room else 0,
                "last_used": datetime.fromtimestamp(host.last_used).astimezone().isoformat(timespec="seconds"),
            }
        )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = folder / f"{FILE}.{os.getpid()}"
        draft.write_text(json.dumps({"supervisor": os.getpid(), "networks": listed}) + "\n", encoding="utf-8")
        draft.replace(folder / FILE)
    except OSError as error:
        logger.warning("who is warm is not written down: %s", error)


def read(home: Path) -> list[dict[str, Any]]:
    """The list; empty while no supervisor runs on this home folder."""
    try:
        found = json.loads((home / FOLDER / FILE).read_text(encoding="utf-8"))
        os.kill(found["supervisor"], 0)
        return list(found["networks"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
