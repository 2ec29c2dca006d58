"""Alarms: what is wrong becomes one incident and one message, which arrives, and says nothing of a patient."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from config import hours
from config.settings import Settings
from db import alarm_messages, away, events, incidents, jobs, processes, reviews
from db.database import Clock, Database, open_database, sqlite_url
from db.job_states import Backoff, JobKind, JobState, Report
from db.tables import alarm_message, attempt, incident, input_set, job, outage, patient, process, study
from node.configured import alarms_of
from node.errors import Failed, Refused
from node.operations.alarms import certificates, mail, post, rates, webhook
from node.operations.alarms.findings import World, look
from node.operations.alarms.incidents import acknowledge, banner, judge, listing
from node.operations.alarms.kinds import EXPLAINED, Kind
from node.operations.alarms.rules import AlarmPolicy, MailServer, Recipient
from node.operations.alarms.texts import of_test
from node.operations.alarms.watch import Watch
from tests.fake_hook import FakeHook
from tests.fake_mail import FakeMail
from tests.ports import free_port
from tests.running import planimeter

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 23, tzinfo=UTC)
QUIET = "20:00-07:00"


@pytest.fixture
def hook() -> Iterator[FakeHook]:
    with FakeHook() as server:
        yield server


@pytest.fixture
def server() -> Iterator[FakeMail]:
    with FakeMail() as started:
        yield started


@pytest.fixture
def embedded(tmp_path: Path, migrated: Path) -> Iterator[Database]:
    """SQLite alone, where the database's kind does not matter."""
    shutil.copyfile(migrated, tmp_path / "embedded.db")
    opened = open_database(sqlite_url(tmp_path / "embedded.db"))
    yield opened
    opened.dispose()


def policy_of(hook: FakeHook | None = None, **changes: Any) -> AlarmPolicy:
    recipients = (Recipient(name="duty", webhook=hook.url),) if hook else ()
    return AlarmPolicy(**{"recipients": recipients, "clear_seconds": 0.0, "process_seconds": 60.0} | changes)


def wrong(database: Database, policy: AlarmPolicy, **world: Any) -> dict[tuple[str, str], Any]:
    with database.read() as tx:
        found = look(tx, policy, World(**{"free_bytes": 10**12, "at": NOON.timestamp()} | world))
    return {(one.kind, one.subject): one for one in found}


def lost(database: Database, name: str = "gpu1/work-1", seconds: float = 3600) -> None:
    """A process that was last heard of so long ago."""
    with database.write() as tx:
        processes.begin(tx, name, "work")
        tx.execute(sa.update(process).where(process.c.name == name).values(beat=Clock() - seconds))


def found_again(database: Database, name: str = "gpu1/work-1") -> None:
    with database.write() as tx:
        processes.end(tx, name)


def judged(database: Database, policy: AlarmPolicy, home: Path, at: datetime = NOON) -> list[str]:
    return [str(change.step) for change in judge(database, policy, home, at)]


def sent(database: Database, policy: AlarmPolicy) -> int:
    return post.send_due(database, policy, Random(1), "serial")


def due_now(database: Database) -> None:
    with database.write() as tx:
        tx.execute(sa.update(alarm_message).values(send_after=Clock()))


def dead_job(database: Database, subject: str, kind: JobKind = JobKind.DELIVER) -> None:
    with database.write() as tx:
        jobs.enqueue(tx, kind, subject, max_attempts=1)
        claim = jobs.claim(tx, [kind], "w", 60)
        assert claim is not None
        jobs.fail(tx, claim, Report(code="not-delivered", sentence="Doe^Jane was not taken"), 0)


# ---------------------------------------------------------------- incidents


def test_an_incident_opens_once_tells_once_and_is_over_once(database: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook)
    lost(database)
    assert judged(database, policy, tmp_path) == ["open"]
    for _ in range(3):
        assert judged(database, policy, tmp_path) == []
        sent(database, policy)
    assert [one["what"] for one in hook.taken] == ["opened"]
    (one,) = listing(database)
    assert (one.state, one.kind, one.subject) == ("open", "process-lost", "gpu1/work-1")
    with database.read() as tx:
        assert banner(tx) == ["Gpu1/work-1 has not been heard of for more than 60 s."]
    found_again(database)
    assert judged(database, policy, tmp_path) == ["clear"]
    assert judged(database, policy, tmp_path) == ["close"]
    assert judged(database, policy, tmp_path) == []
    sent(database, policy)
    assert [one["what"] for one in hook.taken] == ["opened", "closed"]
    assert hook.taken[1]["closed"]
    with database.read() as tx:
        assert banner(tx) == []


def test_what_comes_and_goes_stays_one_incident(embedded: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook, clear_seconds=60.0)
    for _ in range(3):
        lost(embedded)
        judged(embedded, policy, tmp_path)
        found_again(embedded)
        assert judged(embedded, policy, tmp_path) == ["clear"]
    sent(embedded, policy)
    (one,) = listing(embedded)
    assert (one.state, one.times) == ("open", 3)
    assert len(hook.taken) == 1


def test_what_does_not_last_is_told_to_nobody(database: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook)
    with database.write() as tx:
        away.unreachable(tx, "pacs", "refused", 15)
    assert judged(database, policy, tmp_path) == ["begin"]
    assert listing(database) == []
    with database.write() as tx:
        away.reachable(tx, "pacs")
    assert judged(database, policy, tmp_path) == ["forget"]
    with database.write() as tx:
        away.unreachable(tx, "pacs", "refused", 15)
        tx.execute(sa.update(outage).values(since=Clock() - 301))
    assert judged(database, policy, tmp_path) == ["open"]
    assert listing(database)[0].opened - listing(database)[0].since == pytest.approx(301, abs=5)


def test_two_schedule_processes_make_one_incident(database: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook)
    lost(database)
    other = open_database(database.engine.url.render_as_string(hide_password=False))
    judged(database, policy, tmp_path)
    judged(other, policy, tmp_path)
    assert sent(other, policy) + sent(database, policy) == 1
    assert len(listing(database)) == len(hook.taken) == 1
    other.dispose()


def test_acknowledging_ends_the_reminders_and_is_recorded(database: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook, reminder_seconds=3600.0)
    with database.write() as tx:
        away.unreachable(tx, "pacs", "refused", 15)
        tx.execute(sa.update(outage).values(since=Clock() - 301))
    judged(database, policy, tmp_path)

    def told_an_hour_ago() -> None:
        with database.write() as tx:
            tx.execute(sa.update(incident).values(told=Clock() - 3601))

    told_an_hour_ago()
    assert judged(database, policy, tmp_path) == ["remind"]
    assert judged(database, policy, tmp_path) == []
    (one,) = listing(database)
    assert "no more reminders" in acknowledge(database, one.id, "anna", "the vendor is on it")
    assert "acknowledged by anna before" in acknowledge(database, one.id, "ben")
    told_an_hour_ago()
    assert "remind" not in judged(database, policy, tmp_path)
    assert listing(database)[0].state == "acknowledged"
    with database.read() as tx:
        assert banner(tx) == []
        assert [(row["who"], row["what"], row["subject"]) for row in events.listing(tx)] == [
            ("anna", "alarm-acknowledged", "pacs")
        ]
        assert events.verify(tx) is None


def test_only_what_stands_can_be_acknowledged(embedded: Database, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no-such-alarm"):
        acknowledge(embedded, 7, "anna")
    policy = policy_of()
    lost(embedded)
    judged(embedded, policy, tmp_path)
    found_again(embedded)
    judged(embedded, policy, tmp_path)
    judged(embedded, policy, tmp_path)
    with pytest.raises(Refused, match="alarm-over"):
        acknowledge(embedded, listing(embedded)[0].id, "anna")


def test_a_process_that_was_taken_away_is_forgotten_when_somebody_says_so(embedded: Database, tmp_path: Path) -> None:
    lost(embedded)
    judged(embedded, policy_of(), tmp_path)
    acknowledge(embedded, listing(embedded)[0].id, "anna")
    assert wrong(embedded, policy_of()) == {}


def test_new_dead_letters_are_news_to_whoever_knows_of_the_old(
    embedded: Database, tmp_path: Path, hook: FakeHook
) -> None:
    policy = policy_of(hook)
    dead_job(embedded, "pacs/1")
    judged(embedded, policy, tmp_path)
    dead_job(embedded, "pacs/2")
    assert judged(embedded, policy, tmp_path) == ["note"]
    sent(embedded, policy)
    acknowledge(embedded, listing(embedded)[0].id, "anna")
    assert judged(embedded, policy, tmp_path) == []
    dead_job(embedded, "pacs/3")
    assert judged(embedded, policy, tmp_path) == ["grow"]
    sent(embedded, policy)
    assert [(one["what"], one["count"]) for one in hook.taken] == [("opened", 2), ("grown", 3)]
    assert len(listing(embedded)) == 1


# ----------------------------------------------------------- what is wrong


def test_destinations_dead_letters_and_lost_processes_are_found(database: Database) -> None:
    assert wrong(database, policy_of()) == {}
    with database.write() as tx:
        away.unreachable(tx, "pacs", "Doe^Jane", 15)
    dead_job(database, "archive/7")
    dead_job(database, "3", JobKind.CHOOSE)
    lost(database)
    found = wrong(database, policy_of())
    assert set(found) == {
        ("destination-down", "pacs"),
        ("dead-letter", "deliver archive"),
        ("dead-letter", "choose"),
        ("process-lost", "gpu1/work-1"),
    }
    nothing = wrong(database, policy_of(destination_seconds=0, process_seconds=0))
    assert set(nothing) == {("dead-letter", "deliver archive"), ("dead-letter", "choose")}


def test_a_process_that_ends_again_and_again_is_found_and_one_that_lives_is_forgiven(embedded: Database) -> None:
    for _ in range(4):
        with embedded.write() as tx:
            processes.begin(tx, "gpu1/work-1", "work")
    assert ("process-lost", "gpu1/work-1") in wrong(embedded, policy_of())
    with embedded.write() as tx:
        tx.execute(sa.update(process).values(started=Clock() - 601))
        processes.beat(tx, "gpu1/work-1", "work")
    assert wrong(embedded, policy_of()) == {}


def test_jobs_that_wait_for_too_long_are_found_by_priority(database: Database) -> None:
    policy = policy_of(deadlines={"stat": 60, "routine": 600, "night": 0})
    with database.write() as tx:
        for number, priority in enumerate((0, 0, 10, 20)):
            jobs.enqueue(tx, JobKind.SEGMENT, str(number), max_attempts=3, priority=priority)
    assert wrong(database, policy) == {}

    def older(seconds: float) -> None:
        with database.write() as tx:
            tx.execute(sa.update(job).values(created=job.c.created - seconds, run_after=job.c.run_after - seconds))

    older(61)
    assert {key: one.count for key, one in wrong(database, policy).items()} == {("queue-late", "stat"): 2}
    older(540)
    assert {key: one.count for key, one in wrong(database, policy).items()} == {
        ("queue-late", "stat"): 2,
        ("queue-late", "routine"): 1,
    }
    older(1e6)
    assert ("queue-late", "night") not in wrong(database, policy)  # 0: for ever


def test_results_that_miss_the_deadline_of_their_route_are_found(database: Database) -> None:
    with database.write() as tx:
        made = sa.insert(input_set).values(
            study_id=a_study(tx), network="ct_lungs", slot="", members_hash="x", because="", created=Clock()
        )
        input_set_id = tx.execute(made.returning(input_set.c.id)).scalar_one()
        jobs.enqueue(tx, JobKind.SEGMENT, "1", max_attempts=9, input_set_id=input_set_id)
        tx.execute(sa.update(input_set).values(deadline=Clock() + 60))
    assert wrong(database, policy_of()) == {}
    with database.write() as tx:
        tx.execute(sa.update(input_set).values(deadline=Clock() - 1))
    assert {key: one.count for key, one in wrong(database, policy_of()).items()} == {("queue-late", "deadlines"): 1}


def test_the_reviews_of_drift_are_what_the_node_asks_for() -> None:
    assert alarms_of(Settings()).reviews is reviews.open_reviews


def test_a_job_that_is_asked_for_again_is_not_late_at_once(database: Database) -> None:
    with database.write() as tx:
        job_id = jobs.enqueue(tx, JobKind.SEGMENT, "1", max_attempts=1, priority=0)
        claim = jobs.claim(tx, [JobKind.SEGMENT], "w", 60)
        assert claim is not None
        jobs.finish(tx, claim, JobState.DONE, Report())
        tx.execute(sa.update(job).values(created=Clock() - 1e6))
    with database.write() as tx:
        assert jobs.enqueue(tx, JobKind.SEGMENT, "1", max_attempts=1, priority=0) == job_id
    assert wrong(database, policy_of()) == {}


def test_results_for_a_destination_that_is_away_are_not_late_as_well(database: Database) -> None:
    with database.write() as tx:
        for name in ("pacs", "archive"):
            jobs.enqueue(tx, JobKind.DELIVER, f"{name}/1", max_attempts=3, priority=-10)
        tx.execute(sa.update(job).values(created=Clock() - 4000, run_after=Clock() - 4000))
        away.unreachable(tx, "pacs", "refused", 15)
    assert wrong(database, policy_of())["queue-late", "sending"].count == 1


def test_a_network_that_fails_again_and_again_is_found_until_it_succeeds(embedded: Database) -> None:
    with embedded.write() as tx:
        study_id = a_study(tx)
        made = sa.insert(input_set).values(
            study_id=study_id, network="ct_lungs", slot="", members_hash="x", because="", created=Clock()
        )
        input_set_id = tx.execute(made.returning(input_set.c.id)).scalar_one()
        jobs.enqueue(tx, JobKind.SEGMENT, "1", max_attempts=9, input_set_id=input_set_id)

    def run(code: str | None) -> None:
        with embedded.write() as tx:
            claim = jobs.claim(tx, [JobKind.SEGMENT], "w", 60)
            assert claim is not None
            if code:
                jobs.fail(tx, claim, Report(code=code, sentence=""), 0)
            else:
                jobs.finish(tx, claim, JobState.DONE, Report())

    for _ in range(2):
        run("host-died")
    assert wrong(embedded, policy_of()) == {}
    run("host-died")
    (found,) = wrong(embedded, policy_of()).values()
    assert (found.kind, found.subject) == (Kind.NETWORK_FAILING, "ct_lungs")
    assert found.sentence == "ct_lungs failed 3 times in a row: host-died"
    run(None)
    assert wrong(embedded, policy_of()) == {}


def test_a_sudden_rate_of_refusals_is_found_and_a_usual_one_is_not(embedded: Database) -> None:
    def ended(source: str, states: str) -> None:
        with embedded.write() as tx:
            for number, letter in enumerate(states):
                state = {"r": "refused", "d": "done"}[letter]
                values = dict(kind="choose", subject=f"{source}{number}", state=state, priority=1, source=source)
                tx.execute(sa.insert(job).values(**values, run_after=0, max_attempts=1, created=0))

    ended("USUAL", "drd" * 40)  # a third is always refused
    ended("NEW_PROTOCOL", "d" * 60 + "rrrrrrrrrrrd" * 2)
    ended("A_FEW", "d" * 60 + "drdd" * 3)
    ended("FIRST_DAY", "r" * 20)
    ended("TOO_NEW", "r" * 10)
    found = wrong(embedded, policy_of())
    assert set(found) == {("refusals", "studies of NEW_PROTOCOL"), ("refusals", "studies of FIRST_DAY")}
    assert "18 of the last 20 studies of NEW_PROTOCOL were refused; before that 4 of 64" in {
        one.sentence for one in found.values()
    }
    assert wrong(embedded, policy_of(refusal_studies=0)) == {}


def test_a_rate_that_has_opened_an_incident_stays_for_longer_than_it_takes_to_open_one() -> None:
    between = rates.rate([True] * 5 + [False] * 15 + [True] * 6 + [False] * 94, 20)
    assert between is not None
    assert rates.OPENS < between.chance < rates.STAYS
    assert not between.is_alarming(already=False)
    assert between.is_alarming(already=True)


def test_disk_backup_reviews_and_certificates_are_found(embedded: Database, tmp_path: Path) -> None:
    policy = policy_of(
        reserve_bytes=5 * 10**9,
        disk_bytes=20 * 10**9,
        backup_seconds=86_400.0,
        certificates=(tmp_path / "not-there.pem",),
        reviews=lambda _tx: [{"network": "ct_lungs"}],
    )
    found = wrong(embedded, policy, free_bytes=10**10)
    assert set(found) == {
        ("disk-low", ""),
        ("backup-late", ""),
        ("drift", "ct_lungs"),
        ("certificate", "not-there.pem"),
    }
    assert found["backup-late", ""].sentence == "no backup was ever made"
    with embedded.write() as tx:
        events.append(tx, "anna", "backup", "home")
    assert ("backup-late", "") not in wrong(embedded, policy)
    assert {kind for kind, _ in wrong(embedded, policy, free_bytes=10**9)} >= {"disk-low", "disk-reserve"}
    enough = {"free_bytes": 21 * 10**9}
    assert ("disk-low", "") not in wrong(embedded, policy, **enough)
    assert ("disk-low", "") in wrong(embedded, policy, **enough, standing={("disk-low", "")})


def a_certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """Of 127.0.0.1, by OpenSSL itself."""
    key, certificate = folder / "key.pem", folder / f"{days}.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(certificate), "-days", str(days), "-subj", "/CN=127.0.0.1"]
    subprocess.run([*words, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("days", [10, 20_000])  # the latter ends after 2050: another form of time in the certificate
def test_the_end_of_a_certificate_is_read(embedded: Database, tmp_path: Path, days: int) -> None:
    certificate, _ = a_certificate(tmp_path, days)
    ends = datetime.now(UTC) + timedelta(days=days)
    assert certificates.ends(certificate) == pytest.approx(ends.timestamp(), abs=120)
    at = datetime.now(UTC).timestamp()
    found = wrong(embedded, policy_of(certificates=(certificate,)), at=at)
    assert ({kind for kind, _ in found} == {"certificate"}) == (days == 10)
    if days == 10:
        assert f"ends on {ends:%Y-%m-%d}" in found["certificate", "10.pem"].sentence
        assert (
            "has ended"
            in wrong(embedded, policy_of(certificates=(certificate,)), at=at + 11 * 86_400)[
                "certificate", "10.pem"
            ].sentence
        )


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.pem").write_text(text)
    with pytest.raises(ValueError, match="certificate"):
        certificates.ends(tmp_path / "x.pem")


# ----------------------------------------------------------------- messages


def a_study(tx: Any, **values: Any) -> int:
    """A study of a patient whose name nobody may read."""
    person = sa.insert(patient).values(issuer="", patient_id="PID-4711-SECRET").returning(patient.c.id)
    row = dict(study_uid="1.2.3", patient_id=tx.execute(person).scalar_one(), state="closed", arrived=Clock())
    return int(tx.execute(sa.insert(study).values(row | values).returning(study.c.id)).scalar_one())


def a_mailed(server: FakeMail, **changes: Any) -> AlarmPolicy:
    knobs = dict(host="127.0.0.1", port=server.port, security="none", sender="node@hospital.example")
    given = MailServer(**knobs | {"timeout_seconds": 30.0} | changes)
    to = (Recipient(name="office", mail=("anna@hospital.example", "ben@hospital.example")),)
    return policy_of(mail=given, recipients=to, link="https://planimeter.example")


def test_a_mail_says_what_happened_since_when_and_what_to_do(
    embedded: Database, tmp_path: Path, server: FakeMail
) -> None:
    policy = a_mailed(server)
    lost(embedded)
    judged(embedded, policy, tmp_path)
    assert sent(embedded, policy) == 1
    found_again(embedded)
    judged(embedded, policy, tmp_path)
    judged(embedded, policy, tmp_path)
    assert sent(embedded, policy) == 1
    began, over = server.mails
    assert server.recipients == [["anna@hospital.example", "ben@hospital.example"]] * 2
    assert began["Subject"] == "[PLANIMETER] A process is not heard of, or ends again and again (gpu1/work-1)"
    assert over["Subject"] == "[PLANIMETER] Over: A process is not heard of, or ends again and again (gpu1/work-1)"
    assert over["In-Reply-To"] == began["Message-ID"]
    assert began["Auto-Submitted"] == "auto-generated"
    parts = {part.get_content_type(): part.get_content() for part in began.walk() if not part.is_multipart()}
    for text in (parts["text/plain"], parts["text/html"]):
        for said in ("Gpu1/work-1 has not been heard of", "Since", "What to do", "https://planimeter.example/alarms"):
            assert said in text
    closing = over.get_body(("plain",))
    assert closing is not None
    assert "Until: " in closing.get_content()


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"refuse": {"MAIL": "451 4.3.0 later"}}, "does not take the message: 451 4.3.0 later"),
        ({"refuse": {"DATA": "554 5.7.1 spam"}}, "does not take the message: 554 5.7.1 spam"),
        ({"refuse": {"RCPT": "550 5.1.1 unknown"}}, "anna@hospital.example: 550"),
        ({"refuse": {"EHLO": "500 no", "HELO": "500 no"}}, "does not take the message"),
        ({"drop_after": "MAIL"}, "does not take the message"),
        ({"silent": True}, "cannot be reached: "),
    ],
)
def test_nothing_is_lost_while_the_mail_server_is_bad(
    embedded: Database, tmp_path: Path, server: FakeMail, knobs: dict[str, Any], said: str
) -> None:
    policy = a_mailed(server, timeout_seconds=0.5) if "silent" in knobs else a_mailed(server)
    for name, value in knobs.items():
        setattr(server, name, value)
    lost(embedded)
    judged(embedded, policy, tmp_path)
    assert sent(embedded, policy) == 0
    with embedded.read() as tx:
        (waiting,) = alarm_messages.of_incident(tx, 1)
    assert (waiting["state"], waiting["attempts"]) == ("waiting", 1)
    assert said in waiting["reason"]
    server.refuse, server.drop_after, server.silent = {}, "", False
    patient = a_mailed(server)
    assert sent(embedded, patient) == 0  # left alone for a while
    due_now(embedded)
    assert sent(embedded, patient) == 1
    assert len(server.mails) == 1


def test_a_mail_server_that_is_gone_is_an_alarm_for_the_others(
    embedded: Database, tmp_path: Path, hook: FakeHook
) -> None:
    with FakeMail() as gone:
        policy = a_mailed(gone)
    policy = replace(policy, recipients=(*policy.recipients, Recipient(name="duty", webhook=hook.url)))
    lost(embedded)
    judged(embedded, policy, tmp_path)
    assert sent(embedded, policy) == 1
    with embedded.write() as tx:
        tx.execute(sa.update(alarm_message).values(created=Clock() - 1000))
    assert judged(embedded, policy, tmp_path) == ["open"]
    due_now(embedded)
    sent(embedded, policy)
    assert [one["kind"] for one in hook.taken] == ["process-lost", "messages-stuck"]
    with embedded.read() as tx:
        assert [one["recipient"] for one in alarm_messages.of_incident(tx, 2)] == ["duty"]


def test_a_message_that_nobody_takes_for_a_week_is_given_up(embedded: Database, tmp_path: Path, hook: FakeHook) -> None:
    policy = policy_of(hook)
    hook.status = 500
    lost(embedded)
    judged(embedded, policy, tmp_path)
    sent(embedded, policy)
    with embedded.write() as tx:
        tx.execute(sa.update(alarm_message).values(created=Clock() - 8 * 86_400, send_after=Clock()))
    sent(embedded, policy)
    with embedded.read() as tx:
        assert [one["state"] for one in alarm_messages.of_incident(tx, 1)] == ["given-up"]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_travels_encrypted_and_with_a_password_from_a_file(tmp_path: Path, security: str) -> None:
    certificate, key = a_certificate(tmp_path, 10)
    (tmp_path / "password").write_text("otters\n")
    with FakeMail((certificate, key)) as server:
        server.password = "otters"
        if security == "tls":
            assert server.tls is not None
            server._server.socket = server.tls.wrap_socket(server._server.socket, server_side=True)
            server.tls = None
        given = MailServer(
            host="127.0.0.1",
            port=server.port,
            security=security,
            user="node",
            password_file=tmp_path / "password",
            ca_file=certificate,
            sender="node@hospital.example",
            timeout_seconds=30,
        )
        to = Recipient(name="office", mail=("anna@hospital.example",))
        mail.send(given, to, of_test("PLANIMETER", ""), "1@x")
        assert len(server.mails) == 1
        assert server.encrypted == [security == "starttls"]  # the other one is encrypted below
        with pytest.raises(Failed, match=r"not trusted|cannot be reached"):
            mail.send(replace(given, ca_file=None), to, of_test("PLANIMETER", ""), "2@x")
        (tmp_path / "password").write_text("badgers")
        with pytest.raises(Failed, match="does not take the user or the password: 535") as wrong_password:
            mail.send(given, to, of_test("PLANIMETER", ""), "3@x")
        assert "badgers" not in str(wrong_password.value)
        (tmp_path / "password").unlink()
        with pytest.raises(Failed, match="the file of the password cannot be read"):
            mail.send(given, to, of_test("PLANIMETER", ""), "4@x")
        assert len(server.mails) == 1


def test_starttls_that_is_not_offered_is_no_reason_to_send_in_the_clear(server: FakeMail) -> None:
    given = a_mailed(server, security="starttls")
    with pytest.raises(Failed, match="does not speak STARTTLS"):
        mail.send(given.mail, given.recipients[0], of_test("PLANIMETER", ""), "1@x")
    assert server.mails == []


def test_a_webhook_is_signed_so_that_a_receiver_can_check_it(tmp_path: Path, hook: FakeHook) -> None:
    (tmp_path / "secret").write_text("between us\n")
    to = Recipient(name="duty", webhook=hook.url, secret_file=tmp_path / "secret")
    webhook.send(to, of_test("PLANIMETER", ""), 12, 1_700_000_000.4)
    (headers,), (body,) = hook.headers, hook.bodies
    mac = hmac.new(b"between us", headers["X-Planimeter-Timestamp"].encode() + b"." + body, hashlib.sha256)
    assert headers["X-Planimeter-Signature"] == f"sha256={mac.hexdigest()}"
    assert headers["X-Planimeter-Timestamp"] == "1700000000"
    assert hook.taken[0]["message"] == 12


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"status": 500}, "answers 500"),
        ({"status": 404}, "answers 404"),
        ({"status": 302, "location": "http://127.0.0.1:9/elsewhere"}, "redirects"),
        ({"silent": True}, "does not answer in time"),
    ],
)
def test_a_bad_webhook_is_said_without_its_address(hook: FakeHook, knobs: dict[str, Any], said: str) -> None:
    for name, value in knobs.items():
        setattr(hook, name, value)
    seconds = 0.3 if "silent" in knobs else 30
    with pytest.raises(Failed, match=said) as failed:
        webhook.send(Recipient(name="duty", webhook=hook.url), of_test("PLANIMETER", ""), 1, 0, timeout_seconds=seconds)
    assert "nobodys-business" not in str(failed.value)


def test_a_webhook_that_is_not_there_is_said_without_its_address() -> None:
    with FakeHook() as gone:
        url = gone.url
    with pytest.raises(Failed, match="cannot be reached") as failed:
        webhook.send(Recipient(name="duty", webhook=url), of_test("PLANIMETER", ""), 1, 0)
    assert "nobodys-business" not in str(failed.value)


def test_messages_wait_for_the_end_of_quiet_hours_but_not_the_urgent_ones(
    embedded: Database, tmp_path: Path, hook: FakeHook
) -> None:
    policy = policy_of(hook, quiet=lambda now: hours.left_seconds(QUIET, now))
    policy = replace(policy, recipients=(*policy.recipients, Recipient(name="night", webhook=hook.url, at_night=True)))
    dead_job(embedded, "pacs/1")
    judged(embedded, policy, tmp_path, NIGHT)
    with embedded.read() as tx:
        delays = {one["recipient"]: one["send_after"] - one["created"] for one in alarm_messages.of_incident(tx, 1)}
    assert delays["duty"] == pytest.approx(8 * 3600, abs=1)
    assert delays["night"] == pytest.approx(0, abs=1)
    assert sent(embedded, policy) == 1
    lost(embedded)  # urgent
    judged(embedded, policy, tmp_path, NIGHT)
    assert sent(embedded, policy) == 2


def test_what_began_and_ended_in_the_night_is_one_message_in_the_morning(
    embedded: Database, tmp_path: Path, hook: FakeHook
) -> None:
    policy = policy_of(hook, quiet=lambda now: hours.left_seconds(QUIET, now), urgent=frozenset())
    lost(embedded)
    judged(embedded, policy, tmp_path, NIGHT)
    found_again(embedded)
    judged(embedded, policy, tmp_path, NIGHT)
    judged(embedded, policy, tmp_path, NIGHT)
    assert sent(embedded, policy) == 0
    due_now(embedded)
    sent(embedded, policy)
    assert [one["what"] for one in hook.taken] == ["closed"]


def test_recipients_get_the_kinds_that_they_asked_for(embedded: Database, tmp_path: Path, hook: FakeHook) -> None:
    to = (
        Recipient(name="all", webhook=hook.url),
        Recipient(name="disk", webhook=hook.url, kinds=frozenset({"disk-low"})),
        Recipient(name="brief", webhook=hook.url, ended=False),
    )
    policy = policy_of(recipients=to)
    lost(embedded)
    judged(embedded, policy, tmp_path)
    sent(embedded, policy)
    found_again(embedded)
    judged(embedded, policy, tmp_path)
    judged(embedded, policy, tmp_path)
    sent(embedded, policy)
    with embedded.read() as tx:
        told = sorted((one["recipient"], one["what"], one["state"]) for one in alarm_messages.of_incident(tx, 1))
    assert told == [("all", "closed", "sent"), ("all", "opened", "sent"), ("brief", "opened", "sent")]


def test_a_recipient_that_left_the_configuration_is_sent_nothing(
    embedded: Database, tmp_path: Path, hook: FakeHook
) -> None:
    lost(embedded)
    judged(embedded, policy_of(hook), tmp_path)
    assert sent(embedded, policy_of()) == 0
    with embedded.read() as tx:
        (one,) = alarm_messages.of_incident(tx, 1)
    assert (one["state"], one["reason"]) == ("given-up", "nobody of that name is a [[recipient]] any more")


def test_a_database_that_is_away_is_told_from_memory_and_written_down_afterwards(
    tmp_path: Path, migrated: Path, hook: FakeHook
) -> None:
    file = tmp_path / "rows.db"
    shutil.copyfile(migrated, file)
    database = open_database(sqlite_url(file))
    watch = Watch(database, lambda: policy_of(hook, database_seconds=0.0), tmp_path, "serial", Random(1))
    database.dispose()
    file.rename(tmp_path / "away.db")
    file.mkdir()  # SQLite cannot open a folder
    watch.look(NOON)
    watch.look(NOON)
    assert [(one["kind"], one["what"]) for one in hook.taken] == [("database-away", "opened")]
    database.dispose()
    file.rmdir()
    (tmp_path / "away.db").rename(file)
    watch.look(datetime.now(UTC))
    watch.send()
    assert [(one["kind"], one["what"]) for one in hook.taken] == [
        ("database-away", "opened"),
        ("database-away", "closed"),
    ]
    (one,) = listing(database)
    assert (one.kind, one.state) == ("database-away", "closed")
    database.dispose()


def test_no_message_names_a_patient(embedded: Database, tmp_path: Path, hook: FakeHook, server: FakeMail) -> None:
    """Names stand wherever the database has room for words that come from images or from peers."""
    secrets = ("Doe^Jane", "PID-4711-SECRET", "19700101", "ACC-0815")
    words = " ".join(secrets)
    with embedded.write() as tx:
        study_id = a_study(tx, held_because=words, closed_because=words)
        made = sa.insert(input_set).values(
            study_id=study_id, network="ct_lungs", slot=words, members_hash="x", because=words, created=Clock()
        )
        input_set_id = tx.execute(made.returning(input_set.c.id)).scalar_one()
        away.unreachable(tx, "pacs", words, 15)
        tx.execute(sa.update(outage).values(since=Clock() - 4000))
        for number in range(2):
            jobs.enqueue(
                tx, JobKind.SEGMENT, f"{words}{number}", max_attempts=3, study_id=study_id, input_set_id=input_set_id
            )
        for _ in range(3):
            claim = jobs.claim(tx, [JobKind.SEGMENT], "w", 60)
            assert claim is not None
            jobs.fail(tx, claim, Report(code="host-died", sentence=words), 0)
        tx.execute(sa.update(job).values(created=Clock() - 1e5, run_after=Clock() - 1e5))
        tx.execute(sa.update(attempt).values(sentence=words))
    dead_job(embedded, "pacs/1")
    lost(embedded)
    mailed = a_mailed(server)
    policy = replace(mailed, recipients=(*mailed.recipients, Recipient(name="duty", webhook=hook.url)))
    judged(embedded, policy, tmp_path)
    assert sent(embedded, policy) == 2 * len(listing(embedded))
    kinds = {one.kind for one in listing(embedded)}
    assert kinds >= {"destination-down", "dead-letter", "queue-late", "process-lost", "network-failing"}
    everything = " ".join([*(mail.as_string() for mail in server.mails), *map(str, hook.taken), str(listing(embedded))])
    with embedded.read() as tx:
        everything += str(banner(tx)) + str([dict(row) for row in incidents.standing(tx)])
    for secret in secrets:
        assert secret not in everything


def test_every_kind_is_explained_and_may_be_named_in_the_configuration() -> None:
    from config.alarms import AlarmKind

    assert set(EXPLAINED) == set(Kind) == set(AlarmKind.__args__)  # type: ignore[attr-defined]
    operations = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
    table = operations.split("## Alarms")[1].split("\n## ")[0]
    for kind in Kind:
        assert f"| `{kind}` |" in table, kind


def test_the_wait_between_attempts_grows_to_an_hour() -> None:
    assert post.BACKOFF == Backoff(30.0, 3600.0)


def test_alarms_in_the_terminal_are_listed_acknowledged_and_tried(
    tmp_path: Path, migrated: Path, hook: FakeHook
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(migrated, home / "planimeter.db")
    config = tmp_path / "planimeter.toml"
    pages = f"[web]\nport = {free_port()}\n"  # where nobody listens
    config.write_text(f'{pages}[[recipient]]\nname = "duty"\nwebhook = "{hook.url}"\n')
    database = open_database(sqlite_url(home / "planimeter.db"))
    lost(database)
    judged(database, policy_of(), home)
    database.dispose()
    node = ("--config", config, "--home", home)
    listed = json.loads(planimeter("alarms", "list", "--json", *node).stdout)
    assert [(one["kind"], one["state"]) for one in listed["alarms"]] == [("process-lost", "open")]
    assert "Look at the log of that machine" in planimeter("alarms", "list", *node).stdout.replace("\n", " ")
    assert "no more reminders" in planimeter("alarms", "acknowledge", "1", "--reason", "known", *node).stdout
    assert "duty: taken" in planimeter("alarms", "test", *node).stdout
    assert hook.taken[0]["what"] == "test"
    hook.status = 500
    tried = planimeter("alarms", "test", *node, check=False)
    assert (tried.returncode, "answers 500" in tried.stdout) == (1, True)
    missing = planimeter("alarms", "acknowledge", "9", *node, check=False)
    assert (missing.returncode, missing.stderr) == (
        1,
        "planimeter: there is no alarm 9; `planimeter alarms list` shows them\n",
    )
    assert "planimeter_alarms_open" in planimeter("metrics", *node).stdout
    health = planimeter("health", *node, check=False)
    assert (health.returncode, health.stdout) == (1, "no-pages: the pages do not answer\n")
