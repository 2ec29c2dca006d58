"""The card of a version, for people: what it is for, what it learnt from, how good it is, and where its limits are."""

from __future__ import annotations

from models.card import Card
from models.input_rules import Range
from models.scores import summary

from . import origin, tables, words
from .blocks import DOUBT, Block, Callout, Cell, Column, Heading, Listed, Table, row
from .page import page
from .story import verdict_said
from .values import Evaluation
from .words import NONE

NOT_FOR = (
    "Not for diagnosis or treatment without a person who looks at every result: it is not a medical device.",
    "Not for images that the input rules below do not describe.",
    "Not for structures that are not listed: what it does not know it leaves out.",
)


def model_card(of: Evaluation, card: Card, *, weights_sha256: str, parent: str = "") -> str:
    """One HTML file about a version.

    Args:
        of: the evaluation that the version was judged by.
        card: of the version.
        parent: the version that its training began with; empty for none.

    Raises:
        Refused: as `tables.compared`.
    """
    blocks: list[Block] = [
        *_use(card),
        *_identity(card, weights_sha256, parent),
        *_knows(card),
        *origin.data(of),
        *_results(of),
        *_limits(of),
        *origin.rules(of),
    ]
    return page(f"{card.title} {card.version}: model card", f"{card.name} · {of.made}", blocks)


def _use(card: Card) -> list[Block]:
    return [
        Heading("Intended use", "use"),
        Callout(DOUBT, card.intended_use, (words.RESEARCH,)),
        Listed(NOT_FOR),
    ]


def _identity(card: Card, weights_sha256: str, parent: str) -> list[Block]:
    rows = (
        row("Name, version", f"{card.name} {card.version}"),
        row("Made by", card.manufacturer),
        row("Device UID", Cell(card.device_uid, code=True)),
        row("Weights SHA-256", Cell(weights_sha256, code=True)),
        row("Trained from", parent or "a random start"),
        row("Licence, of the weights", f"{card.licence}, {card.weights_licence}"),
        row("Released", "not before this was written; by whom since then: `planimeter models list`"),
    )
    return [Heading("Version", "version"), Table("", (Column("", 1), Column("", 3)), rows)]


def _knows(card: Card) -> list[Block]:
    """What it reads and what it finds."""
    inputs = tuple(row(one.channel, one.source, one.kind) for one in card.input)
    classes = tuple(
        row(
            str(one.value),
            one.label,
            " ".join((one.type[2], *([one.laterality[2].lower()] if one.laterality else []))),
            "each part is a lesion" if one.lesions else "one structure",
        )
        for one in card.segment
    )
    learnt = card.trained_on
    ranges = (
        ("Pixel spacing, mm", learnt.pixel_spacing_mm),
        ("Slice spacing, mm", learnt.slice_spacing_mm),
        ("Slice thickness, mm", learnt.slice_thickness_mm),
        ("Age, years", learnt.age_years),
    )
    return [
        Heading("What it reads and finds", "structures"),
        Table("", (Column("Channel"), Column("Modality"), Column("Kind")), inputs),
        Table("", (Column("Value", 0.6), Column("Structure", 2), Column("Code", 2), Column("Measured as", 2)), classes),
        Table(
            "Trained on images of",
            (Column("", 1), Column("", 2)),
            tuple(row(name, _range(its)) for name, its in ranges),
        ),
    ]


def _range(of: Range | None) -> str:
    return f"{of[0]:g} to {of[1]:g}" if of else f"{NONE} (the card says nothing)"


def _results(of: Evaluation) -> list[Block]:
    pairs = tables.compared(of)
    found: list[Block] = [Heading("Results on locked patients", "results"), verdict_said(of)]
    found.append(tables.overview(of, pairs))
    for one in of.structures:
        found += tables.of_class(of, one.value, pairs)
    return found


def _limits(of: Evaluation) -> list[Block]:
    """What is known to go wrong, and what nobody has looked at."""
    dices = summary.mean_dice(of.candidate.cases, of.protocol.primary_classes)
    failed = sum(dice < of.protocol.failure_dice for dice in dices.values())
    tested = f"Of {words.of_patients(len(dices))} in the test set, {failed} had a mean Dice below"
    said = [
        of.verdict.blind_spot or NONE,
        f"{tested} {of.protocol.failure_dice:g}.",
        *(guard.sentence for guard in of.verdict.guards if guard.holds is False),
    ]
    unseen = [
        one.label for one in of.structures if not summary.summarise(of.candidate.cases, one.value).spreads["dice"]
    ]
    if unseen:
        said.append(f"Never tested on a patient who has it: {', '.join(unseen)}.")
    return [Heading("Limits", "limits"), Listed(tuple(said))]
