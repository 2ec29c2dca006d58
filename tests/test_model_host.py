"""A bundle runs from memory, unmodified, in a process of its own that may die, hang or lie without harm."""

from __future__ import annotations

import gc
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import card, client, restore
from models.card import CardError
from models.clean import absorb_small_components, fill_holes, one_class_per_core
from models.inversion import Inversion
from models.network import LPS_TO_RAS, Network, Unusable
from models.wire import Receiver, SharedArray, send
from node.errors import Failed
from node.hosts import Hosts, ask
from tests import mini_bundle
from tests.descriptors import descriptors
from tests.nurseries import SHARED
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Of all tests here, as they are of all studies of a node: what one breaks must not hurt the next."""
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        made = Hosts(Path(folder), "cpu", nursery=SHARED)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with nothing special; its host is warm from the first test that asks for it."""
    return mini_bundle.make(tmp_path_factory.mktemp("plain"), "plain")


def affine(turn: str = "axial") -> NDArray[np.float64]:
    made = np.diag([1.5, 1.5, 3.0, 1.0])
    made[:3, 3] = [-30, -25, 10]
    if turn == "feet first":
        made[:3, :3] = np.diag([-1.5, 1.5, -3.0])
        made[:3, 3] = [30, -25, 67]
    elif turn == "coronal":
        made[:3, :3] = [[1.5, 0, 0], [0, 0, 3.0], [0, -1.5, 0]]
    elif turn == "oblique":
        c, s = np.cos(0.3), np.sin(0.3)
        made[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ made[:3, :3]
    elif turn == "gantry tilt":
        made[1, 2] = 1.2
    return made


def ball(seed: int = 0) -> NDArray[np.float32]:
    """Two balls, one inside the other, off the middle, and noise."""
    k, j, i = np.mgrid[:20, :36, :40]
    hu = np.full(k.shape, 30, np.float32)
    distance = np.sqrt(((k - 9) * 2) ** 2 + (j - 14) ** 2 + (i - 22) ** 2)
    hu[distance < 11] = -700
    hu[distance < 5] = -980
    return hu + np.random.default_rng(seed).normal(0, 5, hu.shape).astype(np.float32)


def stock(bundle: Path, volume: NDArray[np.float32], at: NDArray[np.float64], folder: Path) -> NDArray[np.uint8]:
    """The bundle run as MONAI runs it: from a NIfTI file to a NIfTI file."""
    from monai.bundle import ConfigWorkflow

    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), LPS_TO_RAS @ at), folder / "in.nii.gz")  # type: ignore[attr-defined,no-untyped-call]
    workflow = ConfigWorkflow(str(bundle / "configs" / "inference.json"), workflow_type="infer", logging_file=False)
    workflow.parser["bundle_root"] = str(bundle)
    workflow.parser["output_dir"] = str(folder / "out")
    workflow.parser["dataset#data"] = [{"image": str(folder / "in.nii.gz")}]
    workflow.parser["dataloader#num_workers"] = 0
    workflow.initialize()
    workflow.parser.get_parsed_content("evaluator").run()
    (written,) = (folder / "out").rglob("*.nii.gz")
    loaded: Any = nib.load(written)  # type: ignore[attr-defined]
    return np.asarray(loaded.dataobj).astype(np.uint8).transpose(2, 1, 0)


@pytest.mark.filterwarnings("ignore")  # what libraries say of each other's arguments
@pytest.mark.parametrize("turn", ["axial", "feet first", "coronal", "oblique", "gantry tilt"])
def test_from_memory_a_bundle_gives_what_monai_gives_from_disk(tmp_path: Path, turn: str) -> None:
    bundle = mini_bundle.make(tmp_path)
    volume, at = ball(), affine(turn)
    wanted = stock(bundle, volume, at, tmp_path)
    network = Network(card.read(bundle))
    found = np.empty(volume.shape, np.uint8)
    network.segment([volume], at, found)
    assert set(np.unique(wanted)) == {0, 1, 2}
    assert (found != wanted).mean() < 2e-3, "only where two classes are equally likely"
    inside = volume < -500
    dice = 2 * (inside & (found > 0)).sum() / (inside.sum() + (found > 0).sum())
    assert dice > 0.93


@pytest.mark.filterwarnings("ignore")
def test_a_warm_network_takes_volumes_of_any_shape(tmp_path: Path) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path)))
    for shape in [(20, 36, 40), (5, 60, 20), (20, 36, 40)]:
        volume = np.full(shape, -700, np.float32)
        found = np.empty(shape, np.uint8)
        seconds = network.segment([volume], affine(), found)
        assert (found == 1).all()
        assert {"preprocess", "forward", "postprocess"} <= set(seconds)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("smallest_ml", [0.0, 2.0])
def test_small_islands_go_where_the_card_says_so(tmp_path: Path, smallest_ml: float) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path, smallest_component_ml=smallest_ml)))
    volume = np.full((20, 36, 40), 30, np.float32)
    volume[4:14, 8:28, 8:28] = -700
    volume[17:19, 30:34, 34:38] = -700  # 0.2 ml
    found = np.empty(volume.shape, np.uint8)
    network.segment([volume], affine(), found)
    assert (found[4:14, 9:27, 9:27] == 1).mean() > 0.95
    assert found[17:19, 30:34, 34:38].any() == (smallest_ml == 0)


def test_an_island_in_another_class_becomes_that_class() -> None:
    labels = np.zeros((20, 20, 20), int)
    labels[2:18, 2:18, 2:18] = 1
    labels[8:10, 8:10, 8:10] = 2
    labels[0, 0, 0] = 2
    probabilities = torch.from_numpy(np.eye(3, dtype=np.float32)[labels].transpose(3, 0, 1, 2).copy())
    found = absorb_small_components(probabilities, voxel_ml=0.1, smallest_ml=2).argmax(0).numpy()
    assert (found[2:18, 2:18, 2:18] == 1).all()
    assert found[0, 0, 0] == 0


def one_hot(labels: NDArray[np.int64]) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(labels), 3).permute(3, 0, 1, 2).float()


def test_components_under_a_part_of_the_largest_are_taken_away() -> None:
    labels = np.zeros((30, 10, 10), np.int64)
    labels[:10], labels[12:14], labels[20:26] = 1, 1, 1
    found = absorb_small_components(one_hot(labels), 0.01, 0, smallest_part=0.5).argmax(0).numpy()
    labels[12:14] = 0
    assert np.array_equal(found, labels)


def test_a_hole_in_a_slice_is_closed_unless_it_is_too_large() -> None:
    labels = np.zeros((30, 30, 3), np.int64)
    labels[2:28, 2:28, :] = 1
    labels[4:6, 4:6, 1] = 0  # a vessel
    labels[10:20, 10:20, 1] = 0  # something else
    labels[22:24, 22:24, 1] = 2  # another class is no hole
    labels[:4, 15, 2] = 0  # open to the outside
    found = fill_holes(one_hot(labels), 4.0, largest_mm2=100).argmax(0).numpy()
    labels[4:6, 4:6, 1] = 1
    assert np.array_equal(found, labels)


def two_balls(bridge: int, part_of_the_right: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two balls with a bridge; what they are, and what a network says: some of the right one is taken for left."""
    x, y, z = np.mgrid[:60, :30, :30]
    left, right = ((x - centre) ** 2 + (y - 15) ** 2 + (z - 15) ** 2 < 11**2 for centre in (16, 43))
    truth = np.where(left, 1, 0) + np.where(right, 2, 0)
    between = (x > 26) & (x < 33) & (abs(y - 15) < bridge) & (abs(z - 15) < bridge) & (truth == 0)
    truth[between] = np.where(x < 30, 1, 2)[between]
    said = truth.copy()
    said[(truth == 2) & (y < 4 + 22 * part_of_the_right)] = 1
    return truth, said


@pytest.mark.parametrize(
    ("bridge", "wrong", "mended"), [(0, 0.3, True), (2, 0.3, True), (2, 0.5, False), (9, 0.3, False)]
)
def test_an_organ_has_one_class_where_most_of_it_agrees(bridge: int, wrong: float, mended: bool) -> None:
    truth, said = two_balls(bridge, wrong)
    probabilities = torch.from_numpy(np.eye(3, dtype=np.float32)[said].transpose(3, 0, 1, 2).copy())
    found = one_class_per_core(probabilities, np.array([3.0, 3.0, 3.0]), depth_mm=9).argmax(0).numpy()
    assert (said != truth).sum() > 500
    if mended:
        assert (found != truth).sum() < 30
    else:
        assert np.array_equal(found, said), "doubtful: left as it is"


def test_a_small_organ_beside_a_large_one_is_not_swallowed() -> None:
    x, y, z = np.mgrid[:60, :40, :40]
    truth = np.where((x - 40) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 < 18**2, 2, 0)
    truth[(truth == 0) & ((x - 13) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 < 8**2)] = 1
    truth[(x > 18) & (x < 24) & (abs(y - 20) < 3) & (abs(z - 20) < 3) & (truth == 0)] = 1
    probabilities = torch.from_numpy(np.eye(3, dtype=np.float32)[truth].transpose(3, 0, 1, 2).copy())
    found = one_class_per_core(probabilities, np.array([3.0, 3.0, 3.0]), depth_mm=9).argmax(0).numpy()
    assert (found != truth).sum() < 30


@pytest.mark.parametrize("turn", ["axial", "feet first", "coronal", "oblique", "gantry tilt"])
def test_restoring_equals_interpolating_every_channel_and_comparing(turn: str) -> None:
    random = np.random.default_rng(5)
    probabilities = torch.softmax(torch.from_numpy(random.normal(0, 2, (4, 21, 19, 17))), 0)
    probabilities[0, :, :, :5] = 1
    probabilities[1:, :, :, :5] = 0
    model = np.diag([2.5, 2.5, 2.5, 1.0])
    model[:3, 3] = [-28, -20, 8]
    to_ras = LPS_TO_RAS @ affine(turn)
    shape = (20, 36, 40)
    found = np.empty(shape, np.uint8)
    restore.label_map(probabilities, Inversion(model, np.zeros((3, 2), np.int64), ()), shape, to_ras, found)
    k, j, i = np.mgrid[: shape[0], : shape[1], : shape[2]]
    world = to_ras @ np.stack([i.ravel(), j.ravel(), k.ravel(), np.ones(i.size)])
    at = (np.linalg.inv(model) @ world)[:3]
    from scipy.ndimage import map_coordinates

    every = np.stack([map_coordinates(one.numpy(), at, order=1, mode="nearest") for one in probabilities])
    outside = (at < -0.5).any(0) | (at > np.array([[20.5], [18.5], [16.5]])).any(0)
    wanted = every.argmax(0).astype(np.uint8)
    ranked = np.sort(every, axis=0)
    clear = (ranked[-1] - ranked[-2] > 1e-9) & ~outside
    assert clear.sum() > 1000
    assert np.array_equal(found.ravel()[clear], wanted[clear])


@pytest.mark.parametrize("what", ["changed", "missing", "unlisted"])
def test_a_bundle_that_is_not_what_its_card_says_is_not_even_parsed(tmp_path: Path, what: str) -> None:
    bundle = mini_bundle.make(tmp_path)
    trap = tmp_path / "it was run"
    config = bundle / "configs" / "inference.json"
    if what == "changed":
        config.write_text(config.read_text().replace('"$import torch"', f"\"$open({str(trap)!r}, 'w')\""))
    elif what == "missing":
        (bundle / "models" / "model.pt").unlink()
    else:
        (bundle / "scripts").mkdir()
        (bundle / "scripts" / "__init__.py").write_text(f"open({str(trap)!r}, 'w')")
    with pytest.raises(CardError):
        Network(card.read(bundle))
    assert not trap.exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 2", "format"),
        ('name = "thresholds"', 'name = "../x"', "name"),
        ("value = 2", "value = 1", "same value"),
        ('modality = ["CT"]', 'modality = ["CT"]\nmodalty = 1', "modalty"),
        ("[files]", "[files]\n'../../etc/passwd' = '" + "0" * 64 + "'", "outside"),
        ("colour = [200", "colour = [300", "colour"),
        ('device_uid = "1.2.3.4"', 'device_uid = "1.02"', "device_uid"),
    ],
)
def test_a_wrong_card_is_refused_and_names_the_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    bundle = mini_bundle.make(tmp_path)
    file = bundle / card.FILE
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(CardError, match=said):
        card.read(bundle)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("post", "code"),
    [
        ([{"_target_": "Activationsd", "keys": "pred", "softmax": True}], "output-off-grid"),
        (
            [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x / 2"},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": True,
                    "to_tensor": True,
                },
            ],
            "output-not-integer",
        ),
        (
            [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x * 3"},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": True,
                    "to_tensor": True,
                },
            ],
            "output-unknown-label",
        ),
    ],
)
def test_an_output_that_cannot_be_trusted_is_refused(tmp_path: Path, post: Any, code: str) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path, post=post)))
    volume = ball()
    with pytest.raises(Unusable) as unusable:
        network.segment([volume], affine(), np.empty(volume.shape, np.uint8))
    assert unusable.value.code == code


@pytest.mark.filterwarnings("ignore")
def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    network = Network(card.read(mini_bundle.make(tmp_path)))
    volume = np.full((20, 36, 40), np.nan, np.float32)
    with pytest.raises(Unusable) as unusable:
        network.segment([volume], affine(), np.empty(volume.shape, np.uint8))
    assert unusable.value.code == "output-not-finite"


def shared(volume: NDArray[np.float32]) -> SharedArray:
    made = SharedArray.make(volume.shape, np.float32)
    made.array[...] = volume
    return made


def run(hosts: Hosts, bundle: Path, limit: float = 60, volume: NDArray[np.float32] | None = None) -> client.Answer:
    read = card.read(bundle)
    address = hosts.address(str(bundle), read.card_sha256)
    channel = shared(ball() if volume is None else volume)
    try:
        return client.segment(address, [channel], affine(), limit_seconds=limit)
    finally:
        channel.close()


def process_of(hosts: Hosts, bundle: Path) -> subprocess.Popen[bytes]:
    return hosts._hosts[card.read(bundle).card_sha256].process


def test_one_warm_host_serves_everybody_and_starts_again_after_a_crash(plain: Path, hosts: Hosts) -> None:
    first = run(hosts, plain)
    process = process_of(hosts, plain)
    answers: list[client.Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(run(hosts, plain))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert process_of(hosts, plain) is process
    assert all(np.array_equal(answer.labels, first.labels) for answer in answers)
    assert len(answers) == 4
    assert first.peak_memory_mb > 50
    process.kill()
    wait_until("the host is dead", lambda: process.poll() is not None)
    assert np.array_equal(run(hosts, plain).labels, first.labels)
    assert process_of(hosts, plain) is not process


def slow(marker: str, seconds: float) -> list[dict[str, Any]]:
    """A transform that makes a mark and then takes its time."""
    code = f"$lambda x: (open({mini_bundle.marks(marker)}, 'a').close(), __import__('time').sleep({seconds}), x)[2]"
    return [{"_target_": "Lambdad", "keys": "image", "func": code}]


def test_a_network_that_hangs_is_stopped_and_the_next_one_runs(tmp_path: Path, plain: Path, hosts: Hosts) -> None:
    (step,) = slow("hangs", 600)
    step["func"] = f"$lambda x: x if float(x.max()) > 0 else ({step['func'][1:]})(x)"
    hangs = mini_bundle.make(tmp_path, "hangs", before=[step])
    run(hosts, hangs)  # a host that has never run a network takes a while to get to its transforms
    begun = time.monotonic()
    with pytest.raises(client.HostGone, match="did not finish within 5 s"):
        run(hosts, hangs, limit=5, volume=np.zeros_like(ball()))
    assert time.monotonic() - begun < 120
    assert mini_bundle.marked(hosts.folder, "hangs")
    assert run(hosts, plain).labels.any()


def test_a_host_that_dies_at_work_costs_that_request_and_nothing_else(tmp_path: Path, hosts: Hosts) -> None:
    bundle = mini_bundle.make(tmp_path, "dies", before=slow("dies", 600))
    errors: list[Exception] = []

    def request() -> None:
        try:
            run(hosts, bundle)
        except (client.HostGone, client.HostBusy) as error:
            errors.append(error)

    working = threading.Thread(target=request)
    working.start()
    wait_until("the first request runs", lambda: mini_bundle.marked(hosts.folder, "dies"))
    waiting = threading.Thread(target=request)
    waiting.start()
    wait_until("the second is connected", lambda: _connections(process_of(hosts, bundle).pid) >= 2)
    process_of(hosts, bundle).kill()
    working.join()
    waiting.join()
    assert sorted(type(error).__name__ for error in errors) == ["HostBusy", "HostGone"]


def _connections(pid: int) -> int:
    links = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir() if link.exists() or link.is_symlink()]
    return sum(str(link).startswith("socket:") for link in links) - 1


def test_an_error_in_the_bundle_is_an_answer(tmp_path: Path, hosts: Hosts) -> None:
    code = "$lambda x: (_ for _ in ()).throw(RuntimeError('no such slice'))"
    bundle = mini_bundle.make(tmp_path, "wrong", before=[{"_target_": "Lambdad", "keys": "image", "func": code}])
    with pytest.raises(client.HostFailed, match="RuntimeError"):
        run(hosts, bundle)
    process = process_of(hosts, bundle)
    with pytest.raises(client.HostFailed):
        run(hosts, bundle)
    assert process_of(hosts, bundle) is process


def test_rubbish_on_a_hosts_socket_does_not_hurt_it(plain: Path, hosts: Hosts) -> None:
    wanted = run(hosts, plain)
    process = process_of(hosts, plain)
    address = hosts.address(str(plain), card.read(plain).card_sha256)
    for rubbish in (b"\n", b"{}\n", b'{"arrays": [{"shape": [9], "dtype": "<f4"}]}\n', b"\xff" * 100, b"[" * 70000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(address))
            connection.sendall(rubbish)
    assert np.array_equal(run(hosts, plain).labels, wanted.labels)
    assert process_of(hosts, plain) is process


def test_a_changed_bundle_does_not_start(tmp_path: Path, hosts: Hosts) -> None:
    bundle = mini_bundle.make(tmp_path, "changed")
    with (bundle / "models" / "model.pt").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(Failed) as failed:
        hosts.address(str(bundle), card.read(bundle).card_sha256)
    assert failed.value.code == "network-unusable"


def test_workers_ask_the_supervisor_for_a_host(tmp_path: Path, plain: Path, hosts: Hosts) -> None:
    address = hosts.serve()
    assert ask(address, card.read(plain)) == ask(address, card.read(plain))
    bundle = mini_bundle.make(tmp_path, "empty")
    (bundle / "models" / "model.pt").write_bytes(b"")
    card.seal(bundle)
    with pytest.raises(Failed):
        ask(address, card.read(bundle))


def test_hosts_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    bundle = mini_bundle.make(tmp_path)
    program = (
        "import sys, os; from pathlib import Path; from node.hosts import Hosts; from models import card\n"
        "hosts = Hosts(Path(sys.argv[2]), 'cpu'); bundle = card.read(Path(sys.argv[1]))\n"
        "hosts.address(sys.argv[1], bundle.card_sha256)\n"
        "(host,) = hosts._hosts.values(); print(host.process.pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    import sys

    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, str(bundle), folder], capture_output=True, text=True, check=False
        )
    pid = int(done.stdout)
    gone: Callable[[], bool] = lambda: not Path(f"/proc/{pid}").exists()  # noqa: E731
    wait_until("the host has ended too", gone, 60)


FAILS_ON_ZEROS = "$lambda x: x if float(x.max()) > 0 else (_ for _ in ()).throw(RuntimeError('nothing but zeros'))"


@pytest.mark.parametrize("place", ["before", "after"])
def test_after_a_failure_the_next_study_gets_its_own_mask(tmp_path: Path, place: str) -> None:
    """ignite resumes a run that broke: the next study must not get what was left of the one before."""
    step = {"_target_": "Lambdad", "keys": "image", "func": FAILS_ON_ZEROS}
    post = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
        },
    ]
    bundle = (
        mini_bundle.make(tmp_path, before=[step])
        if place == "before"
        else mini_bundle.make(tmp_path, post=[step, *post])
    )
    network = Network(card.read(bundle))
    first = ball()
    wanted = np.empty(first.shape, np.uint8)
    network.segment([first], affine(), wanted)
    assert wanted.any()
    failed = np.full_like(wanted, 9)
    with pytest.raises(RuntimeError):
        network.segment([np.zeros_like(first)], affine(), failed)
    turned = np.ascontiguousarray(first[::-1])
    found = np.empty(first.shape, np.uint8)
    network.segment([turned], affine(), found)
    Network(card.read(bundle)).segment([turned], affine(), wanted)
    assert np.array_equal(found, wanted)


def test_a_worker_keeps_nothing_open_of_what_it_was_answered(plain: Path, hosts: Hosts) -> None:
    run(hosts, plain)
    gc.collect()
    before = descriptors()
    for _ in range(5):
        run(hosts, plain)
    gc.collect()
    assert not descriptors() - before


def test_a_host_that_did_not_start_is_tried_again_and_says_the_same(tmp_path: Path, hosts: Hosts) -> None:
    bundle = mini_bundle.make(tmp_path, "strayed")
    read = card.read(bundle)
    (bundle / "stray.txt").write_text("not listed")
    for _ in range(3):
        with pytest.raises(Failed) as failed:
            hosts.address(str(bundle), read.card_sha256)
        assert failed.value.code == "network-unusable"
    (bundle / "stray.txt").unlink()
    assert run(hosts, bundle).labels.any()


def test_a_hung_network_ends_by_itself_when_nobody_waits_for_it_any_more(tmp_path: Path, hosts: Hosts) -> None:
    sleep = {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: (__import__('time').sleep(600), x)[1]"}
    bundle = mini_bundle.make(tmp_path, "asleep", before=[sleep])
    read = card.read(bundle)
    address = hosts.address(str(bundle), read.card_sha256)
    channel = shared(ball())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(address))
        send(connection, {"do": "segment", "affine": affine().tolist(), "limit": 0.2}, (channel,))
        Receiver(connection).receive()
    channel.close()
    process = process_of(hosts, bundle)
    wait_until("the host ends", lambda: process.poll() is not None, 30)
