"""A series taken apart into stacks: phases, echoes, b-values and time points are volumes of their own, never stitched.

A series may hold several volumes. What tells them apart is looked for in the order below. Some elements always do:
slices with different echo times are not one volume, wherever they lie. Others vary within a volume too (each slice of a
step-and-shoot CT has its own AcquisitionNumber), and are asked only where several slices lie in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from .facts import Image, Series, text
from .frames import as_text, flattened, is_multi_frame
from .geometry import duplicates

#: b-values before they had an element of their own: Siemens, GE, Philips
PRIVATE_B_VALUES = (0x0019100C, 0x00431039, 0x20011003)
GE_B_VALUE_OFFSET = 1_000_000_000


@dataclass(frozen=True)
class Frame:
    """One slice or picture.

    Attributes:
        image: that it belongs to.
        number: counted from 1; 0 where the image is a single frame.
        header: as a single-frame image would have it.
    """

    image: Image
    number: int
    header: Dataset


@dataclass(frozen=True)
class Stack:
    """What of a series may be one volume, or one 2D image with its frames.

    Attributes:
        key: what it has and its neighbours have not ("EchoTime=4.6"); empty where the series is one stack.
        frames: in no order.
    """

    series: Series
    key: str
    frames: tuple[Frame, ...]

    @property
    def headers(self) -> list[Dataset]:
        return [frame.header for frame in self.frames]

    def members(self) -> list[tuple[Image, str]]:
        """Its images, with their frame numbers as text; empty where an image is a single frame."""
        numbers: dict[str, tuple[Image, list[int]]] = {}
        for frame in self.frames:
            of_image = numbers.setdefault(frame.image.sop_uid, (frame.image, []))[1]
            if frame.number:
                of_image.append(frame.number)
        return [(image, as_text(frames)) for image, frames in numbers.values()]

    def name(self) -> str:
        """How a person knows it."""
        return f"series {self.series.number()}" + (f" ({self.key})" if self.key else "")


def frames_of(series: Series) -> tuple[Frame, ...]:
    """Every frame of every image of a series.

    Raises:
        Refused: the header of a multi-frame image contradicts itself.
    """
    found: list[Frame] = []
    for image in series.images:
        if is_multi_frame(image.header):
            found += [Frame(image, n, header) for n, header in enumerate(flattened(image.header), 1)]
        else:
            found.append(Frame(image, 0, image.header))
    return tuple(found)


def volumes(series: Series, frames: Sequence[Frame]) -> list[Stack]:
    """The stacks of a series that a network of volumes may read, in the order of what tells them apart."""
    groups: dict[tuple[str, ...], list[Frame]] = {(): list(frames)}
    for name, value_of in ALWAYS.items():
        groups = _split_each(groups, name, value_of, always=True)
    done: dict[tuple[str, ...], list[Frame]] = {}
    for key, group in groups.items():
        done |= _without_duplicates(key, group)
    return [Stack(series, "; ".join(key), tuple(group)) for key, group in done.items()]


def pictures(series: Series, frames: Sequence[Frame]) -> list[Stack]:
    """Each image of a series by itself, with all its frames, in the order of their InstanceNumber."""
    by_image: dict[str, list[Frame]] = {}
    for frame in frames:
        by_image.setdefault(frame.image.sop_uid, []).append(frame)
    ordered = sorted(by_image.values(), key=lambda group: (_number(group[0].header), group[0].image.sop_uid))
    if len(ordered) == 1:
        return [Stack(series, "", tuple(ordered[0]))]
    return [Stack(series, f"image {group[0].image.sop_uid}", tuple(group)) for group in ordered]


def _number(header: Dataset) -> int:
    try:
        return int(text(header, "InstanceNumber"))
    except ValueError:
        return 0


Value = Callable[[Dataset], str]


def _element(keyword: str) -> Value:
    return lambda header: text(header, keyword)


def _rounded(keyword: str, digits: int) -> Value:
    def value(header: Dataset) -> str:
        said = text(header, keyword)
        try:
            return f"{round(float(said), digits):g}"
        except ValueError:
            return said

    return value


def _b_value(header: Dataset) -> str:
    """s/mm2, from the standard's element or the vendor's."""
    said = text(header, "DiffusionBValue")
    for tag in PRIVATE_B_VALUES:
        if not said and tag in header:
            value = header[tag].value
            first = value[0] if isinstance(value, (list, MultiValue)) and value else value
            said = str(first.decode("ascii", "ignore") if isinstance(first, bytes) else first)
            said = said.split("\\")[0].strip("\0 ")
    try:
        return f"{round(float(said)) % GE_B_VALUE_OFFSET}"
    except ValueError:
        return ""


def _image_type(header: Dataset) -> str:
    """What kind of image it is; the first two values are provenance.

    In MR the values behind the third tell magnitude from phase and water from fat; in CT they are the vendor's, who
    marks slices of one volume with them.
    """
    kinds = text(header, "ImageType").upper().split("\\")[2:]
    return "\\".join(kinds if text(header, "Modality") == "MR" else kinds[:1])


ALWAYS: dict[str, Value] = {
    "StackID": _element("StackID"),
    "ImageType": _image_type,
    "TemporalPositionIndex": _element("TemporalPositionIndex"),
    "TemporalPositionIdentifier": _element("TemporalPositionIdentifier"),
    "EchoTime": _rounded("EchoTime", 2),
    "EchoNumbers": _element("EchoNumbers"),
    "InversionTime": _rounded("InversionTime", 0),
    "DiffusionBValue": _b_value,
    "KVP": _rounded("KVP", 0),
    "ConvolutionKernel": _element("ConvolutionKernel"),
}
WHERE_SLICES_COINCIDE: dict[str, Value] = {
    "ImageType": _element("ImageType"),
    "DiffusionGradientOrientation": _element("DiffusionGradientOrientation"),
    "NominalPercentageOfCardiacPhase": _element("NominalPercentageOfCardiacPhase"),
    "TriggerTime": _rounded("TriggerTime", 1),
    "TemporalPositionTimeOffset": _element("TemporalPositionTimeOffset"),
    "AcquisitionNumber": _element("AcquisitionNumber"),
    "FrameReferenceTime": _rounded("FrameReferenceTime", 0),
    "AcquisitionTime": _element("AcquisitionTime"),
    "AcquisitionDateTime": _element("AcquisitionDateTime"),
    "SliceThickness": _rounded("SliceThickness", 2),
    "ContentTime": _element("ContentTime"),
}


def _split(frames: Sequence[Frame], value_of: Value) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(value_of(frame.header), []).append(frame)
    return dict(sorted(groups.items(), key=lambda found: _natural(found[0])))


def _natural(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def _split_each(
    groups: dict[tuple[str, ...], list[Frame]], name: str, value_of: Value, *, always: bool
) -> dict[tuple[str, ...], list[Frame]]:
    """Split every group; one in which each slice has a value of its own stays, unless `always` is false."""
    split: dict[tuple[str, ...], list[Frame]] = {}
    for key, group in groups.items():
        parts = _split(group, value_of)
        apart = len(parts) > 1 and not (always and len(parts) == len(group) and len(group) > 2)
        split |= (
            {(*key, f"{name}={value or '(none)'}"): part for value, part in parts.items()} if apart else {key: group}
        )
    return split


def _without_duplicates(
    key: tuple[str, ...], frames: list[Frame], *, elements: int = 2
) -> dict[tuple[str, ...], list[Frame]]:
    """Split slices that lie in one place by the first elements that tell them all apart; as they are where none do."""
    if not duplicates([frame.header for frame in frames]):
        return {key: frames}
    for name, value_of in WHERE_SLICES_COINCIDE.items():
        parts = _split(frames, value_of)
        if len(parts) > 1 and _all_whole(parts.values()):
            return {(*key, f"{name}={value or '(none)'}"): part for value, part in parts.items()}
    for name, value_of in WHERE_SLICES_COINCIDE.items() if elements > 1 else ():
        parts = _split(frames, value_of)
        if 1 < len(parts) <= len(frames) // 2:
            split: dict[tuple[str, ...], list[Frame]] = {}
            for value, part in parts.items():
                split |= _without_duplicates((*key, f"{name}={value or '(none)'}"), part, elements=elements - 1)
            if len(split) > len(parts) and _all_whole(split.values()):
                return split
    return {key: frames}


def _all_whole(parts: Iterable[list[Frame]]) -> bool:
    """No two slices of a part lie in one place, and few parts are a single slice."""
    parts = list(parts)
    single = sum(len(part) == 1 for part in parts)
    return 2 * single <= len(parts) and not any(duplicates([frame.header for frame in part]) for part in parts)
