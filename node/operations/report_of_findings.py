"""The report on a detector or a classifier: ROC and FROC as pictures, what it does at its threshold, every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from models.card import Bundle
from models.finding_rules import Finding
from models.scores.detection import PER_STUDY, Froc, Interval, Roc, of_parts

from ..learning.report import words
from ..learning.report.blocks import DOUBT, Block, Callout, Charts, Column, Heading, Says, Table, row
from ..learning.report.chart import (
    CANDIDATE,
    FAINT,
    GOOD,
    INK,
    WIDTH,
    Axis,
    Chart,
    Dot,
    Letters,
    Shape,
    Stroke,
    across,
    upwards,
)
from ..learning.report.words import NONE

LEFT, RIGHT, TOP, BOTTOM = 44.0, WIDTH - 90.0, 34.0, 294.0
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Operating:
    """What it does from its threshold on.

    Attributes:
        sensitivity: of lesions (a detector) or of studies (a classifier); None where there are none.
        interval: 95 %: by the bootstrap over studies, or Wilson's.
        false_per_study: boxes, or calls, that are wrong, per study.
    """

    sensitivity: float | None
    interval: Interval | None
    false_per_study: float


def operating(bundle: Bundle, froc: Froc | None, roc: Roc, finding: Finding) -> Operating:
    """At the card's threshold."""
    if froc is not None and bundle.card.boxes is not None:
        threshold = bundle.card.boxes.score_threshold
        false, sensitivity = froc.at(threshold)
        return Operating(sensitivity, froc.interval(threshold), false)
    threshold = finding.present_from or 0.0
    hits = sum(score >= threshold for score in roc.positive)
    false = sum(score >= threshold for score in roc.negative) / (len(roc.positive) + len(roc.negative))
    part = hits / len(roc.positive) if roc.positive else None
    return Operating(part, of_parts(hits, len(roc.positive)), false)


def story(
    bundle: Bundle,
    names: Sequence[str],
    frocs: Mapping[int, Froc],
    rocs: Mapping[int, Roc],
    scores: Mapping[int, Sequence[tuple[float, bool]]],
    who: str,
) -> tuple[str, str, list[Block]]:
    """Heading, the line below it, and the report."""
    card = bundle.card
    blocks: list[Block] = [
        Callout(DOUBT, f"{len(names)} cases of this site", (card.intended_use, words.RESEARCH)),
        Says(f"Run by {who} with card {bundle.card_sha256} and weights {bundle.weights_sha256}."),
    ]
    for one in card.finding:
        froc, roc = frocs.get(one.value), rocs[one.value]
        blocks += [Heading(one.label, f"finding-{one.value}"), _table(bundle, froc, roc, one)]
        charts = [_roc_chart(one, roc)] if roc.points() else []
        if froc is not None and froc.points():
            charts.append(_froc_chart(one, froc, operating(bundle, froc, roc, one)))
        blocks.append(Charts(tuple(charts)) if charts else Says("No case has it, or every case: there is no curve."))
        if froc is not None:
            blocks.append(Says("The curves end at the card's score_threshold: boxes below it are dropped.", faint=True))
    blocks += [Heading("Every case", "cases"), _cases(bundle, names, scores)]
    moment = datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{card.title}: acceptance", f"{card.name} {card.version} · {moment}", blocks


def with_interval(value: float | None, interval: Interval | None) -> str:
    """A number and its 95 %."""
    if value is None:
        return NONE
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _table(bundle: Bundle, froc: Froc | None, roc: Roc, one: Finding) -> Table:
    at = operating(bundle, froc, roc, one)
    what = "lesions" if froc is not None else "studies with it"
    rows = [
        ("Studies with it, without it", f"{len(roc.positive)}, {len(roc.negative)}"),
        ("ROC AUC, over studies (DeLong)", with_interval(roc.auc(), roc.interval())),
        (f"Sensitivity for {what}, at the card's threshold", with_interval(at.sensitivity, at.interval)),
        ("False positives per study, there", f"{at.false_per_study:.2f}"),
    ]
    if froc is not None:
        rows.insert(1, ("Lesions", str(froc.lesions)))
        rows += [
            (f"Sensitivity at {per:g} false positives per study", with_interval(froc.sensitivity(per), None))
            for per in PER_STUDY
        ]
        rows.append(("Mean of these seven (CPM)", with_interval(froc.mean_sensitivity(), None)))
    columns = (Column("", 3), Column("95 %", 2, number=True))
    return Table("", columns, tuple(row(*pair) for pair in rows))


def _cases(bundle: Bundle, names: Sequence[str], scores: Mapping[int, Sequence[tuple[float, bool]]]) -> Table:
    """The most wrong first: there with a low score, or not there with a high one."""
    wrong = [
        max(1 - score if there else score for score, there in (scores[one.value][n] for one in bundle.card.finding))
        for n in range(len(names))
    ]
    columns = (Column("Case", 3), *(Column(one.label, 2, number=True) for one in bundle.card.finding))
    rows = []
    for n in sorted(range(len(names)), key=lambda n: -wrong[n]):
        told = (scores[one.value][n] for one in bundle.card.finding)
        rows.append(row(names[n], *(f"{score:.3f}, {'there' if there else 'not there'}" for score, there in told)))
    return Table("Highest score or probability, and the truth", columns, tuple(rows))


def _roc_chart(one: Finding, roc: Roc) -> Chart:
    said = f"Over {len(roc.positive) + len(roc.negative)} studies. Area {with_interval(roc.auc(), roc.interval())}."
    diagonal = [(0.0, 0.0), (1.0, 1.0)]
    return _chart(f"ROC: {one.label}", said, roc.points(), 1.0, ("False positive rate", "True positive rate"), diagonal)


def _froc_chart(one: Finding, froc: Froc, at: Operating) -> Chart:
    points = froc.points()
    most = max(1.0, points[-1][0])
    said = f"{froc.lesions} lesions in {len(froc.studies)} studies."
    end = [(at.false_per_study, at.sensitivity)] if at.sensitivity is not None else []
    return _chart(f"FROC: {one.label}", said, points, most, ("False positives per study", "Sensitivity"), [], end)


def _chart(
    title: str, said: str, points: Points, most: float, axes: tuple[str, str], faint: Points, marks: Points = ()
) -> Chart:
    x, y = Axis(0, most, LEFT, RIGHT), Axis(0, 1, BOTTOM, TOP)
    shapes: list[Shape] = [*upwards(y, LEFT, RIGHT, axes[1]), *across(x, TOP, BOTTOM, axes[0])]
    for line, colour, width in ((faint, FAINT, 1.0), (points, CANDIDATE, 2.0)):
        if len(line) > 1:
            placed = tuple((x.at(a), y.at(b)) for a, b in line)
            shapes.append(Stroke(placed, colour, width, dashed=colour == FAINT))
    for a, b in marks:
        shapes += [Dot(x.at(a), y.at(b), GOOD, 4.5), Letters(x.at(a) + 8, y.at(b) + 4, "at its threshold", INK)]
    return Chart(title, said, BOTTOM + 34, (*shapes,))
