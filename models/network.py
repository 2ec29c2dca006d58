"""A MONAI bundle, loaded once, run from memory as often as asked.

The bundle's own evaluator does the work, unmodified files and all: reading and writing images is taken out of its
configuration (`bundle_config`), weights are loaded here (`weights`), and where it ends in softmax, inversion to the
source grid and argmax, these last two are done by `restore`, which needs neither the memory nor the time (`ending`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.transforms import Compose
from numpy.typing import NDArray

from . import bundle_config, entropy, weights
from .bundle_config import LEFT_OUT
from .card import Bundle, CardError, verify
from .causes import first_cause
from .classes import Classes, highest
from .clean import absorb_small_components, fill_holes, one_class_per_core
from .detections import Detections
from .ending import Ending
from .feeding import Feeding
from .finding_rules import Result
from .found import Found
from .grow import grow
from .restore import label_map
from .result import LARGEST, Unusable, labels_of, only_known

__all__ = ["LEFT_OUT", "LPS_TO_RAS", "Network", "Probabilities", "Unusable"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
STAGES = ("preprocess", "forward", "postprocess", "inference")


@dataclass
class Probabilities:
    """What a network gave before the card's rules mended it, on its own grid; filled by `Network.segment`.

    Attributes:
        array: float16 (class, x, y, z); class 0 is the background. None where the bundle gives none.
        affine: 4x4, from (x, y, z) index to DICOM patient coordinates (LPS, mm).
    """

    array: NDArray[np.float16] | None = None
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))


class Network:
    """A bundle that is ready to run.

    Raises:
        CardError: a file is not the one the card lists, and nothing of the bundle was parsed then; or it is no bundle
            that can be run, and the sentence says what of it.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        verify(bundle)
        self.card = bundle.card
        self.device = torch.device(device)
        if any(segment.value > LARGEST for segment in self.card.segment):
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
        self._dataset = self._evaluator.data_loader.dataset
        transform = Compose(getattr(self._dataset, "transform", None))
        self._ending = Ending(post)
        readers: dict[Result, type[Detections | Classes]] = {Result.BOXES: Detections, Result.FINDING: Classes}
        reader = readers.get(self.card.result)
        self._reader = reader(self.card, post) if reader else None
        constants = bundle_config.constants(prepared.parser)
        self._feeding = Feeding(self.card, transform, prepared.planar, constants)
        self._marks: dict[str, float] = {}
        for name, event in (
            ("read", Events.GET_BATCH_COMPLETED),
            ("forward", IterationEvents.FORWARD_COMPLETED),
            ("end", Events.ITERATION_COMPLETED),
        ):
            self._evaluator.add_event_handler(event, self._mark, name)

    def _mark(self, name: str) -> None:
        self._marks[name] = time.monotonic()

    def segment(
        self,
        channels: list[NDArray[np.float32]],
        affine: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None = None,
        kept: Probabilities | None = None,
    ) -> dict[str, float]:
        """Run the network.

        Args:
            channels: (slices, rows, columns) each, or (slices, rows, columns, 3) in colour, in the order of the card's
                inputs, on one grid.
            affine: 4x4, from (column, row, slice) index to DICOM patient coordinates (LPS, mm).
            out: of the same shape; filled with the label values.
            doubt: filled with the mean entropy of each label value that is there (`entropy.means`), where the bundle
                gives probabilities; nothing is computed without it.
            kept: filled with the probabilities themselves, where the bundle gives them.

        Returns:
            The seconds of each stage.

        Raises:
            Unusable: the output is not a label map of this grid.
        """
        ras = LPS_TO_RAS @ affine
        seconds = dict.fromkeys(STAGES, 0.0)
        for item, part, at in self._feeding.items(channels, ras, out):
            begun = time.monotonic()
            output = self._run_once(item)
            marks = dict(self._marks)
            probabilities = self._ending.probabilities(output)
            if probabilities is not None:
                self._restored(*probabilities, output, at, part, doubt, kept)
            else:
                self._finished(output, item, at, part)
            _add(seconds, begun, marks)
        begun = time.monotonic()
        if self.card.grow_mm:
            across_mm, down_mm, _ = np.linalg.norm(affine[:3, :3], axis=0)
            pixel_mm = float(down_mm), float(across_mm)
            below, most_mm, holes_mm2 = self.card.grow_below, self.card.grow_mm, self.card.fill_holes_mm2
            grow(out, channels[0], pixel_mm, below=below, most_mm=most_mm, holes_mm2=holes_mm2)
        only_known(out, self.card)
        seconds["postprocess"] += time.monotonic() - begun
        return seconds

    def find(self, channels: list[NDArray[np.float32]], affine: NDArray[np.float64]) -> tuple[Found, dict[str, float]]:
        """Run a network that gives no label map: a detector or a classifier.

        Args:
            channels, affine: as `segment` has them.

        Returns:
            What it found, and the seconds of each stage.

        Raises:
            Unusable: the output is not what the card says.
        """
        assert self._reader is not None
        ras, shape = LPS_TO_RAS @ affine, channels[0].shape[:3]
        seconds = dict.fromkeys(STAGES, 0.0)
        found = []
        for item, _, at in self._feeding.items(channels, ras, np.broadcast_to(np.uint8(0), shape)):
            begun = time.monotonic()
            output = self._run_once(item)
            marks = dict(self._marks)
            found.append(self._reader.found(output, at, shape))
            _add(seconds, begun, marks)
        whole = len(found) == 1 and self.card.input[0].kind == "volume"
        return found[0] if whole else highest(found), seconds

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

    def _restored(
        self,
        probabilities: torch.Tensor,
        model_affine: NDArray[np.float64],
        output: dict[str, Any],
        ras: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None,
        kept: Probabilities | None,
    ) -> None:
        if not bool(torch.isfinite(probabilities).all()):
            raise Unusable("output-not-finite", "the network's output is not a number in some voxels")
        if probabilities.shape[0] > LARGEST + 1:
            raise Unusable("output-unknown-label", f"the network tells {probabilities.shape[0]} classes apart")
        if kept is not None:
            kept.array, kept.affine = probabilities.half().cpu().numpy(), LPS_TO_RAS @ model_affine
        of_voxels = None if doubt is None or self._ending.goes_on else entropy.of_softmax(probabilities)
        self._mend(probabilities, model_affine)
        if doubt is not None and of_voxels is not None:
            doubt |= entropy.means(of_voxels, probabilities)
        shape: tuple[int, int, int] = (out.shape[0], out.shape[1], out.shape[2])
        label_map(probabilities, model_affine, shape, ras, out)
        if self._ending.goes_on:
            labels = MetaTensor(torch.from_numpy(out).permute(2, 1, 0)[None].float(), affine=torch.as_tensor(ras))
            out[:] = labels_of(self._ending.of_labels(labels, output), ras, out.shape, self.card)

    def _finished(
        self, output: dict[str, Any], item: dict[str, Any], ras: NDArray[np.float64], out: NDArray[np.uint8]
    ) -> None:
        """The bundle's own result, as a label map; inverted once more where it is between the labels."""
        for last in (False, True):
            result = self._ending.finished(output)
            if isinstance(result, MetaTensor) and result.ndim == 4:
                result = self._ending.saved_on(result, ras, out.shape[::-1])
            try:
                out[:] = labels_of(result, ras, out.shape, self.card)
                break
            except Unusable as error:
                if last or error.code != "output-not-integer" or not self._ending.force_nearest():
                    raise
            output = self._run_once(item)
        if self._mends:
            self._mend_labels(out, ras)

    @property
    def _mends(self) -> bool:
        card = self.card
        return bool(
            card.one_class_per_core_mm
            or card.smallest_component_ml
            or card.smallest_component_part
            or card.fill_holes_mm2
        )

    def _mend_labels(self, out: NDArray[np.uint8], ras: NDArray[np.float64]) -> None:
        """Apply the card's rules to a label map, on the source grid."""
        values = np.array([0, *sorted(segment.value for segment in self.card.segment)], np.uint8)
        only_known(out, self.card)
        classes = torch.from_numpy(np.searchsorted(values, out.transpose(2, 1, 0)))
        one_hot = torch.stack([(classes == number).to(torch.uint8) for number in range(len(values))])
        self._mend(one_hot, ras)
        out[:] = values[one_hot.argmax(0).numpy()].transpose(2, 1, 0)

    def _mend(self, probabilities: torch.Tensor, model_affine: NDArray[np.float64]) -> None:
        """Apply the card's rules, in place."""
        spacing_mm = np.linalg.norm(model_affine[:3, :3], axis=0)
        if self.card.one_class_per_core_mm:
            one_class_per_core(probabilities, spacing_mm, self.card.one_class_per_core_mm)
        if self.card.smallest_component_ml or self.card.smallest_component_part:
            voxel_ml = abs(float(np.linalg.det(model_affine[:3, :3]))) / 1000
            least, part = self.card.smallest_component_ml, self.card.smallest_component_part
            absorb_small_components(probabilities, voxel_ml, least, part)
        if self.card.fill_holes_mm2:
            fill_holes(probabilities, float(spacing_mm[0] * spacing_mm[1]), self.card.fill_holes_mm2)


def _add(seconds: dict[str, float], begun: float, marks: dict[str, float]) -> None:
    """Add what one run took until now."""
    seconds["preprocess"] += marks["read"] - begun
    seconds["forward"] += marks["forward"] - marks["read"]
    seconds["postprocess"] += time.monotonic() - marks["forward"]
    seconds["inference"] += marks["end"] - begun
