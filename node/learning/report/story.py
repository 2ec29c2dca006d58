"""What a report says, in which order: the verdict first, then why, then everything else."""

from __future__ import annotations

from collections.abc import Sequence

from models.scores import summary

from ..gate.guards import differences
from ..gate.values import Outcome, Pair
from . import curves, origin, tables, words
from .blocks import DOUBT, Block, Callout, Charts, Column, Heading, Pictured, Says, Table, row
from .chart import Chart
from .paired import Effect, each_patient, effects, of_spread, slopes
from .spreads import boxes
from .values import Evaluation
from .words import METRICS, NONE, number

#: of the numbers, those whose spread is shown
SPREAD = ("dice", "nsd", "hd95_mm", "volume_error_ml")
#: subgroups in the chart of effects; the table has all
MOST_GROUPS = 12


def story(of: Evaluation) -> list[Block]:
    """The whole report.

    Raises:
        Refused: as `tables.compared`.
    """
    pairs = tables.compared(of)
    return [
        *_verdict(of, pairs),
        *_primary(of, pairs),
        *_guards(of),
        *_losers(of, pairs),
        *_results(of, pairs),
        *_subgroups(of, pairs),
        *_probabilities(of),
        *_worst(of),
        *_training(of),
        *origin.data(of),
        *origin.provenance(of),
        *origin.rules(of),
    ]


def title(of: Evaluation) -> str:
    return f"{of.title}: evaluation of a candidate"


def verdict_said(of: Evaluation) -> Callout:
    """The verdict in words."""
    said, meaning, tone = words.VERDICT[of.verdict.outcome]
    if of.champion is None and of.verdict.outcome is Outcome.PASS:
        meaning = "the candidate reaches what its card asks for, and may go live"
    look = f"Look {of.verdict.look} at these patients, alpha {of.verdict.alpha:.4g}, one-sided."
    if of.verdict.outcome is Outcome.PASS:
        look += " It may be promoted without a person." if of.verdict.automatic else " A person has to approve it."
    return Callout(tone, f"{said}: {meaning}", (*of.verdict.reasons, look))


def _verdict(of: Evaluation, pairs: Sequence[Pair]) -> list[Block]:
    blind = Callout(DOUBT, "Blind spot", (of.verdict.blind_spot or NONE,))
    return [verdict_said(of), blind, tables.overview(of, pairs)]


def _primary(of: Evaluation, pairs: Sequence[Pair]) -> list[Block]:
    """The endpoint that decides."""
    names = ", ".join(of.label(value) for value in of.protocol.primary_classes)
    found: list[Block] = [Heading("Primary endpoint", "primary")]
    if of.champion is None:
        return [*found, Says(f"There is no champion: the Dice of {names} is held against what the card asks for.")]
    verdict = of.verdict
    found.append(Says(f"The difference in mean Dice over {names}, candidate − champion, patient by patient."))
    found.append(
        Table(
            "",
            (Column("", 3), Column("", 1, number=True)),
            (
                row("Patients compared", str(verdict.patients)),
                row("Mean difference", number(verdict.mean_difference, 4, signed=True)),
                row(
                    f"Lower bound, one-sided {100 * (1 - verdict.alpha):.4g} %, has to be above 0",
                    number(verdict.lower_bound, 4, signed=True),
                ),
                row(f"p of the sign-flip permutation, at most {verdict.alpha:.4g} counts", number(verdict.p, 4)),
            ),
        )
    )
    if None in (verdict.mean_difference, verdict.lower_bound, verdict.p):
        found.append(Says(f"{NONE}: too few patients were compared for this number.", faint=True))
    found.append(Charts((*_of_pairs(of, pairs),)))
    return found


def _of_pairs(of: Evaluation, pairs: Sequence[Pair]) -> list[Chart]:
    changes = differences(pairs, of.protocol)
    if not changes:
        return []
    short = words.shortened(pair.patient for pair in pairs)
    verdict = of.verdict
    primary = []
    if verdict.mean_difference is not None:
        primary.append(
            Effect("Primary", verdict.mean_difference, verdict.lower_bound, None, verdict.patients, primary=True)
        )
    of_classes = [
        of_spread(one.label, found)
        for one in of.structures
        if (found := tables.class_differences(pairs, one.value)) is not None
    ]
    return [
        effects("Primary endpoint, and each class", [*primary, *of_classes], of.protocol.margin),
        each_patient(changes, short, of.protocol.named_loss),
        slopes(tables.paired(of, pairs), short),
    ]


def _guards(of: Evaluation) -> list[Block]:
    found: list[Block] = [Heading("Guards", "guards")]
    if not of.verdict.guards:
        return [*found, Says("No guard could be judged.")]
    return [*found, tables.guards(of)]


def _losers(of: Evaluation, pairs: Sequence[Pair]) -> list[Block]:
    found: list[Block] = [Heading("Patients who lose", "losers")]
    if of.champion is None:
        return [*found, Says("There is no champion whose result anybody could lose.")]
    pictured = {picture.patient: f"case-{n}" for n, picture in reversed([*enumerate(of.pictures, 1)])}
    table = tables.losers(of, pairs, pictured)
    limit = number(of.protocol.named_loss, 2)
    if table is None:
        return [*found, Says(f"No patient loses more than {limit} in mean Dice.")]
    return [*found, Says(f"These lose more than {limit} in mean Dice. Look at each before approving."), table]


def _results(of: Evaluation, pairs: Sequence[Pair]) -> list[Block]:
    found: list[Block] = [Heading("Results by class", "classes")]
    if of.baseline is None:
        found.append(Says("The card names no classical baseline.", faint=True))
    classes = [(one.value, one.label) for one in of.structures]
    for value, _ in classes:
        found += tables.of_class(of, value, pairs)
    wanted = [metric for metric in METRICS if metric.name in SPREAD]
    charts = [chart for metric in wanted if (chart := boxes(metric, classes, of.contenders)) is not None]
    return [*found, Heading("How the patients spread", "spread"), Charts((*charts,))] if charts else found


def _subgroups(of: Evaluation, pairs: Sequence[Pair]) -> list[Block]:
    found: list[Block] = [Heading("Subgroups", "subgroups")]
    table = tables.subgroups(of, pairs)
    if table is None:
        return [*found, Says("Nothing is known of the cases by which they could be parted.")]
    rule = (
        f"Mean Dice of the primary classes. Subgroups of {of.protocol.subgroup_patients} patients and more have a "
        f"margin, those of {of.protocol.small_subgroup_patients} and more must not lose more than "
        f"{of.protocol.small_subgroup_drop:g}, smaller ones are only reported."
    )
    changes = differences(pairs, of.protocol)
    shown = []
    for kind, group in sorted({group for pair in pairs for group in pair.groups.items()}):
        theirs = [changes[one.patient] for one in pairs if one.patient in changes and one.groups.get(kind) == group]
        if len(theirs) >= summary.FEWEST_FOR_INTERVAL and (of_group := summary.spread(theirs)) is not None:
            shown.append(of_spread(group, of_group))
    largest = sorted(shown, key=lambda one: -one.patients)[:MOST_GROUPS]
    chart = [effects("Effect in the largest subgroups", largest, of.protocol.subgroup_margin)] if largest else []
    return [*found, Says(rule), table, *([Charts((*chart,))] if chart else [])]


def _probabilities(of: Evaluation) -> list[Block]:
    charts = [chart for one in of.structures for chart in curves.of_probabilities(one.value, one.label, of.contenders)]
    return [Heading("Probabilities", "probabilities"), Charts((*charts,))] if charts else []


def _worst(of: Evaluation) -> list[Block]:
    found: list[Block] = [Heading("The worst cases", "worst")]
    if not of.pictures:
        return [*found, Says("No pictures were made.")]
    return found + [
        Pictured(f"case-{n}", f"Patient {one.patient}, case {one.case}", one.caption, one.image)
        for n, one in enumerate(of.pictures, 1)
    ]


def _training(of: Evaluation) -> list[Block]:
    charts = curves.learning(of.progress)
    found: list[Block] = [Heading("Training", "training")]
    if not charts:
        return [*found, Says("The training told no progress.")]
    return [*found, Charts((*charts,))]
