"""The keys that put the patients of `make learn` into their buckets: fixed before anything was trained.

They are numbered, and nothing was chosen: the report is about the first, and `make learn-keys` adds the four after it,
whatever they give.
"""

from __future__ import annotations

import hashlib

from node.learning.buckets import Key

#: parts of a hundred: train, validation, test
SHARES = (50, 10, 40)
OTHERS = (2, 3, 4, 5)


def key(number: int = 1) -> Key:
    """One of the keys."""
    return Key(hashlib.sha256(f"planimeter make learn, key {number}".encode()).digest())
