"""What the page of a study and of the destinations ask of the rows, on both databases."""

from __future__ import annotations

import sqlalchemy as sa

from db import by_hand, destinations, measurements, one_study, viewing
from db.database import Database
from db.tables import (
    delivery,
    input_member,
    input_set,
    instance,
    job,
    measurement,
    model_version,
    patient,
    result,
    series,
    study,
)


def put(database: Database, table: sa.Table, **values: object) -> int:
    with database.write() as tx:
        return int(tx.execute(sa.insert(table).values(**values).returning(table.c.id)).scalar_one())


def one_that_was_read(database: Database, person: int, uid: str, date: str, millilitres: float, version: int) -> int:
    """The input set of a study with one image, a result, and what was measured."""
    its = put(database, study, study_uid=uid, patient_id=person, state="closed", arrived=1.0, last_image=2.0)
    of_it = put(database, series, study_id=its, series_uid=f"{uid}.1", modality="CT", kind="image")
    came = dict(
        sop_class="1.2", kind="image", transfer_syntax="1.2", size=10, calling_ae="CT", address="::1", arrived=1
    )
    for revision in (1, 2):
        put(
            database,
            instance,
            sop_uid=f"{uid}.1.1",
            revision=revision,
            series_id=of_it,
            study_id=its,
            patient_id=person,
            birth_date="",
            digest=str(revision),
            path=f"{uid}.{revision}",
            **came,
        )
    chosen = dict(network="lungs", slot="", members_hash=uid, because="series 1", created=3.0)
    read = put(database, input_set, study_id=its, **chosen)
    put(database, input_member, input_set_id=read, position=0, channel="ct", sop_uid=f"{uid}.1.1")
    made = put(
        database,
        result,
        input_set_id=read,
        model_version_id=version,
        kind="SEG",
        options="BINARY",
        sop_uid=f"{uid}.9",
        sop_class="1.2",
        series_uid=f"{uid}.8",
        sha256="",
        path=f"{uid}.9",
        size=1,
        content_time=4.0,
        run="a",
        state="ready",
        created=4.0,
    )
    put(database, delivery, result_id=made, destination="pacs", state="dead", reason="0xA900", created=5.0, attempts=1)
    subject = f"pacs/{read}"
    of_job = dict(state="dead", priority=1, run_after=0.0, max_attempts=1, created=5.0, study_id=its, input_set_id=read)
    put(database, job, kind="deliver", subject=subject, **of_job)
    segments = [{"value": 1, "volume_ml": millilitres, "long_axis_mm": None}]
    numbers = dict(study_date=date, segments=segments, flags=[], created=4.0)
    put(database, measurement, input_set_id=read, model_version_id=version, **numbers)
    return read


def two_studies(database: Database) -> tuple[int, int]:
    person = put(database, patient, issuer="", patient_id="P")
    of_it = dict(network="lungs", weights_sha256="w", card_sha256="c", device_uid="1.2", created=0.0)
    version = put(database, model_version, version="1.0", **of_it)
    first = one_that_was_read(database, person, "1.2.1", "20260101120000", 10.0, version)
    return first, one_that_was_read(database, person, "1.2.2", "20260601120000", 12.0, version)


def test_one_study_is_told_from_all_others(database: Database) -> None:
    _, read = two_studies(database)
    with database.read() as tx:
        row = one_study.find(tx, "1.2.2")
        assert row is not None
        number = row["id"]
        assert one_study.find(tx, "1.2.3") is None
        assert (row["patient"], row["issuer"]) == ("P", "")
        assert one_study.has(tx, "1.2.2", read)
        assert not one_study.has(tx, "1.2.1", read)
        (came,) = one_study.arrivals(tx, number)
        assert (came["objects"], came["calling_ae"]) == (1, "CT")
        (of_it,) = one_study.series_of(tx, number)
        assert (of_it["objects"], of_it["revisions"]) == (1, 2)
        (chosen,) = one_study.input_sets(tx, number)
        assert (chosen["id"], chosen["members"], chosen["replaced_by"]) == (read, 1, None)
        assert one_study.read_series(tx, number) == {read: {"ct": ["1.2.2.1"]}}
        assert [one["kind"] for one in one_study.jobs(tx, number)] == ["deliver"]
        assert [one["version"] for one in one_study.results(tx, number)] == ["1.0"]
        assert [one["destination"] for one in one_study.deliveries(tx, number)] == ["pacs"]
        for empty in (one_study.attempts(tx, number, 5), one_study.dispatches(tx, number)):
            assert list(empty) == []
        assert list(one_study.commitments(tx, number)) == list(one_study.verdicts(tx, number)) == []


def test_the_history_of_a_patient_is_in_order_and_whole(database: Database) -> None:
    first, read = two_studies(database)
    with database.read() as tx:
        history = measurements.history(tx, read, 10)
        assert [row["input_set_id"] for row in history] == [first, read]
        assert [row["version"] for row in history] == ["1.0", "1.0"]
        assert [row["input_set_id"] for row in measurements.history(tx, read, 1)] == [read]
        newest = measurements.newest(tx, read)
        assert newest is not None
        assert newest["segments"][0]["volume_ml"] == 12.0


def test_a_picture_is_another_one_when_images_or_results_are(database: Database) -> None:
    _, read = two_studies(database)
    with database.read() as tx:
        before = viewing.state(tx, read)
        assert viewing.state(tx, 4711) is None
    with database.write() as tx:
        tx.execute(sa.update(result).where(result.c.input_set_id == read).values(state="withdrawn"))
        assert viewing.state(tx, read) != before
        assert viewing.last_version(tx, read) is not None


def test_what_is_dead_is_found_and_a_hand_leaves_a_trace(database: Database) -> None:
    _, read = two_studies(database)
    with database.write() as tx:
        assert len(destinations.dead_jobs(tx, "pacs")) == 2
        assert destinations.dead_jobs(tx, "pac") == []
        (why,) = destinations.dead_reasons(tx, "pacs", 3)
        assert (why["reason"], why["count"]) == ("0xA900", 2)
        (queue,) = destinations.queues(tx)
        assert (queue["state"], queue["count"], queue["oldest"]) == ("dead", 2, 5.0)
        made = tx.execute(sa.select(result.c.id).where(result.c.input_set_id == read)).scalar_one()
        number = tx.execute(sa.select(input_set.c.study_id).where(input_set.c.id == read)).scalar_one()
        assert by_hand.send(tx, [made], "pacs", "anna") == []
        assert by_hand.send(tx, [made], "pacs", "anna") == ["waiting"]
        assert [(one["who"], one["destination"]) for one in by_hand.sent(tx, number)] == [("anna", "pacs")]
        for _ in range(2):
            by_hand.ask_network(tx, number, "lungs", ["pacs"], "anna")
        assert len(by_hand.asked_networks(tx, number)) == 1
