"""A MONAI bundle, loaded once, run from memory as often as asked.

The bundle's own evaluator does the work, unmodified files and all: reading and writing images is taken out of its
configuration, weights are loaded here, and where it ends in softmax, inversion to the source grid and argmax, these
last two are done by `restore`, which needs neither the memory nor the time (see there; the result is the same).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray

from . import entropy
from .card import Bundle, verify
from .clean import absorb_small_components, fill_holes, one_class_per_core
from .grow import grow
from .restore import label_map
from .training.tree import nodes

#: what a bundle does with files, logs and trackers has no place in a service
LEFT_OUT = ("LoadImage", "SaveImage", "CheckpointLoader", "TensorBoard", "MLFlow", "StatsHandler", "ClearML")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Unusable(Exception):
    """The bundle's output cannot be trusted or does not fit its card.

    Attributes:
        code: stable.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


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
        CardError: a file is not the one the card lists; nothing of the bundle was parsed then.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        verify(bundle)
        self.card = bundle.card
        self.device = torch.device(device)
        sys.path.insert(0, str(bundle.folder))
        sys.dont_write_bytecode = True
        meta = bundle.folder / "configs" / "metadata.json"
        self._workflow = ConfigWorkflow(
            config_file=str(bundle.folder / bundle.card.config),
            meta_file=str(meta) if meta.is_file() else None,
            workflow_type="infer",
            logging_file=False,
        )
        parser = self._workflow.parser
        parser["bundle_root"] = str(bundle.folder)
        parser["device"] = self.device
        for path, node in nodes(parser.get()):
            if str(node.get("_target_", "")).rsplit(".", 1)[-1].startswith(LEFT_OUT):
                parser[f"{path}#_disabled_"] = True
        self._restore = self._take_over_the_end(parser)
        parser["dataset#data"] = [{}]  # the evaluator counts them once; every run puts its own item here
        parser["dataloader#num_workers"] = 0
        self._workflow.initialize()
        self._load_weights(bundle, parser.get_parsed_content("network"))
        self._evaluator = parser.get_parsed_content("evaluator")
        self._dataset = parser.get_parsed_content("dataset")
        self._marks: dict[str, float] = {}
        for name, event in (
            ("read", Events.GET_BATCH_COMPLETED),
            ("forward", IterationEvents.FORWARD_COMPLETED),
            ("end", Events.ITERATION_COMPLETED),
        ):
            self._evaluator.add_event_handler(event, self._mark, name)

    @staticmethod
    def _take_over_the_end(parser: Any) -> bool:
        """Whether the bundle ends in softmax, linear inversion, argmax; then the last two are switched off."""
        steps = parser.get("postprocessing#transforms") if parser.get("postprocessing") else None
        if not isinstance(steps, list):
            return False
        live = [
            (n, step) for n, step in enumerate(steps) if isinstance(step, dict) and not step.get("_disabled_", False)
        ]
        kinds = [str(step.get("_target_", "")).rsplit(".", 1)[-1] for _, step in live]
        if kinds != ["Activationsd", "Invertd", "AsDiscreted"]:
            return False
        softmax, invert, discrete = (step for _, step in live)
        if softmax.get("softmax") is not True or invert.get("nearest_interp") is not False:
            return False
        if discrete.get("argmax") is not True:
            return False
        for n, _step in live[1:]:
            parser[f"postprocessing#transforms#{n}#_disabled_"] = True
        return True

    def _load_weights(self, bundle: Bundle, network: torch.nn.Module) -> None:
        state = torch.load(bundle.folder / bundle.card.weights, map_location=self.device, weights_only=True)
        for key in ("model", "state_dict"):
            state = state.get(key, state) if isinstance(state.get(key), dict) else state
        network.load_state_dict(state, strict=True)
        network.eval()

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
        begun = time.monotonic()
        output = self._run_once(self._item(channels, ras))
        inferred = self._marks["end"]
        if self._restore:
            self._restored(output["pred"], ras, out, doubt, kept)
        else:
            self._checked(output["pred"], ras, out)
        if self.card.grow_mm:
            across_mm, down_mm, _ = np.linalg.norm(affine[:3, :3], axis=0)
            pixel_mm = float(down_mm), float(across_mm)
            below, most_mm, holes_mm2 = self.card.grow_below, self.card.grow_mm, self.card.fill_holes_mm2
            grow(out, channels[0], pixel_mm, below=below, most_mm=most_mm, holes_mm2=holes_mm2)
        self._only_known_values(out)
        return {
            "preprocess": self._marks["read"] - begun,
            "forward": self._marks["forward"] - self._marks["read"],
            "postprocess": time.monotonic() - self._marks["forward"],
            "inference": inferred - begun,
        }

    def _run_once(self, item: dict[str, Any]) -> dict[str, Any]:
        """The evaluator's output for one item, and nothing of any run before.

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
            return dict(engine.state.output[0])
        finally:
            self._dataset.data = [{}]
            engine.state.output = None

    def _item(self, channels: list[NDArray[np.float32]], ras: NDArray[np.float64]) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for one, array in zip(self.card.input, channels, strict=True):
            coloured = array.ndim == 4
            tensor = torch.from_numpy(array).permute(*((3, 2, 1, 0) if coloured else (2, 1, 0)))
            meta = {
                "original_channel_dim": 0 if coloured else "no_channel",
                "original_affine": ras.copy(),
                "spatial_shape": np.array(tensor.shape[-3:]),
                "space": "RAS",
                "filename_or_obj": one.channel,
            }
            item[one.channel] = MetaTensor(tensor, affine=torch.as_tensor(ras), meta=meta)
            item[f"{one.channel}_meta_dict"] = dict(meta)
        return item

    def _restored(
        self,
        pred: MetaTensor,
        ras: NDArray[np.float64],
        out: NDArray[np.uint8],
        doubt: dict[int, float] | None,
        kept: Probabilities | None,
    ) -> None:
        probabilities = pred.as_tensor().float()
        if not bool(torch.isfinite(probabilities).all()):
            raise Unusable("output-not-finite", "the network's output is not a number in some voxels")
        model_affine = np.asarray(pred.affine, np.float64)
        if kept is not None:
            kept.array, kept.affine = probabilities.half().cpu().numpy(), LPS_TO_RAS @ model_affine
        of_voxels = None if doubt is None else entropy.of_softmax(probabilities)
        self._mend(probabilities, model_affine)
        if doubt is not None and of_voxels is not None:
            doubt |= entropy.means(of_voxels, probabilities)
        shape: tuple[int, int, int] = (out.shape[0], out.shape[1], out.shape[2])
        label_map(probabilities, model_affine, shape, ras, out)

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

    def _checked(self, pred: Any, ras: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
        labels = np.asarray(pred.cpu())
        if labels.ndim == 4 and labels.shape[0] == 1:
            labels = labels[0]
        if labels.shape != out.shape[::-1] or not np.allclose(np.asarray(pred.affine), ras, atol=1e-3):
            raise Unusable("output-off-grid", "the network's output does not lie on the grid of its input")
        if not np.array_equal(labels, np.round(labels)):
            raise Unusable("output-not-integer", "the network's output has values between the labels")
        out[:] = labels.transpose(2, 1, 0)

    def _only_known_values(self, out: NDArray[np.uint8]) -> None:
        counts = np.bincount(out.ravel(), minlength=256)
        known = {0, *(segment.value for segment in self.card.segment)}
        unknown = sorted(set(np.flatnonzero(counts).tolist()) - known)
        if unknown:
            raise Unusable("output-unknown-label", f"the network's output has values its card does not know: {unknown}")
