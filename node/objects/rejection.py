"""A rejection note: a Key Object Selection that names results which are not to be used (IHE RAD TF-3 4.66, IOCM)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import highdicom as hd
from pydicom import dcmread
from pydicom.dataset import Dataset

from .characters import UTF8
from .identity import MANUFACTURER, MODEL_NAME, REJECTION_SERIES_NUMBER, stamp_times
from .uids import derive

KIND = "KOS"


class Title(Enum):
    """Why: the document titles of CID 7010 that IOCM uses."""

    REPLACED = ("113001", "Rejected for Quality Reasons")
    WITHDRAWN = ("113037", "Rejected for Patient Safety Reasons")

    @property
    def code(self) -> str:
        return str(self.value[0])


@dataclass(frozen=True)
class Rejected:
    """A result that is not to be used; one without a file of its own names the patient as another one of its study."""

    file: Path
    sop_class: str = ""
    sop_uid: str = ""
    series_uid: str = ""

    def header(self) -> Dataset:
        ds = dcmread(self.file, stop_before_pixels=True)
        if self.sop_uid:
            ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = self.sop_class, self.sop_uid, self.series_uid
        return ds


def note(
    rejected: Sequence[Path | Rejected],
    title: Title,
    destination: str,
    *,
    node_version: str,
    node_serial: str,
    uid_root: str,
    content_time: float,
) -> Dataset:
    """Write it.

    Args:
        rejected: the results of one study that the destination holds; or their files.
        title: why they are rejected.
        destination: that it goes to: each one is told what it holds.
        content_time: seconds since 1970.
    """
    objects = [(one if isinstance(one, Rejected) else Rejected(one)).header() for one in rejected]
    sop_uid = derive(uid_root, "rejection", title.code, destination, *(str(ds.SOPInstanceUID) for ds in objects))
    meaning = title.value[1]
    observer = hd.sr.ObserverContext(
        hd.sr.CodedConcept("121007", "DCM", "Device"),
        hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derive("", "node", node_serial),
            name="Planimeter",
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
            serial_number=node_serial,
        ),
    )
    content = hd.ko.KeyObjectSelection(
        document_title=hd.sr.CodedConcept(title.code, "DCM", meaning),
        referenced_objects=objects,
        observer_device_context=observer,
        description=SAID[title],
    )
    ds = hd.ko.KeyObjectSelectionDocument(
        evidence=objects,
        content=content,
        series_instance_uid=derive(uid_root, "series", sop_uid),
        series_number=REJECTION_SERIES_NUMBER,
        sop_instance_uid=sop_uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=node_version,
        device_serial_number=node_serial,
        series_description=f"AI results: {meaning}",
        specific_character_set=UTF8,
    )
    for keyword in ("IssuerOfPatientID", "TypeOfPatientID"):
        if keyword in objects[0]:
            ds[keyword] = objects[0][keyword]
    stamp_times(ds, objects[0], content_time)
    # highdicom lists itself as processing equipment, which AIR 6.5.3.1 keeps for algorithms
    if "ContributingEquipmentSequence" in ds:
        del ds.ContributingEquipmentSequence
    return ds


SAID = {
    Title.REPLACED: "Results of a neural network that newer results have replaced. Do not use them.",
    Title.WITHDRAWN: "Results of a neural network that were withdrawn. Do not use them.",
}
