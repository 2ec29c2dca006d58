"""Images with contours, slice by slice: the values, the places and the outlines are those that the network's are."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless, UltrasoundMultiFrameImageStorage

from db import input_sets, studies
from models.card import Input
from node.app import Node
from node.errors import Refused
from node.operations.viewing import contours, picture
from node.operations.viewing.desk import MOST_OPEN, Desk
from node.operations.viewing.view import View, opened
from node.study import grid, volume
from node.study.decode import Decoders
from tests.driving import take_in, work_off
from tests.synthetic import as_files, small_series
from tests.threshold_host import ThresholdHosts, threshold

SHAPE = (72, 68, 8)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def cine(frames: int = 5, *, samples: int = 1) -> Dataset:
    """One file of many frames."""
    (ds, *_) = small_series((40, 36, 2))
    shape = (frames, 36, 40, samples) if samples > 1 else (frames, 36, 40)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    ds.Modality, ds.NumberOfFrames, ds.SamplesPerPixel = "US", frames, samples
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if samples > 1:
        ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
    ds.RescaleIntercept, ds.RescaleSlope = 0, 1
    ds.PixelData = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8).tobytes()
    return ds


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless], ids=["native", "RLE", "JPEG 2000"])
def test_a_slice_by_itself_is_that_slice_of_the_volume(tmp_path: Path, decoders: Decoders, syntax: str | None) -> None:
    images = small_series(SHAPE)[::-1]
    for ds in images if syntax else ():
        ds.compress(syntax, generate_instance_uid=False)
    files = as_files(images, tmp_path)
    whole = volume.build(files, decoders)
    laid = grid.lay_out(files, decoders, volume.PLAIN)
    assert np.array_equal(laid.geometry.affine, whole.geometry.affine)
    for k in (0, 3, 7):
        assert np.array_equal(laid.read(k, decoders), whole.values.array[k])
    whole.close()


@pytest.mark.parametrize("syntax", [None, RLELossless], ids=["native", "RLE"])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_a_frame_by_itself_is_that_frame_of_the_file(
    tmp_path: Path, decoders: Decoders, syntax: str | None, colour: Any
) -> None:
    ds = cine(samples=3 if colour == "rgb" else 1)
    if syntax:
        ds.compress(syntax, generate_instance_uid=False)
    files, rule = as_files([ds], tmp_path), Input(modality=("US",), kind="image", colour=colour)
    whole = volume.build(files, decoders, rule, of_each=[(2, 4, 5)])
    laid = grid.lay_out(files, decoders, rule, of_each=[(2, 4, 5)])
    assert laid.frames == (2, 4, 5)
    for k in range(3):
        assert np.array_equal(laid.read(k, decoders), whole.values.array[k])
    whole.close()


@pytest.fixture
def desk(node: Node) -> Desk:
    return Desk(node.archive, node.decoders, node.database, node.networks)


def gone_through(node: Node, images: list[Dataset]) -> int:
    """The input set of a study that went the whole way."""
    take_in(node, images)
    work_off(node)
    with node.database.read() as tx:
        study = studies.find(tx, images[0].StudyInstanceUID)
        assert study is not None
        (one,) = input_sets.of_study(tx, study["id"])
    return int(one["id"])


def mask(view: View, number: int) -> NDArray[np.bool_]:
    found = np.zeros(view.grid.geometry.shape, bool)
    for k, parts in view.contours.parts.items():
        for part in parts:
            if part.number == number:
                box = slice(part.row, part.row + part.shape[0]), slice(part.column, part.column + part.shape[1])
                found[k][box] |= part.inside()
    return found


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(axis=-1).any())


def test_the_contours_are_those_of_the_mask_and_can_be_hidden(node: Node, desk: Desk) -> None:
    images = small_series((24, 20, 8))
    view = desk.view(gone_through(node, images))
    hu = np.stack([view.grid.read(k, node.decoders) for k in range(view.count)])
    labels = threshold(hu)
    assert [one.number for one in view.contours.structures] == [1, 2]
    for number in (1, 2):
        assert np.array_equal(mask(view, number), labels == number)
    first, window = view.first(), next(iter(view.windows.values()))
    assert labels[first].any()
    left, right = (one.colour for one in view.contours.structures)
    shown = pixels(picture.picture(view, first, window))
    assert has(shown, left)
    assert has(shown, right)
    without = pixels(picture.picture(view, first, window, hidden={1}))
    assert not has(without, left)
    assert has(without, right)
    # a contour lies on the boundary of its structure: the first column of the box, at its place in the picture
    column = np.flatnonzero(labels[first].any(axis=0))[0] / 24 * shown.shape[1]
    at = np.flatnonzero((shown == left).all(axis=-1).any(axis=0))[0]
    assert abs(at - column) <= 2
    assert not has(pixels(picture.picture(view, 0, window)), left)


def test_a_ct_has_the_windows_of_radiologists_and_slices_say_where_they_lie(node: Node, desk: Desk) -> None:
    view = desk.view(gone_through(node, small_series()))
    assert next(iter(view.windows)) == "lung"  # what was found is air
    assert {"soft tissue", "lung", "bone", "brain"} <= set(view.windows)
    assert view.names[2].startswith("slice 3 of 8")
    heights = [view.place(k) for k in range(8)]
    assert heights[0].startswith("axial, z ")
    assert len(set(heights)) == 8
    dark = pixels(picture.picture(view, 0, view.windows["bone"]))
    light = pixels(picture.picture(view, 0, view.windows["brain"]))
    assert dark.mean() != light.mean()


def test_a_picture_with_a_palette_is_the_one_without_but_for_shades_that_nobody_sees(node: Node, desk: Desk) -> None:
    view = desk.view(gone_through(node, small_series()))
    first, window = view.first(), next(iter(view.windows.values()))
    small = pixels(picture.picture(view, first, window))
    many = contours.Contours(view.contours.structures, {first: [*view.contours.parts[first], *specks()]})
    whole = pixels(picture.picture(dataclasses.replace(view, contours=with_colours(many)), first, window))
    differ = np.abs(small.astype(int) - whole.astype(int)).max(axis=-1)
    assert differ.max() <= 3  # letters have a little blue in the other one
    assert whole.shape == small.shape


def specks() -> list[contours.Part]:
    """More structures than a palette has colours for, of no pixel each."""
    bits = np.packbits(np.zeros((1, 1), bool))
    return [contours.Part(100 + n, 0, 0, (1, 1), bits) for n in range(picture.MOST_COLOURS)]


def with_colours(of: contours.Contours) -> contours.Contours:
    more = tuple(contours.Structure(100 + n, "speck", (255, 0, 0)) for n in range(picture.MOST_COLOURS))
    return contours.Contours((*of.structures, *more), of.parts)


def test_structures_that_overlap_are_all_drawn() -> None:
    square = contours.Part(1, 2, 2, (6, 6), np.packbits(np.ones((6, 6), bool)))
    within = contours.Part(2, 4, 4, (2, 2), np.packbits(np.ones((2, 2), bool)))
    beside = contours.Part(3, 2, 9, (6, 2), np.packbits(np.ones((6, 2), bool)))
    made = contours.layers([square, within, beside], (12, 12))
    assert [sorted(numbers.values()) for _, numbers in made] == [[1, 3], [2]]
    assert int((made[1][0] > 0).sum()) == 4


def test_boxes_of_a_detector_are_outlined_where_they_lie(node: Node, desk: Desk) -> None:
    view = desk.view(gone_through(node, small_series()))
    geometry = view.grid.geometry
    centre = geometry.affine @ [10, 8, 4, 1]
    size = np.linalg.norm(geometry.affine[:3, :3], axis=0) * (6, 4, 3)
    record = {"finding": 0, "label": "Nodule", "number": 1, "score": 0.9}
    record |= {"centre_mm": centre[:3].tolist(), "size_mm": size.tolist()}
    found = contours.of_boxes([record, {"finding": 0, "label": "Nodule", "number": 0}], geometry)
    assert [one.label for one in found.structures] == ["Nodule 1"]
    assert sorted(found.parts) == [3, 4, 5]
    (part,) = found.parts[4]
    assert abs(part.column - 7) <= 1
    assert part.shape == (4, 6)


def test_images_without_a_segmentation_are_shown_and_it_is_said_why(node: Node, desk: Desk) -> None:
    input_set_id = gone_through(node, small_series())
    with node.database.write() as tx:
        path = tx.exec_driver_sql("SELECT path FROM result WHERE kind = 'SEG'").scalar_one()
    file = node.archive.at(path)
    data = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    view = desk.view(input_set_id)
    assert "not the one that was kept" in view.contours.lacking
    assert picture.picture(view, view.first(), next(iter(view.windows.values())))


def test_a_result_that_a_person_took_back_is_shown_with_a_caution(node: Node, desk: Desk) -> None:
    input_set_id = gone_through(node, small_series())
    assert desk.view(input_set_id).caution == ""
    with node.database.write() as tx:
        tx.exec_driver_sql("UPDATE result SET state = 'withdrawn', reason = 'wrong side'")
    assert "withdrawn" in desk.view(input_set_id).caution


def test_images_that_came_again_and_are_other_ones_are_shown_with_a_caution(node: Node, desk: Desk) -> None:
    images = small_series()
    input_set_id = gone_through(node, images)
    images[3].PixelData = bytes(len(images[3].PixelData))
    take_in(node, images[3:4])
    assert "other ones" in desk.view(input_set_id).caution


def test_images_that_are_gone_are_a_sentence(node: Node, desk: Desk) -> None:
    input_set_id = gone_through(node, small_series())
    with node.database.read() as tx:
        paths = tx.exec_driver_sql("SELECT path FROM instance").scalars().all()
    for path in paths:
        node.archive.discard(path)
    with pytest.raises(Refused, match="images-gone"):
        desk.view(input_set_id)
    with pytest.raises(Refused, match="no-such-input-set"):
        desk.view(4711)


def test_a_view_is_opened_once_and_few_stay_open(node: Node, desk: Desk, threshold_hosts: ThresholdHosts) -> None:
    read = [gone_through(node, small_series()) for _ in range(MOST_OPEN + 1)]
    views = [desk.view(one) for one in read]
    assert desk.view(read[-1]) is views[-1]
    assert desk.view(read[0]) is not views[0]


def test_pictures_without_a_place_are_shown_too(tmp_path: Path, decoders: Decoders) -> None:
    rule = Input(modality=("US",), kind="image", colour="rgb")
    laid = grid.lay_out(as_files([cine(samples=3)], tmp_path), decoders, rule)
    view = opened(laid, contours.Contours(lacking="the network draws no outlines"), decoders)
    assert (view.count, view.names[1], view.place(1)) == (5, "frame 2", "")
    assert len(view.windows) == 1
    shown = pixels(picture.picture(view, 1, next(iter(view.windows.values()))))
    assert max(shown.shape[:2]) == picture.LONGEST
    assert (shown.max(axis=-1) != shown.min(axis=-1)).any()
