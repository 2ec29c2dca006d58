"""F12: a database that an older Planimeter left, of every schema that it ever had, with jobs in every state."""

from __future__ import annotations

import traceback
from contextlib import closing

from db import schema
from db.database import Database, open_database, sqlite_url
from tests.fake_pacs import FakePacs
from tests.postgres import Postgres
from tests.soak.oracle import of_results, received_by
from tests.soak.tally import Tally, Trials
from tests.test_upgrades import OLD as FIRST_AND_LAST
from tests.test_upgrades import go_on
from tests.threshold_host import ThresholdHosts

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
#: the newest first: a short form begins with what most sites have
OLD = [
    (revision, product)
    for revision in reversed(schema.revisions()[:-1])
    if revision >= FIRST_AND_LAST[0]
    for product in (SQLITE, POSTGRESQL)
]


def run(trials: Trials) -> Tally:
    """Each schema on both databases."""
    programs = Postgres.find()
    assert programs is not None, "PostgreSQL is not here"
    tally = Tally()
    with Postgres(programs) as server:
        for revision, product in OLD[: trials.count]:
            if trials.stopped.is_set():
                break
            folder = trials.folder / f"{revision}-{product}"
            folder.mkdir()
            url = sqlite_url(folder / "rows.db") if product == SQLITE else server.new_database()
            with closing(_Opened(url)) as opened, FakePacs() as pacs, ThresholdHosts() as hosts:
                try:
                    go_on(revision, opened.database, folder / "home", pacs, hosts)
                except Exception:  # noqa: BLE001 - the other schemas are tried all the same
                    tally.complaints.append(f"{product}, from {revision}: {traceback.format_exc()}")
                checked = of_results(folder / "home", url, {"pacs": received_by(pacs.objects)})
                tally.add(checked)
            tally.trials += 1
            trials.step()
    tally.figures["schemas"] = sorted({revision for revision, _ in OLD[: tally.trials]})
    return tally


class _Opened:
    """A database with the newest schema."""

    def __init__(self, url: str) -> None:
        self.database: Database = open_database(url)
        schema.require(self.database)

    def close(self) -> None:
        self.database.dispose()
