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

from pydantic import Field, StringConstraints, ValidationError, model_validator

from .finding_rules import Boxes, Classes, Finding, Result, contradictions
from .input_rules import Code, Input, Part, Range, Sha256, Text

__all__ = ["Bundle", "Card", "CardError", "Input", "Segment", "find", "names", "read", "seal", "verify"]

FILE = "planimeter.toml"
#: what a network may be called: it is the name of a folder
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class CardError(Exception):
    """A card or its bundle is not as it must be; the sentence names the file and the key."""


class Segment(Part):
    """What one label value means, and what is to be expected of it.

    Attributes:
        plausible_ml: least and most; a volume outside is flagged, and so is none at all where the least is above 0.
        maximum_components: more connected components than this are flagged.
        maximum_entropy: a mean entropy of the probabilities inside it above this is flagged (0: sure, 1: guessing).
        touches_edge: whether it may reach beyond the scan, as vessels do; else touching the edge is flagged.
        lesions: whether its connected components are lesions, each measured by itself.
        also_called: names that people give the structure; outlines that have no code are known by them.
    """

    value: Annotated[int, Field(ge=1, le=65535)]
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
    touches_edge: bool = False
    lesions: bool = False
    also_called: tuple[Text, ...] = ()


class TrainedOn(Part):
    """What the network was trained on; an input outside of it is flagged.

    Attributes:
        pixel_spacing_mm, slice_spacing_mm, slice_thickness_mm, age_years: least and most.
        kernel: patterns, one of which ConvolutionKernel has.
    """

    pixel_spacing_mm: Range | None = None
    slice_spacing_mm: Range | None = None
    slice_thickness_mm: Range | None = None
    age_years: Range | None = None
    kernel: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _patterns_compile(self) -> TrainedOn:
        for pattern in self.kernel:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"kernel: {pattern!r} is not a regular expression: {error}") from None
        return self


class Baseline(Part):
    """What a network is compared with beside its predecessor: the voxels whose value in the first channel is above."""

    value: Annotated[int, Field(ge=1)]
    above: float


class Gate(Part):
    """What counts when a retrained network is compared with the live one.

    Attributes:
        primary: label values over whose mean Dice the two are compared; none named: all segments.
        margin, class_margin, subgroup_margin: how much Dice may be lost over all, in a class, in a subgroup, before a
            candidate is refused; `class_margins` by label value, where a class has its own.
        tolerance_mm: surfaces that lie so near to one another agree (normalised surface Dice).
        absolute: label value -> mean Dice that a network without a predecessor has to reach.
        baseline: one per class, or none.
    """

    primary: tuple[int, ...] = ()
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    class_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    class_margins: dict[int, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    subgroup_margin: Annotated[float, Field(gt=0, lt=1)] = 0.05
    tolerance_mm: Annotated[float, Field(gt=0)] = 3.0
    absolute: dict[int, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    baseline: tuple[Baseline, ...] = ()


class Start(Part):
    """Of a network that was not trained yet: its weights are those of another one, for other structures.

    Attributes:
        like: name and version of that one.
        freeze_epochs: for so long its first training leaves alone what was taken over.
    """

    like: Text
    freeze_epochs: Annotated[int, Field(ge=0)] = 0


class Card(Part):
    """A network's model card."""

    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=NAME)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    manufacturer: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    device_uid: Annotated[str, StringConstraints(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)]
    intended_use: Text
    licence: Text
    weights_licence: Text
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
    input: Annotated[tuple[Input, ...], Field(min_length=1)]
    segment: tuple[Segment, ...] = ()
    finding: tuple[Finding, ...] = ()
    boxes: Boxes | None = None
    classes: Classes | None = None
    trained_on: TrainedOn = TrainedOn()
    gate: Gate = Gate()
    start: Start | None = None
    files: dict[str, Sha256]

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        if wrong := list(contradictions(self)):
            raise ValueError("; ".join(wrong))
        values = [segment.value for segment in self.segment]
        if len(set(values)) != len(values):
            raise ValueError("two [[segment]] have the same value")
        named = {*self.gate.primary, *self.gate.class_margins, *self.gate.absolute}
        named |= {one.value for one in self.gate.baseline}
        if unknown := sorted(named - set(values)):
            raise ValueError(f"[gate] names label values that no [[segment]] has: {unknown}")
        if len({one.kind for one in self.input}) > 1:
            raise ValueError("the [[input]] are of different kinds; a network reads volumes, or images")
        channels = [one.channel for one in self.input]
        if len(set(channels)) != len(channels):
            raise ValueError("two [[input]] have the same channel")
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
