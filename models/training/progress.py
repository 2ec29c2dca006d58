"""What a run tells while it goes on: progress.jsonl, TensorBoard, and MLflow where it is asked for.

A line of progress.jsonl is either of an epoch:
    {"epoch", "epochs", "iteration", "loss", "dice", "dice_per_class", "learning_rate", "seconds"}
(dice null where it was not validated), or of a step, at most one a second:
    {"epoch", "step", "steps", "iteration", "loss", "seconds"}
"""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .checkpoint import write

FILE = "progress.jsonl"
SECONDS_BETWEEN_STEPS = 1.0


class Progress:
    """Writes it, each line at once.

    Args:
        folder: of the run.
        done: the last step that is kept; lines of later ones are of a start that was cut off, and are taken away.

    Attributes:
        notes: what could not be told, for a person.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.notes: list[str] = []
        file = folder / FILE
        if file.is_file():
            _keep_until(file, done)
        self._lines = file.open("a", encoding="utf-8")
        self._last_step = 0.0
        self._board = self._tensorboard(folder, done)
        self._mlflow = self._tracked(folder)

    def step(self, said: dict[str, Any]) -> None:
        if time.monotonic() - self._last_step >= SECONDS_BETWEEN_STEPS:
            self._last_step = time.monotonic()
            self._say(said)

    def epoch(self, said: dict[str, Any]) -> None:
        self._say(said)
        numbers = {name: said[name] for name in ("loss", "dice", "learning_rate") if said.get(name) is not None}
        numbers |= {f"dice_{value}": dice for value, dice in said["dice_per_class"].items()}
        if self._board is not None:
            for name, number in numbers.items():
                self._board.add_scalar(name, number, said["epoch"])
            self._board.flush()
        if self._mlflow is not None:
            self._mlflow.log_metrics(numbers, step=said["epoch"])

    def close(self) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()
        if self._mlflow is not None:
            self._mlflow.end_run()

    def _say(self, said: dict[str, Any]) -> None:
        self._lines.write(json.dumps(said, allow_nan=False) + "\n")
        self._lines.flush()

    def _tensorboard(self, folder: Path, done: int) -> Any:
        if find_spec("tensorboard") is None:
            self.notes.append("tensorboard is not installed: nothing is written to runs/")
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(log_dir=str(folder / "runs"), purge_step=None if done == 0 else self._epochs(folder) + 1)

    @staticmethod
    def _epochs(folder: Path) -> int:
        lines = [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]
        return max((line["epoch"] for line in lines if "step" not in line), default=0)

    def _tracked(self, folder: Path) -> Any:
        """MLflow's run of this name, gone on with where there is one."""
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            return None
        if find_spec("mlflow") is None:
            self.notes.append("MLFLOW_TRACKING_URI is set, but mlflow is not installed")
            return None
        mlflow = import_module("mlflow")
        known = folder / "mlflow_run"
        if known.is_file():
            mlflow.start_run(run_id=known.read_text(encoding="utf-8"))
        else:
            known.write_text(mlflow.start_run(run_name=folder.name).info.run_id, encoding="utf-8")
        return mlflow


def _keep_until(file: Path, done: int) -> None:
    """Drop the lines after a step, and one that a crash cut short."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said["iteration"] <= done:
            kept.append(line + "\n")
    data = "".join(kept).encode()
    write(file, lambda stream: stream.write(data))
