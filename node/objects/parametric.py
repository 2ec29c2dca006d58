"""How unsure the network was of every voxel, as a Parametric Map on the grid of the images (PS3.3 A.75).

Stored are whole numbers, compressed without loss: most of a map is 0. A Real World Value Mapping (PS3.3 C.7.6.16.2.11)
says what they mean. No palette: a viewer has its own colours for maps that lie over images.
"""

from __future__ import annotations

import hashlib

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

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
        run.sources,
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


def _finish(ds: Dataset, run: Run) -> None:
    """What highdicom cannot know: times, dimensions' UID, whose codes ours are, and which images it was made from."""
    provenance = run.provenance
    provenance.stamp(ds, run.sources[0])
    provenance.stamp_dimensions(ds)
    ds.CodingSchemeIdentificationSequence = [scheme_identified()]
    ds.ReferencedSeriesSequence = [references.series(run)]
    ds.ContentQualification = "RESEARCH"
