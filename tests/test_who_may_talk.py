"""Who may talk: what callers have to call and to show, how much each may ask of us, and what is said to the others."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.settings import load
from db import quotas, tallies
from db.database import Database, clock
from node.app import Node
from node.configured import accepting_of, doorkeeper
from node.errors import Unavailable
from node.inbound import quotas as waiting
from node.inbound.peers import Doorkeeper, KnownPeer, Verdict
from node.inbound.quotas import Quota, Quotas
from node.operations.alarms.findings import World, look
from node.operations.alarms.rules import AlarmPolicy
from node.reloading import apply
from node.tls.shown import Shown
from tests.answered import answered
from tests.certificates import Authority
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.tls_site import TlsSite, associated, done
from tests.waiting import wait_until

HERE = ipaddress.ip_network("127.0.0.0/8")
CALLING, CALLED, NO_ROOM = (1, 1, 3), (1, 1, 7), (2, 3, 2)
LINE = Shown("TLSv1.3", "AES", "ab" * 32, "O=Tests, CN=ct1", frozenset({"ct1", "10.0.0.5"}))


def known(**peer: Any) -> KnownPeer:
    return KnownPeer(**({"name": "ct", "ae_title": "XRAY1", "network": HERE, "may_send": True} | peer))


def keeper(*, everybody: str = "", **peer: Any) -> Doorkeeper:
    return Doorkeeper((known(**{"may_send_labels": False} | peer),), called_ae=everybody)


def judged(doors: Doorkeeper, title: str = "XRAY1", called: str = "PLANIMETER", line: Shown | None = None) -> Verdict:
    return doors.judge("127.0.0.1", title, called, line)


# ------------------------------------------------------------------------ AE titles


def test_what_everybody_has_to_call_us_and_what_one_peer_has_to() -> None:
    assert judged(keeper(), called="ANYTHING").may_call
    everybody = keeper(everybody="PLANIMETER")
    assert judged(everybody).may_call
    wrong = judged(everybody, called="ARCHIVE")
    assert (wrong.reject, wrong.code) == (CALLED, "called-ae-unknown")
    assert wrong.sentence == "it calls 'ARCHIVE', and has to call PLANIMETER"
    own = keeper(everybody="PLANIMETER", called_ae="AI_CT")
    assert judged(own, called="AI_CT").may_call
    assert judged(own).reject == CALLED
    anybody = Doorkeeper((), called_ae="PLANIMETER")
    assert judged(anybody, "WHOEVER").may_call
    assert judged(anybody, "WHOEVER", called="planimeter").reject == CALLED
    assert anybody.judge("127.0.0.1", "WHOEVER").may_call  # nobody asked what it calls


@pytest.mark.parametrize("said", ["xray1", "XRay1", "XRAY1\0\0", "X RAY1", "XRAY1\t", "\0XRAY1"])
def test_a_title_that_differs_in_capitals_or_padding_is_another_one_and_is_said_to_be_near(said: str) -> None:
    near = judged(keeper(), said)
    assert (near.may_call, near.reject, near.code) == (False, CALLING, "unknown-caller")
    assert near.sentence.startswith("XRAY1 was probably meant: it came as '")
    assert "compared letter by letter" in near.sentence
    assert all(c.isprintable() or c == "\n" for c in near.sentence.split("to let it send")[0])
    called = judged(keeper(everybody="XRAY1"), called=said)
    assert called.reject == CALLED
    assert called.sentence.startswith("XRAY1 was probably meant")


def test_a_title_that_is_nothing_like_it_is_not_said_to_be_meant() -> None:
    for said in ("XRAY2", "XRAY", "MR1"):
        assert "probably" not in judged(keeper(), said).sentence


# --------------------------------------------------------------------- certificates


@pytest.mark.parametrize(
    ("asked", "line", "code"),
    [
        ({"needs_tls": True}, None, "tls-required"),
        ({"needs_tls": True}, Shown("TLSv1.3", "AES"), ""),
        ({"needs_tls": True, "sha256": frozenset({"ab" * 32})}, LINE, ""),
        ({"needs_tls": True, "sha256": frozenset({"cd" * 32})}, LINE, "certificate-unknown"),
        ({"needs_tls": True, "sha256": frozenset({"ab" * 32})}, Shown("TLSv1.3", "AES"), "certificate-unknown"),
        ({"needs_tls": True, "sha256": frozenset({"ab" * 32})}, None, "tls-required"),
        ({"needs_tls": True, "names": frozenset({"ct1"})}, LINE, ""),
        ({"needs_tls": True, "names": frozenset({"10.0.0.5"})}, LINE, ""),
        ({"needs_tls": True, "names": frozenset({"ct2"})}, LINE, "certificate-unknown"),
        ({"needs_tls": True, "names": frozenset({"ct2"}), "sha256": frozenset({"ab" * 32})}, LINE, ""),
    ],
)
def test_a_peer_is_known_by_what_it_shows(asked: dict[str, Any], line: Shown | None, code: str) -> None:
    verdict = judged(keeper(**asked), line=line)
    assert verdict.code == code
    assert verdict.may_call is verdict.may_send is not bool(code)
    assert verdict.reject == CALLING


def test_of_two_peers_of_one_title_the_certificate_tells_which_it_is() -> None:
    first = known(name="a", may_send_labels=False, needs_tls=True, sha256=frozenset({"ab" * 32}))
    second = known(name="b", may_send_labels=True, needs_tls=True, sha256=frozenset({"cd" * 32}))
    doors = Doorkeeper((first, second))
    other = Shown("TLSv1.3", "AES", "cd" * 32)
    assert (judged(doors, line=LINE).peer, judged(doors, line=LINE).teaches) == (first, False)
    assert (judged(doors, line=other).peer, judged(doors, line=other).teaches) == (second, True)


def test_who_reports_on_storage_commitment_shows_its_certificate_too() -> None:
    asked: dict[str, Any] = {"may_send": False, "commitment_host": "127.0.0.1", "needs_tls": True}
    doors = Doorkeeper(
        (
            known(may_send_labels=False, names=frozenset({"ct1"}), **asked),
            known(name="o", ae_title="O", may_send_labels=False),
        )
    )
    assert judged(doors, line=LINE).commits == {"ct"}
    assert not judged(doors, line=None).may_call


def rejected(call: Callable[[], Any]) -> tuple[int, int, int]:
    assoc, _ = answered(call)
    assert assoc.is_rejected
    said = assoc.acceptor.primitive
    return said.result, said.result_source, said.diagnostic


def test_over_the_network_the_right_ones_get_in_and_the_others_their_reason(tls_site: TlsSite) -> None:
    right, wrong = tls_site.authority.issue("right"), tls_site.authority.issue("wrong")
    doors = keeper(everybody="PLANIMETER", needs_tls=True, sha256=frozenset({right.sha256.replace(":", "").lower()}))
    running = tls_site.start(doors)
    assert done(tls_site.associate(running.tls_port, right, title="XRAY1"))
    assert rejected(partial(tls_site.associate, running.tls_port, wrong, title="XRAY1")) == CALLING
    assert "of O=Tests, CN=wrong, sha256" in tls_site.refused("certificate-unknown")
    assert rejected(partial(associated, running.port, title="XRAY1")) == CALLING
    assert "has to call over TLS" in tls_site.refused("tls-required")
    assert rejected(partial(tls_site.associate, running.tls_port, right, called="ANOTHER", title="XRAY1")) == CALLED
    assert "has to call PLANIMETER" in tls_site.refused("called-ae-unknown")
    assert rejected(partial(tls_site.associate, running.tls_port, right, title="xray1")) == CALLING
    assert "XRAY1 was probably meant" in tls_site.refused("unknown-caller")


# -------------------------------------------------------------------- configuration

PEER = """
[[peer]]
name = "ct"
ae_title = "XRAY1"
address = "127.0.0.1"
may_send = true
"""


def test_the_keys_of_a_peer_reach_the_door_and_are_taken_without_a_restart(
    node: Node, pacs: FakePacs, authority: Authority
) -> None:
    configuration = node.configuration
    ours = authority.issue("node")
    tls = {"certificate": ours.certificate, "key": ours.key, "ca_file": authority.pem}
    configuration.settings = load(None, {"tls": tls, "node": {"home": node.archive.home}})
    assert accepting_of(configuration.settings) is not None
    digest = ":".join(["AB"] * 32)
    live = configuration.live().version
    first = apply(configuration, PEER, "text", who="ann", why="", after=live)
    assert configuration.live().doorkeeper.judge("127.0.0.1", "XRAY1", "X", None).may_call
    said = PEER + f'called_ae = "AI"\ncertificate_sha256 = ["{digest}"]\nassociations = 2\ngb_per_hour = 0.5\n'
    apply(configuration, said, "text", who="ann", why="", after=first)
    doors = configuration.live().doorkeeper
    assert not doors.judge("127.0.0.1", "XRAY1", "AI", None).may_call
    assert not doors.judge("127.0.0.1", "XRAY1", "X", LINE).may_call
    peer = doors.judge("127.0.0.1", "XRAY1", "AI", LINE).peer
    assert peer is not None
    assert peer.quota == Quota(associations=2, bytes=500_000_000)
    assert doors.counts_hours


def test_the_policy_of_the_node_is_its_own_title(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[node]\nae_title = "AI_NODE"\n[receive]\nrequire_called_ae = true\n' + PEER)
    doors = doorkeeper(load(file))
    assert judged(doors, called="AI_NODE").may_call
    assert not judged(doors, called="PLANIMETER").may_call


# --------------------------------------------------------------------------- quotas


def test_one_association_too_many_is_put_off_and_the_next_one_is_let_in(
    tls_site: TlsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = tls_site.start(keeper(quota=Quota(associations=2)))
    two = [associated(running.port, title="XRAY1") for _ in range(2)]
    assert all(assoc.is_established for assoc in two)
    assert rejected(partial(associated, running.port, title="XRAY1")) == NO_ROOM
    assert "may have 2 associations at a time" in tls_site.refused("quota-associations")
    monkeypatch.setattr(waiting, "ENDING_SECONDS", 60)
    for _ in range(5):  # whoever ends one may begin the next at once
        two.pop().release()
        two.insert(0, associated(running.port, title="XRAY1"))
        assert two[0].is_established
    for assoc in two:
        assoc.release()
    found = {finding.kind: finding for finding in findings(tls_site.node.database)}
    assert found["quota"].subject == "XRAY1"  # type: ignore[index]


def test_the_receivers_of_a_home_folder_let_in_as_many_together_as_one_may(
    tls_site: TlsSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = keeper(quota=Quota(associations=2))
    ports = [tls_site.start(doors).port for _ in range(2)]
    two = [associated(port, title="XRAY1") for port in ports]
    assert all(assoc.is_established for assoc in two)
    for port in ports:
        assert rejected(partial(associated, port, title="XRAY1")) == NO_ROOM
    monkeypatch.setattr(waiting, "ENDING_SECONDS", 60)
    two.pop().release()
    two.append(associated(ports[0], title="XRAY1"))
    assert two[1].is_established  # what is given up at one may be had at the other
    for assoc in two:
        assoc.release()


def findings(database: Database) -> list[Any]:
    with database.read() as tx:
        return look(tx, AlarmPolicy(), World(free_bytes=10**12, at=0.0))


def test_what_is_too_much_in_an_hour_is_put_off_by_every_receiver_of_the_database(tls_site: TlsSite) -> None:
    doors = keeper(quota=Quota(instances=3))
    one, other = tls_site.start(doors), tls_site.start(doors)
    images = small_series()
    assert len(images) > 4
    assoc = associated(one.port, title="XRAY1")
    statuses = [assoc.send_c_store(ds).Status for ds in images[:5]]
    assert statuses == [0x0000] * 3 + [0xA700] * 2
    assoc.release()
    assert "has sent 3 instances within an hour" in tls_site.refused("quota-hour", 2)
    assert rejected(partial(associated, one.port, title="XRAY1")) == NO_ROOM
    wait_until("the other one knows of it", lambda: not done(associated(other.port, title="XRAY1")), 30)
    tls_site.refused("quota-hour", 4)
    with tls_site.node.database.read() as tx:
        (used,) = quotas.used(tx).values()
        assert used[0] == 3
        assert used[1] > 3 * 1000
        counted = tallies.read(tx)
    assert counted["rejected", "XRAY1", "quota-hour"] >= 4


def test_an_hour_passes(database: Database) -> None:
    with database.write() as tx:
        step = int(clock(tx) // quotas.STEP_SECONDS)
        for ago, count in ((0, 1), (quotas.STEPS - 1, 10), (quotas.STEPS, 100), (quotas.STEPS + 5, 1000)):
            tallies.add(
                tx, {(quotas.INSTANCES, "ct", str(step - ago)): count, (quotas.BYTES, "ct", str(step - ago)): 7}
            )
        used = quotas.used(tx)["ct"]
        assert used in ((11, 14), (1, 7))  # a step may have begun meanwhile
        quotas.add(tx, {"ct": (5, 50), "mr": (1, 1)})
        left = [key for key in tallies.read(tx) if key[0] == quotas.INSTANCES]
    assert 3 <= len(left) <= 4  # what is older than an hour is gone
    with database.read() as tx:
        assert quotas.used(tx)["mr"] == (1, 1)


def test_bytes_are_counted_and_what_cannot_be_written_is_kept(database: Database, tmp_path: Path) -> None:
    limited, quota = Quotas(database, tmp_path), Quota(bytes=1000)
    limited.require_left("ct", quota)
    limited.count("ct", quota, 600)
    limited.require_left("ct", quota)
    limited.count("ct", quota, 600)
    for _ in range(3):  # written or not, it is counted once
        with pytest.raises(Unavailable, match="quota-hour"):
            limited.require_left("ct", quota)
        limited.keep_up(hourly=True)
    another = Quotas(database, tmp_path)
    another.require_left("ct", quota)
    another.keep_up(hourly=True)
    with pytest.raises(Unavailable, match="quota-hour"):
        another.require_left("ct", quota)
    with database.read() as tx:
        assert quotas.used(tx) == {"ct": (2, 1200)}


def test_a_place_is_held_until_its_connection_ends(database: Database, tmp_path: Path) -> None:
    limited, quota, over = Quotas(database, tmp_path), Quota(associations=1), threading.Event()
    inside = threading.Event()

    def stays() -> None:
        limited.enter("ct", quota)
        inside.set()
        over.wait(60)
        limited.leave()

    thread = threading.Thread(target=stays)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(Unavailable, match="quota-associations"):
        limited.enter("ct", quota)
    limited.enter("mr", quota)
    over.set()
    thread.join()
    limited.enter("ct", quota)
