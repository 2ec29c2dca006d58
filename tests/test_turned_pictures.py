"""Pictures come to a 2D network as its own reader would have laid them out, and its result onto the right pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from models import card, readers
from models.network import Network
from node.app import Node
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.test_every_kind import reads
from tests.test_pictures import picture
from tests.test_zoo_survey import expected, stock
from tests.threshold_host import ThresholdHosts
from tests.zoo import inputs
from tests.zoo.bundles import AFFINE, images, write
from tests.zoo.shapes import SHAPES

pytestmark = pytest.mark.filterwarnings("ignore")

ROWS_FIRST: list[dict[str, Any]] = [
    {"reader": "PILReader", "reverse_indexing": False},
    {"reader": {"_target_": "PILReader", "reverse_indexing": False}},
    {"reader": "$monai.data.PILReader(reverse_indexing=False)"},
    {"reverse_indexing": False},
]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("how", [{}, {"reader": "PILReader"}, ROWS_FIRST[0], ROWS_FIRST[2]], ids=str)
def test_a_2d_bundle_sees_what_its_reader_would_have_read(how: dict[str, Any], colour: bool, tmp_path: Path) -> None:
    """Against MONAI's own way over PNG files. A network with drawn weights is no mirror image of itself."""
    shape = inputs.picture(colour)
    shape.config.setdefault("imports", []).append("$import monai")
    shape.preprocessing[0] |= how
    network = write(shape, tmp_path / "bundle")
    (channel,) = images(shape)
    found = expected(shape, stock(shape, tmp_path / "bundle", network, [channel[:1]]))
    if how in ROWS_FIRST:  # and its writer has put the rows into the file as columns
        found = found.swapaxes(1, 2)
    out = np.empty(channel.shape[:3], np.uint8)
    Network(card.read(tmp_path / "bundle")).segment([channel], AFFINE, out)
    assert np.array_equal(out[:1], found)
    assert len(np.unique(found)) > 1
    assert not np.array_equal(out[0, :20, :20], out[0, :20, :20].T)


def test_every_way_to_ask_for_rows_first_is_understood() -> None:
    assert [readers.rows_first(how) for how in ROWS_FIRST] == [True] * 4
    others = [
        {},
        {"reader": "ITKReader"},
        {"reader": "PILReader", "reverse_indexing": True},
        {"reader": "NibabelReader"},
    ]
    assert not any(readers.rows_first(how) for how in others)
    assert readers.rows_first({"reader": "ITKReader", "reverse_indexing": True})
    assert readers.rows_first({"reader": "PydicomReader", "swap_ij": False})
    assert readers.rows_first({"reader": "NrrdReader", "index_order": "C"})


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"reader": "ITKReader", "reverse_indexing": True}, "volumes with the order of their axes reversed"),
        ({"reader": "ITKReader", "affine_lps_to_ras": False}, "affine_lps_to_ras = false"),
    ],
)
def test_a_volume_that_would_be_turned_or_mirrored_is_refused(how: dict[str, Any], said: str, tmp_path: Path) -> None:
    shape = SHAPES["cached_data"]()
    shape.preprocessing[0] |= how
    write(shape, tmp_path / "bundle")
    with pytest.raises(card.CardError, match=said):
        Network(card.read(tmp_path / "bundle"))


ROWS, COLUMNS = 40, 56


def letter(frames: int = 0) -> NDArray[np.uint8]:
    """An F on dark, its own mirror image in no direction; in every frame a little further to the right."""
    made = np.full((max(frames, 1), ROWS, COLUMNS), 20, np.uint8)
    for k in range(len(made)):
        made[k, 6:34, 8 + k : 13 + k] = 220
        made[k, 6:11, 8 + k : 30 + k] = 220
        made[k, 17:22, 8 + k : 22 + k] = 220
    return made if frames else made[0]


def _rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=-1)


def _palette() -> Dataset:
    """The letter as numbers of colours: 0 is bright, 1 is dark."""
    ds = picture(VLPhotographicImageStorage, "XC", (letter() < 100).astype(np.uint8), ImageType=["ORIGINAL", "PRIMARY"])
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", np.array([220 * 257, 20 * 257], "<u2").tobytes())
    return ds


def _ybr() -> Dataset:
    """Luminance, and colour differences of grey."""
    stored = np.stack([letter(), np.full_like(letter(), 128), np.full_like(letter(), 128)], axis=-1)
    ds = picture(VLPhotographicImageStorage, "XC", stored)
    ds.PhotometricInterpretation = "YBR_FULL"
    return ds


NARROW = {"PixelSpacing": ["0.3", "0.1"]}
PICTURES = {
    "CR": ("CR", 0, lambda: picture(ComputedRadiographyImageStorage, "CR", letter(), **NARROW)),
    "DX in MONOCHROME1": (
        "DX",
        0,
        lambda: picture(
            DigitalXRayImageStorageForPresentation, "DX", 255 - letter(), PhotometricInterpretation="MONOCHROME1"
        ),
    ),
    "an ultrasound frame in RGB": ("US", 0, lambda: picture(UltrasoundImageStorage, "US", _rgb(letter()))),
    "an ultrasound clip": ("US", 3, lambda: picture(UltrasoundMultiFrameImageStorage, "US", letter(3))),
    "a photograph with a palette": ("XC", 0, _palette),
    "a photograph in YBR": ("XC", 0, _ybr),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_comes_back_with_its_mask_on_the_right_pixels(
    kind: str, node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    modality, frames, make = PICTURES[kind]
    seen = []

    def answer(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        seen.append(volume.copy())
        return (volume > 100).astype(np.uint8)

    threshold_hosts.answer = answer
    reads(node, f'modality = ["{modality}"]\nkind = "image"')
    take_in(node, [make()])
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    wanted = letter(frames).reshape(-1, ROWS, COLUMNS)
    assert np.abs(seen[0] - wanted).max() < 1.5
    (seg,) = pacs.of_modality("SEG")
    number_of = [int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber) for item in _groups(seg)]
    masks = seg.pixel_array.reshape(-1, ROWS, COLUMNS)[np.array(number_of) == 1]
    assert np.array_equal(masks, wanted > 100)
    if kind == "CR":
        assert [float(part) for part in _spacing(seg)] == [0.3, 0.1]


def _groups(seg: Dataset) -> list[Dataset]:
    return list(seg.PerFrameFunctionalGroupsSequence)


def _spacing(seg: Dataset) -> list[Any]:
    return list(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing)
