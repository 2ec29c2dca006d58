"""Where the memory of a device is full a network goes on with less, and says what that may have changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer

from models import card, experience
from models.causes import is_full
from models.ending import activated
from models.experience import WEEK_SECONDS, Experience, size_class
from models.ladder import Ladder
from models.memory import Room
from models.rungs import Rung, rungs
from models.slabs import slabbed
from tests import mini_bundle

CPU = torch.device("cpu")
ALL = tuple(Rung)
ROOM = Room("a GPU", "driver 1", 8 << 30, 4 << 30, 0, 0)


def network(classes: int = 4, planar: bool = False) -> torch.nn.Module:
    torch.manual_seed(3)
    layer = torch.nn.Conv2d if planar else torch.nn.Conv3d
    return layer(1, classes, 3, padding=1).eval()


def volume(*shape: int) -> MetaTensor:
    made = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(1))
    return MetaTensor(made, affine=torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])))


INFERERS: list[tuple[str, Callable[[], SlidingWindowInferer], tuple[int, ...], bool]] = [
    ("one overlap", lambda: SlidingWindowInferer([8, 8, 8], 1, 0.25), (30, 21, 17), False),
    ("gaussian", lambda: SlidingWindowInferer([8, 12, 8], 4, 0.625, "gaussian"), (30, 21, 17), False),
    (
        "weights kept",
        lambda: SlidingWindowInferer([8, 8, 8], 3, 0.5, "gaussian", cache_roi_weight_map=True),
        (19, 20, 8),
        False,
    ),
    ("smaller than the window", lambda: SlidingWindowInferer([32, 8, 16], 2, 0.5, "gaussian"), (13, 30, 9), False),
    ("one window", lambda: SlidingWindowInferer([32, 32, 32], 2), (13, 30, 9), False),
    ("slices", lambda: SliceInferer(spatial_dim=2, roi_size=[32, 32], sw_batch_size=3), (32, 32, 11), True),
    ("slices in parts", lambda: SliceInferer(spatial_dim=0, roi_size=[16, 16], overlap=0.5), (5, 32, 41), True),
]


@pytest.mark.parametrize(("inferer", "shape", "planar"), [case[1:] for case in INFERERS], ids=[c[0] for c in INFERERS])
def test_slabs_give_what_monai_gives_to_the_last_bit(
    inferer: Callable[[], SlidingWindowInferer], shape: tuple[int, ...], planar: bool
) -> None:
    runs, image = network(planar=planar), volume(*shape)
    with torch.no_grad():
        wanted = inferer()(image, runs)
        found = slabbed(inferer(), CPU, half=False)(image, runs)
        halved = slabbed(inferer(), CPU, half=True)(image, runs)
    assert isinstance(wanted, MetaTensor)
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.as_tensor(), wanted.as_tensor())
    assert torch.equal(found.affine, wanted.affine)
    assert found.is_batch == wanted.is_batch
    assert halved.dtype == torch.float16
    assert torch.equal(halved.argmax(1), wanted.argmax(1)), "what is largest stays so"
    assert torch.allclose(halved.float().softmax(1), wanted.softmax(1).as_tensor(), atol=1e-3)


def test_logits_that_half_precision_cannot_hold_lose_nothing_that_matters() -> None:
    logits = torch.tensor([70000.0, 70000.002, -1e30, 3.0]).reshape(1, 4, 1, 1, 1).expand(1, 4, 8, 8, 8)
    found = slabbed(SlidingWindowInferer([8, 8, 8]), CPU, half=True)(volume(8, 8, 8), lambda _x: logits.clone())
    assert bool(torch.isfinite(found).all())
    assert torch.equal(found.argmax(1), logits.argmax(1))


def test_softmax_in_place_is_softmax() -> None:
    logits = torch.randn(5, 40, 30, 20)
    assert torch.equal(activated(logits.clone()), logits.softmax(0))
    assert activated(logits.half()).dtype == torch.float16


# ------------------------------------------------------------------ the climb


class Device:
    """A network on a device that has room for so much: every forward pass and every accumulator asks it.

    Attributes:
        windows: that it runs at once.
        asked: how many it was asked for, in turn.
    """

    def __init__(self, windows: int) -> None:
        self.windows, self.asked, self._network = windows, list[int](), network()

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(image))
        if len(image) > self.windows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        found: torch.Tensor = self._network(image)
        return found


def ladder(inferer: Any, there: tuple[Rung, ...] = ALL, file: Path | None = None, free: int = 1 << 30) -> Ladder:
    return Ladder(inferer, network(), CPU, there, Experience(file, ROOM), lambda: free)


@pytest.mark.parametrize(("windows", "rung"), [(4, Rung.PLAIN), (3, Rung.STITCHED), (1, Rung.STITCHED)])
def test_it_climbs_as_far_as_it_has_to_and_gives_the_same(windows: int, rung: Rung) -> None:
    inferer, image = SlidingWindowInferer([8, 8, 8], 4, 0.5, "gaussian"), volume(20, 18, 16)
    with torch.no_grad():
        wanted = inferer(image, network())
        climbs, device = ladder(inferer), Device(windows)
        climbs.begin()
        found = climbs(image, device)
    assert climbs.rung is rung
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(found.argmax(1), wanted.argmax(1))
    assert device.asked.count(4) == (len(device.asked) if rung is Rung.PLAIN else 3), "each rung was tried once"


def test_accumulators_that_do_not_fit_go_to_slabs_before_anything_slower() -> None:
    class Whole(SlidingWindowInferer):  # type: ignore[misc]
        """There is room for the accumulators of the whole volume only on the CPU, where nothing asks."""

        def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
            if type(self) is Whole and self.device is None:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(inputs, network, *args, **kwargs)

    image = volume(20, 18, 16)
    climbs = ladder(Whole([8, 8, 8], 4, 0.5))
    climbs.begin()
    with torch.no_grad():
        wanted = SlidingWindowInferer([8, 8, 8], 4, 0.5)(image, network())
        first = climbs(image, network())
        stood = [climbs.rung]
        climbs.lower()
        second = climbs(image, network())
    assert [*stood, climbs.rung] == [Rung.HALF, Rung.SLABS]
    assert torch.equal(first.argmax(1), wanted.argmax(1))
    assert torch.equal(second, wanted)


def test_a_network_without_windows_goes_to_the_cpu_and_one_that_nothing_helps_says_so() -> None:
    there = rungs("cuda:0", windows=False, softmax=True)
    assert there == (Rung.PLAIN, Rung.CPU)
    calls: list[int] = []

    def full(image: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    climbs = ladder(SimpleInferer(), there)
    climbs.begin()
    with pytest.raises(torch.OutOfMemoryError):
        climbs(volume(8, 8, 8), full)
    assert len(calls) == 2
    climbs.begin(may_climb=False)
    with pytest.raises(torch.OutOfMemoryError):
        climbs(volume(8, 8, 8), full)
    assert len(calls) == 3


def test_what_is_no_want_of_memory_is_not_tried_again() -> None:
    def broken(image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")

    climbs = ladder(SlidingWindowInferer([8, 8, 8]))
    climbs.begin()
    with pytest.raises(RuntimeError, match="assert"):
        climbs(volume(8, 8, 8), broken)
    assert climbs.rung is Rung.PLAIN


def test_a_network_with_several_results_skips_what_cannot_stitch_them() -> None:
    inner = network()

    def several(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(image) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(image), inner(image)

    climbs = ladder(SlidingWindowInferer([8, 8, 8], 4, 0.5))
    climbs.begin()
    with torch.no_grad():
        climbs.lower()
        climbs.lower()
        found = climbs(volume(20, 18, 16), several)
    assert climbs.rung is Rung.STITCHED
    assert len(found) == 2


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
            True,
        ),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_it_knows_want_of_memory_by_all_its_names(error: Exception, full: bool) -> None:
    assert is_full(error) is full


# ------------------------------------------------------------------ what is remembered


def test_the_next_volume_of_that_size_begins_where_the_last_one_ended_also_after_a_restart(tmp_path: Path) -> None:
    file, inferer = tmp_path / "hosts" / "network.json", SlidingWindowInferer([8, 8, 8], 4, 0.5)
    for tries in (3, 0):
        climbs, device = ladder(inferer, file=file), Device(3)
        climbs.begin()
        with torch.no_grad():
            climbs(volume(20, 18, 16), device)
        climbs.done()
        assert climbs.rung is Rung.STITCHED
        assert device.asked.count(4) == tries
    small, device = ladder(inferer, file=file), Device(4)
    small.begin()
    with torch.no_grad():
        small(volume(16, 16, 8), device)
    assert small.rung is Rung.PLAIN, "a smaller one may fit"


def test_after_a_week_or_another_driver_or_with_more_memory_it_looks_higher(tmp_path: Path) -> None:
    file, size = tmp_path / "network.json", size_class((100, 100, 100))
    clock = [1000.0]

    def known(room: Room = ROOM) -> Experience:
        return Experience(file, room, lambda: clock[0])

    known().note(size, Rung.STITCHED, ALL, 4 << 30)
    assert known().first(size, ALL, 4 << 30) is Rung.STITCHED
    assert known().first(size + 3, ALL, 4 << 30) is Rung.STITCHED, "nor does a larger one fit"
    assert known().first(size - 1, ALL, 4 << 30) is Rung.PLAIN
    assert known().first(size, ALL, 6 << 30) is Rung.PLAIN
    assert known(Room("a GPU", "driver 2", ROOM.total, 0, 0, 0)).first(size, ALL, 4 << 30) is Rung.SLABS
    assert known(Room("another GPU", "driver 1", ROOM.total, 0, 0, 0)).first(size, ALL, 4 << 30) is Rung.PLAIN
    clock[0] += WEEK_SECONDS + 1
    assert known().first(size, ALL, 4 << 30) is Rung.SLABS
    known().note(size + 1, Rung.SLABS, ALL, 4 << 30)
    assert known().first(size, ALL, 4 << 30) is Rung.PLAIN, "a larger one fitted better: that is disproved"
    known().note(size + 1, Rung.PLAIN, ALL, 4 << 30)
    assert known().first(size + 2, ALL, 4 << 30) is Rung.PLAIN


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a GPU, 8192 MB": {"sizes": {"x": 1}}}', '{"a GPU, 8192 MB": 3}'])
def test_a_broken_memory_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "network.json"
    file.write_text(text)
    assert Experience(file, ROOM).first(40, ALL, 1) is Rung.PLAIN
    assert experience.last_peak(file) is None
    experience.note_peak(file, Room("a GPU", "", 8 << 30, 0, 0, 77))
    assert experience.last_peak(file) == 77


def test_a_memory_that_is_far_too_long_is_none(tmp_path: Path) -> None:
    """A network may write it, and the supervisor reads it for all of them; a hole of some gigabytes costs no disk."""
    file = tmp_path / "network.json"
    experience.note_peak(file, Room("a GPU", "", 8 << 30, 0, 0, 77))
    with file.open("a") as stream:
        stream.write(" " * (1 << 20))
    assert experience.last_peak(file) is None
    os.truncate(file, 64 << 30)
    assert experience.last_peak(file) is None


# ------------------------------------------------------------------ real memory

CLASSES = 60
PROGRAM = """
import gc, json, resource, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import numpy as np
import torch
from models import card, memory
from models.network import Network
torch.set_num_threads(1)  # every thread takes memory of its own
bundle, known, files = Path(sys.argv[1]), Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]]
k, j, i = np.mgrid[:96, :96, :96]
hu = np.full(k.shape, 30, np.float32)
distance = np.sqrt((k - 50) ** 2 + (j - 44) ** 2 + (i - 52) ** 2)
hu[distance < 31] = -700
hu[distance < 15] = -980
hu += np.random.default_rng(0).normal(0, 5, hu.shape).astype(np.float32)
network = Network(card.read(bundle), known=known)


def tried(room_mb, may_climb, file):
    gc.collect()
    limit = memory._status("VmData") + (room_mb << 20) if room_mb else resource.RLIM_INFINITY
    out = np.empty(hu.shape, np.uint8)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    try:
        network.segment([hu], np.diag([2.0, 2.0, 2.0, 1.0]), out, may_climb=may_climb)
        said = {"rung": network.ladder.rung, "remark": network.ladder.rung.remark}
    except Exception as error:
        said = {"error": type(error).__name__ + " " + str(error)[:200]}
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    np.save(file, out)
    return said


usual = tried(0, True, files[0])
for room_mb in range(320, 100, -30):  # how much is too little is the allocator's affair, and differs between machines
    refused = tried(room_mb, False, files[1])
    if "error" in refused:
        break
print(json.dumps([usual, refused, tried(room_mb, True, files[1])]))
"""


def many_classes(folder: Path) -> Path:
    """The thresholds, and as many classes that never win: their logits are what takes the memory."""
    bundle = mini_bundle.make(folder)
    config = bundle / "configs" / "inference.json"
    config.write_text(config.read_text().replace('"out_channels": 3', f'"out_channels": {CLASSES}'))
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    more = CLASSES - 3
    weights["weight"] = torch.cat([weights["weight"], torch.zeros(more, 1, 1, 1, 1)])
    weights["bias"] = torch.cat([weights["bias"], torch.full((more,), -1000.0)])
    torch.save(weights, bundle / "models" / "model.pt")
    card.seal(bundle)
    return bundle


def test_with_too_little_real_memory_a_lower_rung_gives_the_same_label_map(tmp_path: Path) -> None:
    """The logits of 60 classes are 212 MB: RLIMIT_DATA leaves less and less, until they find no room any more."""
    import numpy as np

    bundle, known = many_classes(tmp_path), tmp_path / "known.json"
    files = tmp_path / "usual.npy", tmp_path / "less.npy"
    command = [sys.executable, "-P", "-c", PROGRAM, *map(str, (bundle, known, *files))]
    given_back = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}  # at once, what a failed try had
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | given_back)
    assert done.returncode == 0, done.stderr[-2000:]
    usual, refused, less = json.loads(done.stdout)
    assert usual == {"rung": "plain", "remark": ""}
    assert "can't allocate memory" in refused["error"], refused
    assert less.get("rung") == "half", less
    assert less["remark"].startswith("little memory, half-precision accumulators")
    expected, found = map(np.load, files)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.array_equal(found, expected)
    assert '"rung": "half"' in known.read_text()
