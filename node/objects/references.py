"""Items that refer to the images of a run (PS3.3 tables 10-3 and 10-11)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset

from .run import Run


def item(**values: object) -> Dataset:
    """An item of a sequence: attributes by their keywords."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def image(source: Dataset, frames: Iterable[int] = ()) -> Dataset:
    """An image, or frames of it, counted from 1; 0 stands for an image that has only one."""
    made = item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    if numbers := sorted({number for number in frames if number}):
        made.ReferencedFrameNumber = numbers
    return made


def images(run: Run, slices: Iterable[int] | None = None, *, frames: bool) -> list[Dataset]:
    """The images of some slices, or of all, each once and in the order of the slices.

    Args:
        frames: whether the frames that were read of it are named, or the image as a whole.
    """
    read: dict[str, tuple[Dataset, list[int]]] = {}
    for k in range(len(run.sources)) if slices is None else sorted(set(slices)):
        source = run.sources[k]
        read.setdefault(source.SOPInstanceUID, (source, []))[1].append(run.volume.frames[k])
    return [image(source, numbers if frames else ()) for source, numbers in read.values()]


def series(run: Run) -> Dataset:
    """The series with all images of a run (PS3.3 C.12.2)."""
    return item(
        SeriesInstanceUID=run.sources[0].SeriesInstanceUID,
        ReferencedInstanceSequence=images(run, frames=False),
    )
