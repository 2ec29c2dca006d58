"""The patients of `make learn`: their PET, and their expert contours as the corrections that a viewer would send."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from models.card import Card, Input
from node.learning import outlined
from node.study import volume
from node.study.decode import Decoders
from tests import returned

PET = Input(modality=("PT",), values="suv_bw", derived=True)
MASS = "GTV_Mass"  # and more, as in GTV_Mass_PET


@dataclass(frozen=True)
class Patient:
    """One patient of the collection.

    Attributes:
        name: the PatientID.
        images: the files of the PET.
        contours: the RT Structure Set that an expert drew.
    """

    name: str
    images: tuple[Path, ...]
    contours: Path

    @property
    def study_uid(self) -> str:
        return str(dcmread(self.images[0], stop_before_pixels=True).StudyInstanceUID)


def find(data: Path) -> list[Patient]:
    """All of them, by name.

    Args:
        data: the unpacked imaging data.
    """
    found = []
    for folder in sorted((data / "pet_series").glob("STS_*")):
        images = tuple(sorted((folder / "PET" / "image").glob("*.dcm")))
        (contours,) = sorted((folder / "PET" / "mask").glob("*.dcm"))
        found.append(Patient(str(dcmread(images[0], stop_before_pixels=True).PatientID), images, contours))
    return found


def segmentation(patient: Patient, card: Card, decoders: Decoders) -> Dataset:
    """The expert's contours as a viewer sends them that knows only segmentations: made by hand, with codes."""
    built = volume.build(patient.images, decoders, PET)
    try:
        read = outlined.read(patient.contours, built)
        (mass,) = (one for one in read.structures if one.name.startswith(MASS))
        mask = mass.mask.astype(np.uint8)
        order = [str(header.SOPInstanceUID) for header in built.headers]
    finally:
        built.close()
    sources = {str(ds.SOPInstanceUID): ds for ds in (dcmread(file) for file in patient.images)}
    segment = card.segment[0]
    described = [(1, "Mass", Code(*segment.type), None)]
    return returned.segmentation([sources[uid] for uid in order], mask, described, category=Code(*segment.category))


def follow_up(patient: Patient, folder: Path) -> list[Path]:
    """The same images as a new study of the patient: nobody has seen its UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = (generate_uid(entropy_srcs=[patient.name, what]) for what in ("study", "series", "frame"))
    files = []
    for n, file in enumerate(patient.images):
        ds = copy.deepcopy(dcmread(file))
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[patient.name, str(n)])
        files.append(folder / f"{n:04d}.dcm")
        ds.save_as(files[-1])
    return files
