"""How much memory a device has, how much of it is free, and how much this process holds.

Of a GPU its driver tells, through torch. Of the machine the kernel does, and the control group that a container runs in
(cgroup v1 or v2): what the machine has is no use to a container that may have less.
"""

from __future__ import annotations

import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
DRIVER = Path("/proc/driver/nvidia/version")
#: (limit, use, statistics) of a control group
CONTROLLED = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
#: of the free memory of a machine this much is left to everybody else
SPARED = 0.05


@dataclass(frozen=True)
class Room:
    """The memory of a device, in bytes.

    Attributes:
        device: its name, as people know it.
        runtime: what drives it; after a change of it nothing that was measured needs to be true.
        total: that there is.
        free: that this process can still have, what it has put aside for itself included.
        held: by this process.
        peak: that this process held at once since `measure_anew`.
    """

    device: str
    runtime: str
    total: int
    free: int
    held: int
    peak: int


def of(device: str) -> Room:
    """The memory of a device that torch knows: "cpu", "cuda:0"."""
    import torch

    if not device.startswith("cuda"):
        total, free = of_machine()
        held, peak = _status("VmRSS"), peak_held()
        return Room(f"CPU {platform.machine()}", f"torch {torch.__version__}", total, free, held, max(held, peak))
    free, total = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    spare = held - torch.cuda.memory_allocated(device)
    try:
        driver = DRIVER.read_text(encoding="utf-8").split("\n")[0]
    except OSError:
        driver = ""
    runtime = f"torch {torch.__version__}, CUDA {torch.version.cuda}, {driver}"
    peak = torch.cuda.max_memory_reserved(device)
    return Room(torch.cuda.get_device_name(device), runtime, total, free + spare, held, peak)


def free(device: str) -> int:
    """Bytes that this process can still have on a device."""
    return of(device).free


def peak_held() -> int:
    """Bytes of the machine that this process held at once, by Linux; elsewhere `ru_maxrss`, which after an exec is not
    less than what its parent held."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_anew(device: str) -> None:
    """Forget the peak of what was done before."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        (PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is that of the whole life of the process


def of_machine() -> tuple[int, int]:
    """Memory that there is, and that is free, in bytes; as far as this control group may have it."""
    known = _fields(PROC / "meminfo")
    total, free = known.get("MemTotal", 0), known.get("MemAvailable", 0)
    for limit, use, statistics in CONTROLLED:
        most, used = _number(CGROUP / limit), _number(CGROUP / use)
        if most is not None and used is not None and most < total:
            # the page cache of files is counted as used, and given up when anybody wants it
            cached = _fields(CGROUP / statistics, unit=1).get("inactive_file", 0)
            return most, max(0, min(free, most - used + cached))
    return total, free


def limit_to_what_is_free(most: int = 0) -> None:
    """Let allocations fail that the machine could not keep, where Linux would grant them and kill somebody later.

    An error can be answered with less memory; a process that the kernel kills takes its study with it.

    Args:
        most: bytes that this process may hold at all; 0: as much as is free.
    """
    _, free = of_machine()
    data = _status("VmData")
    if not data or not sys.platform.startswith("linux"):
        return
    swap = _fields(PROC / "meminfo").get("SwapFree", 0)
    room = int(free * (1 - SPARED)) + swap
    if most:
        room = min(room, max(0, most - _status("VmRSS")))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = data + room
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def no_limit() -> None:
    """Take `limit_to_what_is_free` back."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _status(name: str) -> int:
    return _fields(PROC / "self" / "status").get(name, 0)


def _fields(file: Path, unit: int = 1024) -> dict[str, int]:
    """The numbers of a file of the kernel, line by line, in bytes."""
    try:
        words = [line.replace(":", " ").split() for line in file.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) * unit for line in words if len(line) > 1 and line[1].isdigit()}


def _number(file: Path) -> int | None:
    """None where there is none, or "max"."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
