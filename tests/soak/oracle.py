"""What must hold after any fault, asked of the files, the rows, and what destinations have: the four that stay 0.

    receipts = Receipts()                       # senders write down what they offer, and what was answered Success
    receipts.offer(uid, digest); receipts.acknowledge(uid, digest)
    tally = of_store(home, url, receipts)       # lost, partial, duplicates; sweeps the home folder and looks again
    tally.add(of_results(home, url, {"pacs": received_by(pacs.objects)}))            # partial, duplicates, missing
    tally.add(of_results(home, url, {"pacs": received_in(folder)}, predicted=uids))  # storescp's folder

`of_store` sweeps as if every file were old: nobody may be sending, or writing results, while it looks. Both leave
`trials` and `recoveries` to whoever made the fault.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom.dsutils import encode

from db.database import Database, open_database, sqlite_url
from db.job_states import OPEN, JobKind
from db.tables import delivery, dispatch, input_set, instance, job, result, study
from node.inbound.header import WANTED, data_set_start, read_header
from node.inbound.inbox import Inbox
from node.inbound.opened import mapped
from node.operations.status import overview
from node.operations.sweep import sweep_home
from node.study.archive import SUFFIX, Archive

from .tally import Tally

#: studies of which nothing more will come
ENDED = frozenset({"done", "refused", "failed", "held", "cancelled", "purged"})
#: of a delivery: the destination has it
THERE = ("delivered", "committed")
#: results that a destination should have, and those that it may have had before something newer came
STANDING, WITHDRAWN = ("ready",), ("superseded", "withdrawn", "discarded")


def digest(data_set: bytes | memoryview) -> str:
    """Of a data set as it goes over the network, without file meta information."""
    return hashlib.sha256(data_set).hexdigest()


def digest_of(ds: Dataset) -> str:
    """Of a data set that pynetdicom sends uncompressed as Explicit VR Little Endian."""
    encoded = encode(ds, False, True)
    assert encoded is not None
    return digest(encoded)


@dataclass
class Receipts:
    """What senders know. Many threads may write at once.

    Attributes:
        offered: SOP Instance UID -> digests of what was sent, answered or not.
        acknowledged: SOP Instance UID -> digests of what was answered Success.
    """

    offered: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, sop_uid: str, digest: str) -> None:
        """It is about to be sent."""
        with self._lock:
            self.offered[sop_uid].add(digest)

    def acknowledge(self, sop_uid: str, digest: str) -> None:
        """It was sent, and the answer was Success."""
        with self._lock:
            self.offered[sop_uid].add(digest)
            self.acknowledged[sop_uid].add(digest)

    @property
    def count(self) -> int:
        """Acknowledged objects; two revisions of an instance are two."""
        with self._lock:
            return sum(map(len, self.acknowledged.values()))


@dataclass(frozen=True)
class Received:
    """An object that a destination has.

    Attributes:
        digest: of its data set; None: it is not whole.
    """

    sop_uid: str
    digest: str | None


def received_by(objects: Iterable[Dataset]) -> list[Received]:
    """What a `FakePacs` kept, every copy."""
    return [Received(str(ds.SOPInstanceUID), _canonical(ds)) for ds in list(objects)]


def received_in(folder: Path) -> list[Received]:
    """What storescp keeps in a folder, every file."""
    found = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        try:
            _require_whole(file)
            ds = dcmread(file)
            found.append(Received(str(ds.SOPInstanceUID), _canonical(ds)))
        except Exception:  # noqa: BLE001 - whatever a reader says of it: it is not a whole object
            found.append(Received(file.name, None))
    return found


def _canonical(ds: Dataset) -> str:
    """The same for equal data sets, whichever way they came."""
    return digest_of(Dataset({one.tag: one for one in ds if one.tag.group != 2}))


# --------------------------------------------------------------------------- the store


def of_store(home: Path, url: str, receipts: Receipts, *, whole_store: bool = True) -> Tally:
    """Whether everything that was acknowledged is there, whole, once, and nothing else.

    Args:
        home: the node's folder.
        url: of its database; empty: SQLite in the home folder.
        whole_store: no other sender brought anything: what none of these offered is `partial`.
    """
    tally = Tally(acknowledged=receipts.count)
    with _opened(home, url) as database:
        _integrity(database, tally)
        before = _Store.read(home, database)
        orphans = before.files.keys() - before.paths
        left = len(list((home / "spool").iterdir()))
        tally.figures = {"files without a row, which the sweep took in": len(orphans), "leftovers of the spool": left}
        archive = Archive(home)
        sweep_home(archive, database, Inbox(archive, database), settled_seconds=-1)
        after = _Store.read(home, database)
    lost = _lost(after, receipts, "after the sweep") | _lost(before, receipts, "before the sweep")
    partial = before.broken() | after.broken() | _strangers(after, receipts, whole_store=whole_store)
    for path in after.files.keys() - after.paths:
        partial.setdefault(path, f"{path} has no row after the sweep")
    for left in (home / "spool").iterdir():
        partial[left.name] = f"the spool holds {left.name} after the sweep"
    twice = _twice(after)
    tally.lost, tally.partial, tally.duplicates = len(lost), len(partial), len(twice)
    tally.complaints += [*lost.values(), *partial.values(), *twice]
    return tally


@dataclass(frozen=True)
class _Store:
    """What the store holds.

    Attributes:
        files: path -> digest of its data set; None: not whole.
        rows: instances whose file was not given up.
    """

    files: dict[str, str | None]
    rows: list[Any]

    @classmethod
    def read(cls, home: Path, database: Database) -> _Store:
        with database.read() as tx:
            rows = list(tx.execute(sa.select(instance).where(instance.c.purged.is_(None))).mappings())
        syntaxes = {row["path"]: row["transfer_syntax"] for row in rows}
        files: dict[str, str | None] = {}
        for file in sorted((home / "store").rglob("*")):
            if file.is_file():
                path = file.relative_to(home).as_posix()
                files[path] = _body(file, syntaxes.get(path)) if file.suffix == SUFFIX else None
        return cls(files, rows)

    @property
    def paths(self) -> set[str]:
        return {row["path"] for row in self.rows}

    def broken(self) -> dict[str, str]:
        """Files that are not whole, and rows without one: path -> in words."""
        found = {path: f"{path} is not a whole object" for path, body in self.files.items() if body is None}
        without = [row for row in self.rows if row["path"] not in self.files]
        return found | {row["path"]: f"{row['sop_uid']} has a row, and no file {row['path']}" for row in without}

    def by_uid(self) -> dict[str, list[str | None]]:
        """SOP Instance UID -> digest of the file of each of its rows."""
        found: dict[str, list[str | None]] = defaultdict(list)
        for row in self.rows:
            found[row["sop_uid"]].append(self.files.get(row["path"]))
        return found


def _body(file: Path, transfer_syntax: str | None = None) -> str | None:
    try:
        return _require_whole(file, transfer_syntax)
    except Exception:  # noqa: BLE001 - whatever a reader says of it: it is not a whole object
        return None


def _require_whole(file: Path, transfer_syntax: str | None = None) -> str:
    """The digest of a file's data set, every length of which was walked through.

    Raises:
        Refused: it is not whole.
    """
    syntax = UID(transfer_syntax or read_file_meta_info(file).TransferSyntaxUID)
    with file.open("rb") as stream, mapped(stream.fileno()) as data:
        start = data_set_start(data)
        read_header(data, start, syntax, WANTED)
        with data[start:] as body:
            return digest(body)


def _lost(store: _Store, receipts: Receipts, when: str) -> dict[tuple[str, str], str]:
    """Acknowledged objects without a row whose file is what was sent; why."""
    there, lost = store.by_uid(), dict[tuple[str, str], str]()
    for sop_uid, digests in receipts.acknowledged.items():
        for wanted in digests - set(there.get(sop_uid, ())):
            why = "other bytes are stored" if sop_uid in there else "it is not there"
            lost[sop_uid, wanted] = f"{sop_uid} was acknowledged, and {when} {why}"
    return lost


def _strangers(store: _Store, receipts: Receipts, *, whole_store: bool) -> dict[str, str]:
    """What nobody sent as it is stored: path -> in words."""
    return {
        row["path"]: f"{row['sop_uid']} is stored as nobody sent it"
        for row in store.rows
        if (body := store.files.get(row["path"])) is not None
        and (whole_store or row["sop_uid"] in receipts.offered)
        and body not in receipts.offered.get(row["sop_uid"], ())
    }


def _twice(store: _Store) -> list[str]:
    """The same object in two rows."""
    return [
        f"{sop_uid} has {times} rows with the same bytes"
        for sop_uid, found in store.by_uid().items()
        for body, times in Counter(found).items()
        if times > 1 and body is not None
    ]


def _integrity(database: Database, tally: Tally) -> None:
    """What SQLite says of its file."""
    if not database.is_sqlite:
        return
    with database.read() as tx:
        said = tx.execute(sa.text("PRAGMA integrity_check")).scalars().all()
        said += [str(row) for row in tx.execute(sa.text("PRAGMA foreign_key_check"))]
    tally.complaints += [f"the database: {one}" for one in said if one != "ok"]


# --------------------------------------------------------------------------- the results


def of_results(
    home: Path,
    url: str,
    destinations: Mapping[str, Collection[Received]],
    *,
    predicted: Collection[str] | None = None,
    studies: Collection[str] | None = None,
) -> Tally:
    """Whether every study came to one end, and every destination has exactly its results.

    A result that something newer took the place of may be at a destination, or not. All others have to be there, each
    copy with the data set that the node keeps.

    Args:
        home, url: as `of_store`.
        destinations: name of its [[peer]] -> what it holds, every copy that ever came.
        predicted: SOP Instance UIDs of all that stands: those of a run of the same images without a fault.
        studies: Study Instance UIDs that have to be there; None: those that are.
    """
    tally = Tally(delivered=sum(map(len, destinations.values())))
    with _opened(home, url) as database:
        _ends(database, studies, tally)
        rows = _results(database)
        kept = _kept(home, rows, tally)
        wanted = _wanted(database)
    _once(rows, tally)
    for name, held in destinations.items():
        _held(name, held, kept, {row["sop_uid"]: row["state"] for row in rows}, tally)
        has = {one.sop_uid for one in held}
        for sop_uid, state in sorted(wanted.get(name, {}).items()):
            if state not in THERE:
                tally.missing += 1
                tally.complaints.append(f"{name}: the delivery of {sop_uid} is {state}")
            elif sop_uid not in has:
                tally.missing += 1
                tally.complaints.append(f"{name} does not have {sop_uid}, and its delivery is {state}")
    if unknown := wanted.keys() - destinations.keys():
        tally.complaints.append(f"nobody looked at what {', '.join(sorted(unknown))} holds")
    standing = {row["sop_uid"] for row in rows if row["state"] in STANDING}
    for sop_uid in sorted(standing ^ set(predicted) if predicted is not None else ()):
        more = sop_uid in standing
        tally.duplicates, tally.missing = tally.duplicates + more, tally.missing + (not more)
        tally.complaints.append(f"{sop_uid} is {'not among' if more else 'lacking of'} what a run without faults gives")
    return tally


def _ends(database: Database, studies: Collection[str] | None, tally: Tally) -> None:
    """Every study has an end, and every input set one job that has one."""
    found = {one["study_uid"]: one for one in overview(database)["studies"]}
    for uid in sorted(set(studies or ()) - found.keys()):
        tally.missing += 1
        tally.complaints.append(f"study {uid} is not there")
    for uid, one in found.items():
        if one["state"] not in ENDED and (studies is None or uid in studies):
            tally.missing += 1
            tally.complaints.append(f"study {uid} is {one['state']}: {one['reason']}")
    with database.read() as tx:
        sets = tx.execute(sa.select(input_set.c.id, study.c.study_uid).join(study)).all()
        asked = sa.select(job.c.input_set_id, job.c.state).where(job.c.kind == JobKind.SEGMENT)
        jobs = defaultdict(list)
        for of, state in tx.execute(asked):
            jobs[of].append(state)
    for made, uid in sets:
        if studies is not None and uid not in studies:
            continue
        states = jobs[made]
        if len(states) != 1:
            tally.duplicates += max(0, len(states) - 1)
            tally.missing += not states
            tally.complaints.append(f"input set {made} of study {uid} has {len(states)} jobs")
        elif states[0] in OPEN:
            tally.missing += 1
            tally.complaints.append(f"the job of input set {made} of study {uid} is {states[0]}")


def _results(database: Database) -> list[Any]:
    with database.read() as tx:
        return list(tx.execute(sa.select(result).order_by(result.c.id)).mappings())


def _wanted(database: Database) -> dict[str, dict[str, str]]:
    """Destination -> SOP Instance UID of each result that stands and is to be sent there -> state of its delivery."""
    asked = (
        sa.select(delivery.c.destination, result.c.sop_uid, delivery.c.state)
        .join(result, result.c.id == delivery.c.result_id)
        .where(result.c.state.in_(STANDING))
        .where(delivery.c.state.not_in((*WITHDRAWN, "held")))
    )
    # an input set with a job that is done, and a destination that got no row of it at all
    live = (
        sa.select(dispatch.c.destination, input_set.c.id)
        .join(input_set, input_set.c.id == dispatch.c.input_set_id)
        .join(job, sa.and_(job.c.input_set_id == input_set.c.id, job.c.kind == JobKind.SEGMENT, job.c.state == "done"))
        .where(dispatch.c.mode == "live")
    )
    found: dict[str, dict[str, str]] = defaultdict(dict)
    with database.read() as tx:
        for destination, sop_uid, state in tx.execute(asked):
            found[destination][sop_uid] = state
        sent = sa.select(delivery.c.destination, result.c.input_set_id).join(
            result, result.c.id == delivery.c.result_id
        )
        has = {(destination, made) for destination, made in tx.execute(sent)}
        for destination, made in tx.execute(live):
            if (destination, made) not in has:
                found[destination][f"anything of input set {made}"] = "not there"
    return found


def _kept(home: Path, rows: Iterable[Any], tally: Tally) -> dict[str, str | None]:
    """SOP Instance UID -> digest of the kept object; its file is what its row says."""
    kept: dict[str, str | None] = {}
    for row in rows:
        if row["path"] is None:
            continue
        file = home / row["path"]
        data = file.read_bytes() if file.is_file() else b""
        if len(data) != row["size"] or hashlib.sha256(data).hexdigest() != row["sha256"]:
            tally.partial += 1
            tally.complaints.append(f"the file of result {row['sop_uid']} is not what its row says")
            continue
        kept[row["sop_uid"]] = _canonical(dcmread(file))
    for left in (home / "results").rglob("*"):
        if left.is_file() and left.relative_to(home).as_posix() not in {row["path"] for row in rows}:
            tally.figures["orphans of results"] = tally.figures.get("orphans of results", 0) + 1
    return kept


def _once(rows: Iterable[Any], tally: Tally) -> None:
    """Of each form of an input set's results one stands."""
    forms = Counter(
        (row["input_set_id"], row["kind"], row["options"]) for row in rows if row["state"] in (*STANDING, "held")
    )
    for (made, kind, options), times in forms.items():
        if times > 1:
            tally.duplicates += times - 1
            tally.complaints.append(f"input set {made} has {times} results {kind} {options} that stand")


def _held(
    name: str, held: Iterable[Received], kept: Mapping[str, str | None], states: Mapping[str, str], tally: Tally
) -> None:
    """What a destination holds: whole, ours, and every copy the same."""
    copies: dict[str, set[str]] = defaultdict(set)
    for one in held:
        if one.digest is None:
            tally.partial += 1
            tally.complaints.append(f"{name} holds {one.sop_uid}, which is not whole")
        elif one.sop_uid not in states:
            tally.duplicates += 1
            tally.complaints.append(f"{name} holds {one.sop_uid}, of which the node has no result")
        else:
            copies[one.sop_uid].add(one.digest)
    for sop_uid, digests in copies.items():
        if len(digests) > 1:
            tally.duplicates += len(digests) - 1
            tally.complaints.append(f"{name} was sent {sop_uid} with {len(digests)} different contents")
        elif sop_uid in kept and kept[sop_uid] not in digests:
            tally.partial += 1
            tally.complaints.append(f"{name} holds {sop_uid} with other content than is kept")


# --------------------------------------------------------------------------- beside


def descriptors_of(pid: int) -> tuple[int, int]:
    """Threads and open files of a process: at their baseline when all senders have gone."""
    threads, files = (len(list(Path(f"/proc/{pid}/{kind}").iterdir())) for kind in ("task", "fd"))
    return threads, files


@contextmanager
def _opened(home: Path, url: str) -> Iterator[Database]:
    database = open_database(url or sqlite_url(home / "planimeter.db"))
    try:
        yield database
    finally:
        database.dispose()
