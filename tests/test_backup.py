"""Backup while the node runs, restore into either database, and every bad archive refused before it does anything."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from config.settings import load
from db import events, schema
from db.database import Clock, Database, DatabaseError, open_database, sqlite_url
from db.tables import account, delivery, instance, metadata, session
from node.app import open_node
from node.errors import Refused, Unavailable
from node.operations import backup as writing
from node.operations import restore as reading
from node.operations.at_rest import UNFINISHED, undisturbed
from node.operations.backup_format import ABOUT, FORMAT, ROWS, SUMS
from tests.conftest import lacking
from tests.kept import House
from tests.postgres import Postgres
from tests.running import PLANIMETER, planimeter
from tests.small_disk import NoMount, mounted
from tests.synthetic import small_series


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return furnished(House(database, tmp_path / "home"))


def furnished(house: House) -> House:
    """Studies that are done and one that is not, a label, a version, a key."""
    house.done(days=3, pacs="delivered")
    house.done(days=2, pacs="waiting")
    uid = house.done(days=1, pacs="delivered")
    for name, data in (
        ("learning/key", b"k" * 32),
        ("networks/lung/1/model.pt", b"w" * 999),
        ("labels/ab/m.npy", b"m"),
    ):
        file = house.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (house.home / "networks" / ".being-built").mkdir()
    (house.home / "networks" / ".being-built" / "model.pt").write_bytes(b"half")
    house.label(uid, "ready", mask_path="labels/ab/m.npy")
    with house.database.write() as tx:
        events.append(tx, "t", "promote", "lung")
        made = sa.insert(account).values(name="anna", password="x", role="admin", created=Clock(), disabled=False)
        (mine,) = tx.execute(made).inserted_primary_key or (0,)
        values = dict(token_sha256="t", account_id=mine, address="a", created=Clock(), seen=Clock())
        tx.execute(sa.insert(session).values(**values))
    return house


def back_up(house: House, to: Path, **options: Any) -> writing.Made:
    values: dict[str, Any] = dict(originals=False, config=None, committing=(), node_version="0.1.0", who="t")
    return writing.backup(house.database, house.home, to, **values | options)


def all_rows(database: Database) -> dict[str, list[Any]]:
    with database.read() as tx:
        return {
            table.name: [tuple(row) for row in tx.execute(sa.select(table).order_by(*table.primary_key.columns))]
            for table in metadata.sorted_tables
            if table.name not in ("session", "event")
        }


def files_below(home: Path) -> dict[str, bytes]:
    found = (file for file in home.rglob("*") if file.is_file() and "/run/" not in str(file) and "/." not in str(file))
    return {
        str(file.relative_to(home)): file.read_bytes() for file in found if not file.name.startswith("planimeter.db")
    }


def test_all_of_it_comes_back_into_either_database(
    house: House, tmp_path: Path, postgres: Postgres, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "node.backup"
    made = back_up(house, file, originals=True)
    assert "its fingerprint is" in str(made)
    assert file.stat().st_mode & 0o077 == 0
    assert sorted(tmp_path.glob(".*")) == []
    assert list((house.home / "spool").iterdir()) == []
    before, on_disk = all_rows(house.database), files_below(house.home)
    for url in ("", postgres.new_database()):
        home = tmp_path / f"home-{len(url)}"
        reading.restore(file, home, url)
        restored = open_database(url or sqlite_url(home / "planimeter.db"))
        schema.require(restored)
        after = all_rows(restored)
        for name, rows in before.items():
            assert after[name] == rows, name
        assert files_below(home) == on_disk
        assert not (home / UNFINISHED).exists()
        assert (home.stat().st_mode & 0o777, (home / "learning/key").stat().st_mode & 0o777) == (0o700, 0o600)
        with restored.write() as tx:
            assert events.verify(tx) is None
            assert tx.execute(sa.select(sa.func.count()).select_from(session)).scalar_one() == 0
        House(restored, home).study()  # ids go on behind those that came
        restored.dispose()
    with house.database.read() as tx:
        assert [row["what"] for row in events.listing(tx)] == ["backup", "promote"]


def test_without_originals_a_restored_node_knows_what_it_lacks_and_takes_it_again(house: House, tmp_path: Path) -> None:
    images = small_series((6, 5, 3))
    uid = house.study(images, days=9)
    file = tmp_path / "node.backup"
    back_up(house, file)
    home = tmp_path / "again"
    reading.restore(file, home, "")
    restored = House(open_database(sqlite_url(home / "planimeter.db")), home)
    assert (restored.images_on_disk(uid), restored.row(uid)["purged"] is not None) == (0, True)
    rows = restored.rows(instance, instance.c.purged.is_(None))
    assert len(rows) == 6  # of the study that is not delivered, and of the one with a label
    assert all(restored.archive.at(row["path"]).exists() for row in rows)
    assert set(restored.take_in(images)) == {"same"}
    assert (restored.images_on_disk(uid), restored.row(uid)["purged"]) == (3, None)
    restored.database.dispose()


def test_after_a_restore_nothing_that_was_delivered_is_sent_again(house: House, tmp_path: Path) -> None:
    file = tmp_path / "node.backup"
    back_up(house, file)
    reading.restore(file, tmp_path / "again", "")
    restored = open_database(sqlite_url(tmp_path / "again" / "planimeter.db"))
    with restored.read() as tx:
        states = list(tx.execute(sa.select(delivery.c.state).order_by(delivery.c.id)).scalars())
    assert states == ["delivered", "delivered", "waiting", "waiting", "delivered", "delivered"]
    restored.dispose()


def test_a_file_that_is_not_there_is_said_and_does_not_stop_it(house: House, tmp_path: Path) -> None:
    (row, *_) = house.rows(instance)
    house.archive.at(row["path"]).unlink()
    made = back_up(house, tmp_path / "b", originals=True)
    assert made.about.missing == 1
    assert "1 files that rows name were not on the disk" in str(made)
    reading.restore(tmp_path / "b", tmp_path / "again", "")


def test_nothing_is_removed_while_it_reads_and_no_file_is_overwritten(house: House, tmp_path: Path) -> None:
    with undisturbed(house.home), pytest.raises(Unavailable, match="being removed"):
        back_up(house, tmp_path / "b")
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(Refused, match="backup-exists"):
        back_up(house, tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"mine"


# ------------------------------------------------------------------ bad archives


@pytest.fixture(scope="module")
def good(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    (folder / "rows.db").write_bytes(migrated.read_bytes())
    database = open_database(sqlite_url(folder / "rows.db"))
    back_up(furnished(House(database, folder / "home")), folder / "good.backup")
    database.dispose()
    return folder / "good.backup"


def members(file: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(file) as archive:
        return [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


def packed(to: Path, parts: list[tuple[str, bytes]], *, sums: bool = True, **kinds: bytes) -> Path:
    """An archive of parts; its sums are right, so that only what was planted is wrong."""
    parts = [(name, data) for name, data in parts if name != SUMS]
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        said = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in parts)
        for name, data in [*parts, (SUMS, said.encode())] if sums else parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name in kinds:
                info.type, info.linkname, info.size = kinds[name], "/etc/passwd", 0
            archive.addfile(info, io.BytesIO(data if name not in kinds else b""))
    return to


def about_with(parts: list[tuple[str, bytes]], **changes: object) -> list[tuple[str, bytes]]:
    said = json.loads(dict(parts)[ABOUT]) | changes
    return [(name, json.dumps(said).encode() if name == ABOUT else data) for name, data in parts]


def written(to: Path, data: bytes) -> Path:
    to.write_bytes(data)
    return to


def cut(to: Path, good: Path) -> Path:
    to.write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])
    return to


def changed(to: Path, good: Path) -> Path:
    data = bytearray(good.read_bytes())
    data[data.index(b"w" * 999) + 500] ^= 1
    to.write_bytes(data)
    return to


BAD: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "cut": (cut, "no whole backup|cut"),
    "cut behind a member": (lambda to, good: packed(to, members(good), sums=False), "cut: it has no SHA256SUMS"),
    "one byte": (changed, "model.pt is not as it was written"),
    "a header": (
        lambda to, good: (to.write_bytes(good.read_bytes().replace(b"files/learning/key", b"files/learning/kez")), to)[
            1
        ],
        "cut|missing|no whole",
    ),
    "empty": (lambda to, _: written(to, b""), "no whole backup"),
    "no archive": (lambda to, _: written(to, b"PK\3\4" * 999), "no whole backup"),
    "traversal": (lambda to, good: packed(to, [*members(good), ("files/store/../../x", b"x")]), "no backup has"),
    "absolute": (lambda to, good: packed(to, [*members(good), ("/etc/cron.d/x", b"x")]), "no backup has"),
    "another folder": (lambda to, good: packed(to, [*members(good), ("files/run/x", b"x")]), "no backup has"),
    "the database": (lambda to, good: packed(to, [*members(good), ("files/planimeter.db", b"x")]), "no backup has"),
    "a link": (
        lambda to, good: packed(to, [*members(good), ("files/store/x", b"")], **{"files/store/x": tarfile.SYMTYPE}),
        "no backup has",
    ),
    "a device": (
        lambda to, good: packed(to, [*members(good), ("files/store/x", b"")], **{"files/store/x": tarfile.CHRTYPE}),
        "no backup has",
    ),
    "twice": (lambda to, good: packed(to, [*members(good), members(good)[-2]]), "no backup has"),
    "not in the sums": (
        lambda to, good: packed(to, [*members(good), ("files/store/x", b"x")], sums=False),
        "follows|no whole|cut",
    ),
    "no rows": (lambda to, good: packed(to, [one for one in members(good) if one[0] != ROWS]), "it has no rows"),
    "newer": (lambda to, good: packed(to, about_with(members(good), format=FORMAT + 1)), "newer Planimeter"),
    "newer rows": (lambda to, good: packed(to, about_with(members(good), schema="9999")), "newer Planimeter"),
    "no version": (lambda to, good: packed(to, about_with(members(good), format=None)), "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused_in_words_and_nothing_is_touched(good: Path, tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    home = tmp_path / "home"
    with pytest.raises(Refused, match=said) as refused:
        reading.restore(make(tmp_path / "bad.backup", good), home, "")
    assert refused.value.code in ("backup-damaged", "backup-newer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.backup"]


def test_a_home_or_a_database_with_something_in_it_is_left_alone(
    good: Path, tmp_path: Path, postgres: Postgres
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").touch()
    with pytest.raises(Refused, match="home-not-empty"):
        reading.restore(good, home, "")
    (home / "mine").unlink()
    url = postgres.new_database()
    other = open_database(url)
    with other.write() as tx:
        tx.execute(sa.text("CREATE TABLE payroll (name TEXT)"))
    with pytest.raises(DatabaseError, match="payroll"):
        reading.restore(good, home, url)
    other.dispose()
    assert list(home.iterdir()) == []
    reading.restore(good, home, "")  # an empty folder is as good as none


def killed(when: Callable[[], bool], made: Path, *arguments: str | Path) -> int:
    """Run a command, and kill it as soon as something is so; once more where it had ended, and `made` all of it."""
    for _ in range(5):
        process = subprocess.Popen([*PLANIMETER, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None:
            if when():
                process.kill()
                break
        process.communicate()
        if process.returncode != 0:
            break
        if made.is_dir():
            shutil.rmtree(made)
        else:
            made.unlink()
    return process.returncode


def test_kill_9_in_the_middle_leaves_no_backup_and_no_home(good: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    big = tmp_path / "home" / "networks" / "big.pt"
    said = planimeter("restore", good, "--home", home).stdout
    assert "is as it was on" in said
    with big.open("wb") as stream:
        stream.truncate(2_000_000_000)  # sparse: long to read, quick to make
    to = tmp_path / "there.backup"

    def half_written() -> bool:
        return any(part.stat().st_size > 1_000_000 for part in tmp_path.glob(".there.backup.*.part"))

    assert killed(half_written, to, "backup", to, "--home", home) == -signal.SIGKILL
    assert not to.exists()
    os.truncate(big, 200_000_000)
    planimeter("backup", to, "--home", home)
    again = tmp_path / "again"
    beside = tmp_path / ".again.restoring" / "networks" / "big.pt"
    assert killed(beside.exists, again, "restore", to, "--home", again) == -signal.SIGKILL
    assert not again.exists()
    planimeter("restore", to, "--home", again)
    assert (again / "networks" / "big.pt").stat().st_size == 200_000_000
    assert not beside.exists()


def test_a_node_does_not_start_where_a_restore_was_killed_at_its_last_step(tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).touch()
    with pytest.raises(Refused, match="restore-unfinished"):
        open_node(load(None, {"node": {"home": tmp_path}}))


@pytest.mark.parametrize("rows", ["SQLite", "PostgreSQL"])
def test_a_volume_is_restored_into_where_it_is_mounted(good: Path, tmp_path: Path, rows: str, request: Any) -> None:
    """In a container the home folder is a file system of its own, and what is beside it cannot be written."""
    url = request.getfixturevalue("postgres").new_database() if rows == "PostgreSQL" else ""
    above = tmp_path / "var"
    volume = above / "planimeter"
    try:
        with mounted(volume, 64 << 20):
            (volume / "lost+found").mkdir()
            (volume / ".planimeter.restoring").mkdir()  # of one that was killed
            (volume / ".planimeter.restoring" / "half").touch()
            reading.restore(good, volume, url)
            assert list(above.iterdir()) == [volume], "nothing was made beside it"
            assert not (volume / UNFINISHED).exists()
            assert not (volume / ".planimeter.restoring").exists()
            assert (volume / "learning" / "key").read_bytes() == b"k" * 32
            database = open_database(url or sqlite_url(volume / "planimeter.db"))
            House(database, volume).study()
            database.dispose()
            with pytest.raises(Refused, match="home-not-empty"):
                reading.restore(good, volume, url)
    except NoMount as why:
        lacking("a file system of its own", str(why))


def test_the_commands_say_what_they_did(good: Path, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[node]\nae_title = "SITE"\n')
    home = tmp_path / "home"
    planimeter("restore", good, "--home", home)
    file = tmp_path / "b"
    piped = subprocess.run(
        [*PLANIMETER, "backup", "-", "--home", str(home), "--config", str(config)], capture_output=True, check=True
    )
    file.write_bytes(piped.stdout)
    assert b"its fingerprint is" in piped.stderr
    assert planimeter("restore", "--check", file).stdout.startswith("whole: made ")
    said = planimeter("restore", file, "--home", tmp_path / "again").stdout
    assert "restored-planimeter.toml" in said
    assert (tmp_path / "again" / "restored-planimeter.toml").read_text() == config.read_text()
    no = planimeter("restore", tmp_path / "nothing", "--home", tmp_path / "x", check=False)
    assert (no.returncode, "there is no such file" in no.stderr) == (1, True)
