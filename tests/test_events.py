"""The record is append-only, and whoever changes it anyway is found out; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from db import events
from db.database import Conflict, Database, open_database
from db.events import Head
from db.tables import event
from node.errors import Refused
from node.operations import audit

TRIGGERS = ("event_no_update", "event_no_delete")


def written(database: Database, number: int = 6) -> Head:
    """Some events, and the head after them."""
    for n in range(number):
        with database.write() as tx:
            assert events.append(tx, f"person {n}", "approved", "ct_lungs", {"version": f"1.2.0+{n:03}"}) == n + 1
    with database.read() as tx:
        head = events.head(tx)
    assert head is not None
    return head


def _chained(number: int, who: str) -> dict[str, Any]:
    return {"number": number, "at": 1.5 * number, "who": who, "what": "approved", "subject": "s", "details": "{}"}


def unlock(tx: Connection) -> None:
    """What only the owner of the database can do."""
    if tx.dialect.name == "sqlite":
        for name in TRIGGERS:
            tx.execute(sa.text(f"DROP TRIGGER {name}"))
    else:
        tx.execute(sa.text("ALTER TABLE event DISABLE TRIGGER USER"))


def row(tx: Connection, number: int) -> dict[str, Any]:
    return dict(tx.execute(sa.select(event).where(event.c.number == number)).mappings().one())


def change(tx: Connection, which: int, **values: Any) -> None:
    tx.execute(sa.update(event).where(event.c.number == which).values(**values))


def fault(database: Database, head: Head | None = None) -> str | None:
    with database.read() as tx:
        return events.verify(tx, head)


# -------------------------------------------------------------- appending


def test_events_count_from_one_and_each_follows_the_one_before(database: Database) -> None:
    assert fault(database) is None, "an empty record is whole"
    head = written(database)
    assert fault(database) is None
    assert fault(database, head) is None
    with database.read() as tx:
        rows = [dict(one) for one in events.every(tx)]
        assert [one["number"] for one in events.listing(tx, limit=2)] == [6, 5]
        assert events.listing(tx, subject="pet_sarcoma") == []
    assert [one["number"] for one in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["before"] == "0" * 64
    assert [one["before"] for one in rows[1:]] == [one["sha256"] for one in rows[:-1]]
    assert head == Head(6, rows[-1]["sha256"])
    assert Head.parse(f" {head}\n") == head
    assert all(one["at"] > 1_700_000_000 for one in rows)


def test_the_hash_can_be_made_by_anyone_as_the_manual_says(database: Database) -> None:
    with database.write() as tx:
        events.append(tx, "Zoë", "approved", "ct_lungs", {"why": "good\nand “quoted”", "b": [1, None], "a": 0.1})
    with database.read() as tx:
        one = row(tx, 1)
    assert one["details"] == '{"a":0.1,"b":[1,null],"why":"good\\nand \\u201cquoted\\u201d"}'
    said = [one[key] for key in ("number", "at", "who", "what", "subject", "details", "before")]
    assert one["sha256"] == hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def test_what_is_not_plain_json_is_no_event(database: Database) -> None:
    for details in ({"dice": float("nan")}, {"when": object()}):
        with pytest.raises((ValueError, TypeError)), database.write() as tx:
            events.append(tx, "me", "evaluated", "ct_lungs", details)
    assert fault(database) is None


def test_an_event_whose_transaction_fails_leaves_no_gap(database: Database) -> None:
    written(database, 2)
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        events.append(tx, "me", "promote", "ct_lungs")
        raise ZeroDivisionError
    with database.write() as tx:
        assert events.append(tx, "me", "promote", "ct_lungs") == 3
    assert fault(database) is None


def test_several_that_append_at_once_make_one_chain(database: Database, database_url: str) -> None:
    each, failures = 67, []

    def append(who: str) -> None:
        mine = open_database(database_url)
        try:
            for n in range(each):
                with mine.write() as tx:
                    events.append(tx, who, "approved", "ct_lungs", {"n": n})
        except Exception as error:  # noqa: BLE001 - the test's thread must say what happened
            failures.append(error)
        finally:
            mine.dispose()

    threads = [threading.Thread(target=append, args=(f"writer {n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert fault(database) is None
    with database.read() as tx:
        rows = [(one["who"], json.loads(one["details"])["n"]) for one in events.every(tx)]
    assert len(rows) == 3 * each
    for n in range(3):
        assert [m for who, m in rows if who == f"writer {n}"] == list(range(each))


# -------------------------------------------------------------- tampering


def test_the_database_itself_refuses_to_change_or_remove(database: Database) -> None:
    written(database, 2)
    statements = ["UPDATE event SET who = 'me' WHERE number = 1", "DELETE FROM event"]
    for statement in statements if database.is_sqlite else [*statements, "TRUNCATE event", "DELETE FROM evaluation"]:
        with pytest.raises(Conflict, match="append-only"), database.write() as tx:
            tx.execute(sa.text(statement))
    assert fault(database) is None


def _changed(tx: Connection) -> None:
    change(tx, 3, details='{"version":"9.9"}')


def _changed_and_hashed_anew(tx: Connection) -> None:
    changed = row(tx, 3) | {"who": "somebody else"}
    change(tx, 3, who="somebody else", sha256=events.digest(changed))


def _missing(tx: Connection) -> None:
    tx.execute(sa.delete(event).where(event.c.number == 3))


def _missing_and_renumbered(tx: Connection) -> None:
    _missing(tx)
    for number in (4, 5, 6):
        change(tx, number, number=number - 1)


def _first_missing(tx: Connection) -> None:
    tx.execute(sa.delete(event).where(event.c.number == 1))


def _exchanged(tx: Connection) -> None:
    change(tx, 3, number=99)
    change(tx, 4, number=3)
    change(tx, 99, number=4)


def _inserted(tx: Connection) -> None:
    for number in (6, 5, 4):
        change(tx, number, number=number + 1)
    new = row(tx, 3) | {"number": 4, "before": row(tx, 3)["sha256"]}
    tx.execute(sa.insert(event).values(new | {"sha256": events.digest(new)}))


def _predecessor_forgotten(tx: Connection) -> None:
    tx.execute(sa.delete(event).where(event.c.number == 1))
    for number in range(2, 7):
        change(tx, number, number=number - 1)
        changed = row(tx, number - 1)
        change(tx, number - 1, sha256=events.digest(changed))


TAMPERINGS: dict[str, Callable[[Connection], None]] = {
    "event 3 was changed": _changed,
    "event 3 was changed and hashed anew": _changed_and_hashed_anew,
    "event 3 is missing": _missing,
    "event 3 was changed: it was written as event 4, and the order": _missing_and_renumbered,
    "event 1 is missing": _first_missing,
    "event 3 was changed: it was written as event 4, and the order was changed": _exchanged,
    "event 5 was changed: it was written as event 4": _inserted,
    "event 1 is not the first that was written": _predecessor_forgotten,
}


def test_every_kind_of_tampering_is_found(database: Database) -> None:
    written(database)
    for said, tamper in TAMPERINGS.items():
        with pytest.raises(ZeroDivisionError), database.write() as tx:
            unlock(tx)
            tamper(tx)
            found = events.verify(tx)
            assert found is not None, said
            assert found.startswith(said)
            raise ZeroDivisionError  # nothing of it stays for the next one
        assert fault(database) is None
    with database.write() as tx:
        unlock(tx)
        _changed(tx)
    with pytest.raises(Refused, match="event 3 was changed") as refused:
        audit.verify(database)
    assert refused.value.code == "record-broken"


def test_a_long_record_is_read_in_pages(database: Database) -> None:
    rows = [dict(_chained(n, "x")) for n in range(1, events.PAGE * 2 + 1)]
    before = events.NONE_BEFORE
    for row_ in rows:
        row_["before"] = before
        row_["sha256"] = before = events.digest(row_)
    with database.write() as tx:
        tx.execute(sa.insert(event), rows)
    assert fault(database, Head(len(rows), before)) is None
    with database.write() as tx:
        unlock(tx)
        change(tx, events.PAGE + 1, who="somebody else")
    assert fault(database) == f"event {events.PAGE + 1} was changed"


def test_what_was_cut_off_at_the_end_shows_against_a_head_that_was_noted(database: Database) -> None:
    head = written(database)
    assert audit.head(database) == str(head)
    with database.write() as tx:
        unlock(tx)
        tx.execute(sa.delete(event).where(event.c.number > 4))
    assert fault(database) is None, "nothing in the database says that there was more"
    assert fault(database, head) == "event 5 is missing: the record ends with event 4, and event 6 was noted"
    with pytest.raises(Refused, match="event 5 is missing"):
        audit.verify(database, str(head))
    with database.write() as tx:
        tx.execute(sa.delete(event))
    assert fault(database, head) == "event 1 is missing: the record is empty, and event 6 was noted"


def test_a_chain_that_was_hashed_anew_to_its_end_shows_against_a_head_that_was_noted(database: Database) -> None:
    head = written(database)
    with database.write() as tx:
        unlock(tx)
        before = row(tx, 2)["sha256"]
        for number in range(3, 7):
            changed = row(tx, number) | {"who": "nobody", "before": before}
            before = events.digest(changed)
            change(tx, number, who="nobody", before=changed["before"], sha256=before)
    assert fault(database) is None, "a whole chain, only another one"
    found = fault(database, head)
    assert found is not None
    assert found.startswith("event 6 is not the one that was noted")
    written_on = Head(3, head.sha256)
    assert "event 3 is not the one" in str(fault(database, written_on))


def test_a_head_that_is_none_is_refused(database: Database) -> None:
    with pytest.raises(Refused) as refused:
        audit.head(database)
    assert refused.value.code == "record-empty"
    for text in ("6", "6:abc", "x:" + "0" * 64, "6:" + "G" * 64):
        with pytest.raises(Refused) as refused:
            audit.verify(database, text)
        assert refused.value.code == "not-a-head"


CHAIN: list[dict[str, Any]] = []
for _n in range(1, 6):
    _row = _chained(_n, f"p{_n}") | {"before": CHAIN[-1]["sha256"] if CHAIN else events.NONE_BEFORE}
    CHAIN.append(_row | {"sha256": events.digest(_row)})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 4), st.sampled_from(sorted(CHAIN[0])), st.text(min_size=1, max_size=8))
def test_no_column_of_any_event_can_be_changed_unseen(place: int, column: str, value: str) -> None:
    rows = [dict(one) for one in CHAIN]
    assert events.check(rows) is None
    rows[place][column] = value if column not in ("number", "at") else len(value) + 100
    if rows != CHAIN:
        found = events.check(rows)
        assert found is not None
        assert str(place + 1) in found


# -------------------------------------------------------------- for people


def test_the_record_is_listed_and_exported_and_the_copy_can_be_verified(database: Database) -> None:
    head = written(database)
    assert audit.verify(database) == f"the record is whole: 6 events; its head is {head}"
    assert "event 6 is the one that was noted" in audit.verify(database, str(head))
    listed = audit.listing(database, "ct_lungs", limit=3)
    assert [one["number"] for one in listed] == [6, 5, 4]
    assert listed[0]["details"] == {"version": "1.2.0+005"}
    copy = io.StringIO()
    assert audit.export(database, copy) == 6
    rows = [json.loads(line) for line in copy.getvalue().splitlines()]
    assert events.check(rows, head) is None
    rows[2]["who"] = "somebody else"
    assert events.check(rows) == "event 3 was changed"


def test_names_of_people_cannot_paint_the_terminal(database: Database) -> None:
    from rich.console import Console

    with database.write() as tx:
        events.append(tx, "[red]eve[/]\x1b[2J", "approved", "ct_lungs", {"why": "[bold]trust me[/]", "empty": None})
    out = io.StringIO()
    audit.print_table(audit.listing(database), Console(file=out, width=160, force_terminal=True))
    assert "[red]eve[/]" in out.getvalue()
    assert "[bold]trust me[/]" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
