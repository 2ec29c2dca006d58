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

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

FILE = "planimeter.toml"

Text = Annotated[str, StringConstraints(min_length=1)]
Code = tuple[Annotated[str, StringConstraints(min_length=1, max_length=16)], Text, Text]
"""code value, coding scheme designator, code meaning"""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CardError(Exception):
    """A card or its bundle is not as it must be; the sentence names the file and the key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Range = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]]


class Input(_Part):
    """One channel: which series it is read from, and as what. Rules refuse; preferences (`prefer_`) rank.

    The patterns are regular expressions, found anywhere, whatever the case.

    Attributes:
        channel: its name in the bundle's configuration.
        kind: "volume": slices that make a volume; "image": one 2D image, or each frame of one.
        modality: Modality of all its images.
        image_type_includes, image_type_excludes: values of ImageType that every image has; that no image has.
        derived: whether images that were computed from others (ImageType DERIVED) may be read.
        secondary_capture: whether secondary captures may be read.
        burned_in_annotation: whether images with BurnedInAnnotation YES may be read.
        description_includes: patterns, one of which SeriesDescription or ProtocolName has.
        description_excludes: patterns that neither has.
        kernel_includes, kernel_excludes: the same for ConvolutionKernel.
        contrast: whether ContrastBolusAgent is to be there.
        contrast_phase_includes: patterns, one of which SeriesDescription, ProtocolName or ContrastBolusAgent has.
        orientation: planes that the slices may lie in; none means any.
        slice_thickness_mm: least and most.
        minimum_slices, maximum_slices: of a volume; frames of an image.
        prefer_body_part: values of BodyPartExamined, which is too often wrong to refuse by.
        prefer_description, prefer_kernel: patterns, the best first.
        prefer_thickness_mm: the slice thickness that is best.
        values: "modality": Hounsfield units, counts, what the images say; "suv_bw": SUV by body weight, g/ml.
        colour: "grey": one channel; "rgb": three, 0 ... 255.
        fill: what stands where this channel does not reach the grid of the first, in its values.
        minimum_cover: the part of the first channel's grid that this channel has to cover.
    """

    channel: Text = "image"
    kind: Literal["volume", "image"] = "volume"
    modality: Annotated[tuple[Text, ...], Field(min_length=1)]
    image_type_includes: tuple[Text, ...] = ()
    image_type_excludes: tuple[Text, ...] = ("LOCALIZER",)
    derived: bool = False
    secondary_capture: bool = False
    burned_in_annotation: bool = False
    description_includes: tuple[Text, ...] = ()
    description_excludes: tuple[Text, ...] = ()
    kernel_includes: tuple[Text, ...] = ()
    kernel_excludes: tuple[Text, ...] = ()
    contrast: Literal["any", "with", "without"] = "any"
    contrast_phase_includes: tuple[Text, ...] = ()
    orientation: tuple[Literal["axial", "coronal", "sagittal", "oblique"], ...] = ()
    slice_thickness_mm: Range | None = None
    minimum_slices: Annotated[int, Field(ge=1)] = 1
    maximum_slices: Annotated[int, Field(ge=1)] = 100_000
    prefer_body_part: tuple[Text, ...] = ()
    prefer_description: tuple[Text, ...] = ()
    prefer_kernel: tuple[Text, ...] = ()
    prefer_thickness_mm: Annotated[float, Field(gt=0)] | None = None
    values: Literal["modality", "suv_bw"] = "modality"
    colour: Literal["grey", "rgb"] = "grey"
    fill: float = 0.0
    minimum_cover: Annotated[float, Field(ge=0, le=1)] = 0.8

    @model_validator(mode="after")
    def _patterns_compile(self) -> Input:
        for key in PATTERNS:
            for pattern in getattr(self, key):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(f"{key}: {pattern!r} is not a regular expression: {error}") from None
        return self

    @model_validator(mode="after")
    def _makes_sense(self) -> Input:
        if self.values == "suv_bw" and set(self.modality) != {"PT"}:
            raise ValueError('values = "suv_bw" is for modality = ["PT"]')
        if self.minimum_slices > self.maximum_slices:
            raise ValueError("minimum_slices is more than maximum_slices")
        if self.slice_thickness_mm and self.slice_thickness_mm[0] > self.slice_thickness_mm[1]:
            raise ValueError("slice_thickness_mm: the least is more than the most")
        return self


PATTERNS = (
    "description_includes",
    "description_excludes",
    "kernel_includes",
    "kernel_excludes",
    "contrast_phase_includes",
    "prefer_description",
    "prefer_kernel",
)


class Segment(_Part):
    """What one label value means."""

    value: Annotated[int, Field(ge=1, le=65535)]
    label: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    category: Code
    type: Code
    laterality: Code | None = None
    anatomic_region: Code | None = None
    colour: tuple[
        Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
    ]
    plausible_ml: tuple[float, float] | None = None


class Card(_Part):
    """A network's model card."""

    format: Literal[1]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    title: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    manufacturer: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    device_uid: Annotated[str, StringConstraints(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)]
    intended_use: Text
    licence: Text
    weights_licence: Text
    take: Literal["best", "every"] = "best"
    config: str = "configs/inference.json"
    weights: str = "models/model.pt"
    smallest_component_ml: Annotated[float, Field(ge=0)] = 0
    smallest_component_part: Annotated[float, Field(ge=0, lt=1)] = 0
    one_class_per_core_mm: Annotated[float, Field(ge=0)] = 0
    fill_holes_mm2: Annotated[float, Field(ge=0)] = 0
    input: Annotated[tuple[Input, ...], Field(min_length=1)]
    segment: Annotated[tuple[Segment, ...], Field(min_length=1)]
    files: dict[str, Sha256]

    @model_validator(mode="after")
    def _fits_together(self) -> Card:
        values = [segment.value for segment in self.segment]
        if len(set(values)) != len(values):
            raise ValueError("two [[segment]] have the same value")
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
