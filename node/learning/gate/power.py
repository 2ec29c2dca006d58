"""What a number of patients can show, and what it cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from ...errors import Refused
from .looks import alpha_of
from .values import Protocol

#: the gain in mean Dice that is worth finding
GAIN = 0.05
#: between the two networks' Dice of a patient; with it, the difference varies as much as the champion's Dice does
CORRELATION = 0.5
#: a harm that would be absent by chance this often, or more often, is one that the patients cannot show
ABSENT = 0.05


def patients_needed(
    differences_sd: float, gain: float, protocol: Protocol, power: float = 0.8, *, look: int = 1
) -> int:
    """How many test patients it takes to find a gain.

    It is the paired t test's number (Guenther, The American Statistician 35, 1981) and a few more, and no fewer than
    the protocol asks for.

    Args:
        differences_sd: standard deviation of the patients' differences in mean Dice.
        gain: true mean difference.
        power: the chance to find it.
        look: at these patients.

    Raises:
        Refused: the gain is not above 0, the deviation is below 0 or the power is not between 0 and 1.
    """
    if not (gain > 0 and differences_sd >= 0 and 0 < power < 1):
        raise Refused(
            "no-power", f"no number of patients shows a gain of {gain:g} of {differences_sd:g} with power {power:g}"
        )
    alpha = alpha_of(look, protocol.alpha)
    of_alpha, of_power = (NormalDist().inv_cdf(part) for part in (1 - alpha, power))
    by_t = ((of_alpha + of_power) * differences_sd / gain) ** 2 + of_alpha**2 / 2
    # both tests of the gate have to agree: by simulation that takes this many more
    by_both = 1.03 * by_t + 1
    # with fewer, even gains alone have a greater p
    by_signs = math.log2(1 / alpha)
    return math.ceil(max(by_both, by_signs, protocol.fewest_patients))


def from_champion(dices: Sequence[float], protocol: Protocol, *, look: int = 1) -> tuple[int, str]:
    """How many test patients 80 % power needs, before there is a candidate; and the same in words.

    Args:
        dices: the champion's mean Dice over the primary classes, one per patient.
    """
    if len(dices) < 2:
        sentence = (
            f"How many test patients are needed cannot be said from {len(dices)} of the champion's scores; "
            f"fewer than {protocol.fewest_patients} decide nothing."
        )
        return protocol.fewest_patients, sentence
    spread = stdev(dices)
    room = 1 - fmean(dices)
    # nobody gains 0.05 on a champion of 0.97: half of what is missing is a great gain there
    gain = max(min(GAIN, room / 2), 0.001)
    differences_sd = spread * math.sqrt(2 * (1 - CORRELATION))
    needed = patients_needed(differences_sd, gain, protocol, look=look)
    sentence = (
        f"To find a true gain of {gain:.3f} in mean Dice with 80 % power takes {needed} test patients: the champion's "
        f"Dice has a standard deviation of {spread:.3f} over {len(dices)} patients, and the difference between the two "
        f"networks is taken to have {differences_sd:.3f} (correlation {CORRELATION:g})."
    )
    return needed, sentence


def blind_spot(patients: int) -> str:
    """What this many patients cannot show, in words.

    A harm that strikes each patient with chance r spares all n of them with chance (1 - r) ** n; up to
    r = 1 - 0.05 ** (1 / n) that is 5 % and more. The bound is rounded towards saying more.
    """
    if patients == 0:
        return "What this cannot see: no patient was compared, so nothing is known of any harm."
    one_in = math.floor(1 / (1 - ABSENT ** (1 / patients)))
    who = f"with {patients} patient{'s' if patients > 1 else ''}"
    if one_in < 2:
        return f"What this cannot see: {who} almost any harm may be absent."
    return f"What this cannot see: {who} a harm striking fewer than 1 in {one_in} may be absent."
