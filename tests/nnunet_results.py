"""Results folders as nnU-Net v2 leaves them, small, with weights of chance, and images for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.nnunet.layers import architecture
from models.nnunet.network import Layers, Shape, UNet
from models.nnunet.plans import PLANS

CT = {
    "scheme": "CTNormalization",
    "properties": {"mean": 40.0, "std": 150.0, "percentile_00_5": -300.0, "percentile_99_5": 400.0},
}
ORGANS: dict[str, Any] = {"background": 0, "liver": 1, "spleen": 2, "left kidney": 3}
TUMOUR: dict[str, Any] = {"background": 0, "whole tumour": [1, 2, 3], "core": [2, 3], "enhancing": 3}


@dataclass(frozen=True, kw_only=True)
class Results:
    """What a folder is to be like."""

    configuration: str = "3d_fullres"
    patch: tuple[int, ...] = (16, 24, 24)
    spacing_mm: tuple[float, ...] = (2.0, 1.5, 1.5)
    transpose: tuple[int, ...] = (0, 1, 2)
    channels: tuple[str, ...] = ("CT",)
    masked: bool = False
    residual: bool = False
    older: bool = False
    labels: dict[str, Any] = field(default_factory=lambda: dict(ORGANS))
    regions: tuple[int, ...] = ()
    mirror_axes: tuple[int, ...] | None = (0, 1, 2)
    folds: tuple[str, ...] = ("0",)
    trainer: str = "nnUNetTrainer"
    reader: str = "SimpleITKIO"
    more: dict[str, Any] = field(default_factory=dict)
    """keys of the configuration that are to be others"""


def make(folder: Path, results: Results) -> Path:
    """Write it; the folder of the trainer's name."""
    root = folder / "Dataset042_Organs" / f"{results.trainer}__nnUNetPlans__{results.configuration}"
    root.mkdir(parents=True)
    plans = _plans(results)
    (root / PLANS).write_text(json.dumps(plans))
    dataset: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(results.channels)},
        "labels": results.labels,
        "numTraining": 10,
        "file_ending": ".nii.gz",
        "licence": "CC0",
    }
    if results.regions:
        dataset["regions_class_order"] = list(results.regions)
    (root / "dataset.json").write_text(json.dumps(dataset))
    (root / "dataset_fingerprint.json").write_text("{}")
    heads = len(results.labels) - bool(results.regions)
    for number, fold in enumerate(results.folds):
        (root / f"fold_{fold}").mkdir()
        checkpoint = {
            "network_weights": _weights(plans["configurations"][results.configuration], results, heads, number),
            "optimizer_state": {"state": {}},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.5)]]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1000,
            "init_args": {
                "plans": plans,
                "configuration": results.configuration,
                "fold": number,
                "dataset_json": dataset,
                "device": torch.device("cuda"),
            },
            "trainer_name": results.trainer,
            "inference_allowed_mirroring_axes": results.mirror_axes,
        }
        torch.save(checkpoint, root / f"fold_{fold}" / "checkpoint_final.pth")
    return root


def _plans(results: Results) -> dict[str, Any]:
    axes = len(results.patch)
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"nnUNetPlans_{results.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(results.patch),
        "median_image_size_in_voxels": [40.0, 60.0, 60.0],
        "spacing": list(results.spacing_mm),
        "normalization_schemes": [
            "CTNormalization" if name == "CT" else "ZScoreNormalization" for name in results.channels
        ],
        "use_mask_for_norm": [results.masked] * len(results.channels),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling | {"order": 3},
        "resampling_fn_seg_kwargs": resampling | {"is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling | {"order": 1},
        "batch_dice": True,
    }
    return {
        "dataset_name": "Dataset042_Organs",
        "plans_name": "nnUNetPlans",
        "transpose_forward": list(results.transpose),
        "transpose_backward": [int(one) for one in np.argsort(results.transpose)],
        "image_reader_writer": results.reader,
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(number): CT["properties"] for number in range(len(results.channels))
        },
        "configurations": {results.configuration: configuration | _network(results, axes) | results.more},
    }


def _network(results: Results, axes: int) -> dict[str, Any]:
    kernels, strides = [[3] * axes] * 3, [[1] * axes, [2] * axes, [1] * (axes - 1) + [2]]
    if results.older:
        return {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 8,
            "unet_max_num_features": 20,
            "n_conv_per_stage_encoder": [2, 2, 2],
            "n_conv_per_stage_decoder": [2, 2],
            "num_pool_per_axis": [1] * (axes - 1) + [2],
            "pool_op_kernel_sizes": strides,
            "conv_kernel_sizes": kernels,
        }
    kind = "ResidualEncoderUNet" if results.residual else "PlainConvUNet"
    arguments = {
        "n_stages": 3,
        "features_per_stage": [8, 16, 20],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels,
        "strides": strides,
        ("n_blocks_per_stage" if results.residual else "n_conv_per_stage"): [1, 2, 2],
        "n_conv_per_stage_decoder": [1, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    }


def _weights(configuration: dict[str, Any], results: Results, heads: int, seed: int) -> dict[str, torch.Tensor]:
    """Of a network under the names that nnU-Net's has, doubled as there."""
    planned = architecture(configuration, len(results.patch))
    shape = Shape(**planned.shape)
    rng = np.random.default_rng(seed)
    found: dict[str, torch.Tensor] = {}
    for name, tensor in UNet(Layers(**planned.layers), shape, len(results.channels), heads).state_dict().items():
        values = rng.standard_normal(tensor.shape)
        if "norm.weight" in name:
            values = 1 + 0.1 * values
        else:
            values *= 0.05 if name.endswith("bias") else (2 / tensor[0].numel()) ** 0.5
        if name == "decoder.last.weight":  # else one class is everywhere
            values -= values.mean(axis=1, keepdims=True)
        value = torch.from_numpy(np.asarray(values, np.float32))
        last = len(shape.features) - 2
        found[name.replace("decoder.last", f"decoder.seg_layers.{last}")] = value
        for number, part in enumerate(("conv", "norm")):
            if f".{part}." in name:
                found[name.replace(f".{part}.", f".all_modules.{number}.")] = value
    for number, features in enumerate(shape.features[-2:0:-1]):
        for part, size in (("weight", (heads, features, *[1] * len(results.patch))), ("bias", (heads,))):
            found[f"decoder.seg_layers.{number}.{part}"] = torch.zeros(size)
    return found | {f"decoder.{name}": value for name, value in found.items() if name.startswith("encoder.")}


def image(shape: tuple[int, int, int], channels: int, seed: int = 3, border: int = 4) -> list[NDArray[np.float32]]:
    """Shapes and noise in whole numbers, with zeros around them: (slices, rows, columns) for each channel."""
    rng = np.random.default_rng(seed)
    inside = tuple(slice(border // 2, size - border) for size in shape)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij"))
    made = []
    for _ in range(channels):
        waves = sum(
            rng.uniform(20, 90) * np.sin(np.tensordot(rng.uniform(-14, 14, 3), grid, 1) + rng.uniform(0, 6))
            for _ in range(8)
        )
        volume = np.zeros(shape, np.float32)
        volume[inside] = np.round(np.asarray(waves + rng.normal(30, 40, shape))[inside])
        made.append(volume)
    return made
