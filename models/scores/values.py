"""How well a label map agrees with the truth, as numbers.

Where a number says nothing it is None, never NaN: a class that neither has is counted (`both_empty`) and left out of
every mean; a class that one of the two lacks has Dice, NSD, precision and recall 0 and no Hausdorff distance.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """One class of one case.

    Attributes:
        value: its label value.
        truth_ml, predicted_ml: volumes.
        dice: of the voxels (which is their F1).
        nsd: normalised surface Dice at the tolerance that the evaluation declares.
        hd95_mm: 95th percentile of the symmetric surface distances.
        accuracy, precision, recall: of the voxels.
        lesions_found, lesions_missed, lesions_false: connected components of the truth that were met or missed, and of
            the prediction that meet none; None where lesions are not counted.
        roc_auc, pr_auc: of the class's probability over the voxels; None without probabilities.
        calibration_error: expected calibration error of that probability (10 bins).
        both_empty: neither has it.
    """

    value: int
    truth_ml: float
    predicted_ml: float
    dice: float | None = None
    nsd: float | None = None
    hd95_mm: float | None = None
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    lesions_found: int | None = None
    lesions_missed: int | None = None
    lesions_false: int | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None
    calibration_error: float | None = None
    both_empty: bool = False

    @property
    def volume_error_ml(self) -> float:
        return self.predicted_ml - self.truth_ml

    @property
    def lesion_f1(self) -> float | None:
        """F1 of the lesions; None where none was to be found and none was."""
        if self.lesions_found is None or self.lesions_missed is None or self.lesions_false is None:
            return None
        total = 2 * self.lesions_found + self.lesions_missed + self.lesions_false
        return 2 * self.lesions_found / total if total else None


@dataclass(frozen=True, kw_only=True)
class CaseScores:
    """One case (one input set of one patient), by one network.

    Attributes:
        case: a name that says nothing of the person.
        patient: likewise; several cases may have the same one.
        classes: those that were annotated, in the order of the card.
        seconds: of the network with all that surrounds it.
        groups: what subgroups it belongs to: "scanner", "site", "spacing", "sex", "age" -> the group.
    """

    case: str
    patient: str
    classes: tuple[ClassScores, ...]
    seconds: float
    groups: dict[str, str] = field(default_factory=dict)

    def mean_dice(self, values: Collection[int]) -> float | None:
        """Over the classes with these label values that have one; None where none has."""
        found = [one.dice for one in self.classes if one.value in values and one.dice is not None]
        return sum(found) / len(found) if found else None
