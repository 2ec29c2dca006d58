"""Bundles of detectors and classifiers: MONAI's RetinaNet as lung_nodule_ct_detection has it, one that finds what is
bright, and DenseNets over volumes and pictures. Small; their weights are random, or made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from models import card
from tests.mini_bundle import EVALUATOR
from tests.zoo.bundles import CHECKPOINT, HEAD, INPUT, modules_of, transforms

#: of a bundle whose detector is not its network: what lies between MONAI's engine and a detector
ENGINE = """
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents


def batch_of(batchdata, device=None, non_blocking=False, **kwargs):
    return [one["image"].to(device=device) for one in batchdata], None


class DetectionEvaluator(SupervisedEvaluator):
    def __init__(self, **arguments):
        super().__init__(prepare_batch=batch_of, **arguments)

    def _register_decollate(self):
        @self.on(IterationEvents.MODEL_COMPLETED)
        def _decollate(engine):
            output = engine.state.output
            engine.state.output = [
                {key: value[n] for key, value in output.items() if value is not None}
                for n in range(len(output["image"]))
            ]
"""
SAVER = """
import json
from pathlib import Path

from monai.handlers import ClassificationSaver


class DetectionSaver(ClassificationSaver):
    def _finalize(self, _engine):
        made = [{key: one[key].tolist() for key in ("box", "label", "label_scores")} for one in self._outputs]
        (Path(self.output_dir) / self.filename).write_text(json.dumps(made))
"""
INFERER = """
from monai.inferers import Inferer


class DetectorInferer(Inferer):
    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def __call__(self, inputs, network, *args, **kwargs):
        self.detector.network = network
        self.detector.training = network.training
        return self.detector(inputs)
"""
FEATURES = """
from collections import OrderedDict

import torch


class Features(torch.nn.Module):
    out_channels = 8

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv3d(1, 8, 3, padding=1)
        self.second = torch.nn.Conv3d(8, 8, 3, padding=1, stride=2)

    def forward(self, x):
        first = torch.tanh(self.first(x))
        return OrderedDict(a=first, b=torch.tanh(self.second(first)))
"""
#: finds what is bright: a box around each connected part, as sure as its mean value over the threshold
BRIGHT = """
import numpy as np
import torch
from monai.inferers import Inferer
from scipy import ndimage


class Bright(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return x - self.threshold


class BrightInferer(Inferer):
    def __call__(self, inputs, network, *args, **kwargs):
        return [self.boxes(network(one[None])[0, 0]) for one in inputs]

    def boxes(self, above):
        above = above.as_tensor() if hasattr(above, "as_tensor") else above
        parts, _ = ndimage.label(above.numpy() > 0)
        found = ndimage.find_objects(parts)
        boxes = [[part.start - 0.5 for part in one] + [part.stop - 0.5 for part in one] for one in found]
        scores = [float(above[one].max().clamp(0, 1)) for one in found]
        return {
            "box": torch.tensor(boxes).reshape(-1, 6),
            "label": torch.zeros(len(found), dtype=torch.long),
            "label_scores": torch.tensor(scores),
        }
"""
FINDING = """
[[finding]]
value = {value}
label = "{label}"
category = ["49755003", "SCT", "Morphologically abnormal structure"]
type = ["{code}", "SCT", "{label}"]
{more}
"""
NODULE, LESION = ("27925004", "Nodule"), ("52988006", "Lesion")
CLIP = {
    "_target_": "ClipBoxToImaged",
    "box_keys": "box",
    "label_keys": "label",
    "box_ref_image_keys": "image",
    "remove_empty": True,
}
TO_WORLD = {
    "_target_": "AffineBoxToWorldCoordinated",
    "box_keys": "box",
    "box_ref_image_keys": "image",
    "image_meta_key_postfix": "meta_dict",
    "affine_lps_to_ras": True,
}
TO_CENTRE = {"_target_": "ConvertBoxModed", "box_keys": "box", "src_mode": "xyzxyz", "dst_mode": "cccwhd"}
AWAY = {"_target_": "DeleteItemsd", "keys": ["image"]}


def finding(value: int, named: tuple[str, str] = NODULE, more: str = "") -> str:
    return FINDING.format(value=value, code=named[0], label=named[1], more=more)


def detector_config(pixdim: list[float], post: list[Any]) -> dict[str, Any]:
    """What lung_nodule_ct_detection's configuration has, but for its network: boxes go through a handler."""
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/datasets/nodules",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network": "$@network_def.to(@device)",
        "preprocessing": transforms(
            {"_target_": "LoadImaged", "keys": "image", "meta_key_postfix": "meta_dict"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": "image", "pixdim": pixdim},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -1024,
                "a_max": 1000,
                "b_min": 0,
                "b_max": 1,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ),
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': one} for one in glob.glob(@dataset_dir + '/*')]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 4,
            "collate_fn": "$monai.data.utils.no_collation",
        },
        "postprocessing": transforms(*post),
        "handlers": [
            dict(CHECKPOINT),
            {
                "_target_": "scripts.saver.DetectionSaver",
                "output_dir": "@output_dir",
                "filename": "boxes.json",
                "batch_transform": "$lambda x: [xx['image'].meta for xx in x]",
                "output_transform": "$lambda x: [@postprocessing({**xx['pred'], 'image': xx['image']}) for xx in x]",
            },
        ],
        "evaluator": {
            "_target_": "scripts.engine.DetectionEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


def retina_net(folder: Path, *, threshold: float = 0.3, post: list[Any] | None = None, more: str = "") -> Path:
    """A RetinaNet with random weights and two labels."""
    config = detector_config([2.0, 2.0, 2.5], post if post is not None else [CLIP, TO_WORLD, TO_CENTRE, AWAY])
    config |= {
        "features": {"_target_": "scripts.features.Features"},
        "network_def": {
            "_target_": "RetinaNet",
            "spatial_dims": 3,
            "num_classes": 2,
            "num_anchors": 2,
            "feature_extractor": "@features",
            "size_divisible": [4, 4, 4],
        },
        "anchors": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": [1, 2],
            "base_anchor_shapes": [[4, 5, 3], [6, 4, 4]],
        },
        "detector": {"_target_": "RetinaNetDetector", "network": "@network", "anchor_generator": "@anchors"},
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_box_selector_parameters(score_thresh=0.02,nms_thresh=0.2,detections_per_img=60)",
        ],
        "inferer": {"_target_": "scripts.inferer.DetectorInferer", "detector": "@detector"},
    }
    config["evaluator"]["_requires_"] = "@detector_ops"
    files = {"features": FEATURES, "inferer": INFERER}
    head = f'result = "boxes"\n\n[boxes]\nscore_threshold = {threshold}\n{more}'
    return _written(folder / "retina_net", config, files, head, finding(0) + finding(1, LESION))


def bright(folder: Path, *, above: float = 0.7, post: list[Any] | None = None, more: str = "", of: str = "") -> Path:
    """What is brighter than a part of -1024 ... 1000 HU."""
    config = detector_config([2.0, 2.0, 2.0], post if post is not None else [CLIP, TO_WORLD, TO_CENTRE, AWAY])
    config["network_def"] = {"_target_": "scripts.bright.Bright"}
    config["inferer"] = {"_target_": "scripts.bright.BrightInferer"}
    head = f'result = "boxes"\n\n[boxes]\nscore_threshold = 0.05\n{more}'
    weights = {"threshold": torch.tensor(above)}
    return _written(folder / "bright", config, {"bright": BRIGHT}, head, finding(0, more=of), weights)


def classifier(
    folder: Path,
    *,
    flat: bool = False,
    activation: str = "softmax",
    post: list[Any] | None = None,
    findings: str = "",
    outputs: int = 3,
    weights: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
) -> Path:
    """A DenseNet over volumes or grey pictures, which ends in the class alone, as MONAI's template does."""
    softmax = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
    discrete = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": outputs}
    densenet = {
        "_target_": "DenseNet",
        "spatial_dims": 2 if flat else 3,
        "in_channels": 1,
        "out_channels": outputs,
        "init_features": 4,
        "growth_rate": 4,
        "block_config": [2, 2],
    }
    config: dict[str, Any] = {
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "network_def": network or densenet,
        "network": "$@network_def.to(@device)",
        "preprocessing": transforms(
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ),
        "dataset": {"_target_": "Dataset", "data": [], "transform": "@preprocessing"},
        "dataloader": {"_target_": "ThreadDataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": transforms(*(post if post is not None else [softmax, discrete])),
        "handlers": [dict(CHECKPOINT)],
        "evaluator": dict(EVALUATOR),
        "run": ["$@evaluator.run()"],
    }
    head = f'result = "finding"\n\n[classes]\noutputs = {outputs}\nactivation = "{activation}"\n'
    findings = findings or finding(1, more="present_from = 0.4") + finding(2, LESION, "present_from = 0.5")
    shape = [64, 64] if flat else [64, 64, 64]
    meta = {"network_data_format": {"inputs": {"image": {"spatial_shape": shape}}}}
    return _written(folder / "classifier", config, {}, head, findings, weights, meta, flat=flat)


def _written(
    root: Path,
    config: dict[str, Any],
    scripts: dict[str, str],
    head: str,
    findings: str,
    weights: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    *,
    flat: bool = False,
) -> Path:
    """Write the bundle and its card; its folder."""
    for folder in ("models", "configs", "scripts"):
        (root / folder).mkdir(parents=True)
    scripts = {"__init__": "", "engine": ENGINE, "saver": SAVER} | scripts if scripts else {}
    for name, text in scripts.items():
        (root / "scripts" / f"{name}.py").write_text(text)
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    if metadata:
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save(weights or _random(root, config), root / "models" / "model.pt")
    text = HEAD.format(name=root.name, config="configs/inference.json", weights="models/model.pt") + head
    inputs = INPUT.format(channel="image", kind="image" if flat else "volume")
    (root / card.FILE).write_text(text + inputs + findings + "\n[files]\n")
    card.seal(root)
    return root


def _random(root: Path, config: dict[str, Any]) -> dict[str, Any]:
    torch.manual_seed(7)
    with modules_of(root):
        parts = {key: config[key] for key in ("network_def", "features") if key in config}
        network = ConfigParser(parts).get_parsed_content("network_def")
    state: dict[str, Any] = network.state_dict()
    for name, value in state.items():
        if name.endswith("cls_logits.weight"):
            value *= 30
        elif name.endswith("cls_logits.bias"):
            value[:] = -2.0
        elif name.endswith("bbox_reg.weight"):
            value *= 10
    return state
