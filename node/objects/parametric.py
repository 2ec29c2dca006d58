"""How unsure the network was of every voxel, as a Parametric Map on the grid of the images (PS3.3 A.75).

Stored are whole numbers, compressed without loss: most of a map is 0. A Real World Value Mapping (PS3.3 C.7.6.16.2.11)
says what they mean. No palette: a viewer has its own colours for maps that lie over images.
"""

from __future__ import annotations

import copy
import hashlib

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage

from ..errors import Refused
from . import references
from .begun import as_file
from .characters import UTF8
from .codes import coded
from .forms import ENTROPY, PM, Form
from .identity import PM_SERIES_NUMBER
from .reports.codes import ENTROPY_OF_VOXEL, NO_UNITS, scheme_identified
from .run import Run

#: of one stored step; 0 is sure, LARGEST is guessing
SLOPE = 0.0001
LARGEST = 10000
LABEL = "AI_ENTROPY"
#: CID 7202, CID 7203
SOURCE_OF_PROCESSING = ("121322", "DCM", "Source image for image processing operation")
CALCULATION = ("112187", "DCM", "Unspecified method of calculation")
EXPLANATION = "Normalised predictive entropy: 0 sure, 1 guessing"


def stored(entropy: NDArray[np.float16]) -> NDArray[np.uint16]:
    """The values that are written, of an entropy of 0 ... 1."""
    return np.asarray(np.rint(entropy.astype(np.float32) * LARGEST), np.uint16)


def map_sha256(values: NDArray[np.uint16]) -> str:
    """The hash of a map, shape included."""
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def can_have(run: Run) -> bool:
    """Whether a run can have a map: several passes of a network, over images with a place in the patient."""
    return run.entropy is not None and run.volume.geometry.in_patient


def parametric_map(run: Run, *, marked: bool = False) -> bytes:
    """Write the map.

    Args:
        marked: the series description asks for a person's look.

    Returns:
        A Part 10 file.

    Raises:
        Refused: `no-map`: the network was asked once, or its images lie nowhere in the patient.
    """
    if run.entropy is None or not can_have(run):
        raise Refused("no-map", "there is no map of uncertainty: the network was asked once, or its images lie nowhere")
    provenance, form = run.provenance, Form.of(PM, ENTROPY, marked=marked)
    uid = provenance.result_uid(*form)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=LABEL,
        lut_explanation=EXPLANATION,
        unit=coded(NO_UNITS),
        value_range=(0, LARGEST),
        slope=SLOPE,
        intercept=0.0,
        quantity_definition=coded(ENTROPY_OF_VOXEL),
    )
    ds = hd.pm.ParametricMap(
        [_single(source) for source in run.sources],
        run.entropy,
        series_instance_uid=provenance.series_uid(uid),
        series_number=PM_SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(window_center=LARGEST / 2, window_width=LARGEST)],
        transfer_syntax_uid=form.transfer_syntax,
        content_label=LABEL,
        content_description=EXPLANATION,
        contributing_equipment=provenance.processing_equipment(),
        specific_character_set=UTF8,
        series_description=provenance.described("uncertainty", marked=marked),
        **provenance.general_equipment(),
    )
    _finish(ds, run)
    return as_file(ds)


def _single(source: Dataset) -> Dataset:
    """The header of a slice as that of an image of its own: highdicom takes patient, study and plane from it, and
    knows multi-frame images by their class alone."""
    one = copy.copy(source)
    if "Enhanced" in UID(source.SOPClassUID).name or "NumberOfFrames" in source:
        one.SOPClassUID = SecondaryCaptureImageStorage
        one.pop("NumberOfFrames", None)
    return one


def _finish(ds: Dataset, run: Run) -> None:
    """What highdicom cannot know: times, dimensions' UID, whose codes ours are, and which images it was made from."""
    provenance = run.provenance
    provenance.stamp(ds, run.sources[0])
    provenance.stamp_dimensions(ds)
    ds.CodingSchemeIdentificationSequence = [scheme_identified()]
    ds.ReferencedSeriesSequence = [references.series(run)]
    if "Laterality" not in ds:
        ds.Laterality = run.sources[0].get("Laterality", "")  # type 2C (PS3.3 C.7.3.1)
    places = np.array([source.ImagePositionPatient for source in run.sources], float)
    for frame in ds.PerFrameFunctionalGroupsSequence:  # in highdicom's order, along the normal of the planes
        at = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        frame.DerivationImageSequence = [_derived(run, int(np.linalg.norm(places - at, axis=1).argmin()))]


def _derived(run: Run, k: int) -> Dataset:
    """From which image a frame was made; of a multi-frame image, from which frame (PS3.3 C.7.6.16.2.6)."""
    image = references.image(run.sources[k], [run.volume.frames[k]])
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [coded(SOURCE_OF_PROCESSING)]
    return references.item(SourceImageSequence=[image], DerivationCodeSequence=[coded(CALCULATION)])
