"""What comes at once is synchronized and committed together; each gets its own answer, nobody another one's fault."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE

from db import results
from db.arrivals import Seen
from db.database import Database
from db.tables import instance, study
from node.audit.transfer import unheard
from node.errors import Refused
from node.inbound.filing import Coming
from node.inbound.inbox import Inbox, Source
from node.inbound.together import Together
from node.outbound.association import stand_aside
from tests.conftest import find_program
from tests.kept import SMALL, House
from tests.running import PLANIMETER
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

CT = Source("CT1", "10.0.0.1")


# ------------------------------------------------------------------ batches


def test_who_comes_while_a_batch_is_made_is_in_the_next_one() -> None:
    batches: list[list[int]] = []
    go_on = threading.Event()

    def batch(numbers: Sequence[int]) -> list[int]:
        batches.append(sorted(numbers))
        assert go_on.wait(60)
        return [number * 2 for number in numbers]

    together: Together[int, int] = Together(batch, lambda _: -1)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(together.do, 0)
        wait_until("somebody leads", lambda: batches)
        rest = [threads.submit(together.do, number) for number in range(1, 9)]
        wait_until("the others wait", lambda: len(together._waiting) == 8)
        go_on.set()
        assert [one.result(60) for one in (first, *rest)] == [number * 2 for number in range(9)]
    assert batches == [[0], list(range(1, 9))]
    assert not together._busy


class LetsGoSlowly:
    """A lock after which a thread stands still, as soon as it has let go."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.slow: int | None = None
        self.let_go, self.go_on = threading.Event(), threading.Event()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.get_ident() == self.slow:
            self.slow = None
            self.let_go.set()
            assert self.go_on.wait(60)


def test_who_is_told_to_lead_before_it_waits_for_that_leads_all_who_wait() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def batch(numbers: Sequence[int]) -> list[int]:
        begun.set()
        assert go_on.wait(60)
        return [number * 2 for number in numbers]

    together: Together[int, int] = Together(batch, lambda _: -1)
    together._lock = lock = LetsGoSlowly()  # type: ignore[assignment]

    def second() -> int:
        lock.slow = threading.get_ident()
        return together.do(1)

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(together.do, 0)
        assert begun.wait(60)
        told_early = threads.submit(second)
        assert lock.let_go.wait(60)
        third = threads.submit(together.do, 2)
        wait_until("all wait", lambda: len(together._waiting) == 2)
        go_on.set()
        assert first.result(60) == 0
        lock.go_on.set()
        assert [told_early.result(60), third.result(60)] == [2, 4]


def test_a_batch_that_comes_to_nothing_is_taken_apart() -> None:
    def batch(numbers: Sequence[int]) -> list[int]:
        if 3 in numbers:
            raise ValueError("one of them")
        return list(numbers)

    def alone(number: int) -> int:
        if number == 3:
            raise ValueError("it is this one")
        return number

    together: Together[int, int] = Together(batch, alone)
    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(together.do, number) for number in range(200)]
    wrong = [number for number, one in enumerate(done) if one.exception()]
    assert wrong == [3]
    assert "this one" in str(done[3].exception())
    assert [one.result() for number, one in enumerate(done) if number != 3] == [n for n in range(200) if n != 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("failing", [1, 2], ids=["one leads, others wait", "the last lead"])
def test_where_there_is_no_memory_for_a_moment_nobody_waits_for_ever(failing: int) -> None:
    """Each allocation of whoever leads fails once: from the end of the batch that is made, until it has answered."""
    testing: Any = pytest.importorskip("_testcapi")

    def is_tried(which: int) -> bool:
        """Whether this thread was not the one that found no memory: it fails in the whole process."""
        batches, ended, go_on = list[int](), list[int](), threading.Event()

        def batch(numbers: Sequence[int]) -> Any:
            batches.append(len(numbers))
            assert go_on.wait(60)
            if len(batches) == failing:
                testing.set_nomemory(which, which + 1)
            return numbers

        together: Together[int, int] = Together(batch, lambda number: number)

        def come(number: int) -> None:
            try:
                together.do(number)
            finally:
                testing.remove_mem_hooks()
                ended.append(number)

        threads = [threading.Thread(target=come, args=(number,), daemon=True) for number in range(3)]
        threads[0].start()
        wait_until("one leads", lambda: batches)
        for thread in threads[1:]:
            thread.start()
        wait_until("the others wait", lambda: len(together._waiting) == 2)
        met = False
        try:
            go_on.set()
            for thread in threads:
                thread.join(60)
        except MemoryError:  # Python may take that thread for one that has ended
            met = True
        wait_until(f"all have ended, allocation {which}", lambda: len(ended) == len(threads))
        assert not together._busy
        assert together.do(7) == 7
        return not met

    for which in range(25):
        assert any(is_tried(which) for _ in range(50)), f"allocation {which}"


def test_who_finds_no_memory_to_begin_keeps_nobody_out() -> None:
    testing: Any = pytest.importorskip("_testcapi")
    met = set[type[Exception]]()
    for which in range(40):
        together: Together[int, int] = Together(list, lambda number: number)
        try:
            testing.set_nomemory(which, which + 1)
            together.do(1)
        except (MemoryError, RuntimeError) as error:  # the latter: no lock can be had
            met.add(type(error))
        finally:
            testing.remove_mem_hooks()
        assert not together._busy and not together._waiting, f"allocation {which}"
    assert MemoryError in met


# ---------------------------------------------------------------- instances


@pytest.fixture
def house(database: Database, tmp_path: Path) -> House:
    return House(database, tmp_path / "home")


@contextmanager
def nobody_writes(database: Database) -> Iterator[None]:
    """Whoever wants to write a row waits until the end of this."""
    with database.write() as tx:
        if not database.is_sqlite:
            tx.execute(sa.text("LOCK TABLE instance IN EXCLUSIVE MODE"))
        yield


def spooled(house: House, ds: Dataset) -> Path:
    (file,) = as_files([ds], house.home / "made")
    return file.rename(house.archive.new_spool_file())


Took = Callable[[], Seen]


def at_once(house: House, *takes: Took) -> tuple[list[Future[Seen]], int]:
    """Have instances taken in as one that leads and a batch of all others; and the transactions that recorded them."""
    together, recorded = house.inbox._filing._together, list[int]()
    record = together._batch

    def batch(coming: Sequence[Coming]) -> Any:
        recorded.append(len(coming))
        return record(coming)

    together._batch = batch
    with ThreadPoolExecutor(len(takes)) as threads, nobody_writes(house.database):
        first = threads.submit(takes[0])
        wait_until("one leads", lambda: recorded)
        rest = [threads.submit(take) for take in takes[1:]]
        wait_until("the others wait", lambda: len(together._waiting) == len(takes) - 1)
    return [first, *rest], len(recorded)


def taking(house: House, ds: Dataset, **given: Any) -> Took:
    file = spooled(house, ds)
    return lambda: house.inbox.take(file, ExplicitVRLittleEndian, CT, **given)


def rows(house: House) -> list[Any]:
    return house.rows(instance)


def test_instances_that_come_at_once_are_one_transaction(house: House) -> None:
    images = small_series((6, 5, 7))
    done, batches = at_once(house, *(taking(house, ds) for ds in images))
    assert [one.result() for one in done] == [Seen.NEW] * 7
    assert batches == 2
    found = rows(house)
    assert {row["sop_uid"] for row in found} == {ds.SOPInstanceUID for ds in images}
    for row in found:
        assert dcmread(house.archive.at(row["path"])).SOPInstanceUID == row["sop_uid"]
    assert len({Path(row["path"]).parent for row in found}) == 1, "one folder to synchronize"
    assert house.row(images[0].StudyInstanceUID)["state"] == "open"
    assert not list(house.archive.spool.iterdir())


def test_the_same_instance_twice_in_one_batch_is_one_row_and_one_file(house: House) -> None:
    other, image = small_series(SMALL)[:2]
    done, _ = at_once(house, taking(house, other), *(taking(house, image) for _ in range(4)))
    assert sorted(one.result() for one in done) == [Seen.NEW] * 2 + [Seen.SAME] * 3
    assert house.files("store") == {row["path"] for row in rows(house)}
    assert len(rows(house)) == 2


def test_revisions_in_one_batch_are_all_kept(house: House) -> None:
    other, image = small_series(SMALL)[:2]
    takes = []
    for number in range(4):
        image.SeriesDescription = f"version {number}"
        takes.append(taking(house, image))
    done, _ = at_once(house, taking(house, other), *takes)
    assert sorted(one.result() for one in done[1:]) == [Seen.NEW] + [Seen.REVISION] * 3
    found = house.rows(instance, instance.c.sop_uid == image.SOPInstanceUID)
    assert sorted(row["revision"] for row in found) == [1, 2, 3, 4]
    assert len({dcmread(house.archive.at(row["path"])).SeriesDescription for row in found}) == 4


def test_another_patient_in_the_batch_holds_the_study(house: House) -> None:
    other, image = small_series(SMALL)[:2]
    mine = taking(house, image)
    image.PatientID = "SOMEBODY-ELSE"
    done, _ = at_once(house, taking(house, other), mine, taking(house, image))
    assert sorted(one.result() for one in done) == [Seen.NEW, Seen.NEW, Seen.REVISION]
    assert house.row(image.StudyInstanceUID)["state"] == "held"
    assert "another patient" in house.row(image.StudyInstanceUID)["held_because"]


def test_equal_digests_of_other_bytes_are_told_apart_in_one_batch(house: House) -> None:
    other, image = small_series(SMALL)[:2]
    mine = taking(house, image, digest="the same")
    image.SeriesDescription = "other bytes"
    done, _ = at_once(house, taking(house, other), mine, taking(house, image, digest="the same"))
    assert sorted(one.result() for one in done[1:]) == [Seen.NEW, Seen.REVISION]
    found = house.rows(instance, instance.c.sop_uid == image.SOPInstanceUID)
    assert {row["digest"] for row in found} == {"the same", "the same~1"}
    assert house.files("store") == {row["path"] for row in rows(house)}


def test_one_that_cannot_be_recorded_harms_nobody_beside_it(house: House) -> None:
    images = small_series((6, 5, 6))

    def filing(number: int) -> Took:
        ds = images[number]

        def spoil(tx: Any) -> None:
            results.is_ours(tx, "1.2.3", ())
            raise Refused("spoilt", "it cannot be")

        path = spooled(house, ds)
        header = {element.keyword: element.value for element in ds}
        coming: Coming = house.inbox._coming(path, header, ExplicitVRLittleEndian, 1, CT, unheard(), "", str(number))
        coming.also = spoil if number == 3 else None
        if number == 4:
            path.unlink()
        return lambda: house.inbox._filing.file(coming)

    done, _ = at_once(house, *(filing(number) for number in range(6)))
    assert isinstance(done[3].exception(), Refused)
    assert isinstance(done[4].exception(), FileNotFoundError)
    assert [one.result() for n, one in enumerate(done) if n not in (3, 4)] == [Seen.NEW] * 4
    assert {row["sop_uid"] for row in rows(house)} == {images[n].SOPInstanceUID for n in (0, 1, 2, 5)}


def test_an_open_file_and_a_digest_that_were_made_while_it_came_are_used(house: House) -> None:
    file = spooled(house, small_series(SMALL)[0])
    with file.open("rb") as stream:
        seen = house.inbox.take(file, ExplicitVRLittleEndian, CT, digest="made before", descriptor=stream.fileno())
        assert os.fstat(stream.fileno()).st_nlink == 1, "still open, and in the store"
    assert seen is Seen.NEW
    (row,) = rows(house)
    assert row["digest"] == "made before"


def test_many_senders_of_many_studies_at_once_lose_nothing(house: House) -> None:
    """Also on PostgreSQL, where two inboxes, as of two processes, lock rows of one another."""
    inboxes = [house.inbox, Inbox(house.archive, house.database)]
    series = [small_series((4, 4, 8), patient_id=f"P{number % 3}") for number in range(6)]
    for number, images in enumerate(series):
        for ds in images[::2]:  # and each half of one study comes with the next study
            ds.StudyInstanceUID = series[(number + 1) % 6][1].StudyInstanceUID
    files = [[spooled(house, ds) for ds in images] for images in series]

    def send(number: int) -> list[Seen]:
        inbox = inboxes[number % 2]
        return [inbox.take(file, ExplicitVRLittleEndian, CT) for file in files[number]]

    with ThreadPoolExecutor(6) as threads:
        seen = list(threads.map(send, range(6)))
    assert seen == [[Seen.NEW] * 8] * 6
    assert {row["sop_uid"] for row in rows(house)} == {ds.SOPInstanceUID for images in series for ds in images}
    assert {row["state"] for row in house.rows(study)} == {"open"}


# ------------------------------------------------------------ the contract


@pytest.mark.filterwarnings("ignore")
def test_data_then_name_then_folder_then_row_and_only_then_success(tmp_path: Path) -> None:
    """What a loss of power could show is seen in the order of the system calls."""
    strace = find_program("strace", "apt-get install strace")
    trace = tmp_path / "trace"
    calls = "trace=fdatasync,fsync,rename,renameat,renameat2,sendto,sendmsg,write"
    traced = [strace, "-f", "--seccomp-bpf", "-y", "-qq", "-s", "16", "-e", calls, "-o", str(trace)]
    home = tmp_path / "home"
    receiver = subprocess.Popen(
        [*traced, *PLANIMETER, "receive", "--home", str(home), "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert receiver.stderr is not None
    try:
        port = next(int(found[1]) for line in receiver.stderr if (found := re.search(r"listens on .*:(\d+)", line)))
        threading.Thread(target=receiver.stderr.read, daemon=True).start()
        ae = AE("CT1")
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        assoc = stand_aside(ae.associate("127.0.0.1", port))
        images = small_series((6, 5, 4))
        assert [assoc.send_c_store(ds).Status for ds in images] == [0x0000] * 4
        assoc.release()
    finally:
        subprocess.run(["pkill", "-TERM", "-P", str(receiver.pid)], check=False)
        receiver.wait(60)
        receiver.stderr.close()
    said = trace.read_text()
    renames = re.findall(r'rename\S*\(.*?"([^"]*/spool/[^"]+)".*?"([^"]*/store/[^"]+)"', said)
    assert len(renames) == 4
    lines = said.splitlines()

    def first(pattern: str, begin: int = 0) -> int:
        return next(n for n, line in enumerate(lines) if n >= begin and re.search(pattern, line))

    for spool, store in renames:
        data = first(rf"fdatasync\(\d+<{re.escape(spool)}>")
        name = first(rf"rename.*{re.escape(store)}")
        folder = first(rf"fsync\(\d+<{re.escape(str(Path(store).parent))}>", name)
        row = first(r"(fsync|fdatasync)\(\d+<[^>]*/planimeter\.db(-wal|-journal)?>", folder)
        success = first(r"(sendto|sendmsg|write)\(\d+<(TCP|socket):", name)
        assert data < name < folder < row < success, (data, name, folder, row, success)
