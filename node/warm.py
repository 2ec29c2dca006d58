"""The networks that are warm, written down by the supervisor of each machine for whoever asks.

A file per machine in the home folder, replaced as a whole: the command line is another process, and must not disturb a
network.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from . import machine
from .host_process import HostProcess

logger = logging.getLogger(__name__)

FILE = "warm.json"
#: of the home folder: a folder per machine, with the list and with what was learnt of the networks' memory
FOLDER = "hosts"


def folder(home: Path) -> Path:
    """That of this machine."""
    return home / FOLDER / machine.name()


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


def read(home: Path, alive: Collection[str] = ()) -> list[dict[str, Any]]:
    """The networks that are warm, with their `machine`; none of a machine on which no supervisor runs.

    Args:
        alive: the other machines of which workers are heard of.
    """
    found: list[dict[str, Any]] = []
    here = machine.name()
    for file in sorted((home / FOLDER).glob(f"*/{FILE}")):
        of = file.parent.name
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            if of == here:
                os.kill(said["supervisor"], 0)
            if of == here or of in alive:
                found += [{"machine": of} | network for network in said["networks"]]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
