"""What a chained network reads of other networks: their kept segmentations, read back, as channels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from db import input_sets, results, upstreams
from db.database import Database, Row
from db.job_states import OPEN, JobState
from models import chain
from models.card import Bundle, Card, CardError
from models.wire import SharedArray

from .errors import Refused, Unavailable
from .learning import label_file, segmentations
from .networks import Networks
from .study import frames, volume
from .study.archive import Archive
from .study.decode import Decoders
from .study.volume import Volume

#: it is told when the result is there; this is for a worker that died before it could tell
WAITING_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A result that stands and is to be read.

    Attributes:
        channel: that it becomes.
        card: of the network and the version that made it.
        model_version_id: that version's row.
        result: the row of the segmentation.
        members: of the images that it is of, its first channel's alone.
        values: label values that are 1 in the channel; none where it has the label values themselves.
        flags: what was doubtful of it, as sentences.
    """

    channel: str
    card: Card
    model_version_id: int
    result: Row
    members: tuple[Row, ...]
    values: tuple[int, ...]
    flags: tuple[str, ...]


def of(database: Database, networks: Networks, card: Card, input_set_id: int) -> tuple[Upstream, ...]:
    """The results that an input set is to be read with; none for a network that reads images alone.

    Raises:
        Unavailable: `upstream-waiting`: a network that is read has not run yet.
        Refused: `upstream-refused`: it gave no result, or a person took it back; `network-changed`.
        Failed: `network-unusable`.
    """
    rules = [rule for rule in card.input if rule.network]
    if not rules:
        return ()
    with database.read() as tx:
        links = {row["channel"]: row for row in upstreams.of(tx, input_set_id)}
        found = []
        for rule in rules:
            link = links.get(rule.channel)
            if link is None or link["network"] != rule.network:
                why = (
                    f"its images were chosen before {card.name} read a result of {rule.network}; `planimeter reprocess`"
                )
                raise Refused("upstream-refused", f"{why} chooses again")
            standing = _standing(tx, card.name, link)
            members = input_sets.members(tx, link["upstream_id"])
            found.append((rule, standing, members, tuple(upstreams.flags(tx, standing["id"]))))
    return tuple(_upstream(networks, *each) for each in found)


def _standing(tx: Any, network: str, link: Row) -> Row:
    """The segmentation that is to be read."""
    job = upstreams.job_of(tx, link["upstream_id"])
    if job is not None and job["state"] in OPEN:
        why = f"{network} reads the result of {link['network']}, which is not there yet"
        raise Unavailable("upstream-waiting", why, WAITING_SECONDS)
    standing = results.segmentation(tx, link["upstream_id"])
    if standing is not None and job is not None and job["state"] == JobState.DONE:
        return standing
    why = (job["reason"] if job is not None else "") or f"it is {upstreams.newest_state(tx, link['upstream_id'])}"
    if job is not None and job["state"] == JobState.DONE:
        why = f"it is {upstreams.newest_state(tx, link['upstream_id']) or 'there no more'}"
    raise Refused("upstream-refused", f"{network} reads the result of {link['network']}, and there is none: {why}")


def _upstream(
    networks: Networks, rule: Any, standing: Row, members: Sequence[Row], doubts: tuple[str, ...]
) -> Upstream:
    bundle: Bundle = networks.pinned(standing["model_version_id"])
    try:
        values = chain.values(rule, bundle.card)
    except CardError as error:
        raise Refused("upstream-refused", str(error)) from None
    first = bundle.card.input[0].channel
    return Upstream(
        channel=rule.channel,
        card=bundle.card,
        model_version_id=standing["model_version_id"],
        result=standing,
        members=tuple(row for row in members if row["channel"] == first),
        values=values,
        flags=doubts,
    )


def read(archive: Archive, decoders: Decoders, one: Upstream, first: Volume, of_first: Sequence[Row]) -> Volume:
    """A result on the grid of the images that it is of: label values, or 0 and 1.

    Args:
        first: the first channel of the network that reads it.
        of_first: its members.

    Raises:
        Refused: `upstream-unreadable`: the file is not the one that was kept, or does not say what it is for certain;
            `source-gone`: its images are other ones by now; what `volume.build` refuses.
    """
    file = archive.at(one.result["path"])
    try:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        sha256 = ""
    if sha256 != one.result["sha256"]:
        raise Refused("upstream-unreadable", f"the segmentation of {one.card.name} is there no more as it was kept")
    own = None if _same(one.members, of_first) else _own_grid(archive, decoders, one)
    grid = first if own is None else own
    try:
        values = _values(label_file.opened(file), one, grid, decoders)
    finally:
        if own is not None:
            own.close()
    return Volume(values, grid.geometry, grid.headers, grid.frames, "")


def _same(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether two channels are the same images, in their newest revisions."""
    return {(row["path"], row["frames"]) for row in some} == {(row["path"], row["frames"]) for row in others}


def _own_grid(archive: Archive, decoders: Decoders, one: Upstream) -> Volume:
    files = [archive.at(row["path"]) for row in one.members]
    of_each = [frames.from_text(row["frames"]) for row in one.members]
    return volume.build(files, decoders, one.card.input[0], of_each=of_each)


def _values(label: label_file.LabelFile, one: Upstream, grid: Volume, decoders: Decoders) -> SharedArray:
    """float32 (slices, rows, columns). Every segment counts, or nothing does: half an organ is not less of a mask."""
    found, _ = segmentations.read(label, grid, fraction=0.5, decoders=decoders)
    numbers = sorted(each.structure.number for each in found)
    if numbers != list(range(1, len(one.card.segment) + 1)):
        raise Refused("upstream-unreadable", f"the segmentation of {one.card.name} has other segments than its card")
    made = SharedArray.make(grid.geometry.shape, np.float32)
    try:
        for each in found:
            if each.refusal is not None:
                raise Refused("upstream-unreadable", f"{one.card.name}: {each.refusal.sentence}")
            value = one.card.segment[each.structure.number - 1].value
            if not one.values:
                made.array[each.structure.mask] = value
            elif value in one.values:
                made.array[each.structure.mask] = 1
    except BaseException:
        made.close()
        raise
    return made
