"""A case as a picture: the truth beside what each network made of it, with what was missed and what is too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.scores.values import CaseScores

from ...measurements.values import PixelSize
from ...objects.pictures import planes
from ...objects.pictures.drawing import INK, Colour, Look, Values, bright, draw
from ...objects.pictures.planes import Plane, Scene
from ...objects.pictures.sheet import Entry, Sheet, compose, room_of
from ...objects.pictures.tiles import Tile
from ...objects.pictures.window import Window
from ...study.geometry import Geometry
from ..gate.values import Protocol, Verdict
from .values import Structure

AGREES, MISSED, EXTRA, OTHER = 1, 2, 3, 4
#: green, red, blue, yellow: told apart by most who do not see all colours, and named in the legend
COLOURS: dict[int, Colour] = {
    AGREES: (95, 220, 130),
    MISSED: (255, 95, 95),
    EXTRA: (90, 170, 255),
    OTHER: (255, 215, 70),
}
NAMES = {AGREES: "right", MISSED: "missed", EXTRA: "too much", OTHER: "another class"}
PICTURE_WIDTH, LETTERS = 1280, 15
#: what is seen around the structures in mm, and the least part of the image
AROUND_MM, LEAST_PART = 25.0, 0.3
MOST_CASES = 6

Labels = NDArray[np.uint8]


def worst(
    champion: Sequence[CaseScores],
    candidate: Sequence[CaseScores],
    protocol: Protocol,
    verdict: Verdict,
    most: int = MOST_CASES,
) -> tuple[str, ...]:
    """The cases that are worth a picture, the worst first: those of patients who lose, then the candidate's lowest.

    Args:
        champion: empty where there is none.
    """
    classes = protocol.primary_classes
    old = {case.case: case.mean_dice(classes) for case in champion}
    losers = {patient: n for n, (patient, _) in enumerate(verdict.losers)}
    ranked = []
    for case in candidate:
        new, before = case.mean_dice(classes), old.get(case.case)
        if new is None:
            continue
        loss = new - before if before is not None else 0.0
        rank = (losers[case.patient], loss) if case.patient in losers else (len(losers), new)
        ranked.append((*rank, case.case))
    return tuple(case for *_, case in sorted(ranked)[:most])


def picture(
    values: NDArray[np.float32],
    truth: Labels,
    predictions: Sequence[tuple[str, Labels]],
    geometry: Geometry,
    window: Window,
    structures: Sequence[Structure],
    title: str,
) -> Image.Image:
    """Rows of planes, columns of the truth and of each prediction: the same planes at the same scale.

    The planes are the slice with most of the truth, the one that the last prediction has most wrong, and a cut across
    the slices.

    Args:
        values: (slices, rows, columns), of the channel that is shown.
        truth: label map on the same grid; classes that were not annotated are 0 in all of them.
        predictions: name and label map, the candidate last.

    Raises:
        ValueError: the shapes differ.
    """
    if any(one.shape != values.shape for one in (truth, *(labels for _, labels in predictions))):
        raise ValueError("the images, the truth and the predictions are not on one grid")
    errors = [compared(truth, labels) for _, labels in predictions]
    found = _regions([truth, *errors])
    if found is None:
        structures = (Structure(value=1, label="all structures", colour=INK),)
        found = _regions([np.minimum(truth, 1), *errors])
    assert found is not None, "one class and what is wrong with it, by some networks, are few"
    regions, members = found
    of_truth: dict[Values, Colour] = {(one.value,): bright(one.colour) for one in structures}
    of_errors: dict[Values, Colour] = {(kind,): colour for kind, colour in COLOURS.items()}
    columns = [("Truth", of_truth), *((name, of_errors) for name, _ in predictions)]
    room = room_of(PICTURE_WIDTH, len(columns))
    tiles = [
        Tile(_drawn(plane, members[n], colours, window, room), f"{name} · {plane.name}", None)
        for plane in _planes(values, regions, geometry, truth, errors)
        for n, (name, colours) in enumerate(columns)
    ]
    legend = [Entry(bright(one.colour), f"{one.label} (truth)") for one in structures]
    legend += [
        Entry(COLOURS[kind], NAMES[kind]) for kind in (COLOURS if len(structures) > 1 else (AGREES, MISSED, EXTRA))
    ]
    return compose(
        Sheet(
            width=PICTURE_WIDTH,
            columns=len(columns),
            title=title,
            below=window.name,
            tiles=tiles,
            legend=legend,
            footer="",
        )
    )


def compared(truth: Labels, predicted: Labels) -> Labels:
    """What is right, missed, too much, and of another class."""
    found = np.zeros_like(truth)
    found[(truth > 0) & (truth == predicted)] = AGREES
    found[(truth > 0) & (predicted == 0)] = MISSED
    found[(truth == 0) & (predicted > 0)] = EXTRA
    found[(truth > 0) & (predicted > 0) & (truth != predicted)] = OTHER
    return found


def _regions(maps: Sequence[Labels]) -> tuple[Labels, list[Labels]] | None:
    """Where all maps stay the same, numbered: any plane through them is then a plane through all of the maps.

    Returns:
        The numbers, (slices, rows, columns); and for each map, number -> label value. None where there are more than
        255 of them.
    """
    codes = maps[0].astype(np.uint32)
    for one in maps[1:]:
        codes = codes * (OTHER + 1) + one
    used = np.unique(codes[codes > 0])
    if len(used) > np.iinfo(np.uint8).max:
        return None
    numbers, inside = np.zeros(codes.shape, np.uint8), codes > 0
    numbers[inside] = np.searchsorted(used, codes[inside]) + 1
    members = []
    left = np.concatenate(([0], used))
    for _ in maps[1:]:
        members.append((left % (OTHER + 1)).astype(np.uint8))
        left = left // (OTHER + 1)
    return numbers, [left.astype(np.uint8), *members[::-1]]


def _planes(
    values: NDArray[np.float32], regions: Labels, geometry: Geometry, truth: Labels, errors: Sequence[Labels]
) -> list[Plane]:
    """Each cut to where something is."""
    across, down = np.linalg.norm(geometry.affine[:3, :2], axis=0)
    names = tuple(f"slice {k} of {len(truth)}" for k in range(1, len(truth) + 1))
    of = Scene(values, regions, geometry, (float(across), float(down)), PixelSize.PATIENT, ("", ""), names)
    most = int((truth > 0).sum(axis=(1, 2)).argmax())
    chosen = [most]
    if errors:
        wrong = (errors[-1] > AGREES).sum(axis=(1, 2))
        wrong[most] = 0
        chosen += [int(wrong.argmax())] if wrong.any() else []
    found = [planes.of_slice(of, k) for k in chosen] + planes.cuts(of)[:1]
    return [planes.cropped(plane, *_around(plane)) for plane in found]


def _around(plane: Plane) -> tuple[slice, slice]:
    """Rows and columns around all that is outlined; the whole plane where nothing is."""
    inside = plane.labels > 0
    if not inside.any():
        return slice(0, inside.shape[0]), slice(0, inside.shape[1])
    parts = []
    for axis, size_mm in ((1, plane.down_mm), (0, plane.across_mm)):
        at, size = np.flatnonzero(inside.any(axis=axis)), inside.shape[1 - axis]
        half = max((at[-1] + 1 - at[0]) / 2 + AROUND_MM / size_mm, LEAST_PART * size / 2)
        middle = min(max((at[0] + at[-1] + 1) / 2, half), max(size - half, half))
        parts.append(slice(max(0, int(middle - half)), min(size, int(np.ceil(middle + half)))))
    return parts[0], parts[1]


def _drawn(plane: Plane, member: Labels, colours: Mapping[Values, Colour], window: Window, room: int) -> Image.Image:
    return draw(replace(plane, labels=member[plane.labels]), window, colours, Look(room, room, LETTERS))
