"""Against the prior: compared within one model version, made again where it is another, and never overstated."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from db.job_states import JobKind
from db.tables import delivery, measurement
from models import card
from node.app import Node
from tests.driving import jobs_of, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts, threshold

SLICES = 24


def study(date: str, time: str = "120000", **identity: object) -> list[Dataset]:
    images = small_series((24, 20, SLICES), **identity)
    for ds in images:
        ds.StudyDate, ds.StudyTime = date, time
    return images


def smaller(hosts: ThresholdHosts, slices: int) -> None:
    def answer(volume: Any) -> Any:
        labels = threshold(volume)
        labels[slices:] = 0
        return labels

    hosts.answer = answer


def said(pacs: FakePacs, study_uid: str) -> str:
    return "\n".join(ds.to_json() for ds in pacs.objects if ds.Modality == "SR" and ds.StudyInstanceUID == study_uid)


def rows(node: Node, table: sa.Table) -> list[Any]:
    with node.database.read() as tx:
        return list(tx.execute(sa.select(table).order_by(table.c.id)).mappings())


def both(
    node: Node, hosts: ThresholdHosts, first: list[Dataset], second: list[Dataset], slices: int = SLICES // 2
) -> None:
    take_in(node, first)
    work_off(node)
    smaller(hosts, slices)
    take_in(node, second)
    work_off(node)


def test_a_later_study_is_compared_with_the_prior_one(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    first, second = study("20260101"), study("20260601")
    both(node, threshold_hosts, first, second)
    report = said(pacs, second[0].StudyInstanceUID)
    assert "smaller" in report
    assert "20260101" in report or "2026-01-01" in report
    assert "smaller" not in said(pacs, first[0].StudyInstanceUID)


def test_an_equal_study_shows_no_change(node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    first, second = study("20260101"), study("20260601")
    both(node, threshold_hosts, first, second, slices=SLICES)
    assert "no change" in said(pacs, second[0].StudyInstanceUID)


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(dict(date="20251231"), id="an earlier study"),
        pytest.param(dict(date="20260101"), id="the same moment", marks=pytest.mark.slow),
        pytest.param(dict(date=""), id="no date", marks=pytest.mark.slow),
        pytest.param(dict(date="20260601", patient_id="ANOTHER"), id="another patient"),
        pytest.param(dict(date="20260601", patient_id=""), id="nobody", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_prior_is_not_compared_with(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts, second: dict[str, str]
) -> None:
    later = study(**second)  # type: ignore[arg-type]
    both(node, threshold_hosts, study("20260101"), later)
    assert "smaller" not in said(pacs, later[0].StudyInstanceUID)


def with_a_new_version(node: Node, folder: Path) -> None:
    """The network is retrained: other weights, another version."""
    bundle = folder / "ct_lungs"
    shutil.copytree(card.SHIPPED / "ct_lungs", bundle)
    file = bundle / card.FILE
    file.write_text(file.read_text().replace('version = "', 'version = "9.', 1))
    card.seal(bundle)


def test_a_prior_of_another_version_is_measured_again_and_nothing_of_it_is_sent(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    first, second = study("20260101"), study("20260601")
    take_in(node, first)
    work_off(node)
    with_a_new_version(node, node.archive.home / "models")
    asked = threshold_hosts.asked
    sent = len(pacs.objects)
    take_in(node, second)
    work_off(node)
    assert threshold_hosts.asked == asked + 2, "the prior images were not read again"
    assert "no change" in said(pacs, second[0].StudyInstanceUID)
    assert {ds.StudyInstanceUID for ds in pacs.objects[sent:]} == {second[0].StudyInstanceUID}
    assert len(rows(node, measurement)) == 3
    assert len(rows(node, delivery)) == 6


def test_a_prior_whose_images_are_gone_is_marked_as_of_another_version(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    first, second = study("20260101"), study("20260601")
    take_in(node, first)
    work_off(node)
    with node.database.read() as tx:
        paths = tx.exec_driver_sql("SELECT path FROM instance").scalars().all()
    for path in paths:
        node.archive.discard(path)
    with_a_new_version(node, node.archive.home / "models")
    take_in(node, second)
    work_off(node)
    assert "other version" in said(pacs, second[0].StudyInstanceUID) or "another version" in said(
        pacs, second[0].StudyInstanceUID
    )
    assert {job["state"] for job in jobs_of(node, JobKind.SEGMENT)} == {"done"}


def test_a_tracked_structure_keeps_its_uid_from_study_to_study(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    first, second, other = study("20260101"), study("20260601"), study("20260601", patient_id="ANOTHER")
    both(node, threshold_hosts, first, second)
    take_in(node, other)
    work_off(node)
    tracked = {ds.StudyInstanceUID: ds.SegmentSequence[0].TrackingUID for ds in pacs.of_modality("SEG")}
    same = [tracked[images[0].StudyInstanceUID] for images in (first, second)]
    assert same[0] == same[1] != tracked[other[0].StudyInstanceUID]
