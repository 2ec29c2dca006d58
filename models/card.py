"""The model card: what stands beside a bundle, in planimeter.toml, and is true of it.

The card owns the weights' file, the channels and the label values. What its input rules and its codes mean in DICOM is
the node's business; here they are plain values. A bundle is a program: `verify` compares every file with the card
before anything is parsed.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator, model_validator

from . import membership
from .augmentation import Augmentation
from .doubt import Uncertainty
from .finding_rules import Boxes, Classes, Finding, Result, contradictions
from .input_rules import Code, Input, Part, Range, Sha256, Text
from .learning_rules import Baseline, Gate, Start, TrainedOn

__all__ = [
    "Baseline",
    "Bundle",
    "Card",
    "CardError",
    "Gate",
    "Input",
    "Segment",
    "Start",
    "TrainedOn",
    "find",
    "names",
    "read",
    "seal",
    "verify",
]

FILE = "planimeter.toml"
#: what a network may be called: it is the name of a folder
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class CardError(Exception):
    """A card or its bundle is not as it must be; the sentence names the file and the key."""


class Segment(membership.Valued):
    """What a label value, or a union of several, means, and what is to be expected of it.

    Attributes:
        plausible_ml: least and most; a volume outside is flagged, and so is none at all where the least is above 0.
        maximum_components: more connected components than this are flagged.
        maximum_entropy: a mean entropy of the probabilities inside it above this is flagged (0: sure, 1: guessing).
        minimum_confidence, maximum_disagreement: of several passes (`[uncertainty]`); what lies beyond is flagged.
        touches_edge: whether it may reach beyond the scan, as vessels do; else touching the edge is flagged.
        lesions: whether its connected components are lesions, each measured by itself.
        also_called: names that people give the structure; outlines that have no code are known by them.
    """

    label: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    category: Code
    type: Code
    laterality: Code | None = None
    anatomic_region: Code | None = None
    colour: tuple[
        Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
    ]
    plausible_ml: Range | None = None
    maximum_components: Annotated[int, Field(ge=1)] | None = None
    maximum_entropy: Annotated[float, Field(gt=0, le=1)] | None = None
    minimum_confidence: Annotated[float, Field(gt=0, le=1)] | None = None
    maximum_disagreement: Annotated[float, Field(gt=0, le=1)] | None = None
    touches_edge: bool = False
    lesions: bool = False
    also_called: tuple[Text, ...] = ()


class Card(Part):
    """A network's model card.

    Attributes:
        overlapping: whether the result is a channel of zeros and ones per segment, which may share voxels.
        demonstration: whether it shows how something is done and is no tool: it reads nothing before a person says so.
    """

    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    manufacturer: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    device_uid: Annotated[str, StringConstraints(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)]
    intended_use: Text
    licence: Text
    weights_licence: Text
    demonstration: bool = False
    take: Literal["best", "every"] = "best"
    result: Result = Result.SEGMENTS
    config: str = "configs/inference.json"
    weights: str = "models/model.pt"
    smallest_component_ml: Annotated[float, Field(ge=0)] = 0
    smallest_component_part: Annotated[float, Field(ge=0, lt=1)] = 0
    one_class_per_core_mm: Annotated[float, Field(ge=0)] = 0
    fill_holes_mm2: Annotated[float, Field(ge=0)] = 0
    grow_mm: Annotated[float, Field(ge=0)] = 0
    grow_below: float = 0
    overlapping: bool = False
    input: Annotated[tuple[Input, ...], Field(min_length=1)]
    segment: tuple[Segment, ...] = ()
    finding: tuple[Finding, ...] = ()
    boxes: Boxes | None = None
    classes: Classes | None = None
    trained_on: TrainedOn = TrainedOn()
    uncertainty: Uncertainty | None = None
    gate: Gate = Gate()
    start: Start | None = None
    augmentation: Augmentation = Augmentation()
    files: dict[str, Sha256]

    @field_validator("segment")
    @classmethod
    def _bits(cls, segments: tuple[Segment, ...], info: ValidationInfo) -> tuple[Segment, ...]:
        return membership.as_bits(segments) if info.data.get("overlapping") else segments

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        if wrong := list(contradictions(self)):
            raise ValueError("; ".join(wrong))
        values = [segment.value for segment in self.segment]
        if len(set(values)) != len(values):
            raise ValueError("two [[segment]] have the same value")
        if unknown := sorted(self.gate.named - set(values)):
            raise ValueError(f"[gate] names label values that no [[segment]] has: {unknown}")
        if not self.uncertainty and any(one.minimum_confidence or one.maximum_disagreement for one in self.segment):
            raise ValueError("minimum_confidence and maximum_disagreement are known of several passes: [uncertainty]")
        membership.allow_rules(self)
        return self

    @model_validator(mode="after")
    def _inputs_fit_together(self) -> Card:
        if len({one.kind for one in self.input}) > 1:
            raise ValueError("the [[input]] are of different kinds; a network reads volumes, or images")
        channels = [one.channel for one in self.input]
        if len(set(channels)) != len(channels):
            raise ValueError("two [[input]] have the same channel")
        if self.input[0].network:
            raise ValueError("the first [[input]] is another network's result; it has to be images, whose grid counts")
        return self

    @model_validator(mode="after")
    def _lists_its_files(self) -> Card:
        for name in (self.config, self.weights):
            if name not in self.files:
                raise ValueError(f"[files] does not list {name}")
        for name in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"[files]: {name} lies outside the bundle")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk with its card."""

    folder: Path
    card: Card
    card_sha256: str

    @property
    def weights_sha256(self) -> str:
        return self.card.files[self.card.weights]


def read(folder: Path) -> Bundle:
    """Read the card of a bundle; no other file is opened.

    Raises:
        CardError: there is no card, or it is not right.
    """
    file = folder / FILE
    try:
        data = file.read_bytes()
        card = Card.model_validate(tomllib.loads(data.decode("utf-8")))
    except OSError as error:
        raise CardError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{file}: not valid TOML: {error}") from None
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'card'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False)
        )
        raise CardError(f"{file}: {said}") from None
    return Bundle(folder, card, hashlib.sha256(data).hexdigest())


def verify(bundle: Bundle) -> None:
    """Compare every file of the bundle with its card.

    Raises:
        CardError: a file is missing, was changed, or is not listed.
    """
    listed = bundle.card.files
    for name, wanted in listed.items():
        file = bundle.folder / name
        if not file.is_file():
            raise CardError(f"{file}: listed in {FILE} but not there")
        if _sha256(file) != wanted:
            raise CardError(f"{file}: is not the file that {FILE} lists (its SHA-256 is another)")
    for name in _files(bundle.folder):
        if name not in listed:
            raise CardError(f"{bundle.folder / name}: not listed in {FILE}")


def _files(folder: Path) -> list[str]:
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(name.as_posix() for name in names if name.as_posix() != FILE and "__pycache__" not in name.parts)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write the SHA-256 of every file of a bundle into its card: the last step when a bundle is made."""
    file = folder / FILE
    text = file.read_text(encoding="utf-8")
    head = text.split("\n[files]\n")[0].rstrip("\n")
    lines = [f'"{name}" = "{_sha256(folder / name)}"' for name in _files(folder)]
    file.write_text(head + "\n\n[files]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    read(folder)


def name_in(text: str) -> str:
    """The name of the network in a card whose [files] are not there yet.

    Raises:
        CardError: it is not TOML, or has no name that a network may have.
    """
    try:
        said = tomllib.loads(text).get("name")
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"the card is not valid TOML: {error}") from None
    if not isinstance(said, str) or not re.fullmatch(NAME, said):
        raise CardError(f"the card's name is {said!r}; a name has letters, digits, `.`, `_` and `-`, up to 64")
    return said


def find(name: str, folders: tuple[Path, ...]) -> Bundle:
    """The bundle called `name`, in the first of the folders that has one.

    Raises:
        CardError: none has it, or its card is not right.
    """
    for folder in folders:
        if (folder / name / FILE).is_file():
            return read(folder / name)
    raise CardError(f"there is no network called {name} in {' or '.join(str(folder) for folder in folders)}")


def names(folders: tuple[Path, ...]) -> list[str]:
    """The networks that are there."""
    return sorted({card.parent.name for folder in folders for card in folder.glob(f"*/{FILE}")})


SHIPPED = Path(__file__).with_name("bundles")


if __name__ == "__main__":  # python -m models.card FOLDER: seal a bundle that was changed
    seal(Path(sys.argv[1]))
