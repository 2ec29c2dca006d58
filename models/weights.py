"""A bundle's weights: tensors only, whatever they are wrapped in, and every one of them has a place in the network."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .card import CardError
from .torchscript import scripted

__all__ = ["load", "load_scripted", "read", "scripted"]

#: names under which trainers put the network's tensors into a checkpoint
WRAPPINGS = ("model", "state_dict", "network", "net", "network_weights", "model_state_dict")
#: what DataParallel and torch.compile put in front of every name
PREFIXES = ("module.", "_orig_mod.")


def load_scripted(path: str, device: torch.device) -> torch.nn.Module:
    """The network of a TorchScript file.

    Raises:
        CardError: it is none that this PyTorch reads.
    """
    try:
        network: torch.nn.Module = torch.jit.load(path, map_location=device)
    except (RuntimeError, ValueError) as error:
        raise CardError(f"{path}: cannot be read as TorchScript: {_first_line(error)}") from None
    return network.eval()


def load(
    network: torch.nn.Module, file: Path, device: torch.device, names: Iterable[str] = (), strict: bool = True
) -> None:
    """Put the weights of a file into a network, and switch it to inference.

    Args:
        names: under which the bundle itself looks for them in its checkpoint.
        strict: whether the bundle takes weights that the network has no place for as an error. A tensor of the network
            that the file does not have always is one: it would keep its random numbers.

    Raises:
        CardError: they cannot be read without running code, or are those of another network.
    """
    wanted = network.state_dict()
    state = read(file, device, wanted, names)
    missing, surplus = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing:
        raise CardError(f"{file}: lacks {len(missing)} of the network's {len(wanted)} tensors, such as {missing[0]}")
    if surplus and strict:
        raise CardError(f"{file}: has {len(surplus)} tensors that the network does not have, such as {surplus[0]}")
    for name, tensor in wanted.items():
        if tensor.shape != state[name].shape:
            here, there = tuple(state[name].shape), tuple(tensor.shape)
            raise CardError(f"{file}: {name} has the shape {here}, in the network it has {there}")
    network.load_state_dict({name: state[name] for name in wanted}, strict=True)
    network.eval()


def read(
    file: Path, device: torch.device, wanted: Collection[str], names: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """The tensors of a file, by the names that the network gives them.

    Args:
        wanted: these names.
        names: as in `load`.

    Raises:
        CardError: they cannot be read without running code, or it holds none.
    """
    state = _tensors(_read(file, device), (*names, *WRAPPINGS))
    if state is None:
        raise CardError(f"{file}: holds no network's weights (a dictionary of tensors by name)")
    return _without_prefix(state, wanted)


def _read(file: Path, device: torch.device) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file, device=str(device))
        return torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CardError(
            f"{file}: holds more than tensors, and reading it would run what it holds; save the network's state_dict "
            f"alone, or as safetensors ({_first_line(error)})"
        ) from None
    except (SafetensorError, RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        raise CardError(f"{file}: cannot be read as weights: {_first_line(error)}") from None


def _tensors(found: Any, names: tuple[str, ...]) -> dict[str, torch.Tensor] | None:
    """The dictionary in which every value is a tensor, however deep it lies."""
    if not isinstance(found, dict) or not found:
        return None
    for name in names:
        if isinstance(found.get(name), dict):
            return _tensors(found[name], names)
    return found if all(isinstance(value, torch.Tensor) for value in found.values()) else None


def _without_prefix(state: dict[str, torch.Tensor], wanted: Collection[str]) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state) and not all(name.startswith(prefix) for name in wanted):
            return _without_prefix({name.removeprefix(prefix): value for name, value in state.items()}, wanted)
    return state


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0][:200]
