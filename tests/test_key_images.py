"""Key images: what is drawn where, in what shape and with which letters; and secondary captures that others accept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from models.card import Card, Input, Segment
from node.measurements.measure import measure
from node.measurements.values import Flag, Line, PixelSize
from node.objects.headers import repaired
from node.objects.identity import KEY_IMAGES_SERIES_NUMBER
from node.objects.pictures import planes, window
from node.objects.pictures.choice import number_of_key_images, shown
from node.objects.pictures.drawing import BLACK, Diameter, Look, bright, draw, resized, round_length
from node.objects.pictures.key_images import key_images
from node.objects.pictures.planes import Plane
from node.objects.pictures.sheet import WARNING
from node.objects.run import Run
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import scenes
from tests.peers_tools import dciodvfy
from tests.runs import BUNDLE, provenance_of
from tests.synthetic import as_files, small_series
from tests.test_pictures import PICTURE, RGB, disc, picture

CARD = BUNDLE.card
RED, GREEN = (200, 0, 0), (0, 160, 0)
DOUBT = Flag(code="touches-edge", segment=1, sentence="Left lung touches the last slice of the scan")


def card_of(*segments: Segment, **changes: Any) -> Card:
    return CARD.model_copy(update={"segment": segments or CARD.segment, **changes})


def segment(value: int, **changes: Any) -> Segment:
    return CARD.segment[0].model_copy(update={"value": value, "label": f"Structure {value}"} | changes)


def structures(count: int) -> Card:
    colours = [((n * 53) % 256, (n * 97) % 256, (n * 31) % 256) for n in range(count)]
    return card_of(*(segment(n + 1, colour=colour) for n, colour in enumerate(colours)))


#: two segments whose contours have colours that no grey image has
COLOURFUL = card_of(segment(1, colour=RED), segment(2, colour=GREEN))


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


Make = Callable[..., Run]


@pytest.fixture
def make(decoders: Decoders, tmp_path: Path) -> Iterator[Make]:
    """Images and a mask, or a function of the values -> a run."""
    built: list[Volume] = []

    def run(images: list[Dataset], mask: Any, *, card: Card = COLOURFUL, rule: Input | None = None, **more: Any) -> Run:
        files = as_files(images, tmp_path / f"in{len(built)}")
        one = volume.build(files, decoders, *([rule] if rule else []))
        built.append(one)
        labels = mask(one.values.array) if callable(mask) else mask
        return Run(
            volume=one,
            sources=repaired(one.headers, one.geometry),
            labels=labels,
            measured=measure(one, labels, card.segment),
            provenance=provenance_of(one, labels, card=card, content_time=1.7e9),
            **more,
        )

    yield run
    for one in built:
        one.close()


def scene(kind: str, *, card: Card = COLOURFUL, **of_grid: Any) -> tuple[list[Dataset], NDArray[np.uint8]]:
    directions = of_grid.pop("directions", ((1, 0, 0), (0, 1, 0)))
    where = scenes.grid(*directions, of_grid.pop("spacing_mm", (1.5, 1.5, 4)), **of_grid)
    labels = where.labels()
    return scenes.images(kind, where), labels[::-1] if of_grid.get("descending") else labels  # as slices are ordered


def bright_ones(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey = values if values.ndim == 3 else values.max(-1)
    return (grey > grey.min() / 2 + grey.max() / 2).astype(np.uint8)


def many_boxes(shape: tuple[int, int, int], count: int) -> NDArray[np.uint8]:
    labels = np.zeros(shape, np.uint8)
    for n in range(count):
        labels[1 : 1 + 1 + n % 5, 4 + n // 6 * 14 :, 3 + n % 6 * 10 :][:, :10, :7] = n + 1
    return labels


US, CR, XC = UltrasoundMultiFrameImageStorage, ComputedRadiographyImageStorage, VLPhotographicImageStorage
COLOUR = np.dstack([disc() // 2, disc(), disc() // 3]).astype(np.uint8)


def any_kind(kind: str, make: Make) -> Run:
    """A run of every kind of image that results are made of."""
    if kind == "24 segments":
        images, labels = scene("CT")
        return make(images, many_boxes(labels.shape, 24), card=structures(24))
    if kind == "empty":
        images, labels = scene("CT")
        return make(images, np.zeros_like(labels))
    if kind == "no body part":
        images, labels = scene("CT")
        for ds in images:
            del ds.BodyPartExamined
        return make(images, labels)
    if kind == "paired body part":
        images, labels = scene("CT")
        for ds in images:
            ds.BodyPartExamined, ds.Laterality = "LUNG", "L"
        return make(images, labels)
    of_grid: dict[str, dict[str, Any]] = {
        "CT": {},
        "CT tilted": dict(tilt_degrees=18),
        "MR sagittal": dict(directions=((0, 1, 0), (0, 0, -1))),
        "PT": dict(spacing_mm=(4, 4, 4)),
        "enhanced MR": {},
    }
    if kind in of_grid:
        return make(*scene(kind.removesuffix(" tilted").removesuffix(" sagittal"), **of_grid[kind]))
    flat: dict[str, tuple[Dataset, Input]] = {
        "radiograph": (picture(CR, "CR", disc(dtype=np.uint16) * 10, BitsStored=12, HighBit=11), PICTURE),
        "photograph": (picture(XC, "XC", COLOUR), RGB),
        "ultrasound": (picture(US, "US", disc(5), PixelSpacing=[0.5, 0.25]), PICTURE),
    }
    return make([flat[kind][0]], bright_ones, rule=flat[kind][1])


#: true of these: the body part is not said, and neither is the side
UNKNOWN_SIDE = "is only permitted to be empty when actually unknown"

KINDS = ["CT", "CT tilted", "MR sagittal", "PT", "enhanced MR", "radiograph", "photograph", "ultrasound", "empty"]
KINDS += ["24 segments", "no body part", "paired body part"]


@pytest.mark.parametrize("kind", KINDS)
def test_key_images_of_every_kind_of_image_are_conformant(kind: str, make: Make, tmp_path: Path) -> None:
    run = any_kind(kind, make)
    made = key_images(run, marked=kind == "CT")
    assert len(made) == number_of_key_images(run.labels, run.provenance.card)
    for n in sorted({1, 2, len(made)} & set(range(len(made) + 1))):  # the others are made in the same way
        (tmp_path / f"{n}.dcm").write_bytes(made[n - 1])
        assert [line for line in dciodvfy(tmp_path / f"{n}.dcm") if UNKNOWN_SIDE not in line] == []
    items = [item for data in made for item in read(data).SourceImageSequence]
    assert {item.ReferencedSOPInstanceUID for item in items} <= {source.SOPInstanceUID for source in run.sources}
    if kind == "ultrasound":
        assert items[0].ReferencedFrameNumber == [1, 2, 3, 4, 5]


def read(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def test_they_are_one_series_of_the_study_that_names_network_and_patient_in_the_header_only(make: Make) -> None:
    run = make(*scene("CT"), flags=(DOUBT,))
    made = [read(data) for data in key_images(run)]
    assert [ds.SOPInstanceUID for ds in made] == [run.provenance.result_uid("SC", f"KEY0{n}") for n in (1, 2, 3)]
    assert {ds.SeriesInstanceUID for ds in made} == {run.provenance.series_uid(made[0].SOPInstanceUID)}
    assert [(ds.SeriesNumber, ds.InstanceNumber) for ds in made] == [(KEY_IMAGES_SERIES_NUMBER, n) for n in (1, 2, 3)]
    source = run.sources[0]
    for ds in made:
        assert ds.SOPClassUID == SecondaryCaptureImageStorage
        assert (ds.PatientID, ds.PatientName, ds.StudyInstanceUID) == (
            source.PatientID,
            source.PatientName,
            source.StudyInstanceUID,
        )
        assert (ds.BurnedInAnnotation, ds.ConversionType, ds.LossyImageCompression) == ("NO", "WSD", "00")
        assert list(ds.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        scanner, network = ds.ContributingEquipmentSequence
        assert (scanner.PurposeOfReferenceCodeSequence[0].CodeValue, network.DeviceUID) == ("109101", CARD.device_uid)
        assert ds.ContentDate == "20231114"
    assert key_images(run) == key_images(run)


def test_a_marked_series_is_another_one_and_says_so(make: Make) -> None:
    run = make(*scene("CT"))
    plain, marked = read(key_images(run)[0]), read(key_images(run, marked=True)[0])
    assert marked.SOPInstanceUID == run.provenance.result_uid("SC", "KEY01-MARKED")
    assert marked.SeriesInstanceUID != plain.SeriesInstanceUID
    assert marked.SeriesDescription.startswith("CHECK!")
    assert (count(marked, WARNING), count(plain, WARNING)) > (0, 0)
    assert count(marked, WARNING) > 3 * count(plain, WARNING)


def count(ds: Dataset, colour: tuple[int, int, int]) -> int:
    return int((ds.pixel_array == colour).all(-1).sum())


def test_a_flag_warns_in_the_pictures_of_its_segment_and_in_the_overview(make: Make) -> None:
    images, labels = scene("CT")
    doubted, plain = make(images, labels, flags=(DOUBT,)), make(images, labels)
    pairs = zip(key_images(doubted), key_images(plain), strict=True)
    more = [count(read(one), WARNING) - count(read(other), WARNING) > 1000 for one, other in pairs]
    assert more == [True, True, False]


def test_nothing_found_is_one_picture_that_says_so(make: Make) -> None:
    images, labels = scene("CT")
    (data,) = key_images(make(images, np.zeros_like(labels)))
    assert number_of_key_images(np.zeros_like(labels), COLOURFUL) == 1
    full = read(key_images(make(images, labels))[0])
    assert read(data).Rows > full.Rows  # a line more
    assert (count(full, bright(RED)), count(full, bright(GREEN))) > (1000, 1000)


def test_there_are_no_more_than_twelve_and_those_with_a_flag_come_first(make: Make) -> None:
    images, labels = scene("CT")
    card = structures(24)
    boxes = many_boxes(labels.shape, 24)
    run = make(images, boxes, card=card, flags=(Flag(code="too-many-components", segment=24, sentence="many"),))
    assert number_of_key_images(boxes, card) == len(key_images(run)) == 12
    assert shown(run) == [*range(10), 23]


def test_what_was_lossy_stays_lossy(make: Make) -> None:
    images, labels = scene("CT")
    for ds in images:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "7.5"
        ds.LossyImageCompressionMethod = "ISO_10918_1"
    ds = read(key_images(make(images, labels))[1])
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 7.5)
    run = make(*scene("CT"))
    for header in run.volume.headers:  # as pixels of a lossy transfer syntax come, whatever their header says
        header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert read(key_images(run)[0]).LossyImageCompression == "01"


def test_a_name_that_is_burnt_into_the_images_is_in_the_pictures_too(make: Make) -> None:
    run = make([picture(US, "US", disc(3), BurnedInAnnotation="YES")], bright_ones, rule=PICTURE)
    assert {read(data).BurnedInAnnotation for data in key_images(run)} == {"YES"}


def ball(radius: float, size: int = 101) -> NDArray[np.uint8]:
    j, i = np.ogrid[:size, :size]
    return ((j - size // 2) ** 2 + (i - size // 2) ** 2 <= radius**2).astype(np.uint8)


GREY = window.Window(0, 100)


def plane(labels: NDArray[np.uint8], across: float = 1, down: float = 1, **changes: Any) -> Plane:
    known = dict(size=PixelSize.PATIENT, edges=("R", "L", "A", "P"), name="")
    return Plane(np.zeros(labels.shape, np.float32), labels, across, down, **known | changes)


def ring(image: Image.Image) -> NDArray[np.int64]:
    """Rows and columns of the red pixels."""
    return np.argwhere((np.asarray(image) == bright(RED)).all(-1))


@pytest.mark.parametrize("zoom", [6.0, 1.0, 0.6])
def test_a_contour_runs_just_inside_the_boundary_of_the_mask(zoom: float) -> None:
    labels = ball(30)
    side = round(labels.shape[0] * zoom)
    image = draw(plane(labels, edges=("", "", "", "")), GREY, {(1,): bright(RED)}, Look(side, side, 5))
    found = (ring(image) + 0.5) / zoom - labels.shape[0] / 2
    radius = np.hypot(*found.T)
    assert radius.max() == pytest.approx(30.5, abs=1.0 + 0.7 / zoom)
    assert radius.min() > 30.5 - 1.6 - 3 / zoom
    assert np.abs(found.max(0) + found.min(0)).max() < 2 / zoom  # the same on all sides


def test_a_contour_lies_on_the_very_pixels_of_the_mask_where_they_are_large() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[3:5, 2:7] = 1
    image = draw(plane(labels, edges=("", "", "", "")), GREY, {(1,): bright(RED)}, Look(200, 200, 5))
    rows, columns = ring(image).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 99, 40, 139)
    assert len(rows) == 2 * 2 * (100 + 40) - 4 * 4  # two pixels thick, all the way round


def test_no_voxel_is_lost_where_an_image_is_drawn_smaller() -> None:
    labels = np.zeros((3000, 2500), np.uint8)
    labels[1234, 777] = 1
    small = resized(labels, (250, 300))
    assert small.shape == (300, 250)
    assert [tuple(at) for at in np.argwhere(small)] == [(123, 77)]


def test_pixels_that_are_not_square_are_drawn_in_their_true_shape() -> None:
    image = draw(plane(ball(20), across=0.5, down=2.0), GREY, {(1,): bright(RED)}, Look(400, 400))
    assert image.size == (100, 400)
    rows, columns = ring(image).T
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(4, rel=0.05)


def test_diameters_are_drawn_between_their_ends() -> None:
    line = Line(length=50, slice=0, ends=((20.0, 40.0), (70.0, 40.0)))
    flat = plane(np.zeros((100, 100), np.uint8), edges=("", "", "", ""), size=PixelSize.UNKNOWN)
    with_line = np.asarray(draw(flat, GREY, {}, Look(400, 400), [Diameter(line, "")])).astype(int)
    without = np.asarray(draw(flat, GREY, {}, Look(400, 400))).astype(int)
    rows, columns = np.nonzero((with_line - without).max(-1) > 128)
    assert (columns.min(), columns.max()) == (pytest.approx(80, abs=2), pytest.approx(280, abs=2))
    assert np.median(rows) == pytest.approx(160, abs=1.5)


def test_a_scale_is_a_round_length_and_there_is_none_where_the_size_is_unknown() -> None:
    assert [round_length(length) for length in (1, 1.9, 2, 49, 50, 340, 0.03)] == [1, 1, 2, 20, 50, 200, 0.02]
    nothing = np.zeros((100, 100), np.uint8)
    bare = dict(edges=("", "", "", ""))
    image = np.asarray(draw(plane(nothing, 2, 2, **bare), GREY, {}, Look(400, 400, 18)))
    bar = np.flatnonzero((image[-13] == (245, 247, 250)).all(-1))
    assert np.ptp(bar) == pytest.approx(50 * 400 / 200, abs=2)  # 50 mm of 200 mm on 400 pixels
    unknown = np.asarray(draw(plane(nothing, 2, 2, size=PixelSize.UNKNOWN, **bare), GREY, {}, Look(400, 400, 18)))
    assert not np.array_equal(image, unknown)


@pytest.mark.parametrize(
    ("row", "column", "edges"),
    [
        ((1, 0, 0), (0, 1, 0), ("R", "L", "A", "P")),
        ((-1, 0, 0), (0, 1, 0), ("L", "R", "A", "P")),
        ((1, 0, 0), (0, -1, 0), ("R", "L", "P", "A")),
        ((0, 1, 0), (0, 0, -1), ("A", "P", "H", "F")),
        ((1, 0, 0), (0, 0, -1), ("R", "L", "H", "F")),
        ((1, 0, 0), (0, math.cos(0.5), -math.sin(0.5)), ("R", "L", "AH", "PF")),
    ],
)
def test_the_letters_at_the_edges_are_the_sides_of_the_patient(
    row: Any, column: Any, edges: tuple[str, ...], make: Make
) -> None:
    of = planes.scene(make(*scene("MR", directions=(row, column))))
    assert planes.of_slice(of, 3).edges == edges


@pytest.mark.parametrize("directions", [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((0, 1, 0), (0, 0, -1))])
@pytest.mark.parametrize("descending", [False, True])
def test_cuts_stand_as_radiologists_know_them_however_the_slices_were_taken(
    directions: Any, descending: bool, make: Make
) -> None:
    """The letter of the scene is its own mirror image in no direction: its place tells how a cut lies."""
    of = planes.scene(make(*scene("CT", directions=directions, descending=descending, spacing_mm=(2, 2, 3))))
    usual = {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "H", "F"),
        "sagittal": ("A", "P", "H", "F"),
    }
    found = planes.cuts(of)
    assert len(found) == 2
    for cut in found:
        assert cut.edges == usual[cut.name]
        rows, columns = np.nonzero(cut.labels == 2)
        if cut.name == "coronal" and len(rows):  # the stem of the F is on the patient's right, its arms are up
            stem = np.bincount(columns).argmax()
            assert stem < cut.labels.shape[1] / 2
            assert rows[columns > stem + 8].mean() < rows[columns == stem].mean()


def test_a_tilted_stack_is_cut_without_a_slant(make: Make) -> None:
    """The stem of the letter is upright in the patient: in a sagittal cut its front must not drift from row to row."""
    tilted = planes.scene(make(*scene("CT", tilt_degrees=20, spacing_mm=(1.5, 1.5, 2))))
    sagittal = next(cut for cut in planes.cuts(tilted) if cut.name == "sagittal")
    rows = [np.flatnonzero(row == 2) for row in sagittal.labels]
    fronts = [row[0] * sagittal.across_mm for row in rows if row.size]
    assert np.ptp(fronts) <= 2 * sagittal.across_mm
    assert sagittal.down_mm == pytest.approx(2, rel=1e-3)


def test_an_image_that_lies_nowhere_has_the_letters_that_it_says_or_none(make: Make) -> None:
    said = make([picture(CR, "CR", disc(), PatientOrientation=["L", "F"])], bright_ones, rule=PICTURE)
    assert planes.of_slice(planes.scene(said), 0).edges == ("R", "L", "H", "F")
    silent = make([picture(CR, "CR", disc(), PatientOrientation="")], bright_ones, rule=PICTURE)
    assert planes.of_slice(planes.scene(silent), 0).edges == ("", "", "", "")


def test_the_scale_of_a_radiograph_is_that_of_its_detector(make: Make) -> None:
    of = planes.scene(make([picture(CR, "CR", disc(), ImagerPixelSpacing=[0.2, 0.1])], bright_ones, rule=PICTURE))
    assert (of.size, of.spacing_mm) == (PixelSize.DETECTOR, (0.1, 0.2))
    shaped = planes.scene(make([picture(XC, "XC", COLOUR, PixelAspectRatio=[4, 3])], bright_ones, rule=RGB))
    assert (shaped.size, shaped.spacing_mm) == (PixelSize.UNKNOWN, (3.0, 4.0))


def test_colour_stays_colour(make: Make) -> None:
    run = any_kind("photograph", make)
    pixels = read(key_images(run)[0]).pixel_array.astype(int)
    inside = pixels[pixels.shape[0] // 2, pixels.shape[1] // 3]
    assert inside == pytest.approx(COLOUR[20, 15].astype(int), abs=2)


@pytest.mark.parametrize(
    ("mean", "wanted"), [(-800, window.LUNG), (40, window.SOFT_TISSUE), (900, window.BONE), (None, window.SOFT_TISSUE)]
)
def test_ct_has_the_window_of_the_tissue(mean: float | None, wanted: tuple[float, float]) -> None:
    found = window.usual(np.zeros((1, 2, 2), np.float32), Dataset(), "HU", mean)
    assert (found.low, found.high) == wanted


def test_the_windows_of_other_images_fit_their_values() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(500, 100, (10, 64, 64)).astype(np.float32)
    values[:, :, :20] = 0  # not imaged
    mr = Dataset()
    mr.Modality, mr.BitsStored = "MR", 16
    found = window.usual(values, mr, "", 500)
    assert (found.low, found.high) == (pytest.approx(267, abs=20), pytest.approx(758, abs=20))
    pt = window.usual(values, mr, "suv_bw", 5)
    assert pt.inverted
    assert pt.grey(np.array([0, 7], np.float32)).tolist() == [255, 0]
    constant = window.usual(np.full((1, 4, 4), 7, np.float32), mr, "", None)
    assert constant.grey(np.full((2, 2), 7, np.float32)).dtype == np.uint8


def test_a_title_in_letters_that_cannot_be_drawn_is_said_in_others(make: Make) -> None:
    card = card_of(segment(1, label="左肺"), segment(2, label="Лёгкое Ωμέγα"), title="肺の分割")
    made = key_images(make(*scene("CT"), card=card))
    latin = key_images(make(*scene("CT"), card=card_of(*card.segment, title="CT lungs")))
    assert len(made) == len(latin) == 3


def test_no_name_or_identifier_of_the_patient_is_in_the_pixels(make: Make) -> None:
    first, labels = scene("CT")
    pictures = []
    for name, number in (("Scene^Synthetic", "SCENE-1"), ("Another^Person", "OTHER-2")):
        for ds in first:
            ds.PatientName, ds.PatientID = name, number
        pictures.append([read(data).PixelData for data in key_images(make(first, labels))])
    assert pictures[0] == pictures[1]


def test_black_surrounds_a_picture_that_is_narrower_than_its_room(make: Make) -> None:
    run = make([picture(US, "US", disc(3), PixelSpacing=[0.9, 0.3])], bright_ones, rule=PICTURE)
    pixels = read(key_images(run)[0]).pixel_array
    assert (pixels[120, 16] == BLACK).all()


def test_small_series_need_no_second_slice(make: Make) -> None:
    images = small_series((24, 20, 2))
    labels = np.zeros((2, 20, 24), np.uint8)
    labels[1, 3, 3] = 1
    assert len(key_images(make(images, labels))) == 2
