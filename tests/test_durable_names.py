"""A file is safe under its name where every folder above it is: seen in the system calls of a process of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node.study import archive as naming
from node.study.archive import Archive
from tests.conftest import find_program

#: files are published in one shelf after another, as a process does that has just begun; what failed is printed
PUBLISH = """
import sys
from pathlib import Path
from node.study.archive import Archive
archive = Archive(Path(sys.argv[1]))
archive.prepare()
print("prepared", flush=True)
for number, shelf in enumerate(sys.argv[2:]):
    spooled = archive.new_spool_file()
    spooled.write_bytes(b"x")
    day, _, shelf = shelf.partition("/")
    failed = archive.publish([(spooled, f"store/{day}/{shelf}/{number}.dcm")])
    print(*[error.strerror for error in failed.values()] or ["kept"], flush=True)
    spooled.unlink(missing_ok=True)
"""

#: prints the names that a process gives before it forks, its child, and it afterwards
FORK = """
import os, sys
from pathlib import Path
from node.study.archive import Archive
archive = Archive(Path(sys.argv[1]))
print(archive.new_spool_file().name, flush=True)
child = os.fork()
print(archive.new_spool_file().name, flush=True)
if child:
    os.waitpid(child, 0)
"""


def published(home: Path, *shelves: str, fails: int | None = None) -> tuple[list[str], list[list[str]]]:
    """What became of each file; and the folders that were synchronized at the start, and for each, below that of home.

    Args:
        shelves: day and shelf of each file.
        fails: which synchronization of all is an input/output error.
    """
    trace = home.with_name("trace")
    command = [find_program("strace", "apt-get install strace"), "-f", "-y", "-qq", "-o", str(trace)]
    command += ["-e", "trace=fsync,write", *([] if fails is None else ["-e", f"inject=fsync:error=EIO:when={fails}"])]
    done = subprocess.run(
        [*command, sys.executable, "-P", "-c", PUBLISH, str(home), *shelves],
        cwd=Path(__file__).parents[1],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    parts = re.split(r"write\(1<", trace.read_text())[:-1]
    folders = [re.findall(rf"fsync\(\d+<{re.escape(str(home.parent))}/?(.*?)>", part) for part in parts]
    return done.stdout.split("\n")[1:-1], folders


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


DAY, A, B = "home/store/2026-01-01", "2026-01-01/aa", "2026-01-01/bb"
SHELF_A, SHELF_B = f"{DAY}/aa", f"{DAY}/bb"


def test_each_folder_is_synchronized_once_and_its_shelf_for_every_file(home: Path) -> None:
    results, folders = published(home, A, A, B, A)
    assert results == ["kept"] * 4
    assert folders == [["home", ""], ["home/store", DAY, SHELF_A], [SHELF_A], [DAY, SHELF_B], [SHELF_A]]


def test_folders_that_somebody_else_made_are_not_taken_for_durable(home: Path) -> None:
    (home / "store" / A).mkdir(parents=True)
    assert published(home, A, A)[1] == [["home", ""], ["home/store", DAY, SHELF_A], [SHELF_A]]


@pytest.mark.parametrize("fails", [3, 4])
def test_after_a_failure_the_next_file_is_safe_under_folders_that_are(home: Path, fails: int) -> None:
    results, folders = published(home, A, A, A, fails=fails)
    assert results == ["Input/output error", "kept", "kept"]
    assert folders[1] == ["home/store", DAY][: fails - 2]
    assert folders[2:] == [["home/store", DAY, SHELF_A], [SHELF_A]]


def test_folders_of_other_days_are_forgotten_and_those_that_went_are_made_again(home: Path) -> None:
    other = "2026-01-02/aa"
    results, folders = published(home, A, other, A, A)
    assert results == ["kept"] * 4
    shelf = "home/store/2026-01-02"
    assert folders[2:] == [["home/store", shelf, f"{shelf}/aa"], ["home/store", DAY, SHELF_A], [SHELF_A]]
    archive = Archive(home)
    for number in range(2):
        spooled = archive.new_spool_file()
        spooled.write_bytes(b"x")
        assert not archive.publish([(spooled, f"store/{A}/again.dcm")])
        assert (home / "store" / A / "again.dcm").exists()
        if not number:
            shutil.rmtree(home / "store" / "2026-01-01")


def test_a_process_that_was_forked_gives_other_names(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", FORK, str(home)],
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    names = done.stdout.split()
    assert len(names) == len(set(names)) == 3


def test_a_process_that_is_set_back_to_a_snapshot_gives_other_names(home: Path) -> None:
    """What it gave a name since then may be there still, on another machine's disk."""
    state, given = naming._RANDOM.getstate(), list[str]()
    for _ in range(2):
        naming._RANDOM.setstate(state)
        given += [Archive(home).new_path("store", "aa") for _ in range(3)]
    assert len(set(given)) == 6
