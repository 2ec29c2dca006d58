"""The networks of this node: found on disk, known by their hashes, one version of each live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from db import networks
from db.database import Database, Row
from models import card
from models.card import Bundle, CardError

from .errors import Failed, Refused


@dataclass(frozen=True)
class Networks:
    """The folders in which bundles lie; the first that has a name wins."""

    folders: tuple[Path, ...]
    database: Database

    def names(self) -> list[str]:
        return card.names(self.folders)

    def live(self, name: str) -> tuple[int, Bundle]:
        """The live version of a network: its row and its bundle.

        What lies in the folder is live: a bundle or a card that was changed by an administrator is a version of its own
        from then on.

        Raises:
            Failed: `network-unusable`: there is none, or its card is wrong; an administrator must mend it.
        """
        try:
            bundle = card.find(name, self.folders)
        except CardError as error:
            raise Failed("network-unusable", str(error)) from None
        with self.database.read() as tx:
            newest = networks.live(tx, name)
        if newest is not None and _is(bundle, newest):
            return int(newest["id"]), bundle
        with self.database.write() as tx:
            version = networks.register(
                tx,
                network=name,
                version=bundle.card.version,
                weights_sha256=bundle.weights_sha256,
                card_sha256=bundle.card_sha256,
                device_uid=bundle.card.device_uid,
            )
            why = "first seen" if newest is None else "its weights or its card were changed on disk"
            networks.make_live(tx, name, version, "planimeter", why)
        return version, bundle

    def pinned(self, model_version_id: int) -> Bundle:
        """The bundle of a version that a job was pinned to.

        Raises:
            Refused: `network-changed`: it lies there no more as it was.
            Failed: `network-unusable`.
        """
        with self.database.read() as tx:
            row = networks.find(tx, model_version_id)
        try:
            bundle = card.find(row["network"], self.folders)
        except CardError as error:
            raise Failed("network-unusable", str(error)) from None
        if not _is(bundle, row):
            raise Refused(
                "network-changed",
                f"{row['network']} was changed after this job had begun with version {row['version']}; "
                "`planimeter reprocess` runs the new one",
            )
        return bundle


def _is(bundle: Bundle, row: Row) -> bool:
    return (bundle.weights_sha256, bundle.card_sha256) == (row["weights_sha256"], row["card_sha256"])
