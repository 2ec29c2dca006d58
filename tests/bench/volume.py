"""How long it takes to read a series into a volume, and how much memory.

    python -P -m tests.bench.volume --slices 324 --runs 5

Prints the seconds that highdicom takes for the uncompressed series and the seconds that the node takes, the peak memory
of a process that reads it over the size of the float32 volume, and what a second decoder child is worth where the
slices are compressed, beside what a second process is worth at all on this machine at this time. Runs of what is
compared take turns, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless
from rich.console import Console
from rich.table import Table

from models import memory
from models.phantom import chest
from node.demo.study import ct_series, write
from node.study import pixels, volume
from node.study.decode import Decoders

COMPRESSIONS = {"JPEG 2000": JPEG2000Lossless, "JPEG-LS": JPEGLSLossless, "RLE": RLELossless}
COMPRESSED_SLICES = 120


def main() -> None:
    options = _options()
    if options.peak_of:
        print(_peak_bytes(options.peak_of))  # noqa: T201 - to the process that asked
        return
    console = Console()
    console.print(f"{options.size} x {options.size} x {options.slices} voxels, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        with console.status("making the series"):
            files = _series(Path(scratch) / "plain", options.size, options.slices)
        table = Table(title=f"Median of {options.runs} runs", title_justify="left")
        for column in ("what", "value"):
            table.add_column(column, justify="right" if column == "value" else "left")
        with console.status("uncompressed"):
            _uncompressed(table, files, options.runs)
        _memory(table, files)
        for name, syntax in COMPRESSIONS.items():
            with console.status(name):
                packed = _compressed(files[:COMPRESSED_SLICES], Path(scratch) / name, syntax)
                _children(table, f"{name}, {len(packed)} slices", packed, options.runs)
        console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=324)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _series(folder: Path, size: int, slices: int) -> list[Path]:
    spacing = (360 / size, 360 / size, 330 / slices)
    hu, _ = chest((size, size, slices), spacing, seed=1)
    return write(ct_series(hu, spacing), folder)


def _compressed(files: list[Path], folder: Path, syntax: str) -> list[Path]:
    folder.mkdir()
    for file in files:
        ds = pydicom.dcmread(file)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(folder / file.name)
    return [folder / file.name for file in files]


def _uncompressed(table: Table, files: list[Path], runs: int) -> None:
    pool = Decoders(1)

    def ours() -> None:
        volume.build(files, pool).close()

    def header_alone() -> None:
        for file in files:
            pixels.read(file)

    def theirs() -> None:
        with warnings.catch_warnings(action="ignore"):
            highdicom.image.get_volume_from_series([pydicom.dcmread(file) for file in files])

    highdicoms, nodes, headers = _in_turn((theirs, ours, header_alone), runs)
    table.add_row("highdicom", f"{statistics.median(highdicoms):.2f} s")
    table.add_row("the node", f"{statistics.median(nodes):.2f} s")
    table.add_row("  of these the headers", f"{statistics.median(headers):.2f} s")
    table.add_row("highdicom / the node", _ratio(highdicoms, nodes))


def _memory(table: Table, files: list[Path]) -> None:
    command = [sys.executable, "-P", "-m", "tests.bench.volume", "--peak-of", str(files[0].parent)]
    peak = int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    first = pixels.read(files[0])
    of_volume = len(files) * int(np.prod(first.shape)) * 4
    table.add_row("peak memory of a process that reads it", f"{peak / 1e6:.0f} MB")
    table.add_row("  over the float32 volume", f"{peak / of_volume:.2f}")


def _peak_bytes(folder: Path) -> int:
    """Of this process, once it has read a series."""
    built = volume.build(sorted(folder.iterdir()), Decoders(1))
    assert built.values.array.any()
    return memory.peak_held()


def _children(table: Table, name: str, files: list[Path], runs: int) -> None:
    pools = [Decoders(1), Decoders(2)]
    for pool in pools:
        volume.build(files[: 3 * pool.size], pool).close()  # loads the codecs

    def with_pool(pool: Decoders) -> Callable[[], None]:
        return lambda: volume.build(files, pool).close()

    busy = []

    def two_observed() -> None:
        before, begun = _on_a_core(pools[1]), time.perf_counter()
        with_pool(pools[1])()
        spent = time.perf_counter() - begun
        busy.append((_on_a_core(pools[1]) - before) / (2 * spent))

    one, two, one_counts, two_count = _in_turn((with_pool(pools[0]), two_observed, _count_twice, _count_at_once), runs)
    for pool in pools:
        pool.close()
    table.add_row(f"{name}: one child", f"{statistics.median(one):.2f} s")
    table.add_row(f"{name}: two children", f"{statistics.median(two):.2f} s")
    table.add_row("  one / two", _ratio(one, two))
    table.add_row("  the same of processes that only count", _ratio(one_counts, two_count))
    table.add_row("  part of the time that the two were on a core", f"{statistics.median(busy):.2f}")


def _on_a_core(pool: Decoders) -> float:
    """Seconds, of all children that have ended: what is left of the time they waited for the node."""
    process = pool._nursery._process
    assert process is not None
    of_children = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")")[-1].split()[13:15]
    return sum(map(int, of_children)) / os.sysconf("SC_CLK_TCK")


def _count_twice() -> None:
    for _ in range(2):
        _counting().wait()


def _count_at_once() -> None:
    for process in (_counting(), _counting()):
        process.wait()


def _counting() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "for _ in range(30_000_000): pass"])


def _in_turn(actions: Sequence[Callable[[], None]], runs: int) -> list[list[float]]:
    """The seconds of each run of each action."""
    seconds: list[list[float]] = [[] for _ in actions]
    for _ in range(runs):
        for spent, action in zip(seconds, actions, strict=True):
            begun = time.perf_counter()
            action()
            spent.append(time.perf_counter() - begun)
    return seconds


def _ratio(slow: list[float], quick: list[float]) -> str:
    of_each = [one / other for one, other in zip(slow, quick, strict=True)]
    return f"{statistics.median(of_each):.2f} ({min(of_each):.2f} to {max(of_each):.2f})"


if __name__ == "__main__":
    main()
