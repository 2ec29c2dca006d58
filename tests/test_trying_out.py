"""Try a network on a dropped folder: taken in like a submitted one, kept apart, and bad zips answered in words."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, expect
from pydicom import dcmread
from pydicom.dataset import Dataset

from db import deliveries, studies, trials
from db.accounts import Role
from db.database import Database
from db.job_states import JobKind
from db.tables import delivery, instance, job, label, result, study
from node.app import Node
from node.errors import Refused
from node.inbound.inbox import Source
from node.operations import control, installing, trying_out
from node.operations.submit import take_file
from node.operations.trying_out import Bounds, Taken
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.pages import Site, open_pages, serving
from tests.returned import folder_of, segmentation
from tests.synthetic import as_files, small_series

BOUNDS = Bounds(most_files=100, reserve_bytes=0, most_bytes=20_000_000)
SERIES = small_series()


def folder(images: Sequence[Dataset], at: Path) -> list[Path]:
    at.mkdir()
    return as_files(list(images), at)


def bring(node: Node, files: Sequence[Path], study_uid: str, bounds: Bounds = BOUNDS) -> Taken:
    every = Taken()
    for file in files:
        one = trying_out.take(node.inbox, file, file.name, study_uid, bounds)
        every.counts += one.counts
        every.refused += one.refused
    return every


def test_a_trial_is_read_by_a_network_that_is_off_and_nothing_of_it_goes_anywhere(
    node: Node, pacs: FakePacs, tmp_path: Path
) -> None:
    installing.switch(node.networks, "ct_lungs", "admin", on=False)
    uid = trying_out.begin(node.networks, "ct_lungs", "physicist")
    taken = bring(node, folder(SERIES, tmp_path / "brought"), uid)
    assert taken.counts == {"new": len(SERIES)}
    assert trying_out.end(node.database, uid, "physicist", "all", 3).startswith(f"{len(SERIES)} images")
    work_off(node)
    with node.database.write() as tx:
        row = studies.find(tx, uid)
        assert row is not None
        (made,) = tx.execute(sa.select(result.c.id).where(result.c.kind == "SEG")).scalars().all()
        assert tx.execute(sa.select(delivery.c.id)).all() == []
        input_set = tx.execute(sa.select(result.c.input_set_id).where(result.c.id == made)).scalar_one()
        deliveries.queue(tx, input_set, row["id"], [made], ["pacs"], 3)  # whoever asks
        assert tx.execute(sa.select(delivery.c.id)).all() == []
        assert tx.execute(sa.select(job.c.kind).where(job.c.kind == JobKind.DELIVER)).all() == []
        stored = tx.execute(sa.select(instance.c.path)).scalars().all()
    assert pacs.objects == []

    # the very same study comes from its scanner: it is another one, and goes its way
    installing.switch(node.networks, "ct_lungs", "admin", on=True)
    take_in(node, SERIES)
    work_off(node)
    assert len(pacs.of_modality("SEG")) == 1
    with node.database.read() as tx:
        uids = set(tx.execute(sa.select(study.c.study_uid)).scalars())
    assert uids == {uid, SERIES[0].StudyInstanceUID}

    # and what is drawn on the trial teaches nothing
    images = sorted(
        (dcmread(node.archive.at(path)) for path in stored), key=lambda ds: float(ds.ImagePositionPatient[2])
    )
    mine = {ds.SOPInstanceUID for ds in images}
    assert not mine & {ds.SOPInstanceUID for ds in SERIES}
    assert [ds.pixel_array.tobytes() for ds in images] == [
        ds.pixel_array.tobytes() for ds in sorted(SERIES, key=lambda ds: float(ds.ImagePositionPatient[2]))
    ]
    drawn = np.zeros((len(images), images[0].Rows, images[0].Columns), np.uint8)
    drawn[:, 4:8, 4:8] = 1
    (file,) = folder_of([segmentation(images, drawn)], tmp_path / "returned")
    take_file(node.inbox, file, Source("READER", "127.0.0.1", teaches=True))
    work_off(node)
    with node.database.read() as tx:
        assert tx.execute(sa.select(label.c.state, label.c.code)).all() == [("quarantined", "label-of-a-trial")]


# ------------------------------------------------------- what may be brought


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Node]:
    opened = open_pages(tmp_path_factory.mktemp("trying") / "home", migrated)
    yield opened
    opened.close()


@pytest.fixture
def uid(quiet: Node) -> str:
    return trying_out.begin(quiet.networks, "ct_lungs", "physicist")


def zipped(at: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, data)
    return at


def as_bytes(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_zip_is_a_folder(quiet: Node, uid: str, tmp_path: Path) -> None:
    members = {f"CD/IMG{n}": as_bytes(ds) for n, ds in enumerate(SERIES)}
    file = zipped(
        tmp_path / "a.zip", {**members, "DICOMDIR": b"index", "CD/README.txt": b"hello", "CD/more.zip": b"PK\x03\x04"}
    )
    taken = trying_out.take(quiet.inbox, file, "a.zip", uid, BOUNDS)
    assert taken.counts == {"new": len(SERIES)}
    assert {name: said.split(":")[0] for name, said in taken.refused} == {
        "CD/README.txt": "this is no DICOM file",
        "CD/more.zip": "a zip within a zip is not opened",
    }
    assert list(quiet.archive.spool.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "a/../../b", "..\\..\\b", "C:\\Windows\\x"])
def test_a_zip_whose_names_lead_out_of_it_is_refused_whole(quiet: Node, uid: str, tmp_path: Path, name: str) -> None:
    file = zipped(tmp_path / "a.zip", {"good": as_bytes(SERIES[0]), name: as_bytes(SERIES[1])})
    with pytest.raises(Refused, match="lead out of it; nothing of it was taken"):
        trying_out.take(quiet.inbox, file, "a.zip", uid, BOUNDS)
    nothing_came(quiet.database, uid)


def nothing_came(database: Database, uid: str) -> None:
    with database.read() as tx:
        assert trials.size(tx, uid) == (0, 0)


def test_links_in_a_zip_are_refused(quiet: Node, uid: str, tmp_path: Path) -> None:
    file = zipped(tmp_path / "a.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777)
    with pytest.raises(Refused, match="links or devices"):
        trying_out.take(quiet.inbox, file, "a.zip", uid, BOUNDS)


def test_a_bomb_is_stopped_whatever_it_says_of_its_size(quiet: Node, uid: str, tmp_path: Path) -> None:
    honest = zipped(tmp_path / "a.zip", {"zeros": bytes(50_000_000)})
    assert honest.stat().st_size < 100_000
    with pytest.raises(Refused, match=r"more than 0\.02 GB"):
        trying_out.take(quiet.inbox, honest, "a.zip", uid, BOUNDS)
    lying = tmp_path / "b.zip"
    size = (50_000_000).to_bytes(4, "little")
    lying.write_bytes(honest.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    taken = trying_out.take(quiet.inbox, lying, "b.zip", uid, BOUNDS)
    assert not taken.counts
    assert taken.left_out == 1
    large = zipped(tmp_path / "large.zip", {"zeros": bytes(19_000_000)})
    reserve_bytes = quiet.archive.free_bytes() - 1_000_000
    with pytest.raises(Refused, match="too little room"):  # while it is unpacked, not when the disk is full
        trying_out.take(quiet.inbox, large, "large.zip", uid, Bounds(most_files=100, reserve_bytes=reserve_bytes))
    many = zipped(tmp_path / "c.zip", {f"{n}": b"" for n in range(101)})
    with pytest.raises(Refused, match="101 files; a trial has at most 100"):
        trying_out.take(quiet.inbox, many, "c.zip", uid, BOUNDS)
    nothing_came(quiet.database, uid)
    assert list(quiet.archive.spool.iterdir()) == []


def test_a_zip_that_is_broken_or_encrypted_is_answered_in_words(quiet: Node, uid: str, tmp_path: Path) -> None:
    whole = zipped(tmp_path / "a.zip", {"one": as_bytes(SERIES[0]), "two": as_bytes(SERIES[1])}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused, match=r"cut\.zip cannot be read as a zip"):
        trying_out.take(quiet.inbox, tmp_path / "cut.zip", "cut.zip", uid, BOUNDS)
    spoilt = bytearray(whole)
    spoilt[200] ^= 0xFF
    (tmp_path / "spoilt.zip").write_bytes(spoilt)
    taken = trying_out.take(quiet.inbox, tmp_path / "spoilt.zip", "spoilt.zip", uid, BOUNDS)
    assert taken.counts == {"new": 1}
    assert "cannot be unpacked" in taken.refused[0][1]
    locked = bytearray(whole)
    for at in (whole.index(b"PK\x01\x02") + 8, whole.index(b"PK\x03\x04") + 6):
        locked[at] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    with pytest.raises(Refused, match="encrypted"):
        trying_out.take(quiet.inbox, tmp_path / "locked.zip", "locked.zip", uid, BOUNDS)


def test_what_is_no_image_cut_short_or_of_another_study_is_left_out(quiet: Node, uid: str, tmp_path: Path) -> None:
    files = folder(SERIES, tmp_path / "a")
    (tmp_path / "cut").write_bytes(files[0].read_bytes()[:-100])
    other = small_series()
    (stranger,) = folder(other[:1], tmp_path / "b")
    drawn = SERIES[0].pixel_array.astype("uint8")[None] * 0 + 1
    (seg,) = folder_of([segmentation(SERIES[:1], drawn)], tmp_path / "c")
    taken = bring(quiet, [tmp_path / "cut", seg, files[0], stranger, files[0]], uid)
    assert taken.counts == {"new": 1, "same": 1}
    said = [sentence for _, sentence in taken.refused]
    assert "ends" in said[0]
    assert said[1].startswith("it is no image")
    assert said[2].startswith("it is of another study")


def test_there_is_an_end_of_room_and_of_disk(quiet: Node, uid: str, tmp_path: Path) -> None:
    files = folder(SERIES, tmp_path / "a")
    for bounds, said in (
        (Bounds(most_files=2, reserve_bytes=0), "at most 2 files"),
        (Bounds(most_files=99, reserve_bytes=0, most_bytes=10), "at most 1e-08 GB"),
        (Bounds(most_files=99, reserve_bytes=1 << 60), "too little room"),
    ):
        with pytest.raises(Refused, match=said):
            bring(quiet, files, uid, bounds)
    with pytest.raises(Refused, match="not known"):
        bring(quiet, files, "2.25.1")


def test_a_trial_without_an_image_ends_in_words(quiet: Node, uid: str) -> None:
    with pytest.raises(Refused, match="no image in what was brought"):
        trying_out.end(quiet.database, uid, "physicist", "", 3)
    with pytest.raises(Refused, match="no network called nobody"):
        trying_out.begin(quiet.networks, "nobody", "physicist")
    with pytest.raises(Refused, match="no study"):
        control.close(quiet.database, uid, "physicist", 3)


# -------------------------------------------------------------------- pages


@pytest.fixture(scope="module")
def site(quiet: Node) -> Iterator[Site]:
    with serving(quiet) as served:
        yield served


def test_a_folder_is_brought_in_the_browser_and_ends_at_its_study(
    site: Site, quiet: Node, browser: Browser, tmp_path: Path
) -> None:
    folder(SERIES, tmp_path / "<b>brought")
    page = site.page(browser, Role.OPERATOR)
    page.goto("/try")
    page.get_by_label("Network").select_option("ct_lungs")
    page.get_by_label("A folder").set_input_files(tmp_path / "<b>brought")
    page.wait_for_url("**/studies/2.25.*")
    with quiet.database.read() as tx:
        newest = trials.newest(tx, 1)[0]
        assert trials.size(tx, newest["study_uid"])[0] == len(SERIES)
    assert (newest["who"], newest["outcome"]) == (site.account(Role.OPERATOR), f"{len(SERIES)} taken, 0 left out")
    assert newest["state"] == "closed"
    page.goto("/try")
    zipped(tmp_path / "x.zip", {"a": as_bytes(SERIES[0]), "<img src=x onerror=alert(1)>.txt": b"nothing"})
    page.get_by_label("A zip, or files").set_input_files(tmp_path / "x.zip")
    page.get_by_role("link", name="Go to the study").wait_for()
    assert (
        "<img src=x onerror=alert(1)>.txt: this is no DICOM file" in page.get_by_label("What was left out").inner_text()
    )
    (tmp_path / "y.txt").write_text("nothing")
    page.get_by_label("A zip, or files").set_input_files(tmp_path / "y.txt")
    page.get_by_text("There is no image in what was brought", exact=False).or_(
        page.get_by_text("there is no image in what was brought")
    ).first.wait_for()
    page.close()


def test_a_folder_is_dragged_from_the_desktop(site: Site, quiet: Node, browser: Browser, tmp_path: Path) -> None:
    """What the browser itself makes of it: a drag with a folder in it, and the folders and files below."""
    study = small_series()
    (tmp_path / "CD").mkdir()
    folder(study[: len(study) // 2], tmp_path / "CD" / "first")
    folder(study[len(study) // 2 :], tmp_path / "CD" / "second")
    (tmp_path / "CD" / "DICOMDIR").write_bytes(b"index")
    page = site.page(browser, Role.OPERATOR)
    page.goto("/try")
    page.get_by_label("Network").select_option("ct_lungs")
    box = page.locator("#drop").bounding_box()
    assert box is not None
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 20}
    dragged = {"items": [], "files": [str(tmp_path / "CD")], "dragOperationsMask": 1}
    mouse = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver"):
        mouse.send("Input.dispatchDragEvent", {"type": step, "data": dragged, **at})
    expect(page.locator("#drop")).to_have_class("drop over")
    mouse.send("Input.dispatchDragEvent", {"type": "drop", "data": dragged, **at})
    page.wait_for_url("**/studies/2.25.*")
    with quiet.database.read() as tx:
        newest = trials.newest(tx, 1)[0]
        assert trials.size(tx, newest["study_uid"])[0] == len(study)
    assert newest["outcome"] == f"{len(study)} taken, 0 left out"
    page.close()


def test_only_an_operator_brings_anything_and_only_with_the_token(site: Site, quiet: Node) -> None:
    with site.client(Role.VIEWER) as client:
        assert client.get("/try").status_code == 403
        assert client.submit("/try/begin", network="ct_lungs").status_code == 403
    with site.client(Role.OPERATOR) as client:
        uid = client.submit("/try/begin", at="/try", network="ct_lungs").json()["study"]
        body = as_bytes(SERIES[0])
        binary = {"content-type": "application/octet-stream"}
        assert client.post(f"/try/{uid}/file?name=a", content=body, headers=binary).status_code == 403
        token = {**binary, "x-csrf-token": client.token("/try")}
        assert client.post(f"/try/{uid}/file?name=a", content=body, headers=token).json()["taken"] == 1
        empty = client.post(f"/try/{uid}/file?name=a", content=b"", headers=token)
        assert (empty.status_code, empty.json()["said"]) == (409, "it is empty")
        lost = client.post("/try/2.25.1/file?name=a", content=body, headers=token)
        assert (lost.status_code, lost.json()["said"]) == (409, "this trial is not known; begin another one")
    assert list(quiet.archive.spool.iterdir()) == []
