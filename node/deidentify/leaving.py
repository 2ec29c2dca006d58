"""Which objects may leave at all: what is drawn into pixels, written into documents, or has no profile stays."""

from __future__ import annotations

from collections.abc import Collection

from pydicom.dataset import Dataset

from ..errors import Refused
from ..objects.characters import texts
from .options import Option

#: SOP classes whose pixels usually hold a name, or show a face or a label: secondary capture, ultrasound, visible light
#: (endoscopy, photographs, microscopy, whole slides with their glass labels), films that were printed
DRAWN_INTO = (
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.77",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
)
#: PDF, CDA, STL and others inside of DICOM
DOCUMENTS = "1.2.840.10008.5.1.4.1.1.104"
#: fluoroscopy: only where the sender says that nothing is drawn in
DOUBTFUL = ("1.2.840.10008.5.1.4.1.1.12", "1.2.840.10008.5.1.4.1.1.13")
#: what was dictated, and other sounds
AUDIO = "1.2.840.10008.5.1.4.1.1.9.4"
RAW = "1.2.840.10008.5.1.4.1.1.66"
#: of ImageType: pictures of screens, of the label of a slide, of a slide with its label
PICTURES = {"SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "CAPTURE", "LABEL", "OVERVIEW"}
#: retired: an overlay without data of its own is in the pixels (PS3.3 2004 C.9.2)
OVERLAYS, BIT_POSITION, OVERLAY_DATA = range(0x6000, 0x6020, 2), 0x0102, 0x3000
HEAD = {"HEAD", "BRAIN", "SKULL", "FACE", "ORBIT", "SINUS", "HEADNECK", "NECK"}


def require(ds: Dataset, options: Collection[Option], *, with_burned_in: bool) -> None:
    """An object may leave.

    Args:
        with_burned_in: a person has looked at the pixels, or does not mind.

    Raises:
        Refused: `burned-in-annotation`, `may-be-burned-in`, `document`, `recording`, `raw-data`,
            `content-not-cleaned`, `no-class`.
    """
    sop_class = _first(ds, "SOPClassUID")
    if not sop_class:
        raise Refused("no-class", "it says not what it is")
    if sop_class == RAW:
        raise Refused("raw-data", "raw data is in a form of its maker's, and nothing is known of what is in it")
    if _is_of(sop_class, (DOCUMENTS,)):
        raise Refused("document", "the profile leaves nothing of a document, which may name the patient in any way")
    if _is_of(sop_class, (AUDIO,)):
        raise Refused("recording", "a voice may say the patient's name, and names who speaks")
    if not with_burned_in:
        _require_clean_pixels(ds, sop_class)
    if ds.get("ContentSequence") and Option.CLEAN_STRUCTURED_CONTENT not in options:
        raise Refused("content-not-cleaned", "a report leaves only with the option clean-structured-content")
    if ds.get("GraphicAnnotationSequence") and Option.CLEAN_GRAPHICS not in options:
        raise Refused("content-not-cleaned", "a presentation state leaves only with the option clean-graphics")


def _require_clean_pixels(ds: Dataset, sop_class: str) -> None:
    burned = _first(ds, "BurnedInAnnotation").upper()
    if burned == "YES":
        raise Refused("burned-in-annotation", "text is burned into its pixels and may name the patient")
    if _is_of(sop_class, DRAWN_INTO):
        raise Refused("may-be-burned-in", "objects of its kind mostly have text in their pixels, or show a person")
    if _is_of(sop_class, DOUBTFUL) and burned != "NO":
        raise Refused("may-be-burned-in", "it does not say that no text is in its pixels")
    if PICTURES & {one.upper() for one in texts(ds, "ImageType")}:
        raise Refused("may-be-burned-in", "it is a picture of a screen or of a label")
    if any((group, BIT_POSITION) in ds and (group, OVERLAY_DATA) not in ds for group in OVERLAYS):
        raise Refused("may-be-burned-in", "an overlay is in the unused bits of its pixels")


def shows_face(ds: Dataset) -> bool:
    """Whether a face may be made of its slices (PS3.15 E.3.2), as far as BodyPartExamined says so."""
    if _first(ds, "Modality") not in ("CT", "MR", "PT"):
        return False
    part = _first(ds, "BodyPartExamined").upper().replace(" ", "")
    return part in HEAD


def _is_of(sop_class: str, classes: Collection[str]) -> bool:
    return any(sop_class == one or sop_class.startswith(f"{one}.") for one in classes)


def _first(ds: Dataset, keyword: str) -> str:
    return next(iter(texts(ds, keyword)), "")
