"""The shipped network on real patients: lung where there is lung, on the right side, and nothing elsewhere.

It was trained on these patients; that it holds on others is what docs/README.md of the bundle reports. These tests see
that what is shipped is what was trained, and that nothing on the way turns, mirrors or shifts it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from models import card
from models.network import Network
from models.phantom import chest, no_chest
from node.demo.study import ct_series
from node.study import volume
from node.study.decode import Decoders
from tests.synthetic import as_files

LEFT, RIGHT = 1, 2
NO_LUNG = (
    "rtstruct/sts_ibsi_STS_002",
    "rtstruct/sts_ibsi_STS_012",
    "rtstruct/sts_ibsi_STS_015",
    "rtstruct/sts_ibsi_STS_024",
    "rtstruct/sts_ibsi_STS_032",
    "rtstruct/rtutils_phantom",
)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(card.find("ct_lungs", (card.SHIPPED,)))


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


def run(network: Network, values: NDArray[np.float32], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    labels = np.empty(values.shape, np.uint8)
    network.segment([np.ascontiguousarray(values)], affine, labels)
    return labels


def ct_images(folder: Path) -> list[Path]:
    return [
        file for file in sorted(folder.rglob("*.dcm")) if dcmread(file, specific_tags=["Modality"]).Modality == "CT"
    ]


def run_series(network: Network, decoders: Decoders, files: list[Path]) -> tuple[NDArray[np.uint8], float]:
    """The label map and the millilitres of a voxel."""
    built = volume.build(files, decoders)
    labels = run(network, built.values.array, built.geometry.affine)
    built.close()
    return labels, built.geometry.voxel_ml


def dice(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(2 * (found & wanted).sum() / max(1, found.sum() + wanted.sum()))


def own_label_map(folder: Path) -> NDArray[np.uint8]:
    """Left and right lung of the collection's own label map, (slices, rows, columns) from the feet up.

    Its low byte is a region of the lung: 9 to 11 in the left one, 12 to 14 in the right one.
    """
    header, _, data = (folder / "lm-64.nrrd").read_bytes().partition(b"\n\n")
    assert b"sizes: 64 64 79" in header
    regions = np.frombuffer(gzip.decompress(data), "<u2").reshape(79, 64, 64) & 255
    labels = np.zeros(regions.shape, np.uint8)
    labels[(regions >= 9) & (regions <= 11)] = LEFT
    labels[(regions >= 12) & (regions <= 14)] = RIGHT
    return labels


def test_the_whole_chest_agrees_with_the_label_map_that_came_with_it(
    network: Network, decoders: Decoders, dicom_data: Path
) -> None:
    folder = dicom_data / "ct_series" / "cip_chest64"
    labels, _ = run_series(network, decoders, sorted(folder.glob("*.dcm")))
    wanted = own_label_map(folder)
    for side in (LEFT, RIGHT):
        assert dice(labels == side, wanted == side) > 0.93


@pytest.mark.parametrize(
    ("series", "left_ml", "right_ml"),
    [
        ("acrin_flt_breast_001_t1_abdomen", (160, 245), (200, 300)),
        ("acrin_flt_breast_001_t2_chest", (480, 590), (560, 700)),
        ("cptac_pda_c3l00189_abdomen", (420, 540), (440, 570)),
        ("lungfcp_0001_chest", (270, 320), (295, 360)),
        ("rider_pilot_0117_chest", (1150, 1310), (690, 830)),
    ],
)
def test_real_lungs_and_the_bases_in_an_abdomen_have_plausible_volumes(
    network: Network,
    decoders: Decoders,
    dicom_data: Path,
    series: str,
    left_ml: tuple[int, int],
    right_ml: tuple[int, int],
) -> None:
    labels, voxel_ml = run_series(network, decoders, sorted((dicom_data / "ct_series" / series).rglob("*.dcm")))
    for side, (least, most) in ((LEFT, left_ml), (RIGHT, right_ml)):
        assert least < float((labels == side).sum()) * voxel_ml < most


@pytest.mark.parametrize("series", NO_LUNG)
def test_where_there_is_no_lung_there_is_less_than_a_millilitre(
    network: Network, decoders: Decoders, dicom_data: Path, series: str
) -> None:
    files = ct_images(dicom_data / series)
    labels, voxel_ml = run_series(network, decoders, files)
    assert float((labels > 0).sum()) * voxel_ml < 1


@pytest.mark.parametrize("seed", [71, 72])
def test_a_body_part_of_nobody_has_no_lung(network: Network, seed: int) -> None:
    spacing = (1.6, 1.6, 4.0)
    hu = no_chest((160, 160, 30), spacing, seed)
    labels = run(network, hu.transpose(2, 1, 0), np.diag([*spacing, 1.0]))
    assert float((labels > 0).sum()) * np.prod(spacing) / 1000 < 1


@pytest.mark.parametrize("seed", [51, 52, 53])
def test_chests_it_never_saw_have_their_lungs_on_the_right_sides(network: Network, seed: int) -> None:
    spacing = (1.5, 1.5, 3.0)
    hu, wanted = chest((240, 240, 110), spacing, seed)
    labels = run(network, hu.transpose(2, 1, 0), np.diag([*spacing, 1.0])).transpose(2, 1, 0)
    for side in (LEFT, RIGHT):
        assert dice(labels == side, wanted == side) > 0.9


def as_lying(images: list[Dataset], position: str) -> list[Dataset]:
    """The same images as if the patient lay another way: pixels are acquired turned, and the header says so."""
    for ds in images:
        pixels = ds.pixel_array
        where = np.array([float(part) for part in ds.ImagePositionPatient])
        row, column = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
        step_row, step_column = (float(part) for part in ds.PixelSpacing)
        if position.endswith("P"):  # prone: both axes of the picture run the other way
            where = where + row * step_column * (ds.Columns - 1) + column * step_row * (ds.Rows - 1)
            pixels, row, column = pixels[::-1, ::-1], -row, -column
        if position.startswith("FF"):  # feet first: the picture is seen from the other end
            where = where + row * step_column * (ds.Columns - 1)
            pixels, row = pixels[:, ::-1], -row
        ds.PixelData = np.ascontiguousarray(pixels).tobytes()
        ds.ImagePositionPatient = [f"{part:.6g}" for part in where]
        ds.ImageOrientationPatient = [*row, *column]
        ds.PatientPosition = position
    return images


@pytest.mark.parametrize("position", ["FFP", *(pytest.param(one, marks=pytest.mark.slow) for one in ("FFS", "HFP"))])
def test_feet_first_and_prone_come_out_right(
    network: Network, decoders: Decoders, tmp_path: Path, position: str
) -> None:
    spacing = (2.0, 2.0, 4.0)
    hu, _ = chest((180, 160, 80), spacing, 54)
    plain = as_files(list(ct_series(hu, spacing)), tmp_path / "plain")
    lying = as_files(as_lying(list(ct_series(hu, spacing)), position), tmp_path / "lying")
    first, second = volume.build(plain, decoders), volume.build(lying, decoders)
    wanted = run(network, first.values.array, first.geometry.affine)
    found = run(network, second.values.array, second.geometry.affine)
    assert (wanted == LEFT).sum() > 1000
    indices = np.argwhere(found > 0)[:, ::-1]
    placed = indices @ second.geometry.affine[:3, :3].T + second.geometry.affine[:3, 3]
    inverse = np.linalg.inv(first.geometry.affine)
    back = np.round(placed @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    again = np.zeros_like(wanted)
    again[back[:, 2], back[:, 1], back[:, 0]] = found[found > 0]
    assert (again != wanted).mean() < 1e-4, "equal but for rounding"
    for one in (first, second):
        one.close()


def test_the_card_is_complete_and_sealed() -> None:
    bundle = card.find("ct_lungs", (card.SHIPPED,))
    card.verify(bundle)
    said = (bundle.folder / "docs" / "README.md").read_text()
    words = ("## Data", "## Licence", "## Limits", "consolidation", "effusion", "Leave-one-patient-out")
    for word in (*words, bundle.card.version):
        assert word.lower() in said.lower(), word
