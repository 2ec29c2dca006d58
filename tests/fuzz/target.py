"""What is fuzzed: a reader of the node, and what has to hold of whatever it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

#: modules of `tests.fuzz.targets`
NAMES = (
    "stream", "pdvs", "request", "negotiation", "command", "message",
    "elements", "file", "report",
    "multipart", "stored", "answers",
    "contours", "run_lengths", "codestream", "characters",
)  # fmt: skip
#: whose branches guide the fuzzer
READERS = (
    "node.inbound.association", "node.inbound.whole", "node.inbound.header", "node.inbound.files",
    "node.outbound.commitment", "node.outbound.stow_response", "node.outbound.statuses", "node.pull.multipart",
    "node.pull.answer", "node.pull.query", "node.learning.contours", "node.learning.raster",
    "node.learning.segment_pixels", "node.study.jpeg", "node.objects.characters", "tests.fuzz.targets",
)  # fmt: skip

Reader = Callable[..., Any]


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        read: the node's.
        check: reads an input with a reader, and says whether it was accepted. Raises whatever does not hold.
        seeds: inputs to begin with, some of them accepted.
        faults: name -> a reader with a fault that has to be found, as long as `check` is worth anything.
        words: that inputs are made of.
        longest: input, in bytes.
    """

    read: Reader
    check: Callable[[Reader, bytes], bool]
    seeds: Callable[[], Iterable[bytes]]
    faults: Mapping[str, Reader]
    words: Iterable[bytes] = field(default=())
    longest: int = 4096


def load(name: str) -> Target:
    """A target by its name."""
    found: Target = import_module(f"tests.fuzz.targets.{name}").TARGET
    return found
