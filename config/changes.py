"""Which keys of a configuration are other than those in use, and whether a running node takes them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from .reloadable import ROUTING, TABLES, values_of
from .settings import Settings

EVERY = "every process"
#: table, or key -> the roles that read it when they start; `planimeter run` starts all of them
READ_BY: dict[str, str] = {
    "node": EVERY,
    "database": EVERY,
    "log": EVERY,
    "receive": "`receive`",
    "work": "`work`",
    "work.workers": "`run`",
    "work.device": "`run`",
    "hosts": "`run`",
    "send": "`work`",
    "fetch": "`work` and `schedule`",
    "learning": "`work` and `schedule`",
    "watch": "`work`, `schedule` and `web`",
    "web": "`web`",
    "metrics": "`web`",
}


@dataclass(frozen=True)
class Change:
    """A key that is other than it is now.

    Attributes:
        key: "alarms.over_minutes"; of tables that there may be several of their name alone.
        needs: the processes that take it when they start anew; empty: it is taken at once.
    """

    key: str
    needs: str


def changes(live: Settings, asked: Settings) -> Iterator[Change]:
    """What another configuration would change, but for its peers and routes; of the tables that it names.

    Args:
        live: what is in use, with the command line it was started with.
        asked: as it was loaded from its text.
    """
    text = asked.said.text or ""
    taken, named = values_of(text), tomllib.loads(text)
    for table in (name for name in Settings.model_fields if name in named and name not in ROUTING):
        said = live.said.overrides.get(table, {})
        before, after = _values(getattr(live, table)), _values(getattr(asked, table))
        for key in (key for key in after if before[key] != after[key] and key not in said):
            name = f"{table}.{key}" if key else table
            at_once = table in taken and (table in TABLES or key in taken[table])
            yield Change(name, "" if at_once else READ_BY.get(name, READ_BY.get(table, EVERY)))


def _values(of: Any) -> dict[str, Any]:
    return {key: getattr(of, key) for key in type(of).model_fields} if isinstance(of, BaseModel) else {"": of}
