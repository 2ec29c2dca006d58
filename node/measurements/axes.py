"""The long and the short axis of a segment: what a radiologist draws on one slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from .runs import Runs
from .values import Line

#: the width of a slice is measured in so many directions to tell whether it can have the longest diameter
DIRECTIONS = 32
#: two lengths closer than this part of one are the same, and so are two places closer than this in pixels
SAME = 1e-9
#: of the ends, in pixels: rounding is not to leave them outside of the image
DIGITS = 9
#: so many chords are compared at a time
AT_ONCE = 64

Numbers = NDArray[np.float64]


def plane_mm(affine: Numbers) -> Numbers:
    """What takes (column, row) differences to mm in the plane of the slice: 2x2, lengths and angles are the patient's.

    Args:
        affine: 4x4, from (column, row, slice) to mm.
    """
    across, down = affine[:3, 0], affine[:3, 1]
    between_columns = np.linalg.norm(across)
    along = float(across @ down / between_columns)  # not quite 0: real headers are not quite at right angles
    return np.array([[between_columns, along], [0.0, np.sqrt(down @ down - along**2)]])


def axes(runs: Runs, plane: Numbers) -> tuple[Line, Line] | None:
    """The long and the short axis; both end on corners or edges of pixels of the segment. None where it is empty.

    The long axis is the longest distance between two points of the segment in one slice; a pixel is the square that it
    is drawn as, so that a single one has a diagonal. The short axis is the longest distance between two points of the
    segment in the same slice whose line is perpendicular to the long axis. As with callipers, either may pass over
    what is not of the segment: a gap, a notch, the space between two parts. Of equally long ones, the first slice's.

    Args:
        runs: of the segment.
        plane: as `plane_mm` has it, or the identity, for lengths in pixels.
    """
    if not runs.voxels:
        return None
    slices, most = _widths(runs.outline, plane)
    best, ends, where = 0.0, np.zeros((2, 2)), -1
    for n in np.argsort(-most, kind="stable").tolist():
        if most[n] < best * (1 - SAME):
            break
        length, found = _longest(_corners(runs.by_slice[slices[n]].outline), plane)
        if length > best * (1 + SAME) or (length > best * (1 - SAME) and slices[n] < where):
            best, ends, where = length, found, slices[n]
    long = _line(ends, plane, where)
    return long, _line(_perpendicular(runs.by_slice[where], ends, plane), plane, where)


def _widths(outline: Runs, plane: Numbers) -> tuple[list[int], Numbers]:
    """Each slice, and what its longest diameter is at most; those that cannot have the longest of all are left out.

    A diameter lies within half a step of one of the directions, so it is at most the width there over the cosine.
    """
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS - np.pi / 2
    towards = np.stack([np.cos(angles), np.sin(angles)], 1) @ plane  # none points to lower columns
    new = outline.new_slices
    most = np.zeros(len(new))
    least = 0.0
    for column, row in towards:
        far = np.maximum.reduceat(column * outline.stops + row * outline.rows, new)
        near = np.minimum.reduceat(column * outline.starts + row * outline.rows, new)
        width = far - near + abs(row)
        most, least = np.maximum(most, width), max(least, float(width.max()))
    most = most / np.cos(np.pi / 2 / DIRECTIONS)
    possible = most >= least * (1 - SAME)
    return outline.slices[new][possible].tolist(), most[possible]


def _all_corners(here: Runs) -> Numbers:
    """Of every run of one slice."""
    columns = np.concatenate([here.starts, here.stops] * 2)
    rows = np.concatenate([here.rows, here.rows, here.rows + 1, here.rows + 1])
    return np.stack([columns, rows], 1).astype(np.float64)


def _corners(outline: Runs) -> Numbers:
    """The corners of the convex hull of one slice, (corners, 2), as (column, row) in the coordinates of the ends."""
    corners = _all_corners(outline)
    hull = corners[ConvexHull(corners).vertices]
    return np.asarray(hull[np.lexsort(hull.T)])  # in an order that does not depend on how the hull was found


def _longest(corners: Numbers, plane: Numbers) -> tuple[float, Numbers]:
    """The two corners that are farthest apart, and how far."""
    at = corners @ plane.T
    squares = ((at[:, None] - at[None]) ** 2).sum(-1)
    one, other = np.unravel_index(squares.argmax(), squares.shape)
    return float(np.sqrt(squares[one, other])), corners[[one, other]]


def _perpendicular(here: Runs, ends: Numbers, plane: Numbers) -> Numbers:
    """The ends of the short axis.

    On the lines perpendicular to the long axis, the first and the last point of the segment. Between lines through
    corners of pixels the distance of the two changes steadily, so one of those lines has the longest. The convex hull
    says how long each can be at most; the lines are tried in that order until none can be longer than what was found.
    """
    along = plane @ (ends[1] - ends[0])
    turned = np.array([along, [-along[1], along[0]]]) / np.linalg.norm(along)
    aside = np.linalg.solve(plane, turned[1])  # one mm perpendicular to the long axis, in pixels
    corners = np.unique(_all_corners(here), axis=0)
    places = (corners - ends[0]) @ plane.T @ turned[0]
    most = _hull_chords((_corners(here.outline) - ends[0]) @ plane.T @ turned.T, places)
    order = np.argsort(-most, kind="stable")
    best, found = -1.0, np.zeros((2, 2))
    for at in range(0, len(order), AT_ONCE):
        tried = order[at : at + AT_ONCE]
        if most[tried[0]] <= best * (1 + SAME):
            break
        first, last = _first_and_last(here, corners[tried], aside)
        longest = int(np.argmax(last - first))
        if last[longest] - first[longest] > best:
            best = float(last[longest] - first[longest])
            found = corners[tried[longest]] + np.outer([first[longest], last[longest]], aside)
    return found


def _hull_chords(hull: Numbers, at: Numbers) -> Numbers:
    """How long the convex hull is on perpendiculars to the long axis.

    Args:
        hull: its corners, as (along, above) the long axis; no other corner is as far along as the ends of that.
        at: places along it.
    """
    hull = hull[np.argsort(hull[:, 0], kind="stable")]
    upper, lower = hull[hull[:, 1] >= -SAME], hull[hull[:, 1] <= SAME]
    return np.interp(at, upper[:, 0], upper[:, 1]) - np.interp(at, lower[:, 0], lower[:, 1])


def _first_and_last(here: Runs, through: Numbers, aside: Numbers) -> tuple[Numbers, Numbers]:
    """Where the lines through some points, in the direction `aside`, meet the segment first and last.

    Returns:
        (lines,) each: steps of `aside` from the point, which is of the segment itself.
    """
    enter, leave = np.full((len(through), len(here)), -np.inf), np.full((len(through), len(here)), np.inf)
    for axis, low, high in ((0, here.starts, here.stops), (1, here.rows, here.rows + 1)):
        start = through[:, axis, None]
        if abs(aside[axis]) < SAME * np.abs(aside).max():
            outside = (start < low - SAME) | (start > high + SAME)
            enter[outside], leave[outside] = np.inf, -np.inf
            continue
        one, other = (low - start) / aside[axis], (high - start) / aside[axis]
        np.maximum(enter, np.minimum(one, other), out=enter)
        np.minimum(leave, np.maximum(one, other), out=leave)
    met = enter <= leave + SAME / np.abs(aside).max()
    return np.where(met, enter, np.inf).min(1), np.where(met, leave, -np.inf).max(1)


def _line(ends: Numbers, plane: Numbers, where: int) -> Line:
    one, other = sorted((float(column), float(row)) for column, row in ends.round(DIGITS) + 0.0)  # no -0
    length = float(np.linalg.norm(plane @ np.subtract(other, one)))
    return Line(length=length, slice=int(where), ends=(one, other))
