"""Send the messages that wait: one at a time, each until it is taken or a week has gone."""

from __future__ import annotations

import logging
import time
from typing import Any

from db import alarm_messages, incidents
from db.database import Database, clock
from db.job_states import Backoff

from ...errors import Failed
from . import mail, texts, webhook
from .incidents import shown
from .rules import AlarmPolicy, Recipient
from .texts import Text

logger = logging.getLogger(__name__)

WEEK_SECONDS = 7 * 86_400.0
BACKOFF = Backoff(30.0, 3600.0)
#: messages of one round; the next round comes a few seconds later
MOST = 50


def deliver(policy: AlarmPolicy, recipient: Recipient, text: Text, number: int, thread: str, serial: str) -> None:
    """Send one message in the recipient's ways.

    Raises:
        Failed: `mail-not-sent`, `webhook-not-taken`.
    """
    if recipient.mail:
        domain = f"{serial}.planimeter.invalid"
        mail.send(policy.mail, recipient, text, f"{number}@{domain}", f"{thread}@{domain}" if thread else "")
    if recipient.webhook:
        webhook.send(recipient, text, number, time.time())


def send_due(database: Database, policy: AlarmPolicy, random: Any, serial: str) -> int:
    """Send what is due; how many messages were taken. A recipient that takes none is left alone for a while.

    Raises:
        DatabaseUnreachable
    """
    taken = 0
    for _ in range(MOST):
        with database.read() as tx:
            if not alarm_messages.any_due(tx):
                break
        with database.write() as tx:
            message = alarm_messages.take(tx)
        if message is None:
            break
        taken += _send(database, policy, message, random, serial)
    return taken


def _send(database: Database, policy: AlarmPolicy, message: Any, random: Any, serial: str) -> bool:
    recipient = policy.recipient(message["recipient"])
    with database.read() as tx:
        row = incidents.one(tx, message["incident_id"]) if message["incident_id"] else None
        first = alarm_messages.of_incident(tx, row["id"])[0]["id"] if row else ""
        now = clock(tx)
    if recipient is None or (row is None and message["what"] != "test"):
        with database.write() as tx:
            alarm_messages.failed(tx, message["id"], "nobody of that name is a [[recipient]] any more", None)
        return False
    if row is None:
        text = texts.of_test(policy.node, policy.link)
    else:
        text = texts.of_incident(shown(row), message["what"], policy.node, policy.link)
    try:
        deliver(policy, recipient, text, message["id"], str(first), serial)
    except Failed as error:
        given_up = now - message["created"] > WEEK_SECONDS
        wait = None if given_up else BACKOFF.seconds(message["attempts"], random)
        with database.write() as tx:
            alarm_messages.failed(tx, message["id"], error.sentence, wait)
            if wait is not None:
                alarm_messages.leave_alone(tx, recipient.name, wait)
        logger.warning("message %s to %s: %s", message["id"], recipient.name, error.sentence)
        return False
    with database.write() as tx:
        alarm_messages.sent(tx, message["id"])
    logger.info("message %s went to %s", message["id"], recipient.name)
    return True


def try_all(policy: AlarmPolicy, serial: str) -> dict[str, str]:
    """Send a test to every recipient, here and now: name -> what went wrong, empty where it was taken."""
    text = texts.of_test(policy.node, policy.link)
    answers: dict[str, str] = {}
    for recipient in policy.recipients:
        try:
            deliver(policy, recipient, text, int(time.time()), "", serial)
        except Failed as error:
            answers[recipient.name] = error.sentence
        else:
            answers[recipient.name] = ""
    return answers
