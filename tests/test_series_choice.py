"""Which series a network reads: the rules of its card, judged over all images; ranking; several channels; reasons."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, VLWholeSlideMicroscopyImageStorage

from db.database import Database
from db.tables import input_set
from models.card import Card, Input
from node.errors import Refused
from node.study.facts import Image, Series
from node.study.series import Pick, choose
from tests import scenes
from tests.kept import House

AXIAL = scenes.grid((1, 0, 0), (0, 1, 0), (8, 8, 12))


def card(*inputs: dict[str, Any], take: str = "best") -> Card:
    segment = dict(value=1, label="x", category=("1", "SCT", "x"), type=("1", "SCT", "x"), colour=(1, 2, 3))
    return Card.model_validate(
        dict(
            format=1,
            name="net",
            version="1",
            title="Net",
            manufacturer="Tests",
            device_uid="1.2.3",
            intended_use="Tests.",
            licence="x",
            weights_licence="x",
            take=take,
            input=[{"channel": f"c{n}", "modality": ["CT"]} | one for n, one in enumerate(inputs or ({},))],
            segment=[segment],
            files={"configs/inference.json": "0" * 64, "models/model.pt": "0" * 64},
        )
    )


def series(number: int, images: Sequence[Dataset] | None = None, kind: str = "CT", **values: Any) -> Series:
    """A series; `values` are set in all its images."""
    images = scenes.images(kind, AXIAL) if images is None else images
    for ds in images:
        ds.SeriesNumber = number
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    uid = f"1.2.{number}"
    return Series(uid, tuple(Image(str(ds.SOPInstanceUID), str(ds.SOPInstanceUID), ds) for ds in images))


def numbers(picks: Sequence[Pick]) -> list[int]:
    return [int(pick.channels[0][1].series.number()) for pick in picks]


def refusal(rules: Card, *candidates: Series) -> Refused:
    with pytest.raises(Refused) as refused:
        choose(rules, candidates)
    return refused.value


Change = Callable[[list[Dataset]], object]


def on_one(keyword: str, value: Any) -> Change:
    return lambda images: setattr(images[3], keyword, value)


@pytest.mark.parametrize(
    ("rule", "values", "code"),
    [
        ({}, {"Modality": "MR"}, "not-our-modality"),
        ({}, {"Modality": "SEG"}, "label-map-as-image"),
        ({}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({}, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived-image"),
        ({"image_type_includes": ["AXIAL"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "HELIX"]}, "image-type"),
        ({"image_type_excludes": ["HELIX"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "HELIX"]}, "image-type"),
        ({}, {"BurnedInAnnotation": "YES"}, "burned-in-annotation"),
        ({}, {"SOPClassUID": SecondaryCaptureImageStorage}, "secondary-capture"),
        ({}, {"ConversionType": "WSD"}, "secondary-capture"),
        ({}, {"SOPClassUID": VLWholeSlideMicroscopyImageStorage}, "whole-slide-microscopy"),
        ({"description_includes": ["chest", "thorax"]}, {"SeriesDescription": "Abdomen"}, "description"),
        ({"description_excludes": ["scout"]}, {"SeriesDescription": "Chest Scout"}, "description"),
        ({"kernel_includes": ["^B[0-9]"]}, {"ConvolutionKernel": "LUNG"}, "kernel"),
        ({"kernel_excludes": ["lung"]}, {"ConvolutionKernel": "LUNG"}, "kernel"),
        ({"contrast": "with"}, {}, "contrast"),
        ({"contrast": "without"}, {"ContrastBolusAgent": "Ultravist"}, "contrast"),
        ({"contrast_phase_includes": ["portal|venous"]}, {"SeriesDescription": "arterial"}, "contrast"),
        ({"slice_thickness_mm": [0.5, 3]}, {}, "slice-thickness"),
        ({"minimum_slices": 30}, {}, "too-few-slices"),
        ({"maximum_slices": 4}, {}, "too-many-slices"),
        ({"orientation": ["sagittal", "coronal"]}, {}, "orientation"),
        ({}, {"FrameOfReferenceUID": None}, "no-frame-of-reference"),
        ({}, {"PixelSpacing": [0, 1]}, "impossible-spacing"),
        ({}, {"PixelSpacing": [1e-300, 1]}, "impossible-spacing"),
        ({}, {"ImagePositionPatient": [1, 2, "nan"]}, "geometry-missing"),
    ],
)
def test_what_a_card_does_not_read_is_refused_by_name(rule: dict[str, Any], values: dict[str, Any], code: str) -> None:
    found = refusal(card(rule), series(7, **values))
    assert found.code == code
    assert "series 7" in found.sentence


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ({"derived": True}, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ({"burned_in_annotation": True}, {"BurnedInAnnotation": "YES"}),
        ({"secondary_capture": True}, {"SOPClassUID": SecondaryCaptureImageStorage}),
        ({"image_type_excludes": []}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ({"description_includes": ["CHEST"]}, {"ProtocolName": "low dose chest"}),
        ({"kernel_includes": ["^b"]}, {"ConvolutionKernel": ["B30f", "2"]}),
        ({"contrast": "with"}, {"ContrastBolusAgent": "Ultravist"}),
        ({"contrast_phase_includes": ["portal|venous"]}, {"SeriesDescription": "PORTAL 5mm"}),
        ({"slice_thickness_mm": [10, 12]}, {}),
        ({"orientation": ["axial"]}, {}),
    ],
)
def test_what_a_card_asks_for_is_read(rule: dict[str, Any], values: dict[str, Any]) -> None:
    assert numbers(choose(card(rule), [series(1, **values)])) == [1]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Modality", "MR"),
        ("BurnedInAnnotation", "YES"),
        ("ImageType", ["DERIVED", "PRIMARY", "AXIAL"]),
        ("FrameOfReferenceUID", "1.2.3"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]),
        ("Rows", 9),
    ],
)
def test_one_odd_image_among_many_is_enough_to_refuse_the_series(keyword: str, value: Any) -> None:
    images = scenes.images("CT", AXIAL)
    on_one(keyword, value)(images)
    refusal(card(), series(1, images))


def test_the_reasons_of_all_series_are_given() -> None:
    found = refusal(card(), series(1, Modality="MR"), series(2, BurnedInAnnotation="YES"))
    assert found.code == "no-series"
    assert "series 1: its modality is MR, not CT" in found.sentence
    assert "series 2: text is burned" in found.sentence


RANKED = dict(prefer_body_part=["CHEST"], prefer_description=["lung", "chest"], prefer_kernel=["LUNG"], derived=True)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "HEAD", "SeriesDescription": "lung"}),
        ({"SeriesDescription": "LUNG"}, {"SeriesDescription": "chest"}),
        ({"SeriesDescription": "chest"}, {"SeriesDescription": "soft"}),
        ({"ConvolutionKernel": "LUNG"}, {"ConvolutionKernel": "STANDARD"}),
        ({}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
    ],
)
def test_of_several_series_that_fit_the_best_is_read(better: dict[str, Any], worse: dict[str, Any]) -> None:
    for order in (1, -1):
        both = [series(1, **worse), series(2, **better)][::order]
        (pick,) = choose(card(RANKED), both)
        assert numbers([pick]) == [2]
        assert "the best of 2 that fit" in pick.because


def test_the_longer_range_wins_then_the_thinner_slices() -> None:
    long = scenes.images("CT", scenes.grid((1, 0, 0), (0, 1, 0), (8, 8, 12), extent_mm=200))
    thin = scenes.images("CT", scenes.grid((1, 0, 0), (0, 1, 0), (8, 8, 4)))
    assert numbers(choose(card(), [series(1), series(2, long)])) == [2]
    assert numbers(choose(card(), [series(1), series(2, thin)])) == [2]
    wanted = card({"prefer_thickness_mm": 12})
    assert numbers(choose(wanted, [series(1), series(2, thin)])) == [1]


def test_a_series_with_a_missing_slice_does_not_win() -> None:
    gap = scenes.images("CT", scenes.grid((1, 0, 0), (0, 1, 0), (8, 8, 4)))
    del gap[5]
    assert numbers(choose(card(), [series(1), series(2, gap)])) == [1]
    assert refusal(card(), series(2, gap)).code == "missing-slice"


def test_every_series_that_fits_is_read_where_the_card_says_so() -> None:
    picks = choose(card(take="every"), [series(1), series(2), series(3, Modality="MR")])
    assert sorted(numbers(picks)) == [1, 2]
    assert {pick.slot for pick in picks} == {"1.2.1", "1.2.2"}


# ------------------------------------------------- several volumes in one series


def together(*parts: dict[str, Any], kind: str = "MR", part_of: Callable[[int], bool] = lambda _: True) -> Series:
    """Several volumes in one place, told apart by what each has."""
    images = []
    for n, values in enumerate(parts):
        for k, ds in enumerate(scenes.images(kind, AXIAL)):
            ds.FrameOfReferenceUID, ds.InstanceNumber = "1.2.3", 100 * n + k
            for keyword, value in values.items():
                setattr(ds, keyword, value)
            if n == 0 or part_of(k):
                images.append(ds)
    return series(5, images)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", [4.6, 2.3]),
        ("EchoNumbers", [1, 2]),
        ("TemporalPositionIdentifier", [1, 2, 3]),
        ("DiffusionBValue", [0, 50, 1000]),
        ("AcquisitionNumber", [1, 2]),
        ("TriggerTime", [0, 120.5, 240]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]]),
        ("FrameReferenceTime", [0, 60000]),
        ("AcquisitionTime", ["101500", "101530"]),
    ],
)
def test_phases_echoes_and_time_points_are_volumes_of_their_own(keyword: str, values: list[Any]) -> None:
    both = together(*[{keyword: value} for value in values])
    picks = choose(card({"modality": ["MR"]}, take="every"), [both])
    assert len(picks) == len(values)
    for pick in picks:
        ((_, stack),) = pick.channels
        assert len(stack.frames) == AXIAL.shape[0]
        assert len({str(frame.header.get(keyword)) for frame in stack.frames}) == 1
    assert len({pick.slot for pick in picks}) == len(values)
    assert len({pick.members_hash() for pick in picks}) == len(values)
    (best,) = choose(card({"modality": ["MR"]}), [both])
    assert best.channels[0][1].key


@pytest.mark.filterwarnings("ignore:.*maximum length")
def test_what_tells_volumes_apart_may_be_of_any_length_and_fits_the_rows(database: Database, tmp_path: Path) -> None:
    """Text that no database can compress, in an index of both."""
    begins = secrets.token_hex(4000)
    both = together(*({"ConvolutionKernel": begins + end} for end in "ab"))
    first, second = picks = choose(card({"modality": ["MR"]}, take="every"), [both])
    assert first.slot != second.slot
    assert {pick.slot for pick in choose(card({"modality": ["MR"]}, take="every"), [both])} == {
        pick.slot for pick in picks
    }
    house = House(database, tmp_path / "home")
    study = house.study()
    for pick in picks:
        made = house.input_set(study)
        with database.write() as tx:
            tx.execute(sa.update(input_set).where(input_set.c.id == made).values(slot=pick.slot))
    assert {row["slot"] for row in house.rows(input_set)} == {first.slot, second.slot}


def test_slices_of_two_echoes_are_never_one_volume_also_where_none_coincide() -> None:
    images = scenes.images("MR", AXIAL)
    for k, ds in enumerate(images):
        ds.EchoTime = 2.3 if k % 2 else 4.6
    picks = choose(card({"modality": ["MR"]}, take="every"), [series(1, images)])
    assert [len(pick.channels[0][1].frames) for pick in picks] == [4, 4]


def test_a_phase_that_lost_a_slice_is_not_mended_with_another_one() -> None:
    two = together({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}, part_of=lambda k: k != 3)
    (pick,) = choose(card({"modality": ["MR"]}, take="every"), [two])
    assert pick.channels[0][1].key == "TemporalPositionIdentifier=1"


def test_a_place_outside_of_any_scanner_is_refused() -> None:
    images = scenes.images("CT", AXIAL)
    for k, ds in enumerate(images):
        ds.ImagePositionPatient = [1, 2, k * 1e6]
    assert refusal(card(), series(1, images)).code == "impossible-position"


def test_a_step_and_shoot_scan_is_one_volume_though_each_slice_is_an_acquisition() -> None:
    images = scenes.images("CT", AXIAL)
    for k, ds in enumerate(images):
        ds.AcquisitionNumber, ds.AcquisitionTime = k, f"1015{k:02d}"
    (pick,) = choose(card(), [series(1, images)])
    assert len(pick.channels[0][1].frames) == AXIAL.shape[0]


def test_the_stacks_of_a_multi_frame_image_are_told_apart_by_its_frames() -> None:
    (ds,) = scenes.images("enhanced MR", AXIAL)
    again = [dict(item.items()) for item in ds.PerFrameFunctionalGroupsSequence]
    both = []
    for echo in (2.3, 4.6):
        for elements in again:
            item, named = Dataset(), Dataset()
            item.update(elements)
            named.EffectiveEchoTime = echo
            item.MREchoSequence = [named]
            both.append(item)
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = both, len(both)
    picks = choose(card({"modality": ["MR"]}, take="every"), [series(1, [ds])])
    slices = AXIAL.shape[0]
    assert [frames for pick in picks for _, _, frames in pick.members()] == [
        f"1-{slices}",
        f"{slices + 1}-{2 * slices}",
    ]


# ------------------------------------------------------------- several channels

T1 = dict(channel="t1", modality=["MR"], description_includes=["t1"])
FLAIR = dict(channel="flair", modality=["MR"], description_includes=["flair"])


def test_a_network_of_two_channels_reads_two_series_of_one_place() -> None:
    candidates = [
        series(1, kind="MR", SeriesDescription="T1", FrameOfReferenceUID="1.2.3"),
        series(2, kind="MR", SeriesDescription="FLAIR", FrameOfReferenceUID="1.2.4"),
        series(3, kind="MR", SeriesDescription="FLAIR", FrameOfReferenceUID="1.2.3"),
    ]
    (pick,) = choose(card(T1, FLAIR), candidates)
    assert [(name, stack.series.number()) for name, stack in pick.channels] == [("t1", "1"), ("flair", "3")]
    assert "flair: series 3" in pick.because
    found = refusal(card(T1, FLAIR), *candidates[:2])
    assert found.code == "channel-missing"
    assert "another frame of reference" in found.sentence
    assert refusal(card(T1, FLAIR), candidates[0]).code == "channel-missing"


def test_one_series_is_not_read_for_two_channels() -> None:
    both = dict(modality=["MR"], description_includes=["t1"])
    one = series(1, kind="MR", SeriesDescription="T1")
    assert refusal(card(both, both), one).code == "channel-missing"


@pytest.mark.parametrize(
    "rule",
    [
        {"description_includes": ["("]},
        {"modality": []},
        {"values": "suv_bw", "modality": ["CT"]},
        {"minimum_slices": 5, "maximum_slices": 4},
        {"slice_thickness_mm": [3, 1]},
        {"unknown": 1},
    ],
)
def test_an_impossible_rule_is_an_error_of_the_card(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Input.model_validate({"modality": ["CT"]} | rule)
