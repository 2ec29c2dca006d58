"""From images to a volume: every voxel at its place in the patient, in modality units, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from models.wire import SharedArray
from node.errors import Refused
from node.study import pixels, volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests.synthetic import as_files, small_series


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


@pytest.fixture
def build(tmp_path: Path, decoders: Decoders) -> Callable[[list[Dataset]], Volume]:
    def make(images: list[Dataset]) -> Volume:
        return volume.build(as_files(images, tmp_path), decoders)

    return make


def placed(images: list[Dataset], row: Any, column: Any, step: Any, origin: Any = (10, -20, 30)) -> list[Dataset]:
    """The same pixels, elsewhere and otherwise turned."""
    for number, ds in enumerate(images):
        ds.ImageOrientationPatient = [*row, *column]
        ds.ImagePositionPatient = [round(o + number * s, 9) for o, s in zip(origin, step, strict=True)]
    return images


#: JPEG 2000 wants a few pixels
LARGE = (72, 68, 8)
S = float(np.sqrt(0.5))
TURNS = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 5)),
    "axial, head first reversed": ((1, 0, 0), (0, 1, 0), (0, 0, -5)),
    "prone": ((-1, 0, 0), (0, -1, 0), (0, 0, 5)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (5, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 5, 0)),
    "oblique": ((S, S, 0), (0, 0, -1), (5 * S, -5 * S, 0)),
    "gantry tilt": ((1, 0, 0), (0, S, -S), (0, 0, 5)),
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("order", ["as made", "reversed", "shuffled"])
def test_every_slice_lies_where_its_header_says(build: Any, turn: str, order: str) -> None:
    images = placed(small_series(), *TURNS[turn])
    made = {ds.SOPInstanceUID: ds for ds in images}
    arranged = list(images)
    if order == "reversed":
        arranged.reverse()
    elif order == "shuffled":
        Random(1).shuffle(arranged)
    built = build(arranged)
    assert built.geometry.shape == (8, 20, 24)
    for k, header in enumerate(built.headers):
        source = made[header.SOPInstanceUID]
        corner = built.geometry.affine @ [0, 0, k, 1]
        assert corner[:3] == pytest.approx([float(part) for part in source.ImagePositionPatient], abs=1e-6)
        spacing = [float(part) for part in source.PixelSpacing]
        right = built.geometry.affine @ [1, 0, k, 1] - corner
        down = built.geometry.affine @ [0, 1, k, 1] - corner
        assert right[:3] == pytest.approx(np.array(source.ImageOrientationPatient[:3], float) * spacing[1], abs=1e-9)
        assert down[:3] == pytest.approx(np.array(source.ImageOrientationPatient[3:], float) * spacing[0], abs=1e-9)
        assert np.array_equal(built.values.array[k], source.pixel_array.astype(np.float32))
    built.close()


def test_the_volume_of_a_voxel_counts_the_tilt(build: Any) -> None:
    upright = build(small_series()).geometry
    tilted = build(placed(small_series(), *TURNS["gantry tilt"])).geometry
    assert upright.voxel_ml == pytest.approx(2 * 3 * 5 / 1000)
    assert tilted.voxel_ml == pytest.approx(2 * 3 * 5 * S / 1000)
    assert tilted.slice_step_mm == pytest.approx(5 * S)


def test_every_slice_is_rescaled_by_its_own_slope(build: Any) -> None:
    images = small_series()
    for number, ds in enumerate(images):
        ds.RescaleSlope, ds.RescaleIntercept = (number + 1) / 8, -number
    built = build(images)
    for k, ds in enumerate(images):
        assert np.array_equal(built.values.array[k], ds.pixel_array.astype(np.float32) * (k + 1) / 8 - k)
    built.close()


def test_unsigned_values_and_what_old_overlays_left_in_the_high_bits(build: Any) -> None:
    images = small_series()
    for ds in images:
        stored = (ds.pixel_array.astype(np.int32) + 1024).astype("<u2")
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 0, -1024
        ds.PixelData = (stored | 0xF000).astype("<u2").tobytes()
    built = build(images)
    assert (built.values.array.min(), built.values.array.max()) == (-800, 0)
    built.close()


def test_small_orientation_jitter_is_no_reason_to_refuse(build: Any) -> None:
    images = small_series()
    images[3].ImageOrientationPatient = [1, 1e-5, 0, -1e-5, 1, 0]
    build(images).close()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_slices_give_the_same_volume(build: Any, syntax: str) -> None:
    plain = build(small_series(LARGE))
    images = small_series(LARGE)
    for ds in images:
        ds.compress(syntax, generate_instance_uid=False)
    packed = build(images)
    assert np.array_equal(packed.values.array, plain.values.array)
    assert np.array_equal(packed.geometry.affine, plain.geometry.affine)


def test_big_endian_slices_give_the_same_volume(build: Any) -> None:
    images = small_series()
    wanted = np.stack([ds.pixel_array for ds in images])
    for ds in images:
        ds.PixelData = ds.pixel_array.astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    built = build(images)
    assert np.array_equal(built.values.array, wanted)


def gap(images: list[Dataset]) -> list[Dataset]:
    return images[:3] + images[4:]


def uneven(images: list[Dataset]) -> list[Dataset]:
    for number, ds in enumerate(images):
        ds.ImagePositionPatient = [0, 0, number**1.5]
    return images


def doubled(images: list[Dataset]) -> list[Dataset]:
    images[4].ImagePositionPatient = images[3].ImagePositionPatient
    images[4].PixelData = images[0].PixelData
    return images


def beside(images: list[Dataset]) -> list[Dataset]:
    images[4].ImagePositionPatient = [3, *images[4].ImagePositionPatient[1:]]
    return images


def with_values(number: int | None, **values: Any) -> Callable[[list[Dataset]], list[Dataset]]:
    def change(images: list[Dataset]) -> list[Dataset]:
        for ds in images if number is None else [images[number]]:
            for keyword, value in values.items():
                setattr(ds, keyword, value)
        return images

    return change


def without(keyword: str, number: int | None = None) -> Callable[[list[Dataset]], list[Dataset]]:
    def change(images: list[Dataset]) -> list[Dataset]:
        for ds in images if number is None else [images[number]]:
            delattr(ds, keyword)
        return images

    return change


def broken_jpeg(_: list[Dataset]) -> list[Dataset]:
    images = small_series(LARGE)
    for ds in images:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    images[2].PixelData = (
        images[2].PixelData[:40] + b"\x00" * (len(images[2].PixelData) - 48) + images[2].PixelData[-8:]
    )
    return images


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("too-few-slices", lambda images: images[:1]),
        ("missing-slice", gap),
        ("uneven-spacing", uneven),
        ("duplicate-position", doubled),
        ("slices-not-in-line", beside),
        ("mixed-orientation", with_values(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])),
        ("impossible-orientation", with_values(None, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])),
        ("impossible-orientation", with_values(None, ImageOrientationPatient=[0, 0, 0, 0, 0, 0])),
        ("mixed-frame-of-reference", with_values(2, FrameOfReferenceUID="1.2.3")),
        ("no-frame-of-reference", without("FrameOfReferenceUID")),
        ("geometry-missing", without("ImagePositionPatient", 3)),
        ("geometry-missing", without("PixelSpacing")),
        ("geometry-missing", with_values(1, ImagePositionPatient=[1, 2])),
        ("impossible-spacing", with_values(None, PixelSpacing=[0, 1])),
        ("impossible-spacing", with_values(None, PixelSpacing=[-1, 1])),
        ("mixed-spacing", with_values(1, PixelSpacing=[3, 2.5])),
        ("mixed-size", with_values(0, Rows=10, Columns=48)),
        ("rescale-impossible", with_values(3, RescaleSlope=0)),
        ("modality-lut", with_values(3, ModalityLUTSequence=Sequence([Dataset()]))),
        ("pixel-format", with_values(0, BitsAllocated=12)),
        ("pixel-data-truncated", with_values(0, PixelData=b"\0" * 100)),
        ("no-pixels", without("PixelData", 0)),
        ("undecodable-pixels", broken_jpeg),
    ],
)
def test_what_is_no_volume_is_refused_with_its_code(build: Any, code: str, spoil: Any) -> None:
    with pytest.raises(Refused) as refused:
        build(spoil(small_series()))
    assert refused.value.code == code
    assert refused.value.sentence


def test_a_number_that_is_none_is_refused(tmp_path: Path, decoders: Decoders) -> None:
    files = as_files(small_series(), tmp_path)
    data = files[2].read_bytes()
    files[2].write_bytes(data.replace(b"3\\2 ", b"nan "[:4]).replace(b"3.0\\2.0 ", b"nan\\nan ")[: len(data)])
    with pytest.raises(Refused) as refused:
        volume.build(files, decoders)
    assert refused.value.code in ("geometry-missing", "unreadable-header")


@pytest.mark.parametrize(
    ("series", "shape", "step_mm"),
    [
        ("acrin_flt_breast_001_t1_abdomen", (50, 512, 512), 4.25),
        ("acrin_flt_breast_001_t2_chest", (30, 512, 512), 4.25),
        ("cip_chest64", (79, 64, 64), 3.987),
        ("cptac_pda_c3l00189_abdomen", (35, 512, 512), 5.0),
        ("lungfcp_0001_chest", (42, 512, 512), 1.0),
        ("rider_pilot_0117_chest", (48, 512, 512), 1.6),
    ],
)
def test_real_chests_become_volumes(
    dicom_data: Path, decoders: Decoders, series: str, shape: tuple[int, int, int], step_mm: float
) -> None:
    files = sorted((dicom_data / "ct_series" / series).rglob("*.dcm"))
    built = volume.build(files, decoders)
    assert built.geometry.shape == shape
    assert built.geometry.slice_step_mm == pytest.approx(step_mm, abs=0.01)
    assert -3100 < built.values.array.min() < -900 < 200 < built.values.array.max()
    built.close()


def test_a_real_head_with_uneven_steps_is_refused(dicom_data: Path, decoders: Decoders) -> None:
    folder = dicom_data / "odd" / "ge_head_ct_tilt_uneven"
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _is_dicom(file))
    with pytest.raises(Refused) as refused:
        volume.build(files, decoders)
    assert refused.value.code == "uneven-spacing"


def test_a_real_oblique_head_keeps_its_direction(dicom_data: Path, decoders: Decoders) -> None:
    files = [file for file in (dicom_data / "mr_series" / "studyforrest_t1w").rglob("*") if _is_dicom(file)]
    built = volume.build(files, decoders)
    assert built.geometry.shape[0] > 90
    linear = built.geometry.affine[:3, :3]
    assert np.abs(linear - np.diag(np.diag(linear))).max() > 0.05, "the head is tilted in the scanner"
    built.close()


def test_one_image_in_every_transfer_syntax_has_the_same_pixels(dicom_data: Path, decoders: Decoders) -> None:
    folder = dicom_data / "odd" / "cornerstone_ct_transfer_syntaxes"
    wanted = pixels.read(next(folder.rglob("*LittleEndianExplicit*"))).native
    seen = set()
    for file in sorted(folder.rglob("CTImage.dcm_*")):
        lossless = any(mark in file.name for mark in (".5.dcm", ".57.", ".70.", ".80.", ".90.", "BigEndian"))
        if not lossless:
            continue
        stored = pixels.read(file)
        (found,) = pixels.decoded([stored], decoders)
        assert np.array_equal(found, wanted), file.name
        seen.add(str(stored.header.file_meta.TransferSyntaxUID))
    assert len(seen) == 6


def _is_dicom(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def test_a_child_that_is_told_of_too_little_memory_writes_no_further(tmp_path: Path, decoders: Decoders) -> None:
    (image, *_) = small_series()
    image.compress(RLELossless, generate_instance_uid=False)
    (file,) = as_files([image], tmp_path)
    small = SharedArray.make((10, 10), np.int16)
    with pytest.raises(Refused, match="decode to"):
        decoders.decode([(file, small)])
    small.close()


def test_a_long_compressed_series_needs_few_descriptors(tmp_path: Path, decoders: Decoders) -> None:
    import resource

    images = small_series((24, 20, 150))
    for ds in images:
        ds.compress(RLELossless, generate_instance_uid=False)
    files = as_files(images, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 160, hard))
    try:
        built = volume.build(files, decoders)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert np.array_equal(built.values.array[70], small_series((24, 20, 150))[70].pixel_array)
    built.close()
