"""The log: a line per event, as text and as JSON, and nothing in it that names a patient."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from db.job_states import JobKind
from node import logs
from node.app import Node
from node.errors import Refused
from node.inbound.peers import Doorkeeper
from node.operations import send
from node.outbound.target import Target
from node.receiver import Receiver
from tests.doors import door
from tests.driving import jobs_of, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import as_files, small_series

SECRETS = {
    "PatientName": "ZEBRAFISH^QUAGGA",
    "PatientID": "PLANTED-4711",
    "AccessionNumber": "PLANTEDACC99",
    "PatientBirthDate": "19471213",
    "PatientComments": "PLANTED COMMENT",
    "StudyDescription": "PLANTED STUDY",
}


@pytest.fixture
def written() -> Iterator[dict[str, StringIO]]:
    """What all loggers write, down to debug, in both forms."""
    streams = {"text": StringIO(), "json": StringIO()}
    handlers: list[logging.Handler] = []
    root = logging.getLogger()
    level = root.level
    for form, formatter in (("text", logs.Text("test")), ("json", logs.Json("test"))):
        handler = logging.StreamHandler(streams[form])
        handler.setFormatter(formatter)
        handlers.append(handler)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield streams
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


def lines(written: dict[str, StringIO]) -> list[dict[str, object]]:
    """The JSON, line by line."""
    return [json.loads(line) for line in written["json"].getvalue().splitlines()]


def test_a_study_goes_all_the_way_and_no_log_names_its_patient(
    node: Node, pacs: FakePacs, tmp_path: Path, written: dict[str, StringIO]
) -> None:
    """Received, chosen, refused, held, segmented, not delivered; with the libraries as talkative as they can be."""
    for library in ("pydicom", "pynetdicom"):
        logging.getLogger(library).setLevel(logging.DEBUG)
    good = planted(small_series())
    uneven = planted(small_series())
    del uneven[2].ImagePositionPatient
    wrong = planted(small_series())[:2]
    wrong[0].Rows = 3  # more pixels than that
    wrong[1].PatientAge = "PLANTED-4711"
    another = planted(small_series())[:1]
    another[0].SOPInstanceUID = another[0].file_meta.MediaStorageSOPInstanceUID = good[0].SOPInstanceUID
    another[0].StudyInstanceUID, another[0].PatientID = good[0].StudyInstanceUID, "PLANTED-OTHER"
    receiver = Receiver(door(), Doorkeeper(()), node.inbox, node.database)
    target = Target("node", "PLANIMETER", "127.0.0.1", receiver.start())
    pacs.statuses = [0xC000] * 20
    try:
        for number, images in enumerate((good, uneven, wrong)):
            folder = tmp_path / str(number)
            folder.mkdir()
            as_files(images, folder)
            send.send(folder, target, "SCANNER")
        (tmp_path / "broken").mkdir()
        (whole,) = as_files(another, tmp_path / "broken")
        work_off(node)
        send.send(tmp_path / "broken", target, "SCANNER")
        whole.write_bytes(whole.read_bytes()[:-600])
        send.send(tmp_path / "broken", target, "SCANNER")
        work_off(node)
    finally:
        receiver.stop()
        for library in ("pydicom", "pynetdicom"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
    states = {(job["kind"], job["state"]) for job in jobs_of(node)}
    assert states >= {("choose", "refused"), ("segment", "done")}
    assert any(kind == JobKind.DELIVER and state in ("dead", "refused") for kind, state in states)
    said = [str(line["message"]) for line in lines(written)]
    assert any(line.startswith("instance refused") for line in said)
    assert any("deliver" in line for line in said)
    assert any(line.startswith("a message of pynetdicom") for line in said)
    about = [line for line in lines(written) if line["message"].startswith("segment done")]  # type: ignore[attr-defined]
    assert {"job", "study", "network"} <= set(about[0])
    assert about[0]["study"] == logs.study(str(good[0].StudyInstanceUID))
    everything = (written["text"].getvalue() + written["json"].getvalue()).upper()
    for secret in (*SECRETS.values(), "PLANTED", "ZEBRAFISH", "QUAGGA"):
        assert secret not in everything, secret


def planted(images: list[Dataset]) -> list[Dataset]:
    for ds in images:
        for keyword, value in SECRETS.items():
            setattr(ds, keyword, value)
    return images


def test_an_exception_is_its_types_and_places_and_never_its_text(written: dict[str, StringIO]) -> None:
    def inner() -> None:
        name = "ZEBRAFISH^QUAGGA"
        raise ValueError(f"cannot read {name}")

    try:
        try:
            inner()
        except ValueError as error:
            raise Refused("no-images", "ZEBRAFISH^QUAGGA") from error
    except Refused:
        logging.getLogger("node.test").exception("it went wrong")
    (line,) = lines(written)
    assert line["message"] == "it went wrong"
    error = "\n".join(line["error"])  # type: ignore[arg-type]
    assert "node.errors.Refused no-images" in error
    assert "builtins.ValueError" in error
    assert "tests/test_logs.py" in error
    assert "in inner" in error
    assert "ZEBRAFISH" not in written["text"].getvalue() + written["json"].getvalue()


def test_a_librarys_message_is_its_place_alone_and_ours_is_whole(written: dict[str, StringIO]) -> None:
    logging.getLogger("urllib3").warning("Invalid value for VR PN: 'ZEBRAFISH^QUAGGA'")
    logging.getLogger("nodeless").warning("ZEBRAFISH^QUAGGA")
    logging.getLogger("node.worker").warning("two\nlines %s", 7, extra={"ae": "CT_1"})
    said = [line["message"] for line in lines(written)]
    assert said[0].startswith("a message of urllib3 (tests/test_logs.py:")  # type: ignore[attr-defined]
    assert said[1].startswith("a message of nodeless (")  # type: ignore[attr-defined]
    assert said[2] == "two lines 7"
    assert lines(written)[2]["ae"] == "CT_1"
    assert lines(written)[2]["time"].endswith("Z")  # type: ignore[attr-defined]
    assert len(written["text"].getvalue().splitlines()) == 3
    assert "(ae=CT_1)" in written["text"].getvalue()


def test_what_a_line_is_about_ends_with_its_job(written: dict[str, StringIO]) -> None:
    log = logging.getLogger("node.test")
    with logs.about(job=7, network=""):
        with logs.about(network="ct_lungs"):
            log.warning("inside")
        log.warning("between")
    log.warning("outside")
    named = [{key: line[key] for key in logs.FIELDS if key in line} for line in lines(written)]
    assert named == [{"job": 7, "network": "ct_lungs"}, {"job": 7}, {}]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_that_fails_says_so_in_one_line_and_without_values(form: str) -> None:
    """Uncaught in the main thread, in another thread, and as a warning."""
    code = (
        "import threading, warnings; from node import logs\n"
        f"logs.configure('work-1', {form!r}, 'warning')\n"
        "def fail(name): raise ValueError(name)\n"
        "thread = threading.Thread(target=fail, args=('ZEBRAFISH^QUAGGA',)); thread.start(); thread.join()\n"
        "warnings.warn('ZEBRAFISH^QUAGGA')\n"
        "fail('ZEBRAFISH^QUAGGA')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZEBRAFISH" not in done.stdout + done.stderr
    assert done.stderr.count("an error that nobody caught") == 2
    assert done.stderr.count("UserWarning at ") == 1
    if form == "json":
        assert [json.loads(line)["process"] for line in done.stderr.splitlines()] == ["work-1"] * 3
