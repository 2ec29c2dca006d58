"""Key images and documents: whole, readable, and of images of the run (PS3.3 C.8.6, C.24.2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from ...study.facts import text
from .read import Read
from .together import Together

#: samples per pixel, photometric interpretation
COLOURS = ((3, "RGB"), (1, "MONOCHROME2"))


def key_image_faults(one: Read, together: Together) -> Iterator[str]:
    """Whether a secondary capture is a picture of images of the run."""
    ds = one.ds
    samples = int(ds.SamplesPerPixel)
    if (samples, text(ds, "PhotometricInterpretation")) not in COLOURS or (samples == 3 and ds.PlanarConfiguration):
        yield "its pixels are neither grey nor colour by pixel"
    if [int(ds[keyword].value) for keyword in ("BitsAllocated", "BitsStored", "HighBit")] != [8, 8, 7]:
        yield "its pixels have not 8 bits"
    size = int(ds.Rows) * int(ds.Columns) * samples * int(ds.get("NumberOfFrames") or 1)
    if len(ds.PixelData) != size + size % 2:
        yield f"its pixels take {size} bytes, and there are {len(ds.PixelData)}"
    elif not np.ptp(np.frombuffer(ds.PixelData, np.uint8, size)):
        yield "it shows nothing: all its pixels are the same"
    if text(ds, "ImageType").split("\\")[:2] != ["DERIVED", "SECONDARY"]:
        yield "ImageType does not say that it is derived and secondary"
    if not text(ds, "ConversionType"):
        yield "ConversionType is lacking"
    if text(ds, "BurnedInAnnotation") != ("YES" if _shows_a_burnt_in_text(ds, together) else "NO"):
        yield "BurnedInAnnotation does not say what the images say that it shows"
    yield from _of_the_run(ds, "SourceImageSequence", {uid for uid, _ in together.images})


def _shows_a_burnt_in_text(ds: Dataset, together: Together) -> bool:
    """Whether an image that the picture shows says that its pixels may name the patient; the contours never do."""
    shown = {text(item, "ReferencedSOPInstanceUID") for item in ds.get("SourceImageSequence") or ()}
    headers = together.run.volume.headers
    return any(
        text(one, "SOPInstanceUID") in shown and text(one, "BurnedInAnnotation").upper() == "YES" for one in headers
    )


def document_faults(one: Read, together: Together) -> Iterator[str]:
    """Whether an encapsulated PDF is one, from its head to its end."""
    ds = one.ds
    if text(ds, "MIMETypeOfEncapsulatedDocument") != "application/pdf":
        yield "it is not said to be a PDF"
    document = whole_document(ds)
    if document is None:
        yield "the document is not as long as it says"
    elif not document.startswith(b"%PDF-") or not document.rstrip(b"\0\r\n ").endswith(b"%%EOF"):
        yield "the document does not begin and end as a PDF does"
    if text(ds, "BurnedInAnnotation") not in ("YES", "NO"):
        yield "BurnedInAnnotation does not say whether it names the patient"
    known = {uid for uid, _ in together.images} | {
        text(other.ds, "SOPInstanceUID") for other in together.objects.values()
    }
    yield from _of_the_run(ds, "SourceInstanceSequence", known)


def whole_document(ds: Dataset) -> bytes | None:
    """The encapsulated document without its padding; None where it is not as long as the header says."""
    document = bytes(ds.get("EncapsulatedDocument") or b"")
    length = int(ds.get("EncapsulatedDocumentLength", len(document)))
    return document[:length] if document and length <= len(document) <= length + length % 2 else None


def _of_the_run(ds: Dataset, keyword: str, known: set[str]) -> Iterator[str]:
    named = {text(item, "ReferencedSOPInstanceUID") for item in ds.get(keyword) or ()}
    if not named or named - known:
        yield f"{keyword} does not name objects of the run"
