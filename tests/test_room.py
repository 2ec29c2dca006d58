"""What a stranger's program may write: into its folders, and into the log. It is ended, and told why."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import load
from models import card, client
from models.confine.rights import Demand
from models.confine.room import DEEPEST, Room, Unseen, held, remove
from models.incoming import reading
from node.app import open_node
from node.errors import Failed, Refused
from node.hosts import KNOWN, Hosts
from node.learning import trainer
from node.operations import installing
from node.overheard import LONGEST_LINE, MOST_LINES, Overheard
from tests import mini_bundle
from tests import tiny_training_bundle as tiny
from tests.conftest import lacking
from tests.nurseries import SHARED, answer
from tests.running import begun
from tests.small_disk import NoMount, leave, mounted
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
MB = 1 << 20

# ------------------------------------------------------------------ folders


def filled(folder: Path, files: int, size: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        (folder / str(number)).write_bytes(b"x" * size)
    return folder


def test_what_lies_in_folders_is_counted_and_holes_are_not(tmp_path: Path) -> None:
    folder, gone = filled(tmp_path / "own", 3, MB), tmp_path / "never made"
    (folder / "within").mkdir()
    with (folder / "within" / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    found = held((folder, gone))
    assert found.files == 5
    assert 3 * MB <= found.bytes < 4 * MB
    room = Room(most_bytes=2 * MB)
    assert room.exceeded((folder,)).startswith("wrote 0.0 GB")
    assert room.exceeded((gone,)) == ""
    assert room.beside(found).exceeded((folder,)) == ""
    assert Room(most_files=4).exceeded((folder,)) == "made more than 4 files"


def test_a_file_without_a_name_counts_while_it_is_open(tmp_path: Path) -> None:
    folder = filled(tmp_path / "own", 1, 1)
    program = (
        "import sys; f = open(sys.argv[1], 'wb'); f.write(bytes(5 << 20)); f.flush(); import os; os.unlink(f.name); "
    )
    program += "print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(folder / "taken away")]
    with begun(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert held((folder,)).bytes < MB
        assert held((folder,), process.pid).bytes > 5 * MB
        process.communicate()
    assert held((folder,), process.pid).bytes < MB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(tmp_path / "disk", 200 * MB) as folder:
            yield folder
    except NoMount as reason:
        lacking("a small file system", str(reason))


def test_a_full_disk_ends_who_wrote_and_nobody_else(small_disk: Path) -> None:
    folder, other = filled(small_disk / "own", 70, MB), filled(small_disk / "other", 1, MB)
    room = Room(reserve_bytes=1 << 60)
    assert room.exceeded((folder,)) == "", "of a small disk a tenth stays free"
    leave(small_disk, 10 * MB)
    assert room.exceeded((folder,)) == "wrote 0.1 GB, and the disk has only 0.0 GB left"
    assert room.exceeded((other,)) == ""
    assert room.exceeded((folder,), before=held((folder,))) == "", "it held that when it began"
    assert Room().exceeded((folder,)) == ""
    assert Room(reserve_bytes=9 * MB).exceeded((folder,)) == ""


HIDES = """
import mmap, os, sys
at = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(at, bytes(int(sys.argv[2])))
os.fsync(at)
mapped = mmap.mmap(at, 4096)  # it holds a descriptor of its own
os.unlink(sys.argv[1])
for one in os.listdir("/proc/self/fd"):
    try:
        if "(deleted)" in os.readlink(f"/proc/self/fd/{one}"): os.close(int(one))
    except OSError: pass
print(flush=True)
sys.stdin.read()
"""


def test_a_full_disk_ends_also_who_hides_what_it_wrote(tmp_path: Path) -> None:
    """A file that is mapped, and has neither name nor descriptor any more, takes its room until the process ends."""
    try:
        with mounted(tmp_path / "disk", 110 * MB, on_disk=True) as disk:
            own, room = disk / "own", Room(reserve_bytes=1 << 60)
            own.mkdir()
            command = [sys.executable, "-c", HIDES, str(own / "taken away"), str(70 * MB)]
            with begun(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                assert held((own,), process.pid).bytes < MB, "nothing of it is to be seen"
                leave(disk, 5 * MB)
                assert "and the disk has only 0.0 GB left" in room.exceeded((own,), process.pid)
                with begun(["sleep", "600"]) as other:
                    assert room.exceeded((own,), other.pid) == "", "it wrote nothing"
                process.communicate()
    except NoMount as reason:
        pytest.skip(f"of disks alone, where one can be mounted: {reason}")


def deep(folder: Path, levels: int) -> None:
    """As a hostile program does it: no path leads to the end."""
    folder.mkdir()
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=at)
        within = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = within
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


def test_what_is_hidden_in_the_depth_or_behind_modes_is_named_and_goes(tmp_path: Path) -> None:
    deep(tmp_path / "deep", 1200)
    with pytest.raises(Unseen, match=f"more than {DEEPEST} deep"):
        held((tmp_path / "deep",))
    deep(tmp_path / "fair", DEEPEST - 1)
    assert held((tmp_path / "fair",)).files == DEEPEST
    closed = filled(tmp_path / "closed", 2, 1)
    filled(closed / "within", 2, 1)
    (closed / "within").chmod(0o300)
    closed.chmod(0o300)
    if os.geteuid() != 0:
        assert "cannot be looked into" in Room().exceeded((closed,))
    (tmp_path / "kept").write_text("kept")
    (closed / "link").symlink_to(tmp_path / "kept")
    (closed / "to a folder").symlink_to(tmp_path)
    for name in ("deep", "fair", "closed", "never there"):
        remove(tmp_path / name)
    assert [one.name for one in tmp_path.iterdir()] == ["kept"]


# ------------------------------------------------------------------ hosts

WRITES = """
import os
import threading
from pathlib import Path
from monai.transforms import MapTransform


class Writes(MapTransform):
    def __call__(self, data):
        for number in range(1000):
            try:
                (Path.home() / str(number)).write_bytes(os.urandom(1 << 20))
            except OSError:
                threading.Event().wait(120)
            {then}
        return data
"""


def writing_bundle(folder: Path, then: str) -> Path:
    before = [{"_target_": "scripts.writes.Writes", "keys": "image"}]
    bundle = mini_bundle.make(folder, "writing", before=before)
    scripts = bundle / "scripts"
    scripts.mkdir()
    (scripts / "__init__.py").touch()
    (scripts / "writes.py").write_text(WRITES.format(then=then))
    card.seal(bundle)
    return bundle


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        room = Room(most_bytes=20 * MB)
        made = Hosts(Path(folder), "cpu", home=tmp_path / "known", nursery=SHARED, room=room)
        yield made
        made.stop()


def test_a_host_that_writes_without_end_is_ended_and_its_job_is_told_why(hosts: Hosts, tmp_path: Path) -> None:
    bundle = writing_bundle(tmp_path, "threading.Event().wait(120) if number == 40 else None")
    with pytest.raises(client.HostEnded, match=r"the network wrote 0\.0 GB, and may hold 0\.0 GB, and was ended"):
        answer(hosts, bundle)
    (host,) = hosts._hosts.values()
    wait_until("what it wrote is gone", lambda: not any(one.exists() for one in host.order.written))
    plain = mini_bundle.make(tmp_path, "plain")
    assert (answer(hosts, plain).labels == 1).all(), "the next network"
    assert hosts.home is not None
    assert (hosts.home / card.read(plain).card_sha256[:16] / KNOWN).is_file()


def test_who_fills_the_disk_is_told_so_when_it_is_full(small_disk: Path, tmp_path: Path) -> None:
    """Not a byte is left then for the sentence."""
    made = Hosts(small_disk, "cpu", nursery=SHARED, room=Room(reserve_bytes=1 << 60))
    try:
        with pytest.raises(client.HostEnded, match=r"the network wrote 0\.\d GB, and the disk has only 0\.0 GB left"):
            answer(made, writing_bundle(tmp_path, "pass"))
    finally:
        made.stop()
    assert shutil.disk_usage(small_disk).used < MB


def test_a_host_that_has_ended_leaves_nothing_on_the_disk(hosts: Hosts, tmp_path: Path) -> None:
    bundle = writing_bundle(tmp_path, "os.kill(os.getpid(), 9) if number == 4 else None")
    with pytest.raises(client.HostGone) as gone:
        answer(hosts, bundle)
    assert not isinstance(gone.value, client.HostEnded)
    wait_until("what it wrote is gone", lambda: not list(hosts.folder.glob("*.scratch")))


def test_a_bundle_that_writes_while_it_is_loaded_does_not_start(hosts: Hosts, tmp_path: Path) -> None:
    bundle = writing_bundle(tmp_path, "threading.Event().wait(120) if number == 40 else None")
    with (bundle / "scripts" / "writes.py").open("a") as stream:
        stream.write('\n\nWrites("image")({})\n')
    card.seal(bundle)
    with pytest.raises(Failed) as failed:
        hosts.address(str(bundle), card.read(bundle).card_sha256)
    assert failed.value.code == "too-much-written"


# ------------------------------------------------------------------ trainings

FILLS = """
import os, threading
home = os.path.expanduser("~/..")
print("x" * (1 << 20))
print("about to fill it", flush=True)
os.makedirs(home + "/deep/within")
for number in range(40):
    open(home + f"/deep/within/{number}", "wb").write(bytes(1 << 20))
"""


def test_what_a_training_says_of_itself_is_read_as_a_strangers(tmp_path: Path) -> None:
    """The pages and the worker read it: no line stops them, and no hole in a file takes their memory."""
    right = {"epoch": 1, "epochs": 3, "iteration": 9, "loss": 0.5, "dice": None, "seconds": 1.0}
    wrong = [b"7", b"[1]", b"\xff\xfe", b"[" * 100_000]
    wrong += [
        json.dumps(right | one).encode() for one in ({"epoch": "x"}, {"epochs": None}, {"loss": "a"}, {"dice": 1e300})
    ]
    wrong += [b'{"epoch": NaN}', b'{"epoch": 2, "loss": 1' + b"0" * 400 + b"}", b'{"epoch": 2, "lo']
    lines = [wrong[0], json.dumps(right).encode(), *wrong[1:]]
    (tmp_path / trainer.PROGRESS).write_bytes(b"\n".join(lines))
    assert trainer.progress(tmp_path) == [right]
    os.truncate(tmp_path / trainer.PROGRESS, 64 << 30)
    assert trainer.progress(tmp_path) == [right]
    (tmp_path / trainer.LOG).touch()
    for said in (b"[]", b"7", b'{"loss": \xff', b"[" * 100_000):
        (tmp_path / "done.json").write_bytes(said)
        os.truncate(tmp_path / "done.json", 64 << 30)
        with pytest.raises(Failed, match="training-failed"):
            trainer._outcome(tmp_path, trainer.DONE, "")


@pytest.mark.parametrize("then", ["threading.Event().wait(120)", "os._exit(0)"], ids=["goes on", "has ended"])
def test_a_training_that_writes_without_end_is_ended_and_gives_the_room_back(tmp_path: Path, then: str) -> None:
    bundle = tiny.make(tmp_path / "balls", change={"imports": ["$import json", "$import scripts"]})
    (bundle / "scripts").mkdir()
    (bundle / "scripts" / "__init__.py").write_text(FILLS + then)
    card.seal(bundle)
    run = tiny.run(tmp_path / "run", bundle, [tiny.case(tmp_path, 1)])
    before = (run / "run.json").read_text()
    with pytest.raises(Failed, match=r"the training wrote 0\.0 GB, and may hold 0\.0 GB, and was ended") as failed:
        trainer.train(run, lambda: "", 300, room=Room(most_bytes=20 * MB))
    assert failed.value.code == "too-much-written"
    assert {one.name for one in run.iterdir()} == {"run.json", "log.txt"}
    assert (run / "run.json").read_text() == before
    log = (run / "log.txt").read_text()
    assert log.endswith("about to fill it\n")
    assert len(log) <= trainer.TAIL_BYTES


# ------------------------------------------------------------------ what is brought

READER = """
import os, sys, threading
class YAMLError(Exception): pass
def safe_load(text):
    if text == "says":
        while True: sys.stdout.write('x' * (1 << 20))
    try:
        for number in range(1000):
            with open(os.path.join(sys.argv[1], str(number)), 'wb') as stream: stream.write(os.urandom(1 << 20))
            if text == "writes" and number == 40: break
    except OSError: pass
    threading.Event().wait(120)
"""


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose reader was taken over."""
    library, folder = tmp_path / "site-packages", tmp_path / "brought"
    (library / "yaml").mkdir(parents=True)
    (library / "yaml" / "__init__.py").write_text(READER)
    (folder / "configs").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", f"{library}{os.pathsep}{ROOT}")
    return folder


def test_a_reader_that_writes_or_says_without_end_is_ended(brought: Path) -> None:
    (brought / "configs" / "inference.yaml").write_text("writes")
    with pytest.raises(reading.TooMuch, match=r"wrote 0\.0 GB, and may hold 0\.0 GB, and was ended"):
        reading.read(brought, "", Demand.BEST, room=Room(most_bytes=20 * MB))
    (brought / "configs" / "inference.yaml").write_text("says")
    with pytest.raises(reading.TooMuch, match="said more than 64 MiB"):
        reading.read(brought, "", Demand.BEST)


def test_a_bundle_whose_reader_fills_the_disk_is_refused_and_nothing_is_left(brought: Path, small_disk: Path) -> None:
    (brought / "configs" / "inference.yaml").write_text("fills")
    (home := small_disk / "home").mkdir(mode=0o700)
    node = open_node(load(None, {"node": {"home": home}}))
    with contextlib.closing(node), pytest.raises(Refused) as refused:
        installing.add(node.networks, brought, "ann", reserve_bytes=1 << 60)
    assert refused.value.code == "too-much-written"
    assert "the disk has only 0.0 GB left" in refused.value.sentence
    assert not list((home / "networks").iterdir())
    assert shutil.disk_usage(small_disk).used < 10 * MB


# ------------------------------------------------------------------ the log


def test_of_what_hosts_say_a_minute_has_so_many_lines_and_the_rest_is_counted() -> None:
    """Through a pipe, as a host writes it; the last line has no end."""
    said: list[str] = []
    reads, writes = os.pipe()
    follows = threading.Thread(target=Overheard(said.append, now=lambda: 7.0).follow, args=(reads,))
    follows.start()
    with os.fdopen(writes, "wb") as stream:
        stream.write(b"\n \nfirst\n" + b"y" * 100_000 + b"\n" + "\u00e9\xff".encode("latin-1") + b"\n")
        stream.write(b"z\n" * 10_000 + b"last")
    follows.join(60)
    assert said[:4] == ["first", "y" * LONGEST_LINE + " ...", "\ufffd\ufffd", "z"]
    assert said[MOST_LINES - 1 :] == ["z", f"{3 + 10_000 + 1 - MOST_LINES} more lines were left out"]


def test_a_new_minute_has_lines_again_after_it_is_said_what_was_left_out() -> None:
    said: list[str] = []
    seconds = 100.0
    overheard = Overheard(said.append, now=lambda: seconds)
    overheard.hear(b"a\n" * (MOST_LINES + 5))
    seconds += 59
    overheard.hear(b"b\n")
    assert said == ["a"] * MOST_LINES
    seconds += 1
    overheard.pass_time()
    assert said[MOST_LINES:] == ["6 more lines were left out"]
    overheard.hear(b"c")
    overheard.hear(b"c\n")
    assert said[MOST_LINES + 1 :] == ["cc"]
