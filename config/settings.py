"""Read the settings: a TOML file, checked key by key, over the defaults that planimeter.toml documents."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, StringConstraints, ValidationError, model_validator

from . import mistakes
from .alarms import AlarmsSection, AuditSection, LogSection, MailSection, MetricsSection, Recipient
from .database import DatabaseSection
from .hours import Hours
from .learning import LearningSection
from .peers import Peer
from .receive import ReceiveSection
from .reloadable import part_of, values_of, with_part
from .retention import RetentionSection
from .routes import Route
from .sections import AETitle, Section
from .tls import TlsSection
from .watch import WatchSection
from .web import WebSection
from .work import HostsSection, WorkSection

DEFAULT_FILE = Path(__file__).with_name("planimeter.toml")


class SettingsError(Exception):
    """The settings cannot be used; the message names the file and the key."""


class NodeSection(Section):
    """Who we are."""

    ae_title: AETitle = "PLANIMETER"
    home: Path = Path("~/.planimeter")
    uid_root: Annotated[str, StringConstraints(pattern=r"^([0-2](\.(0|[1-9][0-9]*))+)?$", max_length=24)] = ""


class FetchSection(Section):
    """How studies are fetched from a PACS."""

    window: Hours = "20:00-06:00"
    timeout_seconds: Annotated[float, Field(gt=0)] = 60
    silent_seconds: Annotated[float, Field(gt=0)] = 300
    study_minutes: Annotated[float, Field(gt=0)] = 60
    most_matches: Annotated[int, Field(ge=1, le=100_000)] = 1000
    most_images: Annotated[int, Field(ge=1)] = 20_000
    reconcile: Annotated[str, StringConstraints(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")] = ""
    reconcile_days: Annotated[int, Field(ge=1, le=60)] = 1
    reconcile_fetch: bool = False
    prior_minutes: Annotated[float, Field(gt=0, le=120)] = 10


class SendSection(Section):
    """How results travel."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 10
    first_retry_seconds: Annotated[float, Field(gt=0)] = 5
    longest_retry_seconds: Annotated[float, Field(gt=0)] = 900
    unreachable_retry_seconds: Annotated[float, Field(gt=0)] = 15
    timeout_seconds: Annotated[float, Field(gt=0)] = 60


@dataclass(frozen=True)
class Said:
    """How settings were said, to say them again with a part of them changed; equal settings are equal however said."""

    data: dict[str, Any] = field(default_factory=dict, compare=False)
    text: str | None = field(default=None, compare=False)
    where: str = field(default="settings", compare=False)
    overrides: Mapping[str, Any] = field(default_factory=dict, compare=False)
    dicom: Mapping[str, Collection[str]] = field(default_factory=dict, compare=False)
    also_to: tuple[str, ...] = field(default=(), compare=False)


class Settings(Section):
    """Everything a site decides. Immutable; made by `load`."""

    node: NodeSection = NodeSection()
    database: DatabaseSection = DatabaseSection()
    receive: ReceiveSection = ReceiveSection()
    tls: TlsSection = TlsSection()
    work: WorkSection = WorkSection()
    hosts: HostsSection = HostsSection()
    send: SendSection = SendSection()
    fetch: FetchSection = FetchSection()
    learning: LearningSection = LearningSection()
    retention: RetentionSection = RetentionSection()
    watch: WatchSection = WatchSection()
    web: WebSection = WebSection()
    alarms: AlarmsSection = AlarmsSection()
    mail: MailSection = MailSection()
    metrics: MetricsSection = MetricsSection()
    audit: AuditSection = AuditSection()
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
        if unheard := [peer.name for peer in self.peer if peer.needs_tls and not self.tls.is_on]:
            raise ValueError(f"[[peer]] {unheard[0]} may call over TLS alone, and [tls] names no certificate and key")
        if mailed := [one.name for one in self.recipient if one.mail and not self.mail.host]:
            raise ValueError(f"[[recipient]] {mailed[0]} is told by mail, and [mail] names no host")
        known = {p.name for p in self.peer if p.destination}
        for route in self.route:
            for name in route.destinations:
                if name not in known:
                    said = f"{name!r} is no [[peer]] that has `destination = {{ host, port }}`"
                    raise ValueError(f"[[route]] {route.name}: {said}")
        return self

    _said: Said = PrivateAttr(default_factory=Said)

    @property
    def said(self) -> Said:
        """How they were said."""
        return self._said

    @property
    def reloadable(self) -> str:
        """What of their file is taken anew without a restart; empty where there is no file, or nothing of it."""
        return part_of(self.said.text or "")

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
    also_to: tuple[str, ...] = (),
) -> Settings:
    """Read the settings.

    Args:
        file: a TOML file, or None: the one that PLANIMETER_CONFIG names, else the defaults alone.
        overrides: `{section: {key: value}}` from the command line; these win. Lists (`peer`, `route`) are appended.
        dicom: the keywords that conditions may name (`routes.KEYWORDS`, `SEQUENCES`); None: they are not looked up.
        also_to: names of peers that every route sends to.

    Raises:
        SettingsError: naming the file, the line where known, and the key.
    """
    if file is None and (named := os.environ.get("PLANIMETER_CONFIG")):
        file = Path(named)
    text = _text(file) if file is not None else None
    where = str(file) if file is not None else "settings"
    data = _parsed(text, where) if text is not None else {}
    return _made(Said(data, text, where, overrides or {}, dicom or {}, also_to))


def reloaded(settings: Settings, text: str, where: str) -> Settings:
    """The same settings with the reloadable part of another text; what else it says is not looked at.

    Args:
        where: it comes from, for what is said of mistakes.

    Raises:
        SettingsError: as `load`.
    """
    before = settings.said
    _parsed(text, where)
    return _made(replace(before, data=with_part(before.data, values_of(text)), text=text, where=where))


def _made(said: Said) -> Settings:
    data = dict(said.data)
    for section, values in said.overrides.items():
        if isinstance(values, list):
            data[section] = [*data.get(section, []), *values]
        else:
            data[section] = {**data.get(section, {}), **values}
    try:
        made = Settings.model_validate(data, context=dict(said.dicom))
    except ValidationError as error:
        raise SettingsError(mistakes.explained(error, Settings, said.where, said.text, data)) from None
    routes = tuple(
        route.model_copy(update={"destinations": (*route.destinations, *said.also_to)}) for route in made.route
    )
    made = made.model_copy(update={"route": routes}) if said.also_to else made
    made._said = said
    return made


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: not valid TOML: {error}") from None
