"""A training run from its start, or from its last checkpoint, to its end.

The state is saved between two steps, where it is whole: weights, optimizer, schedules, best Dice so far, the number of
steps done. A process that is killed loses what came after; the next one does those steps again, with the same cases and
the same random numbers (`batches`), so the outcome is that of a run nobody interrupted. Asked to leave, it finishes its
step, saves and raises `Stopped`; in the middle of a validation it leaves at the next case, and the next process goes on
from before the last step of that epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.handlers import from_engine

from . import checkpoint, transfer
from .batches import Batches
from .cases import ANNOTATED
from .progress import Progress
from .recipe import Recipe
from .run import CANDIDATE, Diverged, Run, Stopped, Untrainable
from .standing import Standing
from .together import Together
from .validation import Measuring, Validated, Validation, mean_of

ON, LEAVE, LATE = 0, 1, 2


class Training:
    """One run, in this process.

    Args:
        leave: whether somebody asked this process to leave.

    Raises:
        Untrainable: the start weights or the checkpoint do not fit.
    """

    def __init__(self, run: Run, folder: Path, recipe: Recipe, together: Together, leave: Callable[[], bool]) -> None:
        self.run, self.folder, self.recipe, self.together = run, folder, recipe, together
        self.trainer = recipe.trainer
        self.network: torch.nn.Module = getattr(self.trainer.network, "_orig_mod", self.trainer.network)
        self.taken = self._started()
        self.standing = Standing()
        self._wanted_to_leave = leave
        self._held: bool | None = None
        self._last_saved = time.monotonic()
        self._saved: dict[str, Any] | None = checkpoint.load(folder, run.identity)
        if self._saved is not None:
            self._restore(self._saved)
        self.standing.begin()
        self._batches()
        self._measuring: Measuring | None = None
        self._validation = self._validating()
        self.progress = Progress(folder, self.standing.steps) if together.writes else None
        self._listen()

    def train(self) -> None:
        """To the end, and the candidate's weights written.

        Raises:
            Stopped: asked to leave; all is saved.
            Diverged: the loss is not a number.
        """
        try:
            if not self.standing.why_ended:
                self.trainer.run()
                if self.standing.leaving:
                    raise Stopped("training was asked to leave; its state is saved")
                if not self.standing.why_ended:
                    self.standing.why_ended = "max_epochs"
                self._save()
            if self._measuring is not None and self.standing.steps != self.standing.validated_at:
                self._measure()
                self._tell_epoch(None)
            self._finish()
        finally:
            if self.progress is not None:
                self.progress.close()

    def _started(self) -> transfer.Taken | None:
        if self.run.start is None:
            return None
        return transfer.start(self.network, transfer.read(self.run.start, self.network), transfer=self.run.transfer)

    def _restore(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.trainer.optimizer.load_state_dict(saved["optimizer"])
        for scheduler, state in zip(self.recipe.schedulers, saved["schedulers"], strict=True):
            scheduler.load_state_dict(state)
        self.standing = Standing(**saved["standing"])

    def _batches(self) -> None:
        """Put our order of batches in place of the bundle's loader, and the engine where it stood."""
        trainer, together = self.trainer, self.together
        loader = trainer.data_loader
        made_up = self.recipe.synthetic
        synthetic = (made_up, self.run.augmentation.synthetic_share) if made_up is not None else None
        batches = Batches(loader, self.run.seed, self.standing.steps, together.rank, together.world, synthetic)
        state = trainer.state
        if state.epoch_length in (None, len(loader)):
            state.epoch_length = len(batches)
        trainer.data_loader = _Endless(batches)
        state.iteration = self.standing.steps
        state.epoch = state.iteration // state.epoch_length
        if not self.standing.why_ended and state.iteration >= state.epoch_length * state.max_epochs:
            self.standing.why_ended = "max_epochs"

    def _validating(self) -> Validation | None:
        evaluator = self.recipe.evaluator
        if evaluator is None:
            return None
        self._measuring = Measuring(evaluator, self.run.classes, self._leave_validation)
        validation = self.recipe.validation
        if validation is None:
            validation = Validation()
            validation.attach(self.trainer)
        validation.measure = self._measure
        return validation

    def _listen(self) -> None:
        on = self.trainer.add_event_handler
        on(Events.STARTED, lambda _: self._restore_scaler())
        on(Events.EPOCH_STARTED, lambda _: self._hold())
        on(Events.GET_BATCH_STARTED, lambda _: self._between_steps())
        on(Events.ITERATION_STARTED, lambda _: self._say_what_is_annotated())
        on(Events.ITERATION_COMPLETED, lambda _: self._step_done())
        on(Events.EPOCH_COMPLETED, lambda _: self._epoch_done())

    def _restore_scaler(self) -> None:
        if self._saved is not None and self.trainer.scaler is not None and self._saved["scaler"]:
            self.trainer.scaler.load_state_dict(self._saved["scaler"])

    def _hold(self) -> None:
        """Hold the layers that were taken over, or let them go; the network is wrapped anew for what is trained."""
        held = self.taken is not None and self.trainer.state.epoch <= self.run.freeze_epochs
        if held == self._held:
            return
        if self.taken is not None and (held or self._held):
            transfer.hold(self.network, set(self.taken.taken), held)
            if not any(parameter.requires_grad for parameter in self.network.parameters()):
                raise Untrainable("freeze_epochs: every layer was taken over, so none is left to train")
        self._held = held
        if self.together.world > 1:
            self.trainer.network = self.together.wrapped(self.network)

    def _between_steps(self) -> None:
        """Between two steps the state is whole: save it, leave, or end, where it is time."""
        standing = self.standing
        minutes = standing.seconds() / 60
        late = self.run.max_minutes is not None and minutes >= self.run.max_minutes
        order = self.together.most(LEAVE if self._wanted_to_leave() else LATE if late else ON)
        if order == LATE:
            standing.why_ended = "max_minutes"
            self.trainer.terminate()
        elif order == LEAVE:
            self._save()
            standing.leaving = True
            self.trainer.terminate()
        elif self._time_to_save():
            self._save()

    def _time_to_save(self) -> bool:
        """Before the last step of an epoch that is validated, after the validation, else every so often."""
        state = self.trainer.state
        if self._validation is not None and self._validation.due(self.trainer):
            last = (state.iteration + 1) % state.epoch_length == 0
        else:
            last = False
        just_validated = self.standing.validated_at == state.iteration > 0
        return last or just_validated or time.monotonic() - self._last_saved >= self.run.checkpoint_seconds

    def _say_what_is_annotated(self) -> None:
        if self.recipe.marginal is None:
            return
        batch = self.trainer.state.batch
        if not isinstance(batch, dict) or ANNOTATED not in batch:
            raise Untrainable("train.json's transforms drop what they do not know, and with it which classes count")
        self.recipe.marginal.annotated = batch[ANNOTATED]

    def _step_done(self) -> None:
        standing, state = self.standing, self.trainer.state
        loss = float(from_engine(["loss"], first=True)(state.output))
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} at step {state.iteration} (epoch {state.epoch}): training diverged")
        standing.add(loss)
        if self.progress is not None:
            step = (state.iteration - 1) % state.epoch_length + 1
            said = {"epoch": state.epoch, "step": step, "steps": state.epoch_length, "iteration": state.iteration}
            self.progress.step({**said, "loss": loss, "seconds": round(standing.seconds(), 1)})

    def _epoch_done(self) -> None:
        standing = self.standing
        standing.epochs = self.trainer.state.epoch
        self._tell_epoch(self.together.mean(standing.close_epoch()))
        if self.run.early_stop and standing.without_gain >= self.run.early_stop:
            standing.why_ended = "early_stop"
            self.trainer.terminate()

    def _tell_epoch(self, loss: float | None) -> None:
        standing = self.standing
        validated = standing.last if standing.validated_at == standing.steps else Validated(None, {})
        if self.progress is None:
            return
        self.progress.epoch(
            {
                "epoch": self._epoch(),
                "epochs": self.trainer.state.max_epochs,
                "iteration": standing.steps,
                "loss": loss,
                "dice": validated.dice,
                "dice_per_class": {str(value): dice for value, dice in validated.per_class.items()},
                "learning_rate": self.trainer.optimizer.param_groups[0]["lr"],
                "seconds": round(standing.seconds(), 1),
            }
        )

    def _leave_validation(self) -> None:
        if self._wanted_to_leave():
            raise Stopped("training was asked to leave during a validation; it goes on from the step before")

    def _measure(self) -> None:
        """Validate, and keep the weights where they are the best so far."""
        if self._measuring is None:
            return
        self._leave_validation()
        result = mean_of(self.together.gathered(self._measuring.run(self._epoch())))
        if not self._measuring.told:
            instead = self._measuring.instead()
            if instead is None:
                raise Untrainable("neither a Dice nor a metric of validate#evaluator can be told")
            result = instead
        if self.standing.validated(result, self._epoch()) and self.together.writes:
            checkpoint.write_tensors(self._best_file(), self._weights())

    def _epoch(self) -> int:
        """The epoch that the last step belongs to."""
        return max(1, -(-self.standing.steps // int(self.trainer.state.epoch_length)))

    def _best_file(self) -> Path:
        return self.folder / f"best-{self.standing.best_at}.pt"

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}

    def _save(self) -> None:
        self._last_saved = time.monotonic()
        if not self.together.writes:
            return
        scaler = self.trainer.scaler
        state = {
            "identity": self.run.identity,
            "network": self._weights(),
            "optimizer": checkpoint.plain(self.trainer.optimizer.state_dict()),
            "schedulers": [checkpoint.plain(scheduler.state_dict()) for scheduler in self.recipe.schedulers],
            "scaler": None if scaler is None else scaler.state_dict(),
            "standing": self.standing.saved(),
        }
        checkpoint.save(self.folder, state)
        for file in self.folder.glob("best-*.pt"):
            if file != self._best_file():
                file.unlink()

    def _finish(self) -> None:
        """Write the candidate: the best weights, the last ones where nothing was validated."""
        if not self.together.writes:
            return
        best = self._best_file()
        if best.is_file():
            data = best.read_bytes()
            checkpoint.write(self.folder / CANDIDATE, lambda stream: stream.write(data))
        else:
            checkpoint.write_tensors(self.folder / CANDIDATE, self._weights())


class _Endless:
    """An iterable without a length: ignite asks the length of what has one, and ours is that of a pass."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        return iter(self._batches)
