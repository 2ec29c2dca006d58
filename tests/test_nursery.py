"""Model hosts are forked from a process that has loaded the libraries, and are as if they had been started anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models import card, client
from models.host import EXIT_UNUSABLE_BUNDLE
from node import nursery as ordering
from node.errors import Failed
from node.hosts import Hosts
from node.nursery import UNKNOWN, Forked, Nursery
from tests import mini_bundle
from tests.nurseries import answer
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("patient_nursery")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.stop()


@pytest.fixture
def hosts(nursery: Nursery) -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        made = Hosts(Path(folder), "cpu", nursery=nursery)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mini_bundle.make(tmp_path_factory.mktemp("plain"), "plain")


def only(hosts: Hosts) -> Forked:
    (host,) = hosts._hosts.values()
    return host.process


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_hosts_live_on_when_their_nursery_dies_and_the_next_one_comes_from_another(
    hosts: Hosts, nursery: Nursery, bundle: Path
) -> None:
    before = answer(hosts, bundle)
    host = only(hosts)
    first = parent(host.pid)
    os.kill(first, signal.SIGKILL)
    wait_until("the nursery is gone", lambda: parent(host.pid) != first)
    assert host.poll() is None
    again = answer(hosts, bundle)
    assert only(hosts) is host
    np.testing.assert_array_equal(again.labels, before.labels)
    host.kill()
    assert host.wait(60) == UNKNOWN, "nobody is left to say how it ended"
    np.testing.assert_array_equal(answer(hosts, bundle).labels, before.labels)
    assert parent(only(hosts).pid) != first


def test_how_a_host_ended_is_told_as_of_any_child(nursery: Nursery, tmp_path: Path, bundle: Path) -> None:
    words = ["--card", "0" * 64, "--socket", str(tmp_path / "s"), "--device", "cpu"]
    theirs, ours = os.pipe()
    with_another_card, without_anything = nursery.start([str(bundle), *words], theirs), nursery.start([], theirs)
    assert with_another_card.wait(60) == EXIT_UNUSABLE_BUNDLE
    assert without_anything.wait(60) == 2, "argparse's"
    good = ["--card", card.read(bundle).card_sha256, "--socket", str(tmp_path / "s"), "--device", "cpu"]
    killed = nursery.start([str(bundle), *good], theirs)
    with pytest.raises(subprocess.TimeoutExpired):
        killed.wait(0)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    assert killed.poll() == -signal.SIGKILL
    killed.kill()  # of what has ended, nothing more is asked
    os.close(theirs)
    os.close(ours)


def test_a_host_has_ended_also_where_its_nursery_stands_still(
    nursery: Nursery, tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "TOLD_SECONDS", 0.5)
    theirs, ours = os.pipe()
    good = ["--card", card.read(bundle).card_sha256, "--socket", str(tmp_path / "s"), "--device", "cpu"]
    host = nursery.start([str(bundle), *good], theirs)
    stopped = parent(host.pid)
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(host.wait)
        try:
            wait_until("it waits", host._lock.locked)
            host.kill()
            assert waiting.result(60) == UNKNOWN
        finally:
            os.kill(stopped, signal.SIGCONT)
    os.close(theirs)
    os.close(ours)


def test_a_host_has_nothing_of_the_others_and_a_name_of_its_own(hosts: Hosts, nursery: Nursery, bundle: Path) -> None:
    """A descriptor of another host's lifeline that it held would keep that one alive."""
    hosts.address(str(bundle), card.read(bundle).card_sha256)
    first = only(hosts)
    theirs, ours = os.pipe()
    other = [str(bundle), "--card", card.read(bundle).card_sha256, "--socket", str(hosts.folder / "other.sock")]
    second = nursery.start([*other, "--device", "cpu"], theirs)
    os.close(theirs)
    wait_until("it listens", lambda: client.room(hosts.folder / "other.sock"), 60)
    told = Path(f"/proc/{second.pid}/cmdline").read_bytes()
    assert told.startswith(b"planimeter model host: plain")
    assert os.getsid(second.pid) == second.pid
    said = Path(f"/proc/{second.pid}/fd/2").readlink()

    def pipes() -> int:
        held = []
        for one in Path(f"/proc/{second.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                held.append(one.readlink())
        return sum(one.name.startswith("pipe:") for one in held if one != said)

    wait_until("it holds its lifeline alone", lambda: pipes() == 1)
    os.close(ours)
    assert second.wait(60) == -signal.SIGKILL, "its lifeline was cut"
    assert first.poll() is None


def test_randomness_is_not_shared(nursery: Nursery, tmp_path: Path) -> None:
    """Two processes of one parent would draw the same numbers."""
    program = (
        "import os, random, numpy, torch; from models import nursery\n"
        "from models import host\n"
        "host.main = lambda words: print(random.random(), numpy.random.rand(), torch.rand(1).item()) or 0\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        os._exit(nursery._host([str(os.getpid()), '--lifeline', '0'], 0) or print(end='', flush=True) or 0)\n"
        "    os.wait()\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    one, other = (line.split() for line in done.stdout.splitlines())
    assert not set(one) & set(other)


def test_after_the_end_no_host_is_started(bundle: Path) -> None:
    ended = Nursery()
    ended.stop()
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        hosts = Hosts(Path(folder), "cpu", nursery=ended)
        with pytest.raises(Failed, match="about to end") as failed:
            hosts.address(str(bundle), card.read(bundle).card_sha256)
        assert failed.value.code == "host-not-started"
        hosts.stop()
