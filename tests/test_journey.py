"""The path of a study, step by step, with a network that thresholds and a PACS with knobs."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)

from config.settings import Settings, load
from db import lost_jobs
from db.arrivals import Seen
from db.job_states import JobKind
from db.tables import delivery, input_set, result
from models.card import FILE, SHIPPED
from node.app import Node, open_node
from node.operations import control
from node.operations.status import overview
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts, threshold


def sent(node: Node) -> list[dict[str, Any]]:
    return list(reversed(overview(node.database)["deliveries"]))


#: what is sent of a run, and everything that is kept of it: with what goes where Comprehensive 3D SR is refused
SENT = [("SEG", "BINARY"), ("SR", "TID1411"), ("SR", "TID1501")]
KEPT = [SENT[0], SENT[1], ("SR", "TID1411-COMPREHENSIVE"), SENT[2], ("SR", "TID1501-COMPREHENSIVE")]


def rows(node: Node, table: sa.Table) -> list[Any]:
    with node.database.read() as tx:
        return list(tx.execute(sa.select(table).order_by(table.c.id)).mappings())


def test_a_study_comes_in_and_a_seg_and_two_reports_go_back_once(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "done"
    assert [(one["kind"], one["options"]) for one in sent(node)] == SENT
    assert {one["state"] for one in sent(node)} == {"delivered"}
    (seg,), (volumes, diameters) = pacs.of_modality("SEG"), pacs.of_modality("SR")
    assert len(pacs.objects) == len(pacs.calls) == 3
    assert set(pacs.calls.values()) == {1}
    for ds in (seg, volumes, diameters):
        assert ds.StudyInstanceUID == images[0].StudyInstanceUID
        assert (ds.PatientID, str(ds.PatientName)) == (images[0].PatientID, str(images[0].PatientName))
    assert seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID


def test_what_is_sent_is_what_was_kept_byte_for_byte(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    kept_rows = rows(node, result)
    assert [(row["kind"], row["options"]) for row in kept_rows] == KEPT
    sent_rows = [row for row in kept_rows if row["sop_uid"] in pacs.calls]
    assert [(row["kind"], row["options"]) for row in sent_rows] == SENT
    for row in sent_rows:
        kept = dcmread(node.archive.at(row["path"]))
        (got,) = [ds for ds in pacs.objects if ds.SOPInstanceUID == row["sop_uid"]]
        first, second = BytesIO(), BytesIO()
        kept.save_as(first, enforce_file_format=True)
        got.file_meta = kept.file_meta
        got.save_as(second, enforce_file_format=True)
        assert first.getvalue() == second.getvalue()


def test_our_own_results_coming_back_make_no_job(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    before = jobs_of(node)
    take_in(node, pacs.objects)
    assert work_off(node) == 0
    assert jobs_of(node) == before
    assert only_study(node)["state"] == "done"
    from db.tables import instance

    assert {row["kind"] for row in rows(node, instance)} == {"image", "ours"}


def test_results_of_ours_that_another_system_renumbered_are_known_by_their_device(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    for ds in pacs.objects:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    take_in(node, pacs.objects)
    from db.tables import instance

    assert [row["kind"] for row in rows(node, instance)].count("ours") == 3


def test_a_late_report_and_a_late_localizer_start_nothing(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    before = [(job["id"], job["kind"]) for job in jobs_of(node)]
    dose = Dataset()
    dose.update(images[0])
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dose, keyword)
    dose.file_meta = images[0].file_meta
    dose.SOPClassUID = dose.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    dose.SOPInstanceUID = dose.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dose.SeriesInstanceUID, dose.Modality = generate_uid(), "SR"
    (scout,) = small_series((24, 20, 1), study_uid=images[0].StudyInstanceUID, series_number=1)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    take_in(node, [dose, scout])
    work_off(node)
    assert [(job["id"], job["kind"]) for job in jobs_of(node)] == before
    assert sum(pacs.calls.values()) == 3
    assert only_study(node)["state"] == "done"


def test_a_late_slice_makes_a_new_result_that_supersedes_the_old(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images[:-1])
    work_off(node)
    take_in(node, images[-1:])
    work_off(node)
    sets = rows(node, input_set)
    assert [row["supersedes"] for row in sets] == [None, sets[0]["id"]]
    kept = rows(node, result)
    assert [(row["kind"], row["options"]) for row in kept] == KEPT * 2
    assert [row["state"] for row in kept] == ["superseded"] * 5 + ["ready"] * 5
    assert [row["supersedes"] for row in kept[5:]] == [row["id"] for row in kept[:5]]
    assert len(pacs.calls) == 6
    assert set(pacs.calls.values()) == {1}


def test_a_result_that_was_superseded_before_it_was_sent_is_not_sent(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images[:-1])
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    take_in(node, images[-1:])
    work_off(node, JobKind.CHOOSE, JobKind.SEGMENT)
    work_off(node)
    assert [one["state"] for one in sent(node)] == ["superseded"] * 3 + ["delivered"] * 3
    assert len(pacs.calls) == 3


def test_a_run_that_ends_after_its_images_were_outdated_sends_nothing(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    images = small_series()
    take_in(node, images[:-1])
    usual = threshold_hosts.answer

    def overtaken(volume: Any) -> Any:
        if threshold_hosts.asked == 1:
            take_in(node, images[-1:])
            work_off(node, JobKind.CHOOSE)
        return usual(volume)

    threshold_hosts.answer = overtaken
    work_off(node)
    kept = rows(node, result)
    newest = rows(node, input_set)[-1]["id"]
    late = [row for row in kept if row["input_set_id"] != newest]
    assert [(row["kind"], row["options"]) for row in late] == SENT, "it goes nowhere, so nothing takes its place"
    assert {row["state"] for row in late} == {"superseded"}
    right = [row for row in kept if row["input_set_id"] == newest]
    assert [(row["kind"], row["options"]) for row in right] == KEPT
    assert {row["state"] for row in right} == {"ready"}
    assert set(pacs.calls) < {row["sop_uid"] for row in right}
    assert len(pacs.calls) == 3


def test_the_same_image_in_another_transfer_syntax_starts_nothing(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    for ds in images:
        ds.compress(RLELossless, generate_instance_uid=False)
    assert take_in(node, images) == [Seen.REVISION] * len(images)
    work_off(node)
    assert len(rows(node, input_set)) == 1
    assert sum(pacs.calls.values()) == 3


def test_a_corrected_header_starts_nothing_and_is_used_from_then_on(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    for ds in images:
        ds.AccessionNumber = "A-1"
    take_in(node, images)
    work_off(node)
    assert len(rows(node, input_set)) == 1
    assert sum(pacs.calls.values()) == 3


def test_changed_pixels_make_a_new_input_set(node: Node, pacs: FakePacs) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    images[3].PixelData = np.full((20, 24), -900, "<i2").tobytes()
    take_in(node, images[3:4])
    work_off(node)
    assert len(rows(node, input_set)) == 2
    assert len(pacs.calls) == 6


def test_a_changed_position_makes_a_new_input_set(node: Node) -> None:
    images = small_series()
    take_in(node, images)
    work_off(node)
    for ds in images:
        ds.ImagePositionPatient = [float(part) + 1 for part in ds.ImagePositionPatient]
    take_in(node, images)
    work_off(node)
    assert len(rows(node, input_set)) == 2


def test_reprocessing_unchanged_gives_the_same_uids_and_nothing_new_at_the_pacs(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    before = rows(node, result)
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(node)
    assert rows(node, result) == before
    assert set(pacs.calls.values()) == {1}
    assert only_study(node)["state"] == "done"


def copied_network(node: Node, **changes: tuple[str, str]) -> Path:
    """ct_lungs copied into the home folder, with words of its card exchanged."""
    import shutil

    folder = node.archive.home / "models" / "ct_lungs"
    if not folder.exists():
        shutil.copytree(SHIPPED / "ct_lungs", folder)
    card = folder / FILE
    text = card.read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new, 1)
    card.write_text(text)
    return folder


def test_one_changed_colour_in_the_card_gives_new_uids_and_supersedes(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    work_off(node)
    copied_network(node, colour=("[197, 165, 145]", "[0, 165, 145]"))
    control.reprocess(node.database, only_study(node)["study_uid"], "me", 3)
    work_off(node)
    kept = rows(node, result)
    assert [row["state"] for row in kept] == ["superseded"] * 5 + ["ready"] * 5
    assert [row["revision"] for row in kept] == [1] * 5 + [2] * 5
    assert len({row["sop_uid"] for row in kept}) == 10
    assert len(pacs.calls) == 6


def test_going_back_to_the_old_card_makes_a_third_revision_that_names_the_second(node: Node, pacs: FakePacs) -> None:
    """The old results would look older than those that they replace: nobody could tell which ones count."""
    take_in(node, small_series())
    work_off(node)
    study_uid = only_study(node)["study_uid"]
    copied_network(node, colour=("[197, 165, 145]", "[0, 165, 145]"))
    control.reprocess(node.database, study_uid, "me", 3)
    work_off(node)
    copied_network(node, colour=("[0, 165, 145]", "[197, 165, 145]"))
    control.reprocess(node.database, study_uid, "me", 3)
    work_off(node)
    kept = rows(node, result)
    assert [row["state"] for row in kept] == ["superseded"] * 10 + ["ready"] * 5
    assert [row["revision"] for row in kept] == [1] * 5 + [2] * 5 + [3] * 5
    assert [row["supersedes"] for row in kept[5:]] == [row["id"] for row in kept[:10]]
    assert len({row["sop_uid"] for row in kept}) == 15
    assert len(pacs.calls) == 9
    assert set(pacs.calls.values()) == {1}
    for ds in pacs.objects[-3:]:
        assert " rev 3 " in ds.SeriesDescription
        if ds.Modality == "SR":
            assert replaced_by(ds) == other_reports(kept[5:10], kept[10:], ds)
    control.reprocess(node.database, study_uid, "me", 3)
    work_off(node)
    assert rows(node, result) == kept, "the newest results say the same: they stand"
    assert len(pacs.calls) == 9


def replaced_by(report: Dataset) -> set[str]:
    """The SOP Instance UIDs of the reports that a report says it takes the place of."""
    (study,) = report.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID
    series = study.ReferencedSeriesSequence
    return {item.ReferencedSOPInstanceUID for each in series for item in each.ReferencedSOPSequence}


def other_reports(before: list[Any], now: list[Any], report: Dataset) -> set[str]:
    """The reports of an earlier revision on the same as this one, in both its classes."""
    (row,) = [row for row in now if row["sop_uid"] == report.SOPInstanceUID]
    return {one["sop_uid"] for one in before if one["options"].startswith(row["options"])}


def test_every_series_on_its_own_grid_where_the_card_says_every(node: Node, pacs: FakePacs) -> None:
    copied_network(node, take=('take = "best"', 'take = "every"'))
    first = small_series()
    second = small_series((30, 26, 6), study_uid=first[0].StudyInstanceUID, series_number=3)
    take_in(node, [*first, *second])
    work_off(node)
    segs = pacs.of_modality("SEG")
    assert {(seg.Rows, seg.Columns) for seg in segs} == {(20, 24), (26, 30)}
    assert {seg.ReferencedSeriesSequence[0].SeriesInstanceUID for seg in segs} == {
        first[0].SeriesInstanceUID,
        second[0].SeriesInstanceUID,
    }


def test_the_best_series_where_the_card_says_best(node: Node, pacs: FakePacs) -> None:
    first = small_series((24, 20, 6))
    longer = small_series((24, 20, 12), study_uid=first[0].StudyInstanceUID, series_number=3)
    take_in(node, [*first, *longer])
    work_off(node)
    (seg,) = pacs.of_modality("SEG")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == longer[0].SeriesInstanceUID


def test_a_network_that_sees_nothing_still_answers(node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    threshold_hosts.answer = lambda volume: np.zeros(volume.shape, np.uint8)
    take_in(node, small_series())
    work_off(node)
    (seg,), reports = pacs.of_modality("SEG"), pacs.of_modality("SR")
    assert len(reports) == 2
    assert not seg.pixel_array.any()
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Left lung", "Right lung"]
    for sr in reports:
        assert "0.0" in str(sr) or "'0'" in str(sr)
    assert only_study(node)["state"] == "done"


def routed(settings: Settings, tmp_path: Path, hosts: ThresholdHosts, routes: str) -> Node:
    """A node with routes of its own."""
    peer = settings.peer[0]
    assert peer.destination is not None
    file = tmp_path / "routes.toml"
    file.write_text(
        f'[[peer]]\nname = "pacs"\nae_title = "{peer.ae_title}"\n'
        f'destination = {{ host = "127.0.0.1", port = {peer.destination.port} }}\n{routes}'
    )
    made = load(file, {"node": {"home": tmp_path / "home"}, "receive": {"quiet_seconds": 0, "reserve_gb": 0}})
    return open_node(made, hosts.address)


def test_a_silent_route_runs_and_keeps_and_sends_nothing(
    settings: Settings, tmp_path: Path, threshold_hosts: ThresholdHosts, pacs: FakePacs
) -> None:
    route = '[[route]]\nname = "quiet"\nnetworks = ["ct_lungs"]\ndestinations = ["pacs"]\nmode = "silent"\n'
    node = routed(settings, tmp_path, threshold_hosts, route)
    take_in(node, small_series())
    work_off(node)
    assert [(row["kind"], row["options"]) for row in rows(node, result)] == SENT
    assert rows(node, delivery) == []
    assert not pacs.objects
    assert only_study(node)["state"] == "done"
    node.close()


@pytest.mark.parametrize(
    ("when", "state"),
    [
        ('{ modality = "CT" }', "done"),
        ('{ modality = ["MR", "CT"] }, { calling_ae_title = "SUBMIT" }', "done"),
        ('{ modality = "MR" }', "refused"),
        ('{ modality = "CT" }, { calling_ae_title = "CT9" }', "refused"),
    ],
)
def test_a_route_takes_what_all_its_conditions_hold_for(
    settings: Settings, tmp_path: Path, threshold_hosts: ThresholdHosts, when: str, state: str
) -> None:
    route = f'[[route]]\nname = "r"\nwhen = [{when}]\nnetworks = ["ct_lungs"]\ndestinations = ["pacs"]\n'
    node = routed(settings, tmp_path, threshold_hosts, route)
    take_in(node, small_series())
    work_off(node)
    study = only_study(node)
    assert study["state"] == state
    if state == "refused":
        assert study["reason"].startswith("no-route")
    node.close()


def test_two_routes_to_one_network_make_one_run_and_the_urgent_one_sets_the_pace(
    settings: Settings, tmp_path: Path, threshold_hosts: ThresholdHosts, pacs: FakePacs
) -> None:
    routes = "".join(
        f'[[route]]\nname = "{name}"\nnetworks = ["ct_lungs"]\ndestinations = ["pacs"]\n'
        f'priority = "{priority}"\nmode = "{mode}"\n'
        for name, priority, mode in (("a", "night", "silent"), ("b", "stat", "live"))
    )
    node = routed(settings, tmp_path, threshold_hosts, routes)
    take_in(node, small_series())
    work_off(node)
    assert threshold_hosts.asked == 1
    assert len(pacs.objects) == 3
    from db.tables import job

    (segment,) = [row for row in rows(node, job) if row["kind"] == "segment"]
    assert segment["priority"] == 0
    node.close()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda images: images[:2], "too-few-slices"),
        (lambda images: [_with(ds, Modality="MR") for ds in images], "not-our-modality"),
        (lambda images: [_with(ds, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]) for ds in images], "localizer"),
        (lambda images: [_without(ds, "FrameOfReferenceUID") for ds in images], "no-frame-of-reference"),
        (lambda images: images[:3] + images[4:], "missing-slice"),
        (lambda images: [*images, _with(_copy(images[0]), PixelData=images[4].PixelData)], "duplicate-position"),
        (lambda images: [_with(images[0], PatientID="OTHER"), *images[1:]], "ambiguous-patient"),
        (lambda images: [_with(ds, PatientID="X" * 65) for ds in images], "identifier-too-long"),
        (lambda images: [_with(ds, PixelData=ds.PixelData[:100]) for ds in images], "pixel-data-truncated"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(node: Node, pacs: FakePacs, spoil: Any, code: str) -> None:
    take_in(node, spoil(small_series()))
    work_off(node)
    study = only_study(node)
    assert study["state"] == "refused"
    assert study["reason"].startswith(f"{code}: ")
    assert not pacs.objects
    take_in(node, small_series(patient_id="NEXT"))
    work_off(node)
    assert overview(node.database)["studies"][0]["state"] == "done"


def _with(ds: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _without(ds: Dataset, keyword: str) -> Dataset:
    delattr(ds, keyword)
    return ds


def _copy(ds: Dataset) -> Dataset:
    import copy

    made = copy.deepcopy(ds)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return made


@pytest.mark.parametrize("sop_class", [SegmentationStorage, ComprehensiveSRStorage])
def test_a_study_without_images_says_so(node: Node, sop_class: str) -> None:
    (ds, *_) = small_series()
    for keyword in ("PixelData",):
        delattr(ds, keyword)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.Modality = "SEG" if sop_class == SegmentationStorage else "SR"
    take_in(node, [ds])
    assert work_off(node) == 0
    study = only_study(node)
    assert (study["state"], study["images"]) == ("refused", 0)
    assert study["reason"].startswith("no-images")


def test_a_worker_that_lost_its_lease_leaves_no_trace(node: Node, pacs: FakePacs) -> None:
    from db import jobs
    from node.attempt import Stages
    from node.journey import segment

    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        slow = jobs.claim(tx, [JobKind.SEGMENT], "slow", 0)
        assert slow is not None
        lost_jobs.rescue(tx)
    work_off(node)
    files = sorted((node.archive.home / "results").rglob("*.dcm"))
    with pytest.raises(jobs.LostLease):
        segment(node, dataclasses.replace(slow, model_version_id=1), Stages())
    assert sorted((node.archive.home / "results").rglob("*.dcm")) == files
    assert set(pacs.calls.values()) == {1}


def test_a_network_changed_under_a_running_job_is_not_run_half_and_half(node: Node) -> None:
    from db import jobs

    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], "dies", 0)
        assert claim is not None
    version, _ = node.networks.live("ct_lungs")
    with node.database.write() as tx:
        jobs.pin(tx, claim, version)
        lost_jobs.rescue(tx)
    copied_network(node, colour=("[197, 165, 145]", "[0, 165, 145]"))
    work_off(node)
    study = only_study(node)
    assert study["state"] == "refused"
    assert study["reason"].startswith("network-changed")
    control.reprocess(node.database, study["study_uid"], "me", 3)
    work_off(node)
    assert only_study(node)["state"] == "done"


def test_the_mask_that_comes_back_is_the_one_the_network_made(node: Node, pacs: FakePacs) -> None:
    from node.objects.checks.masks import mask
    from node.study import volume

    take_in(node, small_series())
    work_off(node)
    (seg,) = pacs.of_modality("SEG")
    files = sorted((node.archive.home / "store").rglob("*.dcm"))
    built = volume.build(files, node.decoders)
    assert np.array_equal(mask(seg, built.geometry, [1, 2]), threshold(built.values.array))
    built.close()
    assert ExplicitVRLittleEndian
    assert ImplicitVRLittleEndian
