"""The loss of a case in which some classes were not annotated: they are part of the background there."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai import losses

from models.training.marginal import WRAPPED, MarginalLoss, can_wrap, merge

SOFT: dict[str, Any] = {"to_onehot_y": True, "softmax": True}
LOSSES: list[Any] = [
    losses.DiceLoss(**SOFT),
    losses.DiceLoss(**SOFT, include_background=False, batch=True),
    losses.DiceCELoss(**SOFT, weight=torch.tensor([0.2, 1.0, 3.0, 0.5])),
    losses.GeneralizedDiceLoss(**SOFT),
    losses.DiceFocalLoss(**SOFT),
    losses.FocalLoss(to_onehot_y=True, use_softmax=True, alpha=[0.1, 0.2, 0.3, 0.4]),
    losses.TverskyLoss(**SOFT, alpha=0.3, beta=0.7),
    torch.nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0, 0.5])),
]
NAMES = [f"{number} {type(loss).__name__}" for number, loss in enumerate(LOSSES)]


def logits(items: int = 2, channels: int = 4) -> torch.Tensor:
    return torch.randn(items, channels, 5, 4, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()


def labels(items: int = 2, channels: int = 4, without: tuple[int, ...] = ()) -> torch.Tensor:
    drawn = torch.randint(0, channels, (items, 1, 5, 4, 3), generator=torch.Generator().manual_seed(4)).float()
    for value in without:
        drawn[drawn == value] = 0
    return drawn


def target_for(loss: object, label: torch.Tensor) -> torch.Tensor:
    return label[:, 0].long() if isinstance(loss, torch.nn.CrossEntropyLoss) else label


def annotated(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([[0, *row] for row in rows], dtype=torch.uint8)


def test_every_loss_that_is_wrapped_is_tested() -> None:
    assert {type(loss) for loss in LOSSES} == set(WRAPPED)
    assert all(can_wrap(loss) for loss in LOSSES)


def test_value_and_gradient_are_those_computed_by_hand() -> None:
    """Two voxels, three classes, class 2 not annotated, cross entropy: -(log(p0 + p2) + log(p1)) / 2."""
    z = torch.tensor([[[1.0, 0.0], [0.5, 2.0], [3.0, -1.0]]], requires_grad=True)  # (1, class, voxel)
    loss = MarginalLoss(torch.nn.CrossEntropyLoss(), [1, 2])
    loss.annotated = annotated([1, 0])
    value = loss(z, torch.tensor([[0, 1]]))
    value.backward()
    p = [[math.exp(z[0, c, v].item()) for c in range(3)] for v in range(2)]
    p = [[one / sum(voxel) for one in voxel] for voxel in p]
    assert value.item() == pytest.approx(-(math.log(p[0][0] + p[0][2]) + math.log(p[1][1])) / 2, abs=1e-6)
    in_background = p[0][0] + p[0][2]
    by_hand = [
        [(p[0][0] - p[0][0] / in_background) / 2, p[1][0] / 2],
        [p[0][1] / 2, (p[1][1] - 1) / 2],
        [(p[0][2] - p[0][2] / in_background) / 2, p[1][2] / 2],
    ]
    assert z.grad is not None
    torch.testing.assert_close(z.grad[0], torch.tensor(by_hand), atol=1e-6, rtol=0)


def test_a_class_that_was_not_annotated_is_not_pushed_away_where_it_is() -> None:
    """The network finds class 2 where the label, which lacks it, says background: the plain loss unlearns it."""
    for wrap, pushed in ((False, True), (True, False)):
        z = torch.tensor([[[0.0], [0.0], [2.0]]], requires_grad=True)
        loss: Any = torch.nn.CrossEntropyLoss()
        if wrap:
            loss = MarginalLoss(loss, [1, 2])
            loss.annotated = annotated([1, 0])
        loss(z, torch.tensor([[0]])).backward()
        assert z.grad is not None
        assert (z.grad[0, 2].item() > 0) is pushed  # a step goes against the gradient


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_with_all_classes_it_is_the_loss_itself(loss: Any) -> None:
    wrapped = MarginalLoss(loss, [1, 2, 3])
    wrapped.annotated = annotated([1, 1, 1], [1, 1, 1])
    z, target = logits(), target_for(loss, labels())
    torch.testing.assert_close(wrapped(z, target), loss(z, target).mean())


@pytest.mark.parametrize("loss", LOSSES, ids=NAMES)
def test_it_is_the_loss_of_the_summed_probabilities(loss: Any) -> None:
    """Classes 1 and 3 missing: the same loss, made for two classes, of (p0 + p1 + p3, p2)."""
    wrapped = MarginalLoss(loss, [1, 2, 3])
    wrapped.annotated = annotated([0, 1, 0], [0, 1, 0])
    label = labels(without=(1, 3))
    z = logits()
    got = wrapped(z, target_for(loss, label))
    probability = torch.softmax(z, 1)
    summed = torch.stack([probability[:, [0, 1, 3]].sum(1), probability[:, 2]], 1)
    if isinstance(loss, losses.DiceFocalLoss):  # its focal part has sigmoids: the logit is what counts, not the softmax
        fewer = torch.stack([torch.logsumexp(z[:, [0, 1, 3]], 1), z[:, 2]], 1)
    else:
        fewer = torch.log(summed)
    for_two = {
        2: losses.DiceCELoss(**SOFT, weight=torch.tensor([0.2, 3.0])),
        5: losses.FocalLoss(to_onehot_y=True, use_softmax=True, alpha=[0.1, 0.3]),
        7: torch.nn.CrossEntropyLoss(weight=torch.tensor([0.2, 3.0])),
    }.get(next(number for number, one in enumerate(LOSSES) if one is loss), loss)
    want = for_two(fewer, target_for(loss, (label == 2).float()))
    torch.testing.assert_close(got, want.mean(), atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(got, z)
    (wanted,) = torch.autograd.grad(want.mean(), z)
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)


def test_each_item_of_a_batch_has_its_own_classes() -> None:
    loss = losses.DiceCELoss(**SOFT)
    wrapped = MarginalLoss(loss, [1, 2, 3])
    z, label = logits(3), labels(3)
    label[1][label[1] == 3] = 0
    wrapped.annotated = annotated([1, 1, 1], [1, 1, 0], [1, 1, 1])
    got = wrapped(z, label)
    merged, target = merge(z[[1]], label[[1]], (1, 2))
    want = loss(z[[0, 2]], label[[0, 2]]) * 2 / 3 + loss(merged, target) / 3
    torch.testing.assert_close(got, want)


def test_a_one_hot_label_is_merged_too() -> None:
    label = labels(without=(3,))
    one_hot = torch.cat([(label == value).float() for value in range(4)], 1)
    fewer, target = merge(logits(), one_hot, (1, 2))
    assert fewer.shape[1] == target.shape[1] == 3
    torch.testing.assert_close(target.argmax(1, keepdim=True).float(), label)


def test_values_that_are_no_class_stay_what_they_are() -> None:
    _, target = merge(logits(1), torch.full((1, 1, 5, 4, 3), 255.0), (1,))
    assert target.unique().tolist() == [255]


class Derived(losses.DiceLoss):  # type: ignore[misc]
    pass


@pytest.mark.parametrize(
    "loss",
    [
        Derived(**SOFT),
        losses.DiceLoss(sigmoid=True),  # channels that may overlap
        losses.DiceLoss(to_onehot_y=True, other_act=torch.tanh),
        losses.DiceLoss(**SOFT, reduction="sum"),
        losses.DiceLoss(**SOFT, ignore_index=2),
        losses.FocalLoss(to_onehot_y=True, use_softmax=True, include_background=False),
        losses.FocalLoss(),
        torch.nn.CrossEntropyLoss(ignore_index=1),
        torch.nn.MSELoss(),
    ],
)
def test_what_cannot_be_merged_is_not_wrapped(loss: Any) -> None:
    assert not can_wrap(loss)


def test_a_batch_that_does_not_say_is_an_error() -> None:
    wrapped = MarginalLoss(losses.DiceLoss(**SOFT), [1, 2, 3])
    with pytest.raises(ValueError, match="does not say"):
        wrapped(logits(), labels())
    wrapped.annotated = annotated([1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="3 channels"):
        wrapped(logits(channels=3), labels(channels=3))
