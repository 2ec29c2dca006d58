"""Storage commitment: a delivery is committed when its destination says so, wherever and whenever that comes."""

from __future__ import annotations

import dataclasses
import ipaddress
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, build_context
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from config.settings import Settings
from db import away, commitments, deliveries, job_orders, jobs, lost_jobs, refusals
from db.database import Database
from db.job_states import JobKind, JobState
from db.tables import commitment as commitment_table
from db.tables import delivery, input_set, job, model_version, result, study
from node import commitment
from node.app import Node, open_node
from node.attempt import Stages
from node.commitment import Patience
from node.configured import doorkeeper
from node.errors import Refused, Unavailable
from node.inbound.peers import Doorkeeper, KnownPeer
from node.operations.control import pause
from node.outbound import find
from node.outbound.find import Wanted
from node.outbound.scu import Parcel, connect
from node.outbound.statuses import Answer
from node.receiver import Receiver
from tests.doors import door
from tests.driving import take_in
from tests.fake_pacs import FakePacs, event_information
from tests.orthanc import Orthanc
from tests.synthetic import small_series
from tests.waiting import wait_until

#: an answer is due at once, so that nobody waits in a test
AT_ONCE = Patience(here_seconds=0, first_seconds=0, tries=3)
#: an answer comes while the association is open, or the test fails for want of it
HERE = Patience(here_seconds=30, first_seconds=300)
LATER = Patience(here_seconds=0, first_seconds=300)
DESTINATION = "pacs"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The node of the other tests, whose PACS is asked for storage commitment."""
    (peer,) = settings.peer
    assert peer.destination is not None
    asked = peer.destination.model_copy(update={"commitment": True})
    return settings.model_copy(update={"peer": (peer.model_copy(update={"destination": asked}),)})


@dataclasses.dataclass
class Site:
    """A node whose results were delivered to its PACS, and the receiver that hears the PACS's reports."""

    node: Node
    pacs: FakePacs
    receiver: Receiver
    input_set_id: int
    study_id: int
    sop_uids: list[str]

    def ask(self) -> None:
        with self.node.database.write() as tx:
            commitment.ask_for(tx, self.node, self.input_set_id, self.study_id, DESTINATION)

    def step(self, patience: Patience = HERE) -> str:
        """One attempt at the `commit` job; "" when it is done, else the code of what it waits for or is refused for."""
        with self.node.database.write() as tx:
            job_orders.due_in(tx, JobKind.COMMIT, "", 0)
            claim = jobs.claim(tx, [JobKind.COMMIT], "test", 60)
        assert claim is not None, "no commit job is open"
        try:
            commitment.commit(self.node, claim, Stages(), patience)
        except Unavailable as error:
            with self.node.database.write() as tx:
                report = Stages().report(error.code, error.sentence)
                jobs.postpone(tx, claim, report, error.retry_seconds or 0)
            return error.code
        except Refused as error:
            with self.node.database.write() as tx:
                jobs.finish(tx, claim, JobState.REFUSED, Stages().report(error.code, error.sentence))
            return error.code
        return ""

    def send(self) -> None:
        """Send what waits, as the `deliver` step does, and ask for its commitment."""
        with self.node.database.read() as tx:
            rows = deliveries.waiting(tx, self.input_set_id, DESTINATION)
        parcels = [Parcel(self.node.archive.at(row["path"]), row["sop_class"]) for row in rows]
        with connect(self.node.targets[DESTINATION], self.node.ae_title, parcels, 10) as sender:
            for row, parcel in zip(rows, parcels, strict=True):
                assert sender.send(parcel).answer is Answer.DELIVERED
                with self.node.database.write() as tx:
                    deliveries.settle(tx, row["id"], "delivered", 0, None)
        self.ask()

    def rows(self) -> dict[str, Any]:
        with self.node.database.read() as tx:
            found = sa.select(delivery, result.c.sop_uid).join(result, result.c.id == delivery.c.result_id)
            return {row["sop_uid"]: row for row in tx.execute(found).mappings()}

    def states(self) -> list[str]:
        return [self.rows()[uid]["state"] for uid in self.sop_uids]

    def transactions(self) -> list[Any]:
        with self.node.database.read() as tx:
            return list(tx.execute(sa.select(commitment_table).order_by(commitment_table.c.asked)).mappings())

    def job(self, kind: JobKind = JobKind.COMMIT) -> Any:
        with self.node.database.read() as tx:
            return tx.execute(sa.select(job).where(job.c.kind == kind)).mappings().one_or_none()

    def callers(self) -> dict[str, Any]:
        self.receiver.ledger.flush()
        with self.node.database.read() as tx:
            return {row["code"]: row for row in refusals.callers(tx)}


def listening(node: Node, doors: Doorkeeper, database: Database | None = None) -> tuple[Receiver, int]:
    receiver = Receiver(door(associations=20), doors, node.inbox, database or node.database)
    return receiver, receiver.start()


def results_of(node: Node, count: int) -> tuple[int, int, list[str]]:
    """An input set with as many results, as if a network had made them: its id, its study's, and their UIDs."""
    images = small_series()[:count]
    take_in(node, images[:1])
    with node.database.write() as tx:
        study_id = int(tx.execute(sa.select(study.c.id)).scalar_one())
        made = sa.insert(input_set).values(
            study_id=study_id, network="box", slot="", members_hash="0", because="test", created=0
        )
        input_set_id = int(tx.execute(made.returning(input_set.c.id)).scalar_one())
        version = sa.insert(model_version).values(
            network="box", version="1", weights_sha256="0", card_sha256="0", device_uid="1.2", created=0
        )
        version_id = tx.execute(version.returning(model_version.c.id)).scalar_one()
        ids = []
        for number, ds in enumerate(images):
            stream = BytesIO()
            ds.save_as(stream, enforce_file_format=True)
            row = sa.insert(result).values(
                input_set_id=input_set_id,
                model_version_id=version_id,
                kind="SEG",
                options=str(number),
                sop_uid=ds.SOPInstanceUID,
                sop_class=CTImageStorage,
                series_uid=ds.SeriesInstanceUID,
                sha256="0",
                path=node.archive.write_result(stream.getvalue()),
                size=0,
                content_time=0,
                state="ready",
                created=0,
            )
            ids.append(tx.execute(row.returning(result.c.id)).scalar_one())
        deliveries.queue(tx, input_set_id, study_id, ids, [DESTINATION], 3)
    return input_set_id, study_id, [ds.SOPInstanceUID for ds in images]


@pytest.fixture
def site(node: Node, settings: Settings, pacs: FakePacs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Two results, delivered; their commitment is asked for."""
    monkeypatch.setattr(tempfile, "tempdir", None)  # a receiver sets it for its whole process
    receiver, pacs.node_port = listening(node, doorkeeper(settings))
    made = Site(node, pacs, receiver, *results_of(node, 2))
    made.send()
    yield made
    receiver.stop()


# ------------------------------------------------------------ answers that come


@pytest.mark.parametrize("where", ["same", "new", "early"])
def test_what_a_destination_commits_to_is_committed_wherever_it_says_so(site: Site, where: str) -> None:
    """`early`: the report overtakes the response to the request, so the transaction was a row before it was sent."""
    site.pacs.commits = where
    assert site.step() == ""
    assert site.states() == ["committed", "committed"]
    (request,) = site.pacs.requests
    assert request.objects == tuple((CTImageStorage, uid) for uid in site.sop_uids)
    (transaction,) = site.transactions()
    assert (transaction["transaction_uid"], transaction["state"]) == (request.transaction_uid, "answered")
    for row in site.rows().values():
        assert (row["transaction_uid"], row["reason"]) == (request.transaction_uid, None)
        assert row["committed"] >= row["delivered"]
    assert site.job()["state"] == "done"
    wait_until("the PACS has its response", lambda: site.pacs.reported)
    assert site.pacs.reported == [0x0000]


def test_a_destination_that_is_not_asked_for_it_is_left_alone(site: Site) -> None:
    site.node.targets[DESTINATION] = dataclasses.replace(site.node.targets[DESTINATION], commitment=False)
    with site.node.database.write() as tx:
        tx.execute(sa.delete(job).where(job.c.kind == JobKind.COMMIT))
    site.ask()
    assert site.job() is None


def test_a_job_waits_for_an_answer_that_comes_later_and_is_due_when_it_does(site: Site) -> None:
    assert site.step(LATER) == "awaiting-commitment"
    assert site.states() == ["delivered", "delivered"]
    assert site.job()["state"] == "waiting"
    assert "has not reported yet whether it keeps 2 objects" in site.job()["reason"]
    with site.node.database.read() as tx:
        assert not jobs.any_ready(tx, [JobKind.COMMIT])
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000
    with site.node.database.read() as tx:
        assert jobs.any_ready(tx, [JobKind.COMMIT])
    assert site.step() == ""
    assert len(site.pacs.requests) == 1


def test_while_an_answer_is_awaited_nothing_is_asked_twice(site: Site) -> None:
    assert [site.step(LATER) for _ in range(3)] == ["awaiting-commitment"] * 3
    assert len(site.pacs.requests) == 1


def test_a_late_answer_still_counts(site: Site) -> None:
    site.step(AT_ONCE)
    site.step(LATER)
    first, second = site.transactions()
    assert (first["state"], second["state"]) == ("expired", "asked")
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000
    assert site.states() == ["committed", "committed"]
    assert site.step() == ""
    assert [one["state"] for one in site.transactions()] == ["answered", "asked"]


@pytest.mark.parametrize("lost", [0, 1])
def test_the_same_answer_again_changes_nothing(site: Site, lost: int) -> None:
    site.pacs.lost = set(site.sop_uids[:lost])
    site.step(LATER)
    answer = site.pacs.answer(site.pacs.requests[0])
    assert site.pacs.report(*answer) == 0x0000
    before = site.rows(), site.transactions()
    assert site.pacs.report(*answer) == 0x0000
    assert (site.rows(), site.transactions()) == before


def test_a_process_that_dies_after_the_request_loses_no_answer(site: Site, settings: Settings, tmp_path: Path) -> None:
    """SIGKILL between N-ACTION and the report; the report comes to another process."""
    file = tmp_path / "settings.json"
    file.write_text(settings.model_dump_json())
    program = (
        "import sys; from config.settings import Settings; from node.app import open_node\n"
        "from node import commitment; from node.attempt import Stages\n"
        "from db import jobs; from db.job_states import JobKind\n"
        "node = open_node(Settings.model_validate_json(open(sys.argv[1]).read()))\n"
        "with node.database.write() as tx: claim = jobs.claim(tx, [JobKind.COMMIT], 'doomed', 600)\n"
        "commitment.commit(node, claim, Stages(), commitment.Patience(here_seconds=600))\n"
    )
    child = subprocess.Popen([sys.executable, "-P", "-c", program, str(file)], cwd=Path(__file__).parents[1])
    wait_until("it was asked", lambda: site.pacs.requests or child.poll() is not None)
    assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000
    assert site.states() == ["committed", "committed"]
    with site.node.database.write() as tx:
        lost_jobs.rescue(tx, worker="doomed")
    assert site.step() == ""
    assert len(site.pacs.requests) == 1


# -------------------------------------------------------- objects that are lost


@pytest.mark.parametrize("where", ["same", "new"])
def test_what_was_lost_is_sent_again_and_then_committed(site: Site, where: str) -> None:
    kept, lost = site.sop_uids
    site.pacs.commits, site.pacs.lost = where, {lost}
    assert site.step() == ""
    assert site.states() == ["committed", "waiting"]
    assert "0x0112 no such object instance; it is sent again" in site.rows()[lost]["reason"]
    assert site.job(JobKind.DELIVER)["state"] == "waiting"
    site.pacs.lost = set()
    site.send()
    assert site.step() == ""
    assert site.states() == ["committed", "committed"]
    assert site.pacs.requests[1].objects == ((CTImageStorage, lost),)
    assert dict(site.pacs.calls) == {kept: 1, lost: 2}


def test_what_is_lost_twice_is_dead_and_says_why(site: Site) -> None:
    lost = site.sop_uids[1]
    site.pacs.commits, site.pacs.lost = "same", {lost}
    site.step()
    site.send()
    assert site.step() == ""
    assert site.states() == ["committed", "dead"]
    assert "0x0112" in site.rows()[lost]["reason"] and "though it was sent again" in site.rows()[lost]["reason"]
    assert site.pacs.calls[lost] == 2


def test_success_that_lists_a_failure_is_a_failure(site: Site) -> None:
    """Event type 1 with a Failed SOP Sequence, which says the same object was kept too: the worse is believed."""
    kept, lost = ((CTImageStorage, uid) for uid in site.sop_uids)
    site.step(LATER)
    uid = site.pacs.requests[0].transaction_uid
    assert site.pacs.report(event_information(uid, [kept, lost], [(*lost, 0x0110)]), 1) == 0x0000
    assert site.states() == ["committed", "waiting"]


def test_a_late_failure_is_not_about_what_was_sent_since(site: Site) -> None:
    site.pacs.lost = set(site.sop_uids)
    site.step(AT_ONCE)
    site.step(LATER)
    first, second = (site.pacs.answer(request) for request in site.pacs.requests)
    assert site.pacs.report(*second) == 0x0000
    assert site.states() == ["waiting", "waiting"]
    site.send()
    assert site.pacs.report(*first) == 0x0000
    assert site.states() == ["delivered", "delivered"]


def test_what_nobody_needs_any_more_is_not_sent_again(site: Site) -> None:
    site.step(LATER)
    site.pacs.lost = set(site.sop_uids)
    with site.node.database.write() as tx:
        tx.execute(sa.update(result).values(state="superseded"))
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000
    assert site.states() == ["superseded", "superseded"]
    assert site.step() == ""


# ----------------------------------------------------- answers that never come


def test_without_an_answer_it_is_asked_three_times_and_then_looked_for(site: Site) -> None:
    patience = dataclasses.replace(AT_ONCE, first_seconds=0.001)
    for _ in range(3):
        assert site.step(patience) == "awaiting-commitment"
        due = site.transactions()[-1]["deadline"]
        wait_until("the deadline is over", lambda due=due: now(site) > due)  # type: ignore[misc]
    assert site.step(patience) == ""
    assert len({request.transaction_uid for request in site.pacs.requests}) == 3
    waits = [one["deadline"] - one["asked"] for one in site.transactions()[:3]]
    assert waits[1] > 1.5 * waits[0] and waits[2] > 1.5 * waits[1]
    assert site.states() == ["committed", "committed"]
    assert {row["reason"] for row in site.rows().values()} == {commitment.BY_QUERY}


def now(site: Site) -> float:
    with site.node.database.read() as tx:
        return float(tx.execute(sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())


def test_what_a_query_does_not_find_is_sent_again_once(site: Site) -> None:
    lost = site.sop_uids[1]
    site.pacs.refuse, site.pacs.lost = {StorageCommitmentPushModel}, {lost}
    assert site.step() == ""
    assert site.states() == ["committed", "waiting"]
    assert commitment.NOT_FOUND in site.rows()[lost]["reason"]
    site.send()
    assert site.step() == ""
    assert site.states() == ["committed", "dead"]


def test_a_destination_that_does_not_offer_it_is_queried_at_once(site: Site) -> None:
    site.pacs.refuse = {StorageCommitmentPushModel}
    assert site.step() == ""
    assert site.pacs.requests == []
    assert site.states() == ["committed", "committed"]


def test_a_refused_request_is_followed_by_a_query(site: Site) -> None:
    site.pacs.action_status = 0x0124
    assert site.step() == ""
    assert site.states() == ["committed", "committed"]
    assert len(site.pacs.requests) == 1


def test_a_request_that_is_refused_for_now_is_made_again(site: Site) -> None:
    site.pacs.action_status = 0x0213
    assert site.step() == "commitment-refused-now"
    assert "0x0213 resource limitation" in site.job()["reason"]
    site.pacs.action_status, site.pacs.commits = 0x0000, "same"
    assert site.step() == ""
    assert site.states() == ["committed", "committed"]


@pytest.mark.parametrize("refuses", ["class", "query"])
def test_where_nobody_can_know_the_delivery_says_so_and_the_job_is_refused(site: Site, refuses: str) -> None:
    site.pacs.refuse = {StorageCommitmentPushModel}
    if refuses == "class":
        site.pacs.refuse.add(StudyRootQueryRetrieveInformationModelFind)
    else:
        site.pacs.find_status = 0xA900
    assert site.step() == "not-committed"
    assert site.states() == ["delivered", "delivered"]
    for row in site.rows().values():
        assert "does not offer storage commitment" in row["reason"]
        assert "nobody knows whether it keeps them" in row["reason"]
    assert (site.job()["state"], site.job()["code"]) == ("refused", "not-committed")
    with site.node.database.write() as tx:
        assert job_orders.reopen(tx, site.job()["id"])
    site.pacs.refuse, site.pacs.commits = set(), "same"
    assert site.step() == ""
    assert site.states() == ["committed", "committed"]


def test_a_destination_that_is_away_uses_up_no_request(site: Site) -> None:
    site.pacs.stop()
    assert site.step() == "unreachable"
    assert site.transactions() == []
    with site.node.database.read() as tx:
        (row,) = away.listing(tx)
    assert row["retry_after"] > row["since"]
    site.pacs.start()
    site.pacs.commits = "same"

    def done() -> bool:
        return site.step() == ""

    wait_until("the wait for it is over", done)
    assert site.states() == ["committed", "committed"]
    with site.node.database.read() as tx:
        assert away.listing(tx) == []


def test_a_request_that_is_never_answered_is_no_sign_of_life(site: Site) -> None:
    with site.node.database.write() as tx:
        away.unreachable(tx, DESTINATION, "it does not answer", 0)
    site.pacs.action_status = None
    assert site.step() == "awaiting-commitment"
    assert site.pacs.requests
    with site.node.database.read() as tx:
        assert [one["destination"] for one in away.listing(tx)] == [DESTINATION]
    site.pacs.action_status = 0x0000
    with site.node.database.write() as tx:
        tx.execute(sa.update(commitment_table).values(deadline=0))
    site.step(LATER)
    with site.node.database.read() as tx:
        assert away.listing(tx) == []


def test_a_destination_that_left_the_configuration_is_said(site: Site) -> None:
    site.node.targets.clear()
    assert site.step() == "unknown-destination"


# --------------------------------------------------------------- wrong answers


def test_an_answer_to_a_request_that_nobody_made_is_refused_and_counted(site: Site) -> None:
    site.step(LATER)
    before = site.rows()
    stranger = event_information(generate_uid(), [(CTImageStorage, uid) for uid in site.sop_uids])
    assert site.pacs.report(stranger) == 0x0112
    assert site.rows() == before
    assert site.callers()["unknown-transaction"]["ae_title"] == site.pacs.ae_title


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (b"", 0x0115),
        (b"\xff" * 64, 0x0115),
        (b"\x08\x00\x98\x11\xff\xff\xff\xff\xfe\xff\x00\xe0", 0x0115),
        (event_information("", [(CTImageStorage, "1.2")]), 0x0115),
        (event_information("not a UID \\", [(CTImageStorage, "1.2")]), 0x0115),
    ],
    ids=["nothing", "noise", "open sequence", "no transaction", "no UID"],
)
def test_an_answer_that_cannot_be_read_is_refused_and_the_next_is_taken(
    site: Site, what: Dataset | bytes, status: int
) -> None:
    site.step(LATER)
    assert site.pacs.report(what) == status
    assert site.callers().keys() & {"commitment-unreadable", "unknown-transaction"}
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000
    assert site.states() == ["committed", "committed"]


def test_an_event_that_storage_commitment_does_not_have_is_refused(site: Site) -> None:
    site.step(LATER)
    information, _ = site.pacs.answer(site.pacs.requests[0])
    assert site.pacs.report(information, 3) == 0x0113
    assert site.states() == ["delivered", "delivered"]


def test_an_answer_that_mentions_nothing_is_asked_for_again_and_ends_in_a_query(site: Site) -> None:
    for number in range(3):
        assert site.step(LATER) == "awaiting-commitment"
        uid = site.pacs.requests[number].transaction_uid
        assert site.pacs.report(event_information(uid, []), 1 + number % 2) == 0x0000
    assert site.step(LATER) == ""
    assert len(site.pacs.requests) == 3
    assert {row["reason"] for row in site.rows().values()} == {commitment.BY_QUERY}


def test_items_without_uid_or_reason_are_no_obstacle(site: Site) -> None:
    site.step(LATER)
    answer = event_information(site.pacs.requests[0].transaction_uid, [(CTImageStorage, site.sop_uids[0])])
    item = Dataset()
    item.ReferencedSOPInstanceUID = site.sop_uids[1]
    answer.FailedSOPSequence = [Dataset(), item]
    answer.ReferencedSOPSequence.append(Dataset())
    assert site.pacs.report(answer, 2) == 0x0000
    assert site.states() == ["committed", "waiting"]
    assert "it gives no reason" in site.rows()[site.sop_uids[1]]["reason"]


def test_an_answer_is_acknowledged_only_when_it_is_kept(site: Site) -> None:
    """The database is away: 0x0110, and the PACS may say it again."""
    site.step(LATER)
    away = Database(sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2"), "server")
    deaf, port = listening(site.node, Doorkeeper((known(commitment_host="127.0.0.1"),)), away)
    hearing, site.pacs.node_port = site.pacs.node_port, port
    try:
        assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0110
    finally:
        deaf.stop()
        away.dispose()
    assert site.states() == ["delivered", "delivered"]
    site.pacs.node_port = hearing
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000


# ------------------------------------------------------------------ who may call


def known(
    ae_title: str = "FAKEPACS", address: str = "", commitment_host: str = "", may_send: bool = False
) -> KnownPeer:
    network = ipaddress.ip_network(address) if address else None
    return KnownPeer(ae_title.lower(), ae_title, network, may_send, False, commitment_host)


SENDER = known("CT1", "10.0.0.1", may_send=True)


@pytest.mark.parametrize("role", [None, (False, True), (True, True)], ids=["no role", "SCP", "SCU and SCP"])
def test_a_report_is_taken_with_role_selection_and_without(site: Site, role: tuple[bool, bool] | None) -> None:
    site.step(LATER)
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0]), role=role) == 0x0000
    assert site.states() == ["committed", "committed"]


def test_one_destination_does_not_speak_for_another(site: Site) -> None:
    site.step(LATER)
    keeper = Doorkeeper((SENDER, known(commitment_host="127.0.0.1"), known("OTHER", commitment_host="127.0.0.1")))
    receiver, site.pacs.node_port = listening(site.node, keeper)
    answer = site.pacs.answer(site.pacs.requests[0])
    try:
        assert site.pacs.report(*answer, ae_title="OTHER") == 0x0112
        assert site.states() == ["delivered", "delivered"]
        assert site.pacs.report(*answer, ae_title="STRANGER") is None
        assert site.pacs.report(*answer, ae_title="fakepacs") is None
    finally:
        receiver.stop()


def proposed(port: int, ae_title: str) -> set[str]:
    """What a caller gets who proposes everything; nothing when it is turned away."""
    ae = AE(ae_title)
    wanted = [build_context(uid) for uid in (Verification, StorageCommitmentPushModel, CTImageStorage)]
    assoc = ae.associate("127.0.0.1", port, contexts=wanted)
    if not assoc.is_established:
        return set()
    accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
    assoc.release()
    return accepted


@pytest.mark.parametrize(
    ("peer", "gets"),
    [
        (known("PACS", commitment_host="127.0.0.1"), {Verification, StorageCommitmentPushModel}),
        (known("PACS", "127.0.0.1", commitment_host="10.0.0.2"), {Verification, StorageCommitmentPushModel}),
        (
            known("PACS", "127.0.0.1", "127.0.0.1", may_send=True),
            {Verification, StorageCommitmentPushModel, CTImageStorage},
        ),
        (known("PACS", "127.0.0.1", may_send=True), {Verification, CTImageStorage}),
        (known("PACS", "127.0.0.1"), {Verification}),
        (known("PACS", "10.0.0.2", commitment_host="127.0.0.1"), set()),
        (known("PACS", commitment_host="10.0.0.2"), set()),
        (known("OTHER", commitment_host="127.0.0.1"), set()),
    ],
    ids=["host", "address", "sends too", "sends only", "neither", "other address", "other host", "other title"],
)
def test_a_caller_gets_what_it_is_for(
    node: Node, peer: KnownPeer, gets: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    receiver, port = listening(node, Doorkeeper((SENDER, peer)))
    try:
        assert proposed(port, "PACS") == gets
    finally:
        receiver.stop()


def test_a_report_comes_through_while_receiving_is_paused(site: Site) -> None:
    site.step(LATER)
    pause(site.node.database, ["receive"], paused=True, who="test")
    wait_until("the receiver has noticed", lambda: proposed(site.pacs.node_port, site.pacs.ae_title) == set())
    assert site.pacs.report(*site.pacs.answer(site.pacs.requests[0])) == 0x0000


def test_a_slow_dns_is_asked_by_one_caller_at_a_time() -> None:
    answers, asked = threading.Event(), threading.Semaphore(0)
    there = frozenset({ipaddress.ip_address("10.0.0.7")})

    def resolve(host: str) -> frozenset[Any]:
        asked.release()
        assert answers.wait(60)
        return there

    time = [0.0]
    keeper = Doorkeeper((SENDER, known("PACS", commitment_host="pacs.example")), resolve, lambda: time[0])
    callers = [threading.Thread(target=keeper.judge, args=("10.0.0.8", "PACS")) for _ in range(50)]
    for caller in callers:
        caller.start()
    assert asked.acquire(timeout=60)
    wait_until("all but the first have gone", lambda: sum(caller.is_alive() for caller in callers) == 1)
    answers.set()
    for caller in callers:
        caller.join()
    assert not asked.acquire(blocking=False), "somebody else asked too"
    assert keeper.judge("10.0.0.7", "PACS").commits
    answers.clear()
    time[0] = 61.0  # it is asked anew, and what was known is good meanwhile
    again = threading.Thread(target=keeper.judge, args=("10.0.0.8", "PACS"))
    again.start()
    assert asked.acquire(timeout=60)
    assert keeper.judge("10.0.0.7", "PACS").commits
    answers.set()
    again.join()


def test_a_host_name_is_resolved_once_a_minute_and_for_its_own_ae_title_only() -> None:
    asked: list[str] = []
    time = [0.0]
    addresses = [ipaddress.ip_address("10.0.0.7")]

    def resolve(host: str) -> frozenset[Any]:
        asked.append(host)
        return frozenset(addresses)

    keeper = Doorkeeper((SENDER, known("PACS", commitment_host="pacs.example")), resolve, lambda: time[0])
    assert not keeper.judge("10.0.0.7", "STRANGER").may_call
    assert asked == []
    assert [keeper.judge("10.0.0.7", "PACS").commits for _ in range(3)] == [{"pacs"}] * 3
    assert not keeper.judge("10.0.0.7", "PACS").may_send
    assert asked == ["pacs.example"]
    addresses[0] = ipaddress.ip_address("10.0.0.8")
    time[0] = 59
    assert keeper.judge("10.0.0.7", "PACS").may_call
    time[0] = 61
    assert not keeper.judge("10.0.0.7", "PACS").may_call
    assert keeper.judge("10.0.0.8", "PACS").may_call


@pytest.mark.parametrize(
    ("peer", "says"),
    [
        (known("PACS", "10.0.0.2", "pacs.example"), "its address is 10.0.0.2/32"),
        (known("PACS", commitment_host="pacs.example"), "its destination pacs.example is 10.0.0.7"),
        (
            known("PACS", commitment_host="gone.example"),
            "the host name gone.example of its destination cannot be resolved",
        ),
    ],
)
def test_a_destination_that_reports_from_elsewhere_is_told_what_to_configure(peer: KnownPeer, says: str) -> None:
    known_hosts = {"pacs.example": frozenset({ipaddress.ip_address("10.0.0.7")})}
    keeper = Doorkeeper((SENDER, peer), lambda host: known_hosts.get(host, frozenset()))
    verdict = keeper.judge("10.9.9.9", "PACS")
    assert not verdict.may_call
    assert says in verdict.sentence
    assert 'set in the [[peer]] called "pacs": address = "10.9.9.9"' in verdict.sentence


def test_only_this_machine_is_welcome_without_a_configured_sender() -> None:
    keeper = Doorkeeper((known("PACS", commitment_host="10.0.0.2"),))
    assert keeper.judge("127.0.0.1", "ANYBODY").may_send
    assert not keeper.judge("127.0.0.1", "ANYBODY").commits
    assert not keeper.judge("10.0.0.9", "ANYBODY").may_call
    assert keeper.judge("10.0.0.2", "PACS").commits and not keeper.judge("10.0.0.2", "PACS").may_send


# --------------------------------------------------------------------- the rows


def test_the_rows_behave_alike_on_both_databases(database: Database) -> None:
    with database.write() as tx:
        ids = _rows(tx)
        commitments.order(tx, "pacs", ids, None, 3)
        (row,) = commitments.owed(tx, ids, "pacs")
        assert not row["asked"]
        commitments.ask(tx, "1.2.3", "pacs", ids, 300)
        assert commitments.owed(tx, ids, "pacs")[0]["asked"]
        assert commitments.tries(tx, ids, "pacs", 0) == 1
        waited, left = commitments.pending(tx, ids, "pacs") or (0, 0)
        assert 0 <= waited < 60 and 240 < left <= 300
    with database.write() as tx:
        assert not commitments.settle(tx, "1.2.3", ["other"], ["1.9"], {})
        assert not commitments.settle(tx, "1.2.4", ["pacs"], ["1.9"], {})
        assert commitments.settle(tx, "1.2.3", ["pacs", "other"], ["1.9", "7.7"], {})
        assert commitments.is_answered(tx, "1.2.3")
        assert not commitments.owed(tx, ids, "pacs")
    with database.read() as tx:
        assert tx.execute(sa.select(delivery.c.state)).scalar() == "committed"


def _rows(tx: Any) -> int:
    from db.tables import patient

    who = tx.execute(sa.insert(patient).values(**_needed(patient)).returning(patient.c.id)).scalar_one()
    about = _needed(study) | {"patient_id": who}
    study_id = tx.execute(sa.insert(study).values(**about).returning(study.c.id)).scalar_one()
    made = _needed(input_set) | {"study_id": study_id}
    input_set_id = int(tx.execute(sa.insert(input_set).values(**made).returning(input_set.c.id)).scalar_one())
    version = tx.execute(sa.insert(model_version).values(**_needed(model_version)).returning(model_version.c.id))
    of = {"input_set_id": input_set_id, "model_version_id": version.scalar_one(), "sop_uid": "1.9", "state": "ready"}
    result_id = tx.execute(sa.insert(result).values(**_needed(result) | of).returning(result.c.id)).scalar_one()
    to = {"result_id": result_id, "destination": "pacs", "state": "delivered", "delivered": 1.0}
    tx.execute(sa.insert(delivery).values(**_needed(delivery) | to))
    return input_set_id


def _needed(table: sa.Table) -> dict[str, Any]:
    """Something for every column that must have a value."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.nullable or column.primary_key or column.server_default is not None or column.foreign_keys:
            continue
        values[column.name] = "open" if column.name == "state" else "x" if isinstance(column.type, sa.Text) else 0
    return values


# ---------------------------------------------------------------------- Orthanc


def test_orthanc_commits_to_what_it_was_sent_and_not_to_what_it_lost(
    orthanc: Orthanc, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers on a new association, without role selection."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    (peer,) = settings.peer
    assert peer.destination is not None
    to = peer.destination.model_copy(update={"port": orthanc.port})
    at = peer.model_copy(update={"ae_title": orthanc.ae_title, "destination": to})
    there = settings.model_copy(update={"peer": (at,)})
    node = open_node(there)
    receiver, port = listening(node, doorkeeper(there))
    orthanc.know(node.ae_title, port)
    try:
        site = Site(node, FakePacs(), receiver, *results_of(node, 2))
        site.send()
        orthanc.forget(site.sop_uids[1])
        assert site.step() == ""
        assert site.states() == ["committed", "waiting"]
        assert "0x0112 no such object instance" in site.rows()[site.sop_uids[1]]["reason"]
        (ds,) = orthanc.instances()
        wanted = [Wanted(ds.StudyInstanceUID, ds.SeriesInstanceUID, uid) for uid in site.sop_uids]
        assert find.found(node.targets[DESTINATION], node.ae_title, wanted, 10) == {site.sop_uids[0]}
        site.send()
        assert site.step() == ""
        assert site.states() == ["committed", "committed"]
    finally:
        receiver.stop()
        node.close()
