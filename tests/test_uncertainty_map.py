"""The map of uncertainty as a Parametric Map: where its images are, voxel for voxel, for who asks for it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from db import measurements
from db.job_states import JobKind
from models import card as cards
from node.app import Node
from node.errors import Refused
from node.learning.regrid import seen_onto
from node.measurements.quality import Sureness, _unsure
from node.objects import parametric
from node.objects.checks.read import nested
from node.objects.checks.whole import faults
from node.objects.forms import ENTROPY, PM, Form, Wish, wanted
from node.objects.results import Made, make
from node.objects.run import Run
from node.study import volume
from node.study.decode import Decoders
from tests import runs, scenes
from tests.driving import jobs_of, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.peers_tools import dciodvfy
from tests.synthetic import as_files, small_series
from tests.test_forms import sent, wish
from tests.test_self_check import GRIDS, spoilt_copy
from tests.threshold_host import ThresholdHosts

MAP = Form(PM, ENTROPY)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def with_map(built: volume.Volume, entropy: NDArray[np.float16] | None = None) -> Run:
    """A run whose network was asked several times."""
    shape = built.geometry.shape
    labels = np.zeros(shape, np.uint8)
    labels[2:5, 4:9, 3:20] = 1
    if entropy is None:
        entropy = np.random.default_rng(1).uniform(0, 1, shape).astype(np.float16)
        entropy[:, : shape[1] // 2] = 0
    values = parametric.stored(entropy)
    provenance = runs.provenance_of(
        built, labels, content_time=1_800_000_000.0, map_sha256=parametric.map_sha256(values)
    )
    return dataclasses.replace(runs.run_of(built, labels, provenance), entropy=values)


@pytest.mark.parametrize(
    ("kind", "grid"), [*(("CT", grid) for grid in GRIDS), ("enhanced CT", "oblique"), ("MR", "sagittal")]
)
def test_a_map_lies_on_its_images_and_gives_its_values_back(
    tmp_path: Path, decoders: Decoders, kind: str, grid: str
) -> None:
    built = volume.build(as_files(scenes.images(kind, GRIDS[grid]), tmp_path), decoders)
    run = with_map(built)
    (made,) = make(run, [MAP])
    assert faults([made], run) == []
    assert (made.sop_class, made.sop_uid) == (ParametricMapStorage, run.provenance.result_uid(*MAP))
    referred = {item.ReferencedSOPClassUID for _, item in nested(read_back(made)) if "ReferencedSOPClassUID" in item}
    frames = {item.ReferencedSOPClassUID for item in images_of(read_back(made))}
    assert referred | frames == {run.sources[0].SOPClassUID}
    if grid != "tilted":  # highdicom has no volumes with a shear
        _same_by_highdicom(made, run, tmp_path / "map.dcm")
    built.close()


def read_back(made: Made) -> Dataset:
    return dcmread(BytesIO(made.data))


def images_of(ds: Dataset) -> list[Dataset]:
    frames = ds.PerFrameFunctionalGroupsSequence
    return [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in frames]


def _same_by_highdicom(made: Made, run: Run, file: Path) -> None:
    """An independent reader finds the same value at the same place, and as many of each everywhere."""
    file.write_bytes(made.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = hd.imread(file).get_volume(apply_real_world_transform=True)
    assert run.entropy is not None
    expected = run.entropy * 0.0001
    centre = np.array(run.entropy.shape) // 2
    at_mm = run.volume.geometry.affine @ [*centre[::-1], 1]
    where = np.linalg.inv(read.affine) @ at_mm
    assert np.abs(where[:3] - np.rint(where[:3])).max() < 1e-2
    found = read.array[tuple(np.rint(where[:3]).astype(int))]
    assert found == pytest.approx(expected[tuple(centre)], abs=1e-6)
    assert np.sort(read.array.ravel()) == pytest.approx(np.sort(expected.ravel()), abs=1e-6)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, decoders: Decoders) -> Iterator[tuple[Run, Made]]:
    built = volume.build(as_files(small_series(), tmp_path_factory.mktemp("ct")), decoders)
    run = with_map(built)
    yield run, make(run, [MAP])[0]
    built.close()


def test_the_same_map_has_the_same_bytes_and_another_one_another_uid(plain: tuple[Run, Made]) -> None:
    run, made = plain
    assert make(run, [MAP])[0].data == made.data
    assert run.entropy is not None
    other = dataclasses.replace(run.provenance, map_sha256=parametric.map_sha256(run.entropy + 1))
    assert other.result_uid(*MAP) != made.sop_uid
    assert other.result_uid("SEG", "BINARY") == run.provenance.result_uid("SEG", "BINARY")


def test_a_validator_finds_no_fault_in_a_map(plain: tuple[Run, Made], tmp_path: Path) -> None:
    file = tmp_path / "map.dcm"
    file.write_bytes(plain[1].data)
    assert dciodvfy(file) == []


def brighter(ds: Dataset) -> None:
    ds.decompress(generate_instance_uid=False)
    array = ds.pixel_array.copy()
    array[3, 3, 3] += 1
    ds.PixelData = array.tobytes()


def scaled(ds: Dataset) -> None:
    ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].RealWorldValueSlope = 0.001


def shifted(ds: Dataset) -> None:
    for frame in ds.PerFrameFunctionalGroupsSequence:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [x + 1, y, z]


def of_another_image(ds: Dataset) -> None:
    one, other = (ds.PerFrameFunctionalGroupsSequence[n].DerivationImageSequence for n in (0, 1))
    one[0].SourceImageSequence, other[0].SourceImageSequence = other[0].SourceImageSequence, one[0].SourceImageSequence


def elsewhere(ds: Dataset) -> None:
    ds.FrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (brighter, "its values are not those of the run"),
        (scaled, "do not run from 0 to 1"),
        (shifted, "does not lie on the plane"),
        (of_another_image, "does not lie on the plane of its image"),
        (elsewhere, "frame of reference"),
    ],
)
def test_what_is_wrong_in_a_map_is_found(plain: tuple[Run, Made], spoil: Callable[[Dataset], None], said: str) -> None:
    run, made = plain
    assert any(said in fault for fault in faults([spoilt_copy(made, spoil)], run))


def test_a_network_that_was_asked_once_has_no_map(plain: tuple[Run, Made]) -> None:
    run = dataclasses.replace(plain[0], entropy=None)
    assert not parametric.can_have(run)
    with pytest.raises(Refused, match="asked once"):
        make(run, [MAP])
    asked = Wish(objects=frozenset({"PM"}))
    assert wanted(asked, 0, has_contours=True) == []
    assert wanted(asked, 0, has_contours=True, has_map=True) == [MAP]


def test_where_the_network_saw_nothing_the_map_says_nothing() -> None:
    seen = np.full((4, 4, 4), 0.5, np.float16)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 10
    found = seen_onto(seen, affine, (24, 24, 24), np.eye(4))
    assert (found[10:17, 10:17, 10:17] == 0.5).all()
    assert found[:6].max() == found[21:].max() == found[:, :, 21:].max() == 0


def test_a_segment_is_doubted_by_each_measure_of_its_card() -> None:
    lungs = cards.find("ct_lungs", (cards.SHIPPED,)).card.segment[0]
    strict = lungs.model_copy(update={"minimum_confidence": 0.8, "maximum_disagreement": 0.1})
    assert list(_unsure(strict, Sureness({1: 0.1}, {1: 0.85}, {1: 0.05}))) == []
    assert list(_unsure(strict, Sureness({}))) == []
    said = list(_unsure(strict, Sureness({1: 0.31}, {1: 0.61}, {1: 0.24})))
    assert said == [
        "mean entropy 0.31, at most 0.2 expected (0 is sure, 1 is guessing)",
        "its passes disagree by 0.24, at most 0.1 expected (0 is not at all)",
        "confidence 0.61, at least 0.8 expected (1 is sure)",
    ]


def test_a_map_goes_to_who_asks_for_it_and_what_the_passes_say_is_kept(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.sureness = {"entropy": {1: 0.4}, "confidence": {1: 0.7}, "disagreement": {1: 0.2}}
    threshold_hosts.maps = (np.full((2, 6, 6, 6), 0.25, np.float16), np.diag([100.0, 100, 100, 1]))
    threshold_hosts.windows = [(1, 2)]
    wish(node, objects=frozenset({"SEG", "PM"}))
    take_in(node, small_series())
    work_off(node)
    assert sent(node) == {("SEG", "BINARY"): "delivered", ("PM", "ENTROPY"): "delivered"}, jobs_of(node)
    (received,) = [ds for ds in pacs.objects if ds.SOPClassUID == ParametricMapStorage]
    stream = BytesIO()
    received.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    assert dcmread(stream).pixel_array.max() == 2500, "uncompressed for a PACS without RLE"
    (job,) = jobs_of(node, JobKind.SEGMENT)
    assert {"host", "turn", "network", "host.idle"} <= set(job["seconds"])
    assert (job["progress"], job["windows_done"]) == ("", None)
    with node.database.read() as tx:
        row = measurements.find(tx, 1, 1)
    assert row is not None
    kept = {one["value"]: one for one in row["segments"]}
    assert (kept[1]["entropy"], kept[1]["confidence"], kept[1]["disagreement"]) == (0.4, 0.7, 0.2)
    assert "entropy" not in kept[2]
    assert [flag["code"] for flag in row["flags"] if flag["segment"] == 1].count("low-confidence") == 1


def test_who_does_not_ask_for_a_map_gets_none(node: Node, threshold_hosts: ThresholdHosts) -> None:
    threshold_hosts.maps = (np.full((2, 6, 6, 6), 0.25, np.float16), np.diag([100.0, 100, 100, 1]))
    take_in(node, small_series())
    work_off(node)
    assert {kind for kind, _ in sent(node)} == {"SEG", "SR"}
