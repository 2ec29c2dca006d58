"""Who made an object, with what, from what: everything that the writers put into it beside the pixels.

IHE AIR (Rev 1.3) 6.5.3.1: the network is described as processing equipment with its Device UID, and the same values
stand wherever the algorithm is named. The node, which packages the result, is the General Equipment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib.metadata import version

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from models.card import Card, Segment
from models.finding_rules import Finding, Result

from .forms import PM
from .uids import derive

MANUFACTURER = "Planimeter"
MODEL_NAME = "Planimeter"
#: what writes the bytes beside ourselves
LIBRARIES = " ".join(f"{name} {version(name)}" for name in ("highdicom", "pydicom", "pillow", "reportlab"))
#: SeriesNumber of what we write: a block of its own, behind what scanners use
SEG_SERIES_NUMBER = 9001
LABEL_MAP_SERIES_NUMBER = 9002
SR_SERIES_NUMBER = 9003
DIAMETERS_SERIES_NUMBER = 9004
KEY_IMAGES_SERIES_NUMBER = 9005
PDF_SERIES_NUMBER = 9006
RTSTRUCT_SERIES_NUMBER = 9007
STL_SERIES_NUMBER = 9008
REJECTION_SERIES_NUMBER = 9009
PM_SERIES_NUMBER = 9010
FINDINGS_SERIES_NUMBER = 9011
DONE = {Result.SEGMENTS: "Segmentation", Result.BOXES: "Detection", Result.FINDING: "Classification"}


@dataclass(frozen=True)
class Predecessor:
    """A report that a new one takes the place of (PS3.3 C.17.2, Predecessor Documents Sequence).

    Attributes:
        template: "TID1411" or "TID1501": which of our reports it is.
    """

    template: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """The segmentation of another network that was read as a channel.

    Attributes:
        network, version: that made it.
    """

    channel: str
    network: str
    version: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str

    @property
    def sentence(self) -> str:
        return f"Read as {self.channel}: the segmentation {self.sop_instance_uid} of {self.network} {self.version}."


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What decides the bytes of the results of one run, and so their UIDs (promise 4).

    Attributes:
        card: of the network.
        weights_sha256, card_sha256: which network exactly.
        input_set_hash: which images exactly.
        headers_sha256: what their headers say that the results repeat (`headers.fingerprint`).
        mask_sha256: what came out.
        study_uid: that it belongs to.
        content_time: seconds since 1970, of the first attempt.
        node_version, node_serial: which node.
        uid_root: the site's, or empty.
        patient_key: of the patient, for what is tracked from study to study; empty: nothing is.
        revision: 1 for the first results of an input, one more for each that takes the place of earlier ones.
        predecessors: the reports whose place these take.
        context_sha256: of all else that the results say: revision, predecessors, flags, comparison with a prior.
        read: the results of other networks that this one has read.
        map_sha256: of the map of uncertainty (`parametric.map_sha256`), where there is one.
    """

    card: Card
    weights_sha256: str
    card_sha256: str
    input_set_hash: str
    headers_sha256: str
    mask_sha256: str
    study_uid: str
    content_time: float
    node_version: str
    node_serial: str
    uid_root: str
    patient_key: str = ""
    revision: int = 1
    predecessors: tuple[Predecessor, ...] = ()
    context_sha256: str = ""
    read: tuple[Source, ...] = ()
    map_sha256: str = ""

    @property
    def run(self) -> str:
        """What was computed, whatever it replaces: a hash of input, network, node and mask."""
        return hashlib.sha256("\n".join(self._decisive()).encode()).hexdigest()

    def _decisive(self) -> tuple[str, ...]:
        return (
            self.study_uid,
            self.input_set_hash,
            self.headers_sha256,
            self.weights_sha256,
            self.card_sha256,
            self.node_version,
            self.node_serial,
            LIBRARIES,
            self.mask_sha256,
            *(f"{one.channel} {one.sop_instance_uid}" for one in self.read),
        )

    def result_uid(self, kind: str, options: str) -> str:
        """The SOP Instance UID of one result."""
        of_map = (self.map_sha256,) if kind == PM else ()
        return derive(self.uid_root, "result", *self._decisive(), kind, options, self.context_sha256, *of_map)

    def series_uid(self, sop_uid: str) -> str:
        """Each result has a series of its own: some viewers show only one object of a SEG series."""
        return derive(self.uid_root, "series", sop_uid)

    def tracking_uid(self, segment: Segment, lesion: int = 0) -> str:
        """The same structure of the same patient by the same network, whatever its version; or one lesion of one run,
        since nobody matches lesions from study to study."""
        if lesion:
            return derive(self.uid_root, "lesion", self.run, str(segment.value), str(lesion))
        whose = f"patient {self.patient_key}" if self.patient_key else self.study_uid
        return derive(self.uid_root, "tracking", whose, self.card.name, str(segment.value))

    def finding_uid(self, finding: Finding, box: int = 0) -> str:
        """The same finding of the same patient by the same network; or one box of one run, since nobody matches boxes
        from study to study."""
        if box:
            return derive(self.uid_root, "box", self.run, str(finding.value), str(box))
        whose = f"patient {self.patient_key}" if self.patient_key else self.study_uid
        return derive(self.uid_root, "finding", whose, self.card.name, str(finding.value))

    @property
    def algorithm_name(self) -> str:
        return self.card.name

    def described(self, what: str, *, marked: bool = False) -> str:
        """A series description: at most 64 characters; title and version are cut where they are too long.

        Args:
            marked: a person should look at this result before trusting it.
        """
        head, tail = f"{'CHECK! ' if marked else ''}AI {what} ", f" rev {self.revision} [RESEARCH]"
        left = 64 - len(head) - len(tail)
        version = self.card.version[: left - 2]
        return f"{head}{self.card.title[: left - 1 - len(version)].rstrip()} {version}{tail}"

    def general_equipment(self) -> dict[str, str]:
        """Enhanced General Equipment, as highdicom's arguments."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MODEL_NAME,
            "software_versions": self.node_version,
            "device_serial_number": self.node_serial,
        }

    def processing_equipment(self) -> list[hd.ContributingEquipment]:
        """The network as Contributing Equipment; highdicom has no argument for the Device UID."""
        done = DONE[self.card.result]
        equipment = hd.ContributingEquipment(
            manufacturer=self.card.manufacturer,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=self.algorithm_name,
            software_versions=self.card.version,
            contribution_description=f"{done} by a neural network, weights sha256 {self.weights_sha256}",
        )
        equipment.DeviceUID = self.card.device_uid
        for one in self.read:
            equipment.ContributionDescription = f"{equipment.ContributionDescription} {one.sentence}"
        return [equipment]

    def stamp(self, ds: Dataset, source: Dataset) -> None:
        """Make a finished object the same in every attempt: the times of the first one, nothing drawn at random.

        Args:
            source: an image it was made from; the object's times are in its zone, as the study's are.
        """
        stamp_times(ds, source, self.content_time)
        # highdicom lists itself as processing equipment, which AIR 6.5.3.1 keeps for algorithms
        ds.ContributingEquipmentSequence = [
            item for item in ds.ContributingEquipmentSequence if item.get("ManufacturerModelName") != "highdicom"
        ]

    def stamp_dimensions(self, ds: Dataset) -> None:
        """Give the dimensions of a multi-frame object their UID."""
        organization = derive(self.uid_root, "dimensions", str(ds.SOPInstanceUID))
        for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
            item.DimensionOrganizationUID = organization


def stamp_times(ds: Dataset, source: Dataset, content_time: float) -> None:
    """Content, creation and series times of a new object.

    Args:
        source: an object of the same study: the times are in its zone.
        content_time: seconds since 1970.
    """
    offset = source.get("TimezoneOffsetFromUTC")
    if offset:
        ds.TimezoneOffsetFromUTC = offset
    moment = datetime.fromtimestamp(content_time, UTC).astimezone(_zone(offset))
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for keyword in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        setattr(ds, keyword, date)
    for keyword in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        setattr(ds, keyword, time)


def _zone(offset: str | None) -> tzinfo | None:
    """The zone that a study's own times are in, where it says so (PS3.3 C.12.1); else the node's."""
    if not offset:
        return None
    return datetime.strptime(offset, "%z").tzinfo
