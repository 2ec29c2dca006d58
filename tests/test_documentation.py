"""What the README and docs/ say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from db.job_states import JobState, Outcome
from db.tables import delivery, result, study
from models import card
from node.command_line.commands import COMMANDS
from node.tls import words
from tests.running import planimeter

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *card.SHIPPED.glob("*/docs/*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            there = (page.parent / file) if file else page
            assert there.exists(), target
            if heading:
                headings = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
                assert heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


def test_every_promise_names_tests_that_exist() -> None:
    written = {
        name for file in (ROOT / "tests").glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    rows = re.findall(r"^\| (\d) \| .* \| (.*) \|$", README, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 10))
    for number, tests in rows:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, number
        assert set(named) <= written, number


def test_every_command_is_in_the_readme_and_no_other() -> None:
    table = README.split("## Commands")[1].split("## ")[0]
    named = set(
        re.findall(r"`(?:planimeter )?([a-z]+)\b", "\n".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    )
    assert named >= set(COMMANDS)
    options = planimeter("status", "--help").stdout
    for option in re.findall(r"`(--[a-z-]+)", table):
        assert option == "--json" or option in options, option


def test_the_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    for number, example in enumerate(re.findall(r"```toml\n(.*?)```", README, re.DOTALL)):
        file = tmp_path / f"{number}.toml"
        file.write_text(example)
        done = planimeter("status", "--config", file, "--home", tmp_path / "home", check=False)
        assert done.returncode == 0, done.stderr


def test_the_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for named in re.findall(
            r"`?make ([a-z-]+)\b", "\n".join(re.findall(r"`make [^`]*`|^    make .*$", page.read_text(), re.M))
        ):
            assert named in targets, f"{page}: make {named}"


def test_every_code_is_explained() -> None:
    codes = set()
    for package in ("node", "models"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            codes |= set(re.findall(r"\b(?:Refused|Unavailable|Failed|Unusable)\(\s*\"([a-z0-9-]+)\"", text))
            codes |= set(re.findall(r"\bcode=\"([a-z0-9-]+)\"", text))
            codes |= set(re.findall(r"\b(?:report|_not_now|_turn_away)\([^()]*?\"([a-z]+(?:-[a-z]+)*)\"", text))
            codes |= set(re.findall(r"\b(?:return|yield) \"([a-z]+(?:-[a-z]+)+)\",", text))
            codes |= set(re.findall(r"(?:Taken\(\w+, |\b\d{3}: \()\"([a-z]+(?:-[a-z]+)+)\",", text))
            codes |= set(re.findall(r"(?:code, sentence|key) = \(?[^()]*?\"([a-z]+(?:-[a-z]+)+)\",", text))
            codes |= set(re.findall(r"\bObjection\(\s*\w+,\s*\"([a-z]+(?:-[a-z]+)+)\"", text))
    codes |= {code for code, _ in words.UNTRUSTED.values()}
    explained = set(re.findall(r"`([a-z0-9-]+)`", OPERATIONS.split("## Codes")[1]))
    assert len(codes) > 40
    assert codes - explained == set()


def test_every_state_is_explained() -> None:
    states = set(re.findall(r"^\| (\w+) \|", OPERATIONS.split("## What a study goes through")[1], re.MULTILINE))
    assert states >= {"arriving", "waiting", "running", "sending", "done", "refused", "failed", "held"}
    table = (ROOT / "docs" / "journey.md").read_text().split("## States")[1].split("## ")[0]
    rows = {
        row: set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", said)))
        for row, said in re.findall(r"^\| (\w+) \| (.*) \|$", table, re.M)
    }
    assert rows["job"] == set(JobState)
    assert rows["attempt"] == set(Outcome)
    for name, table_of in (("study", study), ("result", result), ("delivery", delivery)):
        (known,) = [c for c in table_of.constraints if str(c.name or "").endswith("state_known")]
        assert rows[name] == set(re.findall(r"'(\w+)'", str(known.sqltext))), name  # type: ignore[attr-defined]


def test_the_changelog_and_the_version_agree() -> None:
    version = planimeter("--version").stdout.split()[1]
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()


def test_nothing_of_the_place_it_was_written_in_is_told() -> None:
    """No paths of one machine, no registry's host."""
    place = re.compile(r"/(?:work|root|home)/[a-z]|https?://[\w.-]*(?:pypi|npmjs|debian)[\w.-]*/")
    for pattern in ("*.md", "*.toml", "*.py", "Makefile", "Dockerfile", ".ci/*", "*.json"):
        for file in ROOT.rglob(pattern):
            parts = file.relative_to(ROOT).parts
            if parts[0] in (".git", ".venv", "build", "demo") or (parts[0].startswith(".") and parts[0] != ".ci"):
                continue
            assert not place.search(file.read_text()), file
