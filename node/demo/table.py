"""What came back, as a table: every object, and what its report says of each segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from rich.table import Table

from ..objects.reports import codes
from ..objects.reports.codes import Code

#: what a measurement may be called to stand in a column
COLUMNS: dict[str, tuple[Code, ...]] = {
    "volume": (codes.VOLUME, codes.AREA),  # an area where the images are no volume
    "mean": (codes.MEAN,),
    "long axis": (codes.LONG_AXIS,),
    "short axis": (codes.SHORT_AXIS,),
}
UNITS = {codes.HOUNSFIELD[0]: "HU", codes.GRAM_PER_MILLILITRE[0]: "SUV", codes.PIXELS[0]: "pixels", "1": ""}


def table(title: str, received: Iterable[tuple[str, Dataset]]) -> Table:
    """A row for each object, and one for each measurement group of a report.

    Args:
        received: objects, each with the name of its file.
    """
    made = Table(title=title, title_justify="left", title_style="bold")
    made.add_column("object", no_wrap=True)
    made.add_column("segment")
    for column in COLUMNS:
        made.add_column(column, justify="right")
    for name, ds in received:
        groups = [item for item in _below(ds, codes.IMAGING_MEASUREMENTS) if _is(item, codes.MEASUREMENT_GROUP)]
        for n, group in enumerate(groups):
            made.add_row("" if n else name, *_row(group), end_section=group is groups[-1])
        if not groups:
            made.add_row(name, _described(ds), end_section=True)
    return made


def _described(ds: Dataset) -> str:
    if ds.Modality == "SEG":
        return f"{len(ds.SegmentSequence)} segments, {ds.NumberOfFrames} frames"
    return str(ds.get("SeriesDescription") or "")


def _row(group: Dataset) -> list[str]:
    """The name of what was measured, and the columns; empty where a report does not say it."""
    names = [str(item.TextValue) for item in group.ContentSequence if _is(item, codes.TRACKING_IDENTIFIER)]
    numbers = {_measured(item): item for item in reversed(group.ContentSequence) if item.ValueType == "NUM"}
    found = [[numbers[code[0]] for code in some if code[0] in numbers] for some in COLUMNS.values()]
    return [*names[:1], *(_shown(of[0]) if of else "" for of in found)]


def _measured(item: Dataset) -> str:
    """The code of a measurement: of how it was derived, where that is said, as the mean of an intensity."""
    derived = [one for one in item.get("ContentSequence") or () if _is(one, codes.DERIVATION)]
    return str((derived[0].ConceptCodeSequence if derived else item.ConceptNameCodeSequence)[0].CodeValue)


def _shown(item: Dataset) -> str:
    measured = item.MeasuredValueSequence[0]
    unit = str(measured.MeasurementUnitsCodeSequence[0].CodeValue)
    return f"{float(measured.NumericValue):.1f} {UNITS.get(unit, unit)}".rstrip()


def _below(ds: Dataset, name: Code) -> Iterator[Dataset]:
    """The items in the containers of a name."""
    for item in ds.get("ContentSequence") or ():
        if _is(item, name):
            yield from item.get("ContentSequence") or ()


def _is(item: Dataset, name: Code) -> bool:
    return "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == name[0]
