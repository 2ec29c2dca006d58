"""A 2D network on ultrasound: gland and nodule on drawn frames, areas in mm² by the frames' calibrated regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from monai.transforms import Resize
from numpy.typing import NDArray
from torch import Tensor

from tests.cases import bundles, drawing, reading
from tests.cases.case import Brought, Case, Judged, Picture, Place, Returned
from tests.cases.drawing import TRUTH, Outline, Slice
from tests.cases.ultrasound import COLUMNS, GLAND, NODULE, ROWS, Frame, frame, images
from tests.synthetic import as_files

#: seeds of the frames that are sent; those of training begin elsewhere
SENT = {101: False, 102: True, 103: False, 104: False}
FIRST_OF_TRAINING = 1000
FRAMES, STEPS, BATCH, SEED = 200, 420, 8, 7
SHORT = (48, 100)
#: (columns, rows): the network sees every fourth pixel; pictures lie columns first
SEEN = [COLUMNS // 4, ROWS // 4]
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [12, 24, 48, 64],
    "strides": [2, 2, 2],
    "norm": "instance",
}
PREPROCESSING = (
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Resized", "keys": "image", "spatial_size": SEEN, "mode": "area"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
    {"_target_": "EnsureTyped", "keys": "image"},
)
METADATA = {
    "version": "0.1.0",
    "task": "Gland and nodule on drawn ultrasound frames",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "modality": "US", "num_channels": 1, "spatial_shape": SEEN}},
        "outputs": {
            "pred": {
                "type": "segmentation",
                "num_channels": 3,
                "channel_def": {"0": "background", "1": "gland without nodule", "2": "nodule"},
            }
        },
    },
}
CARD = """format = 1
name = "drawn_thyroid"
version = "0.1.0"
title = "Drawn thyroid (demonstration)"
manufacturer = "Planimeter's worked cases"
device_uid = "2.25.191919191919191919191919191919191901"
intended_use = "To show a 2D network on ultrasound. It has seen drawings only and is of no use on people."
licence = "Apache-2.0"
weights_licence = "Apache-2.0"
weights = "models/model.safetensors"
demonstration = true
take = "every"
smallest_component_part = 0.2

[[input]]
channel = "image"
kind = "image"
modality = ["US"]

[[segment]]
value = 1
made_of = [1, 2]
label = "Thyroid gland"
category = ["123037004", "SCT", "Anatomical Structure"]
type = ["69748006", "SCT", "Thyroid"]
colour = [90, 200, 120]
maximum_components = 1

[[segment]]
value = 2
label = "Thyroid nodule"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["27925004", "SCT", "Nodule"]
anatomic_region = ["69748006", "SCT", "Thyroid"]
colour = [240, 150, 50]
lesions = true
"""
#: label and the values of the truth that are in it, in the order of the card
SEGMENTS = (("Thyroid gland", (GLAND, NODULE)), ("Thyroid nodule", (NODULE,)))
ABOUT = """
A study of single ultrasound frames goes through a network in two dimensions, each frame by itself, and comes back as
one SEG and two SR for each frame. The frames lie nowhere in the patient, and their only scale is that of their
calibrated region; areas and axes are in millimetres all the same.

The frames are **drawn**: a gland with a darker nodule, a vessel and an airway that are dark too, speckle, linear and
curved probes.
"""
SAID = """The areas are those of the SR, in square millimetres; a pixel is as large as the region's PhysicalDeltaX and
PhysicalDeltaY say, another size in every frame. Dice is of the SEG that came back, on the pixels of the frame. The
gland includes its nodule."""
IS_NOT = """
It is no thyroid network. It has seen two hundred drawings by one program and was tried on four more of the same
program: the figures say that the node puts masks on the right pixels and measures them at the right scale, and nothing
about patients. Real nodules are isoechoic, cystic, calcified or many; real frames have callipers, annotations and
shadows. Put a network of your own in its place before looking at anybody's neck.
"""
FOUND = ((90, 255, 150), (255, 160, 50))


def frames(place: Place) -> list[Frame]:
    """Those that are sent."""
    return [frame(seed, sector=sector) for seed, sector in list(SENT.items())[: 2 if place.short else None]]


def write_images(place: Place) -> Path:
    folder = place.work / "frames"
    as_files(images(frames(place)), folder)
    return folder


def make_network(place: Place) -> Brought:
    """Train on frames of other seeds, as one process on one core does in a minute or two."""
    count, steps = SHORT if place.short else (FRAMES, STEPS)
    weights = _trained([frame(FIRST_OF_TRAINING + seed) for seed in range(count)], steps)
    root = bundles.write(
        place.work / "drawn_thyroid",
        NETWORK,
        weights,
        PREPROCESSING,
        {"_target_": "SimpleInferer"},
        (bundles.SOFTMAX, bundles.INVERT, bundles.ARGMAX),
        METADATA,
    )
    card = place.work / "drawn_thyroid.toml"
    card.write_text(CARD, encoding="utf-8")
    return Brought(root, card, described(weights, count, steps))


def described(weights: Mapping[str, Tensor], count: int, steps: int) -> str:
    """How the weights came about."""
    return (
        f"a 2D U-Net of {sum(one.numel() for one in weights.values()):,} weights, trained for {steps} steps on {count} "
        "other drawn frames; background, gland without nodule, nodule. The card makes the gland of both (`made_of`), "
        "and takes every image of a study."
    )


def _trained(drawn: list[Frame], steps: int) -> Mapping[str, Tensor]:
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    shrink, nearest = Resize(SEEN, mode="area"), Resize(SEEN, mode="nearest")
    # columns first, as the network will have them
    seen = torch.stack([torch.as_tensor(shrink(one.pixels.T[None].astype(np.float32) / 255)) for one in drawn])
    truth = torch.stack([torch.as_tensor(nearest(one.labels.T[None].astype(np.float32))) for one in drawn])
    network = UNet(**{key: value for key, value in NETWORK.items() if key != "_target_"})
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        picked = rng.choice(len(drawn), BATCH, replace=False)
        image, label = seen[picked], truth[picked]
        image = image * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.06, 0.06))
        if rng.random() < 0.5:
            image, label = image.flip(2), label.flip(2)
        optimizer.zero_grad()
        loss(network(image), label).backward()
        optimizer.step()
        schedule.step()
    return network.state_dict()


def judge(place: Place, returned: Returned) -> Judged:
    sent, truth = reading.sorted_images(returned.images), frames(place)
    reports = [(report, reading.made_from(report, sent)) for report in returned.of_modality("SR")]
    segs = {number: seg for seg in returned.of_modality("SEG") for number in reading.made_from(seg, sent)}
    rows, slices, figures = [], [], {}
    for n, (image, one) in enumerate(zip(sent, truth, strict=True)):
        found = reading.masks(segs[n], [image])[:, 0]
        numbers = reading.measured([report for report, of in reports if n in of])
        outlines = []
        for (label, values), mask, colour in zip(SEGMENTS, found, FOUND, strict=True):
            wanted, true_mm2 = np.isin(one.labels, values), one.area_mm2(*values)
            area, score = numbers[label].get("Area", 0.0), reading.dice(mask, wanted)
            figures |= {f"{label} {n} {what}": value for what, value in (("dice", score), ("mm2", area))}
            figures[f"{label} {n} pixels in mm2"] = float(mask.sum()) * one.pixel_mm**2
            off = f"{100 * (area / true_mm2 - 1):+.0f} %"
            cells = (f"{true_mm2:.1f}", f"{area:.1f}", off, f"{score:.3f}")
            rows.append((f"{n + 1}, {one.shape}", f"{one.pixel_mm:.4f}", label, *cells))
            outlines += [Outline(wanted, "truth", TRUTH), Outline(mask, f"{label}, found", colour)]
        slices.append(_slice(one, tuple(outlines), f"frame {n + 1}, {one.shape}"))
    return Judged(
        f"{len(sent)} drawn frames of {ROWS} x {COLUMNS} pixels as Ultrasound Image Storage, each with a calibrated "
        "region and no other word on its scale.",
        ("frame", "mm per pixel", "segment", "true mm²", "mm² in the report", "difference", "Dice"),
        tuple(rows),
        SAID,
        tuple(_pictures(slices)),
        figures,
    )


def _slice(one: Frame, outlines: tuple[Outline, ...], caption: str) -> Slice:
    values: NDArray[np.float32] = one.pixels.astype(np.float32)
    return Slice(values, one.pixel_mm, one.pixel_mm, caption, outlines)


def _pictures(slices: list[Slice]) -> Iterator[Picture]:
    below = "synthetic ultrasound frames: nobody's neck"
    for n in range(0, len(slices), 2):
        image = drawing.sheet("Gland and nodule on drawn frames", below, slices[n : n + 2], 2, (0.0, 255.0))
        caption = f"Frames {n + 1} and {n + 2} as they were sent, with what was found, and the truth in pink."
        yield Picture(f"frames-{n + 1}", caption, image)


CASE = Case(
    name="thyroid",
    title="A nodule on ultrasound: a 2D network, areas in mm²",
    about=ABOUT,
    is_not=IS_NOT,
    images=write_images,
    network=make_network,
    judge=judge,
    real_images=False,
)
