"""The watch that a schedule process keeps: it looks every few seconds, also when the database does not answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random

from db import alarm_messages, incidents
from db.database import Database, DatabaseUnreachable, clock

from ...errors import Failed
from . import post, texts
from .incidents import Incident, judge
from .kinds import EXPLAINED, Kind
from .rules import AlarmPolicy

logger = logging.getLogger(__name__)

AWAY = "the database has not answered for a while"
#: a recipient that could not be told is told again after this long
AGAIN_SECONDS = 60.0


@dataclass
class Watch:
    """What goes on from look to look is in the database; but for the database itself, which is told of from here."""

    database: Database
    live: Callable[[], AlarmPolicy]
    """what the site wants to be told of now; asked for every look"""
    home: Path
    serial: str
    random: Random
    _away_since: float | None = None
    _told: set[str] = field(default_factory=set)
    _away_from: float = 0.0
    _again: float = 0.0

    @property
    def policy(self) -> AlarmPolicy:
        return self.live()

    def look(self, at: datetime) -> None:
        """Judge what there is, once."""
        try:
            judge(self.database, self.policy, self.home, at)
            if self._away_since is not None:
                self._back(at)
        except DatabaseUnreachable as error:
            logger.warning("%s", error)
            self._away()

    def send(self) -> None:
        """Send the messages that are due."""
        try:
            post.send_due(self.database, self.policy, self.random, self.serial)
        except DatabaseUnreachable as error:
            logger.warning("%s", error)

    def _away(self) -> None:
        now, steady = time.time(), time.monotonic()
        if self._away_since is None:
            self._away_since, self._away_from = now, steady
        if steady - self._away_from < self.policy.database_seconds or steady < self._again:
            return
        text = texts.of_incident(self._incident(self._away_since), "opened", self.policy.node, self.policy.link)
        for recipient in self.policy.recipients:
            if recipient.name in self._told or not recipient.takes(Kind.DATABASE_AWAY):
                continue
            try:  # no queue can be kept now: whoever cannot be told is told again
                post.deliver(self.policy, recipient, text, int(now), "", self.serial)
            except Failed as error:
                logger.warning("%s is not told that the database is away: %s", recipient.name, error.sentence)
            else:
                self._told.add(recipient.name)
        self._again = steady + AGAIN_SECONDS

    def _back(self, at: datetime) -> None:
        """It answers again: what was told is written down, with its end."""
        assert self._away_since is not None
        lasted = max(0.0, at.timestamp() - self._away_since)
        if lasted >= self.policy.database_seconds:
            with self.database.write() as tx:
                now = clock(tx)
                times = dict(since=now - lasted, opened=now - lasted, closed=now, told=now)
                kept = incidents.add(tx, Kind.DATABASE_AWAY, "", state="closed", sentence=AWAY, count=1, **times)
                for recipient in self.policy.recipients:
                    if recipient.name in self._told and recipient.ended:
                        alarm_messages.queue(tx, kept, recipient.name, "closed")
        self._away_since, self._told, self._again = None, set(), 0.0

    def _incident(self, since: float) -> Incident:
        known = EXPLAINED[Kind.DATABASE_AWAY]
        return Incident(
            id=0,
            kind=Kind.DATABASE_AWAY,
            subject="",
            state="open",
            title=known.title,
            sentence=AWAY,
            to_do=known.to_do,
            page=known.page,
            count=1,
            times=1,
            since=since,
            opened=since,
            closed=None,
            acknowledged=None,
            acknowledged_by=None,
        )
