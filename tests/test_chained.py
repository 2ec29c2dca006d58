"""A network that reads what another one found: made first, waited for, named in the results, and no better than it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from config.settings import load
from db import jobs, lost_jobs
from db.job_states import JobKind
from db.tables import attempt, job, result
from models import card, chain
from models.card import FILE, SHIPPED, CardError
from node import giving_up
from node.app import Node, open_node
from node.errors import Failed
from node.operations import checks, control, verdicts
from node.operations.routes import PRIORITIES
from node.worker import Worker
from tests import scenes
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.test_crashes import SHORT, config, start_worker
from tests.test_priors import rows
from tests.threshold_host import ThresholdHosts, threshold
from tests.waiting import wait_until

CT = 'modality = ["CT"]'
INSIDE = 'channel = "lungs"\nnetwork = "ct_lungs"\nsegments = ["Right lung", 1]'


def bundle(home: Path, name: str, *inputs: str) -> Path:
    """A network beside ct_lungs, and like it, that reads something else."""
    folder = home / "models" / name
    shutil.copytree(SHIPPED / "ct_lungs", folder)
    reads(folder, *inputs)
    file = folder / FILE
    file.write_text(file.read_text().replace('name = "ct_lungs"', f'name = "{name}"', 1))
    return folder


def reads(folder: Path, *inputs: str) -> None:
    blocks = "".join(f"[[input]]\n{one}\n\n" for one in inputs)
    text = (folder / FILE).read_text()
    (folder / FILE).write_text(re.sub(r"\[\[input\]\].*?(?=\[\[segment\]\])", lambda _: blocks, text, flags=re.DOTALL))


def routed(node: Node, *networks: str, priority: str = "routine") -> Node:
    """The node with one route that asks for these networks."""
    (route,) = node.routes
    return dataclasses.replace(
        node, routes=(dataclasses.replace(route, networks=networks, priority=PRIORITIES[priority]),)
    )


@pytest.fixture
def chained(node: Node, threshold_hosts: ThresholdHosts) -> Node:
    """A node whose route asks for `lesions` alone, which counts the columns up to 15 inside of what ct_lungs finds."""
    bundle(node.archive.home, "lesions", f'channel = "image"\n{CT}', INSIDE)

    def found(channels: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
        assert set(np.unique(channels[1])) <= {0, 1}
        labels = np.zeros(channels[0].shape, np.uint8)
        labels[..., :15] = channels[1][..., :15] > 0
        return labels

    threshold_hosts.chained = found
    return routed(node, "lesions")


def wanted(volume: NDArray[Any]) -> int:
    return int((threshold(volume)[..., :15] > 0).sum())


def values(images: list[Dataset]) -> NDArray[np.float32]:
    ordered = sorted(images, key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in ordered])


def segment_jobs(node: Node) -> dict[str, Any]:
    """Network -> its segment job's row."""
    query = sa.text(
        "SELECT input_set.network, job.* FROM job JOIN input_set ON input_set.id = job.input_set_id "
        "WHERE job.kind = 'segment'"
    )
    with node.database.read() as tx:
        return {row["network"]: row for row in tx.execute(query).mappings()}


def segmentations(node: Node, network: str, state: str = "ready") -> list[Any]:
    query = sa.text(
        "SELECT result.* FROM result JOIN input_set ON input_set.id = result.input_set_id "
        "WHERE input_set.network = :network AND kind = 'SEG' AND state = :state ORDER BY result.id"
    )
    with node.database.read() as tx:
        return list(tx.execute(query, {"network": network, "state": state}).mappings())


def referenced(ds: Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_the_first_is_made_kept_and_read_though_no_route_asks_for_it(
    chained: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    images = small_series()
    take_in(chained, images)
    work_off(chained)
    assert only_study(chained)["state"] == "done", only_study(chained)["reason"]
    assert threshold_hosts.asked == 2
    (seg,) = pacs.of_modality("SEG")
    assert seg.pixel_array.sum() == wanted(values(images)) > 0
    assert {ds.ContributingEquipmentSequence[-1].ManufacturerModelName for ds in pacs.objects} == {"lesions"}
    (first,) = segmentations(chained, "ct_lungs")
    for report in pacs.of_modality("SR"):
        assert first["sop_uid"] in referenced(report)
        assert f"the segmentation {first['sop_uid']} of ct_lungs 1.2.0" in report.to_json()
    assert first["sop_uid"] in seg.ContributingEquipmentSequence[-1].ContributionDescription


def test_where_a_route_asks_for_both_the_first_runs_once_and_both_are_sent(
    chained: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    node = routed(chained, "lesions", "ct_lungs")
    take_in(node, small_series())
    work_off(node)
    assert threshold_hosts.asked == 2
    assert {ds.SegmentSequence[0].SegmentAlgorithmName for ds in pacs.of_modality("SEG")} == {"ct_lungs", "lesions"}
    # asked for by a route now: what was made for another network is what the route gets
    control.reprocess(node.database, only_study(node)["study_uid"], "ann", 3)
    work_off(routed(chained, "lesions"))
    assert len(pacs.calls) == 6
    assert len({row["id"] for row in segmentations(node, "ct_lungs")}) == 1


def test_a_route_that_comes_later_gets_the_result_that_was_made_for_another_network(
    chained: Node, pacs: FakePacs
) -> None:
    take_in(chained, small_series())
    work_off(chained)
    node = routed(chained, "lesions", "ct_lungs")
    control.reprocess(node.database, only_study(node)["study_uid"], "ann", 3)
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    assert {ds.SegmentSequence[0].SegmentAlgorithmName for ds in pacs.of_modality("SEG")} == {"ct_lungs", "lesions"}
    assert len(segmentations(node, "ct_lungs")) == 1


def test_the_second_waits_for_the_first_and_uses_up_no_attempt(chained: Node, pacs: FakePacs) -> None:
    take_in(chained, small_series())
    work_off(chained, JobKind.CHOOSE)
    with chained.database.write() as tx:  # another worker has the first one
        held = jobs.claim(tx, [JobKind.SEGMENT], "elsewhere", 60)
    assert held is not None
    work_off(chained)
    second = segment_jobs(chained)["lesions"]
    assert (second["state"], second["code"], second["attempts"]) == ("waiting", "upstream-waiting", 0)
    with chained.database.write() as tx:
        assert lost_jobs.rescue(tx, worker="elsewhere") == 1
    work_off(chained)
    assert only_study(chained)["state"] == "done", "it was not told that the first is there"
    assert len(pacs.of_modality("SEG")) == 1


def test_a_first_that_is_refused_is_the_seconds_refusal_and_when_it_can_run_both_do(
    chained: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.answer = lambda volume: np.full(volume.shape, 9, np.uint8)
    take_in(chained, small_series())
    work_off(chained)
    first, second = (segment_jobs(chained)[name] for name in ("ct_lungs", "lesions"))
    assert first["code"] == "output-unknown-label"
    assert (second["state"], second["code"]) == ("refused", "upstream-refused")
    assert first["reason"] in second["reason"]
    assert not pacs.calls
    threshold_hosts.answer = threshold
    control.retry(chained.database, first["id"])
    work_off(chained)
    assert only_study(chained)["state"] == "done"
    assert len(pacs.of_modality("SEG")) == 1


def test_a_first_that_can_read_nothing_of_the_study_is_said_when_it_is_chosen(chained: Node, pacs: FakePacs) -> None:
    reads(bundle_copy(chained), 'modality = ["CT"]\nminimum_slices = 50')
    take_in(chained, small_series())
    work_off(chained)
    study = only_study(chained)
    assert study["state"] == "refused"
    assert study["reason"].startswith("upstream-refused: lesions reads the result of ct_lungs")
    assert not segment_jobs(chained)


def bundle_copy(node: Node) -> Path:
    """ct_lungs where its card can be changed."""
    folder = node.archive.home / "models" / "ct_lungs"
    shutil.copytree(SHIPPED / "ct_lungs", folder)
    return folder


def test_what_rests_on_a_result_that_was_withdrawn_is_set_aside_until_there_is_another(
    chained: Node, pacs: FakePacs
) -> None:
    take_in(chained, small_series())
    work_off(chained)
    (first,), (second,) = segmentations(chained, "ct_lungs"), segmentations(chained, "lesions")
    verdicts.withdraw(chained.database, first["sop_uid"], "ann", "of the wrong side", 3)
    work_off(chained)
    assert segment_jobs(chained)["lesions"]["code"] == "upstream-refused"
    assert "withdrawn" in segment_jobs(chained)["lesions"]["reason"]
    assert [row["id"] for row in segmentations(chained, "lesions", "superseded")] == [second["id"]]
    control.reprocess(chained.database, only_study(chained)["study_uid"], "ann", 3)
    work_off(chained)
    (again,), (new,) = segmentations(chained, "ct_lungs"), segmentations(chained, "lesions")
    assert again["sop_uid"] != first["sop_uid"]
    assert new["sop_uid"] != second["sop_uid"]
    assert {again["sop_uid"]} == referenced(pacs.of_modality("SR")[-1]) & {first["sop_uid"], again["sop_uid"]}


def smaller(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    labels = threshold(volume)
    labels[:4] = 0
    return labels


@pytest.mark.parametrize("which", ["ct_lungs", "lesions"])
def test_who_cancels_what_was_to_be_made_again_leaves_nothing_that_rests_on_a_result_of_before(
    chained: Node, threshold_hosts: ThresholdHosts, which: str
) -> None:
    take_in(chained, small_series())
    work_off(chained)
    (second,) = segmentations(chained, "lesions")
    threshold_hosts.answer = smaller
    control.retry(chained.database, segment_jobs(chained)["ct_lungs"]["id"])
    if which == "lesions":  # it reads the first, of which there is another result by then
        with chained.database.write() as tx:
            claim = jobs.claim(tx, [JobKind.SEGMENT], "test", 60)
        assert claim is not None
        Worker(chained, "test").attempt(claim)
        assert segment_jobs(chained)["lesions"]["state"] == "waiting"
    giving_up.cancel(chained, segment_jobs(chained)[which]["id"], "ann")
    work_off(chained)
    set_aside = [second["id"]] if which == "lesions" else []
    assert [row["id"] for row in segmentations(chained, "lesions", "superseded")] == set_aside


def test_another_result_of_the_first_makes_another_of_the_second(
    chained: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    """The first is retrained, and the study reprocessed; or only its job is."""
    take_in(chained, small_series())
    work_off(chained)
    before = segmentations(chained, "lesions")
    threshold_hosts.answer = smaller
    control.retry(chained.database, segment_jobs(chained)["ct_lungs"]["id"])
    work_off(chained)
    (now,) = segmentations(chained, "lesions")
    assert [row["id"] for row in segmentations(chained, "lesions", "superseded")] == [before[0]["id"]]
    assert now["supersedes"] == before[0]["id"]
    newest = next(ds for ds in pacs.of_modality("SEG") if ds.SOPInstanceUID == now["sop_uid"])
    oldest = next(ds for ds in pacs.of_modality("SEG") if ds.SOPInstanceUID == before[0]["sop_uid"])
    assert 0 < newest.pixel_array.sum() < oldest.pixel_array.sum()


def test_the_same_result_of_the_first_once_more_changes_nothing(chained: Node, pacs: FakePacs) -> None:
    take_in(chained, small_series())
    work_off(chained)
    control.retry(chained.database, segment_jobs(chained)["ct_lungs"]["id"])
    work_off(chained)
    assert {row["state"] for row in rows(chained, result)} == {"ready"}
    assert set(pacs.calls.values()) == {1}


def test_an_empty_result_of_the_first_is_an_empty_mask(chained: Node, threshold_hosts: ThresholdHosts) -> None:
    threshold_hosts.answer = lambda volume: np.zeros(volume.shape, np.uint8)
    take_in(chained, small_series())
    work_off(chained)
    assert only_study(chained)["state"] == "done", only_study(chained)["reason"]


def test_a_doubt_about_the_first_is_a_doubt_about_the_second(chained: Node, pacs: FakePacs) -> None:
    reads(bundle_copy(chained), CT)
    file = chained.archive.home / "models" / "ct_lungs" / FILE
    file.write_text(file.read_text().replace("plausible_ml = [", "plausible_ml = [9000, 10000] # [", 1))
    take_in(chained, small_series())
    work_off(chained)
    assert all("made from the result of ct_lungs, which is doubtful" in ds.to_json() for ds in pacs.of_modality("SR"))


def test_the_first_is_as_urgent_as_the_second(chained: Node) -> None:
    night, stat = (
        routed(chained, "ct_lungs", priority="night").routes,
        routed(chained, "lesions", priority="stat").routes,
    )
    night = (dataclasses.replace(night[0], name="night"),)
    node = dataclasses.replace(chained, routes=(*night, *stat))
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    assert {name: row["priority"] for name, row in segment_jobs(node).items()} == {"ct_lungs": 0, "lesions": 0}


def test_a_mask_of_another_series_is_brought_over_through_the_patient_by_the_nearest_voxel(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    """The first reads T1, the second FLAIR on a grid of its own, and the label values of the first."""
    home = node.archive.home
    mr = 'modality = ["MR"]\nimage_type_excludes = []\n'
    reads(bundle_copy(node), f'{mr}description_includes = ["t1"]')
    second = f'channel = "flair"\n{mr}description_includes = ["flair"]'
    bundle(home, "lesions", second, 'channel = "parts"\nnetwork = "ct_lungs"\nminimum_cover = 0.5')
    fine = scenes.grid((1, 0, 0), (0, 1, 0), (2, 2, 3))
    coarse = scenes.grid((1, 0.1, 0), (0, 1, 0), (3, 3, 5))
    images = []
    for number, (where, name) in enumerate(((fine, "T1"), (coarse, "FLAIR")), 1):
        for ds in scenes.images("MR", where):
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", f"1.2.3.{number}", "1.2.3.99"
            ds.SeriesDescription, ds.SeriesNumber = name, number
            images.append(ds)
    threshold_hosts.answer = lambda volume: (volume > 400).astype(np.uint8) * 2
    threshold_hosts.chained = lambda channels: channels[1].astype(np.uint8)
    node = routed(node, "lesions")
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (seg,) = pacs.of_modality("SEG")
    of_coarse = (coarse.labels() == 2).sum() * 3 * 3 * 5
    assert {item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence} == {"1.2.3.2"}
    assert abs(seg.pixel_array.sum() * 3 * 3 * 5 / of_coarse - 1) < 0.1
    assert {int(item.SegmentNumber) for item in seg.SegmentSequence} == {1, 2}


def test_the_very_images_are_read_by_the_first_rather_than_others_of_another_breath(
    chained: Node, pacs: FakePacs
) -> None:
    """Two series of one frame of reference: ct_lungs would take the other one, which suits it better."""
    reads(
        chained.archive.home / "models" / "lesions", f'channel = "image"\n{CT}\ndescription_includes = ["exp"]', INSIDE
    )
    inspired, expired = small_series((24, 20, 14)), small_series((24, 20, 8))
    for images, number, name in ((inspired, 1, "thorax insp"), (expired, 2, "exp")):
        for ds in images:
            ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.3.99"
            ds.SeriesInstanceUID, ds.SeriesDescription = f"1.2.3.{number}", name
    node = routed(chained, "lesions", "ct_lungs")
    take_in(node, inspired + expired)
    work_off(node)
    read = {
        (ds.SegmentSequence[0].SegmentAlgorithmName, str(ds.ReferencedSeriesSequence[0].SeriesInstanceUID))
        for ds in pacs.of_modality("SEG")
    }
    assert read == {("ct_lungs", "1.2.3.1"), ("lesions", "1.2.3.2")}
    seg = next(ds for ds in pacs.of_modality("SEG") if "lesions" in str(ds.ContributingEquipmentSequence[-1]))
    assert seg.pixel_array.sum() == wanted(values(expired))
    assert len(segmentations(node, "ct_lungs")) == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_between_both_leaves_the_second_to_another(
    tmp_path: Path, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    file = config(tmp_path, pacs, SHORT)
    file.write_text(file.read_text() + '[[route]]\nname = "r"\nnetworks = ["lesions"]\ndestinations = ["pacs"]\n')
    node = open_node(load(file))
    bundle(node.archive.home, "lesions", f'channel = "image"\n{CT}', INSIDE)
    threshold_hosts.chained = lambda channels: channels[1].astype(np.uint8)
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    killed = start_worker(file, threshold_hosts, PLANIMETER_FAILPOINT=f"after-results-commit:{tmp_path / 'once'}")
    assert killed.wait(300) == -signal.SIGKILL
    assert {name: row["state"] for name, row in segment_jobs(node).items()} == {
        "ct_lungs": "done",
        "lesions": "waiting",
    }
    another = start_worker(file, threshold_hosts)
    try:
        wait_until("the study is done", lambda: only_study(node)["state"] == "done", 300, every=0.1)
    finally:
        another.terminate()
        another.wait(60)
    assert len(pacs.of_modality("SEG")) == 1
    with node.database.read() as tx:
        assert "failed" not in list(tx.execute(sa.select(attempt.c.outcome)).scalars())
    node.close()


WRONG: list[tuple[str, Callable[[Path], Any], str]] = [
    (
        "unknown network",
        lambda home: bundle(home, "a", CT, 'channel = "b"\nnetwork = "nobody"'),
        "no network called nobody",
    ),
    (
        "unknown segment",
        lambda home: bundle(home, "a", CT, 'channel = "b"\nnetwork = "ct_lungs"\nsegments = ["Liver"]'),
        "has no segment 'Liver'; it has 1 Left lung, 2 Right lung",
    ),
    ("itself", lambda home: bundle(home, "a", CT, 'channel = "b"\nnetwork = "a"'), "a, which reads a: none"),
    (
        "a circle",
        lambda home: (
            bundle(home, "a", CT, 'channel = "b"\nnetwork = "b"'),
            bundle(home, "b", CT, 'channel = "a"\nnetwork = "a"'),
        ),
        "a, which reads b, which reads a: none of them can be first",
    ),
    (
        "of pictures",
        lambda home: bundle(home, "a", f'{CT}\nkind = "image"', 'channel = "b"\nkind = "image"\nnetwork = "ct_lungs"'),
        "reads kind",
    ),
]


@pytest.mark.parametrize(("make", "said"), [pair[1:] for pair in WRONG], ids=[pair[0] for pair in WRONG])
def test_what_cannot_be_is_said_by_check_and_by_the_study(
    node: Node, make: Callable[[Path], Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(node.archive.home)
    with pytest.raises(Failed, match="network-unusable") as failed:
        node.networks.prove(node.networks.known("a")[1])
    assert said in failed.value.sentence
    (finding,) = [one for one in checks._networks(node.archive.home, {"r": ["a"]}, []) if one.right is False]
    assert said in finding.said
    node = routed(node, "a")
    take_in(node, small_series())
    work_off(node)
    (choosing,) = jobs_of(node, JobKind.CHOOSE)
    assert "network-unusable" in str(choosing)
    with node.database.read() as tx:
        assert not tx.execute(sa.select(job.c.id).where(job.c.kind == "segment")).all()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((INSIDE,), "it has to be images"),
        ((CT, f"{INSIDE}\n{CT}"), "modality: rules for images"),
        ((f'{CT}\nsegments = ["Left lung"]',), "of which `network`"),
        (('channel = "image"',), "needs `modality`"),
    ],
)
def test_a_card_that_mixes_both_is_no_card(tmp_path: Path, inputs: tuple[str, ...], said: str) -> None:
    folder = bundle(tmp_path, "a", *inputs)
    with pytest.raises(CardError, match=said):
        card.read(folder)


def test_names_and_values_of_segments_mean_the_same(tmp_path: Path) -> None:
    first = card.read(SHIPPED / "ct_lungs").card
    rule = card.read(bundle(tmp_path, "a", CT, INSIDE)).card.input[1]
    assert chain.values(rule, first) == (1, 2)
    assert chain.values(rule.model_copy(update={"segments": ("Right lung",)}), first) == (2,)
    assert chain.values(rule.model_copy(update={"segments": ()}), first) == ()
