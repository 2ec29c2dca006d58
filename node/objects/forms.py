"""Which objects a run has: the forms that destinations want, and what takes the place of a form that one refuses.

A form is the kind of a result and its options; together with the run it is the result's identity (promise 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)

from models.finding_rules import Result

SEG, SR, SC, PDF, RTSTRUCT, STL, KOS, PM = "SEG", "SR", "SC", "PDF", "RTSTRUCT", "STL", "KOS", "PM"
BINARY, LABEL_MAP, COMPREHENSIVE, MARKED = "BINARY", "LABELMAP", "COMPREHENSIVE", "MARKED"
VOLUMES, DIAMETERS = "TID1411", "TID1501"
BOXES, FINDING = "BOXES", "FINDING"
REPORT, CONTOURS, ENTROPY = "REPORT", "CONTOURS", "ENTROPY"
#: pydicom has no name for it yet
LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")


class Form(NamedTuple):
    """One object of a run.

    Attributes:
        kind: SEG, SR, SC, PDF, RTSTRUCT, STL, PM.
        options: words joined by "-", the first of which names the object within its kind.
    """

    kind: str
    options: str

    @classmethod
    def of(cls, kind: str, *words: str, marked: bool = False) -> Form:
        """A form from its words; a marked one is a result of its own, with other bytes and another UID."""
        return cls(kind, "-".join((*words, MARKED) if marked else words))

    @property
    def words(self) -> list[str]:
        return self.options.split("-")

    @property
    def base(self) -> str:
        return self.words[0]

    @property
    def number(self) -> int:
        """Of a key image, or of the segment whose surface it is."""
        return int(self.base.removeprefix("KEY").removeprefix("SEGMENT"))

    def has(self, word: str) -> bool:
        return word in self.words

    @property
    def transfer_syntax(self) -> UID:
        """Of the stored bytes. Label maps and maps would be large without compression; a contour may be longer than the
        64 KiB that a value has in explicit VR (PS3.5 7.1.2)."""
        if self.kind == RTSTRUCT:
            return ImplicitVRLittleEndian
        packed = self.kind == PM or (self.kind == SEG and self.has(LABEL_MAP))
        return RLELossless if packed else ExplicitVRLittleEndian


@dataclass(frozen=True)
class Wish:
    """What one destination wants of a run.

    Attributes:
        objects: kinds.
        label_map: it shows label maps; then it gets no binary segmentation.
        marked: people are to be warned in series descriptions and pictures.
        surfaces: numbers of the segments that it gets as STL.
    """

    objects: frozenset[str] = frozenset({SEG, SR})
    label_map: bool = False
    marked: bool = False
    surfaces: tuple[int, ...] = ()


def key_image(number: int, *, marked: bool = False) -> Form:
    """One of the key images of a run, counted from 1."""
    return Form.of(SC, f"KEY{number:02d}", marked=marked)


def surface(segment_number: int, *, marked: bool = False) -> Form:
    """The surface of a segment, counted from 1 in the card."""
    return Form.of(STL, f"SEGMENT{segment_number}", marked=marked)


#: Label Map Segmentation -> Segmentation, Comprehensive 3D SR -> Comprehensive SR
OTHER_CLASS = {
    LABEL_MAP_SEGMENTATION_STORAGE: str(SegmentationStorage),
    str(Comprehensive3DSRStorage): str(ComprehensiveSRStorage),
}
#: what is made of every run, whoever wants it
PLAIN = (Form(SEG, BINARY), Form(SR, VOLUMES), Form(SR, DIAMETERS))
#: the same of a network that gives no label map
OF_RESULT = {Result.SEGMENTS: PLAIN, Result.BOXES: (Form(SR, BOXES),), Result.FINDING: (Form(SR, FINDING),)}


def wanted(wish: Wish, key_images: int, *, has_contours: bool, has_map: bool = False) -> list[Form]:
    """What a destination gets, in the order of sending: what others refer to goes first.

    Args:
        key_images: how many there are.
        has_contours: whether the images are a volume, whose contours lie in the patient.
        has_map: whether the network was asked several times (`parametric.can_have`).
    """
    marked = wish.marked
    edition = [LABEL_MAP] if wish.label_map else []
    forms = []
    if SEG in wish.objects:
        forms.append(Form.of(SEG, LABEL_MAP if wish.label_map else BINARY, marked=marked))
    if SR in wish.objects:
        forms += [Form.of(SR, template, *edition, marked=marked) for template in (VOLUMES, DIAMETERS)]
    if SC in wish.objects:
        forms += [key_image(number, marked=marked) for number in range(1, key_images + 1)]
    if PDF in wish.objects:
        forms.append(Form.of(PDF, REPORT, marked=marked))
    if RTSTRUCT in wish.objects and has_contours:
        forms.append(Form.of(RTSTRUCT, CONTOURS, marked=marked))
    if STL in wish.objects and has_contours:
        forms += [surface(number, marked=marked) for number in wish.surfaces]
    if PM in wish.objects and has_map:
        forms.append(Form.of(PM, ENTROPY, marked=marked))
    return forms


def wanted_without_mask(wish: Wish, result: Result) -> tuple[list[Form], list[str]]:
    """What a destination gets of a detector or a classifier: the report, in the order of sending.

    Returns:
        And the kinds that it asks for and does not get, since they show a label map.
    """
    forms = [Form.of(SR, form.base, marked=wish.marked) for form in OF_RESULT[result]]
    return forms if SR in wish.objects else [], sorted(wish.objects - {SR})


def in_place_of(form: Form, refused: Form) -> Form | None:
    """What is sent instead of a form where the destination refuses the SOP class of another, or of this one.

    A label map that is refused takes its reports with it: they go to the binary segmentation that comes instead. A
    Comprehensive 3D SR that is refused becomes a Comprehensive SR. Nothing goes back.

    Returns:
        None where the form stays as it is, or where nothing can take its place.
    """
    if refused.kind == SEG and refused.has(LABEL_MAP) and form.has(LABEL_MAP):
        instead = [BINARY] if form.kind == SEG else []
        words = [each for word in form.words for each in (instead if word == LABEL_MAP else [word])]
        return Form(form.kind, "-".join(words))
    if refused.kind == SR and form.kind == SR and not refused.has(COMPREHENSIVE) and not form.has(COMPREHENSIVE):
        marked = form.has(MARKED)
        words = [word for word in form.words if word != MARKED]
        return Form.of(SR, *words, COMPREHENSIVE, marked=marked)
    return None


def with_what_may_take_their_place(forms: Iterable[Form], plain: Sequence[Form] = PLAIN) -> list[Form]:
    """Everything that has to be made, so that no destination has to wait for a form that it can take.

    Args:
        plain: what is made of such a run, whoever wants it.
    """
    made = set(forms)
    for refused in (Form(SEG, LABEL_MAP), Form(SR, VOLUMES)):
        made |= {other for form in made if (other := in_place_of(form, refused)) is not None}
    return sorted(made.union(plain), key=_order)


def _order(form: Form) -> tuple[int, str]:
    return (SEG, SR, SC, PDF, RTSTRUCT, STL, PM).index(form.kind), form.options


def classes_in_place_of(classes: Iterable[str]) -> list[str]:
    """The SOP classes of what may take the place of objects of these classes, to be proposed with them."""
    return sorted({OTHER_CLASS[one] for one in classes if one in OTHER_CLASS})
