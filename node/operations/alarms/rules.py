"""What a site decides about its alarms, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any

from ..promises import Promise, nothing
from .kinds import Kind

DAY_SECONDS = 86_400.0

#: reviews that are open: rows with `network`, asked for in a transaction
Reviews = Callable[[Any], Sequence[Any]]


def no_reviews(_tx: Any) -> Sequence[Any]:
    """Nobody watches the networks."""
    return ()


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """Where mail is handed over (RFC 5321); an empty host: nowhere.

    Attributes:
        security: "starttls" (RFC 3207), "tls" (RFC 8314) or "none".
    """

    host: str = ""
    port: int = 587
    security: str = "starttls"
    user: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: str = ""
    timeout_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Who is told, by mail or at a webhook.

    Attributes:
        secret_file: of the signature of what is posted.
        kinds: of incidents; empty: all.
        ended: also told when it is over.
        at_night: quiet hours do not hold for it.
    """

    name: str
    mail: tuple[str, ...] = ()
    webhook: str = ""
    secret_file: Path | None = None
    ca_file: Path | None = None
    kinds: frozenset[str] = frozenset()
    ended: bool = True
    at_night: bool = False

    def takes(self, kind: str) -> bool:
        """Whether it is told of this kind."""
        return not self.kinds or kind in self.kinds


def never_quiet(_now: time) -> float:
    """There are no quiet hours."""
    return 0.0


def nothing_wrong() -> str:
    """There are no files of [tls]."""
    return ""


@dataclass(frozen=True, kw_only=True)
class AlarmPolicy:
    """The keys of `[alarms]`, `[mail]` and `[[recipient]]`; a 0 means that this is not looked at.

    Attributes:
        node: what messages call this node: its AE title.
        deadlines: name of a priority -> seconds.
        disk_bytes: an alarm before the reserve is reached.
        revoked: lists of revoked certificates (CRL).
        unusable: what is wrong with the files of [tls]; empty: nothing.
        quiet: from a time of the day, the seconds until the quiet hours end; 0 outside.
        promise: by when a study that was not chosen from yet is to be delivered.
        link: where the pages are, without a slash at the end; empty: nowhere.
    """

    node: str = "PLANIMETER"
    destination_seconds: float = 300.0
    deadlines: Mapping[str, float] = field(
        default_factory=lambda: {"stat": 600.0, "routine": 3600.0, "night": 43_200.0}
    )
    process_seconds: float = 60.0
    refusal_studies: int = 20
    reserve_bytes: int = 0
    disk_bytes: int = 0
    certificates: tuple[Path, ...] = ()
    revoked: tuple[Path, ...] = ()
    unusable: Callable[[], str] = nothing_wrong
    certificate_seconds: float = 30 * DAY_SECONDS
    backup_seconds: float = 0.0
    audit_seconds: float = 900.0
    database_seconds: float = 30.0
    messages_seconds: float = 900.0
    clear_seconds: float = 120.0
    reminder_seconds: float = DAY_SECONDS
    quiet: Callable[[time], float] = never_quiet
    urgent: frozenset[str] = frozenset(
        {Kind.DATABASE_AWAY, Kind.DISK_RESERVE, Kind.PROCESS_LOST, Kind.DESTINATION_DOWN}
    )
    link: str = ""
    mail: MailServer = field(default_factory=MailServer)
    recipients: tuple[Recipient, ...] = ()
    reviews: Reviews = no_reviews
    promise: Promise = nothing

    def delay_seconds(self, recipient: Recipient, kind: str, now: time) -> float:
        """How long a message to a recipient is held back at this time of the day."""
        return 0.0 if recipient.at_night or kind in self.urgent else self.quiet(now)

    def recipient(self, name: str) -> Recipient | None:
        """Who is called so; None: nobody, any more."""
        return next((one for one in self.recipients if one.name == name), None)
