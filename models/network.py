"""A MONAI bundle, loaded once, run from memory as often as asked.

The bundle's own evaluator does the work, unmodified files and all: reading and writing images is taken out of its
configuration (`bundle_config`), weights are loaded here (`weights`), and where it ends in softmax, inversion to the
source grid and argmax, these last two are done by `restore`, which needs neither the memory nor the time (`ending`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from monai.transforms import Compose
from numpy.typing import NDArray

from . import bundle_config, membership, weights
from .bundle_config import LEFT_OUT
from .card import Bundle, CardError, verify
from .causes import first_cause, is_full
from .classes import Classes, highest
from .contiguous import before_resampling
from .detections import Detections
from .ending import Ending
from .feeding import Feeding
from .finding_rules import Result
from .found import Found
from .grow import grow
from .ladder import instead_of_inferer
from .result import LARGEST, Unusable, only_known
from .to_labels import LPS_TO_RAS, Probabilities, ToLabels
from .uncertainty import Passes, Uncertain
from .windows import OnWindows, Windows

__all__ = ["LEFT_OUT", "LPS_TO_RAS", "Network", "Probabilities", "Unusable"]

Made = TypeVar("Made")
#: "start" is all before the first forward pass that is not the bundle's own preprocessing
STAGES = ("preprocess", "forward", "postprocess", "inference", "start")


class Network:
    """A bundle that is ready to run.

    Args:
        bundle: verified before anything of it is parsed.
        device: of torch.
        known: where it is kept how it fits into the memory of a device (`experience`); None: nowhere.

    Raises:
        CardError: a file is not the one the card lists, and nothing of the bundle was parsed then; or it is no bundle
            that can be run, and the sentence says what of it.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", known: Path | None = None) -> None:
        verify(bundle)
        self.card = bundle.card
        self.device = torch.device(device)
        if max(membership.known(self.card), default=0) > LARGEST:
            raise CardError(
                f"{bundle.folder}: has a [[segment]] with a value above {LARGEST}, which no label map holds"
            )
        prepared = bundle_config.prepare(bundle, self.device)
        file = bundle.folder / self.card.config
        try:
            self._evaluator, post = bundle_config.build(prepared)
        except Exception as error:
            # a bundle is a program: it may raise anything, and what it says is all that is known
            cause = first_cause(error)
            if isinstance(cause, torch.OutOfMemoryError | MemoryError | CardError):
                raise cause from None
            said = f"{type(cause).__name__}: {cause}".split("\n")[0][:300]
            raise CardError(f"{file}: cannot be built: {said}") from error
        network = getattr(self._evaluator, "network", None)
        if not isinstance(network, torch.nn.Module):
            raise CardError(f"{file}: its evaluator has no network")
        if not weights.scripted(bundle.folder / self.card.weights):
            names, strict = prepared.weights_names, prepared.strict
            weights.load(network, bundle.folder / self.card.weights, self.device, names, strict)
        alone = self.card.overlapping or len(self.card.segment) == 1
        self._ending = Ending(post, masks=len(self.card.segment) if alone else 0)
        self._labels = ToLabels(self.card, self._ending, self._run_once)
        by_softmax = self._ending.taken and self._ending.threshold is None
        self.ladder = instead_of_inferer(self._evaluator, self.device, softmax=by_softmax, known=known)
        self._dataset = self._evaluator.data_loader.dataset
        before_resampling(getattr(self._dataset, "transform", None))
        transform = Compose(getattr(self._dataset, "transform", None))
        readers: dict[Result, type[Detections | Classes]] = {Result.BOXES: Detections, Result.FINDING: Classes}
        reader = readers.get(self.card.result)
        self._reader = reader(self.card, post) if reader else None
        constants = bundle_config.constants(prepared.parser)
        self._feeding = Feeding(self.card, transform, prepared.planar, constants)
        self._planar = prepared.planar
        self._passes: Passes | None = None
        self._windows = Windows(network, self.ladder.inferer)
        self._evaluator.inferer = self._windows.around(self._evaluator.inferer)
        if self.card.uncertainty:
            self._passes = Passes(self._evaluator.inferer, self.card, self._ending, network, prepared.planar)
            self._evaluator.inferer = self._passes
        self._marks: dict[str, float] = {}
        for name, event in (
            ("read", Events.GET_BATCH_COMPLETED),
            ("forward", IterationEvents.FORWARD_COMPLETED),
            ("end", Events.ITERATION_COMPLETED),
        ):
            self._evaluator.add_event_handler(event, self._mark, name)
        if not isinstance(network, torch.jit.ScriptModule):  # which takes no hook
            network.register_forward_pre_hook(self._mark_first)

    def _mark(self, name: str) -> None:
        self._marks[name] = time.monotonic()

    def _mark_first(self, *_: Any) -> None:
        self._marks.setdefault("first", time.monotonic())

    def segment(
        self,
        channels: list[NDArray[np.float32]],
        affine: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None = None,
        kept: Probabilities | None = None,
        uncertain: Uncertain | None = None,
        on_windows: OnWindows | None = None,
        *,
        may_climb: bool = True,
    ) -> dict[str, float]:
        """Run the network; where the device is full, down the ladder: `ladder.rung` is where it ended.

        Args:
            channels: (slices, rows, columns) each, or (slices, rows, columns, 3) in colour, in the order of the card's
                inputs, on one grid.
            affine: 4x4, from (column, row, slice) index to DICOM patient coordinates (LPS, mm).
            out: of the same shape; filled with the label values.
            doubt: filled with the mean entropy of each label value that is there (`entropy.means`), where the bundle
                gives probabilities; nothing is computed without it.
            kept: filled with the probabilities themselves, where the bundle gives them.
            uncertain: filled with what several passes say, where the card asks for them.
            on_windows: told how far the network is.
            may_climb: whether less memory may be tried with.

        Returns:
            The seconds of each stage.

        Raises:
            Unusable: the output is not a label map of this grid.
        """
        ras = LPS_TO_RAS @ affine
        seconds, idle_since = dict.fromkeys(STAGES, 0.0), time.monotonic()
        if self._passes is not None:
            self._passes.begin(channels, uncertain)
        self._begin(out.shape[0], on_windows, may_climb=may_climb)
        for item, part, at in self._feeding.items(channels, ras, out):
            begun = time.monotonic()
            seconds["start"] += begun - idle_since
            end = partial(self._labels.make, item=item, ras=at, out=part, doubt=doubt, kept=kept)
            marks, _ = self._item(item, end)
            if self._passes is not None:
                self._passes.note(part, at)
            _add(seconds, begun, marks)
            idle_since = time.monotonic()
        self.ladder.done()
        begun = time.monotonic()
        if self.card.grow_mm:
            across_mm, down_mm, _ = np.linalg.norm(affine[:3, :3], axis=0)
            pixel_mm = float(down_mm), float(across_mm)
            below, most_mm, holes_mm2 = self.card.grow_below, self.card.grow_mm, self.card.fill_holes_mm2
            grow(out, channels[0], pixel_mm, below=below, most_mm=most_mm, holes_mm2=holes_mm2)
        only_known(out, self.card)
        seconds["postprocess"] += time.monotonic() - begun
        return seconds

    def find(
        self,
        channels: list[NDArray[np.float32]],
        affine: NDArray[np.float64],
        on_windows: OnWindows | None = None,
        *,
        may_climb: bool = True,
    ) -> tuple[Found, dict[str, float]]:
        """Run a network that gives no label map: a detector or a classifier.

        Args:
            channels, affine, on_windows, may_climb: as `segment` has them.

        Returns:
            What it found, and the seconds of each stage.

        Raises:
            Unusable: the output is not what the card says.
        """
        reader = self._reader
        assert reader is not None
        ras, shape = LPS_TO_RAS @ affine, channels[0].shape[:3]
        seconds, idle_since = dict.fromkeys(STAGES, 0.0), time.monotonic()
        found: list[Found] = []
        self._begin(shape[0], on_windows, may_climb=may_climb)
        for item, _, at in self._feeding.items(channels, ras, np.broadcast_to(np.uint8(0), shape)):
            begun = time.monotonic()
            seconds["start"] += begun - idle_since
            marks, one = self._item(item, partial(reader.found, ras=at, shape=shape))
            found.append(one)
            _add(seconds, begun, marks)
            idle_since = time.monotonic()
        self.ladder.done()
        whole = len(found) == 1 and self.card.input[0].kind == "volume"
        return found[0] if whole else highest(found), seconds

    def _begin(self, images: int, on_windows: OnWindows | None, *, may_climb: bool) -> None:
        self.ladder.begin(may_climb=may_climb)
        passes = self._passes.count if self._passes is not None else 1
        self._windows.expect(passes * (images if self._planar else 1), on_windows)

    def _item(self, item: dict[str, Any], end: Callable[[dict[str, Any]], Made]) -> tuple[dict[str, float], Made]:
        """One item, ending and all; once more from a lower rung, where only the ending had too little memory."""
        while True:
            try:
                output = self._run_once(item)
                marks = dict(self._marks)
                made = end(output)
            except Exception as error:
                if "forward" not in self._marks or not is_full(error) or not self.ladder.goes_on:
                    raise
            else:
                return marks, made
            output = {}
            self.ladder.lower()

    def _run_once(self, item: dict[str, Any]) -> dict[str, Any]:
        """The evaluator's input and output for one item, and nothing of any run before.

        After an exception ignite would resume the broken run at the next call: it would end at once, and the output
        that stands there would be the one of the item before.
        """
        engine = self._evaluator
        engine.interrupt_resume_enabled = False
        engine._internal_run_generator = engine._dataloader_iter = None
        engine.state.output = None
        self._marks.clear()
        self._dataset.data = [item]
        try:
            with torch.no_grad():
                engine.run()
            if not {"read", "forward", "end"} <= set(self._marks) or not engine.state.output:
                raise RuntimeError("the evaluator ended without running the network")
            batch = engine.state.batch  # ignite's postprocessing puts what it was not given by the network back there
            return (dict(batch[0]) if isinstance(batch, list) else {}) | dict(engine.state.output[0])
        finally:
            self._dataset.data = [{}]
            engine.state.output = engine.state.batch = None


def _add(seconds: dict[str, float], begun: float, marks: dict[str, float]) -> None:
    """Add what one run took until now."""
    seconds["preprocess"] += marks["read"] - begun
    seconds["forward"] += marks["forward"] - marks["read"]
    seconds["postprocess"] += time.monotonic() - marks["forward"]
    seconds["inference"] += marks["end"] - begun
    seconds["start"] += marks.get("first", marks["read"]) - marks["read"]
