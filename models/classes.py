"""From what a classifier's bundle gives to the probability of each finding, or to the reason why it is none.

A bundle often ends in the class alone (AsDiscreted): it is read before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Activationsd, AsDiscreted, Compose
from numpy.typing import NDArray

from .card import Card, CardError
from .found import SCORE_DIGITS, Found, Probability
from .result import Unusable

PRED = "pred"
#: rounding in half precision
TOLERANCE = 2e-3


class Classes:
    """How the probabilities of a built bundle are read.

    Args:
        card: whose result is a finding.
        post: the bundle's postprocessing, or None; it is emptied, and what matters of it is done here.

    Raises:
        CardError: the bundle turns its output into probabilities in another way than the card says.
    """

    def __init__(self, card: Card, post: Any) -> None:
        assert card.classes is not None
        self._rules, self._card = card.classes, card
        steps: list[Any] = list(post.flatten().transforms) if isinstance(post, Compose) else []
        if isinstance(post, Compose):
            post.transforms = []
        ends = [number for number, step in enumerate(steps) if isinstance(step, AsDiscreted) and PRED in step.keys]
        self._steps = steps[: ends[0]] if ends else steps
        done = [
            how for step in self._steps if isinstance(step, Activationsd) and PRED in step.keys for how in _how(step)
        ]
        if any(how != self._rules.activation for how in done) or len(done) > 1:
            raise CardError(
                f"the bundle's postprocessing does {' and '.join(done)}; the card's [classes] says "
                f"activation = {self._rules.activation!r}"
            )
        self._activated = bool(done) or self._rules.activation == "none"

    def found(self, output: Mapping[str, Any], ras: Any = None, shape: Any = None) -> Found:  # noqa: ARG002 - as Detections has it
        """The probabilities of one run.

        Args:
            output: of the bundle's evaluator, for one item; where it lies, as with a detector, is of no importance.

        Raises:
            Unusable: it is not a number for each output channel, or these are no probabilities.
        """
        item = dict(output)
        for step in self._steps:
            item = step(item)
        given = self._probabilities(item.get(PRED))
        made = (Probability(value=one.value, probability=_rounded(given[one.value])) for one in self._card.finding)
        return Found(probabilities=tuple(made))

    def _probabilities(self, pred: Any) -> NDArray[np.float64]:
        """(outputs,)."""
        wanted, activation = self._rules.outputs, self._rules.activation
        if not isinstance(pred, torch.Tensor):
            raise Unusable("output-no-probability", f"the bundle's output is no tensor, but a {type(pred).__name__}")
        given = pred.detach().cpu().double()
        if given.numel() != wanted or max(given.shape, default=1) != wanted:
            shape = " x ".join(map(str, given.shape))
            raise Unusable("output-other-channels", f"the network's output is {shape}; the card has {wanted} outputs")
        given = given.reshape(wanted)
        if not bool(torch.isfinite(given).all()):
            raise Unusable("output-not-finite", "the network's output is not a number")
        if activation == "softmax" and not self._activated:
            if _is_distribution(given):
                raise Unusable(
                    "output-no-probability",
                    "the network gives probabilities already, and softmax would spoil them: the card needs "
                    'activation = "none"',
                )
            given = given.softmax(0)
        elif activation == "sigmoid" and not self._activated:
            given = given.sigmoid()
        if not bool(((given >= -TOLERANCE) & (given <= 1 + TOLERANCE)).all()):
            raise Unusable("output-no-probability", "the network's output is not from 0 to 1")
        if activation == "softmax" and not _is_distribution(given):
            raise Unusable("output-no-probability", "the probabilities of the network do not sum up to 1")
        return np.asarray(given.clamp(0, 1))


def _how(step: Any) -> list[str]:
    """What a step does to the output where it is an Activationsd."""
    if not isinstance(step, Activationsd) or PRED not in step.keys:
        return []
    number = step.keys.index(PRED)
    done = [name for name in ("sigmoid", "softmax") if getattr(step, name)[number]]
    return [*done, "a function of its own"] if step.other[number] is not None else done


def _is_distribution(given: torch.Tensor) -> bool:
    return bool((given >= -TOLERANCE).all()) and abs(float(given.sum()) - 1) < TOLERANCE * len(given)


def _rounded(probability: float) -> float:
    return round(float(probability), SCORE_DIGITS) + 0.0


def highest(found: list[Found]) -> Found:
    """Of several images: of each finding the highest probability, and the image that has it."""
    columns = zip(*(one.probabilities for one in found), strict=True)
    best = [max(enumerate(column), key=lambda pair: pair[1].probability) for column in columns]
    made = (Probability(value=one.value, probability=one.probability, slice=n) for n, one in best)
    return Found(probabilities=tuple(made))
