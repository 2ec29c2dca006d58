"""What a model card says of a network that gives no label map: a detector's boxes, or a classifier's probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Protocol

from pydantic import AfterValidator, Field, StringConstraints

from .input_rules import Code, Input, Part, in_order


class Result(StrEnum):
    """What comes out of a network."""

    SEGMENTS = "segments"
    """a label map"""
    BOXES = "boxes"
    """boxes, each with a label and a score"""
    FINDING = "finding"
    """a probability for each finding, of the input as a whole"""


Part01 = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(gt=0, lt=1)]
BoxMode = Literal["xyzxyz", "xxyyzz", "xyxyzz", "xyzwhd", "cccwhd"]


class Finding(Part):
    """What a detector's label, or a classifier's output channel means.

    Attributes:
        value: the label, or the channel; both are counted from 0.
        present_from: of a classifier: the probability from which the finding is called present.
        doubtful: least and most: a score or probability between them is flagged.
    """

    value: Annotated[int, Field(ge=0, le=65535)]
    label: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    category: Code
    type: Code
    laterality: Code | None = None
    anatomic_region: Code | None = None
    present_from: Threshold | None = None
    doubtful: Annotated[tuple[Part01, Part01], AfterValidator(in_order)] | None = None


class Boxes(Part):
    """How the boxes of a detector are read.

    Attributes:
        score_threshold: boxes with a lower score are dropped.
        maximum_boxes: of more, those with the highest scores are reported, and the result is flagged.
        mode: MONAI's name of what six numbers mean, where the bundle's postprocessing does not say it.
        space: whether they count voxels of the network's input, or are millimetres, in which direction; likewise.
    """

    score_threshold: Threshold
    maximum_boxes: Annotated[int, Field(ge=1, le=1000)] = 100
    mode: BoxMode = "xyzxyz"
    space: Literal["image", "ras", "lps"] = "image"


class Classes(Part):
    """How the output of a classifier is read.

    Attributes:
        outputs: channels of it.
        activation: what turns them into probabilities, done by the bundle or else by the host; "none": the network has
            done so.
    """

    outputs: Annotated[int, Field(ge=1, le=1000)]
    activation: Literal["softmax", "sigmoid", "none"]


class Whole(Protocol):
    """A card, as far as it matters here."""

    @property
    def result(self) -> Result: ...
    @property
    def segment(self) -> Sequence[Any]: ...
    @property
    def finding(self) -> Sequence[Finding]: ...
    @property
    def boxes(self) -> Boxes | None: ...
    @property
    def classes(self) -> Classes | None: ...
    @property
    def input(self) -> Sequence[Input]: ...
    @property
    def model_fields_set(self) -> set[str]: ...


#: keys about voxels: they say nothing where there is no label map
OF_VOXELS = (
    "smallest_component_ml",
    "smallest_component_part",
    "one_class_per_core_mm",
    "fill_holes_mm2",
    "grow_mm",
    "grow_below",
    "overlapping",
    "uncertainty",
    "augmentation",
    "gate",
    "start",
)


def contradictions(card: Whole) -> Iterator[str]:
    """What of a card does not go with its `result`; each a sentence."""
    if card.result is Result.SEGMENTS:
        yield from _of_segments(card)
        return
    if card.segment:
        yield f'[[segment]] is of label maps; what a result of "{card.result}" means stands in [[finding]]'
    if not card.finding:
        yield f'a result of "{card.result}" needs a [[finding]] for each {_counted(card)} that is to be reported'
    values = [one.value for one in card.finding]
    if len(set(values)) != len(values):
        yield "two [[finding]] have the same value"
    if useless := sorted(card.model_fields_set.intersection(OF_VOXELS)):
        yield f'a result of "{card.result}" has no voxels for {", ".join(useless)}'
    yield from _of_boxes(card) if card.result is Result.BOXES else _of_classes(card)


def _of_segments(card: Whole) -> Iterator[str]:
    if not card.segment:
        yield "it has no [[segment]]"
    for name in ("finding", "boxes", "classes"):
        if getattr(card, name):
            yield f'[{name}] is for cards whose result is "boxes" or "finding"'


def _counted(card: Whole) -> str:
    return "label" if card.result is Result.BOXES else "output channel"


def _of_boxes(card: Whole) -> Iterator[str]:
    if card.boxes is None or card.classes is not None:
        yield 'a result of "boxes" needs [boxes], and has no [classes]'
    if any(one.kind != "volume" for one in card.input):
        yield 'a result of "boxes" is read from volumes; its [[input]] has kind = "image"'
    for one in card.finding:
        if one.present_from is not None:
            yield f"{one.label}: present_from is of classifiers; a detector has score_threshold in [boxes]"


def _of_classes(card: Whole) -> Iterator[str]:
    if card.classes is None or card.boxes is not None:
        yield 'a result of "finding" needs [classes], and has no [boxes]'
        return
    if card.classes.activation == "softmax" and card.classes.outputs < 2:
        yield "softmax of one output is always 1"
    for one in card.finding:
        if one.present_from is None:
            yield f"{one.label}: present_from is lacking, the probability from which it is called present"
        if one.value >= card.classes.outputs:
            yield f"{one.label}: channel {one.value}, of {card.classes.outputs} outputs that are counted from 0"
