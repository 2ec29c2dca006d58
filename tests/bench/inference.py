"""From a volume in memory to a label map on its own grid: the node's host beside the bundle's own evaluator.

    python -P -m tests.bench.inference --slices 300 --size 512 --runs 3

The same bundle twice: ct_lungs's network, as it is but for the number of its classes, with the trained weights wherever
they fit. Two warm processes take turns, so that what else the machine does falls on both: in one `models.network` runs
it, in the other its own configuration does, with nothing changed but that the image is in memory already and the result
stays there. The forward passes are the same and are timed apart; what counts is the rest. The memory is the peak of a
process during its run, above what it held with the volume and the network.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models import card, memory
from models.phantom import chest

#: (classes, how many times faster the rest has to be)
CASES = ((2, 2.0), (14, 3.0))
#: part of the peak memory of the bundle's own evaluator
MEMORY = 0.5
SIDES = ("the bundle's own", "node")

Run = Callable[[], tuple[dict[str, float], NDArray[np.uint8]]]


def main() -> None:
    options = _options()
    if options.side:
        _serve(options)
        return
    console = Console(width=150)  # a row has many columns
    console.print(f"{options.size} x {options.size} x {options.slices} voxels, {os.cpu_count()} cores")
    table = Table(title=f"Median of {options.runs} runs; the bundle's own pipeline first", title_justify="left")
    for column in ("classes", "forward", "before", "after", "all the rest", "ratio", "wanted", "peak MB", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("other voxels", justify="right")
    table.add_column("to the first forward pass, without preprocessing", justify="right")
    with tempfile.TemporaryDirectory(prefix="planimeter-bench-") as scratch:
        spacing = (360 / options.size, 360 / options.size, 330 / options.slices)
        volume = Path(scratch) / "volume.npy"
        hu, _ = chest((options.size, options.size, options.slices), spacing, seed=0)
        np.save(volume, hu.transpose(2, 1, 0).astype(np.float32, order="C"))
        for classes, wanted in CASES:
            with console.status(f"{classes} classes"):
                table.add_row(*_row(_measured(Path(scratch), volume, spacing, classes, options.runs), classes, wanted))
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--volume", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--spacing", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def _row(found: dict[str, list[dict[str, Any]]], classes: int, wanted: float) -> list[str]:
    def of(side: str, what: str) -> float:
        return statistics.median(run[what] for run in found[side])

    theirs, ours = SIDES
    seconds = [f"{of(theirs, what):.2f} / {of(ours, what):.2f} s" for what in ("forward", "before", "after", "rest")]
    peak = {side: max(run["peak_mb"] for run in found[side]) for side in SIDES}
    others = max(run["others"] for run in found[ours])
    return [
        str(classes),
        *seconds,
        f"{of(theirs, 'rest') / of(ours, 'rest'):.1f}",
        f"{wanted:.1f}",
        f"{peak[theirs]:.0f} / {peak[ours]:.0f}",
        f"{peak[ours] / peak[theirs]:.2f} (wanted {MEMORY})",
        str(others),
        f"{of(ours, 'start'):.2f} s",
    ]


def _measured(
    scratch: Path, volume: Path, spacing: tuple[float, ...], classes: int, runs: int
) -> dict[str, list[dict[str, Any]]]:
    """What each side said of each of its runs, after one that does not count; they take turns."""
    bundle = _bundle(scratch / f"of_{classes}", classes, np.load(volume, mmap_mode="r"))
    sides = {side: _child(side, bundle, volume, spacing) for side in SIDES}
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    maps: dict[str, NDArray[np.uint8]] = {}
    for _ in range(runs + 1):
        for side, child in sides.items():
            assert child.stdin is not None and child.stdout is not None
            file = scratch / "labels.npy"
            child.stdin.write(f"{file}\n")
            child.stdin.flush()
            found[side].append(json.loads(child.stdout.readline()))
            maps[side] = np.load(file)
        found[SIDES[1]][-1]["others"] = int((maps[SIDES[0]] != maps[SIDES[1]]).sum())
    for child in sides.values():
        child.communicate()
    return {side: of_side[1:] for side, of_side in found.items()}


def _child(side: str, bundle: Path, volume: Path, spacing: tuple[float, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", __spec__.name, "--side", side, "--bundle", str(bundle)]
    command += ["--volume", str(volume), "--spacing", json.dumps(spacing)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- the bundle


def _bundle(folder: Path, classes: int, volume: NDArray[np.float32]) -> Path:
    """ct_lungs with so many classes, sealed; most of the volume is background, as most of a patient is."""
    shipped = card.SHIPPED / "ct_lungs"
    shutil.copytree(shipped, folder)
    (folder / "docs").exists() and shutil.rmtree(folder / "docs")
    for file in folder.glob("configs/*.json"):
        if file.name not in ("inference.json", "metadata.json"):
            file.unlink()
    config = json.loads((folder / "configs" / "inference.json").read_text())
    config["network_def"]["out_channels"] = classes
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    parser = ConfigParser({"network_def": config["network_def"]})
    network = parser.get_parsed_content("network_def")
    own, trained = network.state_dict(), torch.load(shipped / "models" / "model.pt", weights_only=True)
    fits = {name: value for name, value in trained.items() if own[name].shape == value.shape}
    network.load_state_dict(own | fits)
    bias = [name for name, value in own.items() if value.shape == (classes,) and name.endswith("bias")][-1]
    _mostly_background(network.eval(), bias, volume)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    (folder / card.FILE).write_text(_card(classes))
    card.seal(folder)
    return folder


def _mostly_background(network: torch.nn.Module, bias: str, volume: NDArray[np.float32]) -> None:
    """Lift the first class until it has four fifths of the volume."""
    thinned = torch.as_tensor(np.array(volume[:, ::2, ::2]).clip(-1024, 600)).permute(2, 1, 0)
    with torch.no_grad():
        coarse = torch.nn.functional.interpolate((thinned[None, None] + 1024) / 1624, size=(128, 112, 80))
        logits = network(coarse)[0]
        above = (logits[1:].amax(0) - logits[0]).flatten()
        network.state_dict()[bias][0] += above.quantile(0.8)


def _card(classes: int) -> str:
    """Without any rule that mends the network's output: the bundle's own pipeline has none."""
    segments = "".join(
        f'\n[[segment]]\nvalue = {value}\nlabel = "Structure {value}"\ncategory = ["123037004", "SCT", "Structure"]\n'
        f'type = ["39607008", "SCT", "Lung"]\ncolour = [200, 100, 50]\n'
        for value in range(1, classes)
    )
    head = {"name": f"of_{classes}", "version": "1", "title": "Bench", "manufacturer": "Bench", "device_uid": "1.2.3"}
    head |= {"intended_use": "Bench.", "licence": "Apache-2.0", "weights_licence": "Apache-2.0"}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in head.items())
    return f'format = 1\n{lines}\n[[input]]\nchannel = "image"\nmodality = ["CT"]\n{segments}\n[files]\n'


# ----------------------------------------------------------------- the sides


def _serve(options: argparse.Namespace) -> None:
    """One side: a run for each line on standard input, which names the file that the label map goes to."""
    warnings.simplefilter("ignore")
    volume, affine = np.load(options.volume), np.diag([*options.spacing, 1.0])
    make = {SIDES[0]: _their_run, SIDES[1]: _our_run}[options.side]
    run = make(options.bundle, volume, affine)
    for line in sys.stdin:
        gc.collect()
        memory.measure_anew("cpu")
        before = memory.of("cpu").held
        begun = time.monotonic()
        seconds, labels = run()
        seconds["rest"] = time.monotonic() - begun - seconds["forward"]
        said = seconds | {"peak_mb": (memory.peak_held() - before) / 2**20}
        np.save(line.strip(), labels)
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def _our_run(folder: Path, volume: NDArray[np.float32], affine: NDArray[np.float64]) -> Run:
    from models.network import Network

    network = Network(card.read(folder))

    def run() -> tuple[dict[str, float], NDArray[np.uint8]]:
        labels = np.zeros(volume.shape, np.uint8)
        took = network.segment([volume], affine, labels)
        told = {"before": took["preprocess"], "forward": took["forward"], "after": took["postprocess"]}
        return told | {"start": took["start"]}, labels

    return run


def _their_run(folder: Path, volume: NDArray[np.float32], affine: NDArray[np.float64]) -> Run:
    from ignite.engine import Events
    from monai.engines.utils import IterationEvents

    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser["bundle_root"], parser["dataset#data"] = str(folder), [{}]
    for where, name in (("preprocessing", "LoadImaged"), ("postprocessing", "SaveImaged")):
        steps = parser[where]["transforms"]
        parser[where]["transforms"] = [step for step in steps if step["_target_"] != name]
    evaluator, dataset = parser.get_parsed_content("evaluator"), parser.get_parsed_content("dataset")
    marks: dict[str, float] = {}

    def mark(_engine: object, name: str) -> None:
        marks[name] = time.monotonic()

    for name, event in (("read", Events.GET_BATCH_COMPLETED), ("forward", IterationEvents.FORWARD_COMPLETED)):
        evaluator.add_event_handler(event, mark, name)
    ras = torch.as_tensor(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)

    def run() -> tuple[dict[str, float], NDArray[np.uint8]]:
        meta = {"original_channel_dim": "no_channel", "filename_or_obj": "volume"}
        image = MetaTensor(torch.from_numpy(volume).permute(2, 1, 0), affine=ras, meta=meta)
        dataset.data = [{"image": image}]
        begun = time.monotonic()
        evaluator.run()
        pred = evaluator.state.output[0]["pred"]
        labels = np.asarray(pred[0].to(torch.uint8).numpy().transpose(2, 1, 0), order="C")
        ended = time.monotonic()
        evaluator.state.output = evaluator.state.batch = None
        dataset.data = [{}]
        forward = marks["forward"] - marks["read"]
        return {"before": marks["read"] - begun, "forward": forward, "after": ended - marks["forward"]}, labels

    return run


if __name__ == "__main__":
    main()
