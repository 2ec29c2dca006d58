"""What comes out of measuring: plain values, which every report repeats."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PixelSize(StrEnum):
    """What is known of the size of a pixel."""

    PATIENT = "patient"
    """calibrated in the patient: slices of a volume, PixelSpacing of a calibrated image, an ultrasound region"""
    DETECTOR = "detector"
    """ImagerPixelSpacing: the size at the detector plane, larger than the patient's by the magnification"""
    UNKNOWN = "unknown"
    """lengths are in pixels"""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A length that can be drawn.

    Attributes:
        length: in mm; in pixels where the size of a pixel is unknown.
        slice: index of the slice that it lies in.
        ends: two points (column, row) in the coordinates of PS3.3 C.18.6.1.1: the outer corner of the first pixel is
            (0, 0), its centre (0.5, 0.5).
    """

    length: float
    slice: int
    ends: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """Modality values inside a segment: HU, SUV, or signal. The SD is that of the population."""

    mean: float
    sd: float
    least: float
    most: float
    median: float
    percentile_10: float
    percentile_90: float


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One connected component of a segment whose card says that its components are lesions.

    Attributes:
        number: from 1, the largest first.
        voxels: of it.
        volume_ml: None on images that are no volume.
        area_mm2: on the slice where most of it is; None where the size of a pixel is unknown.
        largest_slice: that slice.
        centre: (column, row, slice) of its centre of mass, in indices.
        long_axis, short_axis: as of a segment.
    """

    number: int
    voxels: int
    volume_ml: float | None
    area_mm2: float | None
    largest_slice: int
    centre: tuple[float, float, float]
    long_axis: Line | None
    short_axis: Line | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One segment, measured.

    Attributes:
        value: its label value.
        voxels: that carry it.
        volume_ml: voxels times the volume of one; None on images that are no volume.
        largest_slice: where most of it is; the first where it is empty.
        pixels: that carry its value there.
        area_mm2: of these; None where the size of a pixel is not known.
        pixel_size: what is known of it.
        intensity: None where the segment is empty, or in colour.
        long_axis: the longest diameter in any one slice, between outer corners of pixels; None where empty.
        short_axis: the longest one perpendicular to it in the same slice.
        diameter_3d_mm: the largest distance between any two corners of its voxels; None where empty or no volume.
        surface_mm2: of its boundary, by marching cubes; None where empty or no volume.
        components: connected ones, by faces, edges or corners.
        touches: which ends of the scan it touches, such as "first slice" or "left columns"; empty for none.
        lesions: its components, where the card says so; else none.
    """

    value: int
    voxels: int
    volume_ml: float | None
    largest_slice: int
    pixels: int
    area_mm2: float | None
    pixel_size: PixelSize
    intensity: Intensity | None
    long_axis: Line | None
    short_axis: Line | None
    diameter_3d_mm: float | None
    surface_mm2: float | None
    components: int
    touches: tuple[str, ...] = ()
    lesions: tuple[Lesion, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A doubt about a result, for a person to judge.

    Attributes:
        code: stable: "volume-implausible", "touches-edge", "too-many-components", "low-confidence", "outside-training".
        segment: the label value that it is about; None for all of the result.
        sentence: what was found and what was expected, for a technologist.
    """

    code: str
    segment: int | None
    sentence: str


class Verdict(StrEnum):
    """What a comparison with a prior may say."""

    LARGER = "larger"
    SMALLER = "smaller"
    SAME = "no change beyond the resolution"
    OTHER_VERSION = "other version"
    """the prior was made by another model version and could not be made again: nothing is compared"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A segment against the prior result of the same patient.

    Attributes:
        segment: label value.
        quantity: "volume", in ml; or "long axis", in mm.
        now, prior: the two values; prior is None where it cannot be compared.
        least: the smallest difference that the slices and pixels of both allow to be called one.
        verdict: what is said of it.
        prior_study_uid: where the prior comes from.
        prior_date: its StudyDate, as in the images; may be empty.
    """

    segment: int
    quantity: str
    now: float
    prior: float | None
    least: float
    verdict: Verdict
    prior_study_uid: str
    prior_date: str
