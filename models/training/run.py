"""What a training run is asked to do: run.json, and how it may end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from ..augmentation import Augmentation
from ..input_rules import Part, Sha256

FILE = "run.json"
DONE = "done.json"
CANDIDATE = "candidate.pt"
#: where libraries put what they need for a while
SCRATCH = "scratch"


class Untrainable(Exception):
    """This run can never succeed as it is; the sentence says what is missing or wrong."""


class Diverged(Exception):
    """The loss is not a number any more."""


class Stopped(BaseException):
    """Somebody asked the process to leave; a later start goes on from the checkpoint.

    No Exception: a library that catches those must not swallow it.
    """


def first_line(error: BaseException) -> str:
    """What an error says, short; its name where it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0]


class Run(Part):
    """A training run.

    Attributes:
        bundle: its folder.
        card_sha256: of its card; with any other card nothing is parsed.
        start: the weights to start from (.pt or .safetensors); None: from the network's own random start.
        train, validation: folders of cases (`cases`).
        seed: decides every random number of the run.
        max_epochs: None: as many as train.json says.
        max_minutes: of training, over all starts; None: no limit.
        early_stop: how many validations without a better Dice end it; 0 or None: none do.
        device: "auto", "cpu", "cuda:0".
        freeze_epochs: for how many epochs the layers that were taken over stay as they are (with `transfer`).
        transfer: take over every layer whose shape fits; else all of them must.
        classes: the label values that the network knows.
        exchange: pairs of label values that a flip along the patient's left-right axis exchanges.
        augmentation: which part of the samples is made up, and how; nothing is, unless it is asked for.
        checkpoint_seconds: not more often is the state saved, apart from each validation and the end.
    """

    bundle: Path
    card_sha256: Sha256
    start: Path | None = None
    train: Annotated[tuple[Path, ...], Field(min_length=1)]
    validation: tuple[Path, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    early_stop: Annotated[int, Field(ge=0)] | None = None
    device: str = "auto"
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    transfer: bool = False
    classes: Annotated[tuple[Annotated[int, Field(ge=1, le=255)], ...], Field(min_length=1)]
    exchange: tuple[tuple[int, int], ...] = ()
    augmentation: Augmentation = Augmentation()
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60

    @model_validator(mode="after")
    def _fits_together(self) -> Run:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: a value is there twice")
        paired = [value for pair in self.exchange for value in pair]
        if len(set(paired)) != len(paired) or not set(paired) <= set(self.classes):
            raise ValueError("exchange: each value of a pair is one of the classes, and in one pair only")
        if self.transfer and self.start is None:
            raise ValueError("transfer: there are no start weights to take layers from")
        if self.freeze_epochs and not self.transfer:
            raise ValueError("freeze_epochs: only layers that were taken over (transfer) can be held")
        return self

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides the outcome: a checkpoint is gone on with only under the same one."""
        none_made_up = {"augmentation"} if not self.augmentation.synthetic_share else set()
        said = self.model_dump_json(exclude={"device", "max_minutes", "checkpoint_seconds", *none_made_up})
        return hashlib.sha256(said.encode()).hexdigest()


def read(folder: Path) -> Run:
    """Read the run.json of a folder.

    Raises:
        Untrainable: there is none, or it is not right.
    """
    file = folder / FILE
    try:
        return Run.model_validate_json(file.read_bytes())
    except OSError as error:
        raise Untrainable(f"{file}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'run'}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False)
        )
        raise Untrainable(f"{file}: {said}") from None
