"""Results as files and rows: found again when they were made before, written once when they are new."""

from __future__ import annotations

from collections.abc import Sequence

from db import results
from db.database import Database
from db.results import NewResult

from ..failpoints import reach
from ..study.archive import Archive
from .forms import Form
from .identity import Provenance
from .results import Made


def known(database: Database, provenance: Provenance, forms: Sequence[Form]) -> tuple[dict[Form, NewResult], str]:
    """The results of an earlier run that made the same: they are the results (promise 4).

    Returns:
        Those that are there with their files, and what the self-check found of them, or "".
    """
    found, fault = {}, ""
    with database.read() as tx:
        for form in forms:
            row = results.by_uid(tx, provenance.result_uid(*form))
            if row is not None and row["path"] is not None:
                found[form] = NewResult(**{name: row[name] for name in NewResult.__dataclass_fields__})
                fault = fault or (row["reason"] or "" if row["state"] == "held" else "")
    return found, fault


def write(
    archive: Archive, made: Sequence[Made], content_time: float, run: str = "", revision: int = 1
) -> dict[Form, NewResult]:
    """Write the bytes of new results, each under a name of our own."""
    written = {}
    for one in made:
        path = archive.write_result(one.data)
        reach("object-written")
        written[one.form] = NewResult(
            kind=one.kind,
            options=one.options,
            sop_uid=one.sop_uid,
            sop_class=one.sop_class,
            series_uid=one.series_uid,
            sha256=one.sha256,
            path=path,
            size=len(one.data),
            content_time=content_time,
            run=run,
            revision=revision,
        )
    return written
