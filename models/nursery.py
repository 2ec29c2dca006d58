"""Where model hosts come from: a process that has loaded PyTorch and MONAI once, and forks into a host for each order.

So do decoders of pixels, from one that has loaded codecs (`node.study.decode_child`).

    python -P -m models.nursery --orders DESCRIPTOR

Loading the libraries takes seconds of a processor, and hundreds of megabytes that all hosts of this machine then have
in common. It does nothing else: it has no thread, touches no GPU and reads no bundle, so that what is forked is what a
fresh process would be. It ends when whoever orders has ended; hosts have lifelines of their own.

An order is one message with the words of `models.host`'s command line and three descriptors: the host's lifeline (of a
decoder: its line), where to say how it fares, and its standard error. It says "pid N" when it lives and "status N" when
it has ended, N as `subprocess.Popen.returncode`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from setproctitle import setproctitle

from .confine.environment import ALONE
from .loading import loading

#: the longest order; a command line has a few hundred bytes
MOST_BYTES = 64 * 1024
#: the descriptors of an order
LIFELINE, NEWS, STANDARD_ERROR = range(3)
#: PyTorch asks NVML, not the driver, whether there is a GPU: after the driver was asked, no child could use one
NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"


def main(become: Callable[[list[str], int], int], load: Callable[[], None]) -> int:
    """Load everything once, and fork for each order.

    Args:
        become: what a child does, with the words of its order and its first descriptor; its exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--orders", type=int, required=True, help="a socket on which orders come")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever orders decides when it ends
    load()
    with socket.socket(fileno=options.orders) as orders:
        Nursery(orders, become).serve()
    return 0


def _load() -> None:
    """Everything that a host needs, whatever its bundle."""
    before = os.environ.setdefault(NVML, "1")
    with loading():  # what is never looked at by the collector again stays common memory
        import torch  # noqa: F401

        from . import network  # noqa: F401

    if before == "1":
        del os.environ[NVML]  # hosts ask as PyTorch does by itself


@dataclass
class Nursery:
    """The loop.

    Attributes:
        orders: of type SOCK_SEQPACKET.
        become: as of `main`.
    """

    orders: socket.socket
    become: Callable[[list[str], int], int]
    _news: dict[int, int] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _wake: tuple[int, int] = field(default_factory=os.pipe)

    def serve(self) -> None:
        """Answer orders until nobody can send one any more."""
        for end in self._wake:
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        with self._selector as selector:
            selector.register(self.orders, selectors.EVENT_READ)
            selector.register(self._wake[0], selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wake[0]:
                        os.read(key.fd, 4096)
                        self._reap()
                        continue
                    message, descriptors, _, _ = socket.recv_fds(self.orders, MOST_BYTES, 3)
                    if not message:
                        return
                    self._fork(json.loads(message), descriptors)

    def _fork(self, words: list[str], descriptors: list[int]) -> None:
        pid = os.fork()
        if not pid:
            self._become(words, descriptors)
        self._news[pid] = descriptors[NEWS]
        for kept in (LIFELINE, STANDARD_ERROR):
            os.close(descriptors[kept])
        _say(descriptors[NEWS], f"pid {pid}")

    def _become(self, words: list[str], descriptors: list[int]) -> NoReturn:
        """The child's side: never back into the loop."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            self.orders.close()
            self._selector.close()
            for one in (descriptors[NEWS], *self._news.values(), *self._wake):
                os.close(one)
            os.dup2(descriptors[STANDARD_ERROR], 2)
            os.close(descriptors[STANDARD_ERROR])
            status = self.become(words, descriptors[LIFELINE])
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except BaseException:  # noqa: BLE001 - the edge of the process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while self._news:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            news = self._news.pop(pid)
            _say(news, f"status {os.waitstatus_to_exitcode(status)}")
            os.close(news)


def _say(news: int, line: str) -> None:
    """To whoever ordered, if he is still there."""
    try:
        os.write(news, f"{line}\n".encode())
    except (BrokenPipeError, BlockingIOError, ConnectionResetError):
        sys.stderr.write(f"model nursery: nobody hears that of a host: {line}\n")


def _host(words: list[str], lifeline: int) -> int:
    import torch

    from . import host

    words = [*words, "--lifeline", str(lifeline)]
    if torch.cuda._is_in_bad_fork():
        os.environ |= ALONE
        os.set_inheritable(lifeline, True)  # somebody's import has touched the GPU: a fresh process can use it
        os.execv(sys.executable, [sys.executable, "-P", "-m", "models.host", *words])  # noqa: S606 - there is no shell
    setproctitle(f"planimeter model host: {Path(words[0]).name}")
    random.seed()
    np.random.seed()  # MONAI's transforms draw from it
    torch.seed()
    return host.main(words)


if __name__ == "__main__":
    sys.exit(main(_host, _load))
