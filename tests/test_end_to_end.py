"""The whole way, as a site would see it: DCMTK sends, `planimeter run` works, Orthanc receives."""

from __future__ import annotations

import copy
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, generate_uid

from models import card
from models.network import Network
from models.phantom import chest
from node.demo.study import ct_series
from node.objects.checks.masks import mask
from node.study import volume
from node.study.decode import Decoders
from tests.orthanc import Orthanc
from tests.peers_tools import dciodvfy, dcmqi_labels, save
from tests.running import RunningNode, planimeter
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

Start = Callable[..., RunningNode]
Tool = Callable[[str], str]


def dcmsend(tool: Tool, port: int, *paths: Path) -> None:
    subprocess.run(
        [tool("dcmsend"), "-aec", "PLANIMETER", "+sd", "+r", "127.0.0.1", str(port), *map(str, paths)],
        check=True,
        capture_output=True,
    )


def to(pacs: Orthanc) -> tuple[str, str]:
    return "--send-to", f"{pacs.ae_title}@127.0.0.1:{pacs.port}"


def small_chest(folder: Path, seed: int = 4, **identity: Any) -> list[Path]:
    """A coarse synthetic chest: quick to segment."""
    spacing = (4.0, 4.0, 8.0)
    hu, _ = chest((96, 80, 24), spacing, seed)
    return as_files(list(ct_series(hu, spacing, **identity)), folder)


@pytest.mark.filterwarnings("ignore")
def test_a_real_chest_goes_from_dcmtk_to_orthanc(
    dicom_data: Path, dcmtk: Tool, orthanc: Orthanc, start_node: Start, tmp_path: Path
) -> None:
    series = dicom_data / "ct_series" / "lungfcp_0001_chest"
    files = sorted(series.rglob("*.dcm"))
    source = dcmread(files[0])
    node = start_node("--quiet-seconds", "600", *to(orthanc))
    dcmsend(dcmtk, node.port, series)
    node.be_quiet()
    study = node.wait_for(source.StudyInstanceUID, "done")
    assert study["images"] == len(files)
    received = orthanc.instances()
    assert Counter(ds.Modality for ds in received) == {"SEG": 1, "SR": 2}
    assert len({ds.SOPInstanceUID for ds in received}) == 3
    for ds in received:
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
        ):
            assert str(ds.get(keyword) or "") == str(source.get(keyword) or ""), keyword
    (seg,) = [ds for ds in received if ds.Modality == "SEG"]
    reports = sorted((ds for ds in received if ds.Modality == "SR"), key=lambda ds: ds.SeriesNumber)
    seg_file, sr_file, diameters_file = (save(ds, tmp_path / f"{n}.dcm") for n, ds in enumerate((seg, *reports)))
    assert [dciodvfy(file) for file in (seg_file, sr_file, diameters_file)] == [[], [], []]
    pool = Decoders(1)
    built = volume.build(files, pool)
    pool.close()
    wanted = np.empty(built.geometry.shape, np.uint8)
    Network(card.find("ct_lungs", (card.SHIPPED,))).segment([built.values.array], built.geometry.affine, wanted)
    assert np.array_equal(mask(seg, built.geometry, [1, 2]), wanted), "the mask is the one the network made"
    grid = hd.Volume(wanted.astype(float), built.geometry.affine[:, [2, 1, 0, 3]], coordinate_system="PATIENT")
    read = hd.seg.segread(seg_file).get_volume(combine_segments=True, skip_overlap_checks=True)
    assert np.array_equal(read.match_geometry(grid).array, wanted), "highdicom reads it so"
    labels, _, _ = dcmqi_labels(seg_file, tmp_path)
    assert [(labels == n).sum() for n in (1, 2)] == [(wanted == n).sum() for n in (1, 2)], "and dcmqi"
    groups = hd.sr.srread(sr_file).content.get_volumetric_roi_measurement_groups()
    assert [group.get_measurements()[0].value for group in groups] == [
        pytest.approx((wanted == n).sum() * built.geometry.voxel_ml, abs=0.006) for n in (1, 2)
    ]
    built.close()


@pytest.mark.slow
def test_results_that_come_back_and_late_objects_make_no_job(
    orthanc: Orthanc, start_node: Start, dcmtk: Tool, tmp_path: Path
) -> None:
    files = small_chest(tmp_path / "study")
    source = dcmread(files[0])
    node = start_node("--quiet-seconds", "1", *to(orthanc))
    dcmsend(dcmtk, node.port, tmp_path / "study")
    node.wait_for(source.StudyInstanceUID, "done")
    before = [(job["id"], job["kind"]) for job in node.status()["jobs"]]
    orthanc.send_everything_to("PLANIMETER", node.port)
    dose = copy.deepcopy(source)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dose, keyword)
    dose.SOPClassUID = dose.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    dose.SOPInstanceUID = dose.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dose.SeriesInstanceUID, dose.Modality = generate_uid(), "SR"
    scout = copy.deepcopy(source)
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    scout.SeriesInstanceUID, scout.ImageType = generate_uid(), ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    late = as_files([dose, scout], tmp_path / "late")
    dcmsend(dcmtk, node.port, *late)
    wait_until("the localizer is there", lambda: node.study(source.StudyInstanceUID)["images"] == len(files) + 1)
    node.wait_for(source.StudyInstanceUID, "done")
    assert [(job["id"], job["kind"]) for job in node.status()["jobs"]] == before
    assert Counter(ds.Modality for ds in orthanc.instances()) == {"SEG": 1, "SR": 2}


@pytest.mark.slow
def test_killed_inside_the_quiet_period_the_study_still_settles(
    orthanc: Orthanc, start_node: Start, dcmtk: Tool, tmp_path: Path
) -> None:
    files = small_chest(tmp_path / "study")
    study_uid = dcmread(files[0]).StudyInstanceUID
    node = start_node("--quiet-seconds", "10", *to(orthanc))
    dcmsend(dcmtk, node.port, tmp_path / "study")
    assert node.study(study_uid)["state"] == "arriving"
    node.kill()
    node.start()
    node.wait_for(study_uid, "done")
    assert Counter(ds.Modality for ds in orthanc.instances()) == {"SEG": 1, "SR": 2}


@pytest.mark.slow
def test_ten_studies_over_postgresql_with_two_workers_arrive_once_each(
    postgres: Any, orthanc: Orthanc, start_node: Start, dcmtk: Tool, tmp_path: Path
) -> None:
    studies = []
    for number in range(10):
        files = small_chest(tmp_path / "studies" / str(number), seed=number, patient_id=f"P{number}")
        studies.append(dcmread(files[0]).StudyInstanceUID)
    node = start_node("--quiet-seconds", "1", "--database", postgres.new_database(), *to(orthanc))
    dcmsend(dcmtk, node.port, tmp_path / "studies")
    for study_uid in studies:
        node.wait_for(study_uid, "done", 240)
    received = orthanc.instances()
    assert Counter((ds.StudyInstanceUID, ds.Modality) for ds in received) == {
        (study_uid, modality): count for study_uid in studies for modality, count in (("SEG", 1), ("SR", 2))
    }
    segments = [job for job in node.status()["jobs"] if job["kind"] == "segment"]
    assert len(segments) == 10
    assert {job["attempts"] for job in segments} == {1}


@pytest.mark.slow
def test_a_pacs_that_is_away_for_a_minute_gets_everything_when_it_is_back(
    orthanc: Orthanc, start_node: Start, dcmtk: Tool, tmp_path: Path
) -> None:
    """For a moment it is away in test_delivery.py."""
    config = tmp_path / "planimeter.toml"
    config.write_text("[send]\nunreachable_retry_seconds = 1\nattempts = 2\n")
    node = start_node("--quiet-seconds", "1", "--config", str(config), *to(orthanc))
    orthanc.stop()
    studies = []
    for number in range(3):
        files = small_chest(tmp_path / "studies" / str(number), seed=number, patient_id=f"P{number}")
        studies.append(dcmread(files[0]).StudyInstanceUID)
    dcmsend(dcmtk, node.port, tmp_path / "studies")
    for study_uid in studies:
        node.wait_for(study_uid, "sending")
    until = time.monotonic() + 60
    wait_until("the outage is over", lambda: time.monotonic() > until, 70)
    assert {one["state"] for one in node.status()["deliveries"]} == {"waiting"}
    assert {one["attempts"] for one in node.status()["deliveries"]} == {0}
    orthanc.start()
    for study_uid in studies:
        node.wait_for(study_uid, "done")
    assert {one["state"] for one in node.status()["deliveries"]} == {"delivered"}
    assert Counter(ds.Modality for ds in orthanc.instances()) == {"SEG": 3, "SR": 6}


@pytest.mark.slow
def test_killed_processes_are_started_again_and_the_study_is_done(
    orthanc: Orthanc, start_node: Start, dcmtk: Tool, tmp_path: Path
) -> None:
    files = small_chest(tmp_path / "study")
    study_uid = dcmread(files[0]).StudyInstanceUID
    config = tmp_path / "planimeter.toml"
    # what happens within minutes does not happen because a lease ran out
    config.write_text("[hosts]\nat_start = true\n[receive]\nprocesses = 1\n[work]\nlease_seconds = 3600\n")
    node = start_node("--quiet-seconds", "1", "--config", str(config), *to(orthanc))
    wait_until("the network is warm", lambda: "is warm" in node.log)
    node.kill_child("model host")
    node.kill_child("receive")
    node.kill_child("schedule")
    wait_until("the receiver is back", lambda: node.log.count("listens on") == 2)
    dcmsend(dcmtk, node.port, tmp_path / "study")
    node.wait_for(study_uid, "running")
    for pid in node.processes("work"):
        os.kill(pid, signal.SIGKILL)
    wait_until("its job waits or runs again, although its lease has not run out", lambda: "wait again" in node.log, 120)
    node.wait_for(study_uid, "done")
    assert Counter(ds.Modality for ds in orthanc.instances()) == {"SEG": 1, "SR": 2}


def test_sigterm_ends_everything_cleanly(start_node: Start, tmp_path: Path) -> None:
    config = tmp_path / "planimeter.toml"
    config.write_text('[receive]\nprocesses = 2\n[[route]]\nname = "chest"\nnetworks = ["ct_lungs"]\n')
    node = start_node("--quiet-seconds", "1", "--config", str(config))
    wait_until("its network is being loaded, without a study", lambda: node.processes("model host"))
    pids = [pid for role in ("receive", "work", "schedule", "model host") for pid in node.processes(role)]
    assert len(pids) == 6
    assert node.stop() == 0
    wait_until("nobody is left", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert planimeter("status", "--home", node.home).returncode == 0


def test_what_is_bad_is_said_and_the_rest_goes_on(
    start_node: Start, orthanc: Orthanc, dcmtk: Tool, tmp_path: Path
) -> None:
    node = start_node("--quiet-seconds", "600", *to(orthanc))
    good = small_chest(tmp_path / "good")
    one_slice = small_series()[:1]
    no_frame = small_series()
    for ds in no_frame:
        del ds.FrameOfReferenceUID
    report = small_series()[0]
    del report.PixelData
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.Modality = "SR"
    (cut,) = as_files(small_series()[:1], tmp_path / "cut")
    cut.write_bytes(cut.read_bytes()[:-200])
    deflated = small_series()[0]
    as_files([*one_slice], tmp_path / "one")
    as_files([*no_frame], tmp_path / "frame")
    as_files([report], tmp_path / "report")
    for folder in ("one", "frame", "report", "good"):
        dcmsend(dcmtk, node.port, tmp_path / folder)
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(1)
    (plain,) = as_files([deflated], tmp_path / "deflated")
    subprocess.run([dcmtk("dcmconv"), "+td", str(plain), str(tmp_path / "deflated.dcm")], check=True)
    subprocess.run(
        [dcmtk("dcmsend"), "-aet", "CT9", "-dn", "127.0.0.1", str(node.port), str(tmp_path / "deflated.dcm")],
        check=False,
        capture_output=True,
    )
    submitted = planimeter("submit", "--home", node.home, cut, check=False)
    assert submitted.returncode == 1
    assert "cut short" in submitted.stdout
    node.be_quiet()
    node.wait_for(dcmread(good[0]).StudyInstanceUID, "done")
    assert node.log.count("model host of") == 1, "none but the network that a study came for"
    for ds, code in ((one_slice[0], "too-few-slices"), (no_frame[0], "no-frame-of-reference"), (report, "no-images")):
        study = node.wait_for(ds.StudyInstanceUID, "refused")
        assert study["reason"].startswith(code)
    status = node.status()
    reasons = {caller["reason"].split(":")[0]: caller for caller in status["callers"]}
    assert {"not-dicom", "truncated", "transfer-syntax-refused"} <= set(reasons)
    assert reasons["transfer-syntax-refused"]["ae_title"] == "CT9"
    assert Counter(ds.Modality for ds in orthanc.instances()) == {"SEG": 1, "SR": 2}
    assert set(status) == {
        *("studies", "jobs", "callers", "deliveries", "held", "networks", "aside", "due", "lacking"),
        *("machines", "confinement", "audit"),
    }
