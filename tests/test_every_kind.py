"""Images of every kind go the whole way through a node: from C-STORE's inbox to the results at the PACS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, UltrasoundMultiFrameImageStorage

from models.card import FILE
from node.app import Node
from tests import scenes
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.test_journey import copied_network
from tests.test_pictures import disc, picture
from tests.threshold_host import ThresholdHosts

LONG_AXIS = "Long axis"
WHERE = scenes.grid((1, 0, 0), (0, 1, 0), (3, 3, 6))


def reads(node: Node, *inputs: str) -> None:
    """A network whose card reads something else."""
    card = copied_network(node) / FILE
    text = card.read_text()
    blocks = "".join(f"[[input]]\n{one}\n\n" for one in inputs)
    card.write_text(re.sub(r"\[\[input\]\].*?(?=\[\[segment\]\])", lambda _: blocks, text, flags=re.DOTALL))


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_a_volume_of_any_kind_comes_back_as_a_segmentation(
    kind: str, node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.answer = lambda volume: (volume > 400).astype(np.uint8)
    reads(node, 'modality = ["CT", "MR", "PT", "NM"]')
    images = scenes.images(kind, WHERE)
    take_in(node, images)
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (seg,) = pacs.of_modality("SEG")
    assert seg.pixel_array.sum() == (WHERE.labels() == 2).sum()
    assert seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    volumes, diameters = reports(pacs)
    millilitres = (WHERE.labels() == 2).sum() * 3 * 3 * 6 / 1000
    assert f"{millilitres:.2f}" in {f"{value:.2f}" for value in _numbers(volumes)}
    assert LONG_AXIS in _names(diameters)


def reports(pacs: FakePacs) -> tuple[Dataset, Dataset]:
    """On volumes (or areas) and on diameters: only the latter draws lines."""
    volumes, diameters = sorted(pacs.of_modality("SR"), key=lambda ds: LONG_AXIS in _names(ds))
    assert LONG_AXIS not in _names(volumes)
    return volumes, diameters


def _measured(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        if item.ValueType == "NUM":
            yield item
        yield from _measured(item)


def _numbers(ds: Dataset) -> list[float]:
    return [float(item.MeasuredValueSequence[0].NumericValue) for item in _measured(ds)]


def _names(ds: Dataset) -> set[str]:
    return {str(item.ConceptNameCodeSequence[0].CodeMeaning) for item in _measured(ds)}


@pytest.mark.parametrize(
    ("sop_class", "modality", "frames"),
    [(ComputedRadiographyImageStorage, "CR", 0), (UltrasoundMultiFrameImageStorage, "US", 4)],
)
def test_a_2d_image_comes_back_with_its_area(
    sop_class: str, modality: str, frames: int, node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.answer = lambda volume: (volume > 100).astype(np.uint8)
    reads(node, f'modality = ["{modality}"]\nkind = "image"')
    take_in(node, [picture(sop_class, modality, disc(frames))])
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (seg,) = pacs.of_modality("SEG")
    volumes, diameters = reports(pacs)
    assert "FrameOfReferenceUID" not in seg
    assert float((disc() > 100).sum()) in _numbers(volumes)
    assert LONG_AXIS in _names(diameters)


TWO = ('channel = "t1"\nmodality = ["MR"]\ndescription_includes = ["t1"]', 'channel = "flair"\nmodality = ["MR"]\n')


def two_series(*descriptions: str, **of_the_second: Any) -> list[Dataset]:
    both = []
    for number, description in enumerate(descriptions, 1):
        for ds in scenes.images("MR", WHERE):
            ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", f"1.2.3.{number}"
            ds.FrameOfReferenceUID, ds.SeriesDescription, ds.SeriesNumber = "1.2.3.99", description, number
            if number > 1:
                for keyword, value in of_the_second.items():
                    setattr(ds, keyword, value)
            both.append(ds)
    return both


def test_two_series_are_read_as_two_channels(node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts) -> None:
    reads(node, TWO[0], TWO[1] + 'description_includes = ["flair"]')
    take_in(node, two_series("T1", "FLAIR"))
    work_off(node)
    assert only_study(node)["state"] == "done", only_study(node)["reason"]
    (seg,) = pacs.of_modality("SEG")
    assert [item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence] == ["1.2.3.1"]


def test_a_missing_channel_is_a_refusal_that_names_it(node: Node, pacs: FakePacs) -> None:
    reads(node, TWO[0], TWO[1] + 'description_includes = ["flair"]')
    take_in(node, two_series("T1", "FLAIR", FrameOfReferenceUID="1.2.3.98"))
    work_off(node)
    study = only_study(node)
    assert study["state"] == "refused"
    assert study["reason"].startswith("channel-missing: ")
    assert "flair" in study["reason"]
    assert not pacs.calls


def test_two_phases_in_one_series_are_two_results_where_every_one_is_wanted(node: Node, pacs: FakePacs) -> None:
    copied_network(node, take=('take = "best"', 'take = "every"'))
    reads(node, 'modality = ["MR"]')
    phases = two_series("dynamic", "dynamic")
    for n, ds in enumerate(phases):
        ds.SeriesInstanceUID, ds.TemporalPositionIdentifier = "1.2.3.1", 1 + n // WHERE.shape[0]
    take_in(node, phases)
    work_off(node)
    segs = pacs.of_modality("SEG")
    sources = [{item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence} for seg in segs]
    assert len(sources) == 2
    assert not sources[0] & sources[1]
    assert only_study(node)["state"] == "done"


def test_a_multi_frame_image_that_comes_again_with_other_places_is_another_image(
    node: Node, pacs: FakePacs, threshold_hosts: ThresholdHosts
) -> None:
    threshold_hosts.answer = lambda volume: (volume > 400).astype(np.uint8)
    reads(node, 'modality = ["CT"]')
    (image,) = scenes.images("enhanced CT", WHERE)
    take_in(node, [image])
    work_off(node)
    for groups in image.PerFrameFunctionalGroupsSequence:
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 10]
    take_in(node, [image])
    work_off(node)
    first, second = pacs.of_modality("SEG")
    heights = [
        min(groups.PlanePositionSequence[0].ImagePositionPatient[2] for groups in seg.PerFrameFunctionalGroupsSequence)
        for seg in (first, second)
    ]
    assert heights[1] == pytest.approx(heights[0] + 10)
