"""Take rights from the process that runs this."""

from __future__ import annotations

import ctypes
import functools
import resource
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from . import landlock, seccomp
from .kernel import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, Kernel, call, control
from .rights import Demand, Rights

#: of a user's threads and processes together; root has no such limit
MOST_THREADS = 16384
GOES_FIRST = "500"
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION, CAPABILITIES, CAP_DAC_READ_SEARCH = 0x20080522, 64, 2


class Part(StrEnum):
    """What is taken; where the kernel cannot, it is called by these names."""

    FILES = "files"
    CALLS = "system calls"
    PRIVILEGES = "privileges"


#: what a process may still do, in words for whoever runs the machine
STILL = {
    Part.FILES: "open every file that this user can",
    Part.CALLS: "use the network, start programs and send signals",
    Part.PRIVILEGES: "use programs and capabilities of other users",
}


class Unconfined(Exception):
    """It was required, and the kernel cannot do it; the sentence says what."""


def confine(rights: Rights, demand: Demand, kernel: Kernel | None = None) -> dict[Part, str]:
    """From now on this process has these rights and no others; before it has any thread but this one.

    Limits are always set. What is forked or started later inherits everything.

    Args:
        kernel: None: this machine's.

    Returns:
        What could not be taken, and why.

    Raises:
        Unconfined: with `Demand.REQUIRE`, where that is not empty.
    """
    _limit(rights)
    if demand is Demand.OFF:
        return {}
    found = kernel or Kernel.here()
    lacking = lacks(found)
    steps: dict[Part, Callable[[], None]] = {
        Part.PRIVILEGES: functools.partial(_drop_privileges, found),
        Part.FILES: functools.partial(_files, rights, found),
        Part.CALLS: functools.partial(seccomp.restrict, found, sockets=rights.sockets),
    }
    for part, take in steps.items():
        if part not in lacking:
            try:
                take()
            except OSError as error:
                lacking[part] = error.strerror or str(error)
    if lacking and demand is Demand.REQUIRE:
        raise Unconfined(sentence(lacking))
    return lacking


def lacks(kernel: Kernel | None = None) -> dict[Part, str]:
    """What this machine cannot take from a process, and why. Nothing is changed."""
    found = kernel or Kernel.here()
    lacking = {}
    if not found.landlock:
        lacking[Part.FILES] = found.lacks("landlock")
    if not found.seccomp:
        lacking[Part.CALLS] = found.lacks("seccomp")
    return lacking


def sentence(lacking: dict[Part, str]) -> str:
    """What it means, for a person."""
    said = "; ".join(f"they can {STILL[part]}: {why}" for part, why in lacking.items())
    return f"networks and decoders cannot be confined wholly here: {said}"


def _limit(rights: Rights) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: rights.descriptors,
        resource.RLIMIT_FSIZE: rights.file_bytes,
        resource.RLIMIT_NPROC: MOST_THREADS,
    }
    if rights.data_bytes:
        wanted[resource.RLIMIT_DATA] = rights.data_bytes
    if rights.address_bytes:
        wanted[resource.RLIMIT_AS] = rights.address_bytes
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if rights.goes_first:
        try:
            Path("/proc/self/oom_score_adj").write_text(GOES_FIRST, encoding="ascii")
        except OSError:
            return  # not Linux, or a /proc that cannot be written: the kernel chooses as it does


def _files(rights: Rights, kernel: Kernel) -> None:
    """Raises:
    OSError: the kernel did not do it, or there are threads that it would not hold for.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise OSError(0, f"{threads - 1} other threads run already")
    landlock.restrict(rights, kernel.landlock)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _drop_privileges(kernel: Kernel) -> None:
    """No set-user-id program helps it any more, and root is nobody special.

    The right to read what root may read stays, where files are looked at one by one anyhow: a home folder may belong to
    another user than the node in its container.
    """
    control(PR_SET_NO_NEW_PRIVS, 1)
    kept = {CAP_DAC_READ_SEARCH} if kernel.landlock else set()
    for capability in range(CAPABILITIES):
        if capability not in kept:
            try:
                control(PR_CAPBSET_DROP, capability)
            except OSError:
                break  # not root, who alone has any to lose; or the last that the kernel knows
    if kernel.machine in CAPSET:
        mask = _effective() & sum(1 << one for one in kept)
        sets = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
        call(CAPSET[kernel.machine], ctypes.byref(_Header(CAPABILITY_VERSION, 0)), ctypes.byref(sets))


def _effective() -> int:
    """The capabilities that this process has now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
