"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from models.scores.curves import Ranked
from models.scores.values import CaseScores

from ..gate.values import Protocol, Verdict

Manifest = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One class of the network: its label value, its name, and the colour of its outline."""

    value: int
    label: str
    colour: tuple[int, int, int] = (120, 120, 120)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One of those that were scored on the same cases.

    Attributes:
        name: as a person calls it: "CT lungs 1.3.0", "SUV over 2.5".
        cases: its scores.
        ranked: label value -> its probabilities over all cases, for the curves; empty where they were not kept.
    """

    name: str
    cases: tuple[CaseScores, ...]
    ranked: Mapping[int, Ranked] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A case as a picture; `pictures.picture` makes one."""

    case: str
    patient: str
    caption: str
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A candidate beside the champion and the classical baseline, on the same locked patients.

    Attributes:
        network: its name in the card.
        title: for people.
        made: when, as it is to be printed.
        structures: all classes, in the order of the card.
        champion: None for a network that has no predecessor.
        baseline: None where the card names none.
        tolerance_mm: of the surface Dice.
        test: manifest of the test set.
        training: manifest of the training set; None where it is not known.
        progress: the lines of progress.jsonl as they are; those of single steps are passed over.
        pictures: of the worst cases, the worst first.
        provenance: what and its value: hashes, versions, seed.
        reasons: why a number does not exist, where there is more to say than its own rule: "roc_auc" -> a sentence.
    """

    network: str
    title: str
    made: str
    structures: tuple[Structure, ...]
    protocol: Protocol
    verdict: Verdict
    candidate: Contender
    champion: Contender | None = None
    baseline: Contender | None = None
    tolerance_mm: float = 3.0
    test: Manifest = field(default_factory=dict)
    training: Manifest | None = None
    progress: tuple[Mapping[str, Any], ...] = ()
    pictures: tuple[Picture, ...] = ()
    provenance: tuple[tuple[str, str], ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def contenders(self) -> tuple[tuple[str, Contender], ...]:
        """Role and contender, those that are there: "baseline", "champion", "candidate"."""
        roles = (("baseline", self.baseline), ("champion", self.champion), ("candidate", self.candidate))
        return tuple((role, one) for role, one in roles if one is not None)

    def label(self, value: int) -> str:
        """The name of a class."""
        return next((one.label for one in self.structures if one.value == value), f"class {value}")
