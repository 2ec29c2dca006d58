"""The pages of a run's report: who and what, doubts, numbers, pictures, how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from pydicom.dataset import Dataset
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Image, KeepTogether, Spacer, Table

from ..run import Run
from . import planes, report_tables, tiles, words
from .choice import shown
from .drawing import Look
from .fonts import in_document
from .paper import (
    ALERT,
    CELL,
    FAINT,
    HEAD,
    HEADING,
    NOTE,
    SHADE,
    TITLE,
    WARNING,
    WARNING_INK,
    WIDTH,
    boxed,
    document,
    say,
)
from .tiles import Tile
from .words import NONE

#: pictures in a row, and their pixels: about 200 to the inch
OVERVIEW_COLUMNS, OVERVIEW_PIXELS = 4, 340
PAIR_COLUMNS, PAIR_PIXELS = 2, 680
OVERVIEW_LOOK = Look(OVERVIEW_PIXELS, OVERVIEW_PIXELS, 17, 3)
PAIR_LOOK = Look(PAIR_PIXELS, PAIR_PIXELS, 24, 3)
GAP = 3 * mm
JPEG_QUALITY = 90
AXES = (
    "Long axis: the longest diameter in any one slice, between the outer corners of pixels; short axis: the longest "
    "one at a right angle to it in the same slice. Pieces: connected parts, by faces, edges or corners."
)
VOLUMES = (
    "Volume: the sum of the voxels. 3D diameter: the largest distance between two corners of voxels. Surface: by "
    "marching cubes."
)
#: a picture with the line above it
Cell = tuple[str, Tile]
PATIENT = ("PatientName", "PatientID", "PatientBirthDate")


def pages(run: Run, ds: Dataset, *, marked: bool) -> bytes:
    """The report as PDF.

    Args:
        ds: the object that it will be in: it says who the patient is, and when the report was made.
        marked: a person should look at this result before trusting it.
    """
    network = words.network(run.provenance)
    name = next((group for group in _values(ds, "PatientName").split("=") if group), NONE)
    patient = " · ".join((name, _values(ds, "PatientID"), _values(ds, "PatientBirthDate")))
    return document(
        [
            say(f"{network}: report", TITLE),
            _who(run, ds),
            *_doubts(run, marked=marked),
            *_numbers(run),
            *_comparison(run),
            *_pictures(run),
            *_method(run, ds),
        ],
        title=f"{network}: report",
        author=f"{words.network_by_name(run.provenance)} at Planimeter {run.provenance.node_version}",
        head=f"{network} · study of {words.day(_values(ds, 'StudyDate', ''))}",
        foot=patient,
        warning=words.RESEARCH,
    )


def _values(ds: Dataset, keyword: str, nothing: str = NONE) -> str:
    """An element as it stands in the header; dates in the form of ISO 8601."""
    text = str(ds.get(keyword) or "")
    return (words.day(text) if keyword == "PatientBirthDate" and text else text) or nothing


def _who(run: Run, ds: Dataset) -> Table:
    """Patient and study, as the header of this object has them, and what made the report."""
    source, provenance = run.sources[0], run.provenance
    made = " ".join((words.day(str(ds.ContentDate)), _clock(str(ds.ContentTime)), _zone(ds)))
    series = (
        str(source.get("Modality") or ""),
        str(source.get("SeriesNumber") or ""),
        _values(source, "SeriesDescription", ""),
    )
    left = (
        ("Patient", _values(ds, "PatientName")),
        ("Patient ID", _values(ds, "PatientID")),
        ("Birth date, sex", f"{_values(ds, 'PatientBirthDate')}, {_values(ds, 'PatientSex')}"),
        ("Study", f"{words.day(_values(ds, 'StudyDate', ''))}  {_values(ds, 'StudyDescription', '')}"),
        ("Accession", _values(ds, "AccessionNumber")),
        ("Series", " ".join(part for part in series if part)),
    )
    right = (
        ("Network", f"{provenance.card.title} {provenance.card.version}"),
        ("Made by", provenance.card.manufacturer),
        ("Weights", provenance.weights_sha256[:16]),
        ("Device UID", provenance.card.device_uid),
        ("Report of", made.strip()),
        ("Revision", str(provenance.revision)),
    )
    rows = [
        [say(name, HEAD), say(value, CELL), say(other, HEAD), say(its, CELL)]
        for (name, value), (other, its) in zip(left, right, strict=True)
    ]
    made_of = Table(rows, colWidths=[27 * mm, 54 * mm, 20 * mm, WIDTH - 101 * mm], hAlign="LEFT")
    made_of.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BACKGROUND", (0, 0), (-1, -1), SHADE),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
        ]
    )
    return made_of


def _clock(time: str) -> str:
    return f"{time[:2]}:{time[2:4]}:{time[4:6]}"


def _zone(ds: Dataset) -> str:
    offset = str(ds.get("TimezoneOffsetFromUTC") or "")
    return f"(UTC{offset[:3]}:{offset[3:]})" if offset else ""


def _doubts(run: Run, *, marked: bool) -> list[Flowable]:
    """The flags, or that there are none."""
    found: list[Flowable] = []
    if not any(one.voxels for one in run.measured):
        found += [Spacer(0, 3 * mm), boxed([say(words.NOTHING_FOUND, HEADING)], SHADE, FAINT)]
    if not run.flags and not marked:
        return [*found, say("Quality checks: nothing to report.", HEADING)]
    head = "CHECK: a person should look at this result before it is used"
    lines = [say(f"CHECK: {flag.sentence}") for flag in run.flags]
    return [*found, Spacer(0, 3 * mm), boxed([say(head, ALERT), *lines], WARNING, WARNING_INK)]


def _numbers(run: Run) -> list[Flowable]:
    found: list[Flowable] = [say("Measurements", HEADING), report_tables.sizes(run)]
    if (of_values := report_tables.intensities(run)) is not None:
        found += [Spacer(0, 3 * mm), of_values]
    for label, of_it, more in report_tables.lesions(run):
        found += [say(f"Lesions: {label}", HEADING), of_it]
        if more:
            found.append(say(f"and {more} smaller ones", NOTE))
    return found


def _pictures(run: Run) -> list[Flowable]:
    of = planes.scene(run)
    what = " · ".join(part for part in (planes.lie(of.geometry), tiles.window_of(run).name) if part)
    several = len(of.labels) > 1
    columns = OVERVIEW_COLUMNS if several else PAIR_COLUMNS
    overview = [("", tile) for tile in tiles.overview(run, of, OVERVIEW_LOOK if several else PAIR_LOOK)]
    rows = [_row(overview[n : n + columns], columns) for n in range(0, len(overview), columns)]
    found: list[Flowable] = [
        KeepTogether([say(f"Overview{': ' if what else ''}{what}", HEADING), rows[0]]),
        *rows[1:],
    ]
    cells = [
        [(_sized(run, n), tile) for tile in tiles.of_segment(run, of, n, PAIR_LOOK, PAIR_LOOK)] for n in shown(run)
    ]
    if cells:
        rows = [_row(row, PAIR_COLUMNS) for row in _in_rows(cells)]
        found += [KeepTogether([say("Segments", HEADING), rows[0]]), *rows[1:]]
    return found


def _sized(run: Run, n: int) -> str:
    return f"{run.provenance.card.segment[n].label}: {words.size(run.measured[n])}"


def _in_rows(cells: Sequence[list[Cell]]) -> list[list[Cell]]:
    """Segments with one picture two in a row, those with two pictures each in a row of its own."""
    rows: list[list[Cell]] = []
    for of_one in cells:
        if rows and len(rows[-1]) + len(of_one) <= PAIR_COLUMNS:
            rows[-1] += of_one
        else:
            rows.append(list(of_one))
    return rows


def _row(cells: Sequence[Cell], columns: int) -> Table:
    """Pictures beside one another, each with a line above and one below it."""
    room = (WIDTH - (columns - 1) * GAP) / columns
    rows = [
        [say(above, HEAD) for above, _ in cells],
        [_picture(tile, room) for _, tile in cells],
        [say(tile.caption, NOTE) for _, tile in cells],
    ]
    widths = [room + (GAP if place < columns - 1 else 0) for place in range(len(cells))]
    made = Table(rows if any(above for above, _ in cells) else rows[1:], colWidths=widths, hAlign="LEFT")
    made.setStyle(
        [
            ("LEFTPADDING", (0, 0), (-1, -1), 0),
            ("RIGHTPADDING", (0, 0), (-1, -1), 0),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ("VALIGN", (0, 0), (-1, -2), "BOTTOM"),
            ("VALIGN", (0, -1), (-1, -1), "TOP"),
        ]
    )
    return made


def _picture(tile: Tile, room: float) -> Image:
    """As JPEG, with the colours at full resolution: contours are thin."""
    stream = BytesIO()
    tile.image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    stream.seek(0)
    scale = min(room / tile.image.width, room / tile.image.height)
    return Image(stream, tile.image.width * scale, tile.image.height * scale, hAlign="LEFT")


def _comparison(run: Run) -> list[Flowable]:
    if not run.changes:
        return [say("Comparison", HEADING), say("Not compared with an earlier result.", CELL)]
    return [KeepTogether([say("Comparison with the prior result", HEADING), report_tables.changes(run)])]


def _method(run: Run, ds: Dataset) -> list[Flowable]:
    """How the numbers came about, and what the document cannot show."""
    lines = [*_of_input(run), *_of_measuring(run)]
    lines.append(
        f"Network {words.network_by_name(run.provenance)}, weights SHA-256 {run.provenance.weights_sha256}, run by "
        f"Planimeter {run.provenance.node_version}, node {run.provenance.node_serial}. Intended use: "
        f"{run.provenance.card.intended_use}"
    )
    lines += _of_letters(ds)
    return [KeepTogether([say("Method", HEADING), *(say(line, NOTE) for line in lines)])]


def _of_input(run: Run) -> list[str]:
    slices, rows, columns = run.labels.shape
    of = planes.scene(run)
    across, down = of.spacing_mm
    if not run.volume.geometry.in_patient:
        unit = words.unit(of.size)
        said = (
            f", {across:.4g} × {down:.4g} {unit} each"
            if unit != "pixels"
            else ", of unknown size: lengths are in pixels"
        )
        return [f"Images: {slices}, of {columns} × {rows} pixels{said}."]
    step = run.volume.geometry.slice_step_mm
    said = f"{slices} slices of {columns} × {rows} pixels of {across:.3f} × {down:.3f} mm, {step:.2f} mm apart"
    return [f"Images: {said}. A length across the slices is not known more exactly than that."]


def _of_measuring(run: Run) -> list[str]:
    found = [AXES]
    if run.volume.geometry.in_patient:
        found.append(VOLUMES)
    if not all(one.voxels for one in run.measured):
        found.append("A segment that was looked for and not found has the size 0.")
    return found


def _of_letters(ds: Dataset) -> list[str]:
    printed = (in_document(str(ds.get(keyword) or "")) for keyword in (*PATIENT, "StudyDescription"))
    lacking = sorted({script for one in printed for script in one.lacking})
    if not lacking:
        return []
    return [f"This document has no letters for: {', '.join(lacking)}. The name is in the header of the DICOM object."]
