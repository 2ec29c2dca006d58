"""A loss for cases in which some classes were not annotated: there, those are part of the background.

For such a case the probability of "background" is the sum of the softmax probabilities of the background and of every
class that nobody looked for: on logits, their log-sum-exp (Shi et al., "Marginal loss and exclusion loss for partially
supervised multi-organ segmentation", Medical Image Analysis 70, 2021). The wrapped loss, itself unchanged, then sees
fewer channels. So a voxel of a class that was not annotated is wrong only where it takes a class that was.
"""

from __future__ import annotations

import copy

import torch
from monai import losses

#: the exact types: what derives from them may mean something else
WRAPPED = (
    losses.DiceLoss,
    losses.DiceCELoss,
    losses.GeneralizedDiceLoss,
    losses.DiceFocalLoss,
    losses.FocalLoss,
    losses.TverskyLoss,
    torch.nn.CrossEntropyLoss,
)

Indices = tuple[int, ...]


def can_wrap(loss: object) -> bool:
    """Whether the loss is one of these and its channels exclude one another, so that they can be merged."""
    if type(loss) not in WRAPPED:
        return False
    if isinstance(loss, torch.nn.CrossEntropyLoss):
        return loss.ignore_index < 0 and loss.reduction != "sum"
    parts = [part for part in (getattr(loss, "dice", None), getattr(loss, "focal", None)) if part is not None]
    one_hot = any(bool(getattr(part, "to_onehot_y", False)) for part in (loss, *parts))
    return all(_part_can(part, one_hot) for part in parts or [loss])


def _part_can(part: object, one_hot: bool) -> bool:
    ignored = getattr(part, "ignore_index", None)
    if getattr(part, "reduction", "") == "sum" or (ignored is not None and ignored >= 0):
        return False
    if isinstance(part, losses.FocalLoss):
        # its softmax without the background channel leaves nothing to merge into
        return part.include_background if part.use_softmax else one_hot
    return part.other_act is None and bool(part.softmax or (part.sigmoid and one_hot))  # type: ignore[attr-defined]


def merge(logits: torch.Tensor, target: torch.Tensor, kept: Indices) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the channels that are not kept with the background.

    Args:
        logits: (batch, channels, ...).
        target: class indices (batch, 1, ...) or (batch, ...), or one channel per class (batch, channels, ...).
        kept: channels, in order, without 0.

    Returns:
        Logits of 1 + len(kept) channels, float32, and the target renumbered likewise.
    """
    channels = logits.shape[1]
    merged = [0, *(channel for channel in range(1, channels) if channel not in kept)]
    logits = logits.float()
    background = torch.logsumexp(logits[:, merged], 1, keepdim=True)
    fewer = torch.cat([background, logits[:, list(kept)]], 1)
    if target.ndim == logits.ndim and target.shape[1] == channels and channels > 1:
        return fewer, torch.cat([target[:, merged].sum(1, keepdim=True), target[:, list(kept)]], 1)
    renumbered = torch.zeros(channels, dtype=torch.long, device=target.device)
    for number, channel in enumerate(kept, start=1):
        renumbered[channel] = number
    index = target.long()
    is_class = (index >= 0) & (index < channels)
    moved = torch.where(is_class, renumbered[index.clamp(0, channels - 1)], index)
    return fewer, moved.to(target.dtype)


class MarginalLoss(torch.nn.Module):
    """A loss that knows, for each item of the batch, which classes are annotated.

    Args:
        loss: one that `can_wrap`.
        classes: the label values of the network; each is the index of its channel.

    Attributes:
        annotated: of the present batch, (items, values): not 0 where the item is annotated for the value. It has to be
            set before each call.
    """

    def __init__(self, loss: torch.nn.Module, classes: list[int]) -> None:
        super().__init__()
        self.loss = loss
        self.classes = tuple(classes)
        self.annotated: torch.Tensor | None = None
        self._for: dict[Indices, torch.nn.Module] = {}

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.annotated is None or len(self.annotated) != len(logits):
            raise ValueError("the batch does not say which classes are annotated in each of its items")
        if max(self.classes) >= logits.shape[1]:
            raise ValueError(f"the network has {logits.shape[1]} channels and the classes {list(self.classes)}")
        groups: dict[Indices, list[int]] = {}
        for number, row in enumerate(self.annotated.tolist()):
            groups.setdefault(tuple(value for value in self.classes if not row[value]), []).append(number)
        total: torch.Tensor | None = None
        for missing, items in groups.items():
            part = self._of_group(logits[items], target[items], missing) * (len(items) / len(logits))
            total = part if total is None else total + part
        if total is None:
            raise ValueError("the batch is empty")
        return total

    def _of_group(self, logits: torch.Tensor, target: torch.Tensor, missing: Indices) -> torch.Tensor:
        if not missing:
            return self.loss(logits, target).mean()
        kept = tuple(channel for channel in range(1, logits.shape[1]) if channel not in missing)
        if kept not in self._for:
            self._for[kept] = _for_channels(self.loss, (0, *kept), logits.shape[1])
        return self._for[kept](*merge(logits, target, kept)).mean()


def _for_channels(loss: torch.nn.Module, channels: Indices, of: int) -> torch.nn.Module:
    """A copy of the loss whose class weights are those of some channels."""
    made = copy.deepcopy(loss)
    foreground = [channel - 1 for channel in channels[1:]]
    for part in made.modules():
        for name in ("class_weight", "weight", "pos_weight", "alpha"):
            weights = getattr(part, name, None)
            if not isinstance(weights, torch.Tensor) or weights.ndim == 0:
                continue
            if len(weights) == of:
                setattr(part, name, weights[list(channels)])
            elif len(weights) == of - 1:
                setattr(part, name, weights[foreground])
    return made
