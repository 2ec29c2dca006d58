"""The descriptors of this process: what a test left open, whatever threads of earlier ones close meanwhile."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from pathlib import Path


def descriptors() -> Counter[str]:
    """What this process has open, and how often; sockets and pipes have names of their own."""
    found = Counter[str]()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found[str(one.readlink())] += 1
    return found


def watched() -> list[set[str]]:
    """Of each epoll of this process, the sockets that it waits for: epolls have no names of their own."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if str(one.readlink()) == "anon_inode:[eventpoll]":
                said = Path("/proc/self/fdinfo", one.name).read_text()
                found.append({f"socket:[{int(inode, 16)}]" for inode in re.findall(r" ino:([0-9a-f]+)", said)})
    return found
