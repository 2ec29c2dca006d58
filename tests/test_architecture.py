"""The rules of the house: lint, types, who may import whom, how long a file may be, what `--help` may load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PACKAGES = ("node", "models", "db", "config")
LONGEST = 300
SAYS_NOTHING = {"utils", "util", "helper", "helpers", "common", "manager", "misc"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports", "--no-cache"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_checkers_are_content(command: tuple[str, ...]) -> None:
    done = run(BIN / command[0], *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("db/planted.py", "import pydicom", "only node knows DICOM"),
        ("node/study/planted.py", "import torch", "torch and MONAI stay in models"),
        ("node/study/planted.py", "import sqlalchemy", "SQL stays in db"),
        ("models/planted.py", "import node.errors", "node on top"),
        ("config/planted.py", "import db.jobs", "node on top"),
        ("node/study/planted.py", "import node.objects.seg", "inside node, top to bottom"),
        ("node/planted.py", "", "inside node, top to bottom"),
        ("node/inbound/planted.py", "import config.settings", "only the composition root"),
    ],
)
def test_an_import_that_breaks_a_contract_is_caught(tmp_path: Path, module: str, line: str, contract: str) -> None:
    """Each contract, seen to fail on a planted fault in a copy of the packages."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            copied = tmp_path / file.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(file.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / module).write_text(line + "\n")
    script = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [row for row in done.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken), done.stdout


def test_no_file_is_two_rooms() -> None:
    long = {str(file.relative_to(ROOT)): n for file in modules() if (n := len(file.read_text().splitlines())) > LONGEST}
    assert long == {}


def test_every_module_says_what_it_is_and_has_a_name_that_says_something() -> None:
    for file in modules():
        assert file.stem not in SAYS_NOTHING, file
        text = file.read_text().lstrip()
        assert text.startswith('"""') or (file.name == "__init__.py" and not text), file


def test_no_test_leaves_what_it_checks_to_a_stand_in() -> None:
    """No mock library, and no sleeps: what is waited for has a name."""
    for file in (ROOT / "tests").rglob("*.py"):
        if file == Path(__file__):
            continue
        text = file.read_text()
        assert "unittest.mock" not in text, file
        assert not re.search(r"monkeypatch\.setattr\(\W*(node|models|db|config)\b", text), file
        if file.name != "waiting.py":
            assert "time.sleep(" not in text, file


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from node import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'monai', 'rich', 'pydicom', 'numpy', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    done = run(sys.executable, "-P", "-c", program)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_a_stranger_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    """Another distribution that is called `config` must not be imported in place of ours."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "__init__.py").touch()
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from node import cli; cli.main(['--version'])"
    done = run(sys.executable, "-P", "-c", program)
    assert done.returncode == 1
    assert "the package 'config' was found in" in done.stderr
