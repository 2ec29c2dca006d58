"""The live configuration: what there is now of what is taken anew without a restart, and who decided so.

The tables and keys of `config.reloadable` are kept as text in the database, version by version, and the newest is live.
Every process asks before its next job whether there is a newer one. What a job began with, it ends with.
"""

from __future__ import annotations

import logging
import re
import threading
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.reloadable import IN_WORDS, RELOADABLE, ROUTING, SETTINGS, others_of, part_of, values_of
from config.settings import Settings, SettingsError, reloaded
from db import config_versions
from db.database import Conflict, Database, DatabaseUnreachable, Row

from .configured import doorkeeper, expected_of, fetching_of, routes_of, targets_of
from .errors import Refused
from .inbound.peers import Doorkeeper
from .networks import Networks
from .operations.expecting import Expectation
from .operations.routes import Route
from .outbound.target import Target
from .pull.pacs import FetchPolicy

logger = logging.getLogger(__name__)

#: a text that lies in no file
WHERE = "the text"
PLACE = re.compile(rf"{WHERE}(?::(\d+))?: (.*)")
HALVES = (ROUTING, SETTINGS)
AT_LINE = re.compile(r"at line (\d+)")


@dataclass(frozen=True)
class Live:
    """What is in use.

    Attributes:
        version: its number; None where nothing was ever kept: then the settings that the process was started with.
    """

    version: int | None
    settings: Settings
    routes: tuple[Route, ...]
    targets: dict[str, Target]
    fetch: FetchPolicy
    doorkeeper: Doorkeeper
    expected: dict[str, Expectation]


class Configuration:
    """Knows what is live.

    Args:
        settings: those that the process was started with; all but what is reloadable holds until it ends.
    """

    def __init__(self, settings: Settings, database: Database, networks: Networks) -> None:
        self.settings, self.database, self.networks = settings, database, networks
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._unusable: int | None = None

    def live(self) -> Live:
        """What is in use now; a version that this Planimeter cannot use changes nothing, and is logged once.

        Raises:
            SettingsError: there is nothing before it that could stay.
        """
        with self._lock:
            try:
                with self.database.read() as tx:
                    newest = config_versions.live_id(tx)
                    known = self._live is not None and newest in (self._live.version, self._unusable)
                    row = None if known or newest is None else config_versions.find(tx, newest)
            except DatabaseUnreachable:
                if self._live is None:
                    raise
                return self._live  # the job that needs the database will say so itself
            if self._live is None or not known:
                self._take(newest, row)
            assert self._live is not None
            return self._live

    def newest(self) -> int | None:
        """The version that is live, usable here or not."""
        with self.database.read() as tx:
            return config_versions.live_id(tx)

    def _take(self, version: int | None, row: Row | None) -> None:
        try:
            settings = self.settings if row is None else self.tried(row["text"], f"configuration version {version}")
        except SettingsError as error:
            if self._live is None:
                raise SettingsError(
                    f"{error}\n`planimeter config apply FILE` or `rollback VERSION` mends that"
                ) from None
            self._unusable = version
            logger.error("version %s of the configuration cannot be used here: %s", version, error)  # noqa: TRY400
            return
        if self._live is not None:
            logger.info("version %s of the configuration is in use", version)
        self._live = self.made(version, settings)

    def made(self, version: int | None, settings: Settings) -> Live:
        """Settings, as a node applies them."""
        targets = targets_of(settings)
        routes = routes_of(settings, self.networks, targets)
        return Live(
            version, settings, routes, targets, fetching_of(settings), doorkeeper(settings), expected_of(settings)
        )

    def tried(self, text: str, where: str) -> Settings:
        """The settings with the reloadable part of a text.

        Raises:
            SettingsError: with the place of every mistake.
        """
        return reloaded(self.settings, text, where)

    def tried_with_networks(self, text: str, where: str) -> Live:
        """The same, as it would be applied.

        Raises:
            SettingsError; Refused: `no-such-network`.
        """
        made = self.made(None, self.tried(text, where))
        known_networks(self.networks, (name for route in made.routes for name in route.networks))
        return made


def known_networks(networks: Networks, wanted: Iterable[str]) -> None:
    """Raises:
    Refused: `no-such-network`.
    """
    if unknown := sorted(set(wanted) - set(networks.names())):
        raise Refused(
            "no-such-network", f"there is no network {', '.join(unknown)}; `planimeter models list` lists them"
        )


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a text, and in which line; None where that cannot be said."""

    line: int | None
    sentence: str


def examined(configuration: Configuration, text: str) -> tuple[Live | None, tuple[Mistake, ...]]:
    """A text as it would be applied, or what is wrong with it."""
    try:
        if others := sorted(others_of(text)):
            said = f"[{', '.join(others)}] needs a restart with a file; what is taken here is {IN_WORDS}"
            return None, (Mistake(None, said),)
    except tomllib.TOMLDecodeError as error:
        found = AT_LINE.search(str(error))
        return None, (Mistake(int(found[1]) if found else None, f"not valid TOML: {error}"),)
    try:
        return configuration.tried_with_networks(text, WHERE), ()
    except Refused as refusal:
        return None, (Mistake(None, refusal.sentence),)
    except SettingsError as error:
        places = [PLACE.fullmatch(line) for line in str(error).splitlines()]
        return None, tuple(Mistake(int(one[1]) if one[1] else None, one[2]) for one in places if one)


def note_file(database: Database, settings: Settings, who: str) -> int | None:
    """What the file says that a node is started with: a new version where it changed since it was last read.

    A file that did not change leaves live what was applied or rolled back to since; and where only its routing (peers
    and routes) changed, or only the rest, the other half.

    Returns:
        The new version, or None.
    """
    said = settings.reloadable
    file = str(Path(settings.said.where).absolute())  # however it was named on the command line
    for _ in range(20):  # processes that start at the same moment: one makes it, the others find it
        with database.read() as tx:
            before, live = config_versions.of_file(tx, file), config_versions.live(tx)
        changed = [half for half in HALVES if before is None or not _same(before["read"] or before["text"], said, half)]
        # a machine whose file has neither peers nor routes takes everything from the others
        if not changed or (before is None and not values_of(said, ROUTING)):
            if live is not None and not _same(live["text"], said):
                logger.warning("version %s of the configuration is live, not what %s says", live["id"], file)
            return None
        text = _merged(said, live["text"] if live is not None else "", changed)
        try:
            with database.write() as tx:
                read = said if text != said else None
                return config_versions.add(tx, text, who=who, why=file, what="file", read=read)
        except Conflict:
            continue
    raise Refused("config-changed", "others change the configuration at the same time")


def apply(configuration: Configuration, text: str, where: str, *, who: str, why: str, after: int | None) -> int:
    """Make a text live; the number of its version.

    Args:
        text: a whole configuration, or a part of it.
        after: the version that was live when it was looked at.

    Raises:
        SettingsError, Refused `no-such-network`: it cannot be used, and nothing is changed.
        Refused: `config-changed`: another version is live by now; `config-same`: it says what the live one says.
    """
    configuration.tried_with_networks(text, where)
    return _add(configuration.database, part_of(text), who=who, why=why, what="apply", after=after)


def roll_back(configuration: Configuration, version: int, *, who: str, why: str) -> int:
    """Make the text of an earlier version live again, as a new version; its number.

    Raises:
        Refused: `no-such-version`; and as `apply`.
    """
    database = configuration.database
    with database.read() as tx:
        row, after = config_versions.find(tx, version), config_versions.live_id(tx)
    if row is None:
        raise Refused("no-such-version", f"there is no version {version}; `planimeter config list` lists them")
    configuration.tried_with_networks(row["text"], f"configuration version {version}")
    return _add(database, row["text"], who=who, why=why, what="rollback", after=after, restores=version)


def _add(
    database: Database, text: str, *, who: str, why: str, what: str, after: int | None, restores: int | None = None
) -> int:
    changed = Refused("config-changed", "somebody else changed the configuration meanwhile; look at it again")
    try:
        with database.write() as tx:
            live = config_versions.live(tx)
            if (live["id"] if live is not None else None) != after:
                raise changed
            if live is not None and live["sha256"] == config_versions.sha256(text):
                raise Refused("config-same", f"it is what version {live['id']}, which is live, says already")
            return config_versions.add(tx, text, who=who, why=why, what=what, restores=restores)
    except Conflict:
        raise changed from None


def _same(one: str, other: str, tables: Sequence[str] = RELOADABLE) -> bool:
    return values_of(one, tables) == values_of(other, tables)


def _merged(said: str, live: str, changed: Sequence[Sequence[str]]) -> str:
    """What a file says anew, and the rest as it is live."""
    if len(changed) == len(HALVES):
        return said
    return "\n".join(filter(None, (part_of(said if half in changed else live, half) for half in HALVES)))


def differs(settings: Settings, text: str) -> bool:
    """Whether a version says something else than the file of these settings."""
    return not _same(settings.reloadable, text)
