"""Who made a result is said the same wherever it is said (IHE AIR Rev 1.3, 6.5.3.1 and table 6.5.3.1-1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from ...study.facts import text
from ..forms import SEG, SR
from .content import content_of
from .read import Read
from .together import Together

PROCESSING_EQUIPMENT = ("109102", "DCM")
#: content item -> which of manufacturer, name, version and Device UID it repeats
OBSERVER = {"121014": "manufacturer", "121015": "name", "121012": "device_uid"}
ALGORITHM = {"122405": "manufacturer", "111001": "name", "111003": "version"}
EQUIPMENT = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "name",
    "SoftwareVersions": "version",
    "DeviceUID": "device_uid",
}
IDENTIFICATION = {"AlgorithmSource": "manufacturer", "AlgorithmName": "name", "AlgorithmVersion": "version"}


def faults(one: Read, together: Together) -> Iterator[str]:
    """Where the network is not described as its card describes it."""
    provenance = together.run.provenance
    card = provenance.card
    maker = {
        "manufacturer": card.manufacturer,
        "name": provenance.algorithm_name,
        "version": card.version,
        "device_uid": card.device_uid,
    }
    yield from _equipment(one.ds, maker, [each.sentence for each in provenance.read])
    if one.form.kind == SEG:
        for item in one.ds.SegmentSequence:
            if item.SegmentNumber:  # number 0 is what a label map calls its background
                yield from _segment(item, maker)
    if one.form.kind == SR:
        yield from _observer(one.ds, maker)


def _equipment(ds: Dataset, maker: dict[str, str], read: Sequence[str]) -> Iterator[str]:
    processing = [
        item
        for item in ds.get("ContributingEquipmentSequence") or ()
        for code in item.get("PurposeOfReferenceCodeSequence") or ()
        if (code.get("CodeValue"), code.get("CodingSchemeDesignator")) == PROCESSING_EQUIPMENT
    ]
    if len(processing) != 1:
        yield f"the network is named {len(processing)} times as Processing Equipment, not once (AIR 6.5.3.1)"
    for item in processing:
        for keyword, name in EQUIPMENT.items():
            if text(item, keyword) != maker[name]:
                yield f"{keyword} of the Processing Equipment is not that of the network (AIR 6.5.3.1)"
        if any(sentence not in text(item, "ContributionDescription") for sentence in read):
            yield "the Processing Equipment does not name what it has read of other networks"


def _segment(item: Dataset, maker: dict[str, str]) -> Iterator[str]:
    number, algorithms = item.SegmentNumber, item.get("SegmentationAlgorithmIdentificationSequence") or ()
    if item.get("SegmentAlgorithmType") != "AUTOMATIC" or text(item, "SegmentAlgorithmName") != maker["name"]:
        yield f"segment {number} is not said to be made by the network (SegmentAlgorithmName)"
    if len(algorithms) != 1:
        yield f"segment {number} does not identify its algorithm"
    for algorithm in algorithms:
        for keyword, name in IDENTIFICATION.items():
            if text(algorithm, keyword) != maker[name]:
                yield f"{keyword} of segment {number} is not that of the network (AIR table 6.5.3.1-1)"


def _observer(ds: Dataset, maker: dict[str, str]) -> Iterator[str]:
    items = list(content_of(ds).walk())
    for named, least in ((OBSERVER, 1), (ALGORITHM, sum(item.code == "125007" for item in items))):
        for code, name in named.items():
            said = [item.text for item in items if item.code == code]
            if set(said) - {maker[name]}:
                yield f"content item {code} does not give the {name} of the network (AIR table 6.5.3.1-1)"
            if len(said) < least:
                yield f"content item {code}, the {name} of the network, is lacking (AIR table 6.5.3.1-1)"
