"""Key images: pictures of the result as Secondary Capture, for a PACS that shows neither segmentations nor reports.

PS3.3 A.8.1, C.8.6. One series: an overview, then each segment where there is most of it. No picture names the patient.
"""

from __future__ import annotations

from collections.abc import Iterator

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import SecondaryCaptureImageStorage

from ...study.facts import text
from .. import references
from ..begun import as_file, begun
from ..forms import key_image
from ..identity import KEY_IMAGES_SERIES_NUMBER
from ..run import Run
from . import planes, tiles, words
from .choice import shown
from .drawing import Look, bright
from .fonts import in_picture
from .lossy import carry_over
from .planes import Scene
from .sheet import Entry, Sheet, compose, room_of
from .workstation import put_workstation

WIDTH, COLUMNS = 1280, 4
HEIGHT = 900
#: letters and contours of a picture that is one of many, one of two, and one
SMALL, HALF, LARGE = 15, 18, 20
#: body parts that have no other side (PS3.16 annex L), of those that scanners write most
UNPAIRED = (
    *("ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "HEAD", "HEADNECK", "HEART"),
    *("LIVER", "NECK", "NECKCHEST", "PANCREAS", "PELVIS", "PROSTATE", "SPINE", "CSPINE", "TSPINE", "LSPINE", "SKULL"),
    *("SPLEEN", "STOMACH", "UTERUS", "WHOLEBODY"),
)
DERIVATION = hd.sr.CodedConcept("113076", "DCM", "Segmentation")
PURPOSE = hd.sr.CodedConcept("121322", "DCM", "Source image for image processing operation")


def key_images(run: Run, *, marked: bool = False) -> list[bytes]:
    """The key images of a run, as files.

    Args:
        marked: a person should look at this result before trusting it.
    """
    return [
        as_file(_instance(run, number, image, slices, marked=marked))
        for number, (image, slices) in enumerate(pictures(run, marked=marked), 1)
    ]


def pictures(run: Run, *, marked: bool = False) -> Iterator[tuple[Image.Image, list[int]]]:
    """The pictures of a run, each with the slices that it was made of."""
    of = planes.scene(run)
    which = shown(run)
    yield _overview(run, of, len(which) + 1, marked=marked)
    for place, n in enumerate(which, 2):
        yield _of_segment(run, of, n, (place, len(which) + 1), marked=marked)


def _overview(run: Run, of: Scene, count: int, *, marked: bool) -> tuple[Image.Image, list[int]]:
    several = len(of.labels) > 1
    columns = COLUMNS if several else 1
    room = room_of(WIDTH, columns)
    pictured = tiles.overview(run, of, Look(room, room if several else HEIGHT, SMALL if several else LARGE))
    found = any(one.voxels for one in run.measured)
    sheet = Sheet(
        width=WIDTH,
        columns=columns,
        title=_title(run, "overview"),
        below=_below(run, (1, count), planes.lie(of.geometry), tiles.window_of(run).name),
        warnings=_warnings(run, marked=marked),
        notice="" if found else words.NOTHING_FOUND,
        tiles=pictured,
        legend=[_entry(run, n) for n in range(len(run.measured))],
        footer=_footer(run),
    )
    slices = [tile.slice for tile in pictured if tile.slice is not None]
    return compose(sheet), slices


def _of_segment(run: Run, of: Scene, n: int, place: tuple[int, int], *, marked: bool) -> tuple[Image.Image, list[int]]:
    half = room_of(WIDTH, 2)
    pictured = tiles.of_segment(run, of, n, Look(room_of(WIDTH, 1), HEIGHT, LARGE), Look(half, half, HALF))
    value = run.provenance.card.segment[n].value
    sheet = Sheet(
        width=WIDTH,
        columns=len(pictured),
        title=_title(run, _label(run, n)),
        below=_below(run, place),
        warnings=_warnings(run, value, marked=marked),
        tiles=pictured,
        legend=[_entry(run, n, axes=True)],
        footer=_footer(run),
    )
    return compose(sheet), [tile.slice for tile in pictured if tile.slice is not None]


def _title(run: Run, what: str) -> str:
    network = in_picture(words.network(run.provenance), words.network_by_name(run.provenance))
    return f"{network}: {what}"


def _below(run: Run, place: tuple[int, int], *more: str) -> str:
    source = run.sources[0]
    series = source.get("SeriesNumber")
    parts = (
        f"key image {place[0]} of {place[1]}",
        f"study of {words.day(str(source.get('StudyDate') or ''))}",
        f"{source.get('Modality') or 'images'}{f' series {series}' if series not in (None, '') else ''}",
        *more,
    )
    return "  ·  ".join(part for part in parts if part)


def _label(run: Run, n: int) -> str:
    segment = run.provenance.card.segment[n]
    return in_picture(segment.label, words.meaning(segment))


def _entry(run: Run, n: int, *, axes: bool = False) -> Entry:
    """A segment with what was measured of it."""
    measured, label = run.measured[n], _label(run, n)
    size = f"{label}  {words.size(measured)}" if measured.voxels else f"{label}: not found"
    said = ", ".join(part for part in (size, words.axes(measured) if axes else "") if part)
    return Entry(bright(run.provenance.card.segment[n].colour), said)


def _warnings(run: Run, value: int | None = None, *, marked: bool) -> tuple[str, ...]:
    """Of the whole result; of one segment, those about it and those about no segment."""
    about = [flag.sentence for flag in run.flags if value is None or flag.segment in (None, value)]
    if marked and not about:
        about = ["a person should look at this result before it is used"]
    return tuple(about)


def _footer(run: Run) -> str:
    provenance = run.provenance
    return (
        f"Contours by a neural network: {words.network_by_name(provenance)}, "
        f"weights {provenance.weights_sha256[:12]}. Not for measuring: the numbers are in the report."
    )


def _instance(run: Run, number: int, image: Image.Image, slices: list[int], *, marked: bool) -> Dataset:
    ds = begun(
        run,
        key_image(number, marked=marked),
        SecondaryCaptureImageStorage,
        "OT",
        KEY_IMAGES_SERIES_NUMBER,
        run.provenance.described("key images", marked=marked),
        series_of=key_image(1, marked=marked),
        instance_number=number,
    )
    put_workstation(run, ds)
    body_part = str(run.sources[0].get("BodyPartExamined") or "")
    if body_part:
        ds.BodyPartExamined = body_part
    if body_part not in UNPAIRED:  # type 2C, empty where it is not known (PS3.3 C.7.3.1)
        side = text(run.volume.headers[0], "Laterality").upper()
        ds.Laterality = side if side in ("L", "R") else ""
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    ds.PatientOrientation = ""
    named = any(text(run.volume.headers[k], "BurnedInAnnotation").upper() == "YES" for k in slices)
    ds.BurnedInAnnotation = "YES" if named else "NO"  # what we add names nobody; the image below may
    ds.DerivationDescription = "Contours of a segmentation over the images"
    ds.DerivationCodeSequence = DicomSequence([DERIVATION])
    ds.SourceImageSequence = references.images(run, slices, frames=True)
    for item in ds.SourceImageSequence:
        item.PurposeOfReferenceCodeSequence = DicomSequence([PURPOSE])
    carry_over(run, slices, ds)
    _put_pixels(ds, image)
    return ds


def _put_pixels(ds: Dataset, image: Image.Image) -> None:
    pixels = np.asarray(image)
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
