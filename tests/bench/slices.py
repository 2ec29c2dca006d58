"""How long a page waits for one slice with its contours, and how much memory the open view holds.

    python -P -m tests.bench.slices --slices 324 --structures 12

Opens a drawn chest as a page does, then asks for slices up and down as somebody who scrolls. Where the file is
compressed, one frame is decoded by a child for each slice.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import JPEG2000Lossless
from rich.console import Console
from rich.table import Table

from models import memory
from models.phantom import chest
from node.demo.study import ct_series, write
from node.operations.viewing.contours import COLOURS, Contours, Part, Structure
from node.operations.viewing.picture import picture
from node.operations.viewing.view import opened
from node.study.decode import Decoders
from node.study.grid import Grid, lay_out
from node.study.volume import PLAIN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("size", 512), ("slices", 324), ("structures", 12), ("asked", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    table = Table(title=f"{options.size} x {options.size} x {options.slices}, {options.structures} structures a slice")
    for column in ("what", "uncompressed", "JPEG 2000"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        spacing_mm = (360 / options.size, 360 / options.size, 1.0)
        hu, _ = chest((options.size, options.size, options.slices), spacing_mm, seed=1)
        files = write(ct_series(hu, spacing_mm), Path(scratch))
        del hu
        columns = [_measured(files, options)]
        for file in files:
            ds = pydicom.dcmread(file)
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(file)
        columns.append(_measured(files, options))
    for row in zip(*(column.items() for column in columns), strict=True):
        table.add_row(row[0][0], *(value for _, value in row))
    console = Console()
    console.print(table)
    console.print(f"{os.cpu_count()} cores, peak memory {memory.peak_held() >> 20} MB")


def _measured(files: list[Path], options: argparse.Namespace) -> dict[str, str]:
    decoders = Decoders(1)
    begun = time.perf_counter()
    grid = lay_out(files, decoders, PLAIN)
    placed = time.perf_counter() - begun
    contours = _contours(grid, options.structures)
    begun = time.perf_counter()
    view = opened(grid, contours, decoders)
    sampled = time.perf_counter() - begun
    window = next(iter(view.windows.values()))
    seconds, size, spent = [], 0, time.process_time()
    for n in range(options.asked):
        begun = time.perf_counter()
        size = len(picture(view, n * 7 % view.count, window))
        seconds.append(time.perf_counter() - begun)
    spent = (time.process_time() - spent) / options.asked
    decoders.close()
    return {
        "headers read and placed": f"{placed:.2f} s",
        "windows chosen": f"{sampled:.2f} s",
        "a slice, median": f"{1000 * statistics.median(seconds):.0f} ms",
        "a slice, 95th percentile": f"{1000 * statistics.quantiles(seconds, n=20)[-1]:.0f} ms",
        "a slice, processor time without the child's": f"{1000 * spent:.0f} ms",
        "a picture": f"{size / 1000:.0f} kB",
    }


def _contours(grid: Grid, structures: int) -> Contours:
    """Discs in rows of four, in every slice."""
    slices, rows, columns = grid.geometry.shape
    radius = min(rows, columns) // 10
    disc = np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1]) < radius
    bits = np.packbits(disc)
    parts = [
        Part(n + 1, (n // 4 * 2 + 1) * radius, (n % 4 * 2 + 1) * radius, disc.shape, bits) for n in range(structures)
    ]
    described = tuple(Structure(n + 1, f"structure {n + 1}", COLOURS[n % len(COLOURS)]) for n in range(structures))
    return Contours(described, dict.fromkeys(range(slices), parts))


if __name__ == "__main__":
    main()
