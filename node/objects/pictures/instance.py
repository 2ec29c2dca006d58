"""What a key image and a document have in common: patient, study, equipment, references to the images.

PS3.3 A.8.1 (Secondary Capture Image) and A.45.1 (Encapsulated PDF).
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from ..headers import PATIENT_AND_STUDY, UTF8
from ..identity import MANUFACTURER, MODEL_NAME
from ..run import Run


def begin(run: Run, sop_class: str, sop_uid: str, series_uid: str) -> Dataset:
    """An object of the run's patient and study, made by this node from the run's images.

    Args:
        series_uid: of the new object.
    """
    source, provenance = run.sources[0], run.provenance
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = UTF8
    ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID = sop_class, sop_uid, series_uid
    for keyword in PATIENT_AND_STUDY:
        if keyword in source:
            ds[keyword] = source[keyword]
    ds.Manufacturer = ds.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    ds.ManufacturerModelName = ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SoftwareVersions = ds.SecondaryCaptureDeviceSoftwareVersions = provenance.node_version
    ds.DeviceSerialNumber = provenance.node_serial
    ds.ConversionType = "WSD"
    ds.ContentQualification = "RESEARCH"
    equipment = provenance.processing_equipment()
    if source.get("Manufacturer"):
        equipment.append(hd.ContributingEquipment.for_image_acquisition(source))
    ds.ContributingEquipmentSequence = DicomSequence(equipment)
    provenance.stamp(ds, source)
    return ds


def references(run: Run, slices: Iterable[int], *, frames: bool) -> DicomSequence:
    """The images of some slices, each once.

    Args:
        frames: whether the frames that are meant are named (PS3.3 table 10-3), or the images as a whole (table 10-11).
    """
    items: dict[str, Dataset] = {}
    for k in sorted(set(slices)):
        source, frame = run.sources[k], run.volume.frames[k]
        item = items.setdefault(str(source.SOPInstanceUID), Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        if frame and frames:
            before = item.get("ReferencedFrameNumber")
            item.ReferencedFrameNumber = frame if before is None else [*_several(before), frame]
    return DicomSequence(items.values())


def _several(value: int | list[int]) -> list[int]:
    return list(value) if hasattr(value, "__iter__") else [int(value)]


def finished(ds: Dataset) -> bytes:
    """As a file (PS3.10)."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
