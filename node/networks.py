"""The networks of this node: found on disk, known by their hashes, one version of each live.

What an administrator put into the folder of a network's name is *installed*; what was trained here lies below
`networks/` of the home folder. The newest release says which one is live. An installed bundle that is not the one last
seen there was changed by an administrator: it is a version of its own, and live from then on, whatever was live before.
A network whose card says that it is a demonstration is off when it is first seen: a person has to switch it on.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import events, networks, switches
from db.database import Database, Row
from models import card, chain
from models.card import FILE, Bundle, CardError

from .errors import Failed, Refused
from .learning import versions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Networks:
    """The folders in which installed bundles lie; the first that has a name wins. The first is the node's own."""

    folders: tuple[Path, ...]
    database: Database

    @property
    def home(self) -> Path:
        """The home folder, in which the trained versions lie."""
        return self.folders[0].parent

    def names(self) -> list[str]:
        """The networks that are installed, and those that were made here and released."""
        with self.database.read() as tx:
            ours = [name for name in networks.names(tx) if (row := networks.live(tx, name)) and row["folder"]]
        return sorted({*card.names(self.folders), *ours})

    def known(self, name: str) -> tuple[int | None, Bundle]:
        """The live version; of a network that was never trained, no version and what it begins with.

        Raises:
            Failed: as `live`.
        """
        installed, newest = self.seen(name)
        if newest is None and installed is not None:
            return None, installed
        return self.live(name)

    def live(self, name: str) -> tuple[int, Bundle]:
        """The live version of a network: its row and its bundle.

        Raises:
            Failed: `network-unusable`: there is none, its card is wrong, or its files are missing or were changed; an
                administrator must mend it. `network-untrained`: it was made here, and no version was promoted yet.
        """
        installed, newest = self.seen(name)
        if newest is None and installed is not None:
            sentence = f"no version of {name} is live yet; `planimeter retrain {name}` trains the first"
            raise Failed("network-untrained", sentence)
        if newest is None:
            places = " or ".join(str(folder) for folder in self.folders)
            raise Failed("network-unusable", f"there is no network called {name} in {places}")
        return int(newest["id"]), self._bundle(newest, installed)

    def prove(self, bundle: Bundle) -> None:
        """Whether the networks whose results it reads are there, and find what it wants.

        Raises:
            Failed: `network-unusable`.
        """
        try:
            chain.prove(bundle.card, lambda name: self.known(name)[1])
        except CardError as error:
            raise Failed("network-unusable", str(error)) from None

    def seen(self, name: str) -> tuple[Bundle | None, Row | None]:
        """What is installed under a name, and the row of the version that is live, once that has been taken note of.

        Raises:
            Failed: `network-unusable`: the installed card is wrong.
        """
        installed = self._installed(name)
        with self.database.read() as tx:
            live, last = networks.live(tx, name), networks.last_seen(tx, name)
        if installed is None or installed.card.start or (last is not None and _is(installed, last)):
            return installed, live
        with self.database.write() as tx:
            events.lock(tx)
            last = networks.last_seen(tx, name)
            if last is None or not _is(installed, last):  # else another process was quicker
                self._see(tx, installed)
            return installed, networks.live(tx, name)

    def _see(self, tx: Any, installed: Bundle) -> None:
        name = installed.card.name
        before = networks.live(tx, name)
        why = "first seen"
        if before is not None:
            why = f"what is installed was changed on disk; it takes the place of {before['version']}"
            logger.warning("%s %s is live: %s", name, installed.card.version, why)
        elif installed.card.demonstration:
            switches.switch_off(tx, name, "planimeter")
        networks.make_live(tx, name, networks.register(tx, **_values(installed)), "planimeter", why)

    def switched_off(self) -> set[str]:
        """The networks that read no study."""
        for name in card.names(self.folders):
            with suppress(Failed):  # what cannot be used can be off; a demonstration is, from when it was first seen
                self.seen(name)
        with self.database.read() as tx:
            return switches.switched_off(tx)

    def pinned(self, model_version_id: int) -> Bundle:
        """The bundle of a version that a job was pinned to.

        Raises:
            Refused: `network-changed`: it lies there no more as it was.
            Failed: `network-unusable`.
        """
        with self.database.read() as tx:
            row = networks.find(tx, model_version_id)
        if row["folder"]:
            return self._kept(row)
        installed = self._installed(row["network"])
        if installed is not None and not _is(installed, row):
            raise Refused(
                "network-changed",
                f"{row['network']} was changed after this job had begun with version {row['version']}; "
                "`planimeter reprocess` runs the new one",
            )
        return self._bundle(row, installed)

    def add(self, tx: Any, bundle: Bundle, parent: int | None, who: str) -> int:
        """The row of a trained version, whose bundle `learning.versions.make_version` has made."""
        folder = bundle.folder.relative_to(self.home).as_posix()
        return networks.add_candidate(tx, who, **_values(bundle), folder=folder, parent=parent)

    def keep(self, row: Row) -> None:
        """Copy an installed version into the home folder, so that one can go back to it whatever becomes of its folder.

        Raises:
            Failed: `network-unusable`: it is not what its card says.
        """
        if not row["folder"]:
            kept = versions.keep(self._bundle(row, self._installed(row["network"])), self.home)
            with self.database.write() as tx:
                networks.set_folder(tx, row["id"], kept.folder.relative_to(self.home).as_posix())

    def verified(self, row: Row) -> Bundle:
        """The bundle of a version, every file compared with its card.

        Raises:
            Failed: `network-unusable`.
        """
        bundle = self._bundle(row, None if row["folder"] else self._installed(row["network"]))
        try:
            card.verify(bundle)
        except CardError as error:
            raise _unusable(row, str(error)) from None
        return bundle

    def _installed(self, name: str) -> Bundle | None:
        if not any((folder / name / FILE).is_file() for folder in self.folders):
            return None
        try:
            bundle = card.find(name, self.folders)
        except CardError as error:
            raise Failed("network-unusable", str(error)) from None
        if (
            bundle.card.name != name
        ):  # its versions would lie under another name, and be another network's in all objects
            sentence = f"{bundle.folder / FILE} is the card of {bundle.card.name}: a folder has the name of its network"
            raise Failed("network-unusable", sentence)
        return bundle

    def _bundle(self, row: Row, installed: Bundle | None) -> Bundle:
        """The bundle of a version: what is installed where that is the one, else what was kept."""
        if installed is not None and _is(installed, row):
            return installed
        if row["folder"]:
            return self._kept(row)
        raise _unusable(row, "it lies no more where it was installed")

    def _kept(self, row: Row) -> Bundle:
        folder = self.home / row["folder"]
        try:
            bundle = card.read(folder)
        except CardError as error:
            raise _unusable(row, str(error)) from None
        if not _is(bundle, row):
            raise _unusable(row, f"{folder / FILE} was changed")
        for name in bundle.card.files:
            if not (folder / name).is_file():
                raise _unusable(row, f"{folder / name} is missing")
        return bundle


def _is(bundle: Bundle, row: Row) -> bool:
    return (bundle.weights_sha256, bundle.card_sha256) == (row["weights_sha256"], row["card_sha256"])


def _values(bundle: Bundle) -> dict[str, Any]:
    return {
        "network": bundle.card.name,
        "version": bundle.card.version,
        "weights_sha256": bundle.weights_sha256,
        "card_sha256": bundle.card_sha256,
        "device_uid": bundle.card.device_uid,
    }


def _unusable(row: Row, why: str) -> Failed:
    return Failed(
        "network-unusable",
        f"version {row['version']} of {row['network']} cannot be used: {why}; put its files back from a backup, or "
        "take another version with `planimeter models rollback`",
    )
