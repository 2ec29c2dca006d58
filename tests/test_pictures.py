"""Images that are no slices: radiographs, ultrasound, photographs; and the frames of multi-frame images."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
    generate_uid,
)

from models.card import Input
from node.objects import results
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import runs, scenes
from tests.peers_tools import dciodvfy
from tests.runs import BUNDLE, provenance_of
from tests.synthetic import as_files

PICTURE = Input(modality=("CR", "DX", "US", "XC"), kind="image", secondary_capture=True)
RGB = PICTURE.model_copy(update={"colour": "rgb"})
SHAPE = (40, 48)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def picture(sop_class: str, modality: str, stored: NDArray[np.integer], **values: Any) -> Dataset:
    """A 2D image: (rows, columns), (frames, rows, columns) or (…, 3); 8 or 16 bits, unsigned."""
    ds = scenes.header(modality, generate_uid(), generate_uid())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.InstanceNumber, ds.PatientOrientation = 1, ["L", "F"]
    colour = stored.shape[-1] == 3
    size = stored.shape[:-1] if colour else stored.shape
    ds.Rows, ds.Columns = size[-2:]
    if len(size) == 3:
        ds.NumberOfFrames = size[0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    bits = stored.dtype.itemsize * 8
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.PixelData = stored.tobytes()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def disc(frames: int = 0, dtype: Any = np.uint8) -> NDArray[Any]:
    """Bright on dark; in every frame a little further to the right."""
    j, i = np.ogrid[: SHAPE[0], : SHAPE[1]]
    found = [((j - 20) ** 2 + (i - 15 - k) ** 2 < 81) * 200 + 20 for k in range(max(frames, 1))]
    return np.array(found if frames else found[0], dtype)


def read(ds: Dataset, decoders: Decoders, folder: Path, rule: Input = PICTURE) -> Volume:
    return volume.build(as_files([ds], folder), decoders, rule)


def objects(built: Volume, labels: NDArray[np.uint8]) -> tuple[Dataset, Dataset, list[Path]]:
    made = results.make(runs.run_of(built, labels, provenance_of(built, labels)))
    return dcmread(BytesIO(made[0].data)), dcmread(BytesIO(made[1].data)), [one.data for one in made]  # type: ignore[misc]


def conformant(files: Any, folder: Path) -> list[str]:
    said = []
    for n, data in enumerate(files):
        file = folder / f"{n}.dcm"
        file.write_bytes(data)
        said += dciodvfy(file)
    return said


@pytest.mark.parametrize(
    ("sop_class", "modality", "frames"),
    [
        (ComputedRadiographyImageStorage, "CR", 0),
        (DigitalXRayImageStorageForPresentation, "DX", 0),
        (UltrasoundImageStorage, "US", 0),
        (UltrasoundMultiFrameImageStorage, "US", 5),
    ],
)
@pytest.mark.parametrize("spacing", [None, [0.5, 0.25]])
@pytest.mark.parametrize("empty", [False, True])
def test_a_2d_image_gets_a_segmentation_that_names_it_and_lies_nowhere(
    sop_class: str, modality: str, frames: int, spacing: Any, empty: bool, decoders: Decoders, tmp_path: Path
) -> None:
    ds = picture(sop_class, modality, disc(frames), **({"PixelSpacing": spacing} if spacing else {}))
    built = read(ds, decoders, tmp_path)
    labels = np.zeros(built.geometry.shape, np.uint8) if empty else (built.values.array > 100).astype(np.uint8)
    seg, sr, files = objects(built, labels)
    assert conformant(files, tmp_path) == []
    assert "FrameOfReferenceUID" not in seg
    assert (seg.Rows, seg.Columns) == SHAPE
    shown = seg.pixel_array.reshape(-1, *SHAPE)
    seen = {}
    for frame, groups in zip(shown, seg.PerFrameFunctionalGroupsSequence, strict=True):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert (source.ReferencedSOPInstanceUID, source.ReferencedSOPClassUID) == (ds.SOPInstanceUID, sop_class)
        assert "PlanePositionSequence" not in groups
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        seen[number, source.get("ReferencedFrameNumber", 1)] = frame
    for k in range(max(frames, 1)):
        for number in (1, 2):
            assert np.array_equal(seen[number, k + 1], labels[k] == number)
    assert [item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence] == [ds.SOPInstanceUID]
    areas = [item for item in _numbers(sr) if item.ConceptNameCodeSequence[0].CodeMeaning == "Area"]
    pixels = 0 if empty else int((disc() > 100).sum())
    unit, value = ("mm2", pixels * 0.125) if spacing else ("{pixels}", pixels)
    stated = areas[0].MeasuredValueSequence[0]
    assert stated.MeasurementUnitsCodeSequence[0].CodeValue == unit
    assert float(stated.NumericValue) == pytest.approx(value, abs=0.006)
    assert len(areas) == 2
    assert not [item for item in _numbers(sr) if item.ConceptNameCodeSequence[0].CodeMeaning == "Volume"]
    built.close()


def _numbers(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        if item.ValueType == "NUM":
            yield item
        yield from _numbers(item)


def test_a_radiograph_is_read_as_the_film_was_seen(decoders: Decoders, tmp_path: Path) -> None:
    stored = disc(dtype=np.uint16) * 10
    plain = read(
        picture(ComputedRadiographyImageStorage, "CR", stored, BitsStored=12, HighBit=11), decoders, tmp_path / "2"
    )
    inverted = picture(
        ComputedRadiographyImageStorage,
        "CR",
        4095 - stored,
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="MONOCHROME1",
    )
    other = read(inverted, decoders, tmp_path / "1")
    assert np.array_equal(plain.values.array[0], stored)
    assert np.array_equal(other.values.array, plain.values.array)


def test_values_that_are_measured_are_never_inverted(decoders: Decoders, tmp_path: Path) -> None:
    images = scenes.images("CT", scenes.grid((1, 0, 0), (0, 1, 0), (3, 3, 4)))
    plain = volume.build(as_files(images, tmp_path / "2"), decoders)
    for ds in images:
        ds.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(volume.build(as_files(images, tmp_path / "1"), decoders).values.array, plain.values.array)


def test_colour_becomes_grey_where_one_channel_is_wanted(decoders: Decoders, tmp_path: Path) -> None:
    stored = np.zeros((*SHAPE, 3), np.uint8)
    stored[..., 0], stored[:20, :, 1], stored[:, :10, 2] = 200, 100, 50
    ds = picture(VLPhotographicImageStorage, "XC", stored)
    grey = read(ds, decoders, tmp_path / "grey").values.array
    assert grey.shape == (1, *SHAPE)
    assert grey[0, 0, 0] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=0.01)
    assert grey[0, -1, -1] == pytest.approx(0.299 * 200, abs=0.01)
    colour = read(ds, decoders, tmp_path / "rgb", RGB).values.array
    assert colour.shape == (1, *SHAPE, 3)
    assert np.array_equal(colour[0], stored)


def test_grey_becomes_three_equal_channels_where_colour_is_wanted(decoders: Decoders, tmp_path: Path) -> None:
    colour = read(picture(UltrasoundImageStorage, "US", disc()), decoders, tmp_path, RGB).values.array
    assert np.array_equal(colour[0], np.repeat(disc()[..., None], 3, -1))


def test_the_colours_of_a_palette_are_looked_up(decoders: Decoders, tmp_path: Path) -> None:
    table = np.arange(256, dtype="<u2") * 257
    ds = picture(UltrasoundImageStorage, "US", disc(), PhotometricInterpretation="PALETTE COLOR")
    for n, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", (table[::-1] if n == 2 else table).tobytes())
    found = read(ds, decoders, tmp_path, RGB).values.array[0]
    assert found[20, 15] == pytest.approx([220, 220, 35], abs=0.51)


@pytest.mark.parametrize("kind", sorted(scenes.ENHANCED))
def test_a_segmentation_of_a_multi_frame_image_names_its_frames(kind: str, decoders: Decoders, tmp_path: Path) -> None:
    where = scenes.grid((1, 0, 0), (0, 1, 0), (3, 3, 6))
    order = [3, 1, 2, 0, *range(4, where.shape[0])]
    (ds,) = scenes.images(kind, where, order=order)
    built = volume.build(as_files([ds], tmp_path), decoders)
    assert built.frames == tuple(order.index(k) + 1 for k in range(where.shape[0]))
    labels = (built.values.array > 400).astype(np.uint8)
    seg, _, files = objects(built, labels)
    assert conformant(files, tmp_path) == []
    for groups in seg.PerFrameFunctionalGroupsSequence:
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        at = ds.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(at.ImagePositionPatient, abs=1e-5)
        assert source.ReferencedSOPClassUID == ds.SOPClassUID
    read_back = hd.seg.Segmentation.from_dataset(seg)
    assert read_back.get_source_image_uids()[0][2] == ds.SOPInstanceUID
    assert BUNDLE.card.segment[0].label in [one.SegmentLabel for one in seg.SegmentSequence]


def test_some_frames_of_an_image_are_read_and_the_others_left(decoders: Decoders, tmp_path: Path) -> None:
    where = scenes.grid((1, 0, 0), (0, 1, 0), (3, 3, 6))
    (ds,) = scenes.images("enhanced MR", where)
    built = volume.build(as_files([ds], tmp_path), decoders, of_each=[(2, 3, 4, 5)])
    assert built.frames == (2, 3, 4, 5)
    assert np.array_equal(built.values.array > 400, where.labels()[1:5] == 2)
