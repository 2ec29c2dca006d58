"""Balls in real lungs: what the truth of a made-up finding is, because it was put there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Numbers = NDArray[np.float32]
Mask = NDArray[np.bool_]
Three = tuple[float, float, float]

#: lung and air are below; the air of windpipe and bronchi, and emphysema, are below the second
TISSUE_HU, AIR_HU = -400.0, -930.0
DIAMETER_MM = (6.0, 20.0)
#: vessels up to this width are within the lungs
CLOSED_MM = 5.0
#: tries to find a place for a ball before there is one less
TRIES = 60
NOISE_HU = 15.0


@dataclass(frozen=True)
class Ball:
    """One ball, in a volume whose axes are those of the array.

    Attributes:
        centre_mm: index times spacing, in the order of the array's axes.
        diameter_mm: where the edge is half way.
        hu: inside.
        edge_mm: the scale of the logistic edge.
    """

    centre_mm: Three
    diameter_mm: float
    hu: float
    edge_mm: float

    def corners(self, spacing_mm: Sequence[float]) -> tuple[Numbers, Numbers]:
        """The box around it, as indices: a voxel's centre is whole."""
        middle, radius = np.array(self.centre_mm), self.diameter_mm / 2
        low, high = ((middle + side * radius) / np.array(spacing_mm) for side in (-1, 1))
        return low.astype(np.float32), high.astype(np.float32)


def lungs(hu: Numbers, spacing_mm: Sequence[float], across: tuple[int, int]) -> Mask:
    """Where the lungs are, with the vessels in them.

    Args:
        hu: a chest.
        spacing_mm: of its axes.
        across: the two axes within a slice: the air around the patient reaches their ends.
    """
    parts, count = ndimage.label(hu < TISSUE_HU)
    outside = {int(n) for axis in across for end in (0, -1) for n in np.unique(parts.take(end, axis))}
    sizes = np.bincount(parts.ravel())
    kept = [n for n in range(1, count + 1) if n not in outside and sizes[n] * math.prod(spacing_mm) > 50_000]
    found = np.pad(np.isin(parts, kept), 8, mode="edge")
    deep = ndimage.distance_transform_edt(~found, sampling=spacing_mm) <= CLOSED_MM
    closed = ndimage.distance_transform_edt(deep, sampling=spacing_mm) > CLOSED_MM
    inner = (slice(8, -8),) * 3
    return np.asarray((closed | found)[inner])


@dataclass(frozen=True)
class Places:
    """Where in a volume a ball may lie.

    Attributes:
        hu: the volume, blurred: what a place is like.
        depth_mm: how far it is to what is not lung.
    """

    hu: Numbers
    depth_mm: Numbers
    spacing_mm: Three

    @classmethod
    def of(cls, hu: Numbers, spacing_mm: Three, across: tuple[int, int]) -> Places:
        blurred = ndimage.gaussian_filter(hu, [2.0 / one for one in spacing_mm])
        mask = lungs(hu, spacing_mm, across)
        return cls(blurred, ndimage.distance_transform_edt(mask, sampling=spacing_mm).astype(np.float32), spacing_mm)

    def scattered(
        self, count: int, rng: np.random.Generator, low: Sequence[int] = (0, 0, 0), size: Sequence[int] | None = None
    ) -> list[Ball]:
        """Balls that lie wholly in lung, in the part of the volume that begins at `low`, and do not touch.

        Their centres count from `low`. There may be fewer than `count` where there is no room.
        """
        shape = np.array(self.hu.shape if size is None else size)
        part = tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))
        hu, depth, spacing = self.hu[part], self.depth_mm[part], np.array(self.spacing_mm)
        at = np.argwhere((depth > DIAMETER_MM[0] / 2) & (hu > AIR_HU))
        made: list[Ball] = []
        for _ in range(TRIES if len(at) else 0):
            if len(made) == count:
                break
            ball = _drawn(at[rng.integers(len(at))], spacing, rng)
            middle, radius = np.array(ball.centre_mm), ball.diameter_mm / 2
            inside = (middle > radius).all() and (middle < (shape - 1) * spacing - radius).all()
            deep = depth[tuple(np.round(middle / spacing).astype(int))] >= radius
            if inside and deep and all(_apart(ball, other) for other in made):
                made.append(ball)
        return made


def _drawn(index: NDArray[np.int64], spacing: NDArray[np.float64], rng: np.random.Generator) -> Ball:
    middle = (index + rng.uniform(-0.49, 0.49, 3)) * spacing
    return Ball(
        centre_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
        diameter_mm=float(rng.uniform(*DIAMETER_MM)),
        hu=float(rng.uniform(-60, 90)),
        edge_mm=float(rng.uniform(0.4, 0.8)),
    )


def _apart(one: Ball, other: Ball) -> bool:
    return math.dist(one.centre_mm, other.centre_mm) > (one.diameter_mm + other.diameter_mm) / 2 + 4


def insert(hu: Numbers, spacing_mm: Sequence[float], balls: Sequence[Ball], rng: np.random.Generator) -> Numbers:
    """The volume with the balls in it; what is denser than a ball, such as a vessel, stays."""
    made = hu.copy()
    for ball in balls:
        low, high = ball.corners(spacing_mm)
        room = 3.0 / np.array(spacing_mm)
        box = tuple(
            slice(max(0, int(a)), int(b) + 2) for a, b in zip(np.floor(low - room), np.ceil(high + room), strict=True)
        )
        part = made[box]
        axes = [
            (np.arange(one.start, one.start + n) * mm - middle) ** 2
            for one, n, mm, middle in zip(box, part.shape, spacing_mm, ball.centre_mm, strict=True)
        ]
        away = np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])
        share = 1 / (1 + np.exp(np.clip((away - ball.diameter_mm / 2) / ball.edge_mm, -30, 30)))
        inside = np.maximum(ball.hu + rng.normal(0, NOISE_HU, part.shape), part)
        made[box] = part + share * (inside - part)
    return made.astype(np.float32)
