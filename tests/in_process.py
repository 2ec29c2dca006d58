"""Training sets what belongs to a whole process; here it runs inside of the tests'."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import torch
from monai.utils import set_determinism


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Afterwards the process is as it was: signals, paths, threads, random numbers, logging."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    path, bytecode, threads = list(sys.path), sys.dont_write_bytecode, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.path[:], sys.dont_write_bytecode = path, bytecode
        torch.set_num_threads(threads)
        set_determinism(None)
        torch.backends.cudnn.deterministic = False
        logging.disable(logging.NOTSET)
