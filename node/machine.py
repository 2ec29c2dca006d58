"""This machine, by the name that the others of the node know it by."""

from __future__ import annotations

import os
import re
import socket

#: for machines that have the same host name, and where one machine is to be two
VARIABLE = "PLANIMETER_MACHINE"
#: it becomes part of names of files
UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")


def name() -> str:
    """Its host name, unless the environment says another one."""
    return UNUSUAL.sub("-", os.environ.get(VARIABLE) or socket.gethostname()) or "machine"


def process(role: str) -> str:
    """What a process of this machine is called by all machines; no two of one machine have the same role."""
    return f"{name()}/{role}"
