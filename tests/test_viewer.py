"""A viewer's own code as judge: what cornerstone3D, by which OHIF shows segmentations, sees in ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.objects.segments.writer import segmentation
from node.study import volume
from node.study.decode import Decoders
from tests import scenes
from tests.node_packages import INSTALLED, installed
from tests.synthetic import as_files, small_series
from tests.test_segments import Labels, run_of, scattered


class Viewer:
    """The adapters of cornerstone3D, installed once, in a Node.js process for every question."""

    def __init__(self) -> None:
        self._node = installed()

    def read(self, cases: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
        """What the viewer says of each segmentation; see read_seg.mjs."""
        asked = folder / "cases.json"
        asked.write_text(json.dumps(cases))
        command = [self._node, str(INSTALLED / "read_seg.mjs"), str(asked)]
        answered = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answered.returncode == 0, answered.stderr
        answers: list[dict[str, Any]] = json.loads(answered.stdout)
        return answers


@pytest.fixture(scope="session")
def viewer() -> Viewer:
    return Viewer()


def in_stack(header: Dataset, number: int) -> dict[str, Any]:
    """What a viewer knows of an image."""
    names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    plane = {name: [float(part) for part in header[name].value] for name in names}
    names = ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality")
    size = {"Rows": header.Rows, "Columns": header.Columns, "imageId": f"stack:{number}"}
    return plane | size | {name: str(header[name].value) for name in names}


def odd() -> list[Dataset]:
    return small_series((7, 5, 6))


def turned() -> list[Dataset]:
    return scenes.images("CT", scenes.grid((1, 0.3, -0.2), (-0.1, 0.9, 0.5), (3, 4, 7), extent_mm=60))


def tilted() -> list[Dataset]:
    return scenes.images("CT", scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 6), tilt_degrees=18))


#: name -> (images, segments, whether as a label map, whether the viewer stacks the images the other way round)
CASES: dict[str, tuple[Callable[[], list[Dataset]], int, bool, bool]] = {
    f"{count} of {images.__name__}, {'LABELMAP' if label_map else 'BINARY'}{', reversed' * backwards}": (
        images,
        count,
        label_map,
        backwards,
    )
    for label_map in (False, True)
    for images, count, backwards in (
        (small_series, 1, False),
        (small_series, 24, False),
        (small_series, 24, True),
        (odd, 1, False),
        (odd, 2, False),
        (turned, 2, False),
        (tilted, 2, True),
    )
}
EMPTY = "nothing of small_series, BINARY"


@pytest.fixture(scope="module")
def seen(viewer: Viewer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Labels, Any]]:
    """What the viewer says, what it should see, and what it sees, of every case; all in one process of it."""
    folder = tmp_path_factory.mktemp("viewer")
    pool = Decoders(1)
    asked, wanted = [], []
    for n, (images, count, label_map, backwards) in enumerate([*CASES.values(), (small_series, 0, False, False)]):
        built = volume.build(as_files(images(), folder / f"images{n}"), pool)
        labels = scattered(built.geometry.shape, range(1, count + 1))
        step = -1 if backwards else 1
        file = folder / f"{n}.dcm"
        file.write_bytes(segmentation(run_of(built, labels, range(1, max(count, 1) + 1)), label_map=label_map)[0])
        stack = [in_stack(header, k) for k, header in enumerate(built.headers)][::step]
        asked.append({"seg": str(file), "images": stack, "out": str(folder / f"{n}.raw")})
        wanted.append(labels[::step])
        built.close()
    pool.close()
    answers = viewer.read(asked, folder)
    voxels = [np.fromfile(one["out"], np.uint8) if Path(one["out"]).is_file() else None for one in asked]
    return dict(zip([*CASES, EMPTY], zip(answers, wanted, voxels, strict=True), strict=True))


@pytest.mark.parametrize("case", [*CASES, EMPTY])
def test_the_viewer_shows_the_same_voxels(seen: dict[str, tuple[Any, Labels, Any]], case: str) -> None:
    answer, wanted, found = seen[case]
    assert "error" not in answer, answer["error"]
    assert np.array_equal(found.reshape(wanted.shape), wanted)
    count = 1 if case == EMPTY else CASES[case][1]
    named = [one for one in answer["segments"] if one[0]]
    assert named == [[n, f"Organ {n}"] for n in range(1, count + 1)]


def test_the_viewer_is_no_yes_man(viewer: Viewer, tmp_path: Path) -> None:
    """A bit that is another is another voxel, and a frame that names no image of the stack is not shown."""
    pool = Decoders(1)
    built = volume.build(as_files(small_series(), tmp_path / "images"), pool)
    pool.close()
    labels = scattered(built.geometry.shape, (1, 2))
    data, _ = segmentation(run_of(built, labels))
    stack = [in_stack(header, k) for k, header in enumerate(built.headers)]
    built.close()
    cases = []
    for fault in ("bit", "reference"):
        file = tmp_path / f"{fault}.dcm"
        file.write_bytes(data)
        ds = dcmread(file)
        if fault == "bit":
            ds.PixelData = bytes([ds.PixelData[0] ^ 1]) + ds.PixelData[1:]
        else:
            groups = ds.PerFrameFunctionalGroupsSequence[0]
            groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
            groups.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 9999]
        ds.save_as(file)
        cases.append({"seg": str(file), "images": stack, "out": str(tmp_path / f"{fault}.raw")})
    viewer.read(cases, tmp_path)
    bit, reference = (np.fromfile(one["out"], np.uint8).reshape(labels.shape) for one in cases)
    assert (bit != labels).sum() == 1
    lost = np.flatnonzero((reference != labels).any(axis=(1, 2)))
    assert len(lost) == 1
