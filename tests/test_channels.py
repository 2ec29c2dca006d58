"""What a network with several channels reads: every series on the grid of the first, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.card import Input
from node.errors import Refused
from node.study import volume
from node.study.channels import assemble
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import scenes
from tests.synthetic import as_files

RULES = (Input(channel="one", modality=("MR",)), Input(channel="two", modality=("MR",), fill=-7.0))


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def built(where: scenes.Grid, decoders: Decoders, folder: Path, frame_of_reference: str = "1.2.3") -> Volume:
    images = scenes.images("MR", where)
    for ds in images:
        ds.FrameOfReferenceUID = frame_of_reference
    return volume.build(as_files(images, folder), decoders)


FINE = scenes.grid((1, 0, 0), (0, 1, 0), (2, 2, 3))


@pytest.mark.parametrize(
    "other",
    [
        scenes.grid((1, 0, 0), (0, 1, 0), (3, 2, 2), extent_mm=110),
        scenes.grid((0, 1, 0), (0, 0, -1), (2, 2, 2), extent_mm=110),
        scenes.grid((1, 0.2, 0), (0, 1, 0.3), (2, 2, 2), extent_mm=170),
        scenes.grid((1, 0, 0), (0, 1, 0), (2, 2, 2), tilt_degrees=15, extent_mm=130),
    ],
)
def test_another_series_is_brought_onto_the_grid_of_the_first_through_the_patient(
    other: scenes.Grid, decoders: Decoders, tmp_path: Path
) -> None:
    """What is linear in the patient's coordinates is still so: linear interpolation keeps it exactly."""
    first, second = built(FINE, decoders, tmp_path / "1"), built(other, decoders, tmp_path / "2")
    slope = np.array([7.0, -11.0, 5.0])
    second.values.array[...] = (other.points() - scenes.CENTRE) @ slope
    read = assemble([first, second], RULES)
    inside = read.arrays[1].array != RULES[1].fill
    assert inside.mean() > 0.8
    wanted = (FINE.points() - scenes.CENTRE) @ slope
    middle = (slice(2, -2),) * 3
    assert np.abs(read.arrays[1].array - wanted)[middle].max() < 0.01
    read.close()


def test_a_series_on_the_same_grid_is_not_touched(decoders: Decoders, tmp_path: Path) -> None:
    first, second = built(FINE, decoders, tmp_path / "1"), built(FINE, decoders, tmp_path / "2")
    read = assemble([first, second], RULES)
    assert read.arrays[1] is second.values
    read.close()


def test_where_a_channel_does_not_reach_stands_what_the_card_says(decoders: Decoders, tmp_path: Path) -> None:
    shape = (FINE.shape[0] - 4, *FINE.shape[1:])
    short = scenes.Grid(FINE.affine, shape)
    read = assemble([built(FINE, decoders, tmp_path / "1"), built(short, decoders, tmp_path / "2")], RULES)
    assert (read.arrays[1].array[-4:] == -7).all()
    assert np.array_equal(read.arrays[1].array[:-4], read.arrays[0].array[:-4])
    read.close()


def test_a_channel_that_covers_too_little_is_refused(decoders: Decoders, tmp_path: Path) -> None:
    short = scenes.Grid(FINE.affine, (FINE.shape[0] // 2, *FINE.shape[1:]))
    volumes = [built(FINE, decoders, tmp_path / "1"), built(short, decoders, tmp_path / "2")]
    with pytest.raises(Refused) as refused:
        assemble(volumes, RULES)
    assert refused.value.code == "channel-does-not-cover"
    assert "50%" in refused.value.sentence
    read = assemble(volumes, (RULES[0], RULES[1].model_copy(update={"minimum_cover": 0.4})))
    read.close()


def test_a_channel_in_another_frame_of_reference_is_refused(decoders: Decoders, tmp_path: Path) -> None:
    volumes = [built(FINE, decoders, tmp_path / "1"), built(FINE, decoders, tmp_path / "2", "1.2.4")]
    with pytest.raises(Refused) as refused:
        assemble(volumes, RULES)
    assert refused.value.code == "mixed-frame-of-reference"
