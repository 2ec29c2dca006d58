"""What a process keeps: files, sockets, and how much of everything."""

from __future__ import annotations

import site
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Demand(StrEnum):
    """What is wanted of the kernel of this machine."""

    BEST = "best"
    REQUIRE = "require"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a process may do from then on.

    Attributes:
        read: files and folders that it may read, beside the interpreter, its libraries and the devices.
        write: folders that it may change.
        sockets: whether it may open sockets of its own; one that was given to it, it may use.
        descriptors: that it may have open.
        file_bytes: the largest file that it may write, memory that is passed on by descriptor included.
        data_bytes: of memory that it may ask for; 0: no limit of this kind, as for a GPU.
        address_bytes: of its whole address space; 0: no limit, as libraries that reserve much need it.
        goes_first: whether the kernel ends it before others where the machine runs out of memory.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    sockets: bool = False
    descriptors: int = 1024
    file_bytes: int = 64 << 30
    data_bytes: int = 0
    address_bytes: int = 0
    goes_first: bool = True


#: what libraries look up of the machine; nothing there names a person or opens a door
SYSTEM = (
    *("/usr", "/lib", "/lib64", "/sys", "/opt/rocm", "/opt/nvidia", "/etc/ld.so.cache", "/etc/ld.so.conf"),
    *("/etc/ld.so.conf.d", "/etc/localtime", "/etc/nvidia", "/etc/OpenCL", "/etc/vulkan", "/etc/glvnd"),
)
#: how names of machines are looked up, for whoever may open sockets
NAMES = (
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
)
#: read anew at any time, so they are kept in sight: the kernel may forget which entry was meant
PROC = (
    *("/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/version", "/proc/filesystems"),
    *("/proc/devices", "/proc/driver", "/proc/modules", "/proc/sys/vm", "/proc/sys/kernel/osrelease"),
    *("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max", "/proc/sys/kernel/numa_balancing"),
)
#: of the process itself: forget the peak of its memory
PROC_WRITTEN = ("/proc/self/clear_refs",)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
#: of GPUs, as patterns within /dev
GPUS = ("nvidia*", "kfd", "dri/*")


def programs() -> Iterator[Path]:
    """Where the interpreter, its libraries and our own packages are."""
    yield from (Path(one) for one in SYSTEM)
    yield from (Path(one) for one in (sys.prefix, sys.base_prefix, sys.exec_prefix))
    ours = Path(__file__).resolve().parents[1]
    yield from (ours, ours.with_name("node"))
    kept = {*site.getsitepackages(), site.getusersitepackages()}
    yield from (Path(one) for one in sys.path if one in kept or Path(one).name in ("site-packages", "dist-packages"))


def devices() -> Iterator[Path]:
    """Those that it may use."""
    yield from (Path(one) for one in DEVICES)
    for pattern in GPUS:
        yield from sorted(Path("/dev").glob(pattern))
