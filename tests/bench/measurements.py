"""How long it takes to measure segments, and what of it takes how long.

    python -P -m tests.bench.measurements --segments 24 --runs 3

The segments are ellipsoids on a lattice, as large as fit beside one another, on a tilted grid. Prints the median
of the processor's seconds for each part and for all, and, for one segment, those of the plain way beside them in the
same run: scikit-image's whole mesh, scipy's labelling, numpy's mask of the volume.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from models.card import Segment
from models.wire import SharedArray
from node.measurements.axes import axes, plane_mm
from node.measurements.components import components
from node.measurements.diameter import diameter_3d_mm
from node.measurements.intensity import intensity
from node.measurements.measure import measure
from node.measurements.runs import Runs, of_labels
from node.measurements.surface import surface_mm2
from node.study.geometry import Geometry
from node.study.volume import Volume

SPACING_MM = (0.7, 0.7, 1.0)
TILT_MM = 0.2


def main() -> None:
    options = _options()
    console = Console()
    shape = (options.slices, options.size, options.size)
    with console.status("making the volume"):
        labels = ellipsoids(shape, options.segments)
        volume = _volume(shape)
    values = [int(value) for value in np.unique(labels) if value]
    inside = np.count_nonzero(labels) / labels.size
    console.print(
        f"{options.size} x {options.size} x {options.slices}, {len(values)} segments, {inside:.0%} of it inside"
    )
    table = Table("what", "seconds", title=f"Median of {options.runs} runs, one process", title_justify="left")
    for name, action in _parts(volume, labels, values).items():
        with console.status(name):
            table.add_row(name, f"{_median(action, options.runs):.3f}")
    table.add_section()
    for name, action in _plain_ways(volume, labels, values[len(values) // 2]).items():
        with console.status(name):
            table.add_row(name, f"{_median(action, options.runs):.3f}")
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def ellipsoids(shape: tuple[int, int, int], segments: int) -> NDArray[np.uint8]:
    """So many ellipsoids beside one another in the plane, each as high as the volume."""
    slices, rows, columns = shape
    across = int(np.ceil(np.sqrt(segments)))
    down = int(np.ceil(segments / across))
    height, width = rows // down, columns // across
    z, y, x = (((np.arange(n) + 0.5) / n * 2 - 1) ** 2 for n in (slices, height, width))
    body = z[:, None, None] + y[:, None] + x < 1
    labels = np.zeros(shape, np.uint8)
    for n in range(segments):
        top, left = n // across * height, n % across * width
        labels[:, top : top + height, left : left + width][body] = n + 1
    return labels


def _volume(shape: tuple[int, int, int]) -> Volume:
    values = SharedArray.make(shape, np.float32)
    random = np.random.default_rng(0)
    for one in values.array:
        one[...] = random.normal(40, 20, shape[1:]).round()
    affine = np.diag([*SPACING_MM, 1.0])
    affine[1, 2] = TILT_MM
    return Volume(values, Geometry(affine, shape), (), (0,) * shape[0], "HU")


def _parts(volume: Volume, labels: NDArray[np.uint8], values: list[int]) -> dict[str, Callable[[], object]]:
    affine = volume.geometry.affine
    runs = of_labels(labels, values)
    code = ("1", "SCT", "Thing")
    segments = [Segment(value=v, label=str(v), category=code, type=code, colour=(0, 0, 0)) for v in values]

    def fresh() -> list[tuple[int, Runs]]:
        """What was cached of the runs is made anew."""
        return [(value, of_it.chosen(slice(None))) for value, of_it in runs.items()]

    def each(part: Callable[[int, Runs], object]) -> Callable[[], object]:
        return lambda: [part(value, of_it) for value, of_it in fresh()]

    array, shape = volume.values.array, volume.geometry.shape
    return {
        "runs": lambda: of_labels(labels, values),
        "intensity": each(lambda value, of_it: intensity(array, labels, (value,), of_it)),
        "long and short axis": each(lambda _, of_it: axes(of_it, plane_mm(affine))),
        "diameter in 3D": each(lambda _, of_it: diameter_3d_mm(of_it, affine)),
        "surface": each(lambda value, of_it: surface_mm2(labels, (value,), of_it, affine)),
        "components": each(lambda _, of_it: components(of_it, shape, across_slices=True)),
        "all": lambda: measure(volume, labels, segments),
    }


def _plain_ways(volume: Volume, labels: NDArray[np.uint8], value: int) -> dict[str, Callable[[], object]]:
    def box() -> NDArray[np.bool_]:
        return np.pad(labels[ndimage.find_objects(labels)[value - 1]] == value, 1)

    def mesh() -> float:
        vertices, faces, _, _ = marching_cubes(box().astype(np.float32), 0.5)
        return float(mesh_surface_area(vertices, faces))

    def masked() -> tuple[float, ...]:
        inside = volume.values.array[labels == value]
        return float(inside.mean()), float(inside.std()), *np.percentile(inside, (10, 50, 90))

    return {
        "one segment, intensity as in numpy": masked,
        "one segment, surface as in scikit-image": mesh,
        "one segment, components as in scipy": lambda: ndimage.label(box(), np.ones((3, 3, 3))),
    }


def _median(action: Callable[[], object], runs: int) -> float:
    seconds = []
    for _ in range(runs):
        begun = time.process_time()
        action()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
