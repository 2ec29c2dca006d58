"""Which objects go where: what a destination wants, and what it gets instead of a form that it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, RLELossless, SegmentationStorage

from db.job_states import JobKind
from node.app import Node
from node.objects import forms
from node.objects.forms import Form, Wish, in_place_of, wanted, with_what_may_take_their_place
from node.operations import control
from node.operations.status import overview
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import LABEL_MAP_SEGMENTATION_STORAGE, FakePacs
from tests.synthetic import small_series

BINARY, LABEL_MAP = Form("SEG", "BINARY"), Form("SEG", "LABELMAP")


def wish(node: Node, **changes: Any) -> None:
    node.targets["pacs"] = dataclasses.replace(node.targets["pacs"], **changes)


def sent(node: Node) -> dict[tuple[str, str], str]:
    return {(one["kind"], one["options"]): one["state"] for one in overview(node.database)["deliveries"]}


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (Wish(), ["BINARY", "TID1411", "TID1501"]),
        (Wish(label_map=True), ["LABELMAP", "TID1411-LABELMAP", "TID1501-LABELMAP"]),
        (Wish(marked=True), ["BINARY-MARKED", "TID1411-MARKED", "TID1501-MARKED"]),
        (Wish(objects=frozenset({"SC", "PDF"})), ["KEY01", "KEY02", "REPORT"]),
        (Wish(objects=frozenset({"RTSTRUCT", "STL"}), surfaces=(2,)), ["CONTOURS", "SEGMENT2"]),
    ],
)
def test_a_destination_gets_what_it_wants_and_what_others_refer_to_first(asked: Wish, made: list[str]) -> None:
    assert [form.options for form in wanted(asked, 2, has_contours=True)] == made


def test_images_that_lie_nowhere_have_no_contours() -> None:
    asked = Wish(objects=frozenset({"SEG", "RTSTRUCT", "STL"}), surfaces=(1,))
    assert wanted(asked, 0, has_contours=False) == [BINARY]


@pytest.mark.parametrize(
    ("form", "refused", "instead"),
    [
        ("SEG LABELMAP", "SEG LABELMAP", "SEG BINARY"),
        ("SEG LABELMAP-MARKED", "SEG LABELMAP-MARKED", "SEG BINARY-MARKED"),
        ("SR TID1411-LABELMAP", "SEG LABELMAP", "SR TID1411"),
        ("SR TID1501-LABELMAP-COMPREHENSIVE", "SEG LABELMAP", "SR TID1501-COMPREHENSIVE"),
        ("SR TID1411", "SR TID1501", "SR TID1411-COMPREHENSIVE"),
        ("SR TID1411-LABELMAP-MARKED", "SR TID1411-LABELMAP-MARKED", "SR TID1411-LABELMAP-COMPREHENSIVE-MARKED"),
        ("SR TID1411-COMPREHENSIVE", "SR TID1411-COMPREHENSIVE", None),
        ("SEG BINARY", "SEG BINARY", None),
        ("SR TID1411", "SEG BINARY", None),
        ("SEG LABELMAP", "SR TID1411", None),
        ("PDF REPORT", "SEG LABELMAP", None),
    ],
)
def test_what_takes_the_place_of_a_refused_form(form: str, refused: str, instead: str | None) -> None:
    found = in_place_of(Form(*form.split()), Form(*refused.split()))
    assert (" ".join(found) if found else None) == instead


def test_everything_that_may_be_needed_is_made_at_once() -> None:
    asked = wanted(Wish(label_map=True), 0, has_contours=True)
    made = {" ".join(form) for form in with_what_may_take_their_place(asked)}
    editions = [edition + form for edition in ("", "-LABELMAP") for form in ("", "-COMPREHENSIVE")]
    reports = {f"SR {template}{edition}" for template in ("TID1411", "TID1501") for edition in editions}
    assert made == {"SEG BINARY", "SEG LABELMAP"} | reports
    assert with_what_may_take_their_place([]) == list(forms.PLAIN)


def test_a_pacs_that_shows_label_maps_gets_one_compressed_and_reports_that_refer_to_it(
    node: Node, pacs: FakePacs
) -> None:
    pacs.stop()
    pacs.syntaxes = [*pacs.syntaxes, RLELossless]
    pacs.start()
    wish(node, label_map=True)
    take_in(node, small_series())
    work_off(node)
    assert set(sent(node).values()) == {"delivered"}
    (seg,) = pacs.of_modality("SEG")
    assert (seg.SOPClassUID, seg.file_meta.TransferSyntaxUID) == (LABEL_MAP_SEGMENTATION_STORAGE, RLELossless)
    for sr in pacs.of_modality("SR"):
        assert seg.SOPInstanceUID in str(sr)


def test_a_pacs_without_the_compression_gets_the_label_map_uncompressed(node: Node, pacs: FakePacs) -> None:
    wish(node, label_map=True)
    take_in(node, small_series())
    work_off(node)
    (seg,) = pacs.of_modality("SEG")
    assert seg.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    assert not seg.file_meta.TransferSyntaxUID.is_compressed
    assert seg.pixel_array.any()


@pytest.mark.parametrize("how", ["negotiation", "status"])
def test_a_refused_label_map_becomes_a_binary_segmentation_once(node: Node, pacs: FakePacs, how: str) -> None:
    wish(node, label_map=True)
    if how == "negotiation":
        pacs.refuse = {LABEL_MAP_SEGMENTATION_STORAGE}
    else:
        pacs.statuses = [0x0122]
    images = small_series()
    take_in(node, images)
    work_off(node)
    assert sorted(sent(node)) == [("SEG", "BINARY"), ("SR", "TID1411"), ("SR", "TID1501")]
    assert set(sent(node).values()) == {"delivered"}
    (seg,) = pacs.of_modality("SEG")
    assert seg.SOPClassUID == SegmentationStorage
    for sr in pacs.of_modality("SR"):
        assert seg.SOPInstanceUID in str(sr)
    pacs.refuse = set()
    before = dict(pacs.calls)
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert dict(pacs.calls) == before, "it went back to the label map"


def test_a_pacs_that_has_the_binary_form_and_refuses_the_label_map_gets_nothing_twice(
    node: Node, pacs: FakePacs
) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    wish(node, label_map=True)
    pacs.refuse = {LABEL_MAP_SEGMENTATION_STORAGE}
    for _ in range(2):
        control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
        work_off(node)
    assert set(pacs.calls.values()) == {1}
    assert len(pacs.calls) == 3
    assert only_study(node)["state"] == "done"
    assert sorted(set(sent(node).values())) == ["delivered", "superseded"]


def test_where_comprehensive_3d_sr_is_refused_the_same_goes_as_comprehensive_sr(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {Comprehensive3DSRStorage}
    take_in(node, small_series())
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert {sr.SOPClassUID for sr in pacs.of_modality("SR")} == {ComprehensiveSRStorage}
    assert len(pacs.of_modality("SR")) == 2


def test_where_both_are_refused_it_is_said_and_the_segmentation_still_goes(node: Node, pacs: FakePacs) -> None:
    pacs.refuse = {Comprehensive3DSRStorage, ComprehensiveSRStorage}
    take_in(node, small_series())
    work_off(node)
    states = sent(node)
    assert states.pop(("SEG", "BINARY")) == "delivered"
    assert set(states.values()) == {"dead"}
    assert only_study(node)["state"] == "failed"
    assert "does not accept Comprehensive SR" in only_study(node)["reason"]


def test_a_label_map_and_3d_reports_that_are_both_refused_end_as_what_every_pacs_takes(
    node: Node, pacs: FakePacs
) -> None:
    wish(node, label_map=True)
    pacs.refuse = {LABEL_MAP_SEGMENTATION_STORAGE, Comprehensive3DSRStorage}
    take_in(node, small_series())
    work_off(node)
    assert sorted(form for _, form in sent(node)) == ["BINARY", "TID1411-COMPREHENSIVE", "TID1501-COMPREHENSIVE"]
    assert set(sent(node).values()) == {"delivered"}


def test_every_kind_of_object_goes_to_a_destination_that_wants_them_all(node: Node, pacs: FakePacs) -> None:
    wish(node, objects=frozenset({"SEG", "SR", "SC", "PDF", "RTSTRUCT", "STL"}))
    take_in(node, small_series())
    work_off(node)
    assert set(sent(node).values()) == {"delivered"}
    kinds = {kind for kind, _ in sent(node)}
    assert kinds == {"SEG", "SR", "SC", "PDF", "RTSTRUCT", "STL"}
    assert ("STL", "SEGMENT2") in sent(node)
    assert {ds.StudyInstanceUID for ds in pacs.objects} == {pacs.objects[0].StudyInstanceUID}
    assert len({ds.SOPInstanceUID for ds in pacs.objects}) == len(pacs.objects)


def test_only_the_chosen_segments_go_as_surfaces(node: Node, pacs: FakePacs) -> None:
    wish(node, objects=frozenset({"STL"}), stl_segments=("Right lung",))
    take_in(node, small_series())
    work_off(node)
    assert sent(node) == {("STL", "SEGMENT2"): "delivered"}


def test_a_destination_that_wants_more_than_before_gets_it_with_the_same_uids(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    before = {ds.SOPInstanceUID for ds in pacs.objects}
    wish(node, objects=frozenset({"SEG", "SR", "PDF"}))
    control.reprocess(node.database, images[0].StudyInstanceUID, "me", 3)
    work_off(node)
    assert set(pacs.calls.values()) == {1}
    assert {ds.SOPInstanceUID for ds in pacs.objects} > before
    (pdf,) = pacs.of_modality("DOC")
    assert (pdf.ContentDate, pdf.ContentTime) == (pacs.objects[0].ContentDate, pacs.objects[0].ContentTime)
    assert not [job for job in jobs_of(node, JobKind.DELIVER) if job["state"] != "done"]
