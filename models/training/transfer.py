"""The weights a run starts from: all of them, or every layer whose shape fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import weights
from ..card import CardError
from .run import Untrainable


@dataclass(frozen=True)
class Taken:
    """Names of parameters and buffers of the network.

    Attributes:
        taken: those that came from the start weights.
        not_fitting: those that stay random: not there, or of another shape.
    """

    taken: tuple[str, ...]
    not_fitting: tuple[str, ...]


def read(file: Path, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a file of weights, by the network's names for them, whatever they are wrapped in.

    Raises:
        Untrainable: it is none.
    """
    try:
        return weights.read(file, torch.device("cpu"), network.state_dict().keys())
    except CardError as error:
        raise Untrainable(str(error)) from None


def start(network: torch.nn.Module, given: dict[str, torch.Tensor], *, transfer: bool) -> Taken:
    """Put the weights into the network.

    Raises:
        Untrainable: without `transfer`, one does not fit; with it, none that is trained does.
    """
    own = network.state_dict()
    taken = tuple(name for name, value in own.items() if name in given and given[name].shape == value.shape)
    not_fitting = tuple(name for name in own if name not in taken)
    if not transfer:
        strange = sorted({*not_fitting, *(given.keys() - own.keys())})
        if strange:
            raise Untrainable(f"the start weights do not fit the network of train.json: {', '.join(strange[:5])} ...")
    if not set(taken) & {name for name, _ in network.named_parameters()}:
        raise Untrainable("no layer of the start weights fits the network: there is nothing to transfer")
    network.load_state_dict({name: given[name] for name in taken}, strict=False)
    return Taken(taken, not_fitting)


def hold(network: torch.nn.Module, names: Collection[str], held: bool) -> None:
    """Keep parameters as they are, or let them go; the running means of their normalisations too."""
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad_(not held)
    for name, module in network.named_modules():
        if getattr(module, "running_mean", None) is not None and f"{name}.running_mean" in names:
            of_own = module.__dict__.setdefault("_own_momentum", module.momentum)
            module.momentum = 0.0 if held else of_own
