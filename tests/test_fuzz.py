"""The fuzzer finds nothing in the readers of strangers' bytes, and finds every fault that is planted in them.

The short form of `make fuzz`: a thousand inputs for each reader.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import lacking
from tests.fuzz.target import NAMES

ROOT = Path(__file__).parents[1]
EXECUTIONS = 1000 * len(NAMES)


def fuzz(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "tests.fuzz", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run over all readers has left what it came to."""
    if importlib.util.find_spec("atheris") is None:
        lacking("atheris", "pip install atheris; there are wheels for Linux on x86_64, up to Python 3.13")
    out = tmp_path_factory.mktemp("fuzz") / "out"
    done = fuzz("--executions", str(EXECUTIONS), "--planted", "--out", out)
    (out / "said").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def test_nothing_is_found_in_any_reader(folder: Path, results: Any) -> None:
    assert results["findings"] == 0, (folder / "said").read_text()
    assert [one["target"] for one in results["targets"]] == list(NAMES)
    for one in results["targets"]:
        assert one["executions"] >= EXECUTIONS // len(NAMES)
        assert one["accepted"], f"{one['target']} accepted no input: nothing was held against another reader"
        assert one["edges"]


def test_every_planted_fault_is_found(results: Any) -> None:
    assert {one["target"] for one in results["faults"]} == set(NAMES)
    assert [one for one in results["faults"] if not one["found"]] == []


def test_what_is_found_can_be_read_again_with_the_command_that_lies_beside_it(folder: Path, results: Any) -> None:
    fault = next(one for one in results["faults"] if one["fault"] == "does not see a cut")
    file = Path(fault["files"][0])
    command = file.with_suffix(".txt").read_text().splitlines()[0]
    assert command == f"python -P -m tests.fuzz elements --replay {file}"
    again = fuzz("elements", "--replay", file)
    assert again.returncode == 0, again.stderr
    assert "as it should be" in again.stdout  # the node's own reader has no such fault


def test_a_fault_that_is_missed_is_told_by_the_exit_status(tmp_path: Path) -> None:
    missed = fuzz("elements", "--planted", "only", "--fault-executions", "1", "--out", tmp_path / "out")
    assert missed.returncode == 1, missed.stdout + missed.stderr
    assert "does not see a cut: NOT FOUND" in missed.stdout
