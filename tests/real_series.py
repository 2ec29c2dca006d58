"""What becomes of every series of the real imaging data: the table in docs/real-series.md.

    python -m tests.real_series DATA > docs/real-series.md

DATA is the unpacked imaging data. A card of each modality takes every series that it can.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from models.card import Input
from node.errors import Refused
from node.inbound.header import WANTED, check_uids, data_set_start, read_header
from node.inbound.kinds import Kind, kind_of
from node.objects import results
from node.objects.run import Run
from node.operations.submit import submitted_meta
from node.study import facts, volume
from node.study.decode import Decoders
from node.study.facts import Image, Series
from node.study.frames import from_text
from node.study.rules import judge
from node.study.stacks import Stack, frames_of, pictures, volumes
from node.study.volume import Volume
from tests import runs
from tests.peers_tools import dcmqi_labels

VOLUMES = Input(modality=("CT", "MR", "NM"), derived=True, image_type_excludes=("LOCALIZER",))
PET = Input(modality=("PT",), derived=True, values="suv_bw")
PICTURES = Input(modality=("CR", "DX", "US", "OT"), kind="image", derived=True, secondary_capture=True)
HEAD = """# Every real series, and what becomes of it

Every image series of the real imaging data (`PLANIMETER_DATA`), read with a card of its kind that takes all it can: CT,
MR, PET (as SUV) and NM as volumes, derived ones too; CR, DX, US and OT as images, secondary captures too. A volume's
result is written as a SEG and read back by dcmqi, which must find every voxel where ours is. What is turned away at the
door comes last. The 36 series of `pet_series` are one row. `python -m tests.real_series DATA` writes this page, and a
test compares it with what happens.

| series | modality | images | stack | outcome | grid (slices x rows x columns), mm |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """What became of one stack of a series."""

    folder: str
    modality: str
    images: int
    stack: str
    outcome: str
    grid: str = ""

    def line(self) -> str:
        images = str(self.images or "")
        cells = (f"`{self.folder}`", self.modality, images, self.stack, self.outcome, self.grid)
        return "| " + " | ".join(cells) + " |"


Look = Callable[[str, Run], None]


def _no_look(_folder: str, _run: Run) -> None:
    """Nothing more is looked at."""


def _every(_folder: str) -> bool:
    return True


def rows(data: Path, look: Look = _no_look, of: Callable[[str], bool] = _every) -> list[Row]:
    """The table's rows, in the order of the folders; equal ones once.

    Args:
        look: called with every run, and the folder of its images, while its volume is there.
        of: which folders are read.
    """
    decoders = Decoders(2)
    try:
        found = [row for series in _series(data, of) for row in _rows(series, decoders, look)]
    finally:
        decoders.close()
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Found:
    folder: str
    modality: str
    series: Series
    files: dict[str, Path]
    refused: str = ""


def _series(data: Path, of: Callable[[str], bool]) -> Iterator[_Found]:
    """Every image series, as the door lets it in; what it refuses, too."""
    groups: dict[tuple[str, str, str], list[tuple[Path, Dataset]]] = {}
    turned_away: dict[tuple[str, str, str], list[Path]] = {}
    files = sorted(path for path in data.rglob("*") if path.is_file())
    for file in (one for one in files if of(one.relative_to(data).parent.as_posix())):
        try:
            header = facts.read(file)
        except Refused:
            continue
        folder, modality = _folder(data, file), facts.text(header, "Modality")
        try:
            kind = _let_in(file)
        except Refused as refusal:
            turned_away.setdefault((folder, modality, refusal.code), []).append(file)
            continue
        if kind is Kind.IMAGE:
            groups.setdefault((folder, modality, facts.text(header, "SeriesInstanceUID")), []).append((file, header))
    for (folder, modality, uid), members in sorted(groups.items()):
        images = {facts.text(header, "SOPInstanceUID"): (file, header) for file, header in members}
        series = Series(uid, tuple(Image(sop_uid, sop_uid, header) for sop_uid, (_, header) in images.items()))
        yield _Found(folder, modality, series, {sop_uid: file for sop_uid, (file, _) in images.items()})
    for (folder, modality, code), files in sorted(turned_away.items()):
        yield _Found(folder, modality, Series("", ()), {str(file): file for file in files}, code)


def _folder(data: Path, file: Path) -> str:
    parts = file.relative_to(data).parent.parts
    return "pet_series/STS_*" if parts[0] == "pet_series" else "/".join(parts)


def _let_in(file: Path) -> Kind:
    """What the receiver does before it answers Success, without the network, the disk and the rows."""
    with file.open("rb") as stream:
        syntax = submitted_meta(stream, file).TransferSyntaxUID
    content = memoryview(file.read_bytes())
    start = data_set_start(content)
    header = read_header(content, start, syntax, WANTED)
    check_uids(header, None)
    return kind_of(str(header.SOPClassUID))


def _rows(found: _Found, decoders: Decoders, look: Look) -> Iterator[Row]:
    if found.refused:
        yield Row(found.folder, found.modality, len(found.files), "", f"refused at the door: {found.refused}")
        return
    rule = next((one for one in (PET, PICTURES) if found.modality in one.modality), VOLUMES)
    number = len(found.series.images) if "pet_series" not in found.folder else 0
    try:
        frames = frames_of(found.series)
        stacks = volumes(found.series, frames) if rule.kind == "volume" else pictures(found.series, frames)
    except Refused as refusal:
        yield Row(found.folder, found.modality, number, "", f"refused: {refusal.code}")
        return
    for stack in stacks:
        key = "" if rule.kind == "image" else stack.key
        try:
            outcome, grid = _processed(found, stack, rule, decoders, look)
        except Refused as refusal:
            outcome, grid = f"refused: {refusal.code}", ""
        yield Row(found.folder, found.modality, number, key, outcome, grid if number else "")


def _processed(found: _Found, stack: Stack, rule: Input, decoders: Decoders, look: Look) -> tuple[str, str]:
    if (refusal := judge(rule, stack)) is not None:
        raise refusal
    members = stack.members()
    files = [found.files[image.sop_uid] for image, _ in members]
    built = volume.build(files, decoders, rule, of_each=[from_text(frames) for _, frames in members])
    try:
        return _compared(built, found.folder, look), _grid(built)
    finally:
        built.close()


def _compared(built: Volume, folder_name: str, look: Look) -> str:
    """Write a mask, and let a stranger find it."""
    from tests.runs import provenance_of

    values = built.values.array
    labels = np.zeros(values.shape[:3], np.uint8)
    bright = values > np.quantile(values[:: max(1, len(values) // 8)], 0.9)
    labels[bright] = 1
    labels[:, :, labels.shape[2] // 3 :][bright[:, :, labels.shape[2] // 3 :]] = 2
    run = runs.run_of(built, labels, provenance_of(built, labels))
    look(folder_name, run)
    made = results.make(run)
    if not built.geometry.in_patient:
        return "an image"
    tilt = _tilt_degrees(built)
    if tilt > 0.1:
        return f"a volume, tilted by {tilt:.1f} degrees"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seg.dcm"
        file.write_bytes(made[0].data)
        theirs, affine, _ = dcmqi_labels(file, Path(folder))
    to_ours = np.linalg.inv(built.geometry.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    at = np.argwhere(theirs)
    index = np.round((to_ours @ np.column_stack([at, np.ones(len(at))]).T)[:3]).astype(int)
    back = np.zeros_like(labels)
    back[index[2], index[1], index[0]] = theirs[tuple(at.T)]
    assert np.array_equal(back, labels), f"dcmqi finds {int((back != labels).sum())} voxels elsewhere"
    return "a volume" + (f" in {built.quantity}" if built.quantity else "")


def _tilt_degrees(built: Volume) -> float:
    step = built.geometry.affine[:3, 2] / np.linalg.norm(built.geometry.affine[:3, 2])
    normal = np.cross(built.geometry.affine[:3, 0], built.geometry.affine[:3, 1])
    return float(np.degrees(np.arccos(min(1.0, abs(step @ normal) / np.linalg.norm(normal)))))


def _grid(built: Volume) -> str:
    size = " x ".join(str(n) for n in built.geometry.shape)
    if not built.geometry.is_calibrated:
        return size
    spacing = np.linalg.norm(built.geometry.affine[:3, :3], axis=0)
    if not built.geometry.in_patient:
        return f"{size}, {spacing[1]:.2f} x {spacing[0]:.2f}"
    return f"{size}, {built.geometry.slice_step_mm:.2f} x {spacing[1]:.2f} x {spacing[0]:.2f}"


def page(data: Path) -> str:
    """docs/real-series.md as it should be."""
    return HEAD + "".join(row.line() + "\n" for row in rows(data))


if __name__ == "__main__":
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.disable()
    warnings.simplefilter("ignore")
    sys.stdout.write(page(Path(sys.argv[1])))
