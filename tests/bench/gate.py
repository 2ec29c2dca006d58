"""How often the gate promotes, over simulated candidates whose truth is known.

    python -P -m tests.bench.gate --gates 2000

Prints, for candidates that are no better, better, or harmful to one patient in ten, how many of them pass; and for the
bound that the guards use, how often a harm of exactly the margin would be let pass, beside Student's t alone and the
studentised bootstrap alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import stdtrit

from node.learning.gate.bounds import Draws, Values, cautious, studentised
from node.learning.gate.judge import judge
from node.learning.gate.power import patients_needed
from node.learning.gate.values import Outcome, Pair, Protocol

Noise = Callable[[np.random.Generator, int], Values]
"""draws the differences of so many patients"""

SD = 0.1
CHAMPION = 0.75
ONE = Protocol(primary_classes=(1,))
TWO = Protocol(primary_classes=(1, 2))


def normal(random: np.random.Generator, patients: int) -> Values:
    return random.normal(0, SD, patients)


def heavy(random: np.random.Generator, patients: int) -> Values:
    """t with 3 degrees of freedom, whose standard deviation is the square root of 3."""
    return random.standard_t(3, patients) * SD / 3**0.5


def skewed(random: np.random.Generator, patients: int) -> Values:
    """Many small gains, few great losses."""
    return 0.1 - random.exponential(0.1, patients)


def uneven(random: np.random.Generator, patients: int) -> Values:
    """Each patient has a spread of its own."""
    return random.normal(0, SD, patients) * random.uniform(0.1, 2, patients)


def one_in_ten(random: np.random.Generator, patients: int) -> Values:
    """One patient in ten loses 0.27, nine gain 0.03: nothing in the mean."""
    return np.where(random.random(patients) < 0.1, -0.27, 0.03)


NOISES: Mapping[str, Noise] = {"normal": normal, "heavy-tailed": heavy, "skewed": skewed, "uneven": uneven}
HARMS: Mapping[str, Noise] = {
    "1 in 10": one_in_ten,
    "1 in 10, noisy": lambda random, patients: one_in_ten(random, patients) + random.normal(0, 0.01, patients),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is simulated.

    Attributes:
        noise: of the differences.
        gain: that is added to each patient's difference.
        look: at the same patients.
        guarded: with two classes, subgroups and the protocol's guards; else nothing but the primary endpoint stands
            in the way of a promotion, which is the worst case.
    """

    patients: int
    noise: Noise
    gain: float = 0.0
    look: int = 1
    guarded: bool = False
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of simulated gates: how many came to what, and how many verdicts say what they cannot see."""

    gates: int
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    says_blind_spot: int = 0

    @property
    def promoted(self) -> float:
        return self.outcomes.get(Outcome.PASS, 0) / self.gates


def simulate(scene: Scene, gates: int) -> Counted:
    """Judge so many candidates, each by another draw of the patients."""
    random = np.random.default_rng(scene.seed)
    # a failure, a subgroup or a class must not help where the endpoint alone is to be measured
    protocol = TWO if scene.guarded else replace(ONE, failure_dice=-1.0)
    outcomes = dict.fromkeys(Outcome, 0)
    says = 0
    for _ in range(gates):
        differences = scene.noise(random, scene.patients) + scene.gain
        pairs = guarded(random, differences) if scene.guarded else bare(differences)
        verdict = judge(protocol, pairs, look=scene.look)
        outcomes[verdict.outcome] += 1
        says += f"with {scene.patients} patients a harm striking fewer than 1 in " in verdict.blind_spot
    return Counted(gates=gates, outcomes=outcomes, says_blind_spot=says)


def bare(differences: Values, champion: float = CHAMPION) -> list[Pair]:
    """Patients with one class and no subgroup."""
    return [
        Pair(patient=f"{number:03}", champion={1: champion}, candidate={1: champion + float(difference)})
        for number, difference in enumerate(differences)
    ]


def guarded(random: np.random.Generator, differences: Values) -> list[Pair]:
    """Patients with two classes, two scanners, two sexes and seconds."""
    pairs = []
    for number, difference in enumerate(differences):
        level = random.normal(CHAMPION, 0.05)
        # what one class gains beside the patient's mean, the other loses
        apart, between = random.normal(0, 0.05), random.normal(0, SD / 3)
        pairs.append(
            Pair(
                patient=f"{number:03}",
                champion={1: level + apart, 2: level - apart},
                candidate={1: level + apart + difference + between, 2: level - apart + difference - between},
                groups={"scanner": "A" if random.random() < 0.7 else "B", "sex": "F" if number % 2 else "M"},
                champion_seconds=10.0,
                candidate_seconds=float(random.uniform(9.5, 10.5)),
            )
        )
    return pairs


def let_pass(noise: Noise, patients: int, samples: int, alpha: float = 0.05) -> tuple[float, float, float]:
    """How often the lower bound of a true mean of 0 lies above 0: Student's t, studentised bootstrap, the lower one."""
    random = np.random.default_rng(2)
    draws = Draws(bootstraps=4000, permutations=1, seed=0)
    above = np.zeros(3)
    for _ in range(samples):
        values = noise(random, patients)
        error = values.std(ddof=1) / patients**0.5
        student = values.mean() - stdtrit(patients - 1, 1 - alpha) * error
        above += [student > 0, studentised(values, alpha, draws) > 0, cautious(values, alpha, draws) > 0]
    of_t, of_bootstrap, of_both = (above / samples).tolist()
    return of_t, of_bootstrap, of_both


def scenes() -> dict[str, Scene]:
    """Everything that is printed, by name."""
    found = {}
    for name, noise in {**NOISES, **HARMS}.items():
        for patients in (12, 15, 30):
            found[f"{name}, no difference, n = {patients}"] = Scene(patients=patients, noise=noise)
    for name, noise in NOISES.items():
        found[f"{name}, no difference, n = 30, second look"] = Scene(patients=30, noise=noise, look=2)
        gain = float(noise(np.random.default_rng(3), 1_000_000).std())
        for look in (1, 2):
            bare_gate = Scene(patients=20, noise=noise, gain=gain, look=look)
            found[f"{name}, gain of one SD, n = 20, look {look}"] = bare_gate
            found[f"{name}, gain of one SD, n = 20, look {look}, every guard"] = replace(bare_gate, guarded=True)
    for gain in (0.04, 0.05, 0.08):
        patients = patients_needed(SD, gain, ONE)
        found[f"normal, gain of {gain}, n = {patients} for 80 %"] = Scene(patients=patients, noise=normal, gain=gain)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", type=int, default=2000)
    gates = parser.parse_args().gates
    console = Console()
    table = Table(title=f"{gates} gates each", title_justify="left")
    for column in ("what", "pass", "fail", "inconclusive"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, scene in track(scenes().items(), "gates", console=console):
        counted = simulate(scene, gates)
        table.add_row(name, *(f"{counted.outcomes[outcome] / gates:.1%}" for outcome in Outcome))
    console.print(table)
    table = Table(title="A harm of exactly the margin let pass, 5 % allowed", title_justify="left")
    for column in ("what", "t", "bootstrap", "the lower one"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, noise in {**NOISES, **HARMS}.items():
        for patients in (8, 12, 20, 30):
            rates = let_pass(noise, patients, gates)
            table.add_row(f"{name}, n = {patients}", *(f"{rate:.1%}" for rate in rates))
    console.print(table)


if __name__ == "__main__":
    main()
