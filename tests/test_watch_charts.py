"""The charts of Watch: what the weeks say stands in them, and nothing is drawn of what nobody knows."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from node.operations.watch import charts
from node.operations.watch.show import Watched
from node.operations.watch.weeks import Spread, Week

HOSTILE = '<b>&"lung'


def of(*weeks: Week, looks: tuple[dict[str, object], ...] = ()) -> Watched:
    """The weeks, oldest first."""
    newest_first = weeks[::-1]
    return Watched(network="n", segments={1: HOSTILE}, reference="", weeks=newest_first, looks=looks, reviews=())


def week(number: int, **values: object) -> Week:
    return replace(Week(week=f"2026-W{number:02d}", begins=""), **values)  # type: ignore[arg-type]


def drawn(watched: Watched) -> dict[str, ET.Element]:
    """Title -> its drawing, as an XML parser reads it."""
    return {chart.title: ET.fromstring(svg) for chart, svg in charts.charts(watched)}


def marks(svg: ET.Element, role: str) -> dict[str, float]:
    """Hint -> how high the mark stands."""
    found = {}
    for one in svg.iter():
        hint = one.find("title")
        if one.get("class") == f"f {role}" and hint is not None:
            y = one.get("cy") or str(float(one.get("y", "0")) + float(one.get("height", "0")) / 2)
            found[hint.text or ""] = float(y)
    return found


def test_nothing_is_drawn_of_nothing() -> None:
    assert charts.charts(of(week(1), week(2))) == []


def test_rates_stand_where_they_are_and_a_week_that_waits_has_no_rate() -> None:
    one = week(1, results=10, accepted=8, corrected=2, acceptance_rate=0.8)
    two = week(2, results=10, accepted=5, corrected=5, acceptance_rate=0.5)
    three = week(3, results=4, pending=3, corrected=1)
    svg = drawn(of(one, two, three))["Accepted and corrected"]
    accepted, corrected = marks(svg, "candidate"), marks(svg, "baseline")
    assert list(accepted) == ["2026-W01: accepted 80 %", "2026-W02: accepted 50 %"]
    assert list(corrected)[-1] == "2026-W03: corrected 25 %"
    assert accepted["2026-W01: accepted 80 %"] < accepted["2026-W02: accepted 50 %"]  # y goes down
    assert corrected["2026-W02: corrected 50 %"] == pytest.approx(accepted["2026-W02: accepted 50 %"], abs=0.1)
    assert "In 2026-W02 50 % were accepted" in svg.get("aria-label", "")
    lines = [one for one in svg.iter("polyline") if "candidate" in one.get("class", "")]
    assert len(lines) == 1, "only weeks that follow one another are joined"


def test_medians_have_their_quartiles_and_names_are_text() -> None:
    volumes = [{1: Spread(5, 90.0, 100.0, 130.0)}, {}, {1: Spread(5, 95.0, 120.0, 140.0)}]
    weeks = [week(n, results=5, volumes_ml=one, dice=Spread(3, 0.8, 0.9, 0.95)) for n, one in enumerate(volumes, 1)]
    found = drawn(of(*weeks))
    svg = found[f"Volume: {HOSTILE}"]
    assert list(marks(svg, "candidate")) == ["2026-W01: median 100 ml", "2026-W03: median 120 ml"]
    assert not [one for one in svg.iter("polyline") if "candidate" in one.get("class", "")]  # week 2 is not made up
    assert len([one for one in svg.iter("polyline") if one.get("stroke-width") == "3"]) == 2
    assert "the median of 5 is 120 ml, the quartiles 95 and 140" in svg.get("aria-label", "")
    assert len(marks(found["Dice of drafts with their corrections"], "candidate")) == 3


def test_bars_say_how_much_was_empty() -> None:
    svg = drawn(of(week(1, results=10, empty=5), week(2, results=10)))["Empty results"]
    every, empty = (
        [one for one in svg.iter("rect") if one.get("class") == f"f {role}"] for role in ("baseline", "candidate")
    )
    assert (len(every), len(empty)) == (3, 1)  # with the key of the chart
    assert float(empty[0].get("height", "0")) == pytest.approx(float(every[0].get("height", "0")) / 2, abs=0.1)


def test_drift_is_shown_week_by_week_against_its_bound() -> None:
    def finding(what: str, effect: float, *, drifted: bool = False) -> dict[str, object]:
        return {
            "what": what,
            "test": "PSI",
            "effect": effect,
            "p": 0.1,
            "bound": 0.01,
            "drifted": drifted,
            "sentence": "",
        }

    looks = (
        {"week": "2026-W02", "findings": [finding("CT kernel", 0.9, drifted=True), finding("CT scanner", 0.1)]},
        {"week": "2026-W01", "findings": [finding("CT kernel", 0.1)]},
        {"week": "2020-W01", "findings": [finding("CT kernel", 9.0)]},  # before the weeks that are shown
    )
    svg = drawn(of(week(1, results=1), week(2, results=1), looks=looks))["What it reads, against the reference"]
    assert set(marks(svg, "candidate")) == {"2026-W01: PSI 0.1", "2026-W02: PSI 0.9", "2026-W02: PSI 0.1"}
    said = svg.get("aria-label", "")
    assert "Drift of CT kernel." in said
    assert "CT scanner: PSI 0.100 in 2026-W02." in said
    assert len([one for one in svg.iter("circle") if one.get("class") == "f bad"]) == 2  # and in the key
    assert len([one for one in svg.iter("polyline") if one.get("stroke-dasharray")]) == 2
