"""What a node on this database goes by, which may be other than its file: for commands that look, and start no node."""

from __future__ import annotations

from dataclasses import dataclass

from config.settings import Settings, SettingsError, reloaded
from db import config_versions, schema
from db.database import DatabaseError, open_database

from ..app import database_url
from ..reloading import differs


@dataclass(frozen=True)
class InUse:
    """The settings of a node.

    Attributes:
        settings: with what is live in place of what the file says.
        version: that is live; None: the file alone counts, or nobody knows.
        said: where file and live differ, or nobody knows: what that means. Empty: they agree.
    """

    settings: Settings
    version: int | None
    said: str


def in_use(settings: Settings) -> InUse:
    """What is live, where the database knows it; the settings as they are, where it does not."""
    file = settings.said.where if settings.said.text is not None else "the command line"
    url = database_url(settings)
    if url.startswith("sqlite") and not settings.database.url and not (settings.home / "planimeter.db").exists():
        return InUse(settings, None, "")  # it was never started
    try:
        database = open_database(url)
        try:
            found = schema.current(database)
            if found is None:
                return InUse(settings, None, "")  # nor was it here
            if found != schema.newest():
                return InUse(settings, None, f"the database is of another version of Planimeter: {file} counts here")
            with database.read() as tx:
                row = config_versions.live(tx)
        finally:
            database.dispose()
    except DatabaseError as error:
        return InUse(settings, None, f"what is live is not known, {file} counts here: {error}")
    if row is None or not differs(settings, row["text"]):
        return InUse(settings, row["id"] if row is not None else None, "")
    which = f"version {row['id']} of {row['who']} is live, and other than {file}"
    how = "`planimeter config show` prints it, `config apply` takes the file"
    try:
        live = reloaded(settings, row["text"], f"configuration version {row['id']}")
    except SettingsError as error:
        return InUse(settings, row["id"], f"{which}; it cannot be used by this Planimeter: {error}")
    return InUse(live, row["id"], f"{which}; {how}")
