"""How an object of a run begins, and how it becomes a file.

Reports are begun by highdicom, which knows their IODs (`reports.document`).
"""

from __future__ import annotations

from io import BytesIO

import highdicom as hd
from pydicom.dataset import Dataset, FileMetaDataset

from .characters import UTF8
from .forms import Form
from .headers import PATIENT_AND_STUDY
from .run import Run

FRAME_OF_REFERENCE = ("FrameOfReferenceUID", "PositionReferenceIndicator")


def begun(
    run: Run,
    form: Form,
    sop_class: str,
    modality: str,
    series_number: int,
    description: str,
    *,
    series_of: Form | None = None,
    instance_number: int = 1,
) -> Dataset:
    """The modules that every object has: patient, study, series, equipment, SOP common (PS3.3 C.7.1 to C.7.5, C.12.1).

    This node made the object; the scanner and the network contributed (IHE AIR 6.5.3.1).

    Args:
        form: of the new object; its UIDs and its transfer syntax follow from it.
        description: of the series.
        series_of: the form whose series it belongs to; its own, where there is none.
    """
    source, provenance = run.sources[0], run.provenance
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = form.transfer_syntax
    ds.SpecificCharacterSet = UTF8
    for keyword in PATIENT_AND_STUDY:
        if keyword in source:
            ds[keyword] = source[keyword]
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, provenance.result_uid(*form)
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = modality, series_number, description
    ds.SeriesInstanceUID = provenance.series_uid(provenance.result_uid(*(series_of or form)))
    ds.InstanceNumber = instance_number
    general = provenance.general_equipment()
    ds.Manufacturer, ds.ManufacturerModelName = general["manufacturer"], general["manufacturer_model_name"]
    ds.SoftwareVersions, ds.DeviceSerialNumber = general["software_versions"], general["device_serial_number"]
    ds.ContentQualification = "RESEARCH"
    ds.ContributingEquipmentSequence = provenance.processing_equipment()
    if source.get("Manufacturer"):
        ds.ContributingEquipmentSequence.insert(0, hd.ContributingEquipment.for_image_acquisition(source))
    provenance.stamp(ds, source)
    return ds


def put_frame_of_reference(run: Run, ds: Dataset) -> None:
    """Put an object where its images lie (PS3.3 C.7.4.1)."""
    for keyword in FRAME_OF_REFERENCE:
        ds[keyword] = run.sources[0][keyword]


def as_file(ds: Dataset) -> bytes:
    """A finished object as the bytes of a Part 10 file."""
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
