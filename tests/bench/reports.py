"""How long the structured reports take, beside one segmentation written by highdicom on the same images.

    python -P -m tests.bench.reports --segments 24 --runs 3

Prints the seconds of building and saving both reports with every row there can be, those of the same reports as
variants for another destination, and those of highdicom's `Segmentation(...)` and `save_as`. Runs take turns, so that
what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from io import BytesIO

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from node.demo.study import ct_series
from node.objects.reports import diameters, volumes
from node.objects.reports.variants import variant
from node.objects.run import Run
from node.objects.segments.describe import segments as described
from tests.test_reports import LABEL_MAP, measured, run_of, seg_of

SPACING_MM = (0.7, 0.7, 1.0)


def main() -> None:
    options = _options()
    console = Console()
    console.print(f"{options.size} x {options.size} x {options.slices} voxels, {options.segments} segments")
    with console.status("making the series"):
        run, labels = _run(options)
    bases = _reports(run)
    seconds: dict[str, list[float]] = {}
    actions: dict[str, Callable[[], object]] = {
        "both reports": lambda: _reports(run),
        "both as Comprehensive SR, referring to a label map": lambda: _variants(run, bases),
        "one segmentation by highdicom": lambda: _highdicom(run, labels),
    }
    with console.status("measuring"):
        for _ in range(options.runs):
            for name, action in actions.items():
                begun = time.perf_counter()
                action()
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
    table = Table(title=f"Median of {options.runs} runs, built and saved", title_justify="left")
    for column in ("what", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, spent in seconds.items():
        table.add_row(name, f"{statistics.median(spent):.3f} s")
    ours, _, theirs = seconds.values()
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    table.add_row("highdicom's segmentation / both reports", f"{statistics.median(ratios):.1f}")
    table.add_row("bytes of both reports", f"{sum(len(_saved(ds)) for ds in bases) / 1e3:.0f} kB")
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--segments", type=int, default=24)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def _run(options: argparse.Namespace) -> tuple[Run, np.ndarray]:
    """Slabs across the columns, one for each segment."""
    air = np.broadcast_to(np.float32(0), (options.size, options.size, options.slices))
    images = list(ct_series(air, SPACING_MM))
    run = run_of([measured(n) for n in range(1, options.segments + 1)], images)
    labels = np.zeros((options.slices, options.size, options.size), np.uint8)
    wide = options.size // (options.segments + 1)
    for n in range(1, options.segments + 1):
        labels[:, options.size // 4 : -options.size // 4, n * wide : (n + 1) * wide - 2] = n
    return run, labels


def _reports(run: Run) -> list[Dataset]:
    made = [module.report(run, seg_of(run)) for module in (volumes, diameters)]
    for ds in made:
        _saved(ds)
    return made


def _variants(run: Run, bases: list[Dataset]) -> None:
    seg = seg_of(run, LABEL_MAP)
    for n, base in enumerate(bases):
        _saved(variant(base, run, f"{n}-COMPREHENSIVE", seg=seg, comprehensive=True))


def _highdicom(run: Run, labels: np.ndarray) -> None:
    seg = hd.seg.Segmentation(
        source_images=run.sources,
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described(run.provenance, label_map=False),
        series_instance_uid=run.provenance.series_uid("bench"),
        series_number=1,
        sop_instance_uid=run.provenance.result_uid("SEG", "bench"),
        instance_number=1,
        **run.provenance.general_equipment(),
    )
    _saved(seg)


def _saved(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
