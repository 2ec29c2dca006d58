"""The memory of a device belongs to the networks that were used last; one that is at work is never ended."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from models import card, client
from models.wire import SharedArray
from node import warm
from node.admission import BASE_BYTES, Limits, Tenant, goes_first, has_grown, needed, shortage, too_many
from node.app import Node
from node.errors import Unavailable
from node.hosts import KNOWN, Hosts, ask
from node.supervisor import Supervisor
from tests import mini_bundle
from tests.nurseries import SHARED
from tests.waiting import wait_until

GB = 1_000_000_000


def tenant(name: str, held: float, peak: float, *, busy: bool = False, last: float = 0) -> Tenant:
    return Tenant(name, int(held * GB), int(peak * GB), busy=busy, last=last)


def test_what_those_at_work_will_still_take_is_not_free() -> None:
    idle, works = tenant("a", 2, 6), tenant("b", 2, 5, busy=True)
    assert shortage(4 * GB, 4 * GB, [idle], Limits()) <= 0
    assert shortage(4 * GB, 4 * GB, [idle, works], Limits()) == 3 * GB
    assert shortage(4 * GB, None, [idle, works], Limits()) <= 0, "nobody knows"
    assert shortage(4 * GB, 40 * GB, [idle, works], Limits(memory_bytes=10 * GB)) == 1 * GB
    assert shortage(4 * GB, 3 * GB, [], Limits(memory_bytes=10 * GB)) == 1 * GB


def test_the_least_recently_used_goes_first_and_none_at_work() -> None:
    tenants = [tenant("a", 1, 1, last=5), tenant("b", 1, 1, last=3), tenant("c", 1, 1, busy=True, last=1)]
    first = goes_first(tenants)
    assert first is not None
    assert first.card_sha256 == "b"
    assert goes_first(tenants[2:]) is None
    assert too_many(tenants, Limits(warm=3))
    assert not too_many(tenants, Limits(warm=4))
    assert not too_many(tenants, Limits())


def test_a_network_needs_what_it_took_last_else_what_its_weights_say(tmp_path: Path) -> None:
    weights, known = tmp_path / "model.pt", tmp_path / "known.json"
    weights.write_bytes(bytes(1000))
    assert needed(known, weights, Limits()) == BASE_BYTES + 4000
    known.write_text(json.dumps({"CPU, 8 MB": {"peak": 123}, "a GPU, 8 MB": {"peak": 456}}))
    assert needed(known, weights, Limits()) == 456
    known.write_text(json.dumps({"CPU, 8 MB": {"peak": 30 * GB}}))
    assert needed(known, weights, Limits(memory_bytes=8 * GB)) == 8 * GB, "alone it gets everything, and climbs down"


def test_a_leak_is_told_from_the_memory_that_work_leaves_behind() -> None:
    assert not has_grown(int(1.2 * GB), int(0.5 * GB), Limits())
    assert has_grown(int(1.6 * GB), int(0.5 * GB), Limits())
    assert has_grown(int(1.2 * GB), int(0.5 * GB), Limits(memory_bytes=2 * GB))
    assert not has_grown(int(1.2 * GB), int(1.1 * GB), Limits(memory_bytes=2 * GB)), "a large network is no leak"


@dataclass
class Asked(Hosts):
    """Notes which networks it is asked for, and starts none."""

    names: list[str] = field(default_factory=list)

    def address(self, folder: str, card_sha256: str) -> Path:  # noqa: ARG002 - as its caller has it
        self.names.append(Path(folder).name)
        return Path()


@pytest.mark.parametrize(("most", "loaded"), [(0, ["ct_lungs", "pet_sarcoma"]), (1, ["ct_lungs"])])
def test_no_more_are_loaded_at_the_start_than_may_stay(
    node: Node, tmp_path: Path, most: int, loaded: list[str]
) -> None:
    both = replace(node, routes=(replace(node.routes[0], networks=("pet_sarcoma", "ct_lungs")),))
    hosts = Asked(tmp_path, "cpu")
    Supervisor(both, {}, "cpu", Limits(warm=most))._warm_up(hosts)
    assert hosts.names == loaded


# ------------------------------------------------------------------ real hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Hosts of which one fits at a time."""
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        made = Hosts(
            Path(folder), "cpu", Limits(memory_bytes=900_000_000), warm.folder(tmp_path / "home"), nursery=SHARED
        )
        yield made
        made.stop()


def run(hosts: Hosts, bundle: Path) -> client.Answer:
    address = hosts.address(str(bundle), card.read(bundle).card_sha256)
    channel = SharedArray.of(np.full((8, 20, 24), -700, np.float32))
    try:
        return client.segment(address, [channel], np.diag([2.0, 2.0, 2.0, 1.0]), limit_seconds=120)
    finally:
        channel.close()


def pid(hosts: Hosts, bundle: Path) -> int | None:
    host = hosts._hosts.get(card.read(bundle).card_sha256)
    return host.process.pid if host is not None and host.process.poll() is None else None


def told(tmp_path: Path) -> list[tuple[str, str]]:
    return [(one["network"], one["state"]) for one in warm.read(tmp_path / "home")]


def test_the_idle_one_makes_room_and_the_one_at_work_is_waited_for(tmp_path: Path, hosts: Hosts) -> None:
    go_on = tmp_path / "go on"
    first, second = (
        mini_bundle.make(tmp_path, "first"),
        mini_bundle.make(tmp_path, "second", before=mini_bundle.halts(mini_bundle.marks(), go_on)),
    )
    address = hosts.serve()
    assert (run(hosts, first).labels == 1).all()
    assert pid(hosts, first)
    answers: list[client.Answer] = []

    def was_there_room() -> bool:
        """As a worker does: who has just answered may still be tidying up, and then there is none for a moment."""
        with contextlib.suppress(Unavailable):
            answers.append(run(hosts, second))
        return bool(answers)

    working = threading.Thread(target=lambda: wait_until("there is room", was_there_room, 240))
    working.start()
    wait_until("the second is at work", lambda: mini_bundle.marked(hosts.folder), 120)
    assert pid(hosts, first) is None, "it was idle"
    at_work = pid(hosts, second)
    with pytest.raises(Unavailable) as unavailable:
        ask(address, card.read(first))
    assert unavailable.value.code == "device-full"
    assert unavailable.value.retry_seconds
    assert pid(hosts, second) == at_work
    wait_until("it is told", lambda: told(tmp_path) == [("second 0.1", "at work")])
    hosts._turned_away[card.read(first).card_sha256] = time.monotonic() - 1000  # it has waited long enough
    with pytest.raises(Unavailable):
        ask(address, card.read(first))
    assert pid(hosts, second) == at_work, "asked to go, but not before it is done"
    go_on.touch()
    working.join()
    assert (answers[0].labels == 1).all()
    wait_until("the second has gone", lambda: pid(hosts, second) is None)
    assert (run(hosts, first).labels == 1).all()
    kept = {file.parent: json.loads(file.read_text()) for file in warm.folder(tmp_path / "home").glob(f"*/{KNOWN}")}
    assert len(kept) == 2, "the peak of each"
    wait_until("it is told", lambda: any(one["memory_mb"] > 50 for one in warm.read(tmp_path / "home")))
    hosts.stop()
    assert warm.read(tmp_path / "home") == []


def test_a_host_that_keeps_what_it_should_not_starts_anew_between_two_studies(tmp_path: Path, hosts: Hosts) -> None:
    code = "$lambda x: (setattr(torch, 'kept', [*getattr(torch, 'kept', []), torch.ones(90_000_000)]), x)[1]"
    leaks = mini_bundle.make(tmp_path, "leaks", before=[{"_target_": "Lambdad", "keys": "image", "func": code}])
    assert (run(hosts, leaks).labels == 1).all()
    before = pid(hosts, leaks)
    (host,) = hosts._hosts.values()
    wait_until("it has tidied up", lambda: (room := host.room()) is not None and not room["busy"])
    assert (run(hosts, leaks).labels == 1).all()
    assert pid(hosts, leaks) not in (None, before)
    assert before is not None
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)
