"""Train a network by a bundle's own train.json for a given number of processor seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.utils import set_determinism

#: at the beginning the learning rate rises linearly, for this part of the time
WARM_UP = 0.05
#: of the running means of batch norm: EfficientNet's own 0.01 wants thousands of steps before they mean anything
MOMENTUM = 0.1


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        weights: the network's state after the last step: there is no choosing of a best one, which would need patients.
        parameters: of the network.
        steps: that were made.
        seconds: of the processor, spent on steps and on augmentation.
        elapsed: seconds of the clock.
        loss: mean of the last fifty steps.
    """

    weights: dict[str, torch.Tensor]
    parameters: int
    steps: int
    seconds: float
    elapsed: float
    loss: float


def train(
    bundle: Path, cases: Sequence[Mapping[str, str]], changes: Mapping[str, Any], seconds: float, seed: int
) -> Trained:
    """Train from random weights.

    The learning rate follows a cosine over the time given, so that each contender ends at rest, however few steps it
    makes. The processor's time is counted and not the clock's: waiting for others takes nothing away, though a cache
    that is shared with them does.

    Args:
        bundle: its folder; nothing is written there.
        cases: paths of each: "image" and "label".
        changes: to the configuration, by id.
        seconds: of the processor; reading the cases is not counted.
    """
    set_determinism(seed=seed)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    parser["device"] = torch.device("cpu")
    parser["training_cases"] = [dict(case) for case in cases]
    for name, value in changes.items():
        parser[name] = value
    network, loss_of, optimizer, batches = (
        parser.get_parsed_content(name) for name in ("network", "loss", "optimizer", "train#dataloader")
    )
    highest = [group["lr"] for group in optimizer.param_groups]
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = MOMENTUM
    network.train()
    losses: list[float] = []
    begun, begun_clock = time.process_time(), time.monotonic()
    while (spent := time.process_time() - begun) < seconds:
        for batch in batches:
            part = min(1, (time.process_time() - begun) / seconds)
            if part == 1 and losses:
                break
            for group, rate in zip(optimizer.param_groups, highest, strict=True):
                group["lr"] = rate * min(1, part / WARM_UP) * (1 + math.cos(math.pi * part)) / 2
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(network(batch["image"]), batch["label"])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
            optimizer.step()
            losses.append(loss.item())
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    parameters = sum(one.numel() for one in network.parameters())
    last = losses[-50:]
    return Trained(
        weights, parameters, len(losses), spent, time.monotonic() - begun_clock, sum(last) / max(1, len(last))
    )
