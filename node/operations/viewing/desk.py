"""The views that are open: a few at a time, each opened once however many slices of it are asked for."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from db import input_sets, measurements, results, viewing
from db.database import Database
from models.card import Card, Input

from ...errors import NodeError, Refused
from ...networks import Networks
from ...study import frames
from ...study.archive import Archive
from ...study.decode import Decoders
from ...study.grid import Grid, lay_out
from ...study.series import members_hash
from . import contours
from .contours import Contours
from .view import View, opened

logger = logging.getLogger(__name__)

#: open at a time; the headers of a long series take some ten megabytes
MOST_OPEN = 3
Key = tuple[object, ...]


@dataclass
class Desk:
    """Open views of one process. Threads may share it."""

    archive: Archive
    decoders: Decoders
    database: Database
    networks: Networks
    _open: OrderedDict[Key, View] = field(default_factory=OrderedDict)
    _opening: dict[Key, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def view(self, input_set_id: int, channel: str = "") -> View:
        """What a network has read, with what it found there.

        Args:
            channel: of a network that reads several; empty for the first.

        Raises:
            Refused: `no-such-input-set`, or a code that says what the images are not.
            Failed: `decoder-not-started`.
        """
        with self.database.read() as tx:
            state = viewing.state(tx, input_set_id)
        if state is None:
            raise Refused("no-such-input-set", f"no network has read anything under the number {input_set_id}")
        key = (input_set_id, channel, *state)
        with self._lock:
            if (known := self._known(key)) is not None:
                return known
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:  # whoever asks for the same meanwhile waits for it, and opens nothing
            with self._lock:
                if (known := self._known(key)) is not None:
                    return known
            made = self._made(input_set_id, channel)
            with self._lock:
                self._open[key] = made
                self._opening.pop(key, None)
                while len(self._open) > MOST_OPEN:
                    self._open.popitem(last=False)
        return made

    def _known(self, key: Key) -> View | None:
        if key in self._open:
            self._open.move_to_end(key)
        return self._open.get(key)

    def _made(self, input_set_id: int, channel: str) -> View:
        with self.database.read() as tx:
            input_set = input_sets.find(tx, input_set_id)
            members = input_sets.members(tx, input_set_id)
            segmentation = results.last_segmentation(tx, input_set_id)
            version = segmentation["model_version_id"] if segmentation else viewing.last_version(tx, input_set_id)
            measured = measurements.find(tx, input_set_id, version) if version else None
        card = self._card(input_set["network"], version)
        channels = list(dict.fromkeys(row["channel"] for row in members))
        if not channels:
            raise Refused("no-such-input-set", "the images that the network has read are not here any more")
        wanted = channel if channel in channels else channels[0]
        grid = self._grid([row for row in members if row["channel"] == wanted], _rule(card, wanted))
        found = self._contours(grid, segmentation, measured)
        changed = segmentation is not None and _changed(members, input_set)
        return opened(grid, found, self.decoders, _caution(segmentation, changed=changed))

    def _card(self, network: str, version: int | None) -> Card | None:
        """None where the network is there no more: its images still are."""
        try:
            return (self.networks.pinned(version) if version else self.networks.known(network)[1]).card
        except NodeError:
            return None

    def _grid(self, members: Sequence[Any], rule: Input) -> Grid:
        files = [self.archive.at(row["path"]) for row in members]
        of_each = [frames.from_text(row["frames"]) for row in members]
        try:
            return lay_out(files, self.decoders, rule, of_each=of_each)
        except FileNotFoundError:
            raise Refused("images-gone", "the images are not kept here any more") from None
        except Refused as refusal:
            if rule.kind == "image":
                raise
            logger.info("what a network has read is shown as pictures, not as a volume: %s", refusal.code)
            return lay_out(files, self.decoders, rule.model_copy(update={"kind": "image"}), of_each=of_each)

    def _contours(self, grid: Grid, segmentation: Any, measured: Any) -> Contours:
        if segmentation is None:
            return contours.of_boxes(measured["segments"] if measured is not None else [], grid.geometry)
        if segmentation["path"] is None:
            return Contours(lacking="the file of the segmentation is not kept any more")
        try:
            file = self.archive.at(segmentation["path"])
            return contours.of_segmentation(file, segmentation["sha256"], grid, self.decoders)
        except NodeError as error:
            return Contours(lacking=error.sentence)


def _rule(card: Card | None, channel: str) -> Input:
    rules = () if card is None else card.input
    return next((rule for rule in rules if rule.channel == channel), Input(modality=("any",)))


def _changed(members: Sequence[Any], input_set: Any) -> bool:
    """Whether the images are others than those that the network has read, or nobody has looked yet."""
    found = [(row["channel"], row["sop_uid"], row["image_identity"] or "", row["frames"]) for row in members]
    return bool(members_hash(found) != input_set["members_hash"])


def _caution(segmentation: Any, *, changed: bool) -> str:
    said = []
    if segmentation is not None and segmentation["state"] != "ready":
        why = f": {segmentation['reason']}" if segmentation["reason"] else ""
        said.append(f"These contours are {segmentation['state']}{why}.")
    if changed:
        said.append("The images came again since and are other ones: the contours were drawn on those before.")
    return " ".join(said)
