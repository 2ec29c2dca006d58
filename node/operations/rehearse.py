"""A network tried on its golden cases and on what was never a patient: noise, nothing, another grid, a drawn body.

It says what would surprise somebody later: that it does not run, that it wants much time or memory, that it finds
organs in noise, that the same volume gives another label map the second time. Whether it is any good only labelled
cases say.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from models import client, golden, phantom
from models.card import Bundle, CardError
from models.client import Answer
from models.confine.rights import Demand
from models.finding_rules import Result
from models.found import Found
from models.golden import Golden
from models.incoming import program
from models.membership import inside
from models.wire import SharedArray

from ..errors import NodeError, Refused
from ..hosts import Hosts
from ..learning import sides
from ..nursery import Nursery
from .terminal import new_table, output, plain

SHAPE = (40, 96, 88)
SPACING_MM = (1.5, 1.5, 3.0)
#: (columns, rows, slices): a drawn chest, coarse, as high as a chest is
BODY, BODY_SPACING_MM = (128, 112, 70), (3.0, 3.0, 5.0)
LIMIT_SECONDS = 1800.0
#: more of pure noise than this is no finding, but a network that guesses
MOST_OF_NOISE = 0.2
START, NOISE, AGAIN, ZEROS = "start of its model host", "noise", "the same noise again", "zeros"
#: mean and standard deviation of the noise: water in CT, what a quiet body has in the others
USUAL = {"CT": (0.0, 100.0), "PT": (1.0, 0.3)}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One volume, and what the network made of it.

    Attributes:
        what: the volume.
        seconds: of the request as a whole; None where there was no answer.
        found: label -> part of the volume, how many boxes, or the probability, as it is printed.
        deviation: what is wrong; empty where nothing is.
    """

    what: str
    seconds: float | None = None
    peak_memory_mb: float | None = None
    found: dict[str, str] | None = None
    deviation: str = ""


def check(
    bundle: Bundle,
    device: str,
    console: Console | None = None,
    confine: Demand = Demand.BEST,
    nursery: Nursery | None = None,
) -> int:
    """Run a network on all of them in a model host of its own, and print what came of it; 1 where anything deviates.

    Args:
        nursery: that forks the model host, where somebody has one.

    Raises:
        Refused: `bad-bundle`: a golden case cannot be read.
    """
    console = console or output()
    remarks = list(read(bundle))
    try:
        asked = list(golden.cases(bundle))
    except CardError as error:
        raise Refused("bad-bundle", str(error)) from None
    with tempfile.TemporaryDirectory(prefix="planimeter-") as folder:
        hosts = Hosts(Path(folder), device, confine=confine, nursery=nursery)
        try:
            trials = _trials(hosts, bundle, asked, console)
        finally:
            hosts.stop()
    _print(bundle, remarks, trials, console)
    return 1 if any(one.deviation for one in trials) else 0


def _trials(hosts: Hosts, bundle: Bundle, asked: Sequence[Golden], console: Console) -> list[Trial]:
    """The start of its model host, its golden cases, and all volumes; only the start, where that fails."""
    begun = time.monotonic()
    try:
        hosts.address(str(bundle.folder), bundle.card_sha256)
    except NodeError as error:
        return [Trial(what=START, deviation=error.sentence)]
    trials = [Trial(what=START, seconds=time.monotonic() - begun, found={})]
    first: Answer | None = None
    for one in asked:
        trial, answer = _tried(hosts, bundle, f"golden case {one.name}", list(one.channels), one.affine, None)
        wrong = golden.deviation(bundle, one, answer.labels) if answer is not None else trial.deviation
        trials.append(replace(trial, deviation=wrong))
    with Progress(console=console, transient=True) as bar:
        for what, arrays, affine in bar.track(list(_volumes(bundle)), description=f"trying {bundle.card.name}"):
            trial, answer = _tried(hosts, bundle, what, arrays, affine, first if what == AGAIN else None)
            trials.append(trial)
            first = answer if first is None else first
    return trials


def read(bundle: Bundle) -> Iterator[str]:
    """What is seen in its files already."""
    trees = program.configs(bundle.folder)
    config = trees.get(bundle.card.config)
    if config is not None and re.search(r"cuda(?!\.is_available)", str(_without(config, "device"))):
        yield f"{bundle.card.config} names cuda outside of `device`: read as the device of this host"
    outputs = (trees.get("configs/metadata.json") or {}).get("network_data_format", {}).get("outputs", {})
    if bundle.card.result is not Result.SEGMENTS:
        yield f"it gives {bundle.card.result}: its results are reports (SR) alone, and it is not trained here"
        return
    if not any(isinstance(one, dict) and one.get("channel_def") for one in outputs.values()):
        yield "metadata.json has no channel_def: only the card says what its label values are"
    if "configs/train.json" not in trees and "configs/train.yaml" not in trees:
        yield "it has no train.json: it cannot be trained here"


def _without(config: Any, key: str) -> Any:
    return {name: value for name, value in config.items() if name != key} if isinstance(config, dict) else config


def _volumes(bundle: Bundle) -> Iterator[tuple[str, list[NDArray[np.float32]], NDArray[np.float64]]]:
    """What it is tried on: a name, an array per channel, (slices, rows, columns[, 3]), and their affine (LPS, mm)."""
    rng = np.random.default_rng(0)
    flat = bundle.card.input[0].kind == "image"
    shape = (1, *SHAPE[1:]) if flat else (max(SHAPE[0], bundle.card.input[0].minimum_slices), *SHAPE[1:])
    straight, oblique = np.diag([*SPACING_MM, 1.0]), _oblique()
    inputs = bundle.card.input
    noise = [
        _box(shape)
        if one.network
        else rng.normal(*USUAL.get(one.modality[0], (300.0, 100.0)), _shape(shape, one.colour)).astype(np.float32)
        for one in inputs
    ]
    yield NOISE, noise, straight
    yield AGAIN, noise, straight
    yield "noise on an oblique grid", noise, oblique
    yield ZEROS, [np.zeros_like(one) for one in noise], straight
    if not flat and all("CT" in one.modality or one.network for one in inputs):
        hu, _ = phantom.chest(BODY, BODY_SPACING_MM)
        drawn = np.ascontiguousarray(hu.T)
        channels = [_box(drawn.shape) if one.network else drawn for one in inputs]
        yield "a drawn chest", channels, np.diag([*BODY_SPACING_MM, 1.0])


def _box(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What another network might have found: its first segment, in the middle."""
    made = np.zeros(shape, np.float32)
    made[tuple(slice(n // 4, max(n - n // 4, 1)) for n in shape)] = 1
    return made


def _shape(shape: tuple[int, ...], colour: str) -> tuple[int, ...]:
    return (*shape, 3) if colour == "rgb" else shape


def _oblique() -> NDArray[np.float64]:
    turned = np.eye(4)
    c, s = np.cos(0.4), np.sin(0.4)
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(SPACING_MM)
    turned[:3, 3] = (-80, 40, 900)
    return turned


def _tried(
    hosts: Hosts,
    bundle: Bundle,
    what: str,
    arrays: list[NDArray[np.float32]],
    affine: NDArray[np.float64],
    before: Answer | None,
) -> tuple[Trial, Answer | None]:
    """One of them.

    Args:
        before: what came out of the same volume the first time.
    """
    channels = [SharedArray.of(one) for one in arrays]
    begun = time.monotonic()
    try:
        exchange = sides.for_passes(bundle.card)
        address = hosts.address(str(bundle.folder), bundle.card_sha256)
        answer = client.segment(address, channels, affine, limit_seconds=LIMIT_SECONDS, exchange=exchange)
    except client.HostRefused as error:
        return Trial(what=what, deviation=f"{error.code}: {error}"), None
    except (client.HostFailed, client.HostGone, client.HostBusy, NodeError, CardError) as error:
        return Trial(what=what, deviation=str(getattr(error, "sentence", error))), None
    finally:
        for one in channels:
            one.close()
    parts = _parts(bundle, answer)
    trial = Trial(
        what=what,
        seconds=time.monotonic() - begun,
        peak_memory_mb=answer.peak_memory_mb,
        found=_words(bundle, answer.found, parts),
        deviation=_deviation(what, answer, float((answer.labels > 0).mean()) if answer.labels.size else 0.0, before),
    )
    return trial, answer


def _parts(bundle: Bundle, answer: Answer) -> dict[str, float]:
    """Label -> part of the volume, of the segments that are there."""
    return {
        segment.label: part
        for segment in bundle.card.segment
        if (part := float(inside(answer.labels, segment.values).mean()))
    }


def _words(bundle: Bundle, found: Found | None, parts: dict[str, float]) -> dict[str, str]:
    if found is None:
        return {label: f"{part:.1%}" for label, part in parts.items()}
    labels = {one.value: one.label for one in bundle.card.finding}
    boxes = Counter(labels[box.value] for box in found.boxes)
    judged = {labels[one.value]: f"{one.probability:.1%}" for one in found.probabilities}
    return {label: f"{count} x" for label, count in boxes.items()} | judged


def _deviation(what: str, answer: Answer, labelled: float, before: Answer | None) -> str:
    if before is not None and answer.found != before.found:
        return "it finds something else than the first time"
    if before is not None and not np.array_equal(answer.labels, before.labels):
        return f"{int((answer.labels != before.labels).sum())} voxels are labelled otherwise than the first time"
    if what in (NOISE, ZEROS) and labelled > MOST_OF_NOISE:
        return f"{labelled:.0%} of {what} is labelled"
    if what in (NOISE, ZEROS) and answer.found is not None and answer.found.boxes:
        return f"{len(answer.found.boxes) + answer.found.left_out} boxes in {what} reach the card's threshold"
    return ""


def _print(bundle: Bundle, remarks: list[str], trials: list[Trial], console: Console) -> None:
    table = new_table(
        f"{bundle.card.name} {bundle.card.version} on what was never a patient",
        ("tried on", "seconds", "memory MB", "found", "deviation"),
    )
    for one in trials:
        seconds = f"{one.seconds:.1f}" if one.seconds is not None else ""
        memory = f"{one.peak_memory_mb:.0f}" if one.peak_memory_mb is not None else ""
        found = ", ".join(f"{label} {said}" for label, said in (one.found or {}).items())
        found = found or ("nothing" if one.found is not None and one.what != START else "")
        style = "red" if one.deviation else None
        table.add_row(*map(plain, (one.what, seconds, memory, found, one.deviation)), style=style)
    console.print(table)
    for remark in remarks:
        console.print(f"[yellow]-[/] {plain(remark)}")
