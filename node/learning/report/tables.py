"""The numbers of a comparison as tables."""

from __future__ import annotations

from collections.abc import Sequence

from models.scores import summary
from models.scores.summary import ClassSummary, Spread

from ..gate.guards import differences
from ..gate.pairs import mean_dice
from ..gate.pairs import pairs as pairs_of
from ..gate.values import Pair, Protocol
from . import words
from .blocks import BAD, DOUBT, GOOD, NEUTRAL, Block, Cell, Column, Listed, Table, row
from .values import Contender, Evaluation
from .words import METRICS, NONE, Metric, number

HOLDS = {True: ("✓ holds", GOOD), False: ("✕ broken", BAD), None: ("reported", NEUTRAL)}
HEADS = {"baseline": "Baseline", "champion": "Champion", "candidate": "Candidate"}


def compared(of: Evaluation) -> tuple[Pair, ...]:
    """The patients as the gate has compared them.

    Raises:
        Refused: the scores of both cannot be paired, as `gate.pairs.pairs` says.
    """
    champion = of.champion.cases if of.champion else ()
    return pairs_of(champion, of.candidate.cases, of.protocol) if champion or of.candidate.cases else ()


def guards(of: Evaluation) -> Table:
    """What has to hold beside the primary endpoint."""
    classes = {f"class {one.value}": f"class {one.value}, {one.label}" for one in of.structures}
    rows = []
    for guard in of.verdict.guards:
        said, tone = HOLDS[guard.holds]
        rows.append(row(classes.get(guard.name, guard.name), Cell(said, tone=tone), guard.sentence))
    columns = (Column("Guard", 2.2), Column("State", 1.2), Column("Finding", 6))
    return Table("", columns, tuple(rows))


def overview(of: Evaluation, pairs: Sequence[Pair]) -> Table:
    """Who was compared: Dice over the primary classes, failures and seconds."""
    rows = []
    for role, one in of.contenders:
        dices = _dices(of, role, pairs)
        failed = sum(dice < of.protocol.failure_dice for dice in dices)
        rows.append(
            row(
                f"{HEADS[role]}: {one.name}",
                str(len({case.patient for case in one.cases})),
                words.spread(summary.spread(dices), 3),
                words.quartiles(summary.spread(dices), 3),
                Cell(str(failed), tone=DOUBT if failed else NEUTRAL),
                words.quartiles(summary.seconds(one.cases), 1),
            )
        )
    columns = (
        Column("", 2.6),
        Column("Patients", 1, number=True),
        Column("Dice, mean (95 %)", 2.2, number=True),
        Column("Dice, median (quartiles)", 2.2, number=True),
        Column(f"Failures, Dice < {of.protocol.failure_dice:g}", 1.3, number=True),
        Column("Seconds, median (quartiles)", 2, number=True),
    )
    return Table("", columns, tuple(rows))


def _dices(of: Evaluation, role: str, pairs: Sequence[Pair]) -> list[float]:
    """Of these patients, the mean Dice over the primary classes: of champion and candidate as the gate has it."""
    if role == "baseline":
        patients = {pair.patient for pair in pairs}
        cases = [case for case in of.baseline.cases if case.patient in patients] if of.baseline else []
        return list(summary.mean_dice(cases, of.protocol.primary_classes).values())
    dices = [_dice(pair.champion if role == "champion" else pair.candidate, of.protocol) for pair in pairs]
    return [dice for dice in dices if dice is not None]


def of_class(of: Evaluation, value: int, pairs: Sequence[Pair]) -> list[Block]:
    """All numbers of one class, a column for each contender, and why some do not exist."""
    found = {
        role: summary.summarise(one.cases, value, failure_dice=of.protocol.failure_dice) for role, one in of.contenders
    }
    paired = of.champion is not None
    columns = [Column("Mean over patients (95 % interval)", 2.4)]
    columns += [Column(HEADS[role], 2, number=True) for role in found]
    columns += [Column("Candidate − champion", 2, number=True)] if paired else []
    rows, missing = [], dict[tuple[str, str], list[str]]()
    for metric in METRICS:
        cells: list[str | Cell] = [_title(metric, of)]
        for role, its in found.items():
            cells.append(_mean(its, metric))
            if its.spreads[metric.name] is None:
                reason = of.reasons.get(metric.name, metric.missing)
                missing.setdefault((metric.title, reason), []).append(role)
        if of.champion is not None:
            by_gate = metric.name == "dice"
            change = (
                class_differences(pairs, value) if by_gate else _difference(of.champion, of.candidate, value, metric)
            )
            cells.append(words.spread(change, metric.digits, signed=True))
        rows.append(row(*cells))
    rows += _counts(found, paired=paired)
    reasons = words.without(missing)
    return [Table(of.label(value), tuple(columns), tuple(rows)), *([Listed(reasons, faint=True)] if reasons else [])]


def _title(metric: Metric, of: Evaluation) -> str:
    return f"{metric.title} at {of.tolerance_mm:g} mm" if metric.name == "nsd" else metric.title


def _mean(of: ClassSummary, metric: Metric) -> Cell:
    return words.spread(of.spreads[metric.name], metric.digits, of.patients - of.both_empty)


def _difference(champion: Contender, candidate: Contender, value: int, metric: Metric) -> Spread | None:
    """Over the patients for whom both have the number."""
    of = summary.of_class(value, summary.NUMBERS[metric.name])
    old, new = summary.by_patient(champion.cases, of), summary.by_patient(candidate.cases, of)
    return summary.spread([new[patient] - old[patient] for patient in new if patient in old])


def _counts(found: dict[str, ClassSummary], *, paired: bool) -> list[tuple[Cell, ...]]:
    """What is counted instead of averaged."""
    rows = []
    for title, said in (
        ("Lesions, all cases", words.lesions),
        ("Failures, patients", lambda of: words.count(of.failures)),
        ("Left out: in neither, patients", lambda of: words.count(of.both_empty)),
        ("Annotated, patients", lambda of: words.count(of.patients)),
    ):
        rows.append(row(title, *(said(its) for its in found.values()), *([""] if paired else [])))
    return rows


def subgroups(of: Evaluation, pairs: Sequence[Pair]) -> Table | None:
    """Mean Dice over the primary classes in each subgroup; None where cases say nothing of any."""
    judged = {guard.name: guard for guard in of.verdict.guards}
    rows = []
    for kind, group in sorted({group for pair in pairs for group in pair.groups.items()}):
        theirs = [pair for pair in pairs if pair.groups.get(kind) == group]
        guard = judged.get(f"{kind} {group}")
        said, tone = HOLDS[guard.holds if guard else None]
        cells: list[str | Cell] = [f"{kind}: {group}", str(len(theirs))]
        cells += [words.spread(summary.spread(_dices(of, role, theirs)), 3) for role, _ in of.contenders]
        changes = list(differences(theirs, of.protocol).values())
        if of.champion is not None:
            cells.append(number(sum(changes) / len(changes), 3, signed=True) if changes else NONE)
        rows.append(row(*cells, Cell(said, tone=tone)))
    columns = [Column("Subgroup", 2.6), Column("Patients", 1, number=True)]
    columns += [Column(HEADS[role], 1.8, number=True) for role, _ in of.contenders]
    columns += [Column("Difference", 1.2, number=True)] if of.champion is not None else []
    return Table("", (*columns, Column("Guard", 1.2)), tuple(rows)) if rows else None


def losers(of: Evaluation, pairs: Sequence[Pair], pictured: dict[str, str]) -> Table | None:
    """Everybody who loses much, to be looked at before an approval.

    Args:
        pictured: patient -> anchor of a picture.
    """
    by_patient = {pair.patient: pair for pair in pairs}
    rows = []
    for patient, difference in of.verdict.losers:
        pair = by_patient.get(patient)
        groups = ", ".join(f"{kind} {group}" for kind, group in sorted(pair.groups.items())) if pair else ""
        anchor = pictured.get(patient, "")
        rows.append(
            row(
                Cell(patient, code=True),
                number(_dice(pair.champion, of.protocol) if pair else None, 3),
                number(_dice(pair.candidate, of.protocol) if pair else None, 3),
                Cell(number(difference, 3, signed=True), tone=BAD),
                groups or NONE,
                Cell("see picture" if anchor else NONE, link=anchor),
            )
        )
    columns = (
        Column("Patient (pseudonym)", 2.6),
        Column("Champion", 1, number=True),
        Column("Candidate", 1, number=True),
        Column("Difference", 1.1, number=True),
        Column("Subgroups", 3),
        Column("Picture", 1.1),
    )
    return Table("", columns, tuple(rows)) if rows else None


def _dice(dices: dict[int, float], protocol: Protocol) -> float | None:
    return mean_dice(dices, protocol.primary_classes)


def paired(of: Evaluation, pairs: Sequence[Pair]) -> dict[str, tuple[float, float]]:
    """Patient -> mean Dice over the primary classes by champion and candidate, of those who have both."""
    found = {}
    for pair in pairs:
        old, new = _dice(pair.champion, of.protocol), _dice(pair.candidate, of.protocol)
        if old is not None and new is not None:
            found[pair.patient] = (old, new)
    return found


def class_differences(pairs: Sequence[Pair], value: int) -> Spread | None:
    """Of one class, over the patients who have it by both."""
    both = [pair for pair in pairs if value in pair.champion and value in pair.candidate]
    return summary.spread([pair.candidate[value] - pair.champion[value] for pair in both])
