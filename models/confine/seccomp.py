"""Which system calls a process may make: a filter of seccomp, put together as the kernel's old packet filters are.

See the kernel's Documentation/userspace-api/seccomp_filter.rst. What is forbidden answers EPERM, as
for anybody who lacks a privilege: libraries know that, and Python raises PermissionError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator

from .calls import FORBIDDEN, LOOKED_AT, OF_OLD_KERNELS
from .kernel import RET_ERRNO, SECCOMP, SECCOMP_SET_MODE_FILTER, Kernel, call

LOAD, EQUAL, AT_LEAST, ANY_BIT, AND, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
#: AUDIT_ARCH_* of linux/audit.h
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: where struct seccomp_data has them; of an argument, the lower half
NUMBER, MACHINE = 0, 4
#: calls of the x32 interface begin here; nothing of ours is built for it
X32 = 0x40000000
TO_ALL_THREADS, WITHOUT_SLOWER_BRANCHES = 1, 4
CLONE_THREAD = 0x00010000
AF_UNIX, SOCK_STREAM, SOCK_SEQPACKET, KIND_OF_SOCKET = 1, 1, 5, 0xF
#: ioctls that type into a terminal (TIOCSTI, TIOCLINUX), or have the kernel signal somebody (FIOSETOWN, SIOCSPGRP)
REQUESTS = (0x5412, 0x541C, 0x8901, 0x8902)
#: commands of fcntl that have the kernel send signals to somebody, and any signal (F_SETOWN, F_SETSIG, F_SETOWN_EX), or
#: that keep others from opening a file (F_SETLEASE)
COMMANDS = (8, 10, 15, 1024)
#: options of prctl by which nobody of the same user sees any more what a process has open (PR_SET_DUMPABLE)
OPTIONS = (4,)
#: open(2): the access mode, with which 3 is neither reading nor writing and Landlock looks at nothing
O_ACCMODE, O_RDONLY, O_NEITHER, O_TRUNC = 3, 0, 3, 0o1000
#: call -> which of its arguments says what is wanted, and what is forbidden of that
WORDS = {"ioctl": (1, REQUESTS), "fcntl": (1, COMMANDS), "prctl": (0, OPTIONS)}
#: the version of Landlock's interface that can forbid to cut files off
KNOWS_TRUNCATE = 3

Step = tuple[int, int, int, int]
"""code, how many steps to jump where it is true, and where not, and a number"""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def restrict(kernel: Kernel, *, sockets: bool) -> None:
    """From now on no thread of this process makes such a call.

    Args:
        sockets: whether it may open sockets of its own.

    Raises:
        OSError: the kernel did not do it.
    """
    steps = list(program(kernel, os.getpid(), sockets=sockets))
    packed = b"".join(struct.pack("=HBBI", *step) for step in steps)
    given = _Program(len(steps), packed)
    for flags in (TO_ALL_THREADS | WITHOUT_SLOWER_BRANCHES, TO_ALL_THREADS):  # the second is for kernels before 4.17
        try:
            stayed = call(SECCOMP[kernel.machine], SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(given))
        except OSError as error:
            if error.errno != errno.EINVAL or flags == TO_ALL_THREADS:
                raise
        else:
            if stayed:
                raise OSError(errno.EBUSY, "a thread has another filter")
            return


def program(kernel: Kernel, own_pid: int, *, sockets: bool) -> Iterator[Step]:
    """The steps of the filter."""
    column = tuple(ARCHITECTURE).index(kernel.machine)
    yield (LOAD, 0, 0, MACHINE)
    yield (EQUAL, 1, 0, ARCHITECTURE[kernel.machine])
    yield (ANSWER, 0, 0, KILL_PROCESS)
    yield (LOAD, 0, 0, NUMBER)
    if kernel.machine == "x86_64":
        yield (AT_LEAST, 0, 1, X32)
        yield (ANSWER, 0, 0, RET_ERRNO | errno.ENOSYS)
    for numbers in FORBIDDEN.values():
        if (number := numbers[column]) is not None:
            yield from _where(number, [_no()])
    looked_at = LOOKED_AT | (OF_OLD_KERNELS if kernel.landlock < KNOWS_TRUNCATE else {})
    for name, numbers in looked_at.items():
        if (number := numbers[column]) is not None:
            yield from _where(number, list(_looked_at(name, own_pid, sockets=sockets)))
    yield (ANSWER, 0, 0, ALLOW)


def _where(number: int, steps: list[Step]) -> Iterator[Step]:
    yield (EQUAL, 0, len(steps), number)
    yield from steps


def _looked_at(name: str, own_pid: int, *, sockets: bool) -> Iterator[Step]:
    """What is done of one call; the last step answers."""
    if name in ("socket", "connect", "bind"):
        yield _yes() if sockets else _no()
    elif name == "clone":  # threads, and no processes
        yield from (_argument(0), (ANY_BIT, 0, 1, CLONE_THREAD), _yes(), _no())
    elif name in ("clone3", "openat2"):  # what is wanted cannot be seen; libraries go back to clone and openat
        yield _no(errno.ENOSYS)
    elif name == "socketpair":  # pairs that can reach nobody else: also SOCK_RAW would be one of datagrams
        yield from (_argument(0), (EQUAL, 1, 0, AF_UNIX), _no(), _argument(1), (AND, 0, 0, KIND_OF_SOCKET))
        yield from ((EQUAL, 2, 0, SOCK_STREAM), (EQUAL, 1, 0, SOCK_SEQPACKET), _no(), _yes())
    elif name in WORDS:
        place, forbidden = WORDS[name]
        yield _argument(place)
        for word in forbidden:
            yield from ((EQUAL, 0, 1, word), _no())
        yield _yes()
    elif name in ("prlimit64", "sched_setaffinity"):  # 0 is the process, or the thread, itself
        yield from (_argument(0), (EQUAL, 2, 0, 0), (EQUAL, 1, 0, own_pid), _no(), _yes())
    elif name in ("open", "openat"):  # who may only read a file must not empty it
        yield from (_argument(1 if name == "open" else 2), (AND, 0, 0, O_TRUNC | O_ACCMODE))
        for flags in (O_TRUNC | O_RDONLY, O_TRUNC | O_NEITHER):
            yield from ((EQUAL, 0, 1, flags), _no())
        yield _yes()
    else:  # signals, to itself alone
        yield from (_argument(0), (EQUAL, 1, 0, own_pid), _no(), _yes())


def _argument(n: int) -> Step:
    return (LOAD, 0, 0, 16 + 8 * n)


def _no(number: int = errno.EPERM) -> Step:
    return (ANSWER, 0, 0, RET_ERRNO | number)


def _yes() -> Step:
    return (ANSWER, 0, 0, ALLOW)
