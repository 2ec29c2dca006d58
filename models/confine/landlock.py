"""Which files a process may open: Landlock, which a process without privileges lays on itself.

See the kernel's Documentation/userspace-api/landlock.rst. What is open already stays usable.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from .kernel import LANDLOCK_ADD_RULE, LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, call
from .rights import NAMES, PROC, PROC_WRITTEN, Rights, devices, programs

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_DIR, MAKE_REG, REFER, TRUNCATE, IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
#: what there is to forbid, from the version of the interface on that knows it
ACCESS = {1: (1 << 13) - 1, 2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | TRUNCATE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER
USE = READ | WRITE_FILE | IOCTL_DEV
#: TCP: bind and connect (version 4); abstract Unix sockets and signals of others (version 6)
NETWORK, SCOPES = 0b11, 0b11
PATH_BENEATH = 1

#: entries of /proc that are kept in sight as long as this process lives
_in_sight: list[int] = []


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def restrict(rights: Rights, version: int) -> None:
    """From now on this thread, and those that it starts, may open nothing else.

    Raises:
        OSError: the kernel did not do it.
    """
    handled = 0
    for since, access in ACCESS.items():
        handled |= access if version >= since else 0
    attributes = _Ruleset(handled, NETWORK if version >= 4 and not rights.sockets else 0, SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        _allow(ruleset, (*programs(), *rights.read), READ & handled)
        _allow(ruleset, (Path(one) for one in NAMES if rights.sockets), READ & handled)
        _allow(ruleset, rights.write, WRITE & handled)
        _allow(ruleset, devices(), USE & handled)
        _allow(ruleset, (Path(one) for one in PROC), READ & handled, keep=True)
        _allow(ruleset, (Path(one) for one in PROC_WRITTEN), (READ | WRITE_FILE | TRUNCATE) & handled, keep=True)
        call(LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, paths: Iterable[Path], access: int, *, keep: bool = False) -> None:
    for path in dict.fromkeys(paths):
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this machine
        whole = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = _Beneath(access if whole else access & OF_FILES, descriptor)
        try:
            call(LANDLOCK_ADD_RULE, ctypes.c_int(ruleset), PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0))
        except OSError:
            os.close(descriptor)
            raise
        if keep:
            _in_sight.append(descriptor)
        else:
            os.close(descriptor)
