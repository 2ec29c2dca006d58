"""Read the settings: a TOML file, checked key by key, over the defaults that planimeter.toml documents."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from . import mistakes
from .alarms import AlarmsSection, LogSection, MailSection, MetricsSection, Recipient
from .hours import Hours
from .learning import LearningSection
from .peers import AETitle, Peer, Section
from .routes import Route
from .web import WebSection

DEFAULT_FILE = Path(__file__).with_name("planimeter.toml")


class SettingsError(Exception):
    """The settings cannot be used; the message names the file and the key."""


class NodeSection(Section):
    """Who we are."""

    ae_title: AETitle = "PLANIMETER"
    home: Path = Path("~/.planimeter")
    uid_root: Annotated[str, StringConstraints(pattern=r"^([0-2](\.(0|[1-9][0-9]*))+)?$", max_length=24)] = ""


class DatabaseSection(Section):
    """Where the rows are; an empty URL is SQLite in the home folder."""

    url: str = ""


class ReceiveSection(Section):
    """The C-STORE SCP."""

    port: Annotated[int, Field(ge=0, le=65535)] = 11112
    listen: str = ""
    quiet_seconds: Annotated[float, Field(ge=0, le=86400)] = 60
    reserve_gb: Annotated[float, Field(ge=0)] = 5
    associations: Annotated[int, Field(ge=1, le=500)] = 50
    idle_seconds: Annotated[float, Field(ge=5)] = 60
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=131072)] = 131072

    @field_validator("listen")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value or "127.0.0.1")
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
        return value


class WorkSection(Section):
    """The workers and the model hosts."""

    workers: Annotated[int, Field(ge=1, le=64)] = 2
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto"
    job_minutes: Annotated[float, Field(gt=0)] = 30
    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    ageing_minutes: Annotated[float, Field(gt=0)] = 120
    lease_seconds: Annotated[float, Field(gt=0)] = 10
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 3
    decode_processes: Annotated[int, Field(ge=0, le=64)] = 0

    @model_validator(mode="after")
    def _lease_outlives_a_lost_beat(self) -> WorkSection:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds")
        return self


class HostsSection(Section):
    """The model hosts of this machine, all of them together."""

    memory_gb: Annotated[float, Field(ge=0)] = 0
    warm: Annotated[int, Field(ge=0, le=1000)] = 0
    at_start: bool = True


class FetchSection(Section):
    """How studies are fetched from a PACS."""

    window: Hours = "20:00-06:00"
    timeout_seconds: Annotated[float, Field(gt=0)] = 60
    silent_seconds: Annotated[float, Field(gt=0)] = 300
    study_minutes: Annotated[float, Field(gt=0)] = 60
    most_matches: Annotated[int, Field(ge=1, le=100_000)] = 1000
    most_images: Annotated[int, Field(ge=1)] = 20_000


class SendSection(Section):
    """How results travel."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 10
    first_retry_seconds: Annotated[float, Field(gt=0)] = 5
    longest_retry_seconds: Annotated[float, Field(gt=0)] = 900
    unreachable_retry_seconds: Annotated[float, Field(gt=0)] = 15
    timeout_seconds: Annotated[float, Field(gt=0)] = 60


class Settings(Section):
    """Everything a site decides. Immutable; made by `load`."""

    node: NodeSection = NodeSection()
    database: DatabaseSection = DatabaseSection()
    receive: ReceiveSection = ReceiveSection()
    work: WorkSection = WorkSection()
    hosts: HostsSection = HostsSection()
    send: SendSection = SendSection()
    fetch: FetchSection = FetchSection()
    learning: LearningSection = LearningSection()
    web: WebSection = WebSection()
    alarms: AlarmsSection = AlarmsSection()
    mail: MailSection = MailSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()
    peer: tuple[Peer, ...] = ()
    route: tuple[Route, ...] = ()
    recipient: tuple[Recipient, ...] = ()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Settings:
        for kind, named in (("peer", self.peer), ("route", self.route), ("recipient", self.recipient)):
            names = [one.name for one in named]
            if doubled := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"two [[{kind}]] are called {', '.join(doubled)}")
        if self.receive.listen and not self._callers and not ipaddress.ip_address(self.receive.listen).is_loopback:
            raise ValueError(
                f"receive.listen is {self.receive.listen}, but no [[peer]] has `may_send = true`: without one, anyone "
                "who reaches that address could send"
            )
        if mailed := [one.name for one in self.recipient if one.mail and not self.mail.host]:
            raise ValueError(f"[[recipient]] {mailed[0]} is told by mail, and [mail] names no host")
        known = {p.name for p in self.peer if p.destination}
        for route in self.route:
            for name in route.destinations:
                if name not in known:
                    raise ValueError(
                        f"[[route]] {route.name}: {name!r} is no [[peer]] that has `destination = {{ host, port }}`"
                    )
        return self

    @property
    def senders(self) -> tuple[Peer, ...]:
        """The peers that may store anything here."""
        return tuple(peer for peer in self.peer if peer.may_send or peer.may_send_labels)

    @property
    def _callers(self) -> tuple[Peer, ...]:
        """The peers that may call: to store, or to report on storage commitment."""
        reporting = tuple(peer for peer in self.peer if peer.destination and peer.destination.commitment)
        return self.senders + reporting

    @property
    def listen(self) -> str:
        """The address to listen on: loopback while no peer may call."""
        return self.receive.listen or ("0.0.0.0" if self._callers else "127.0.0.1")  # noqa: S104 - only known peers get in

    @property
    def home(self) -> Path:
        return self.node.home.expanduser().absolute()


def load(
    file: Path | None = None,
    overrides: dict[str, Any] | None = None,
    dicom: Mapping[str, Collection[str]] | None = None,
) -> Settings:
    """Read the settings.

    Args:
        file: a TOML file, or None: the one that PLANIMETER_CONFIG names, else the defaults alone.
        overrides: `{section: {key: value}}` from the command line; these win. Lists (`peer`, `route`) are appended.
        dicom: the keywords that conditions may name (`routes.KEYWORDS`, `SEQUENCES`); None: they are not looked up.

    Raises:
        SettingsError: naming the file, the line where known, and the key.
    """
    if file is None and (named := os.environ.get("PLANIMETER_CONFIG")):
        file = Path(named)
    data: dict[str, Any] = {}
    if file is not None:
        data = _read(file)
    for section, values in (overrides or {}).items():
        if isinstance(values, list):
            data[section] = [*data.get(section, []), *values]
        else:
            data[section] = {**data.get(section, {}), **values}
    try:
        return Settings.model_validate(data, context=dict(dicom or {}))
    except ValidationError as error:
        raise SettingsError(mistakes.explained(error, Settings, file, data)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None
