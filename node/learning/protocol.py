"""What will count, out of the network's card and the site's settings: declared before a training begins."""

from __future__ import annotations

from models.card import Card

from .gate.values import Protocol


def declared(card: Card, *, fewest_patients: int, automatic_patients: int, seed: int) -> Protocol:
    """The protocol of a training.

    Args:
        card: of the live network; its [gate] has the margins.
        fewest_patients, automatic_patients, seed: the site's.
    """
    gate = card.gate
    return Protocol(
        primary_classes=gate.primary or tuple(segment.value for segment in card.segment),
        margin=gate.margin,
        class_margin=gate.class_margin,
        class_margins=dict(gate.class_margins),
        subgroup_margin=gate.subgroup_margin,
        absolute=dict(gate.absolute),
        fewest_patients=fewest_patients,
        automatic_patients=automatic_patients,
        seed=seed,
    )
