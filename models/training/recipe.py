"""A bundle's train.json, unmodified, with all that a run decides put in from outside.

Data, device, length and mixed precision are set; reading and writing of images, checkpoints and trackers is taken out;
validation, loss and flips are wrapped where they must be. What is put in replaces what the file says before anything of
it is evaluated, so lists of files it would have made on its own are never made. `run` is never called: the trainer is.

Needed are `train#trainer` with `max_epochs` and `loss_function`, `train#dataset` with `data`, and the transforms
LoadImaged; with validation cases `validate#evaluator` and `validate#dataset` with `data` too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from ..card import Bundle
from ..network import LEFT_OUT
from .cases import Case
from .marginal import MarginalLoss, can_wrap
from .mirroring import exchange_in_flips
from .mixed import Items
from .run import Run, Untrainable
from .tree import named

FILES = ("configs/train.json", "configs/train.yaml", "configs/train.yml")
#: beside what has no place in inference either: what saves, and what ends training by rules of its own
LEFT_OUT_TOO = ("CheckpointSaver", "CheckpointHandler", "MetricsSaver", "EarlyStop")
#: where the folder of the run stands in for paths that a bundle writes to or reads from
FOLDERS = ("dataset_dir", "output_dir", "ckpt_dir")
#: what a DataLoader may not be told with no worker processes
OF_WORKERS = {"num_workers": 0, "persistent_workers": False, "prefetch_factor": None, "multiprocessing_context": None}
NEEDED = ("train#trainer", "train#trainer#max_epochs", "train#trainer#loss_function", "train#dataset#data")
#: where the data set of made-up cases is put
SYNTHETIC = "train#synthetic"
NEEDED_TO_VALIDATE = ("validate#evaluator", "validate#dataset#data")
LOADD = f"{__package__}.cases.Loadd"
VALIDATION = f"{__package__}.validation.Validation"
MARGINAL = f"{__package__}.marginal.MarginalLoss"


class Recipe:
    """A bundle that is ready to be trained on these cases.

    Attributes:
        trainer, evaluator: the bundle's own engines; the evaluator is None without validation cases.
        validation: the bundle's ValidationHandler, or one that validates after each epoch; None likewise.
        schedulers: of the learning rate.
        marginal: the loss, where it had to be wrapped.
        synthetic: the bundle's data set of made-up cases; None where there are none.
        used: the training cases that are trained on.
        left_out: {"case", "why"} of the others.
        notes: what was changed, for a person.

    Raises:
        Untrainable: something that is needed is not there, or no case is left.
    """

    def __init__(self, bundle: Bundle, run: Run, folder: Path, device: torch.device) -> None:
        self.notes: list[str] = []
        self._parser = self._parsed(bundle, folder)
        self._device = device
        self._run = run

    def build(
        self,
        train: Sequence[Case],
        validation: Sequence[Case],
        axis_of: Sequence[Case],
        synthetic: Sequence[Case] = (),
    ) -> None:
        """Put the cases in, and make the engines.

        Args:
            validation: this process's share of them.
            axis_of: all cases, for where left and right are.
            synthetic: made-up training cases.
        """
        parser, run = self._parser, self._run
        self._require(NEEDED + (NEEDED_TO_VALIDATE if validation else ()))
        self._take_out()
        self._take_over_loading()
        self._put_device()
        self._put_epochs()
        self.used, self.left_out = self._usable(train)
        if any(case.missing(run.classes) for case in self.used):
            loss = {"_target_": MARGINAL, "loss": parser.get("train#trainer#loss_function"), "classes": [*run.classes]}
            parser["train#trainer#loss_function"] = loss
        self.notes += exchange_in_flips(parser, run.exchange, [case.left_right_axis for case in axis_of])
        validating = self._put_validation(bool(validation))
        # tuples, so that the parser does not look into them
        parser["train#dataset#data"] = tuple(case.item(run.classes) for case in self.used)
        if synthetic:
            made_up = tuple(case.item(run.classes) for case in synthetic)
            parser[SYNTHETIC] = {**parser.get("train#dataset"), "data": made_up}
        if "validate#dataset#data" in parser:
            parser["validate#dataset#data"] = tuple(case.item(run.classes) for case in validation)
        self._initialize()
        self.trainer = parser.get_parsed_content("train#trainer")
        self.synthetic: Items | None = parser.get_parsed_content(SYNTHETIC) if synthetic else None
        wrapped = getattr(self.trainer, "loss_function", None)
        self.marginal = wrapped if isinstance(wrapped, MarginalLoss) else None
        self.evaluator = parser.get_parsed_content("validate#evaluator") if validation else None
        self.validation = parser.get_parsed_content(validating) if validation and validating else None
        scheduling = [path for path, _, name in named(parser.get()) if name == "LrScheduleHandler"]
        self.schedulers = [parser.get_parsed_content(f"{path}#lr_scheduler") for path in scheduling]

    @staticmethod
    def _parsed(bundle: Bundle, folder: Path) -> Any:
        file = next((name for name in FILES if name in bundle.card.files), None)
        if file is None:
            raise Untrainable(f"{bundle.folder}: has no {FILES[0]}: this network cannot be trained here")
        sys.path.insert(0, str(bundle.folder))
        sys.dont_write_bytecode = True
        meta = bundle.folder / "configs" / "metadata.json"
        workflow = ConfigWorkflow(
            config_file=str(bundle.folder / file),
            meta_file=str(meta) if meta.is_file() else None,
            workflow_type="train",
            logging_file=False,
        )
        parser = workflow.parser
        parser["bundle_root"] = str(bundle.folder)
        for name in FOLDERS:
            if name in parser:
                parser[name] = str(folder)
        parser.parse(reset=True)  # so that macros and relative ids are gone from the tree that is walked
        return parser

    def _require(self, ids: Sequence[str]) -> None:
        missing = [one for one in ids if one not in self._parser]
        if missing:
            raise Untrainable(f"train.json has no {', '.join(missing)}: it cannot be run with data from outside")

    def _take_out(self) -> None:
        for path, node, name in named(self._parser.get()):
            if name.startswith((*LEFT_OUT, *LEFT_OUT_TOO)) and name != "LoadImaged":
                self._parser[f"{path}#_disabled_"] = True
            if name.endswith("DataLoader"):
                for key, value in OF_WORKERS.items():
                    if key in node or key == "num_workers":
                        self._parser[f"{path}#{key}"] = value

    def _take_over_loading(self) -> None:
        found = [(path, node) for path, node, name in named(self._parser.get()) if name == "LoadImaged"]
        for path, node in found:
            first = node.get("ensure_channel_first", False)
            kept: dict[str, Any] = {
                key: node[key] for key in ("keys", "allow_missing_keys", "_disabled_") if key in node
            }
            self._parser[path] = {"_target_": LOADD, "channel_first": first, **kept}
        if not found:
            raise Untrainable("train.json has no LoadImaged: where its images come in cannot be told")

    def _put_device(self) -> None:
        parser, on_gpu = self._parser, self._device.type == "cuda"
        parser["device"] = self._device
        for engine in ("train#trainer", "validate#evaluator"):
            if engine in parser:
                said = parser.get(f"{engine}#amp", True)
                parser[f"{engine}#amp"] = said if on_gpu else False

    def _put_epochs(self) -> None:
        """Where `max_epochs` refers to another id, that one is set: the schedule may refer to it as well."""
        if self._run.max_epochs is None:
            return
        place = "train#trainer#max_epochs"
        while isinstance(said := self._parser.get(place), str) and said.startswith("@") and said[1:] in self._parser:
            place = said[1:]
        self._parser[place] = self._run.max_epochs

    def _usable(self, cases: Sequence[Case]) -> tuple[list[Case], list[dict[str, str]]]:
        """The cases that can be trained on, and why the others cannot."""
        classes = self._run.classes
        used, left_out = [], []
        partial_too: bool | None = None
        for case in cases:
            missing = case.missing(classes)
            why = ""
            if len(missing) == len(classes):
                why = "none of the network's classes is annotated"
            elif missing:
                if partial_too is None:
                    partial_too = can_wrap(self._parser.get_parsed_content("train#trainer#loss_function"))
                if not partial_too:
                    why = f"the classes {sorted(missing)} are not annotated, and the bundle's loss cannot be told"
            if why:
                left_out.append({"case": case.said.case, "why": why})
            else:
                used.append(case)
        if not used:
            raise Untrainable(f"no training case is left: {left_out[0]['why']}")
        return used, left_out

    def _put_validation(self, wanted: bool) -> str | None:
        """Put `Validation` where the bundle has its ValidationHandler; the id, None where it has none."""
        kept: str | None = None
        for path, _, name in named(self._parser.get()):
            if name != "ValidationHandler":
                continue
            if kept is None and wanted:
                kept = path
                self._parser[f"{path}#_target_"] = VALIDATION
            else:
                self._parser[f"{path}#_disabled_"] = True
                self._parser[f"{path}#validator"] = None  # what is switched off is resolved all the same
        return kept

    def _initialize(self) -> None:
        """The bundle's own `initialize`, less what reads checkpoints; then our seed."""
        parser = self._parser
        said = parser.get("initialize", [])
        for number, step in enumerate(said if isinstance(said, list) else []):
            if not any(word in str(step).lower() for word in ("ckpt", "checkpoint")):
                parser.get_parsed_content(f"initialize#{number}")
        set_determinism(self._run.seed)
