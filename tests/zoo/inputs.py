"""What bundles read and how they prepare it."""

from __future__ import annotations

from typing import Any

from tests.zoo.bundles import ARGMAX, SAVE, SOFTMAX, UNET, Shape, invert, shape, transforms


@shape
def plain() -> Shape:
    return Shape()


def crop(**more: Any) -> dict[str, Any]:
    made = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "$lambda x: x > 0.05"}
    return made | {"margin": 1} | more


@shape
def cropped_to_the_foreground() -> Shape:
    made = Shape()
    made.preprocessing.insert(5, crop())
    return made


@shape
def cropped_and_padded_to_a_multiple() -> Shape:
    made = Shape()
    made.preprocessing.insert(5, crop(k_divisible=8, allow_smaller=True))
    made.preprocessing.append({"_target_": "SpatialPadd", "keys": "image", "spatial_size": [24, 24, 24]})
    return made


@shape
def cropped_before_it_is_resampled() -> Shape:
    made = Shape()
    scaled = made.preprocessing.pop(4)
    made.preprocessing[2:2] = [scaled, crop()]
    return made


@shape
def resampled_before_it_is_turned() -> Shape:
    made = Shape()
    made.preprocessing[2:4] = made.preprocessing[3:1:-1]
    return made


@shape
def resampled_by_splines() -> Shape:
    made = Shape()
    made.preprocessing[3] |= {"mode": 3, "padding_mode": "nearest"}
    return made


@shape
def resized() -> Shape:
    made = Shape()
    made.preprocessing[3] = {"_target_": "Resized", "keys": "image", "spatial_size": [24, 20, 16]}
    return made


def four_mr_series() -> Shape:
    made = Shape(channels=("t1c", "t1", "t2", "flair"), keys={"image": (0, 1, 2, 3)})
    made.config["network_def"] = UNET | {"in_channels": 4, "out_channels": 3}
    made.config["preprocessing"] = transforms(
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
    )
    return made


@shape
def four_series_in_one_image() -> Shape:
    return four_mr_series()


def three_keys() -> Shape:
    keys = ["artery", "vein", "late"]
    made = Shape(channels=("artery", "vein", "late"), keys={"artery": (0,), "vein": (1,), "late": (2,)})
    made.config["network_def"] = UNET | {"in_channels": 3}
    made.config["preprocessing"] = transforms(
        {"_target_": "LoadImaged", "keys": keys},
        {"_target_": "EnsureChannelFirstd", "keys": keys},
        {"_target_": "Orientationd", "keys": keys, "axcodes": "LPS", "labels": None},
        {"_target_": "Spacingd", "keys": keys, "pixdim": [2, 2, 2], "mode": ["bilinear"] * 3},
        {"_target_": "ConcatItemsd", "keys": keys, "name": "image"},
        {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
    )
    return made


@shape
def several_keys_that_become_one_image() -> Shape:
    made = three_keys()
    made.after(SOFTMAX, invert(orig_keys="artery"), ARGMAX, SAVE)
    return made


@shape
def several_keys_and_an_inversion_that_does_nothing() -> Shape:
    """What became of several keys has no inverse: from disk the label map is left on the network's grid."""
    made = three_keys()
    made.stock = {"postprocessing#transforms#1#orig_keys": "artery"}
    return made


def with_a_label(missing: bool) -> Shape:
    made = Shape(keys={"image": (0,)} if missing else {"image": (0,), "label": ()})
    for step in made.preprocessing[:4]:
        step["keys"] = ["image", "label"]
        step |= {"allow_missing_keys": True} if missing else {}
    made.preprocessing[3]["mode"] = ["bilinear", "nearest"]
    return made


@shape
def a_label_among_the_inputs() -> Shape:
    return with_a_label(missing=False)


@shape
def a_label_that_may_be_missing() -> Shape:
    return with_a_label(missing=True)


@shape
def keys_by_reference() -> Shape:
    made = Shape(channels=("ct",), keys={"scan": (0,)})
    made.config["image_key"] = "scan"
    for step in made.preprocessing:
        step["keys"] = "@image_key"
    made.config["evaluator"]["prepare_batch"] = (
        "$lambda batch, device, non_blocking, **_: (batch[@image_key].to(device), None)"
    )
    made.after(SOFTMAX, invert(orig_keys="@image_key"), ARGMAX, SAVE)
    return made


@shape
def cached_data() -> Shape:
    made = Shape()
    made.config["dataset"] |= {"_target_": "CacheDataset", "cache_rate": 1.0, "num_workers": 0}
    made.config["dataloader"] |= {"_target_": "ThreadDataLoader", "persistent_workers": True, "prefetch_factor": 2}
    made.stock = {"dataloader#persistent_workers": False, "dataloader#prefetch_factor": None}
    return made


@shape
def a_reader_in_an_expression() -> Shape:
    made = Shape(refused="makes LoadImaged in an expression")
    made.config["first"] = "$monai.transforms.LoadImaged(keys='image')"
    made.preprocessing[0] = "@first"
    return made


@shape
def no_reader() -> Shape:
    made = Shape(refused="reads no image")
    del made.preprocessing[0]
    return made


@shape
def channels_that_the_bundle_does_not_read() -> Shape:
    made = three_keys()
    made.channels = ("arterial", "venous", "late")
    made.refused = "the bundle reads artery, vein, late"
    return made


def picture(colour: bool) -> Shape:
    inputs = {"image": {"type": "image", "num_channels": 1, "spatial_shape": [32, 32]}}
    made = Shape(flat=True, colour=colour, metadata={"network_data_format": {"inputs": inputs}})
    made.config["network_def"] = UNET | {"spatial_dims": 2, "in_channels": 3 if colour else 1}
    made.config["preprocessing"] = transforms(
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32]},
        {"_target_": "ScaleIntensityd", "keys": "image"},
    )
    made.config["inferer"] = {"_target_": "SimpleInferer"}
    made.after(SOFTMAX, invert(), ARGMAX, SAVE | {"output_ext": ".png", "output_dtype": "$torch.uint8"})
    return made


@shape
def grey_pictures() -> Shape:
    return picture(colour=False)


@shape
def colour_pictures() -> Shape:
    return picture(colour=True)
