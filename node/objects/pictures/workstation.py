"""The equipment that made a picture (PS3.3 C.8.6.1, SC Equipment)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from ..identity import MANUFACTURER, MODEL_NAME
from ..run import Run


def put_workstation(run: Run, ds: Dataset) -> None:
    """Say of a secondary capture or a document that this node made it, as a workstation would."""
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = run.provenance.node_version
