"""What a model card says of the series that a network reads: plain values, whose meaning in DICOM is the node's."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Text = Annotated[str, StringConstraints(min_length=1)]
Code = tuple[Annotated[str, StringConstraints(min_length=1, max_length=16)], Text, Text]
"""code value, coding scheme designator, code meaning"""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a card: immutable, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def in_order(value: tuple[float, float]) -> tuple[float, float]:
    """Two numbers of which the second is not less.

    Raises:
        ValueError: it is.
    """
    if value[0] > value[1]:
        raise ValueError("the least is more than the most")
    return value


Range = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]],
    AfterValidator(in_order),
]


class Input(Part):
    """One channel: which series it is read from, and as what. Rules refuse; preferences (`prefer_`) rank.

    Or what another network found in the same study; then `channel`, `kind`, `fill` and `minimum_cover` are all that may
    stand beside `network` and `segments`.

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
        network: whose result is read instead of images, on the grid of the first channel.
        segments: labels or label values of that network's card: 1 inside any of them, 0 elsewhere; where none is named,
            its label values as they are.
    """

    channel: Text = "image"
    kind: Literal["volume", "image"] = "volume"
    modality: tuple[Text, ...] = ()
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
    network: str = ""
    segments: tuple[Text | int, ...] = ()

    @property
    def source(self) -> str:
        """Where it is read from, in a few words."""
        return f"result of {self.network}" if self.network else ", ".join(self.modality)

    @model_validator(mode="after")
    def _of_images_or_of_a_network(self) -> Input:
        if self.network:
            if wrong := sorted(self.model_fields_set - BESIDE_A_NETWORK):
                raise ValueError(f"{', '.join(wrong)}: rules for images, of which a result of {self.network} has none")
        elif not self.modality:
            raise ValueError("needs `modality`, or the `network` whose result it is")
        elif self.segments:
            raise ValueError("segments: of which `network`?")
        return self

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
        return self


#: what an input that is another network's result may have
BESIDE_A_NETWORK = {"channel", "kind", "fill", "minimum_cover", "network", "segments"}
PATTERNS = (
    "description_includes",
    "description_excludes",
    "kernel_includes",
    "kernel_excludes",
    "contrast_phase_includes",
    "prefer_description",
    "prefer_kernel",
)
