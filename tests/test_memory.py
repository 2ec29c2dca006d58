"""How much memory a process held at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: holds so many MiB, forgets them, and then says what it held at once, and what a program that it starts says of itself
PARENT = """
import subprocess, sys
from models import memory
held = b"1" * (300 << 20)
del held
print(memory.peak_held())
child = "from models import memory; print(memory.peak_held())"
print(subprocess.run([sys.executable, "-P", "-c", child], check=True, capture_output=True, text=True).stdout)
"""


def test_a_process_that_was_started_says_its_own_peak_and_not_that_of_who_started_it() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PARENT],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    parent, child = map(int, done.stdout.split())
    assert parent > 300 << 20
    assert 1 << 20 < child < 200 << 20
