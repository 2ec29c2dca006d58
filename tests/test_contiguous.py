"""A volume is brought into the order of its axes faster than by MONAI, and nothing else about it changes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Orientationd, RandomOrder, ScaleIntensityd, Spacingd

from models.clean import winners
from models.contiguous import Contiguous, before_resampling, in_order

SHAPE = (37, 150, 70)


def image(spacing_mm: float = 1.5) -> MetaTensor:
    """(1, x, y, z) of slices that lie one behind the other in memory."""
    slices = torch.rand(SHAPE[::-1], generator=torch.Generator().manual_seed(3))
    affine = torch.diag(torch.tensor([-spacing_mm, spacing_mm, spacing_mm, 1.0], dtype=torch.float64))
    return MetaTensor(slices.permute(2, 1, 0)[None], affine=affine, meta={"filename_or_obj": "it"})


def chain(**how: Any) -> Compose:
    return Compose(
        [
            Orientationd(keys="image", axcodes="RAS", labels=None),
            Spacingd(keys="image", pixdim=(3.0, 3.0, 3.0)),
            ScaleIntensityd(keys="image"),
        ],
        **how,
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int16])
@pytest.mark.parametrize("order", [(0, 3, 2, 1), (0, 1, 2, 3), (0, 2, 1, 3)])
def test_blocks_make_the_same_copy(kind: torch.dtype, order: tuple[int, ...]) -> None:
    view = (torch.rand(2, *SHAPE) * 1000).to(kind).permute(*order)
    made = in_order(view)
    assert made.is_contiguous()
    assert made.dtype == kind
    assert torch.equal(made, view)


def test_what_follows_gets_the_same_to_the_last_bit_and_goes_back_the_same_way() -> None:
    usual, quick = chain(), chain()
    before_resampling(quick)
    assert [type(step) for step in quick.transforms] == [Orientationd, Contiguous, Spacingd, ScaleIntensityd]
    wanted, found = (one({"image": image()})["image"] for one in (usual, quick))
    assert torch.equal(found.as_tensor(), wanted.as_tensor())
    assert torch.equal(found.affine, wanted.affine)
    assert [one["class"] for one in found.applied_operations] == [one["class"] for one in wanted.applied_operations]
    back = []
    for made, by in ((wanted, usual), (found, quick)):
        inverted = Invertd(keys="pred", transform=by, orig_keys="image", nearest_interp=False)
        back.append(inverted({"pred": made.clone(), "image": made})["pred"].as_tensor())
    assert torch.equal(back[0], back[1])
    assert back[1].shape == (1, *SHAPE)


def test_an_image_that_will_not_be_resampled_is_left_as_it_is() -> None:
    (step,) = [one for one in _with(chain()).transforms if isinstance(one, Contiguous)]
    same: dict[Hashable, Any] = {"image": image(3.0)}
    assert step(same)["image"] is same["image"]
    assert step({"image": image(1.5)})["image"].is_contiguous()


def test_chains_that_do_not_resample_at_once_get_nothing() -> None:
    bounded = Compose([Spacingd(keys="image", pixdim=3.0, min_pixdim=1.0, max_pixdim=4.0)])
    for one in (chain(lazy=True), bounded, RandomOrder([Spacingd(keys="image", pixdim=3.0)])):
        before = [type(step) for step in one.transforms]
        assert [type(step) for step in _with(one).transforms] == before


def _with(transform: Compose) -> Compose:
    before_resampling(transform)
    return transform


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.uint8])
def test_winners_are_those_of_argmax(kind: torch.dtype) -> None:
    """With many equal ones, of which the first wins."""
    made = torch.randint(0, 4, (5, 9, 8, 7), generator=torch.Generator().manual_seed(0)).to(kind)
    assert np.array_equal(winners(made), made.argmax(0).numpy())
