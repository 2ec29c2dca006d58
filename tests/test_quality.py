"""What a technologist is told before anybody trusts a result: what was found, and what was expected."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException

from models import card
from models.card import Card, CardError
from node.measurements.quality import Sureness, age_years, flags, slice_thickness_mm
from node.measurements.values import Flag, Measured, PixelSize
from node.study.geometry import Geometry
from tests import mini_bundle

LUNGS = card.find("ct_lungs", (card.SHIPPED,)).card
GRID = Geometry(np.diag([0.8, 0.8, 3.0, 1.0]), (100, 512, 512))
PLAIN = dict(PatientAge="060Y", SliceThickness="3", ConvolutionKernel="STANDARD")


def written(**elements: str | list[str] | bytes) -> Dataset:
    """A header as a scanner wrote it, in Implicit VR Little Endian: whatever is in it."""
    data = b""
    for keyword, value in sorted(elements.items(), key=lambda item: tag_for_keyword(item[0]) or 0):
        text = value if isinstance(value, bytes) else ("\\".join(value) if isinstance(value, list) else value).encode()
        padded = text + b" " * (len(text) % 2)
        data += struct.pack("<HHL", *divmod(tag_for_keyword(keyword) or 0, 1 << 16), len(padded)) + padded
    return dcmread(BytesIO(data), force=True)


def measured(value: int, ml: float | None = 2000.0, **changes: Any) -> Measured:
    voxels = round(ml / GRID.voxel_ml) if ml is not None else 1000
    return Measured(
        **dict(
            value=value,
            voxels=voxels,
            volume_ml=ml,
            largest_slice=50,
            pixels=100,
            area_mm2=64.0,
            pixel_size=PixelSize.PATIENT,
            intensity=None,
            long_axis=None,
            short_axis=None,
            diameter_3d_mm=None,
            surface_mm2=None,
            components=1 if voxels else 0,
        )
        | changes
    )


def changed(of_segments: dict[str, Any], **trained_on: Any) -> Card:
    """The lungs' card with other expectations."""
    segments = tuple(one.model_copy(update=of_segments) for one in LUNGS.segment)
    trained = LUNGS.trained_on.model_copy(update=trained_on)
    return LUNGS.model_copy(update={"segment": segments, "trained_on": trained})


def judged(
    left: Measured | None = None,
    *,
    against: Card = LUNGS,
    header: Dataset | None = None,
    geometry: Geometry = GRID,
    entropy: dict[int, float] | None = None,
) -> tuple[Flag, ...]:
    both = [left or measured(1), measured(2)]
    return flags(both, against, header or written(**PLAIN), geometry, Sureness(entropy or {1: 0.04, 2: 0.05}))


def test_an_ordinary_result_has_no_flag() -> None:
    assert judged() == ()


def test_every_doubt_of_a_segment_is_said_with_its_numbers() -> None:
    left = measured(1, 120.0, components=11, touches=("first slice", "first column"))
    found = judged(left, entropy={1: 0.3149, 2: 0.05})
    assert [(one.code, one.segment) for one in found] == [
        ("volume-implausible", 1),
        ("touches-edge", 1),
        ("too-many-components", 1),
        ("low-confidence", 1),
    ]
    ends = "first slice (feet), first column (right)"
    assert [one.sentence for one in found] == [
        "The volume of Left lung is 120 ml; 200 to 5000 ml expected",
        f"Left lung reaches the edge of the scan, where a part of it may lie outside: {ends}",
        "Left lung is in 11 separate pieces; at most 8 expected",
        "The network was not sure of Left lung: mean entropy 0.31, at most 0.2 expected (0 is sure, 1 is guessing)",
    ]


def test_the_second_segment_is_named_as_itself() -> None:
    found = flags([measured(1), measured(2, 9000.0)], LUNGS, written(**PLAIN), GRID, Sureness({}))
    assert [(one.segment, one.sentence) for one in found] == [
        (2, "The volume of Right lung is 9000 ml; 200 to 5500 ml expected")
    ]


@pytest.mark.parametrize(
    ("ml", "is_flagged"), [(199.9, True), (199.96, False), (200.0, False), (5000.4, False), (5001.0, True)]
)
def test_a_number_is_judged_as_it_is_printed(ml: float, is_flagged: bool) -> None:
    assert bool(judged(measured(1, ml))) is is_flagged


def test_an_empty_segment_has_one_flag() -> None:
    empty = measured(1, 0.0, touches=(), components=0)
    (one,) = judged(empty, entropy={1: 0.9})  # its few voxels were lost on the way to the grid of the images
    assert (one.code, one.sentence) == ("volume-implausible", "Left lung was not found; 200 to 5000 ml expected")


@pytest.mark.parametrize("plausible", [None, (0.0, 5000.0)])
def test_a_segment_that_may_be_absent_is_not_missed(plausible: tuple[float, float] | None) -> None:
    assert judged(measured(1, 0.0), against=changed({"plausible_ml": plausible})) == ()
    too_much = judged(measured(1, 5100.0), against=changed({"plausible_ml": plausible}))
    assert [one.sentence for one in too_much] == (
        ["The volume of Left lung is 5100 ml; at most 5000 ml expected"] if plausible else []
    )


def test_what_the_card_does_not_ask_is_not_judged() -> None:
    open_card = changed(
        {"plausible_ml": None, "maximum_components": None, "maximum_entropy": None, "touches_edge": True}
    )
    left = measured(1, 1.0, components=99, touches=("last slice",))
    assert judged(left, against=open_card, entropy={1: 1.0, 2: 1.0}) == ()


def test_entropy_that_no_network_gave_is_not_judged() -> None:
    assert flags([measured(1), measured(2)], LUNGS, written(**PLAIN), GRID, Sureness({})) == ()


@pytest.mark.parametrize(("mean", "is_flagged"), [(0.2, False), (0.2049, False), (0.2051, True)])
def test_another_gpu_does_not_change_the_verdict_in_the_fourth_digit(mean: float, is_flagged: bool) -> None:
    assert bool(judged(entropy={1: mean, 2: 0.05})) is is_flagged


@pytest.mark.parametrize(
    ("affine", "end"),
    [
        (np.diag([0.8, 0.8, 3.0, 1.0]), "last slice (head)"),
        (np.diag([-0.8, 0.8, -3.0, 1.0]), "last slice (feet)"),
        (np.array([[0.8, 0, 0, 0], [0, 0, 3.0, 0], [0, -0.8, 0, 0], [0, 0, 0, 1]]), "last slice (back)"),
    ],
    ids=["head first", "feet first", "coronal"],
)
def test_an_end_of_the_scan_is_named_in_the_patient(affine: Any, end: str) -> None:
    found = judged(measured(1, touches=("last slice",)), geometry=Geometry(affine, (100, 512, 512)))
    assert found[0].sentence.endswith(f": {end}")


def test_images_have_no_volume_and_no_ends_in_the_patient() -> None:
    image = Geometry(np.diag([0.8, 0.8, 1.0, 1.0]), (1, 512, 512), in_patient=False)
    found = judged(measured(1, None, touches=("first row",)), geometry=image)
    assert [(one.code, one.sentence.endswith(": first row")) for one in found] == [("touches-edge", True)]


@pytest.mark.parametrize(
    ("header", "geometry", "sentence"),
    [
        (
            PLAIN,
            np.diag([0.5, 0.5, 3.0, 1.0]),
            "The distance between pixels is 0.5 mm; the network was trained on 0.6 to",
        ),
        (
            PLAIN,
            np.diag([0.8, 0.8, 7.5, 1.0]),
            "The distance between slices is 7.5 mm; the network was trained on 1 to 5",
        ),
        (
            PLAIN | {"SliceThickness": "10"},
            GRID.affine,
            "The slice thickness is 10 mm; the network was trained on 1 to 5",
        ),
        (
            PLAIN | {"PatientAge": "006M"},
            GRID.affine,
            "The patient's age is 0.5 years; the network was trained on 46 to",
        ),
        (PLAIN | {"ConvolutionKernel": ["I70f", "3"]}, GRID.affine, "The reconstruction kernel is I70f 3, which the"),
    ],
)
def test_an_input_unlike_the_training_is_said_once_for_the_result(header: Any, geometry: Any, sentence: str) -> None:
    (one,) = judged(header=written(**header), geometry=Geometry(geometry, (100, 512, 512)))
    assert (one.code, one.segment) == ("outside-training", None)
    assert one.sentence.startswith(sentence)


def test_pixels_that_are_not_square_are_both_judged() -> None:
    found = judged(geometry=Geometry(np.diag([0.8, 0.3, 3.0, 1.0]), (100, 512, 512)))
    assert [one.sentence.split(";")[0] for one in found] == ["The distance between pixels is 0.3 mm"]


def test_a_distance_at_the_limit_is_inside_whatever_the_arithmetic_gave() -> None:
    c, s = 5 * np.cos(0.3), 5 * np.sin(0.3)
    tilted = np.array([[0.6, 0, 0, 0], [0, 0.6 * c / 5, -s, 0], [0, 0.6 * s / 5, c, 0], [0, 0, 0, 1.0]])
    assert judged(geometry=Geometry(tilted, (100, 512, 512))) == ()


@pytest.mark.parametrize(
    ("kernel", "is_known"),
    [
        ("STANDARD", True),
        ("Standard ", True),
        (["B31f", "3"], True),
        (["3", "B30s"], True),
        (["I40f", "3"], False),
        ("", True),
        ("BONEPLUS", False),
    ],
)
def test_kernels_are_known_by_any_of_their_values(kernel: Any, is_known: bool) -> None:
    assert bool(judged(header=written(**PLAIN | {"ConvolutionKernel": kernel}))) is not is_known


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
def test_a_kernel_of_rubbish_comes_into_a_report_as_letters() -> None:
    (one,) = judged(header=written(ConvolutionKernel=b"\x1b$B\xff\n" * 100))
    assert one.sentence.isascii()
    assert one.sentence.isprintable()
    assert len(one.sentence) < 200


@pytest.mark.parametrize(
    ("header", "age"),
    [
        (dict(PatientAge="043Y"), 43),
        (dict(PatientAge="43y"), 43),
        (dict(PatientAge="018M"), 1.5),
        (dict(PatientAge="003W"), 3 * 7 / 365.25),
        (dict(PatientAge="043Y", PatientBirthDate="19000101", StudyDate="20200101"), 43),
        (dict(PatientAge="", PatientBirthDate="19700615", StudyDate="20200614"), 49),
        (dict(PatientAge="Y", PatientBirthDate="19700615", StudyDate="20200615"), 50),
        (dict(PatientAge="000Y", PatientBirthDate="20200101", StudyDate="20200401"), 91 / 365.25),
        (dict(PatientBirthDate="1970.06.15", StudyDate="20200615"), 50),
        (dict(PatientAge="000Y"), None),
        (dict(PatientAge="999Y"), None),
        (dict(PatientAge="forty"), None),
        (dict(PatientAge=["043Y", "044Y"]), None),
        (dict(PatientBirthDate="20060101", StudyDate="20060101"), None),
        (dict(PatientBirthDate="20200101", StudyDate="19990101"), None),
        (dict(PatientBirthDate="19700000", StudyDate="20200101"), None),
        (dict(PatientBirthDate="17000101", StudyDate="20200101"), None),
        (dict(PatientBirthDate="19700101"), None),
        (dict(PatientBirthDate="20000229", StudyDate="20010228"), 365 / 365.25),
        ({}, None),
    ],
)
def test_the_age_is_read_where_anybody_could_read_it(header: dict[str, Any], age: float | None) -> None:
    assert age_years(written(**header)) == (age if age is None else pytest.approx(age))


@pytest.mark.parametrize(
    ("said", "thickness"),
    [("2.5", 2.5), ("", None), ("0", None), ("-1", None), (b"thick", None), (b"nan ", None), (b"inf ", None)],
)
def test_a_thickness_that_is_none_is_not_judged(said: Any, thickness: float | None) -> None:
    assert slice_thickness_mm(written(SliceThickness=said)) == thickness


def test_an_element_of_a_wrong_kind_is_not_judged() -> None:
    four_bytes = struct.pack("<HH2sH", 0x0018, 0x0050, b"FD", 4) + b"2.5 "  # a double has eight
    header = dcmread(BytesIO(four_bytes), force=True)
    with pytest.raises(BytesLengthException):
        header.get("SliceThickness")
    assert slice_thickness_mm(header) is None
    assert judged(header=header) == ()


def test_headers_that_say_nothing_are_not_judged() -> None:
    assert judged(header=written()) == ()


@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom")
@settings(max_examples=150, deadline=None)
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            keyword: st.binary(max_size=40)
            for keyword in ("PatientAge", "PatientBirthDate", "StudyDate", "SliceThickness", "ConvolutionKernel")
        },
    )
)
def test_no_header_is_so_broken_that_judging_fails(values: dict[str, bytes]) -> None:
    for one in judged(header=written(**values)):
        assert one.sentence.isascii()
        assert one.sentence.isprintable()


def test_a_pattern_that_is_none_is_found_when_the_card_is_read(tmp_path: Any) -> None:
    folder = mini_bundle.make(tmp_path)
    file = folder / card.FILE
    file.write_text(file.read_text().replace("\n[files]", '\n[trained_on]\nkernel = ["("]\n\n[files]'))
    with pytest.raises(CardError, match=r"trained_on: kernel: '\(' is not a regular expression"):
        card.read(folder)


def test_the_lungs_say_what_they_were_trained_on() -> None:
    for segment in LUNGS.segment:
        assert segment.maximum_entropy == 0.2
        assert not segment.touches_edge
    assert LUNGS.trained_on.kernel
    assert LUNGS.trained_on.age_years == (46.0, 85.0)
