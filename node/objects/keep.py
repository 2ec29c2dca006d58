"""Results as files and rows: found again when they were made before, written once when they are new."""

from __future__ import annotations

from collections.abc import Sequence

from db import results
from db.database import Database
from db.results import NewResult

from ..failpoints import reach
from ..study.archive import Archive
from .identity import Provenance
from .results import KINDS, Made


def known(
    database: Database, provenance: Provenance, kinds: Sequence[tuple[str, str]] = KINDS
) -> list[NewResult] | None:
    """The results of an earlier run that made the same, if all of them are there: they are the results (promise 4)."""
    found = []
    with database.read() as tx:
        for kind, options in kinds:
            row = results.by_uid(tx, provenance.result_uid(kind, options))
            if row is None or row["path"] is None:
                return None
            found.append(NewResult(**{name: row[name] for name in NewResult.__dataclass_fields__}))
    return found


def write(archive: Archive, made: Sequence[Made], content_time: float) -> list[NewResult]:
    """Write the bytes of new results, each under a name of our own."""
    written = []
    for one in made:
        path = archive.write_result(one.data)
        reach("object-written")
        written.append(
            NewResult(
                kind=one.kind,
                options=one.options,
                sop_uid=one.sop_uid,
                sop_class=one.sop_class,
                series_uid=one.series_uid,
                sha256=one.sha256,
                path=path,
                size=len(one.data),
                content_time=content_time,
            )
        )
    return written
