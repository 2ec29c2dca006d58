"""How long it takes to write a segmentation, and how much memory, beside highdicom.

    python -P -m tests.bench.segments --slices 300 --size 512 --runs 5

Both write the same label map of ellipsoids, with the same description, from repaired headers in memory to a file; runs
take turns, so that what else the machine does falls on both. The memory is the peak of a process of its own, above what
it held before it began to write.
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
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from rich.console import Console
from rich.table import Table

from models import card, memory
from models.card import Card
from models.wire import SharedArray
from node.demo.study import ct_series
from node.objects.headers import repaired
from node.objects.identity import Provenance
from node.objects.run import Run
from node.objects.segments.describe import segments
from node.objects.segments.writer import segmentation
from node.study import geometry
from node.study.volume import Volume

Writer = Callable[[Run, Path, bool], None]
#: (segments, whether as a label map, how much faster than highdicom it has to be)
CASES = ((1, False, 1.6), (24, False, 6.0), (1, True, 3.0), (24, True, 3.0))


def main() -> None:
    options = _options()
    if options.peak_of:
        print(_peak_bytes(options))  # noqa: T201 - to the process that asked
        return
    console = Console()
    console.print(f"{options.size} x {options.size} x {options.slices} voxels, {os.cpu_count()} cores")
    table = Table(title=f"Median of {options.runs} runs; peak memory of both, highdicom first", title_justify="left")
    for column in ("segments", "highdicom", "node", "ratio", "wanted", "MB", "peak MB"):
        table.add_column(column, justify="left" if column == "segments" else "right")
    for count, label_map, wanted in CASES:
        name = f"{count}, {'LABELMAP RLE' if label_map else 'BINARY'}"
        with console.status(name), tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
            file = Path(scratch) / "seg.dcm"
            run = run_of(count, options.slices, options.size)
            theirs, ours = _in_turn((highdicoms, the_nodes), run, file, label_map, options.runs)
            table.add_row(
                name,
                f"{statistics.median(theirs):.2f} s",
                f"{statistics.median(ours):.2f} s",
                _ratio(theirs, ours),
                f"{wanted:.1f}",
                f"{file.stat().st_size / 1e6:.1f}",
                _peaks(count, label_map, options),
            )
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peak-of", choices=sorted(WRITERS), help=argparse.SUPPRESS)
    parser.add_argument("--segments", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--label-map", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def the_nodes(run: Run, file: Path, label_map: bool) -> None:
    file.write_bytes(segmentation(run, label_map=label_map)[0])


def highdicoms(run: Run, file: Path, label_map: bool) -> None:
    """As its manual has it."""
    with warnings.catch_warnings(action="ignore"):
        highdicom.seg.Segmentation(
            source_images=run.sources,
            pixel_array=run.labels,
            segmentation_type="LABELMAP" if label_map else "BINARY",
            segment_descriptions=segments(run.provenance, label_map=False),
            series_instance_uid=highdicom.UID(),
            series_number=1,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="Planimeter",
            manufacturer_model_name="Planimeter",
            software_versions="1",
            device_serial_number="1",
            transfer_syntax_uid=RLELossless if label_map else ExplicitVRLittleEndian,
        ).save_as(file)


WRITERS: dict[str, Writer] = {"node": the_nodes, "highdicom": highdicoms}


def run_of(count: int, slices: int, size: int) -> Run:
    """A run of a network of so many segments on a synthetic CT."""
    images = list(ct_series(np.zeros((8, 8, slices), np.float32), (0.7, 0.7, 1.0)))
    for image in images:
        image.Rows = image.Columns = size
        del image.PixelData
    grid, order = geometry.place(images)
    headers = tuple(images[k] for k in order)
    bundle = card.find("ct_lungs", (card.SHIPPED,))
    provenance = Provenance(
        card=_card(bundle.card, count),
        weights_sha256=bundle.weights_sha256,
        card_sha256=bundle.card_sha256,
        input_set_hash="members",
        headers_sha256="headers",
        mask_sha256="mask",
        study_uid=headers[0].StudyInstanceUID,
        content_time=0.0,
        node_version="0",
        node_serial="0",
        uid_root="",
    )
    nothing = SharedArray.make((1, 1, 1), np.float32)
    volume = Volume(nothing, grid, headers, (0,) * slices, "HU")
    return Run(
        volume=volume,
        sources=repaired(headers, grid),
        labels=ellipsoids((slices, size, size), count),
        measured=(),
        provenance=provenance,
    )


def _card(shipped: Card, count: int) -> Card:
    first = shipped.segment[0]
    made = [first.model_copy(update={"value": n, "label": f"Organ {n}"}) for n in range(1, count + 1)]
    return shipped.model_copy(update={"segment": tuple(made)})


def ellipsoids(shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    """So many ellipsoids; each reaches over 40 % of the slices (a single one over 70 %), later ones over earlier."""
    random = np.random.default_rng(count)
    labels = np.zeros(shape, np.uint8)
    half = 0.35 if count == 1 else 0.2
    axes = [np.linspace(0, 1, n, dtype=np.float32) for n in shape]
    for value in range(1, count + 1):
        middle = random.uniform(half, 1 - half, 3)
        k, j, i = (((axis - at) / size) ** 2 for axis, at, size in zip(axes, middle, (half, 0.1, 0.13), strict=True))
        for n in np.flatnonzero(k < 1):
            labels[n][j[:, None] + i < 1 - k[n]] = value
    return labels


def _in_turn(writers: Sequence[Writer], run: Run, file: Path, label_map: bool, runs: int) -> list[list[float]]:
    """The seconds of each run of each writer; the last one's file stays."""
    seconds: list[list[float]] = [[] for _ in writers]
    for _ in range(runs):
        for spent, write in zip(seconds, writers, strict=True):
            begun = time.perf_counter()
            write(run, file, label_map)
            spent.append(time.perf_counter() - begun)
    return seconds


def _ratio(slow: list[float], quick: list[float]) -> str:
    of_each = [one / other for one, other in zip(slow, quick, strict=True)]
    return f"{statistics.median(of_each):.1f} ({min(of_each):.1f} to {max(of_each):.1f})"


def _peaks(count: int, label_map: bool, options: argparse.Namespace) -> str:
    command = [sys.executable, "-P", "-m", "tests.bench.segments", "--segments", str(count)]
    command += ["--slices", str(options.slices), "--size", str(options.size)] + ["--label-map"] * label_map
    ours, theirs = (
        int(subprocess.run([*command, "--peak-of", name], stdout=subprocess.PIPE, check=True).stdout)
        for name in ("node", "highdicom")
    )
    return f"{theirs / 1e6:.0f}, {ours / 1e6:.0f}"


def _peak_bytes(options: argparse.Namespace) -> int:
    """What writing adds to the peak of this process. A small one comes first: it imports what is imported late."""
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        file = Path(scratch) / "seg.dcm"
        write = WRITERS[options.peak_of]
        write(run_of(options.segments, 4, 64), file, options.label_map)
        run = run_of(options.segments, options.slices, options.size)
        memory.measure_anew("cpu")
        before = memory.peak_held()
        write(run, file, options.label_map)
        return memory.peak_held() - before


if __name__ == "__main__":
    main()
