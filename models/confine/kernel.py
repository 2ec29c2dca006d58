"""What the kernel of this machine can take from a process, and how it is asked to."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

#: the numbers of system calls differ by architecture; others have no filter here
ARCHITECTURES = ("x86_64", "aarch64")
#: the same everywhere
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
ASK_VERSION = 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
SECCOMP = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
RET_ERRNO = 0x00050000


@dataclass(frozen=True)
class Kernel:
    """What there is.

    Attributes:
        machine: the architecture that this process runs on.
        landlock: the version of its interface (ABI); 0: none.
        seccomp: whether system calls can be filtered.
        why: what was answered where there is none of the two, by name.
    """

    machine: str
    landlock: int
    seccomp: bool
    why: tuple[tuple[str, str], ...] = ()

    @classmethod
    def here(cls) -> Kernel:
        """Ask; nothing is changed by it."""
        machine = platform.machine() if sys.maxsize > 1 << 32 else "32 bits"
        why = {}
        version = 0
        if not sys.platform.startswith("linux"):
            return cls(machine, 0, False, (("landlock", "this is not Linux"), ("seccomp", "this is not Linux")))
        try:
            version = call(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(ASK_VERSION))
        except OSError as error:
            why["landlock"] = f"the kernel has no Landlock, or a container forbids it ({error.strerror})"
        seccomp = machine in ARCHITECTURES
        if not seccomp:
            why["seccomp"] = f"there is no filter for {machine}"
        else:
            try:
                action = ctypes.c_uint32(RET_ERRNO)
                call(SECCOMP[machine], SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action))
            except OSError as error:
                seccomp, why["seccomp"] = False, f"the kernel filters no system calls ({error.strerror})"
        return cls(machine, version, seccomp, tuple(why.items()))

    def lacks(self, what: str) -> str:
        """Why there is none."""
        return dict(self.why).get(what, "the kernel has none")


def call(number: int, *arguments: Any) -> int:
    """A system call that the C library has no name for.

    Raises:
        OSError: the kernel said no.
    """
    done = int(_library().syscall(ctypes.c_long(number), *arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def control(option: int, value: int = 0) -> int:
    """`prctl`, with one value.

    Raises:
        OSError: the kernel said no.
    """
    nothing = ctypes.c_ulong(0)
    done = int(_library().prctl(ctypes.c_int(option), ctypes.c_ulong(value), nothing, nothing, nothing))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
