"""Networks of several kinds, and configurations that bring code of their own."""

from __future__ import annotations

from tests.zoo.bundles import ARGMAX, SAVE, SOFTMAX, UNET, Shape, invert, shape

SCRIPTS = {
    "scripts/__init__.py": "",
    "scripts/network.py": """
import torch
from .parts import double

class Twice(torch.nn.Module):
    def __init__(self, in_channels, out_channels, aside=False):
        super().__init__()
        self.aside = aside
        self.first = double(in_channels, 6)
        self.last = torch.nn.Conv3d(6, out_channels, 1)

    def forward(self, x):
        main = self.last(self.first(x))
        return [main, main[:, :1]] if self.aside else main
""",
    "scripts/parts.py": """
import torch

def double(inside, outside):
    return torch.nn.Sequential(torch.nn.Conv3d(inside, outside, 3, padding=1), torch.nn.Tanh())
""",
    "scripts/steps.py": """
from monai.transforms import MapTransform

class Swap(MapTransform):
    def __call__(self, data):
        made = dict(data)
        for key in self.keys:
            made[key] = made[key] * 0 + (3 - made[key]) * (made[key] > 0)
        return made

class Shift(MapTransform):
    def __call__(self, data):
        return dict(data) | {key: data[key] + data["shift"][0] for key in self.keys}
""",
}


@shape
def own_scripts() -> Shape:
    made = Shape(files=dict(SCRIPTS))
    made.config["imports"] = ["$import glob", "$import scripts", "$from scripts.network import Twice"]
    made.config["network_def"] = {"_target_": "scripts.network.Twice", "in_channels": 1, "out_channels": 3}
    made.after(SOFTMAX, invert(), ARGMAX, {"_target_": "scripts.steps.Swap", "keys": "pred"}, SAVE)
    return made


@shape
def a_list_of_outputs() -> Shape:
    made = Shape(files=dict(SCRIPTS))
    made.config["network_def"] = {
        "_target_": "scripts.network.Twice",
        "in_channels": 1,
        "out_channels": 3,
        "aside": True,
    }
    made.config["inferer"] = "$lambda inputs, network: network(inputs)[0]"
    return made


@shape
def yaml_with_lists_put_together() -> Shape:
    made = Shape(config_file="configs/inference.yaml")
    steps = made.config.pop("preprocessing")["transforms"]
    made.config["load"], made.config["prepare"] = steps[:2], steps[2:]
    made.config["preprocessing"] = {"_target_": "Compose", "transforms": "$@load + @prepare"}
    return made


@shape
def an_image_size_that_is_asked_for_no_more() -> Shape:
    made = Shape(files=dict(SCRIPTS), refused="img_size")
    network = {"_target_": "scripts.network.Twice", "in_channels": 1, "out_channels": 3, "img_size": [16, 16, 16]}
    made.config["network_def"] = network
    return made


@shape
def two_dimensions_over_slices() -> Shape:
    made = Shape()
    made.config["network_def"] = UNET | {"spatial_dims": 2}
    made.config["inferer"] = {
        "_target_": "SliceInferer",
        "roi_size": [16, 16],
        "spatial_dim": 2,
    }
    return made


@shape
def seg_res_net() -> Shape:
    made = Shape()
    network = {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_filters": 4}
    made.config["network_def"] = network | {
        "blocks_down": [1, 1],
        "blocks_up": [1],
        "norm": ["GROUP", {"num_groups": 2}],
    }
    return made


@shape
def dyn_unet_with_deep_supervision() -> Shape:
    made = Shape()
    network = {"_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "filters": [4, 6, 8]}
    kernels = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    made.config["network_def"] = network | kernels | {"deep_supervision": True, "deep_supr_num": 1}
    return made


@shape
def prompts_beside_the_image() -> Shape:
    """The bundle's own list of cases says more than where the images are."""
    made = Shape(files=dict(SCRIPTS))
    made.config["input_dict"] = "${'image': '/workspace/data/case.nii.gz', 'shift': [0.25]}"
    made.config["dataset"]["data"] = "$[@input_dict]"
    made.preprocessing.append({"_target_": "scripts.steps.Shift", "keys": "image"})
    made.beside = {"shift": [0.25]}
    return made


@shape
def swin_unetr_with_an_image_size() -> Shape:
    made = Shape(needs="einops")
    network = {"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 3, "img_size": [64, 64, 64]}
    made.config["network_def"] = network | {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
    made.config["inferer"] |= {"roi_size": [64, 64, 64], "sw_batch_size": 1}
    made.stock = {"network_def": {key: value for key, value in made.config["network_def"].items() if key != "img_size"}}
    return made
