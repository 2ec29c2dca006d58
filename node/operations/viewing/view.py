"""A series that a network has read, open to be scrolled through: where its slices lie, its contours, its windows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ...objects.pictures import planes, window
from ...objects.pictures.planes import Plane
from ...objects.pictures.window import Window
from ...study.decode import Decoders
from ...study.facts import text
from ...study.facts import values as values_of
from ...study.grid import Grid
from .contours import Contours

Values = NDArray[np.float32]

#: slices that are looked at for the usual window
SAMPLES = 7
#: of slices kept as they were decoded
MOST_SLICE_BYTES = 48 << 20
#: HU: level and width, as radiologists say them
HOUNSFIELD = {
    "soft tissue": (40.0, 400.0),
    "lung": (-500.0, 1500.0),
    "bone": (500.0, 2000.0),
    "brain": (40.0, 80.0),
    "liver": (60.0, 160.0),
}
SUV = {"SUV 0 to 5": 5.0, "SUV 0 to 7": 7.0, "SUV 0 to 15": 15.0}
USUAL, WHOLE = "usual", "all values"
#: letters that say where a side of the patient is (PS3.3 C.7.6.1.1.1)
SIDES = frozenset("RLAPHF")


@dataclass(frozen=True)
class View:
    """Open to be looked at.

    Attributes:
        grid: where the slices lie; their values are read when they are wanted.
        names: of the slices, as a viewer names them.
        windows: name -> how values become grey; the first is shown first.
        caution: what a person should know of these contours; may be empty.
    """

    grid: Grid
    contours: Contours
    names: tuple[str, ...]
    windows: dict[str, Window]
    caution: str
    decoders: Decoders
    _kept: OrderedDict[int, Values] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def count(self) -> int:
        return self.grid.geometry.shape[0]

    @property
    def in_colour(self) -> bool:
        return self.grid.rule.colour == "rgb"

    @property
    def burned_in(self) -> bool:
        """Whether text that may name the patient is part of the pixels (BurnedInAnnotation, PS3.3 C.7.6.1.1.4)."""
        return any(text(one.header, "BurnedInAnnotation").upper() == "YES" for one in self.grid.slices)

    def first(self) -> int:
        """The slice to begin with: where most was found, else the middle."""
        fullest = self.contours.fullest()
        return self.count // 2 if fullest is None else fullest

    def image(self, k: int) -> str:
        """The image or frame of a slice as a viewer names it; which of how many slices it is, the page says itself."""
        return self.names[k].removeprefix(f"slice {k + 1} of {self.count}").removeprefix(", ")

    def place(self, k: int) -> str:
        """Where a slice lies, for people; empty for images that lie nowhere."""
        geometry = self.grid.geometry
        if not geometry.in_patient:
            return ""
        at = geometry.affine[:3, 3] + k * geometry.affine[:3, 2]
        axis = int(np.abs(np.cross(geometry.affine[:3, 0], geometry.affine[:3, 1])).argmax())
        return f"{planes.lie(geometry)}, {'xyz'[axis]} {at[axis]:.1f} mm"

    def values(self, k: int) -> Values:
        """Of one slice; the last few are kept.

        Raises:
            Refused, Failed: as `Grid.read`.
        """
        with self._lock:
            if k in self._kept:
                self._kept.move_to_end(k)
                return self._kept[k]
        read = self.grid.read(k, self.decoders)
        with self._lock:
            self._kept[k] = read
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > MOST_SLICE_BYTES:
                self._kept.popitem(last=False)
        return read

    def plane(self, k: int) -> Plane:
        """A slice before it is drawn."""
        geometry, header = self.grid.geometry, self.grid.slices[k].header
        (across, down), size = planes.pixel_of(geometry, header)
        edges = planes.edges(geometry, _sides(header))
        nothing = np.broadcast_to(np.uint8(0), geometry.shape[1:])
        return Plane(self.values(k), nothing, across, down, size, edges, self.names[k])


def _sides(header: Dataset) -> tuple[str, str]:
    """PatientOrientation, where it says anything that it may say."""
    said = [part.upper() for part in values_of(header, "PatientOrientation")]
    if len(said) != 2 or any(len(part) > 3 or not set(part) <= SIDES for part in said):
        return "", ""
    return said[0], said[1]


def opened(grid: Grid, contours: Contours, decoders: Decoders, caution: str = "") -> View:
    """Look at some of the slices, and know how to show them all.

    Raises:
        Refused, Failed: as `Grid.read`.
    """
    count = grid.geometry.shape[0]
    names = planes.names(grid.headers, grid.frames)
    view = View(grid, contours, names, {}, caution, decoders)
    some = {int(k) for k in np.linspace(0, count - 1, SAMPLES).round()} | {view.first()}
    sample = np.stack([view.values(k) for k in sorted(some)])
    view.windows.update(_windows(grid, sample, _mean(view)))
    return view


def _mean(view: View) -> float | None:
    """Of what was found, in the slice that is shown first."""
    k = view.first()
    found = [
        view.values(k)[part.row : part.row + part.shape[0], part.column : part.column + part.shape[1]][part.inside()]
        for part in view.contours.parts.get(k, ())
    ]
    every = np.concatenate(found) if found else np.empty(0)
    return float(every.mean()) if every.size else None


def _windows(grid: Grid, sample: Values, mean: float | None) -> dict[str, Window]:
    usual = window.usual(sample, grid.headers[0], grid.quantity, mean)
    if grid.quantity == "HU":
        presets = {name: of_level(*said) for name, said in HOUNSFIELD.items()}
        first = usual.name.split(" window")[0]
        return {first: presets.pop(first, usual), **presets, WHOLE: _whole(sample)}
    if grid.quantity == "suv_bw":
        presets = {name: Window(0.0, high, inverted=True, name=name) for name, high in SUV.items()}
        first = next((name for name, one in presets.items() if one.high == usual.high), USUAL)
        return {first: presets.pop(first, usual), **presets}
    if sample.ndim == 4 or not usual.name:
        return {USUAL: usual}
    return {USUAL: usual, WHOLE: _whole(sample, inverted=usual.inverted)}


def _whole(sample: Values, *, inverted: bool = False) -> Window:
    low, high = float(sample.min()), float(sample.max())
    return Window(low, max(high, low + 1e-6), inverted=inverted, name=f"{low:.4g} to {high:.4g}")


def of_level(level: float, width: float, *, inverted: bool = False) -> Window:
    """The window that a person asked for."""
    return Window(level - width / 2, level + width / 2, inverted=inverted, name=f"level {level:g} width {width:g}")
