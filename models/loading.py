"""Load libraries without looking for garbage among what stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Bring in libraries within this.

    They are up to a million objects that all stay. The collector would go through them again and again while they are
    loaded, again for each few images later, and once more when the process ends: with PyTorch and MONAI, that takes as
    long as loading them. From now on it never looks at what is there.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
