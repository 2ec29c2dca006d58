"""The numbers for Prometheus and the answers to who watches: from the database, the same from every process."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from config.settings import load
from db import away, jobs, processes, tallies
from db.database import Clock, Database, open_database, sqlite_url
from db.job_states import JobKind, JobState, Report
from db.tables import attempt, job, process
from models.gpus import Gpu
from node import schedule
from node.app import Node, open_node
from node.beating import Beating
from node.inbound.ledger import Ledger
from node.operations import health, metrics
from node.operations.who_may_read import Readers
from tests.pages import serving
from tests.waiting import wait_until

ROLES = ("receive", "work-1", "schedule")


@pytest.fixture
def node(tmp_path: Path, migrated: Path) -> Iterator[Node]:
    (tmp_path / "home").mkdir()
    shutil.copyfile(migrated, tmp_path / "home" / "planimeter.db")
    opened = open_node(load(None, {"node": {"home": tmp_path / "home"}, "receive": {"reserve_gb": 0}}))
    yield opened
    opened.close()


def numbers(database: Database, home: Path) -> dict[tuple[str, ...], float]:
    """Name and label values -> value, as Prometheus' own parser reads them."""
    warm = [{"machine": "gpu1", "network": "ct_lungs 1.2.0", "device": "cuda (GPU)", "memory_mb": 512, "peak_mb": 1024}]
    gpus = [Gpu(0, "GPU of the tests", 80 * 2**30, 20 * 2**30)]
    text = metrics.exposition(metrics.snapshot(database, home, "1.2.3", warm, gpus)).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def worked(database: Database, kind: JobKind, subject: str, seconds: dict[str, float], code: str = "") -> None:
    with database.write() as tx:
        jobs.enqueue(tx, kind, subject, max_attempts=1)
        claim = jobs.claim(tx, [kind], "w", 60)
        assert claim is not None
        state = JobState.REFUSED if code else JobState.DONE
        jobs.finish(tx, claim, state, Report(seconds=seconds, code=code or None, sentence="Doe^Jane"))


def count(database: Database) -> int:
    with database.write() as tx:
        return tallies.count_attempts(tx)


def test_stages_are_histograms_and_count_each_attempt_once(database: Database, tmp_path: Path) -> None:
    for number, seconds in enumerate((0.05, 0.1, 7.0, 4000.0)):
        worked(database, JobKind.SEGMENT, str(number), {"network": seconds})
    assert count(database) == 4
    assert count(database) == 0
    found = numbers(database, tmp_path)
    per_end = {
        float(key[2]): value
        for key, value in found.items()
        if key[0] == "planimeter_stage_seconds_bucket" and "network" in key
    }
    assert (per_end[0.1], per_end[5.0], per_end[10.0], per_end[3600.0], per_end[float("inf")]) == (2, 2, 3, 3, 4)
    assert sorted(per_end.values()) == [value for _, value in sorted(per_end.items())]
    assert found["planimeter_stage_seconds_count", "segment", "network"] == 4
    assert found["planimeter_stage_seconds_sum", "segment", "network"] == pytest.approx(4007.15)
    assert found["planimeter_job_attempts_total", "segment", "done"] == 4


def test_counters_never_go_down_when_rows_are_purged_or_processes_start_again(
    database: Database, tmp_path: Path
) -> None:
    worked(database, JobKind.DELIVER, "pacs/1", {"send": 1.0})
    worked(database, JobKind.CHOOSE, "1", {}, code="no-images")
    count(database)
    before = numbers(database, tmp_path)
    assert before["planimeter_deliveries_total", "pacs", "done"] == 1
    assert before["planimeter_job_refusals_total", "no-images", "choose"] == 1
    with database.write() as tx:
        tx.execute(sa.delete(attempt))
        tx.execute(sa.delete(job))
    again = open_database(database.engine.url.render_as_string(hide_password=False))
    worked(again, JobKind.DELIVER, "pacs/2", {"send": 1.0})
    count(again)
    after = numbers(again, tmp_path)
    again.dispose()
    assert after["planimeter_deliveries_total", "pacs", "done"] == 2
    for key, value in before.items():
        if key[0].endswith(("_total", "_bucket", "_count", "_sum")):
            assert after[key] >= value, key


def test_two_who_count_at_once_count_each_attempt_once(database: Database) -> None:
    for number in range(5):
        worked(database, JobKind.CHOOSE, str(number), {})
    other = open_database(database.engine.url.render_as_string(hide_password=False))
    with ThreadPoolExecutor() as both:
        counted = list(both.map(count, [database, other] * 3))
    other.dispose()
    assert sum(counted) == 5
    with database.read() as tx:
        assert tallies.read(tx)["attempts", "choose", "done"] == 5


def test_there_are_never_more_than_so_many_labels(database: Database) -> None:
    with database.write() as tx:
        for number in range(tallies.MOST + 5):
            tallies.add(tx, {("refusals", "choose", f"code-{number}"): 1})
    worked(database, JobKind.CHOOSE, "1", {}, code="one-more")
    count(database)
    with database.read() as tx:
        found = tallies.read(tx)
    assert found["refusals", "choose", tallies.OTHER] == 1
    assert ("refusals", "choose", "one-more") not in found


def test_queues_destinations_processes_and_memory_are_gauges(database: Database, tmp_path: Path) -> None:
    begun = time.monotonic()
    with database.write() as tx:
        for number in range(3):
            jobs.enqueue(tx, JobKind.SEGMENT, str(number), max_attempts=3, priority=10)
        tx.execute(sa.update(job).values(created=Clock() - 90, run_after=Clock() - 90))
        assert jobs.claim(tx, [JobKind.SEGMENT], "w", 60) is not None
        away.unreachable(tx, "pacs", "refused", 15)
        processes.begin(tx, "gpu1/work-1", "work")
        processes.begin(tx, "gpu1/receive", "receive")
        tx.execute(sa.update(process).where(process.c.role == "receive").values(beat=Clock() - 31))
    found = numbers(database, tmp_path)
    assert found["planimeter_jobs_waiting", "segment", "10"] == 2
    assert 89 < found["planimeter_jobs_oldest_seconds", "segment", "10"] < 91 + time.monotonic() - begun
    assert found["planimeter_jobs_running", "segment"] == 1
    assert found["planimeter_processes_alive", "work"] == 1
    assert found["planimeter_processes_alive", "receive"] == 0
    assert found["planimeter_host_memory_bytes", "cuda", "gpu1", "ct_lungs 1.2.0"] == 512 * 2**20
    gpu = ("0", "GPU of the tests")
    assert found["planimeter_gpu_memory_total_bytes", *gpu] == 80 * 2**30
    assert found["planimeter_gpu_memory_free_bytes", *gpu] == 20 * 2**30
    assert 0 < found["planimeter_disk_free_bytes",] <= found["planimeter_disk_total_bytes",]
    assert any(key[0] == "planimeter_info" and "1.2.3" in key for key in found)


def test_what_comes_in_is_counted_by_the_names_of_the_configuration_alone(database: Database, tmp_path: Path) -> None:
    ledger = Ledger(database, {"CT_1"})
    ledger.tally("CT_1", associations=1)
    ledger.tally("CT_1", instances=1, bytes=1000)
    ledger.tally("DOE^JANE", instances=1, bytes=10)
    ledger.count("10.0.0.9", "DOE^JANE", "unknown-caller", "nobody knows DOE^JANE")
    ledger.flush()
    Ledger(database, {"CT_1"}).tally("CT_1", instances=1, bytes=1)  # another process, which is killed before it writes
    again = Ledger(database, {"CT_1"})
    again.tally("CT_1", instances=2, bytes=2000)
    again.flush()
    found = numbers(database, tmp_path)
    assert found["planimeter_associations_total", "CT_1"] == 1
    assert found["planimeter_instances_total", "CT_1"] == 3
    assert found["planimeter_received_bytes_total", "CT_1"] == 3000
    assert found["planimeter_instances_total", "other"] == 1
    assert found["planimeter_rejected_total", "other", "unknown-caller"] == 1
    assert not any("DOE" in part for key in found for part in key)


def test_the_schedule_process_counts_an_old_database_page_by_page(node: Node) -> None:
    with node.database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1", max_attempts=1)
        rows = [
            dict(
                job_id=1,
                fencing_token=n,
                worker="w",
                started=0.0,
                ended=1.0,
                outcome="failed",
                seconds={"headers": 0.5},
            )
            for n in range(2 * tallies.PAGE + 10)
        ]
        tx.execute(sa.insert(attempt), rows)
    schedule.tally(node)
    found = numbers(node.database, node.archive.home)
    assert found["planimeter_job_attempts_total", "choose", "failed"] == 2 * tallies.PAGE + 10
    assert found["planimeter_stage_seconds_count", "choose", "whole"] == 2 * tallies.PAGE + 10


# ----------------------------------------------------------------- who may


def test_the_metrics_are_there_for_whoever_may_read_them(node: Node, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame\n")
    here, elsewhere = (ip_network("127.0.0.0/8"),), (ip_network("10.0.0.0/8"),)
    cases: list[tuple[Readers, dict[str, str], int]] = [
        (Readers(), {}, 404),
        (Readers(), {"authorization": "Bearer x"}, 404),
        (Readers(allow=elsewhere), {}, 404),
        (Readers(allow=here), {}, 200),
        (Readers(token_file=tmp_path / "token"), {}, 401),
        (Readers(token_file=tmp_path / "token"), {"authorization": "Bearer open"}, 401),
        (Readers(token_file=tmp_path / "token"), {"authorization": "Bearer sesame"}, 200),
        (Readers(token_file=tmp_path / "not-there"), {"authorization": "Bearer sesame"}, 401),
        (Readers(token_file=tmp_path / "token", allow=elsewhere), {"authorization": "bearer sesame"}, 200),
    ]
    with serving(node) as site, httpx.Client(base_url=site.url, timeout=60) as client:
        for readers, headers, status in cases:
            object.__setattr__(node, "readers", readers)
            answer = client.get("/metrics", headers=headers)
            assert answer.status_code == status, (readers, headers)
            assert "set-cookie" not in answer.headers
            if status == 200:
                assert answer.headers["content-type"].startswith("text/plain; version=")
                assert "planimeter_disk_free_bytes" in answer.text


def test_an_empty_token_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert not Readers(tmp_path / "token").may("127.0.0.1", "Bearer ")
    assert not Readers(None, (ip_network("10.0.0.0/8"),)).may("not an address", "")
    assert Readers(None, (ip_network("10.0.0.0/8"),)).may("::ffff:10.0.0.1", "")


# ------------------------------------------------------------------ health


def test_a_node_is_ready_when_all_of_it_is_heard_of_and_says_why_it_is_not(node: Node, tmp_path: Path) -> None:
    with serving(node) as site, httpx.Client(base_url=site.url, timeout=60) as client:
        assert client.get("/health/live").json() == {"status": "live"}
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert [one["code"] for one in answer.json()["reasons"]] == ["no-receive", "no-work", "no-schedule"]
        with contextlib.ExitStack() as alive:
            for role in ROLES:  # none beats again within this test
                alive.enter_context(Beating(node.database, role, beat_seconds=3600))
            # a probe knows a container by its address, and has no session
            answer = client.get("/health/ready", headers={"host": "10.1.2.3:8104"})
            assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})
            assert "set-cookie" not in answer.headers
            assert client.post("/health/ready").status_code in (403, 405)
            with node.database.write() as tx:
                tx.execute(sa.update(process).where(process.c.role == "receive").values(beat=Clock() - 40))
            assert [one["code"] for one in client.get("/health/ready").json()["reasons"]] == ["no-receive"]
        assert len(client.get("/health/ready").json()["reasons"]) == 3  # they ended as they should
        assert client.get("/health/live").status_code == 200


def test_a_database_that_is_away_a_full_disk_and_an_old_schema_are_reasons(tmp_path: Path, migrated: Path) -> None:
    file = tmp_path / "rows.db"
    shutil.copyfile(migrated, file)
    database = open_database(sqlite_url(file))

    def codes(reserve_bytes: int = 0, home: Path = tmp_path) -> set[str]:
        return {one.code for one in health.reasons(database, home, reserve_bytes)}

    missing = {"no-receive", "no-work", "no-schedule"}
    assert codes() == missing
    assert codes(10**18) == {*missing, "disk-reserve"}
    assert codes(home=tmp_path / "nowhere") == {*missing, "no-home"}
    with database.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert codes() == {"database-version"}
    database.dispose()
    file.unlink()
    file.mkdir()
    assert codes() == {"database-away"}


def test_a_process_beats_and_comes_back_when_somebody_took_its_row_away(database: Database) -> None:
    def known() -> list[str]:
        with database.read() as tx:
            return [row["name"].split("/")[1] for row in processes.listing(tx)]

    with Beating(database, "work-2", beat_seconds=0.05) as alive:
        assert known() == ["work-2"]
        with database.write() as tx:
            processes.end(tx, alive.name)
        wait_until("the process says again that it is alive", lambda: known() == ["work-2"])
    assert known() == []
    with pytest.raises(RuntimeError), Beating(database, "work-2"):
        raise RuntimeError("it does not end as it should")
    assert known() == ["work-2"]
