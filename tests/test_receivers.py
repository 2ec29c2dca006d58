"""Several receivers at one port: one that is killed takes its own associations with it, and nothing else."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from config.settings import Settings, load
from db import processes
from db.database import open_database, sqlite_url
from db.tables import instance
from node.outbound.association import stand_aside
from node.roles import _share
from tests.answered import answered
from tests.running import RunningNode
from tests.synthetic import small_series
from tests.waiting import wait_until

Start = Callable[..., RunningNode]


def associate(port: int) -> Any:
    ae = AE("CT1")
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    return stand_aside(ae.associate("127.0.0.1", port))


class Scanner:
    """One association that sends its images, over and over, until it is told to stop or the association is gone."""

    def __init__(self, port: int, patient_id: str) -> None:
        self.images = small_series((40, 40, 400), patient_id=patient_id)
        self.assoc = associate(port)
        self.acknowledged: list[str] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        for ds in itertools.cycle(self.images):
            if self.stop.is_set():
                break
            try:
                answer = self.assoc.send_c_store(ds)
            except RuntimeError:
                return
            if answer.get("Status") != 0x0000:
                return
            self.acknowledged.append(str(ds.SOPInstanceUID))
        if self.assoc.is_established:
            self.assoc.release()


def settings_with(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "receivers.toml"
    file.write_text(f"[receive]\n{text}\n")
    return load(file)


def receiver_of(node: RunningNode, assoc: Any) -> int:
    """The pid of the receiver that has the other end of an association."""
    ours = assoc.dul.socket.socket.getsockname()[1]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [one[9] for one in lines if int(one[2].split(":")[1], 16) == ours and one[3] == "01"]
    for pid in node.processes("receive"):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
            except FileNotFoundError:
                continue
    raise AssertionError("no receiver has it")


def kill(pid: int) -> None:
    """SIGKILL, until the last of its threads has ended; its parent need not have seen that."""

    def is_dead() -> bool:
        try:
            state, *said = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return state in "ZX" and int(said[16]) <= 1

    os.kill(pid, signal.SIGKILL)
    wait_until("it is dead", is_dead)


@pytest.mark.filterwarnings("ignore")
def test_a_receiver_that_is_killed_takes_nothing_but_its_own_associations_with_it(
    start_node: Start, tmp_path: Path
) -> None:
    config = tmp_path / "two.toml"
    config.write_text("[receive]\nprocesses = 2\nquiet_seconds = 600\n[hosts]\nat_start = false\n")
    node = start_node("--config", str(config), home=tmp_path / "home")
    pids = set(node.processes("receive"))
    assert len(pids) == 2
    database = open_database(sqlite_url(node.home / "planimeter.db"))

    def beating() -> set[str]:
        with database.read() as tx:
            rows = processes.listing(tx)
        return {row["name"].partition("/")[2] for row in rows if row["role"] == "receive"}

    wait_until("both are heard of", lambda: beating() == {"receive-1", "receive-2"})

    scanners: dict[int, Scanner] = {}

    def one_at_each() -> bool:
        scanner = Scanner(node.port, f"P{len(scanners)}")
        pid = receiver_of(node, scanner.assoc)
        if pid in scanners:
            scanner.assoc.release()
        else:
            scanners[pid] = scanner
        return set(scanners) == pids

    wait_until("each receiver has an association", one_at_each)
    for scanner in scanners.values():
        scanner.thread.start()
    wait_until("both send", lambda: all(len(one.acknowledged) > 5 for one in scanners.values()))
    killed, lives = sorted(pids)
    kill(killed)
    meanwhile = associate(node.port)
    assert meanwhile.is_established, "the port answers at once"
    meanwhile.release()
    scanners[killed].thread.join(60)
    so_far = len(scanners[lives].acknowledged)
    wait_until("the other association goes on", lambda: len(scanners[lives].acknowledged) > so_far + 5)
    wait_until("the killed one is there again", lambda: len(node.processes("receive")) == 2)
    scanners[lives].stop.set()
    scanners[lives].thread.join(60)
    assert not scanners[lives].assoc.is_aborted
    wait_until("it listens again", lambda: node.log.count("listens on") == 3)
    with database.read() as tx:
        rows = {row.sop_uid: row for row in tx.execute(sa.select(instance))}
    for scanner in scanners.values():
        assert set(scanner.acknowledged) - set(rows) == set(), "lost"
    for row in rows.values():
        assert dcmread(node.home / row.path).SOPInstanceUID == row.sop_uid, "partial"

    def crashes() -> list[int]:
        with database.read() as tx:
            return sorted(row["crashes"] for row in processes.listing(tx) if row["role"] == "receive")

    wait_until("it is counted", lambda: crashes() == [0, 1])
    assert node.processes("receive").count(lives) == 1
    database.dispose()


@pytest.mark.filterwarnings("ignore")
def test_a_peers_associations_are_counted_over_all_receivers_and_die_with_theirs(
    start_node: Start, tmp_path: Path
) -> None:
    config = tmp_path / "quota.toml"
    config.write_text(
        "[receive]\nprocesses = 2\nquiet_seconds = 600\n[hosts]\nat_start = false\n"
        '[[peer]]\nname = "ct1"\nae_title = "CT1"\naddress = "127.0.0.1"\nmay_send = true\nassociations = 2\n'
    )
    node = start_node("--config", str(config), home=tmp_path / "home")
    wait_until("both listen", lambda: node.log.count("listens on") == 2)
    inside: dict[int, list[Any]] = {pid: [] for pid in node.processes("receive")}

    def one_at_each() -> bool:
        assoc = associate(node.port)
        if not assoc.is_established:  # the one before has not quite ended
            return False
        pid = receiver_of(node, assoc)
        if inside[pid]:
            assoc.release()
        else:
            inside[pid].append(assoc)
        return all(inside.values())

    wait_until("each receiver has one of the two", one_at_each)
    for _ in range(4):  # whichever receiver it comes to
        assert answered(partial(associate, node.port))[0].is_rejected
    killed = min(inside)
    kill(killed)
    again = associate(node.port)  # its place is free at once: nobody has to notice that it died
    assert again.is_established
    for assoc in (again, *(one for pid, of in inside.items() if pid != killed for one in of)):
        assoc.release()


@pytest.mark.parametrize(("processes", "associations"), [(1, 50), (3, 50), (4, 4), (4, 2), (2, 1), (0, 7)])
def test_the_shares_of_all_receivers_are_what_the_configuration_says(
    tmp_path: Path, processes: int, associations: int
) -> None:
    settings = settings_with(tmp_path, f"processes = {processes}\nassociations = {associations}")
    count = settings.receive.receivers
    roles = [f"receive-{number + 1}" for number in range(count)] if count > 1 else ["receive"]
    shares = [_share(settings, role) for role in roles]
    assert sum(shares) == associations
    assert min(shares) >= 1
    if processes and processes <= associations:
        assert count == processes


def test_by_themselves_receivers_leave_half_of_the_cores_to_the_rest(tmp_path: Path) -> None:
    assert 1 <= load(None).receive.receivers <= 4
