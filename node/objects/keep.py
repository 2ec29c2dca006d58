"""Results as files and rows: found again when they were made before, written once when they are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from db import results
from db.database import Database
from db.results import NewResult

from ..errors import Refused
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


def first_time(database: Database, provenance: Provenance, forms: Sequence[Form]) -> float | None:
    """The content time of the first attempt, where a result of it has a row; its file may be gone (promise 4)."""
    with database.read() as tx:
        rows = [results.by_uid(tx, provenance.result_uid(*form)) for form in forms]
    return next((float(row["content_time"]) for row in rows if row is not None), None)


def require_same(archive: Archive, database: Database, new: Iterable[NewResult]) -> None:
    """What has a row is made again with the very bytes that it had.

    Raises:
        Refused: `result-purged`: it cannot be any more; what was written for it is removed.
    """
    new = list(new)
    with database.read() as tx:
        known = [(results.by_uid(tx, one.sop_uid), one) for one in new]
    if any(row is not None and row["path"] is None and row["sha256"] != one.sha256 for row, one in known):
        for one in new:
            archive.discard(one.path)
        said = "its bytes are not kept any more (retention), and what is made now is not the same"
        raise Refused("result-purged", f"a result with this UID was made before; {said}")


def write(
    archive: Archive, made: Sequence[Made], content_time: float, run: str = "", revision: int = 1
) -> dict[Form, NewResult]:
    """Write the bytes of new results, each under a name of our own."""
    written: dict[Form, NewResult] = {}
    for one in made:
        try:
            path = archive.write_result(one.data)
        except OSError:  # as if nothing had been written: all of it is made again
            for before in written.values():
                archive.discard(before.path)
            raise
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
