"""What belongs to the left put where the right was, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def exchanged(label: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """The label with the values of each pair exchanged; with one channel per value, the channels."""
    if label.shape[0] > 1:
        return exchanged_places(label, pairs)
    out = label.clone()
    for one, other in pairs:
        out[label == one] = other
        out[label == other] = one
    return out


def exchanged_places(values: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """The tensor with the entries of each pair exchanged along its first axis."""
    out = values.clone()
    for one, other in pairs:
        out[one], out[other] = values[other], values[one]
    return out
