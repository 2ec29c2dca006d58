"""The demonstration: start a node and a toy PACS, send a study, wait, and show what came back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from db.database import open_database, sqlite_url

from ..errors import Failed, Refused
from ..objects.checks.masks import mask
from ..objects.pictures.preview import Outlined, picture
from ..operations.status import overview
from ..outbound import scu
from ..outbound.scu import Parcel
from ..outbound.statuses import Answer
from ..outbound.target import Target
from ..study import volume
from ..study.decode import Decoders
from .study import synthetic_chest, write
from .table import table
from .toy_pacs import ToyPacs

QUIET_SECONDS = 3
LONGEST_SECONDS = 900
#: the configuration: one study is one worker's, and needs one network, or none
SMALL = "[work]\nworkers = 1\n[hosts]\nat_start = false\n"
AE_TITLE = "PLANIMETER"
SENDER = "DEMO"


def demo(study: Path | None, out: Path) -> int:
    """Show the whole way of one study; the exit status.

    Args:
        study: a folder of DICOM files; None for a synthetic chest CT.
        out: where the results and the picture go.
    """
    given = _files(study) if study else []
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="planimeter-demo-") as scratch,
        Progress(*columns, console=console) as progress,
        ToyPacs() as pacs,
    ):
        files = given or _synthetic(Path(scratch) / "study", progress)
        home = Path(scratch) / "home"
        with _running_node(home, pacs, progress) as port:
            _send(files, port, progress)
            status = _await_results(home, pacs, progress)
        return _show(console, status, pacs, files, out)


def _synthetic(folder: Path, progress: Progress) -> list[Path]:
    task = progress.add_task("drawing a synthetic chest CT", total=None)
    files = write(synthetic_chest(), folder)
    progress.update(task, total=1, completed=1, description=f"drew a synthetic chest CT of {len(files)} slices")
    return files


def _files(study: Path) -> list[Path]:
    if not study.exists():
        raise Refused("no-such-file", f"{study}: there is no such folder")
    files = [study] if study.is_file() else sorted(file for file in study.rglob("*") if file.is_file())
    if found := [file for file in files if _is_dicom(file)]:
        return found
    raise Refused("nothing-to-send", f"{study}: there is no DICOM file to send")


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@contextlib.contextmanager
def _running_node(home: Path, pacs: ToyPacs, progress: Progress) -> Iterator[int]:
    """`planimeter run`, as a site would start it; its port."""
    task = progress.add_task("starting the node", total=None)
    command = [sys.executable, "-P", "-m", "node.cli", "run", "--no-web", "--home", str(home), "--port", "0"]
    command += ["--ae-title", AE_TITLE, "--quiet-seconds", str(QUIET_SECONDS)]
    command += ["--send-to", f"{pacs.ae_title}@127.0.0.1:{pacs.port}"]
    config = home.with_suffix(".toml")
    config.write_text(SMALL, encoding="utf-8")
    command += ["--config", str(config)]
    log = home.with_suffix(".log")
    with log.open("wb") as stream:
        node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
    try:
        assert node.stdout is not None
        for line in node.stdout:
            if "receives as" in line:
                port = int(line.rsplit(":", 1)[1])
                break
        else:
            raise Failed("demo-node", f"the node did not start:\n{log.read_text()}")
        progress.update(task, total=1, completed=1, description=f"started a node at 127.0.0.1:{port}")
        yield port
    finally:
        node.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(40)
        node.kill()
        if node.stdout is not None:
            node.stdout.close()


def _send(files: list[Path], port: int, progress: Progress) -> None:
    parcels = []
    for file in files:
        meta = dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
        parcels.append(Parcel(file, str(meta.MediaStorageSOPClassUID), meta.TransferSyntaxUID))
    task = progress.add_task("sending it by C-STORE", total=len(parcels))
    refused = 0
    with scu.connect(Target("node", AE_TITLE, "127.0.0.1", port), SENDER, parcels, 60) as sender:
        for parcel in parcels:
            refused += sender.send(parcel).answer is not Answer.DELIVERED
            progress.advance(task)
    said = f", {refused} refused" if refused else ""
    progress.update(task, description=f"sent {len(parcels)} images by C-STORE{said}")


def _await_results(home: Path, pacs: ToyPacs, progress: Progress) -> dict[str, Any]:
    """What `planimeter status --json` says once every study has come to an end.

    Asked in this process: a command that is started again and again takes what the network needs of a small machine.
    """
    task = progress.add_task("waiting for the results", total=None)
    database = open_database(sqlite_url(home / "planimeter.db"))
    deadline = time.monotonic() + LONGEST_SECONDS
    words = {
        "arriving": f"waiting {QUIET_SECONDS} s for more images",
        "waiting": "the study waits for a worker",
        "running": "the network runs",
        "sending": "the results are being sent",
    }
    try:
        while time.monotonic() < deadline:
            status = overview(database)
            states = {study["state"] for study in status["studies"]}
            if states and not states & set(words):
                count = len(pacs.received)
                progress.update(task, total=1, completed=1, description=f"{count} results came to the toy PACS")
                return status
            for state, said in words.items():
                if state in states:
                    progress.update(task, description=said)
            time.sleep(0.3)
    finally:
        database.dispose()
    raise Failed("demo-too-slow", f"there was no result after {LONGEST_SECONDS} s")


def _show(console: Console, status: dict[str, Any], pacs: ToyPacs, files: list[Path], out: Path) -> int:
    for study in status["studies"]:
        said = f": {study['reason']}" if study["reason"] else ""
        console.print(f"Study [bold]{study['state']}[/], {study['images']} images{said}")
    received = {f"{ds.Modality.lower()}-{ds.SOPInstanceUID[-6:]}.dcm": ds for ds in pacs.received}
    for name, ds in received.items():
        ds.save_as(out / name, enforce_file_format=True)
    console.print(table(f"What came back, in {out}/", received.items()))
    seconds = Table(title="Seconds per stage", title_justify="left", title_style="bold")
    for column in ("job", "stage", "seconds"):
        seconds.add_column(column, justify="right" if column == "seconds" else "left")
    for job in reversed(status["jobs"]):
        for stage, spent in job["seconds"].items():
            seconds.add_row(f"{job['kind']} {job['model'] or ''}", stage, f"{spent:.2f}")
    console.print(seconds)
    pictures = [_draw(seg, files, out) for seg in pacs.of_modality("SEG")]
    for one in pictures:
        console.print(f"Contours over the images: [bold]{one}[/]")
    finished = bool(pictures) and all(study["state"] == "done" for study in status["studies"])
    return 0 if finished else 1


def _draw(seg: Dataset, files: list[Path], out: Path) -> Path:
    """The contours of a SEG that came back, over the images that it refers to."""
    wanted = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    series = [file for file in files if _series_of(file) == wanted]
    decoders = Decoders()
    try:
        built = volume.build(series, decoders)
    finally:
        decoders.close()
    numbers = [int(item.SegmentNumber) for item in seg.SegmentSequence]
    labels = mask(seg, built.geometry, numbers)
    outlined = []
    for item in seg.SegmentSequence:
        ml = float(np.count_nonzero(labels == item.SegmentNumber)) * built.geometry.voxel_ml
        colour = hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb()
        outlined.append(Outlined(int(item.SegmentNumber), f"{item.SegmentLabel}  {ml:.0f} ml", colour))
    file = out / f"contours-{seg.SOPInstanceUID[-6:]}.png"
    picture(built.values.array, labels, built.geometry, outlined, seg.SeriesDescription).save(file)
    return file


def _series_of(file: Path) -> str:
    try:
        return str(dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
    except (InvalidDicomError, AttributeError):
        return ""
