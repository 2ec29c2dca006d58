"""A PostgreSQL server for the tests: an ordinary user's, on a Unix socket, gone afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

NOBODY = 65534
#: a database is some 700 files, and most live for the length of a test
MEMORY, ROOM_BYTES = Path("/dev/shm"), 4 << 30


class Postgres:
    """Runs within a `with`.

    Args:
        durable: commits survive a loss of power, as a site has it.
        within: a folder that its own is made in; None: the temporary one.
        in_memory: its files are in memory where there is room, and not on a disk.
        address: where it listens by TCP too, for whoever is on the same network; empty: it does not.
    """

    def __init__(
        self,
        programs: Path,
        *,
        durable: bool = False,
        within: Path | None = None,
        in_memory: bool = False,
        address: str = "",
    ) -> None:
        self._programs, self._durable, self._address = programs, durable, address
        self._within = MEMORY if in_memory and _has_room(MEMORY) else within
        self._numbers = itertools.count()
        self._folder = Path()

    @staticmethod
    def find() -> Path | None:
        """The folder of its programs: Debian's newest, else whatever is on PATH."""
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
        for folder in reversed(folders):
            if (folder / "initdb").exists():
                return folder
        found = shutil.which("initdb")
        return Path(found).parent if found else None

    def __enter__(self) -> Postgres:
        self._folder = Path(tempfile.mkdtemp(prefix="planimeter-pg-", dir=self._within))
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
        self._run("initdb", "-D", "data", "-A", "trust", "-U", "planimeter", "--no-sync", "--no-locale", "-E", "UTF8")
        with (self._folder / "data" / "pg_hba.conf").open("a") as hba:
            hba.write("host all all samenet trust\n")
        self.start()
        return self

    def start(self) -> None:
        # killed and started again it has all that was committed; only a crash of the machine would need fsync
        options = f"-h '{self._address}' -k {self._folder} -c fsync={'on' if self._durable else 'off'}"
        options += " -c dynamic_shared_memory_type=mmap"  # below its folder, which goes when it is stopped at once
        self._run("pg_ctl", "-D", "data", "-w", "-o", options, "-l", "log", "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def is_running(self) -> bool:
        """Whether the server, and not only one of its backends, is there."""
        pid = (self._folder / "data" / "postmaster.pid").read_text().split()[:1]
        return bool(pid) and Path("/proc", pid[0]).exists()

    @property
    def pid(self) -> int:
        """Of the server."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self, like: str = "") -> str:
        """The URL of a fresh database: an empty one, or a copy of another one that nobody is connected to.

        Args:
            like: its URL.
        """
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        template = sql.SQL(" TEMPLATE {}").format(sql.Identifier(str(make_url(like).database))) if like else sql.SQL("")
        with psycopg.connect(host=str(self._folder), user="planimeter", dbname="postgres", autocommit=True) as server:
            if like and server.info.server_version >= 150_000:  # files are copied in half the time of pages
                template += sql.SQL(" STRATEGY FILE_COPY")
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + template)
        return f"postgresql+psycopg://planimeter@/{name}?host={self._folder}"

    def over_tcp(self, url: str) -> str:
        """The same database at its address."""
        return f"postgresql+psycopg://planimeter@{self._address}/{make_url(url).database}"

    def drop(self, url: str) -> None:
        """Nobody needs this database any more; who is still connected to it is cut off."""
        name = sql.Identifier(str(make_url(url).database))
        with psycopg.connect(host=str(self._folder), user="planimeter", dbname="postgres", autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def _run(self, program: str, *arguments: str) -> None:
        # the server refuses to run as root
        other: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            **other,
        )
        if done.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{program}: {done.stderr}{log.read_text() if log.exists() else ''}")


def _has_room(folder: Path) -> bool:
    return folder.is_dir() and shutil.disk_usage(folder).free >= ROOM_BYTES
