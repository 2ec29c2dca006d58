"""The words of the reports: coded names, units and values, each as (value, scheme, meaning)."""

from __future__ import annotations

from typing import TypeAlias

from pydicom.dataset import Dataset

from ...measurements.values import Verdict

Code: TypeAlias = tuple[str, str, str]

# ------------------------------------------------------------------ the document and its groups (TID 1500, 1410, 1411)
REPORT: Code = ("126000", "DCM", "Imaging Measurement Report")
LANGUAGE: Code = ("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH: Code = ("en-US", "RFC5646", "English (United States)")
OBSERVER_TYPE: Code = ("121005", "DCM", "Observer Type")
DEVICE: Code = ("121007", "DCM", "Device")
OBSERVER_UID: Code = ("121012", "DCM", "Device Observer UID")
OBSERVER_NAME: Code = ("121013", "DCM", "Device Observer Name")
OBSERVER_MANUFACTURER: Code = ("121014", "DCM", "Device Observer Manufacturer")
OBSERVER_MODEL_NAME: Code = ("121015", "DCM", "Device Observer Model Name")
PROCEDURE_REPORTED: Code = ("121058", "DCM", "Procedure reported")
IMAGING_MEASUREMENTS: Code = ("126010", "DCM", "Imaging Measurements")
QUALITATIVE_EVALUATIONS: Code = ("C0034375", "UMLS", "Qualitative Evaluations")
MEASUREMENT_GROUP: Code = ("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER: Code = ("112039", "DCM", "Tracking Identifier")
TRACKING_UID: Code = ("112040", "DCM", "Tracking Unique Identifier")
FINDING_CATEGORY: Code = ("276214006", "SCT", "Finding category")
FINDING: Code = ("121071", "DCM", "Finding")
FINDING_SITE: Code = ("363698007", "SCT", "Finding Site")
LATERALITY: Code = ("272741003", "SCT", "Laterality")
ALGORITHM_NAME: Code = ("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Code = ("111003", "DCM", "Algorithm Version")
ALGORITHM_MANUFACTURER: Code = ("122405", "DCM", "Algorithm Manufacturer")
ALGORITHM_FAMILY: Code = ("111000", "DCM", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE: Code = ("123110", "DCM", "Artificial Intelligence")
REFERENCED_SEGMENT: Code = ("121191", "DCM", "Referenced Segment")
REFERENCED_FRAME: Code = ("121214", "DCM", "Referenced Segmentation Frame")
SOURCE_IMAGE: Code = ("121233", "DCM", "Source image for segmentation")
SOURCE_SERIES: Code = ("121232", "DCM", "Source series for segmentation")
SOURCE: Code = ("260753009", "SCT", "Source")
COMMENT: Code = ("121106", "DCM", "Comment")

# --------------------------------------------------------------- what was imaged, where the source does not say by code
PROCEDURES: dict[str, Code] = {
    "CT": ("25045-6", "LN", "CT unspecified body region"),
    "MR": ("25056-3", "LN", "MR unspecified body region"),
}
ANY_PROCEDURE: Code = ("363679005", "SCT", "Imaging")

# ------------------------------------------------------------------------------------------- quantities (CID 7469) ...
VOLUME: Code = ("118565006", "SCT", "Volume")
AREA: Code = ("42798000", "SCT", "Area")
LONG_AXIS: Code = ("103339001", "SCT", "Long axis")
SHORT_AXIS: Code = ("103340004", "SCT", "Short axis")
DIAMETER_3D: Code = ("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
WIDTH: Code = ("103355008", "SCT", "Width")
HEIGHT: Code = ("121207", "DCM", "Height")
DEPTH: Code = ("131197000", "SCT", "Depth")
CERTAINTY: Code = ("111012", "DCM", "Certainty of Finding")
PROBABILITY: Code = ("122157", "DCM", "Probability")
SURFACE: Code = ("C0JK", "IBSI", "Surface Area of Mesh")
NUMBER_OF_LESIONS: Code = ("246206008", "SCT", "Number of lesions")
ATTENUATION: Code = ("112031", "DCM", "Attenuation Coefficient")
SUV_BODY_WEIGHT: Code = ("126401", "DCM", "SUVbw")
MR_SIGNAL: Code = ("110852", "DCM", "MR signal intensity")

# ------------------------------------------------------------------------------- ... how they were got (CID 7464, 7474)
MEASUREMENT_METHOD: Code = ("370129005", "SCT", "Measurement Method")
SUM_OF_VOXELS: Code = ("126030", "DCM", "Sum of segmented voxel volumes")
DERIVATION: Code = ("121401", "DCM", "Derivation")
MEAN: Code = ("373098007", "SCT", "Mean")
STANDARD_DEVIATION: Code = ("386136009", "SCT", "Standard Deviation")
MINIMUM: Code = ("255605001", "SCT", "Minimum")
MAXIMUM: Code = ("56851009", "SCT", "Maximum")
MEDIAN: Code = ("373099004", "SCT", "Median")
TENTH_PERCENTILE: Code = ("371890005", "SCT", "Tenth percentile")
NINETIETH_PERCENTILE: Code = ("371887004", "SCT", "Ninetieth percentile")

# ---------------------------------------------------------------------------------------------- ... and in which units
MILLILITRE: Code = ("ml", "UCUM", "milliliter")
MILLIMETRE: Code = ("mm", "UCUM", "millimeter")
SQUARE_MILLIMETRE: Code = ("mm2", "UCUM", "square millimeter")
PIXELS: Code = ("{pixels}", "UCUM", "pixels")
COUNT: Code = ("{count}", "UCUM", "count")
HOUNSFIELD: Code = ("[hnsf'U]", "UCUM", "Hounsfield unit")
GRAM_PER_MILLILITRE: Code = ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight")
PERCENT: Code = ("%", "UCUM", "Percent")
NO_UNITS: Code = ("1", "UCUM", "no units")

# ---------------------------------------------------------------------------------------------------- what we say of it
#: for what no scheme that a reader may know has a code
SCHEME = "99PLANIMETER"
NUMBER_OF_COMPONENTS: Code = ("PARTS", SCHEME, "Number of connected components")
DETECTOR_PLANE: Code = ("DETECTOR", SCHEME, "At the detector plane, magnification not corrected")

#: of a voxel: Shannon's, of the mean of several passes of a network
ENTROPY_OF_VOXEL: Code = ("ENTROPY", SCHEME, "Normalised predictive entropy of the network")

QUALITY: Code = ("111050", "DCM", "Quality Assessment")
#: a doubt by the code of its flag. CID 42 has "Value out of range", but of values that could not be measured
DOUBTS: dict[str, Code] = {
    "volume-implausible": ("VOLUME", SCHEME, "Volume outside of the plausible range"),
    "touches-edge": ("EDGE", SCHEME, "Segment touches the edge of the scan"),
    "too-many-components": ("COMPONENTS", SCHEME, "More connected components than expected"),
    "low-confidence": ("CONFIDENCE", SCHEME, "Low confidence of the network"),
    "uncertain-score": ("SCORE", SCHEME, "Score of the network is between its thresholds"),
    "too-many-boxes": ("BOXES", SCHEME, "More boxes than are reported"),
    "outside-training": ("TRAINING", SCHEME, "Input outside of the training range"),
}
ANY_DOUBT: Code = ("DOUBT", SCHEME, "Doubt about the result")

#: of a finding (CID 240)
PRESENT: Code = ("52101004", "SCT", "Present")
ABSENT: Code = ("272519000", "SCT", "Absent")

COMPARISON: Code = ("111424", "DCM", "Comparison to previous studies")
VERDICTS: dict[Verdict, Code] = {
    Verdict.LARGER: ("15454001", "SCT", "Increase in size"),
    Verdict.SMALLER: ("19776001", "SCT", "Decrease in size"),
    Verdict.SAME: ("260388006", "SCT", "No change"),
    Verdict.OTHER_VERSION: ("OTHERVERSION", SCHEME, "Not compared, the prior is of another version"),
}


def scheme_identified() -> Dataset:
    """Whose codes those of the private scheme are (Coding Scheme Identification Sequence, PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeUID = "2.25.102353334392872716406316643307012616343"
    item.CodingSchemeName = "Codes of the Planimeter node"
    item.CodingSchemeResponsibleOrganization = "Planimeter"
    return item
