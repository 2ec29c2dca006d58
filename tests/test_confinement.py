"""Networks and codecs run what strangers made: whatever that tries, it reaches nothing but its own work."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless

from config.settings import load
from models import card, client
from models.confine import calls, seccomp
from models.confine.environment import cleaned
from models.confine.kernel import Kernel
from models.confine.process import Part, lacks, sentence
from models.confine.rights import Demand
from models.incoming import reading
from models.wire import Disconnected, Receiver, SharedArray
from node.app import open_node
from node.errors import Failed, Refused
from node.hosts import KNOWN, Hosts
from node.learning import trainer
from node.nursery import Nursery
from node.operations import checks, confinement, metrics, status
from node.study import pixels
from node.study.decode import Decoders
from tests import mini_bundle
from tests import tiny_training_bundle as tiny
from tests.descriptors import descriptors
from tests.nurseries import answer
from tests.running import begun
from tests.synthetic import small_series
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
SECRET = "of-the-database-only"
HERE = Kernel.here()
#: where a kernel cannot do it, nothing is to be seen of it
CONFINED = pytest.mark.skipif(bool(lacks()), reason=f"on a kernel with Landlock and seccomp alone: {sentence(lacks())}")


@dataclass(frozen=True)
class Surroundings:
    """What a hostile program finds near it.

    Attributes:
        worker: a process of the same user.
    """

    home: Path
    listener: socket.socket
    unix: socket.socket
    worker: subprocess.Popen[bytes]

    def put_into(self, folder: Path) -> None:
        """The hostile program, told where all this is."""
        shutil.copyfile(Path(__file__).with_name("hostile.py"), folder / "hostile.py")
        told = {
            "home": str(self.home),
            "temporary": tempfile.gettempdir(),
            "port": self.listener.getsockname()[1],
            "unix": self.unix.getsockname(),
            "worker": self.worker.pid,
            "secret words": SECRET,
        }
        (folder / "told.json").write_text(json.dumps(told))

    def assert_untouched(self) -> None:
        """Nobody has called, and everything is as it was."""
        for listener in (self.listener, self.unix):
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert (self.home / "planimeter.db").read_bytes() == b"rows"
        assert (self.home / "secret").stat().st_mode & 0o777 == 0o600
        assert {file.name for file in self.home.iterdir()} == {"planimeter.db", "secret"}
        assert self.worker.poll() is None


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[Surroundings]:
    home = tmp_path / "home of the node"
    home.mkdir()
    (home / "planimeter.db").write_bytes(b"rows")
    (home / "secret").write_text("secret")
    (home / "secret").chmod(0o600)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        short = stack.enter_context(tempfile.TemporaryDirectory(prefix="pl-"))  # as a socket's path has to be
        unix.bind(f"{short}/unix")
        unix.listen()
        for one in (listener, unix):
            one.setblocking(False)
        worker = stack.enter_context(begun(["sleep", "600"]))
        yield Surroundings(home, listener, unix, worker)


# ------------------------------------------------------------------ bundles


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Started while the environment holds a secret, as that of a node does."""
    os.environ["PLANIMETER_TEST_DATABASE"] = os.environ["PGPASSWORD"] = SECRET
    made = Nursery()
    theirs, ours = os.pipe()
    made.start([], theirs).wait(120)
    del os.environ["PLANIMETER_TEST_DATABASE"], os.environ["PGPASSWORD"]
    for end in (theirs, ours):
        os.close(end)
    yield made
    made.stop()


@pytest.fixture
def hosts(nursery: Nursery, tmp_path: Path) -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        made = Hosts(Path(folder), "cpu", home=tmp_path / "known", nursery=nursery)
        yield made
        made.stop()


TRIES = """
import json
import os
from monai.transforms import MapTransform
from . import hostile


class Tries(MapTransform):
    def __call__(self, data):
        with open(os.path.expanduser("~/found.json"), "w") as stream:
            json.dump(hostile.attempts(), stream)
        {then}
        return data
"""


def hostile_bundle(folder: Path, surroundings: Surroundings, then: str = "pass") -> Path:
    before = [{"_target_": "scripts.tries.Tries", "keys": "image"}]
    bundle = mini_bundle.make(folder, "hostile", before=before)
    scripts = bundle / "scripts"
    scripts.mkdir()
    (scripts / "__init__.py").touch()
    (scripts / "tries.py").write_text(TRIES.format(then=then))
    surroundings.put_into(scripts)
    card.seal(bundle)
    return bundle


@CONFINED
def test_a_hostile_bundle_reaches_nothing_and_its_work_is_done(
    hosts: Hosts, surroundings: Surroundings, tmp_path: Path
) -> None:
    hostile = hostile_bundle(tmp_path, surroundings)
    found = answer(hosts, hostile)
    assert (found.labels == 1).all(), "it went on to do what it is for"
    tried = json.loads(next(hosts.folder.glob("*.scratch/found.json")).read_text())
    assert len(tried) > 25
    assert {name: got for name, got in tried.items() if got != "denied"} == {}
    surroundings.assert_untouched()
    assert (answer(hosts, mini_bundle.make(tmp_path, "plain")).labels == 1).all(), "the next network"
    own = hosts.home / card.read(hostile).card_sha256[:16] if hosts.home else None
    assert own is not None
    assert [file.name for file in own.iterdir()] == [KNOWN], "what it needs of memory is kept all the same"
    hosts.stop()
    assert list(hosts.folder.glob("*.scratch")) == []


@CONFINED
def test_a_hostile_bundle_that_ends_itself_costs_its_request(
    hosts: Hosts, surroundings: Surroundings, tmp_path: Path
) -> None:
    hostile = hostile_bundle(tmp_path, surroundings, then="os.kill(os.getpid(), 9)")
    with pytest.raises(client.HostGone):
        answer(hosts, hostile)
    surroundings.assert_untouched()
    assert (answer(hosts, mini_bundle.make(tmp_path, "plain")).labels == 1).all()


@CONFINED
def test_what_a_bundle_tries_while_it_is_parsed_is_denied(
    hosts: Hosts, surroundings: Surroundings, tmp_path: Path
) -> None:
    """Its configuration is run when it is read: long before there is a study."""
    bundle = mini_bundle.make(tmp_path, "at-once")
    config = bundle / "configs" / "inference.json"
    reads = f"$(open({str(surroundings.home / 'secret')!r}).read(), @network_def.to(@device))[1]"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"network": reads}))
    card.seal(bundle)
    with pytest.raises(Failed) as failed:
        hosts.address(str(bundle), card.read(bundle).card_sha256)
    assert failed.value.code in ("host-not-started", "network-unusable")
    assert (answer(hosts, mini_bundle.make(tmp_path, "plain")).labels == 1).all()


TALKS = """
import contextlib
import os
import socket
import sys
import traceback
from pathlib import Path
from monai.transforms import MapTransform


class Talks(MapTransform):
    def __call__(self, data):
        os.write(2, b"said by native code\\n")
        print("said by a library", file=sys.stderr)
        traceback.print_exception(ValueError("said by a traceback"))
        os.write(2, b"said again and again\\n" * 50_000)
        try:
            os.open("/proc/self/fd/2", os.O_RDONLY | os.O_NONBLOCK)
            found = "opened"
        except OSError:
            found = "cannot be opened"
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(2)) as mine:
            mine.setblocking(False)
            found += f", {mine.recv(100)}"
            mine.shutdown(socket.SHUT_RDWR)
        Path("~/heard").expanduser().write_text(found)
        return data
"""


def test_what_a_host_says_is_in_the_log_and_no_other_can_take_it_or_end_it(
    hosts: Hosts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Landlock does not look at pipes: one that hosts had in common could be opened for reading through /proc."""
    for name in ("first", "second"):
        before = [{"_target_": "scripts.talks.Talks", "keys": "image"}]
        bundle = mini_bundle.make(tmp_path, name, before=before)
        (bundle / "scripts").mkdir()
        (bundle / "scripts" / "__init__.py").touch()
        (bundle / "scripts" / "talks.py").write_text(TALKS)
        card.seal(bundle)
        assert (answer(hosts, bundle).labels == 1).all()
    heard = [file.read_text() for file in hosts.folder.glob("*.scratch/heard")]
    assert heard == ["cannot be opened, b''"] * 2
    hosts.stop()
    wait_until("all was said", lambda: caplog.text.count("more lines were left out") == 2)
    for said in ("said by native code", "said by a library", "ValueError: said by a traceback"):
        assert caplog.text.count(said) == 2
    assert "said by native code" in caplog.text.split("left out")[1], "the second is heard after the first is not"


def test_without_confinement_it_gets_nearly_all(surroundings: Surroundings, tmp_path: Path) -> None:
    """The attempts are real ones, and what is not denied is seen."""
    surroundings.put_into(tmp_path)
    home = tmp_path / "of the program"
    home.mkdir()
    command = [sys.executable, "-P", str(tmp_path / "hostile.py")]
    environment = os.environ | {"HOME": str(home), "PGPASSWORD": SECRET}
    with begun(command, stdout=subprocess.PIPE, env=environment) as process:
        said, _ = process.communicate(timeout=60)
    tried = json.loads(said)
    (Path(tempfile.gettempdir()) / f"written-{process.pid}").unlink()
    got = {name for name, outcome in tried.items() if outcome != "denied"}
    assert got >= {"tcp", "udp", "unix socket", "reads the database", "cuts the database off", "reads a secret"}
    assert got >= {"lists the home folder", "writes outside", "forks", "starts a shell", "ends the worker"}
    assert got >= {"reads the worker's words", "has the environment", "writes its own program"}
    surroundings.listener.accept()
    assert surroundings.worker.wait(10) == -signal.SIGKILL


# ------------------------------------------------------------------ trainings


@CONFINED
def test_a_training_reaches_no_more_than_its_cases_and_its_run(
    surroundings: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)  # as the environment of a worker may hold it
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # which sites do not set
        monkeypatch.delenv(name, raising=False)
    given = [tiny.case(tmp_path, number) for number in range(4)]
    other = tiny.case(tmp_path, 9)
    bundle = tiny.make(tmp_path / "balls")
    scripts = bundle / "scripts"
    scripts.mkdir()
    surroundings.put_into(scripts)
    (scripts / "__init__.py").write_text(
        "import json, os; from . import hostile; found = hostile.attempts()\n"
        f"try: os.listdir({str(other)!r}); found['another case'] = 'got'\n"
        "except OSError: pass\n"
        "open(os.path.expanduser('~/../found.json'), 'w').write(json.dumps(found))\n"
    )
    config = bundle / "configs" / "train.json"
    read = json.loads(config.read_text())
    config.write_text(json.dumps(read | {"imports": [*read.get("imports", ()), "$import scripts"]}))
    card.seal(bundle)
    run = tiny.run(tmp_path / "run", bundle, given[:3], given[3:], max_epochs=2)
    done = trainer.train(run, lambda: "", 300)
    assert done
    assert not (run / "scratch").exists()
    assert (run / "candidate.pt").is_file()
    tried = json.loads((run / "found.json").read_text())
    assert {name: got for name, got in tried.items() if got != "denied"} == {}
    surroundings.assert_untouched()


@CONFINED
@pytest.mark.slow
def test_a_training_of_two_processes_keeps_the_network_and_nothing_else(tmp_path: Path) -> None:
    cases = [tiny.case(tmp_path, number) for number in range(4)]
    run = tiny.run(tmp_path / "run", tiny.make(tmp_path / "balls"), cases[:2], cases[2:], max_epochs=2)
    assert trainer.train(run, lambda: "", 600, 2, Demand.REQUIRE)["processes"] == 2


POOLS = """
import multiprocessing, pathlib, sys
from multiprocessing.pool import ThreadPool
from models.confine import locks
from models.confine.process import confine
from models.confine.rights import Demand, Rights
locks.of_threads()
confine(Rights(), Demand.BEST)
with ThreadPool(3) as pool:
    assert pool.map(lambda n: n * n, range(100)) == [n * n for n in range(100)]
again = multiprocessing.RLock()
with again, again:
    assert ThreadPool(1).apply(again.acquire, (False,)) is False
assert ThreadPool(1).apply(again.acquire, (True, 5)) is True
once = multiprocessing.Lock()
assert once.acquire() and not once.acquire(timeout=0.01)
once.release()
try: once.release()
except ValueError: print("done")
"""


def test_pools_of_threads_work_without_shared_memory() -> None:
    """MONAI's CacheDataset has one, and its locks would be files in /dev/shm."""
    done = subprocess.run([sys.executable, "-P", "-c", POOLS], capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.stderr) == ("done\n", "")


# ------------------------------------------------- what strangers bring to be installed

READER = """
import os
from pathlib import Path
from . import hostile


class YAMLError(Exception):
    pass


def safe_load(text):
    if text.startswith("link"):
        Path(os.getcwd(), text.split()[1]).symlink_to(text.split()[2])
        return {}
    got = {name: what for name, what in hostile.attempts().items() if what != "denied"}
    raise ValueError("everything is denied" if not got else repr(got))
"""


@CONFINED
def test_a_reader_of_what_is_brought_that_was_taken_over_reaches_nothing(
    surroundings: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in of what reads configs, as if a file had taken the real one over; so with pickles of networks."""
    library, brought = tmp_path / "site-packages", tmp_path / "brought"
    (library / "yaml").mkdir(parents=True)
    (library / "yaml" / "__init__.py").write_text(READER)
    surroundings.put_into(library / "yaml")
    (brought / "configs").mkdir(parents=True)
    config = brought / "configs" / "inference.yaml"
    config.write_text("everything")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("PYTHONPATH", f"{library}{os.pathsep}{ROOT}")
    with pytest.raises(card.CardError, match="everything is denied"):
        reading.read(brought, "", Demand.BEST)
    surroundings.assert_untouched()
    # links that it leaves would be followed by the one who installs, who may read everything; where it may make them
    config.write_text(f"link {brought / 'configs' / 'more.txt'} /etc/shadow")
    with pytest.raises(card.CardError, match="Permission denied"):
        reading.read(brought, "", Demand.BEST)
    with pytest.raises(card.CardError, match="is no plain file"):
        reading.read(brought, "", Demand.OFF)
    (brought / "configs" / "more.txt").unlink()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config.write_text("network: $import os\n")
    folder, found = reading.read(brought, "", Demand.REQUIRE)
    assert (folder, [one.words for one in found.imports]) == (brought, ["$import os"])
    assert [one.name for one in brought.iterdir()] == ["configs"], "nothing of its own is left"


@CONFINED
def test_a_reader_that_ends_or_says_nonsense_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, brought = tmp_path / "site-packages", tmp_path / "brought"
    (library / "yaml").mkdir(parents=True)
    (brought / "configs").mkdir(parents=True)
    (brought / "configs" / "inference.yaml").write_text("x")
    monkeypatch.setenv("PYTHONPATH", f"{library}{os.pathsep}{ROOT}")
    outside = json.dumps({"folder": "..", "program": {}})
    for does, said in (
        ("os.kill(os.getpid(), 9)", r"ended the process that did \(-9\)"),
        ("print('{}'); sys.stdout.flush(); os._exit(0)", "gave no answer"),
        (f"print({outside!r}); sys.stdout.flush(); os._exit(0)", "no folder of it"),
        ("[0] * (1 << 60)", "cannot be read|ended the process"),
    ):
        (library / "yaml" / "__init__.py").write_text(
            f"import os, sys\nclass YAMLError(Exception): pass\ndef safe_load(text):\n    {does}\n"
        )
        with pytest.raises(card.CardError, match=said):
            reading.read(brought, "", Demand.BEST)


# ------------------------------------------------------------------ codecs

CODEC = """
from . import hostile

__version__ = "9.9"


def decode_pixel_data(source):
    got = {name: what for name, what in hostile.attempts().items() if what != "denied"}
    raise ValueError("everything is denied" if not got else repr(got))


def encode_array(*_):
    raise NotImplementedError
"""


@CONFINED
def test_a_hostile_codec_reaches_nothing_and_costs_its_image(
    surroundings: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in of the JPEG-LS codec: as if a file had taken the real one over."""
    library = tmp_path / "site-packages"
    (library / "jpeg_ls").mkdir(parents=True)
    (library / "jpeg_ls" / "__init__.py").write_text(CODEC)
    surroundings.put_into(library / "jpeg_ls")
    file = compressed(tmp_path)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("PYTHONPATH", f"{library}{os.pathsep}{ROOT}")
    with contextlib.closing(Decoders(1)) as pool:
        with pytest.raises(Refused, match="everything is denied") as refused:
            list(pixels.decoded([pixels.read(file)], pool))
        assert refused.value.code == "undecodable-pixels"
        surroundings.assert_untouched()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with contextlib.closing(Decoders(1)) as pool:
        (values,) = pixels.decoded([pixels.read(file)], pool)
        assert np.array_equal(values, ramp()), "the real codec, of the same file"


def ramp() -> NDArray[np.int16]:
    return np.arange(64 * 48, dtype=np.int16).reshape(64, 48)


def compressed(folder: Path) -> Path:
    """An image in JPEG-LS."""
    values = ramp()
    ds = small_series()[0]
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    frame = imagecodecs.jpegls_encode(values.view(np.uint16))
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    ds.PixelData = encapsulate([frame + bytes(len(frame) % 2)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    file = folder / "compressed.dcm"
    ds.save_as(file, enforce_file_format=True)
    return file


def test_memory_that_could_be_cut_off_is_not_mapped() -> None:
    """A host that shrinks what its worker reads would end the worker."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = os.memfd_create("loose")
        os.ftruncate(descriptor, 4096)
        header = {"say": "done", "arrays": [{"shape": [4096], "dtype": "|u1"}]}
        socket.send_fds(theirs, [json.dumps(header).encode() + b"\n"], [descriptor])
        with pytest.raises(Disconnected, match="not sealed"):
            Receiver(ours).receive()
        os.close(descriptor)


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"null", b"[]", b'{"arrays": 7}', b'{"arrays": [], "files": 1}', b"\xff"]
)
def test_what_is_no_message_ends_the_line_and_not_the_worker(line: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(line + b"\n")
        if line.startswith(b'{"arrays": []'):
            assert Receiver(ours).receive() == ({"files": 1}, []), "and no descriptor was taken"
            return
        with pytest.raises(Disconnected):
            Receiver(ours).receive()


def opened() -> Counter[str]:
    gc.collect()
    return descriptors()


@contextlib.contextmanager
def answering(address: Path, *answers: tuple[dict[str, object], int]) -> Iterator[None]:
    """In the place of a host: to whoever asks, these messages, each with so many descriptors."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    for said, many in answers:
                        line = json.dumps({"arrays": []} | said).encode() + b"\n"
                        socket.send_fds(connection, [line], [memory.descriptor] * many)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)

    memory = SharedArray.make((8,), np.uint8)
    with contextlib.closing(memory), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_bundle_cannot_fill_its_worker_with_descriptors(tmp_path: Path) -> None:
    """They are closed again, and an endless stream of them ends the line: a worker may have 1024, and serves others."""
    host, started = tmp_path / "host", ({"say": "started"}, 0)
    before = opened()
    with answering(host, ({"say": "environment", "environment": {}}, 10)):
        client.environment(host)
    assert not opened() - before
    host.unlink()
    with answering(host, started, ({"say": "failed", "sentence": "it is done"}, 10)), pytest.raises(client.HostFailed):
        client.segment(host, [], np.eye(4), limit_seconds=60)
    assert not opened() - before
    host.unlink()
    most: list[int] = []

    def note(*_: int) -> None:
        most.append((opened() - before).total())

    stream = [({"say": "progress", "done": 1, "of": 2}, 10)] * 40
    with answering(host, started, *stream), pytest.raises(client.HostGone):
        client.segment(host, [], np.eye(4), limit_seconds=60, on_progress=note)
    assert not opened() - before
    assert max(most) < 100


def test_arrays_that_nobody_asked_for_are_closed(tmp_path: Path) -> None:
    host, before = tmp_path / "host", opened()
    eight = {"arrays": [{"shape": [8], "dtype": "|u1"}] * 4}
    with answering(host, ({"say": "environment", "environment": {}} | eight, 4)):
        client.environment(host)
    assert not opened() - before
    host.unlink()
    failed = {"say": "failed", "sentence": "it is done"}
    with answering(host, ({"say": "started"} | eight, 4), (failed, 0)), pytest.raises(client.HostFailed):
        client.segment(host, [], np.eye(4), limit_seconds=60)
    assert not opened() - before


#: in the place of a host: it is never done, and is never silent
NEVER_DONE = """
import json, socket, sys, threading
def line(**said): return json.dumps({"arrays": []} | said).encode() + b"\\n"
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print(flush=True)
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(line(say="started"))
    while sys.argv[2] == "in drops":
        connection.sendall(b" ")
        threading.Event().wait(0.05)
    while True:
        connection.sendall(line(say="progress", done=1, of=2) if sys.argv[2] == "gets on" else line(say="started"))
"""


@pytest.mark.parametrize("how", ["in drops", "gets on", "starts again"])
def test_a_bundle_that_never_comes_to_its_end_is_ended_in_time(how: str, tmp_path: Path) -> None:
    """Its worker has other studies, and other networks."""
    host = tmp_path / "host"
    command = [sys.executable, "-c", NEVER_DONE, str(host), how]
    with begun(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(client.HostGone, match="did not finish within 4 s and was stopped"):
            client.segment(host, [], np.eye(4), limit_seconds=4)
        assert process.wait(30) == -signal.SIGKILL


@pytest.mark.parametrize(
    "said", [{}, {"held": "all"}, {"free": 1.5}, {"peak": None}, {"busy": 1}, {"on": 7}], ids=lambda one: str(one)
)
def test_what_a_bundle_says_of_its_memory_is_an_answer_or_none(said: dict[str, object], tmp_path: Path) -> None:
    """The supervisor counts with it, for all networks of the machine."""
    right = {"say": "room", "on": "cpu", "device": "CPU", "busy": False, "held": 1, "peak": 2, "free": 3}
    with answering(tmp_path / "right", (right, 0)):
        assert client.room(tmp_path / "right") == right
    with answering(tmp_path / "host", (right | said if said else {}, 0)):
        assert client.room(tmp_path / "host") is None
        assert not client.end(tmp_path / "host")


# ------------------------------------------------------------------ kernels that cannot

DEGRADED = """
import json, sys
from models.confine.kernel import Kernel
from models.confine.process import Unconfined, confine
from models.confine.rights import Demand, Rights
here = Kernel.here()
kernel = Kernel(here.machine, here.landlock if 'landlock' in sys.argv[2] else 0, 'seccomp' in sys.argv[2])
try:
    lacking = confine(Rights(), Demand(sys.argv[1]), kernel)
except Unconfined as error:
    sys.exit(str(error))
def denied(attempt):
    try: attempt()
    except OSError: return True
    return False
import os, socket
print(json.dumps([lacking, denied(lambda: os.listdir('/root')), denied(socket.socket)]))
"""


def degraded(demand: str, has: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", DEGRADED, demand, has]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@CONFINED
@pytest.mark.parametrize(
    ("has", "lacking", "no_file", "no_socket"),
    [
        ("landlock seccomp", set(), True, True),
        ("seccomp", {Part.FILES}, os.geteuid() != 0, True),
        ("landlock", {Part.CALLS}, True, False),
        ("", {Part.FILES, Part.CALLS}, os.geteuid() != 0, False),
    ],
)
def test_what_a_kernel_cannot_do_is_named_and_the_rest_is_done(
    has: str, lacking: set[Part], no_file: bool, no_socket: bool
) -> None:
    done = degraded("best", has)
    found = json.loads(done.stdout)
    assert set(found[0]) == lacking
    assert all(found[0].values()), "why"
    assert found[1:] == [no_file, no_socket]
    required = degraded("require", has)
    assert (required.returncode == 1) is bool(lacking)
    for part in lacking:
        assert f"{'open every file' if part is Part.FILES else 'use the network'}" in required.stderr


THREADS = """
import torch
from models.confine.process import confine
from models.confine.rights import Demand, Rights
confine(Rights(), Demand.BEST)
torch.set_num_threads(2)
print(torch.nn.functional.conv2d(torch.ones(1, 1, 200, 200), torch.ones(1, 1, 3, 3)).sum().item())
"""


def test_threads_of_torch_work_where_the_node_was_told_to_pin_them() -> None:
    environment = cleaned(os.environ | {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "OMP_NUM_THREADS": "2"})
    command = [sys.executable, "-P", "-c", THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout, done.returncode) == (f"{9.0 * 198 * 198}\n", 0), done.stderr


OLDER = """
import contextlib, ctypes, fcntl, json, os, select, socket, struct, subprocess, sys, threading
from pathlib import Path
from models.confine.kernel import Kernel
from models.confine.process import confine
from models.confine.rights import Demand, Rights

given, own, landlock = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
here = Kernel.here()
victim = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
everybody = os.sched_getaffinity(0)
library = ctypes.CDLL(None, use_errno=True)
NEITHER, F_SETSIG, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP, OPENAT2 = 3, 10, 15, 0x8901, 0x8902, 437

def called(number, *arguments):
    if library.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "denied")

def opened(flags):
    os.close(os.open(given / "weights.pt", flags))

def opened_otherwise():
    how = struct.pack("=QQQ", os.O_RDONLY | os.O_TRUNC, 0, 0)
    called(OPENAT2, ctypes.c_int(-100), os.fsencode(given / "weights.pt"), how, ctypes.c_size_t(len(how)))

def signals():
    fcntl.fcntl(pipe[0], fcntl.F_SETFL, fcntl.fcntl(pipe[0], fcntl.F_GETFL) | os.O_ASYNC)
    os.write(pipe[1], b"x")

def of_a_thread():
    thread = threading.Thread(target=lambda: os.sched_setaffinity(0, everybody))
    thread.start()
    thread.join()

def changed_by_descriptor(change):
    with (given / "weights.pt").open("rb") as stream:
        change(stream.fileno())

def hides():
    PR_SET_DUMPABLE = 4
    if library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "denied")

def lives():
    try:
        victim.stdin.write(b"x")
    except BrokenPipeError:
        return False
    return victim.stdout.read(1) == b"x"

pipe, pair = os.pipe(), socket.socketpair()
confine(Rights(read=(given,), write=(own,)), Demand.REQUIRE, Kernel(here.machine, landlock, here.seccomp))
attempts = {
    "SIGKILL": lambda: os.kill(victim.pid, 9),
    "owner of a pipe": lambda: fcntl.fcntl(pipe[0], fcntl.F_SETOWN, victim.pid),
    "owner of a pipe, anew": lambda: fcntl.fcntl(pipe[0], F_SETOWN_EX, struct.pack("=ii", 1, victim.pid)),
    "another signal": lambda: fcntl.fcntl(pipe[0], F_SETSIG, 9),
    "owner of a socket": lambda: fcntl.ioctl(pair[0], FIOSETOWN, struct.pack("=i", victim.pid)),
    "group of a socket": lambda: fcntl.ioctl(pair[0], SIOCSPGRP, struct.pack("=i", victim.pid)),
    "processors": lambda: os.sched_setaffinity(victim.pid, {0}),
    "lease": lambda: changed_by_descriptor(lambda it: fcntl.fcntl(it, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
    "pair of datagrams": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    "raw pair": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW),
    "hides what it has open": lambda: hides(),
    "truncate": lambda: os.truncate(given / "weights.pt", 0),
    "empties what it reads": lambda: opened(os.O_RDONLY | os.O_TRUNC),
    "empties what it neither reads nor writes": lambda: opened(NEITHER | os.O_TRUNC),
    "empties what it would write": lambda: opened(os.O_WRONLY | os.O_TRUNC),
    "empties what it would change": lambda: opened(os.O_RDWR | os.O_TRUNC),
    "creates it anew": lambda: opened(os.O_RDONLY | os.O_CREAT | os.O_TRUNC),
    "empties otherwise": opened_otherwise,
    "age": lambda: os.utime(given / "weights.pt", (1, 1)),
    "age by descriptor": lambda: changed_by_descriptor(lambda it: os.utime(it, (1, 1))),
    "mode by descriptor": lambda: changed_by_descriptor(lambda it: os.fchmod(it, 0)),
    "attribute by descriptor": lambda: changed_by_descriptor(lambda it: os.setxattr(it, "user.x", b"x")),
}
needed = {
    "writes anew": lambda: [(own / "file").write_bytes(b"x" * n) for n in (9, 1)],
    "touches": lambda: (own / "file").touch(),
    "reads": lambda: (given / "weights.pt").read_bytes(),
    "flags of a pipe": lambda: os.set_blocking(pipe[0], False),
    "locks": lambda: [fcntl.lockf(stream, fcntl.LOCK_EX) for stream in [(own / "file").open("w")]],
    "own processors": lambda: os.sched_setaffinity(0, everybody),
    "own processors by number": lambda: os.sched_setaffinity(os.getpid(), everybody),
    "those of a thread": of_a_thread,
    "a pair": lambda: [one.close() for one in socket.socketpair()],
    "a pair of packets": lambda: [one.close() for one in socket.socketpair(type=socket.SOCK_SEQPACKET)],
}

def outcome(attempt):
    try:
        attempt()
    except OSError:
        return "denied"
    return "got"

found = [{name: outcome(attempt) for name, attempt in of.items()} for of in (attempts, needed)]
with contextlib.suppress(OSError):
    signals()
json.dump([*found, lives()], sys.stdout)
"""


@CONFINED
@pytest.mark.parametrize("landlock", sorted({min(one, HERE.landlock) for one in (1, 2, 3, 5, HERE.landlock)}))
def test_on_older_kernels_nobody_is_signalled_and_nothing_is_emptied(landlock: int, tmp_path: Path) -> None:
    """Landlock knows of signals from version 6 on, of cutting files off from version 3 on; ages it never knows of."""
    given, own = tmp_path / "given", tmp_path / "own"
    given.mkdir()
    own.mkdir()
    (weights := given / "weights.pt").write_bytes(b"w" * 1000)
    before = weights.stat()
    command = [sys.executable, "-P", "-c", OLDER, str(given), str(own), str(landlock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    attempts, needed, lives = json.loads(done.stdout)
    assert {name: came for name, came in attempts.items() if came != "denied"} == {}
    assert {name: came for name, came in needed.items() if came != "got"} == {}
    assert lives, "the other process"
    after = weights.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_mode) == (1000, before.st_mtime_ns, before.st_mode)


LIMITED = """
import json, mmap, os, resource, sys, tempfile
from pathlib import Path
from models.confine.process import confine
from models.confine.rights import Demand, Rights
mib = 1 << 20
folder = Path(tempfile.mkdtemp())
confine(Rights(write=(folder,), descriptors=64, file_bytes=mib, **json.loads(sys.argv[2])), Demand(sys.argv[1]))
def tried(attempt):
    try: attempt()
    except (OSError, MemoryError) as error: return type(error).__name__
    return "got"
print(json.dumps({
    "file": tried(lambda: (folder / "large").write_bytes(bytes(2 * mib))),
    "small file": tried(lambda: (folder / "small").write_bytes(bytes(mib))),
    "memory": tried(lambda: len(bytearray(1024 * mib))),
    "descriptors": tried(lambda: [open(os.devnull) for _ in range(100)]),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    "goes first": Path("/proc/self/oom_score_adj").read_text().strip(),
}))
"""


@pytest.mark.parametrize("demand", ["best", "off"])
@pytest.mark.parametrize(("limit", "memory"), [("data_bytes", True), ("address_bytes", True), ("", False)])
def test_each_limit_holds_also_where_nothing_else_is_taken(demand: str, limit: str, memory: bool) -> None:
    """Half a gigabyte of memory; and the process lets nobody see what it held, when it dies."""
    limits = json.dumps({limit: 512 << 20} if limit else {})
    done = subprocess.run(
        [sys.executable, "-P", "-c", LIMITED, demand, limits], capture_output=True, text=True, check=True, timeout=120
    )
    assert json.loads(done.stdout) == {
        "file": "OSError",
        "small file": "got",
        "memory": "MemoryError" if memory else "got",
        "descriptors": "OSError",
        "core": 0,
        "goes first": "500",
    }


def test_threads_that_run_already_are_named() -> None:
    program = (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "from models.confine.process import confine; from models.confine.rights import Demand, Rights\n"
        "print(confine(Rights(), Demand.BEST))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert "other threads run already" in done.stdout or lacks()


def test_off_leaves_the_limits_alone(tmp_path: Path) -> None:
    done = degraded("off", "landlock seccomp")
    assert json.loads(done.stdout) == [{}, os.geteuid() != 0, False]


NOTHING = Kernel("x86_64", 0, False, (("landlock", "Function not implemented"), ("seccomp", "Invalid argument")))


def test_what_is_lacking_is_said_in_words() -> None:
    found = lacks(NOTHING)
    assert set(found) == {Part.FILES, Part.CALLS}
    said = sentence(found)
    assert "open every file that this user can: Function not implemented" in said
    assert "use the network, start programs and send signals: Invalid argument" in said


def test_status_check_and_metrics_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home := tmp_path / "home").mkdir(mode=0o700)
    node = open_node(load(None, {"node": {"home": home}, "work": {"confine": "off"}}))
    with contextlib.closing(node):
        told = confinement.overview(node.confine)
        assert {one["part"]: one["state"] for one in told} == dict.fromkeys(Part, "lacking")
        status.print_tables(status.overview(node.database) | {"confinement": told}, node.database)
        said = " ".join(capsys.readouterr().out.split())
        assert "networks and decoders can open every file that this user can: `confine` in [work] is off" in said
        text = metrics.exposition(metrics.snapshot(node.database, home, "1", [], confine=node.confine)).decode()
        assert 'planimeter_confined{part="system_calls"} 0.0' in text
        text = metrics.exposition(metrics.snapshot(node.database, home, "1", [], confine=Demand.BEST)).decode()
        assert f'planimeter_confined{{part="files"}} {float(Part.FILES not in lacks())}' in text
    found = {finding.right for finding in checks.confined(Demand.OFF)}
    assert found == {None}, "it is wanted so"
    assert [finding.right for finding in checks.confined(Demand.BEST)] == [None] * len(lacks()) or [True]


def test_what_is_required_and_not_there_is_a_refusal() -> None:
    confinement.require(Demand.BEST)
    confinement.require(Demand.OFF)
    if not lacks():
        confinement.require(Demand.REQUIRE)
        return
    with pytest.raises(Refused) as refused:
        confinement.require(Demand.REQUIRE)
    assert refused.value.code == "not-confined"


# ------------------------------------------------------------------ tables

HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    file = Path(HEADERS[machine])
    if not file.is_file():
        pytest.skip("the kernel's headers are not installed: apt-get install linux-libc-dev")
    said = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read_text())}
    column = tuple(HEADERS).index(machine)
    for name, numbers in (calls.FORBIDDEN | calls.LOOKED_AT | calls.OF_OLD_KERNELS).items():
        if name in said:
            assert numbers[column] == said[name], name


@pytest.mark.parametrize("machine", HEADERS)
@pytest.mark.parametrize("landlock", [0, 2, 3])
@pytest.mark.parametrize("sockets", [True, False])
def test_every_jump_of_the_filter_lands(machine: str, sockets: bool, landlock: int) -> None:
    """Walked as the kernel's checker does: each jump ends within the program, and the last step answers."""
    steps = list(seccomp.program(Kernel(machine, landlock, True), 4711, sockets=sockets))
    assert len(steps) < 4096
    for at, (code, true, false, _) in enumerate(steps):
        if code & 7 == 5:
            assert at + 1 + max(true, false) < len(steps)
    assert steps[-1][0] == seccomp.ANSWER


def test_of_the_environment_nothing_secret_is_kept() -> None:
    secret = ("PLANIMETER_CONFIG", "PGPASSWORD", "PGHOST", "DATABASE_URL", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY")
    kept = {"PATH": "p", "OMP_NUM_THREADS": "2", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "1"}
    assert cleaned(kept | dict.fromkeys(secret, SECRET)) == kept
    assert cleaned(kept | {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "GOMP_CPU_AFFINITY": "0-1"}) == kept
    assert cleaned({"MLFLOW_TRACKING_URI": "x"}, ("MLFLOW_*",)) == {"MLFLOW_TRACKING_URI": "x"}
