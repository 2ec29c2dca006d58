"""The composition root: settings in, a node out. Only this module, `configured` and the command line read settings."""

from __future__ import annotations

import logging
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import time
from functools import partial
from pathlib import Path
from random import Random

import pydicom

from config import hours
from config.settings import Settings
from db import audit_trail, identity, schema
from db.database import Database, open_database, sqlite_url
from db.job_states import Backoff
from db.urls import with_password
from models.card import SHIPPED
from models.confine.rights import Demand

from . import __version__, machine, place
from .audit.codes import What
from .audit.messages import Us
from .audit.syslog import Collector
from .audit.trail import Trail
from .configured import alarms_of, audited_as, collector_of, readers_of, retention_of, watching_of
from .inbound.inbox import Inbox
from .learning.buckets import Key, Shares
from .networks import Networks
from .operations import promises
from .operations.alarms.rules import AlarmPolicy
from .operations.at_rest import require_finished
from .operations.expecting import Expectation
from .operations.retention import Policy
from .operations.routes import Route
from .operations.watch.looking import Policy as WatchPolicy
from .operations.who_may_read import Readers
from .outbound.target import Target
from .pull.pacs import FetchPolicy
from .reloading import Configuration, Live, note_file
from .study.archive import Archive
from .study.decode import Decoders

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkPolicy:
    """How jobs are worked on."""

    attempts: int
    lease_seconds: float
    heartbeat_seconds: float
    job_seconds: float
    ageing_seconds: float
    backoff: Backoff
    night_wait: Callable[[time], float]
    """from a time of the day until what runs at night may run"""


@dataclass(frozen=True)
class SendPolicy:
    """How results are sent."""

    attempts: int
    unreachable_retry_seconds: float
    timeout_seconds: float
    backoff: Backoff


@dataclass(frozen=True)
class LearningPolicy:
    """How corrections become networks; the keys of `[learning]`.

    Attributes:
        key: that names patients and puts them into their buckets.
        wait_seconds: from a time of the day until a training may begin by itself.
    """

    key: Key
    train: bool
    shares: Shares
    new_patients: int
    wait_seconds: Callable[[time], float]
    max_epochs: int
    max_minutes: float
    early_stop: int
    processes: int
    quiet_seconds: float
    seed: int
    fraction: float
    fewest_patients: int
    automatic_patients: int
    shadow_studies: int
    auto_promote: bool
    two_person: bool


@dataclass(frozen=True)
class Node:
    """Everything that the processes of a node share, made once per process by `open_node`."""

    ae_title: str
    uid_root: str
    serial: str
    version: str
    archive: Archive
    database: Database
    inbox: Inbox
    networks: Networks
    routes: tuple[Route, ...]
    targets: dict[str, Target]
    work: WorkPolicy
    send: SendPolicy
    fetch: FetchPolicy
    learning: LearningPolicy
    retention: Policy
    watch: WatchPolicy
    alarms: AlarmPolicy
    readers: Readers
    trail: Trail
    collector: Collector | None
    """who is told what happens to patients' data"""
    audited_as: Us
    quiet_seconds: float
    device: str
    """where networks run and are trained: "auto", "cpu", "cuda", ..."""
    confine: Demand
    """what is wanted of the kernel, so that networks and decoders can do no harm"""
    decoders: Decoders
    random: Random
    hosts: Path | None
    """where this machine's model hosts are asked for; None in a process that runs no network"""
    expected: dict[str, Expectation]
    """AE title of a peer that sends -> what belongs to its studies"""
    configuration: Configuration
    config_version: int | None
    """that what is reloadable is of; None: of the settings that the process was started with"""

    def fresh(self) -> Node:
        """This node with the configuration that is live now; asked before every job, and kept while it lasts."""
        live = self.configuration.live()
        if live.version == self.config_version:
            return self
        return replace(
            self,
            routes=live.routes,
            targets=live.targets,
            fetch=live.fetch,
            expected=live.expected,
            work=_work(live.settings),
            retention=retention_of(live.settings),
            alarms=_alarms(live),
            quiet_seconds=live.settings.receive.quiet_seconds,
            config_version=live.version,
        )

    @property
    def quiets(self) -> tuple[float, ...]:
        """The quiet periods after which routes take a series alone, in seconds."""
        return tuple(sorted({route.quiet_seconds for route in self.routes if route.per_series}))

    def close(self) -> None:
        self.decoders.close()
        self.database.dispose()


def open_node(settings: Settings, hosts: Path | None = None, *, started_by: str = "") -> Node:
    """Open the home folder and the database, and wire everything up.

    Args:
        started_by: who starts the node: what its file says anew of what is reloadable is live from now on.

    Raises:
        DatabaseError: the database cannot be used.
        SettingsError: the live version of the configuration cannot be used by this Planimeter.
        Refused: `restore-unfinished`, `sqlite-shared`.
        OSError: the home folder cannot be used.
    """
    archive, configuration = open_configuration(settings)
    database, networks = configuration.database, configuration.networks
    with database.write() as tx:
        serial = identity.serial(tx, secrets.token_hex(8))
    if started_by:
        note_file(database, settings, started_by)
        _keep_trail(database, on=bool(settings.audit.host))
    live = configuration.live()
    work, send = settings.work, settings.send
    return Node(
        ae_title=settings.node.ae_title,
        uid_root=settings.node.uid_root,
        serial=serial,
        version=__version__,
        archive=archive,
        database=database,
        inbox=Inbox(archive, database, work.attempts),
        networks=networks,
        routes=live.routes,
        targets=live.targets,
        work=_work(live.settings),
        send=SendPolicy(
            send.attempts,
            send.unreachable_retry_seconds,
            send.timeout_seconds,
            Backoff(send.first_retry_seconds, send.longest_retry_seconds),
        ),
        fetch=live.fetch,
        learning=_learning(settings),
        retention=retention_of(live.settings),
        watch=watching_of(settings),
        alarms=_alarms(live),
        readers=readers_of(settings),
        trail=Trail(database),
        collector=collector_of(settings),
        audited_as=audited_as(settings),
        quiet_seconds=live.settings.receive.quiet_seconds,
        device=work.device,
        confine=Demand(work.confine),
        decoders=Decoders(work.decode_processes, Demand(work.confine)),
        random=Random(),  # noqa: S311 - jitter, not secrets
        hosts=hosts,
        expected=live.expected,
        configuration=configuration,
        config_version=live.version,
    )


def open_configuration(settings: Settings) -> tuple[Archive, Configuration]:
    """Open the home folder and the database, and whatever is live; also where no node could work with that.

    Raises:
        DatabaseError, Refused, OSError: as `open_node`.
    """
    _quiet_libraries()
    require_finished(settings.home)
    place.require_safe(settings.home, sqlite=database_url(settings).startswith("sqlite"))
    archive = Archive(settings.home)
    archive.prepare()
    database = open_database(database_url(settings))
    schema.require(database)
    networks = Networks((settings.home / "models", SHIPPED), database)
    return archive, Configuration(settings, database, networks)


def _alarms(live: Live) -> AlarmPolicy:
    return replace(alarms_of(live.settings), promise=promises.of(live.routes))


def _work(settings: Settings) -> WorkPolicy:
    section = settings.work
    return WorkPolicy(
        attempts=section.attempts,
        lease_seconds=section.lease_seconds,
        heartbeat_seconds=section.heartbeat_seconds,
        job_seconds=section.job_minutes * 60,
        ageing_seconds=section.ageing_minutes * 60,
        backoff=Backoff(5, 900),
        night_wait=partial(hours.wait_seconds, section.night),
    )


def _keep_trail(database: Database, *, on: bool) -> None:
    """From now on what happens to patients' data is written down for the collector; or not any more."""
    with database.write() as tx:
        if audit_trail.keep(tx, machine.name(), told=on):
            audit_trail.put(tx, What.TRAIL_STARTED, {})


def _learning(settings: Settings) -> LearningPolicy:
    section = settings.learning
    same = {name: getattr(section, name) for name in type(section).model_fields if name not in ("window", "shares")}
    train, validation, test = section.shares
    shares = Shares(train=train, validation=validation, test=test)
    return LearningPolicy(key=Key.of(settings.home), shares=shares, wait_seconds=section.wait_seconds, **same)


def database_url(settings: Settings) -> str:
    """Where the rows are, with the password where a file holds it.

    Raises:
        DatabaseError: the file cannot be read.
    """
    section = settings.database
    if section.password_file is not None:
        return with_password(section.url, section.password_file)
    return section.url or sqlite_url(settings.home / "planimeter.db")


def _quiet_libraries() -> None:
    """Real headers break rules all the time; libraries would print them, patient's name and all."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", module=r"(pydicom|highdicom|pynetdicom)(\..*)?$")
    for name in ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "retrying"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
