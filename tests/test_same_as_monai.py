"""Where two classes are all but equal, the label map is still the one that MONAI's own steps give, voxel for voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    CropForegroundd,
    Invertd,
    Orientationd,
    Spacingd,
    SpatialCropd,
    SpatialPadd,
    SpatialResampled,
)
from numpy.typing import NDArray

from models import card, membership
from models.ending import Ending
from models.network import Network
from models.restore import bit_map, label_map
from tests.test_zoo_survey import stock
from tests.zoo.bundles import AFFINE, Shape, write

pytestmark = pytest.mark.filterwarnings("ignore:.*")  # what MONAI says of its own arguments

CLASSES = 4
#: (x, y, z)
SIZE = (23, 20, 17)


def placed(how: str = "") -> NDArray[np.float64]:
    """From the source's index to millimetres, right, anterior, superior."""
    made = np.diag([-1.5, -1.25, 3.0, 1.0])
    made[:3, 3] = [31.7, 15.3, -40.1]
    if how == "oblique":
        c, s = np.cos(0.3), np.sin(0.3)
        made[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ made[:3, :3]
    elif how == "gantry tilt":
        made[1, 2] = 0.9
    elif how == "coronal":
        made[:3, :3] = [[-1.5, 0, 0], [0, 0, -3.0], [0, 1.25, 0]]
    return made


def spaced(mm: tuple[float, ...] = (3.0, 2.5, 1.5), dtype: Any = torch.float32, **more: Any) -> Spacingd:
    return Spacingd(keys="image", pixdim=mm, mode="bilinear", dtype=dtype, **more)


def turned(codes: str = "RAS") -> Orientationd:
    return Orientationd(keys="image", axcodes=codes, labels=(("L", "R"), ("P", "A"), ("I", "S")))


def cropped() -> CropForegroundd:
    return CropForegroundd(keys="image", source_key="image", select_fn=lambda x: x > 0.4, margin=1, allow_smaller=True)


def padded(size: tuple[int, ...] = (16, 16, 40)) -> SpatialPadd:
    return SpatialPadd(keys="image", spatial_size=size)


def cut(start: int) -> SpatialCropd:
    return SpatialCropd(keys="image", roi_start=(start, 1, 0), roi_end=(start + 9, 12, 30))


def onto_another_room() -> list[Any]:
    """A grid that is turned by half a radian."""
    c, s = 2 * np.cos(0.5), 2 * np.sin(0.5)
    affine = np.array([[c, -s, 0, -5.0], [s, c, 0, -9.0], [0, 0, 2.5, -38.0], [0, 0, 0, 1]])

    def there(data: dict[str, Any]) -> dict[str, Any]:
        return data | {"there": affine}

    return [there, SpatialResampled(keys="image", mode="bilinear", dst_keys="there", dtype=torch.float32)]


WAYS: dict[str, tuple[list[Any], str]] = {
    "turned, then resampled": ([turned(), spaced()], ""),
    "resampled, then turned": ([spaced(), turned("PIR")], ""),
    "in double precision": ([turned(), spaced(dtype=torch.float64)], ""),
    "to spacings that nothing divides": ([turned(), spaced((2.1, 1.7, 2.3))], ""),
    "finer than the source": ([turned(), spaced((0.7, 0.9, 1.1))], ""),
    "with aligned corners": ([turned(), spaced(align_corners=True)], ""),
    "coronal": ([turned("LPS"), spaced()], "coronal"),
    "oblique": ([turned(), spaced()], "oblique"),
    "with a tilted gantry": ([turned(), spaced((2.0, 2.0, 2.0))], "gantry tilt"),
    "cropped and padded": ([turned(), spaced(), cropped(), padded()], ""),
    "padded and cropped": ([turned(), spaced(), padded((18, 18, 44)), cut(2)], ""),
    "cropped twice, turned last": ([spaced(), turned("SAR"), cut(1), cropped()], ""),
    "not resampled": ([turned("ILP"), cropped()], ""),
    "to its own spacing": ([turned(), spaced((1.5002, 1.25, 3.0))], ""),
    "to another room": (onto_another_room(), ""),
    "to another room, and turned there": ([*onto_another_room(), turned("LAI"), cropped()], ""),
}


def read(steps: list[Any], where: str) -> dict[str, Any]:
    """The image after a bundle's preprocessing, and logits for it in which pairs of classes change places."""
    random = np.random.default_rng(3)
    volume = random.random((1, *SIZE)).astype(np.float32)
    volume[:, :4], volume[..., :3] = 0, 0
    meta = {"filename_or_obj": "volume"}
    image = MetaTensor(torch.from_numpy(volume), affine=torch.as_tensor(placed(where)), meta=meta)
    output: dict[str, Any] = Compose(steps)({"image": image})
    space = output["image"].shape[1:]
    base = torch.tensor([1.0, 2.0, -1.0, 0.5]).reshape(-1, 1, 1, 1).expand(-1, *space)
    swaps = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [0, 1, 3, 2], [2, 1, 0, 3], [0, 3, 2, 1]])
    chosen = swaps[torch.from_numpy(random.integers(0, len(swaps), space))].movedim(-1, 0)
    output["pred"] = MetaTensor(base.gather(0, chosen), meta=dict(output["image"].meta))
    return output


def ways_end(steps: list[Any], **how: Any) -> Compose:
    last = AsDiscreted(keys="pred", argmax=True) if "softmax" in how else AsDiscreted(keys="pred", threshold=0.5)
    inverse = Invertd(keys="pred", transform=Compose(steps), orig_keys="image", nearest_interp=False, to_tensor=True)
    return Compose([Activationsd(keys="pred", **how), inverse, last])


def both(steps: list[Any], where: str, masks: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The label map that MONAI's steps give, and ours."""
    how = {"sigmoid": True} if masks else {"softmax": True}
    theirs = np.asarray(ways_end(steps, **how)(read(steps, where))["pred"]).transpose(0, 3, 2, 1).astype(np.uint8)
    ending = Ending(ways_end(steps, **how), masks=masks)
    found = ending.probabilities(read(steps, where))
    assert found is not None
    shape = (SIZE[2], SIZE[1], SIZE[0])
    ours = np.full(shape, 99, np.uint8)
    if masks:
        bit_map(found[0], 0.5, found[1], shape, placed(where), ours)
        return membership.packed(theirs), ours
    label_map(*found, shape, placed(where), ours)
    return theirs[0], ours


@pytest.mark.parametrize("way", sorted(WAYS))
def test_classes_that_change_places_from_voxel_to_voxel_are_told_apart_as_monai_does(way: str) -> None:
    theirs, ours = both(*WAYS[way])
    assert len(np.unique(theirs)) > 1
    assert np.array_equal(ours, theirs), f"{(ours != theirs).sum()} of {ours.size} voxels differ"


@pytest.mark.parametrize("way", sorted(WAYS))
def test_masks_that_only_just_reach_the_threshold_do_so_where_monai_says(way: str) -> None:
    theirs, ours = both(*WAYS[way], masks=CLASSES)
    assert len(np.unique(theirs)) > 2
    assert np.array_equal(ours, theirs), f"{(ours != theirs).sum()} of {ours.size} voxels differ"


def test_a_bundle_whose_classes_tie_in_every_other_voxel_gives_what_it_gives_from_disk(tmp_path: Path) -> None:
    """Every second voxel of the source lies halfway between two of the network's; 1 and 2 change places there."""
    shape = Shape()
    shape.config["network_def"] = {
        "_target_": "torch.nn.Conv3d",
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": 1,
    }
    shape.preprocessing[3] |= {"pixdim": [3.0, 2.5, 6.0], "dtype": "$torch.float32"}
    ways = {"weight": torch.tensor([0.0, 4.0, -4.0]).reshape(3, 1, 1, 1, 1), "bias": torch.tensor([1.0, -2.0, 2.0])}
    shape.wrap = lambda state: dict(state) | ways
    root = tmp_path / "bundle"
    network = write(shape, root)
    random = np.random.default_rng(5)
    coarse = random.choice([-1000.0, -300.0, 400.0], (14, 13, 11)).astype(np.float32)
    volume = np.ascontiguousarray(coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:27, :25, :21])
    wanted = stock(shape, root, network, [volume])[0]
    out = np.full(volume.shape, 99, np.uint8)
    Network(card.read(root)).segment([volume], AFFINE, out)
    assert set(np.unique(wanted)) == {0, 1, 2}
    assert np.array_equal(out, wanted), f"{(out != wanted).sum()} of {wanted.size} voxels differ"
