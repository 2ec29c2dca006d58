"""Real databases, real sockets, real peers: found, started on free ports of this machine, and stopped again."""

from __future__ import annotations

import gc
import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from filelock import FileLock

from config.settings import Settings, load
from db import schema
from db.database import Database, open_database, sqlite_url
from models.loading import loading
from node import nursery
from node.app import Node, open_node
from tests.fake_pacs import FakePacs
from tests.nurseries import SHARED
from tests.orthanc import Orthanc
from tests.postgres import Postgres
from tests.running import RunningNode
from tests.threshold_host import ThresholdHosts

if TYPE_CHECKING:  # most tests need neither browser nor pages
    from playwright.sync_api import Browser

    from tests.certificates import Authority
    from tests.doors import Secured
    from tests.pages import Site
    from tests.tls_site import TlsSite

CI = os.environ.get("CI", "").lower() == "true"
DATA = Path(os.environ.get("PLANIMETER_DATA", Path(__file__).parents[2] / "shared" / "data"))
#: objects between two collections of garbage: data sets are made of so many that a tenth of all time went into looking
YOUNG = 50_000

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
for name in ("PLANIMETER_CONFIG", "PLANIMETER_FAILPOINT"):
    os.environ.pop(name, None)


def lacking(what: str, how: str) -> None:
    """Something that a test needs is not here: say how to get it, and fail where it must be there."""
    sentence = f"{what} is not here: {how}"
    if CI:
        pytest.fail(sentence)
    pytest.skip(sentence)


def find_program(name: str, how: str, *folders: str) -> str:
    """A program by its Debian path first: a virtual environment has namesakes of DCMTK's."""
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/bin", "/usr/sbin", "/usr/local/bin"]))
    if found is None:
        lacking(name, how)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def dcmtk() -> Callable[[str], str]:
    """name -> path of a DCMTK tool."""
    return lambda name: find_program(name, "apt-get install dcmtk")


@pytest.fixture(scope="session")
def dicom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real imaging data, unpacked once for all processes of a run; nobody writes into it."""
    if not (DATA / "unpack.sh").is_file():
        sentence = "the real imaging data is not there: set PLANIMETER_DATA to its folder"
        if os.environ.get("PLANIMETER_DATA_REQUIRED") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all processes of this run
    folder, unpacked = shared / "unpacked", shared / "unpacked.done"
    with FileLock(shared / "unpacked.lock"):
        if not unpacked.exists():
            folder.mkdir()
            subprocess.run(["sh", str(DATA / "unpack.sh"), str(folder)], check=True)
            unpacked.touch()
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "dicom_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[object]:
    """The libraries and the tests are a million objects, which every collection of garbage would go through again."""
    with loading():
        _compile(session.config)
        found = yield
        gc.collect()
    gc.set_threshold(YOUNG)
    return found


def _compile(config: pytest.Config) -> None:
    """In a fresh checkout every process of a run compiles other tests first, and finds those of the others compiled."""
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    names = sorted(file.stem for file in Path(__file__).parent.glob("test_*.py"))
    first = len(names) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    for name in (*names[first:], *names[:first]):
        importlib.import_module(f"tests.{name}")


@pytest.fixture(scope="module", autouse=True)
def _temporary_folder_of_a_module() -> Iterator[None]:
    """Whoever receives sets it for its whole process (`node.receiver`), and that home is gone afterwards."""
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture(autouse=True)
def _temporary_folder() -> Iterator[None]:
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def patient_nursery(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nursery that is there says how a child ended, however late its turn comes."""
    monkeypatch.setattr(nursery, "TOLD_SECONDS", 60.0)


def pytest_sessionfinish() -> None:
    SHARED.stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed and "real_data" in report.keywords:
        _on_real_data.append(report.nodeid)


_on_real_data: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"{len(_on_real_data)} tests ran on real imaging data")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own."""
    programs = Postgres.find()
    if programs is None:
        lacking("PostgreSQL", "apt-get install postgresql")
    assert programs is not None
    with Postgres(programs, in_memory=True) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of either kind; with the schema, where the test wants that."""
    with_schema = "database" in request.fixturenames
    if request.param == "sqlite":
        if with_schema:
            shutil.copyfile(request.getfixturevalue("migrated"), tmp_path / "rows.db")
        yield sqlite_url(tmp_path / "rows.db")
        return
    like = request.getfixturevalue("migrated_on_postgres") if with_schema else ""
    server = request.getfixturevalue("postgres")
    url = str(server.new_database(like))
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied: making it takes longer than most tests."""
    file = tmp_path_factory.mktemp("schema") / "planimeter.db"
    opened = open_database(sqlite_url(file))
    schema.require(opened)
    opened.dispose()
    return file


@pytest.fixture(scope="session")
def migrated_on_postgres(postgres: Postgres) -> str:
    """The URL of a database with the schema, to be copied likewise."""
    url = postgres.new_database()
    opened = open_database(url)
    schema.require(opened)
    opened.dispose()
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of either kind, with the schema."""
    opened = open_database(database_url)
    schema.require(opened)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for the certificates of the tests."""
    from tests.certificates import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session", params=["plain", "TLS"])
def over(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Secured | None:
    """How those call that a receiver is tried with (`tests.doors.trying`): a test of theirs runs in both ways."""
    from tests.doors import secured

    return secured(tmp_path_factory.mktemp("over")) if request.param == "TLS" else None


@pytest.fixture
def pacs() -> Iterator[FakePacs]:
    """A PACS with fault knobs."""
    with FakePacs() as scp:
        yield scp


@pytest.fixture
def orthanc() -> Iterator[Orthanc]:
    """A stock Orthanc."""
    with Orthanc(find_program("Orthanc", "apt-get install orthanc")) as server:
        yield server


@pytest.fixture
def threshold_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThresholdHosts]:
    """Model hosts that threshold: quick, and known by heart."""
    with ThresholdHosts() as hosts:
        yield hosts


@pytest.fixture
def settings(tmp_path: Path, pacs: FakePacs, migrated: Path) -> Settings:
    """A node that sends to the fake PACS, with short waits."""
    (tmp_path / "home").mkdir(mode=0o700)
    shutil.copyfile(migrated, tmp_path / "home" / "planimeter.db")
    return load(
        None,
        {
            "node": {"home": tmp_path / "home"},
            "receive": {"quiet_seconds": 0, "port": 0, "reserve_gb": 0},
            "send": {
                "first_retry_seconds": 0.01,
                "unreachable_retry_seconds": 0.2,
                "attempts": 3,
                "timeout_seconds": 60,
            },
            "route": [{"name": "everything", "networks": ["ct_lungs"], "destinations": ["pacs"]}],
            "peer": [
                {
                    "name": "pacs",
                    "ae_title": pacs.ae_title,
                    "destination": {"host": "127.0.0.1", "port": pacs.port},
                }
            ],
        },
    )


@pytest.fixture
def node(settings: Settings, threshold_hosts: ThresholdHosts) -> Iterator[Node]:
    """A node in this process, on SQLite, whose networks threshold."""
    opened = open_node(settings, threshold_hosts.address)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, one for all tests of a process; each test has pages of its own (tests/pages.py)."""
    from tests.pages import chromium

    with chromium(find_program("chromium", "apt-get install chromium")) as opened:
        yield opened


@pytest.fixture
def site(node: Node) -> Iterator[Site]:
    """The pages of the fixture `node`, on a free port."""
    from tests.pages import serving

    with serving(node) as served:
        yield served


@pytest.fixture
def tls_site(node: Node, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsSite]:
    """Receivers of the fixture `node` that speak TLS."""
    from tests.tls_site import TlsSite

    monkeypatch.setattr(tempfile, "tempdir", None)  # a receiver sets it for its whole process
    made = TlsSite(node, authority, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def start_node(tmp_path: Path, migrated: Path) -> Iterator[Callable[..., RunningNode]]:
    """`planimeter run` in processes of its own; stopped at the end of the test.

    Where the test says neither home nor configuration, a network is loaded when a study comes for it: most need one of
    the three that are shipped, or none. A home that it does not say has the schema already.
    """
    started: list[RunningNode] = []

    def start(*arguments: str, home: Path | None = None, pages: bool = False, **environ: str) -> RunningNode:
        if home is None and "--config" not in arguments:
            config = tmp_path / "running.toml"
            config.write_text("[hosts]\nat_start = false\n")
            arguments = ("--config", str(config), *arguments)
        if home is None:
            home = tmp_path / "running"
            home.mkdir(mode=0o700, exist_ok=True)
            if not (home / "planimeter.db").exists():
                shutil.copyfile(migrated, home / "planimeter.db")
        running = RunningNode(home, arguments, environ, pages=pages)
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        running.stop()
