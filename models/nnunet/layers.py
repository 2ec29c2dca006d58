"""The network that plans.json names, as arguments of `network.Folds`; nothing that it names is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..card import CardError
from .network import ACTIVATIONS, NORMS

PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
#: arguments of the networks that are read here, or change nothing in one that has been trained
READ = (
    "n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage",
    "n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "stem_channels",
)  # fmt: skip
WITHOUT_EFFECT = ("dropout_op", "dropout_op_kwargs", "deep_supervision")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Of a network: the arguments of `network.Layers` and `network.Shape`, as a configuration has them."""

    layers: dict[str, Any]
    shape: dict[str, Any]


def architecture(tree: Mapping[str, Any], axes: int) -> Architecture:
    """Of a configuration in the plans, in today's words or those before 2024.

    Args:
        axes: of the patch, 2 or 3.

    Raises:
        CardError: it is another network than nnU-Net plans, or cannot be read.
    """
    try:
        if "architecture" in tree:
            its = tree["architecture"]
            return _read(str(its["network_class_name"]).rsplit(".", 1)[-1], its["arch_kwargs"], axes)
        return _read(str(tree["UNet_class_name"]), _older(tree, axes), axes)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CardError(f"plans.json: its architecture cannot be read: {type(error).__name__}: {error}") from None


def _older(tree: Mapping[str, Any], axes: int) -> dict[str, Any]:
    """What the first plans left to nnU-Net's code."""
    blocks = tree["n_conv_per_stage_encoder"]
    base, most = tree["UNet_base_num_features"], tree["unet_max_num_features"]
    return {
        "n_stages": len(blocks),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(blocks))],
        "conv_op": f"Conv{axes}d",
        "kernel_sizes": tree["conv_kernel_sizes"],
        "strides": tree["pool_op_kernel_sizes"],
        "n_conv_per_stage" if tree["UNet_class_name"] == PLAIN else "n_blocks_per_stage": blocks,
        "n_conv_per_stage_decoder": tree["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "nonlin": "LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _read(kind: str, its: Mapping[str, Any], axes: int) -> Architecture:
    if kind not in (PLAIN, RESIDUAL):
        raise CardError(f"plans.json: its network is {kind}, which is not supported; {PLAIN} and {RESIDUAL} are")
    if strange := sorted(name for name, value in its.items() if name not in (*READ, *WITHOUT_EFFECT) and value):
        raise CardError(f"plans.json: its {kind} has {', '.join(strange)}, which is not supported")
    if its["conv_op"].rsplit(".", 1)[-1] != f"Conv{axes}d":
        raise CardError(f"plans.json: its {kind} has {its['conv_op']} for patches of {axes} axes")
    stages = int(its["n_stages"])
    blocks = _each(its["n_conv_per_stage" if kind == PLAIN else "n_blocks_per_stage"], stages)
    layers = {
        "axes": axes,
        "bias": bool(its.get("conv_bias", False)),
        "norm": _named("norm", its.get("norm_op"), f"{axes}d", NORMS),
        "norm_args": dict(its.get("norm_op_kwargs") or {}),
        "activation": _named("activation", its.get("nonlin") or "none", "", ACTIVATIONS),
        "activation_args": dict(its.get("nonlin_kwargs") or {}),
    }
    shape = {
        "residual": kind == RESIDUAL,
        "features": _each(its["features_per_stage"], stages),
        "kernels": [_each(one, axes) for one in _each(its["kernel_sizes"], stages)],
        "strides": [_each(one, axes) for one in _each(its["strides"], stages)],
        "blocks": blocks,
        "decoder_blocks": _each(its["n_conv_per_stage_decoder"], stages - 1),
        "stem": its.get("stem_channels"),
    }
    return Architecture(layers=layers, shape=shape)


def _each(value: Any, count: int) -> list[Any]:
    """One for each: plans say a single number where all are the same."""
    found = [value] * count if isinstance(value, int) else list(value)
    if len(found) != count:
        raise ValueError(f"{found} should be {count}")
    return found


def _named(what: str, name: str | None, end: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """A layer's class by its last name; "" for none."""
    if name is None:
        return ""
    found = name.rsplit(".", 1)[-1].removesuffix(end)
    if found not in known:
        raise CardError(f"plans.json: its {what} is {name}, which is not supported; {', '.join(known)} are")
    return found
