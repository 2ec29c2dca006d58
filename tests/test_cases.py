"""Worked cases in a short form, each the whole way: the page is made, masks and numbers agree with the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import page, way
from tests.cases.case import Judged, Place
from tests.cases.known import CASES

ROOT = Path(__file__).parents[1]
#: of torch's and MONAI's own
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def short(tmp_path: Path) -> Callable[..., list[Judged]]:
    """Run a case in its short form; what was judged, run by run, and a page."""

    def run(name: str, data: Path) -> list[Judged]:
        case = CASES[name]
        went = way.all_runs(case, Place(data, tmp_path / "work", "", short=True))
        written = page.write(case, went, tmp_path / "docs").read_text()
        pictures = re.findall(r"\]\((pictures/[^)]+)\)", written)
        assert pictures
        assert all((tmp_path / "docs" / one).is_file() for one in pictures)
        assert "## What this is not" in written
        return [one.judged for one in went]

    return run


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_a_page_and_a_make_target(name: str) -> None:
    written = (ROOT / "docs" / "cases" / f"{name}.md").read_text()
    assert f"make case-{name} DATA=folder" in written
    assert CASES[name].is_not.strip() in written
    assert f"\ncase-{name}:" in (ROOT / "Makefile").read_text()
    assert f"docs/cases/{name}.md" in (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_drawn_ultrasound_comes_back_with_areas_in_square_millimetres(
    short: Callable[..., list[Judged]], tmp_path: Path
) -> None:
    (judged,) = short("thyroid", tmp_path)
    figures = judged.figures
    assert len(judged.rows) == 4
    for n in (0, 1):
        for label, least in (("Thyroid gland", 0.85), ("Thyroid nodule", 0.6)):
            assert figures[f"{label} {n} dice"] > least
            assert figures[f"{label} {n} mm2"] == pytest.approx(figures[f"{label} {n} pixels in mm2"], abs=0.006)
