"""RT Structure Sets, ours and those of planning systems, on the grid of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node.errors import Refused
from node.learning.outlined import read, subject
from node.learning.structures import Outlined
from node.objects.outlines.rtstruct import rtstruct
from node.objects.run import Run
from node.study.volume import Volume
from tests import outlines, scenes
from tests.outlines import contour, square
from tests.synthetic import small_series
from tests.test_rtstruct import run_of

Draw = Callable[..., Outlined]


@pytest.fixture(scope="module")
def images() -> list[Dataset]:
    """24 columns, 20 rows, 8 slices of 5 mm."""
    return small_series()


@pytest.fixture
def volume(images: list[Dataset]) -> Volume:
    return outlines.volume_of(images)


@pytest.fixture
def draw(volume: Volume, tmp_path: Path) -> Draw:
    """Contours of the ROI "Lung", or ROIs by name -> what is read of them."""

    def read_back(rois: Sequence[Dataset] | dict[str, Sequence[Dataset]], frame: str = "", **changes: Any) -> Outlined:
        named = rois if isinstance(rois, dict) else {"Lung": rois}
        ds = outlines.structure_set(named, frame or str(volume.headers[0].FrameOfReferenceUID))
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        return read(outlines.saved(ds, tmp_path), volume)

    return read_back


def only(found: Outlined) -> Any:
    (one,) = found.structures
    return one.mask


# ---------------------------------------------------------------- real ones

MODALITIES = ("CT", "MR_T1", "PET")


def folders(data: Path) -> list[Path]:
    """30 structure sets on CT, MR and PET, 36 more on PET; not one names an image that is there."""
    found = [one / kind for one in sorted((data / "rtstruct").glob("sts_*")) for kind in MODALITIES]
    found += [one / "PET" for one in sorted((data / "pet_series").glob("STS_*"))]
    assert len(found) == 66
    return found


@pytest.mark.parametrize(
    "which", [slice(None, None, 10), pytest.param(slice(None), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_patient_has_the_mask_of_the_truth(dicom_data: Path, which: slice) -> None:
    for folder in folders(dicom_data)[which]:
        volume = outlines.volume_of(outlines.headers_in(folder / "image"))
        file = folder / "mask" / "RS.dcm"
        truth = outlines.nifti(folder.parent / "truth_nifti" / f"{folder.name}_mask.nii.gz", volume)
        found = read(file, volume)
        assert outlines.dice(only(found), truth) >= 0.99, folder
        (one,) = found.structures
        assert (one.algorithm, one.colour, one.name[:8]) == ("MANUAL", (255, 0, 0), "GTV_Mass")
        assert found.tool.startswith("MIM Software Inc. MIM")
        about = subject(file)
        assert volume.headers[0].FrameOfReferenceUID in about.frames_of_reference
        assert volume.headers[0].SeriesInstanceUID in about.series
        assert not about.images & {str(header.SOPInstanceUID) for header in volume.headers}


def test_a_frame_of_reference_that_was_made_up(dicom_data: Path) -> None:
    """rt-utils gives its structure sets one of their own; its contours name the images on which they lie."""
    folder = dicom_data / "rtstruct" / "rtutils_phantom"
    volume = outlines.volume_of([one for one in outlines.headers_in(folder / "series") if one.Modality == "CT"])
    found = read(folder / "variants" / "rt.dcm", volume)
    assert only(found).any()
    assert any("another frame of reference" in note for note in found.notes)
    for header in volume.headers:
        header.SOPInstanceUID += ".1"
    with pytest.raises(Refused, match="label-other-frame"):
        read(folder / "variants" / "rt.dcm", volume)


def test_references_that_lead_nowhere_do_no_harm(dicom_data: Path) -> None:
    folder = dicom_data / "rtstruct" / "rtutils_phantom"
    volume = outlines.volume_of([one for one in outlines.headers_in(folder / "series") if one.Modality == "CT"])
    right = outlines.masks(read(folder / "series" / "rt.dcm", volume))
    for name in ("invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"):
        found = outlines.masks(read(folder / "variants" / name, volume))
        assert all(np.array_equal(found[n], right[n]) and right[n].any() for n in (1, 2, 3, 4))


# ---------------------------------------------------------------- our own

SCENES = {
    "axial": scenes.grid((1, 0, 0), (0, 1, 0), (7, 8, 9)),
    "sagittal, downwards": scenes.grid((0, 1, 0), (0, 0, -1), (7, 8, 9), descending=True),
    "oblique": scenes.grid((1, 0.3, 0.1), (-0.2, 1, 0.4), (7, 8, 9)),
    "tilted": scenes.grid((1, 0, 0), (0, 1, 0), (7, 8, 9), tilt_degrees=18),
}


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", ["CT", "enhanced MR"])
def test_what_we_write_is_read_exactly(name: str, kind: str, tmp_path: Path) -> None:
    """Noise: holes, single voxels, and voxels that touch at a corner."""
    images = scenes.images(kind, SCENES[name])
    volume = outlines.volume_of(images)
    labels = np.random.default_rng(7).choice(3, volume.geometry.shape, p=(0.5, 0.3, 0.2)).astype(np.uint8)
    run = run_of(images, labels)
    file = tmp_path / "rt.dcm"
    file.write_bytes(rtstruct(run))
    found = read(file, volume)
    segments = run.provenance.card.segment
    assert [one.name for one in found.structures] == [one.label for one in segments]
    for one, segment in zip(found.structures, segments, strict=True):
        np.testing.assert_array_equal(one.mask, labels == segment.value)
        coded = (one.category, one.type, one.laterality, one.colour, one.algorithm)
        assert coded == (segment.category, segment.type, segment.laterality, segment.colour, "AUTOMATIC")
    assert not found.notes


def test_an_empty_structure_of_ours_is_one(images: list[Dataset], tmp_path: Path) -> None:
    run: Run = run_of(images, np.zeros((8, 20, 24), np.uint8))
    file = tmp_path / "rt.dcm"
    file.write_bytes(rtstruct(run))
    found = read(file, run.volume)
    assert len(found.structures) == 2
    assert not any(one.mask.any() for one in found.structures)


# ---------------------------------------------------------------- how people draw


def test_holes_islands_and_keyholes(draw: Draw, volume: Volume) -> None:
    """Whatever the contours are called: an inner one is a hole, and one in the hole an island."""
    sizes = [((1.5, 1.5), (20.5, 17.5)), ((4.5, 4.5), (15.5, 13.5)), ((7.5, 6.5), (10.5, 9.5))]
    right = np.zeros((20, 24), bool)
    right[2:18, 2:21], right[5:14, 5:16], right[7:10, 8:11] = True, False, True
    for kind in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        mask = only(draw([contour(square(volume, 3, *size), kind) for size in sizes[::-1]]))
        np.testing.assert_array_equal(mask[3], right)
        assert not mask[[0, 1, 2, 4, 5, 6, 7]].any()
    outer, inner = (square(volume, 3, *size) for size in sizes[:2])
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])
    np.testing.assert_array_equal(
        only(draw([contour(keyhole)]))[3], right ^ (only(draw([contour(square(volume, 3, *sizes[2]))]))[3])
    )


def test_a_contour_that_comes_twice_is_one(draw: Draw, volume: Volume) -> None:
    """By even-odd it would be none: STS_020 of the full collection has 98 contours on 97 slices."""
    one = square(volume, 3, (1.5, 1.5), (10.5, 10.5))
    found = draw([contour(one), contour(np.roll(one, 2, axis=0)[::-1])])
    assert only(found).sum() == 81
    assert any("come twice" in note for note in found.notes)


def test_contours_that_cross_are_not_guessed_at(draw: Draw, volume: Volume) -> None:
    first = square(volume, 3, (1.5, 1.5), (10.5, 10.5))
    with pytest.raises(Refused, match="label-ambiguous"):
        draw([contour(first), contour(square(volume, 3, (6.5, 6.5), (16.5, 16.5)))])
    large = [contour(square(volume, k, (0.5, 0.5), (22.5, 18.5))) for k in range(8)]
    found = draw([*large, contour(square(volume, 3, (21.5, 5.5), (23.4, 6.5)))])
    assert any("contours cross" in note for note in found.notes)


def test_points_and_lines_mark_no_area(draw: Draw, volume: Volume) -> None:
    area = square(volume, 3, (1.5, 1.5), (10.5, 10.5))
    rest = [contour(area[:1], "POINT"), contour(area, "OPEN_PLANAR"), contour(area[:2])]
    found = draw([contour(area), *rest])
    assert only(found).sum() == 81
    assert any("3 points or open contours" in note for note in found.notes)
    beside = draw({"Marker": rest, "Lung": [contour(area)]})
    assert [one.name for one in beside.structures] == ["Lung"]
    assert any("label-no-area" in note for note in beside.notes)
    with pytest.raises(Refused, match="label-no-area"):
        draw(rest)


def test_a_structure_that_was_declared_and_not_drawn_is_empty(draw: Draw, volume: Volume) -> None:
    found = draw({"Lung": [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))], "Nodule": []})
    assert [one.mask.sum() for one in found.structures] == [81, 0]


def test_a_structure_without_a_list_of_contours_is_left_out(draw: Draw, volume: Volume, tmp_path: Path) -> None:
    """Nobody says that it was looked for."""
    area = [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))]
    ds = outlines.structure_set({"Lung": area, "Later": area}, str(volume.headers[0].FrameOfReferenceUID))
    ds.ROIContourSequence.pop()
    found = read(outlines.saved(ds, tmp_path), volume)
    assert [one.name for one in found.structures] == ["Lung"]
    del ds.ROIContourSequence
    with pytest.raises(Refused, match="label-no-area"):
        read(outlines.saved(ds, tmp_path), volume)


@pytest.mark.parametrize(("keyword", "value"), [("ContourGeometricType", "CLOSED_PLANE"), ("NumberOfContourPoints", 5)])
def test_a_contour_that_is_not_understood_is_never_passed_over(
    volume: Volume, tmp_path: Path, keyword: str, value: Any
) -> None:
    one = contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))
    setattr(one, keyword, value)
    ds = outlines.structure_set({"Lung": [one]}, str(volume.headers[0].FrameOfReferenceUID))
    with pytest.raises(Refused, match="label-unreadable"):
        read(outlines.saved(ds, tmp_path), volume)


def test_contours_across_the_slices_are_refused(draw: Draw, volume: Volume) -> None:
    corners = np.array([[5, 5, 1, 1], [5, 12, 1, 1], [5, 12, 6, 1], [5, 5, 6, 1]], float)
    with pytest.raises(Refused, match="label-not-parallel"):
        draw([contour((corners @ volume.geometry.affine.T)[:, :3])])


@pytest.mark.parametrize(("away", "wanted"), [(0.0, 81), (0.15, 81), (-0.15, 81), (0.3, 0), (0.5, 0)])
def test_a_contour_goes_to_the_slice_it_lies_on(draw: Draw, volume: Volume, away: float, wanted: int) -> None:
    """A little beside it, as decimals leave it; midway it belongs to none."""
    drawn = [contour(square(volume, 3 + away, (1.5, 1.5), (10.5, 10.5)))]
    if wanted:
        assert only(draw(drawn))[3].sum() == wanted
    else:
        with pytest.raises(Refused, match="label-between-slices"):
            draw(drawn)


def test_contours_of_a_finer_series_are_refused(draw: Draw, volume: Volume) -> None:
    """Two of its planes lie beside one slice: by even-odd they would cancel."""
    with pytest.raises(Refused, match="label-between-slices"):
        draw([contour(square(volume, 3 + away, (1.5, 1.5), (10.5, 10.5))) for away in (-0.1, 0.1)])


def test_few_contours_between_slices_are_said(draw: Draw, volume: Volume) -> None:
    large = [contour(square(volume, k, (0.5, 0.5), (22.5, 18.5))) for k in range(8)]
    found = draw([*large, contour(square(volume, 3.5, (1.5, 1.5), (4.5, 4.5)))])
    assert any("9 voxels lie between slices" in note for note in found.notes)


def test_nothing_is_invented_between_slices(draw: Draw, volume: Volume) -> None:
    def drawn(*slices: int) -> list[Dataset]:
        return [contour(square(volume, k, (1.5, 1.5), (10.5, 10.5))) for k in slices]

    found = draw(drawn(0, 1, 2, 4, 5))
    assert only(found).any(axis=(1, 2)).tolist() == [True, True, True, False, True, True, False, False]
    assert any("1 slices between its contours are empty" in note for note in found.notes)
    for sparse in ((0, 2, 4, 6), (1, 4, 7), (0, 2)):
        with pytest.raises(Refused, match="label-gaps"):
            draw(drawn(*sparse))


def test_two_lesions_are_no_gap(draw: Draw, volume: Volume) -> None:
    first, other = (contour(square(volume, k, (x, 1.5), (x + 4, 6.5))) for k, x in ((1, 1.5), (5, 14.5)))
    found = draw([first, other])
    assert only(found).any(axis=(1, 2)).sum() == 2
    assert not found.notes


def test_what_lies_beyond_the_images(draw: Draw, volume: Volume) -> None:
    """A couch is left out by name, and the organ stays; an organ that is cut is not used."""
    organ = [contour(square(volume, k, (0.5, 0.5), (20.5, 18.5))) for k in range(2, 7)]
    couch = [contour(square(volume, k, (-30.5, 15.5), (60.5, 25.5))) for k in range(2, 7)]
    found = draw({"Lung": organ, "Couch": couch})
    assert [one.name for one in found.structures] == ["Lung"]
    assert any("Couch" in note and "label-elsewhere" in note for note in found.notes)
    with pytest.raises(Refused, match="label-elsewhere"):
        draw(couch)
    with pytest.raises(Refused, match="label-elsewhere"):
        draw([contour(square(volume, k, (0.5, 0.5), (20.5, 18.5))) for k in range(5, 11)])
    with pytest.raises(Refused, match="label-elsewhere"):
        draw([contour(square(volume, k, (0.5, 0.5), (20.5, 18.5))) for k in (100, 101)])
    little = draw([*organ, contour(square(volume, 3, (21.5, 0.5), (25.5, 1.5)))])
    assert any("2 voxels lie outside" in note for note in little.notes)


def test_a_structure_smaller_than_a_voxel_is_not_an_empty_one(draw: Draw, volume: Volume) -> None:
    with pytest.raises(Refused, match="smaller than a voxel"):
        draw([contour(square(volume, 3, (4.6, 4.6), (4.9, 4.9)))])


def test_another_frame_of_reference_is_refused(draw: Draw, volume: Volume, images: list[Dataset]) -> None:
    area = [square(volume, k, (1.5, 1.5), (10.5, 10.5)) for k in (3, 4)]
    with pytest.raises(Refused, match="label-other-frame"):
        draw([contour(one) for one in area], frame=generate_uid())
    names = [str(volume.headers[k].SOPInstanceUID) for k in (3, 4)]
    found = draw([contour(one, image=name) for one, name in zip(area, names, strict=True)], frame=generate_uid())
    assert only(found)[3:5].sum() == 162
    with pytest.raises(Refused, match="label-other-frame"):
        draw([contour(one, image=name) for one, name in zip(area, names[::-1], strict=True)], frame=generate_uid())


def test_flat_images_have_no_contours(draw: Draw, volume: Volume, tmp_path: Path) -> None:
    flat = outlines.volume_of(volume.headers[:1], flat=True)
    ds = outlines.structure_set({"Lung": [contour(square(volume, 0, (1.5, 1.5), (9.5, 9.5)))]}, "1.2.3")
    with pytest.raises(Refused, match="label-other-images"):
        read(outlines.saved(ds, tmp_path), flat)


def test_slices_that_lie_beside_the_line_of_the_others(images: list[Dataset], tmp_path: Path) -> None:
    """Contours are drawn on the image, not on the even steps of the grid."""
    moved = deepcopy(images)
    for n, image in enumerate(moved):
        x, y, z = (float(part) for part in image.ImagePositionPatient)
        image.ImagePositionPatient = [x + 0.1 * (-1) ** n, y, z + 0.05 * (-1) ** n]
    volume = outlines.volume_of(moved)
    labels = np.random.default_rng(7).choice(3, volume.geometry.shape).astype(np.uint8)
    file = tmp_path / "rt.dcm"
    file.write_bytes(rtstruct(run_of(moved, labels)))
    for one in read(file, volume).structures:
        np.testing.assert_array_equal(one.mask, labels == one.number)


# ---------------------------------------------------------------- what else it says


def test_who_made_it_when_and_with_what(draw: Draw, volume: Volume) -> None:
    area = [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))]
    found = draw(area)
    assert (found.kind, found.author, found.tool, found.made) == (
        "RTSTRUCT",
        "Planner^Paula",
        "Plan Plan 9 9.1",
        "20260102030405",
    )
    assert draw(area, OperatorsName="Other^Otto").author == "Other^Otto"
    (one,) = found.structures
    assert (one.name, one.colour, one.algorithm, one.type) == ("Lung", (10, 20, 30), "MANUAL", None)


def test_a_name_that_its_character_set_does_not_define(draw: Draw, volume: Volume, tmp_path: Path) -> None:
    area = [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))]
    ds = outlines.structure_set({"Lunge XXrechts": area}, str(volume.headers[0].FrameOfReferenceUID))
    file = outlines.saved(ds, tmp_path)
    file.write_bytes(file.read_bytes().replace(b"Lunge XXrechts", b"Lunge \xfcbrechts"))
    (one,) = read(file, volume).structures
    assert one.name == "Lunge \ufffdbrechts"


def test_what_contradicts_itself_is_refused(draw: Draw, volume: Volume, tmp_path: Path) -> None:
    area = [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))]
    ds = outlines.structure_set({"Lung": area, "Other": area}, str(volume.headers[0].FrameOfReferenceUID))
    ds.StructureSetROISequence[1].ROINumber = 1
    with pytest.raises(Refused, match="label-segments"):
        read(outlines.saved(ds, tmp_path), volume)
    ds.StructureSetROISequence.pop()
    with pytest.raises(Refused, match="label-segments"):
        read(outlines.saved(ds, tmp_path), volume)
    with pytest.raises(Refused, match="label-empty"):
        draw({})


@pytest.mark.parametrize("data", [["1", "2"], ["1", "2", "three"], ["nan"] * 9, ["1e9"] * 9])
def test_points_that_are_none(draw: Draw, volume: Volume, tmp_path: Path, data: list[str]) -> None:
    ds = outlines.structure_set(
        {"Lung": [contour(square(volume, 3, (1.5, 1.5), (10.5, 10.5)))]}, str(volume.headers[0].FrameOfReferenceUID)
    )
    ds.ROIContourSequence[0].ContourSequence[0][0x30060050]._value = data
    with pytest.raises(Refused, match="label-unreadable"):
        read(outlines.saved(ds, tmp_path), volume)


def test_masks_that_would_fill_the_memory_are_refused_before(volume: Volume, tmp_path: Path) -> None:
    """A few bytes for each contour, and a slice of memory."""
    large = replace(volume, geometry=replace(volume.geometry, shape=(8, 32000, 32000)))
    area = [contour(square(volume, k, (1.5, 1.5), (3.5, 3.5))) for k in range(3, 6)]
    ds = outlines.structure_set({f"{n}": area for n in range(3)}, str(volume.headers[0].FrameOfReferenceUID))
    with pytest.raises(Refused, match="label-too-large"):
        read(outlines.saved(ds, tmp_path), large)
