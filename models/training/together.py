"""The processes that train one network together: one, or as many as torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

#: one process reads and caches its cases while another may be done long before
LONGEST_WAIT = timedelta(hours=6)


@dataclass(frozen=True)
class Together:
    """This process among those that train together.

    Attributes:
        rank: 0 is the one that writes.
    """

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Together:
        """Meet the others, where torchrun's variables say that there are any."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        chosen = torch.device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        if world > 1:
            distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
        return cls(rank, world, chosen)

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def wrapped(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network, its gradients (of those that are wanted when this is called) shared with the others."""
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=True)

    def most(self, number: int) -> int:
        """The largest of everyone's number."""
        if self.world == 1:
            return number
        told = torch.tensor(number, device=self.device)
        distributed.all_reduce(told, op=distributed.ReduceOp.MAX)
        return int(told)

    def mean(self, value: float) -> float:
        if self.world == 1:
            return value
        told = torch.tensor(value, device=self.device, dtype=torch.float32)
        distributed.all_reduce(told)
        return float(told) / self.world

    def gathered(self, items: list[Any]) -> list[Any]:
        """Everyone's items, in the order of the ranks."""
        if self.world == 1:
            return items
        everyones: list[list[Any]] = [[] for _ in range(self.world)]
        distributed.all_gather_object(everyones, items)
        return [item for one in everyones for item in one]

    def share(self, items: list[Any]) -> list[Any]:
        """This process's part; never empty, since the bundle's metrics meet too: then one comes twice."""
        return items[self.rank :: self.world] or items[:1]

    def leave(self) -> None:
        if self.world > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
