"""What can be wrong with a node, and what a person does about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Of an incident."""

    DATABASE_AWAY = "database-away"
    DISK_RESERVE = "disk-reserve"
    DISK_LOW = "disk-low"
    PROCESS_LOST = "process-lost"
    DESTINATION_DOWN = "destination-down"
    DEAD_LETTER = "dead-letter"
    QUEUE_LATE = "queue-late"
    NETWORK_FAILING = "network-failing"
    REFUSALS = "refusals"
    DRIFT = "drift"
    CERTIFICATE = "certificate"
    QUOTA = "quota"
    BACKUP_LATE = "backup-late"
    MESSAGES_STUCK = "messages-stuck"
    AUDIT_STUCK = "audit-stuck"
    AUDIT_LOST = "audit-lost"


@dataclass(frozen=True)
class Explained:
    """What is said of a kind of incident.

    Attributes:
        page: where the pages show more.
    """

    title: str
    to_do: str
    page: str = "/queue"


EXPLAINED: dict[Kind, Explained] = {
    Kind.DATABASE_AWAY: Explained(
        "The database does not answer",
        "Look whether PostgreSQL runs and can be reached, or whether the disk of the home folder is full or read-only. "
        "Until then C-STORE is answered 0xA700 and senders keep their images.",
        "/alarms",
    ),
    Kind.DISK_RESERVE: Explained(
        "The disk is under its reserve",
        "Make room on the disk of the home folder. Until then C-STORE is answered 0xA700 and senders keep images.",
        "/alarms",
    ),
    Kind.DISK_LOW: Explained(
        "The disk gets full", "Make room on the disk of the home folder before the reserve is reached.", "/alarms"
    ),
    Kind.PROCESS_LOST: Explained(
        "A process is not heard of, or ends again and again",
        "Look at the log of that machine and whether it runs. If the process was taken away for good, acknowledge the "
        "alarm: it is forgotten then.",
        "/alarms",
    ),
    Kind.DESTINATION_DOWN: Explained(
        "A destination does not answer",
        "`planimeter doctor NAME` says what is wrong with it. Nothing is lost; all of it goes when it answers.",
    ),
    Kind.DEAD_LETTER: Explained(
        "Jobs have used up their attempts",
        "`planimeter jobs ID` shows why; when that is mended, `planimeter retry ID`.",
    ),
    Kind.QUEUE_LATE: Explained(
        "Jobs wait for longer than their deadline",
        "Look whether work is paused, whether workers run, and whether one network holds all of them up.",
    ),
    Kind.NETWORK_FAILING: Explained(
        "A network fails again and again",
        "`planimeter check` and the log say why. Its studies wait or are dead letters: retry them when it is mended.",
        "/alarms",
    ),
    Kind.REFUSALS: Explained(
        "Far more is refused than before",
        "Look at the codes of what was refused: a changed protocol at the scanner, a changed route, a new network.",
    ),
    Kind.DRIFT: Explained(
        "What a network reads has changed",
        "Look at its weeks and close the review with what you found. Nothing was changed by itself.",
        "/networks",
    ),
    Kind.CERTIFICATE: Explained(
        "A certificate ends soon, or cannot be used",
        "Renew it: `planimeter check` says what is wrong. Changed files of [tls] are taken at once, those of [web] at "
        "the next start of the node.",
        "/alarms",
    ),
    Kind.QUOTA: Explained(
        "A sender asks for more than its quota",
        "`planimeter status` shows which quota. Look at what it sends; raise `associations`, `instances_per_hour` or "
        "`gb_per_hour` of its [[peer]] if that is right. It keeps its images and tries again.",
        "/alarms",
    ),
    Kind.BACKUP_LATE: Explained(
        "There is no recent backup",
        "Make one (`planimeter backup FILE`), and look why the usual one did not run.",
        "/alarms",
    ),
    Kind.MESSAGES_STUCK: Explained(
        "Messages about alarms do not arrive",
        "Look at [mail] and [[recipient]] of the configuration; `planimeter alarms test` sends one to everybody.",
        "/alarms",
    ),
    Kind.AUDIT_STUCK: Explained(
        "The audit collector takes nothing",
        "`planimeter audit test` says why. Nothing is lost: messages wait in the database, and all work goes on.",
        "/audit",
    ),
    Kind.AUDIT_LOST: Explained(
        "Audit messages could not be written down",
        "Look at the log for what kept the database from writing at that time; the work itself went on.",
        "/audit",
    ),
}
