"""What one network made of one locked case: kept while the others run, so that nothing is run twice.

<folder>/<case>.npz     labels (slices, rows, columns), and per label value the counts of `Ranked`
<folder>/<case>.json    its scores; written last, so where it is there, all of it is
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card import Bundle
from models.scores.curves import Ranked
from models.scores.values import CaseScores, ClassScores

from . import durable
from .cases import Case


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One case by one network.

    Attributes:
        labels: uint8 (slices, rows, columns).
        ranked: label value -> its probabilities; empty where the network gives none.
    """

    scores: CaseScores
    labels: NDArray[np.uint8]
    ranked: Mapping[int, Ranked] = field(default_factory=dict)

    def as_fast_as(self, seconds: float) -> Trial:
        """The same, if another run of it was faster."""
        fastest = min(self.scores.seconds, seconds)
        return replace(self, scores=replace(self.scores, seconds=fastest))

    def keep(self, folder: Path) -> None:
        """Write it, durably."""
        arrays: dict[str, NDArray[Any]] = {"labels": self.labels}
        for value, counts in self.ranked.items():
            arrays |= {f"inside_{value}": counts.inside, f"outside_{value}": counts.outside}
        stream = BytesIO()
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub has allow_pickle in their place
        durable.put(folder / f"{self.scores.case}.npz", stream.getvalue())
        durable.put(folder / f"{self.scores.case}.json", json.dumps(asdict(self.scores)).encode())


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All that ran on the locked cases, each list in their order.

    Attributes:
        bundle: of the candidate.
        baseline: empty where the card names none.
        champion: empty for a network without a predecessor.
    """

    bundle: Bundle
    cases: tuple[Case, ...]
    baseline: tuple[Trial, ...]
    champion: tuple[Trial, ...]
    candidate: tuple[Trial, ...]


def kept(folder: Path, case: str) -> Trial | None:
    """What was kept of a case, or None."""
    file = folder / f"{case}.json"
    if not file.is_file():
        return None
    said = json.loads(file.read_bytes())
    scores = CaseScores(**said | {"classes": tuple(ClassScores(**one) for one in said["classes"])})
    with np.load(file.with_suffix(".npz")) as arrays:
        values = [int(name.removeprefix("inside_")) for name in arrays.files if name.startswith("inside_")]
        ranked = {value: Ranked(arrays[f"inside_{value}"], arrays[f"outside_{value}"]) for value in values}
        return Trial(scores=scores, labels=arrays["labels"], ranked=ranked)
