"""What somebody outlined, on the grid of the images: the same whether it came as SEG or as RTSTRUCT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Code = tuple[str, str, str]
"""code value, coding scheme designator, code meaning"""


@dataclass(frozen=True, kw_only=True)
class Structure:
    """One structure.

    Attributes:
        number: SegmentNumber or ROINumber.
        name: SegmentLabel or ROIName.
        category, type, laterality, anatomic_region: as coded there; None where they are not.
        colour: red, green, blue, 0 ... 255; of a CIELab value, the nearest.
        algorithm: SegmentAlgorithmType or ROIGenerationAlgorithm: "MANUAL", "SEMIAUTOMATIC", "AUTOMATIC" or "".
        tracking_uid: of SEG; "" where there is none.
        mask: (slices, rows, columns), in the order of the slices of the volume.
    """

    number: int
    name: str
    mask: NDArray[np.bool_]
    category: Code | None = None
    type: Code | None = None
    laterality: Code | None = None
    anatomic_region: Code | None = None
    colour: tuple[int, int, int] | None = None
    algorithm: str = ""
    tracking_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """A SEG or an RTSTRUCT, read onto the grid of a volume.

    Attributes:
        kind: "SEG" or "RTSTRUCT".
        sop_uid: of the object.
        structures: all that it declares, also those without a voxel.
        author: ContentCreatorName, OperatorsName or ReviewerName, whichever is there.
        tool: Manufacturer, ManufacturerModelName and SoftwareVersions.
        made: date and time of its content, YYYYMMDDHHMMSS or less.
        notes: what was done to place it, for a person: "resampled", "fractions from 0.5 on count".
    """

    kind: str
    sop_uid: str
    structures: tuple[Structure, ...]
    author: str
    tool: str
    made: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Which images an object is about, read from its header alone.

    Attributes:
        kind: "SEG" or "RTSTRUCT".
        study_uid, patient_id, issuer: of the object itself.
        frames_of_reference: UIDs; empty for objects on flat images.
        series: UIDs of the series that it names.
        images: SOP Instance UIDs of the images that it names.
    """

    kind: str
    sop_uid: str
    study_uid: str
    patient_id: str
    issuer: str
    frames_of_reference: frozenset[str]
    series: frozenset[str]
    images: frozenset[str]
