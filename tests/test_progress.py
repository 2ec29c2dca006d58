"""How far a network is: counted in windows, told by the host, written into the job's row, shown while it runs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer

from db import jobs, lost_jobs, overview, progress
from db.database import Database
from db.job_states import Claim, JobKind, JobState, LostLease, Report
from models import card, client
from models.network import Network
from models.windows import Windows, expected
from models.wire import SharedArray
from node import progress as writing
from node.hosts import Hosts
from node.operations.status import bar
from node.progress import Progress
from tests import mini_bundle
from tests.nurseries import SHARED

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])

SLIDING: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({"roi_size": (16, 16, 16), "overlap": 0.25}, (1, 1, 40, 33, 16)),
    ({"roi_size": (16, 16, 16), "overlap": 0.25, "sw_batch_size": 4}, (1, 1, 17, 90, 12)),
    ({"roi_size": (16, 24, 8), "overlap": 0.5, "mode": "gaussian", "sw_batch_size": 3}, (1, 2, 64, 25, 50)),
    ({"roi_size": (16, 16, 16), "overlap": (0.0, 0.5, 0.75)}, (1, 1, 31, 32, 33)),
    ({"roi_size": (-1, 16, 16), "overlap": 0.625}, (2, 1, 9, 40, 40)),
    ({"roi_size": 12, "overlap": 0.99}, (1, 1, 13, 14, 15)),
    ({"roi_size": (8, 8, 8), "overlap": 0.25, "buffer_steps": 2, "sw_batch_size": 2}, (1, 1, 20, 20, 40)),
    ({"roi_size": (16, 16), "overlap": 0.25}, (1, 3, 50, 41)),
]


def counted(inferer: Any, network: torch.nn.Module, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Every step that was told."""
    told: list[tuple[int, int]] = []
    windows = Windows(network, inferer)
    windows.expect(1, lambda done, of: told.append((done, of)))
    with torch.no_grad():
        windows.around(inferer)(torch.zeros(shape), network)
    return told


@pytest.mark.parametrize(("how", "shape"), SLIDING)
def test_as_many_windows_are_expected_as_monai_makes(how: dict[str, Any], shape: tuple[int, ...]) -> None:
    told = counted(SlidingWindowInferer(**how), torch.nn.Identity(), shape)
    assert told[-1][0] == told[-1][1] == expected(SlidingWindowInferer(**how), shape)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_network_in_two_dimensions_over_slices_and_one_in_a_single_window() -> None:
    slices = SliceInferer(roi_size=(16, 16), spatial_dim=2, overlap=0.5, sw_batch_size=4)
    told = counted(slices, torch.nn.Identity(), (1, 1, 32, 20, 7))
    assert told[-1] == (3 * 2 * 7, 3 * 2 * 7)
    assert counted(SimpleInferer(), torch.nn.Identity(), (1, 1, 9, 9, 9)) == [(1, 1)]


def test_an_inferer_that_nobody_knows_is_counted_without_a_total() -> None:
    class Twice(SimpleInferer):
        def __call__(self, inputs: Any, network: Any, *_args: Any, **_kwargs: Any) -> Any:
            return network(network(inputs))

    assert counted(Twice(), torch.nn.Identity(), (1, 1, 9, 9, 9)) == [(1, 0), (2, 0)]


def test_windows_that_are_done_again_do_not_go_beyond_the_end() -> None:
    """What runs out of memory is run again with less: the inferer of the bundle is called a second time."""
    network, inner = torch.nn.Identity(), SlidingWindowInferer((8, 8, 8), overlap=0)
    told: list[tuple[int, int]] = []
    windows = Windows(network, inner)
    windows.expect(1, lambda done, of: told.append((done, of)))
    windows.around(lambda *given: (inner(*given), inner(*given))[1])(torch.zeros(1, 1, 16, 16, 16), network)
    assert told[-1] == (8, 8)


@pytest.mark.filterwarnings("ignore")
def test_passes_and_pictures_multiply_the_windows(tmp_path: Path) -> None:
    root = mini_bundle.make(tmp_path)
    text = (root / card.FILE).read_text()
    asked = '[uncertainty]\nmethod = "flips"\naxes = ["front-back", "feet-head"]'
    (root / card.FILE).write_text(text.replace("[files]", f"{asked}\n\n[files]"))
    card.seal(root)
    told: list[tuple[int, int]] = []
    network = Network(card.read(root))
    volume = np.zeros((16, 24, 24), np.float32)
    for _ in range(2):
        told.clear()
        labels = np.empty(volume.shape, np.uint8)
        network.segment([volume], AFFINE, labels, on_windows=lambda done, of: told.append((done, of)))
        assert {of for _, of in told} == {4 * 2 * 2}
        assert told[-1][0] == 16
    network.segment([volume], AFFINE, np.empty(volume.shape, np.uint8))
    assert len(told) == 16, "nobody asked"


# ---------------------------------------------------------------- the host tells


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="planimeter-") as folder:
        made = Hosts(Path(folder), "cpu", nursery=SHARED)
        yield made
        made.stop()


def test_the_host_says_how_far_it_is_and_answers_with_what_the_passes_say(tmp_path: Path, hosts: Hosts) -> None:
    root = mini_bundle.make(tmp_path)
    text = (root / card.FILE).read_text()
    asked = '[uncertainty]\nmethod = "flips"\naxes = ["left-right"]'
    (root / card.FILE).write_text(text.replace("[files]", f"{asked}\n\n[files]"))
    card.seal(root)
    bundle = card.read(root)
    address = hosts.address(str(root), bundle.card_sha256)
    volume = SharedArray.of(np.random.default_rng(0).normal(-700, 300, (120, 120, 120)).astype(np.float32))
    told: list[tuple[int, int]] = []
    idle: list[float] = []
    try:
        with pytest.raises(client.HostRefused, match="which classes are paired") as refused:
            client.segment(address, [volume], AFFINE, limit_seconds=60)
        assert refused.value.code == "uncertainty-unusable"
        answer = client.segment(
            address,
            [volume],
            AFFINE,
            limit_seconds=120,
            probabilities=True,
            exchange=[],
            on_started=idle.append,
            on_progress=lambda done, of: told.append((done, of)),
        )
    finally:
        volume.close()
    each = 10**3  # windows of 16 at steps of 12 along 120 voxels
    assert told, "the first windows are told of at once, however fast the rest is"
    assert {of for _, of in told} == {2 * each}
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(idle) == 1
    assert idle[0] >= 0
    assert answer.maps is not None
    assert answer.maps.shape == (2, 120, 120, 120)
    assert answer.probabilities is not None
    assert answer.maps[1].max() < 1e-3, "voxel by voxel, every mirror is the same"
    assert set(answer.confidence) == set(answer.disagreement) == set(answer.entropy) == {1, 2}
    assert all(0.5 < one < 1 for one in answer.confidence.values())


# ---------------------------------------------------------------- the job's row


def claimed(database: Database, worker: str = "worker") -> Claim:
    with database.write() as tx:
        jobs.enqueue(tx, JobKind.SWEEP, "home", max_attempts=3)
        claim = jobs.claim(tx, [JobKind.SWEEP], worker, 10)
    assert claim is not None
    return claim


def shown(database: Database) -> tuple[int | None, int | None]:
    with database.read() as tx:
        (row,) = overview.jobs(tx)
    return row["windows_done"], row["windows_of"]


@pytest.mark.parametrize("how", ["finished", "postponed", "rescued", "network ended"])
def test_progress_stands_in_the_row_until_the_job_ends(
    database: Database, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WRITE_SECONDS", 3600)
    claim = claimed(database)
    told = Progress(database, claim)
    told(3, 8)
    assert shown(database) == (3, 8)
    told(4, 8)
    assert shown(database) == (3, 8), "at most once a second"
    with database.write() as tx:
        if how == "finished":
            jobs.finish(tx, claim, JobState.DONE, Report())
        elif how == "postponed":
            jobs.postpone(tx, claim, Report(), 0)
        elif how == "rescued":
            assert lost_jobs.rescue(tx, worker="worker") == 1
    if how == "network ended":
        told.ended()
    assert shown(database) == (None, None)


def test_a_worker_that_lost_its_lease_writes_nothing(database: Database) -> None:
    lost = claimed(database)
    with database.write() as tx:
        lost_jobs.rescue(tx, worker="worker")
    other = claimed(database, "other")
    Progress(database, other)(5, 8)
    with pytest.raises(LostLease):
        Progress(database, lost)(7, 8)
    with pytest.raises(LostLease), database.write() as tx:
        progress.note(tx, lost, None, None)
    assert shown(database) == (5, 8)


def test_a_network_that_was_quicker_than_anybody_looked_is_not_written_at_all(database: Database) -> None:
    claim = claimed(database)
    with database.write() as tx:
        jobs.finish(tx, claim, JobState.DONE, Report())
    Progress(database, claim).ended()  # would raise: the lease is gone


def test_a_bar_shows_how_far_it_is() -> None:
    assert bar(None, None) == ""
    assert bar(0, 8) == "░░░░░░░░░░ 0 of 8 windows"
    assert bar(4, 8) == "█████░░░░░ 4 of 8 windows"
    assert bar(8, 8) == "██████████ 8 of 8 windows"
    assert bar(17, 0) == "17 windows"
