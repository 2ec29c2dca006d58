"""More than peers and routes changes without a restart: alarms, retention, disk marks, quiet periods, the night."""

from __future__ import annotations

import shutil
from datetime import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.changes import changes
from config.reloadable import others_of, part_of, values_of
from config.settings import load
from db import config_versions, jobs, schema
from db.database import open_database, sqlite_url
from db.job_states import JobKind
from db.tables import config_version, job
from node import cli, reloading, roles, schedule
from node.app import Node
from node.duty import Duty
from node.inbound.room import Room
from node.operations.alarms.incidents import listing
from node.receiver import Receiver
from tests.doors import door
from tests.sites import PEERS, REST, Site, route
from tests.waiting import wait_until

ALARMS = '[alarms]\ndestination_minutes = 7\nquiet_hours = "20:00-07:00"\n'


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    made = Site(tmp_path, migrated)
    made.write(route())
    return made


def apply(node: Node, text: str, after: int | None = 1) -> int:
    return reloading.apply(node.configuration, text, "the text", who="bob", why="a test", after=after)


def test_of_a_table_that_is_taken_in_part_only_these_keys_are_kept() -> None:
    text = (
        "[receive]\nport = 104\n# the disk is small\nreserve_gb = 2  # of 20\nassociations = 9\nquiet_seconds = 5\n"
        "[work]\nworkers = 3\n# no night here\n[alarms]\n# five are enough\nover_minutes = 5\n[web]\nport = 1\n"
    )
    assert part_of(text) == (
        "[receive]\n# the disk is small\nreserve_gb = 2  # of 20\nquiet_seconds = 5\n"
        "# no night here\n[alarms]\n# five are enough\nover_minutes = 5\n"
    )
    assert values_of(text) == {"receive": {"reserve_gb": 2, "quiet_seconds": 5}, "alarms": {"over_minutes": 5}}
    assert others_of(text) == {"receive": {"port": 104, "associations": 9}, "work": {"workers": 3}, "web": {"port": 1}}


def test_what_is_applied_is_taken_with_the_next_job(site: Site) -> None:
    with site.started() as node:
        before = node.fresh()
        text = f"""{ALARMS}[retention]\noriginals_days = 30\nwindow = ""
[receive]\nquiet_seconds = 9\nreserve_gb = 3\nrefuse_gb = 4\n[work]\nnight = "22:00-05:00"\nageing_minutes = 5
[[recipient]]\nname = "office"\nwebhook = "https://chat.example/x"\n{PEERS}{route()}"""
        apply(node, text)
        now = node.fresh()
    assert (before.alarms.destination_seconds, now.alarms.destination_seconds) == (300, 420)
    assert now.alarms.quiet(time(21)) > 0
    assert [one.name for one in now.alarms.recipients] == ["office"]
    assert (before.retention.removes_anything, now.retention.removes_anything) == (False, True)
    assert (now.retention.refuse_bytes, now.retention.reserve_bytes) == (4_000_000_000, 3_000_000_000)
    assert (before.quiet_seconds, now.quiet_seconds) == (0, 9)
    assert now.fetch.limits.reserve_bytes == 3_000_000_000
    assert (now.work.ageing_seconds, now.work.night_wait(time(12))) == (300, 36_000)
    assert now.work.attempts == before.work.attempts


def test_what_a_version_does_not_name_is_as_the_file_has_it(site: Site) -> None:
    site.write(route(), rest=REST + ALARMS)
    with site.started() as node:
        assert node.fresh().alarms.destination_seconds == 420
        apply(node, PEERS + route(destinations='["viewer"]'))  # as an older Planimeter kept them, too
        assert node.fresh().alarms.destination_seconds == 420
        assert node.fresh().routes[0].destinations == ("viewer",)
        apply(node, PEERS + route() + "[alarms]\n", after=2)
        assert node.fresh().alarms.destination_seconds == 300  # it names the table: the rest of it is the default


def test_a_file_whose_other_half_changed_leaves_what_was_applied(site: Site) -> None:
    site.write(route(), rest=REST + ALARMS)
    with site.started() as node:
        apply(node, PEERS + route(destinations='["viewer"]') + ALARMS)
    site.write(route(), rest=REST + ALARMS.replace("7", "8", 1))
    with site.started() as node:
        assert (node.config_version, node.alarms.destination_seconds) == (3, 480)
        assert node.routes[0].destinations == ("viewer",)
    with site.started() as node:  # the file is as it was read: nothing is made of it again
        assert node.config_version == 3
        apply(node, PEERS + route() + ALARMS.replace("7", "9", 1), after=3)
    site.write(route(destinations="[]"), rest=REST + ALARMS.replace("7", "8", 1))
    with site.started() as node:
        assert (node.config_version, node.alarms.destination_seconds) == (5, 540)
        assert node.routes[0].destinations == ()


def test_an_upgrade_leaves_what_was_applied_before_and_takes_the_rest_from_the_file(site: Site) -> None:
    site.write(route(), rest=REST + ALARMS)
    with site.started() as node:
        old = PEERS + route()
        with node.database.write() as tx:  # what an older Planimeter kept of this file
            kept = dict(text=old, sha256=config_versions.sha256(old))
            tx.execute(sa.update(config_version).where(config_version.c.id == 1).values(kept))
        apply(node, PEERS + route(destinations='["viewer"]'))
    with site.started() as node:
        assert node.routes[0].destinations == ("viewer",)
        assert node.alarms.destination_seconds == 420


def test_the_disk_marks_of_a_receiver_are_those_that_are_live(site: Site) -> None:
    with site.started() as node:
        receiver = Receiver(door(), node.configuration.live().doorkeeper, node.inbox, node.database)
        receiver.marks = lambda: roles.marks(node)
        receiver.start()
        try:
            assert receiver.room() is Room.ENOUGH
            apply(node, f"[receive]\nreserve_gb = 1e9\nrefuse_gb = 2e9\n{PEERS}{route()}")
            wait_until("nothing is taken any more", lambda: receiver.room() is Room.NONE)
            apply(node, PEERS + route(), after=2)
            wait_until("there is room again", lambda: receiver.room() is Room.ENOUGH)
        finally:
            receiver.stop()


def test_a_scheduler_that_runs_goes_by_the_retention_and_the_alarms_that_are_live(site: Site) -> None:
    with site.started() as node:
        schedule.ask_for_purge(node)
        assert purges(node) == 0
        apply(node, f'[retention]\noriginals_days = 30\nwindow = ""\n{PEERS}{route()}')
        schedule.ask_for_purge(node)
        assert purges(node) == 1
        with node.database.write() as tx:
            jobs.enqueue(tx, JobKind.SEGMENT, "1", max_attempts=1, priority=10)
            tx.execute(sa.update(job).values(created=job.c.created - 120, run_after=job.c.run_after - 120))
        watch, duty = schedule.watch_of(node), Duty(node.database, schedule.DUTY, "of the tests")
        schedule.look(watch, duty)
        assert "queue-late" not in alarms(node)
        apply(node, f"[alarms]\ndeadline_minutes = {{ routine = 1 }}\nover_minutes = 0\n{PEERS}{route()}", after=2)
        schedule.look(watch, duty)
        assert "queue-late" in alarms(node)


def purges(node: Node) -> int:
    with node.database.read() as tx:
        return len(tx.execute(sa.select(job.c.id).where(job.c.kind == JobKind.PURGE)).all())


def alarms(node: Node) -> set[str]:
    return {str(one.kind) for one in listing(node.database) if one.state == "open"}


# ------------------------------------------------------------------- what is said


def test_each_key_that_changes_says_when_it_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[receive]\nport = 104\n[node]\nae_title = "A"\n')
    (tmp_path / "b.toml").write_text(
        "[receive]\nport = 105\nreserve_gb = 9\n[alarms]\nover_minutes = 9\n[node]\nae_title = 'B'\n"
        "[work]\nworkers = 9\n[log]\nlevel = 'debug'\n[web]\nport = 9\n"
    )
    started = load(tmp_path / "a.toml", {"node": {"ae_title": "C"}})
    said = {one.key: one.needs for one in changes(started, load(tmp_path / "b.toml"))}
    assert said == {
        "receive.port": "`receive`",
        "receive.reserve_gb": "",
        "alarms.over_minutes": "",
        "work.workers": "`run`",
        "log.level": "every process",
        "web.port": "`web`",
    }  # and node.ae_title comes from the command line


def test_doctor_and_check_know_what_is_live(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(site.file), "--home", str(site.folder / "home")]
    new = site.folder / "new.toml"
    other = PEERS.replace('"VIEWER"', '"OTHER"').replace("port = 9", "port = 8")
    assert cli.main(["doctor", "viewer", *arguments, "--timeout", "1"]) == 1
    assert "VIEWER" in capfd.readouterr().out  # no node was ever started: the file counts
    assert not (site.folder / "home").exists()
    with site.started():
        pass
    new.write_text(other + route())
    cli.main(["config", "apply", str(new), "--yes", *arguments])
    capfd.readouterr()
    assert cli.main(["doctor", "viewer", *arguments, "--timeout", "1"]) == 1
    answer = capfd.readouterr()
    assert "OTHER" in answer.out
    assert "version 2 of" in answer.err
    assert f"viewer is examined as it is live; {site.file} has it otherwise" in answer.err
    newest = '[[peer]]\nname = "newest"\nae_title = "N"\ndestination = { host = "127.0.0.1", port = 9 }\n'
    site.write(newest, route())
    assert cli.main(["doctor", "newest", *arguments, "--timeout", "1"]) != 0
    assert f"newest is in {site.file} alone, not in what is live" in capfd.readouterr().err
    cli.main(["check", *arguments])
    said = " ".join(capfd.readouterr().out.split())
    assert "OTHER at 127.0.0.1:8" in said
    assert "destination VIEWER" not in said


def test_doctor_goes_by_the_file_where_the_database_does_not_answer(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(site.file), "--home", str(site.folder / "home"), "--timeout", "1"]
    away = "postgresql+psycopg://nobody@127.0.0.1:9/nothing"
    assert cli.main(["doctor", "pacs", *arguments, "--database", away]) == 1
    answer = capfd.readouterr()
    assert "what is live is not known" in answer.err
    assert "PACS" in answer.out


def test_what_a_file_said_is_kept_beside_what_became_of_it(tmp_path: Path, migrated: Path) -> None:
    shutil.copyfile(migrated, tmp_path / "rows.db")
    database = open_database(sqlite_url(tmp_path / "rows.db"))
    assert schema.current(database) == schema.newest()
    with database.write() as tx:
        assert config_versions.add(tx, "[[route]]\n", who="a", why="f", what="file", read="[alarms]\n") == 1
        row = config_versions.of_file(tx, "f")
        assert row is not None
        assert (row["text"], row["read"]) == ("[[route]]\n", "[alarms]\n")
        assert "read" not in config_versions.listing(tx)[0]
    database.dispose()
