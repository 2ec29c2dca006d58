"""The GPUs of this machine and their memory, as their driver tells by NVML: without torch, and without touching them.

Of a machine without a GPU, or without the driver's library (libnvidia-ml.so.1), there is nothing to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver sees it, whoever uses it; memory in bytes.

    Attributes:
        index: the driver's number, as `nvidia-smi` shows it.
        name: of the product.
    """

    index: int
    name: str
    total: int
    free: int


def gpus() -> tuple[Gpu, ...]:
    """Those whose memory the driver tells of."""
    import pynvml

    found = []
    try:
        with _library():
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    device = pynvml.nvmlDeviceGetHandleByIndex(index)
                    name, memory = pynvml.nvmlDeviceGetName(device), pynvml.nvmlDeviceGetMemoryInfo(device)
                except pynvml.NVMLError:
                    continue  # it fell off the bus, or belongs to somebody else: the others are still there
                found.append(Gpu(index, _text(name), int(memory.total), int(memory.free)))
    except pynvml.NVMLError:
        return ()  # no driver, no library, no permission: no GPU for us
    return tuple(found)


@contextmanager
def _library() -> Iterator[None]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
