"""Cases on disk, out of labels and the images that they lie on: before a data set is frozen, and again when purged."""

from __future__ import annotations

from functools import partial
from typing import Any

from db import data_sets
from models.card import Bundle

from . import upstream
from .app import Node
from .attempt import Stages
from .errors import Refused
from .learning import cases, data_set, sources
from .learning.cases import Wanted
from .prediction import read


def make(node: Node, bundle: Bundle, purpose: str, stages: Stages) -> dict[int, str]:
    """Make the cases that a data set of now would have.

    Returns:
        Label -> why its case cannot be made.
    """
    with node.database.read() as tx:
        plan = data_set.plan(tx, bundle.card.name, purpose, bundle.card.input)
    lost = {}
    for wanted in plan.unbuilt(node.archive.home):
        try:
            _make(node, bundle, wanted, stages)
        except Refused as refusal:
            lost[wanted.label_id] = refusal.sentence
    return lost


def make_again(node: Node, bundle: Bundle, data_set_id: int, stages: Stages) -> None:
    """Make the cases of a data set that are not there any more.

    Raises:
        Refused: `source-gone`: it cannot be as it was; `not-the-same`: it is another one than was frozen.
    """
    with node.database.read() as tx:
        row = data_sets.find(tx, data_set_id)
    assert row is not None
    for one in row["manifest"]["cases"]:
        wanted = sources.wanted_of(one)
        folder = cases.root(node.archive.home, wanted.bucket) / wanted.name
        if not folder.is_dir():
            _make(node, bundle, wanted, stages)
            if cases.content(folder)["sha256"] != one["sha256"]:
                raise Refused("not-the-same", f"case {wanted.name} has other bytes than were frozen")


def _make(node: Node, bundle: Bundle, wanted: Wanted, stages: Stages) -> None:
    upstreams = upstream.of(node.database, node.networks, bundle.card, wanted.input_set_id)
    of_bundle: Any = partial(read, node.archive, node.decoders, bundle, upstreams=upstreams)
    root = cases.root(node.archive.home, wanted.bucket)
    with stages("cases"):
        sources.make(node.database, node.archive, node.learning.key, wanted, bundle.card.input, of_bundle, root)
