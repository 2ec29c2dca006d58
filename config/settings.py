"""Read the settings: a TOML file, checked key by key, over the defaults that planimeter.toml documents."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from .hours import Hours
from .learning import LearningSection
from .peers import AETitle, Name, Peer, Section

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


class Priority(StrEnum):
    """How urgent a route's studies are; the database stores the number."""

    STAT = "stat"
    ROUTINE = "routine"
    NIGHT = "night"


class Condition(Section):
    """One condition of a route: exactly one kind."""

    modality: list[Annotated[str, StringConstraints(min_length=1, max_length=16)]] | None = None
    calling_ae_title: list[AETitle] | None = None

    @field_validator("modality", "calling_ae_title", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Condition:
        if len(self.model_fields_set) != 1 or not next(iter(self.model_dump(exclude_unset=True).values())):
            raise ValueError('a condition has exactly one kind, such as { modality = "CT" }')
        return self


class Route(Section):
    """Which studies go through which networks and where the results go."""

    name: Name
    when: tuple[Condition, ...] = ()
    networks: Annotated[tuple[Name, ...], Field(min_length=1)]
    destinations: tuple[Name, ...] = ()
    priority: Priority = Priority.ROUTINE
    mode: Literal["live", "silent"] = "live"


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
    peer: tuple[Peer, ...] = ()
    route: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _names_fit_together(self) -> Settings:
        for kind, names in (("peer", [p.name for p in self.peer]), ("route", [r.name for r in self.route])):
            if doubled := sorted({n for n in names if names.count(n) > 1}):
                raise ValueError(f"two [[{kind}]] are called {', '.join(doubled)}")
        if self.receive.listen and not self._callers and not ipaddress.ip_address(self.receive.listen).is_loopback:
            raise ValueError(
                f"receive.listen is {self.receive.listen}, but no [[peer]] has `may_send = true`: without one, anyone "
                "who reaches that address could send"
            )
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


def load(file: Path | None = None, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the settings.

    Args:
        file: a TOML file, or None: the one that PLANIMETER_CONFIG names, else the defaults alone.
        overrides: `{section: {key: value}}` from the command line; these win. Lists (`peer`, `route`) are appended.

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
        return Settings.model_validate(data)
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not valid TOML: {error}") from None


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = []
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"])
        said = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            said = f"there is no such key{_meant(item['loc'])}"
        lines.append(f"{file or 'settings'}{_line(file, item['loc'])}: {where + ': ' if where else ''}{said}")
    return "\n".join(lines)


def _meant(loc: tuple[int | str, ...]) -> str:
    """The known key that is nearest to a misspelt one."""
    section: Any = Settings
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        if field is None:
            return ""
        section = _model_of(field.annotation)
        if section is None:
            return ""
    near = difflib.get_close_matches(str(loc[-1]), list(section.model_fields), n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; known keys: {', '.join(section.model_fields)}"


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_of, getattr(annotation, "__args__", ()))), None)


def _line(file: Path | None, loc: tuple[int | str, ...]) -> str:
    """`:line` of the key in the file, else of the table it belongs to."""
    if file is None or not loc:
        return ""
    section, wanted = loc[0], next((part for part in reversed(loc[1:]) if isinstance(part, str)), None)
    entry = loc[1] if len(loc) > 1 and isinstance(loc[1], int) else None
    key = re.compile(rf'(^|[{{,])\s*"?{re.escape(str(wanted))}"?\s*=')
    seen, inside, header = -1, False, ""
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if text.lstrip().startswith("["):
            table = text.split("#")[0].strip().strip("[]").strip()
            seen += table == section
            inside = table.split(".")[0] == section and (entry is None or seen == entry)
            header = header or (f":{number}" if inside else "")
        elif inside and wanted and key.search(text):
            return f":{number}"
    return header
