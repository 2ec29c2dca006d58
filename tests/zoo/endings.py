"""What bundles do after the network."""

from __future__ import annotations

from typing import Any

from tests.zoo.bundles import ARGMAX, SAVE, SIGMOID, SOFTMAX, THRESHOLD, UNET, Shape, invert, shape
from tests.zoo.inputs import crop, four_mr_series


@shape
def argmax_before_inversion_with_nearest() -> Shape:
    made = Shape()
    made.after(SOFTMAX, ARGMAX, invert(nearest=True), SAVE)
    return made


@shape
def argmax_before_a_linear_inversion() -> Shape:
    """Gives values between the labels from disk; the truth is the same with the nearest neighbour."""
    made = Shape()
    largest = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}
    made.after(ARGMAX, largest, invert(nearest=False), SAVE)
    made.stock = {"postprocessing#transforms#2#nearest_interp": True}
    return made


@shape
def argmax_before_a_linear_inversion_to_other_labels() -> Shape:
    """Halfway between 0 and 2 lies 1, which may be a label, and another one."""
    made = Shape(values=(2,))
    made.config["network_def"] = UNET | {"out_channels": 2}
    made.preprocessing[3]["pixdim"] = [1.5, 1.25, 6.0]
    made.after(ARGMAX, {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: 2 * x"}, invert(), SAVE)
    made.stock = {"postprocessing#transforms#2#nearest_interp": True}
    return made


@shape
def own_argmax_before_a_linear_inversion() -> Shape:
    made = Shape()
    made.after({"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x.argmax(0, keepdim=True)"}, invert(), SAVE)
    made.stock = {"postprocessing#transforms#1#nearest_interp": True}
    return made


@shape
def largest_component_after_argmax() -> Shape:
    made = Shape()
    largest = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1, 2]}
    made.after(SOFTMAX, invert(), ARGMAX, largest, SAVE)
    return made


@shape
def inversion_before_softmax() -> Shape:
    made = Shape()
    made.after(invert(), SOFTMAX, ARGMAX, SAVE)
    return made


@shape
def four_series_and_composed_labels() -> Shape:
    """Sigmoid, threshold, and the overlapping masks painted one upon the other: 0, 1, 2, 4."""
    made = four_mr_series()
    made.values = (1, 2, 4)
    paint = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"
    made.after(SIGMOID, invert(), THRESHOLD, {"_target_": "Lambdad", "keys": "pred", "func": paint}, SAVE)
    return made


@shape
def composed_labels_whose_unions_are_segments() -> Shape:
    """As people speak of it: the tumour is 1, 2 and 4, its core 1 and 4."""
    made = four_series_and_composed_labels()
    made.made_of = {2: (1, 2, 4), 1: (4, 1)}
    return made


def overlapping(*steps: Any) -> Shape:
    made = four_mr_series()
    made.values, made.overlapping = (3, 1, 2), True
    made.after(*steps, SAVE)
    return made


@shape
def overlapping_masks_of_a_card_that_does_not_say_so() -> Shape:
    made = overlapping(SIGMOID, invert(), THRESHOLD)
    made.overlapping, made.refused = False, "output-overlaps"
    return made


@shape
def overlapping_masks() -> Shape:
    return overlapping(SIGMOID, invert(), THRESHOLD)


@shape
def overlapping_masks_on_a_grid_of_the_networks_own() -> Shape:
    made = overlapping(SIGMOID, invert(), THRESHOLD | {"threshold": 0.51})
    made.preprocessing[1:1] = [
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS", "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.5], "mode": "bilinear"},
    ]
    made.preprocessing.append(crop(select_fn="$lambda x: x > -1", margin=0))
    return made


@shape
def overlapping_masks_inverted_by_the_bundle() -> Shape:
    made = overlapping_masks_on_a_grid_of_the_networks_own()
    made.after(SIGMOID, THRESHOLD, invert(nearest=True), SAVE)
    return made


@shape
def largest_component_of_each_overlapping_mask() -> Shape:
    largest = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "is_onehot": True, "independent": True}
    return overlapping(SIGMOID, invert(), THRESHOLD, largest | {"applied_labels": [0, 2]})


@shape
def more_overlapping_masks_than_segments() -> Shape:
    made = overlapping(SIGMOID, invert(), THRESHOLD)
    made.values, made.refused = (1, 2), "output-other-channels"
    return made


@shape
def a_label_map_where_overlapping_masks_are_due() -> Shape:
    made = overlapping(SOFTMAX, invert(), ARGMAX)
    made.refused = "output-other-channels"
    return made


@shape
def masks_that_do_not_overlap() -> Shape:
    made = Shape()
    onehot = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}
    without_background = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x[1:]"}
    made.after(SOFTMAX, invert(), onehot, without_background, SAVE)
    return made


@shape
def a_mask_of_every_class() -> Shape:
    made = Shape()
    made.after(SOFTMAX, invert(), {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}, SAVE)
    return made


@shape
def one_sigmoid() -> Shape:
    made = Shape(values=(1,))
    made.config["network_def"] = UNET | {"out_channels": 1}
    made.after(SIGMOID, invert(), THRESHOLD, SAVE)
    return made


@shape
def other_label_values() -> Shape:
    made = Shape(values=(11, 205))
    values = {"orig_labels": [0, 1, 2], "target_labels": [0, 11, 205]}
    made.after(SOFTMAX, invert(), ARGMAX, {"_target_": "MapLabelValued", "keys": "pred"} | values, SAVE)
    return made


@shape
def label_values_that_no_byte_holds() -> Shape:
    made = other_label_values()
    made.values = (11, 300)
    made.refused = "value above 255"
    return made


@shape
def labels_that_the_card_does_not_know() -> Shape:
    return Shape(values=(1,), refused="output-unknown-label")


@shape
def softmax_and_no_labels() -> Shape:
    made = Shape(refused="output-not-integer")
    made.after(SOFTMAX, invert(), SAVE)
    return made


@shape
def put_back_by_the_writer() -> Shape:
    made = Shape()
    made.after(SOFTMAX, ARGMAX, SAVE | {"resample": True, "mode": "nearest"})
    return made


@shape
def left_on_the_networks_grid() -> Shape:
    made = Shape(refused="output-off-grid")
    made.after(SOFTMAX, ARGMAX, SAVE)
    return made


@shape
def saved_under_another_key() -> Shape:
    made = Shape()
    made.after(
        SOFTMAX,
        {"_target_": "CopyItemsd", "keys": "pred", "times": 1, "names": "labels_out"},
        invert(keys="labels_out"),
        ARGMAX | {"keys": "labels_out"},
        SAVE | {"keys": ["labels_out"]},
    )
    return made


@shape
def the_image_saved_too() -> Shape:
    made = Shape()
    made.after(SOFTMAX, invert(), ARGMAX, SAVE, {"_target_": "Invertd", "keys": "image", "transform": "@preprocessing"})
    made.config["postprocessing"]["transforms"].append(SAVE | {"keys": "image", "output_postfix": "image"})
    return made
