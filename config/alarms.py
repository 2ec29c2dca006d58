"""The settings of the operations room: alarms and who is told, mail, metrics, the audit trail, and the log."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from .hours import Hours
from .peers import Name, Section

AlarmKind = Literal[
    "database-away",
    "disk-reserve",
    "disk-low",
    "process-lost",
    "destination-down",
    "dead-letter",
    "queue-late",
    "network-failing",
    "refusals",
    "drift",
    "certificate",
    "quota",
    "backup-late",
    "messages-stuck",
    "audit-stuck",
    "audit-lost",
]
Address = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;]+@[^@\s<>,;]+$", max_length=254)]
Minutes = Annotated[float, Field(ge=0)]


def _no_file(value: object) -> object:
    return None if value == "" else value


class Deadlines(Section):
    """For how long a job may wait, by the priority of its route; 0: for ever."""

    stat: Minutes = 10
    routine: Minutes = 60
    night: Minutes = 720


class AlarmsSection(Section):
    """What people are told of. 0: this is not looked at."""

    destination_minutes: Minutes = 5
    deadline_minutes: Deadlines = Deadlines()
    process_seconds: Annotated[float, Field(ge=0)] = 60
    refusal_studies: Annotated[int, Field(ge=0, le=1000)] = 20
    disk_gb: Annotated[float, Field(ge=0)] = 20
    certificate_days: Annotated[float, Field(ge=0)] = 30
    backup_days: Annotated[float, Field(ge=0)] = 0
    audit_minutes: Minutes = 15
    over_minutes: Minutes = 2
    reminder_hours: Annotated[float, Field(ge=0)] = 24
    quiet_hours: Hours = ""
    urgent: tuple[AlarmKind, ...] = ("database-away", "disk-reserve", "process-lost", "destination-down")
    link: str = ""

    @field_validator("process_seconds")
    @classmethod
    def _longer_than_a_beat(cls, value: float) -> float:
        if 0 < value < 30:
            raise ValueError("processes say every 10 s that they are alive: wait for at least 30 s, or 0 for no alarm")
        return value

    @field_validator("link")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("the address of the pages begins with https:// or http://")
        return value.rstrip("/")


class MailSection(Section):
    """The mail server."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: str = ""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30

    _files = field_validator("password_file", "ca_file", mode="before")(_no_file)

    @model_validator(mode="after")
    def _fits_together(self) -> MailSection:
        if self.host and "@" not in self.sender:
            raise ValueError('sender is the address that mails come from, such as "planimeter@hospital.example"')
        if self.user and self.security == "none":
            raise ValueError('the password would cross the network in the clear: security is "starttls" or "tls"')
        if bool(self.user) != (self.password_file is not None):
            raise ValueError("user and password_file belong together")
        return self


class Recipient(Section):
    """Who is told: by mail, or at a webhook."""

    name: Name
    mail: tuple[Address, ...] = ()
    webhook: str = ""
    secret_file: Path | None = None
    ca_file: Path | None = None
    kinds: tuple[AlarmKind, ...] = ()
    ended: bool = True
    at_night: bool = False

    _files = field_validator("secret_file", "ca_file", mode="before")(_no_file)

    @field_validator("webhook")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("a webhook begins with https:// or http://")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Recipient:
        if bool(self.mail) == bool(self.webhook):
            raise ValueError("give either mail or webhook; for both, write two [[recipient]]")
        if (self.secret_file or self.ca_file) and not self.webhook:
            raise ValueError("secret_file and ca_file belong to a webhook; those of the mail server are in [mail]")
        return self


class MetricsSection(Section):
    """Who may read /metrics."""

    token_file: Path | None = None
    allow: tuple[str, ...] = ()

    _files = field_validator("token_file", mode="before")(_no_file)

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ipaddress.ip_network(one)
            except ValueError:
                raise ValueError(f"{one!r} is not an IP address or network such as 10.20.30.0/24") from None
        return value


class AuditSection(Section):
    """The collector of audit messages; none without a host."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 6514
    transport: Literal["tls", "tcp", "udp"] = "tls"
    insecure: bool = False
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    facility: Annotated[int, Field(ge=0, le=23)] = 10
    source_id: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)] = ""
    site: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)] = ""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10

    _files = field_validator("ca_file", "certificate", "key", mode="before")(_no_file)

    @model_validator(mode="after")
    def _fits_together(self) -> AuditSection:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together")
        if self.transport != "tls":
            if self.certificate or self.ca_file:
                raise ValueError('ca_file, certificate and key are for transport = "tls"')
            if self.host and not (self.insecure or _is_this_machine(self.host)):
                raise ValueError(
                    f'{self.transport} sends what names patients in the clear: use "tls", or say insecure = true'
                )
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class LogSection(Section):
    """What processes write on standard error."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
