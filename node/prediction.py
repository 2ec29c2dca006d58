"""Read what a network wants, hand it to its warm host, and say in the node's words what may go wrong with that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import client
from models.card import Bundle
from models.client import Answer
from models.wire import SharedArray

from .attempt import Stages
from .errors import Failed, Refused, Unavailable
from .hosts import OUT_OF_MEMORY, ask
from .study import channels, frames, volume
from .study.archive import Archive
from .study.channels import Channels
from .study.decode import Decoders

BUSY_RETRY_SECONDS = 1.0


def read(archive: Archive, decoders: Decoders, bundle: Bundle, members: Sequence[Any]) -> Channels:
    """The volumes of every channel of an input set, on one grid.

    Args:
        members: as `db.input_sets.members` gives them.

    Raises:
        Refused: with a code that says what the images are not.
    """
    volumes: list[volume.Volume] = []
    try:
        for rule in bundle.card.input:
            rows = [row for row in members if row["channel"] == rule.channel]
            files = [archive.at(row["path"]) for row in rows]
            of_each = [frames.from_text(row["frames"]) for row in rows]
            volumes.append(volume.build(files, decoders, rule, of_each=of_each))
        return channels.assemble(volumes, bundle.card.input)
    except BaseException:
        for one in volumes:
            one.close()
        raise


def environment(hosts: Path | None, bundle: Bundle) -> dict[str, str]:
    """On what a network runs here; its host is started where it does not run.

    Raises:
        Failed, Unavailable: as `predict`.
    """
    try:
        return client.environment(_asked(hosts, bundle))
    except client.HostBusy as error:
        raise Unavailable("host-busy", str(error), BUSY_RETRY_SECONDS) from error


def _asked(hosts: Path | None, bundle: Bundle) -> Path:
    if hosts is None:
        raise Unavailable("no-supervisor", "nobody starts model hosts here; use `planimeter run` or `planimeter work`")
    return ask(hosts, bundle)


def predict(
    hosts: Path | None,
    bundle: Bundle,
    arrays: Sequence[SharedArray],
    affine: NDArray[np.float64],
    limit_seconds: float,
    stages: Stages,
    *,
    probabilities: bool = False,
) -> Answer:
    """The label map of what a network reads.

    Args:
        hosts: where this machine's model hosts are asked for.
        arrays: one per channel, on one grid (`Channels.arrays`).
        affine: 4x4, of that grid.
        limit_seconds: on the wall clock; a network that takes longer is stopped.
        probabilities: whether they are wanted beside the label map.

    Raises:
        Refused: the network's output cannot be used.
        Failed: the host died, hung, or could not be started.
        Unavailable: the host went away before it began.
    """
    with stages("host"):
        address = _asked(hosts, bundle)
    try:
        with stages("network"):
            answer = client.segment(
                address,
                list(arrays),
                affine,
                limit_seconds=limit_seconds,
                probabilities=probabilities,
            )
    except client.HostRefused as error:
        raise Refused(error.code, str(error)) from error
    except client.HostGone as error:
        raise Failed("host-died", str(error)) from error
    except client.HostFull as error:
        raise Failed(OUT_OF_MEMORY, f"the network has too little memory: {error}") from error
    except client.HostFailed as error:
        raise Failed("network-failed", f"the network failed: {error}") from error
    except client.HostBusy as error:
        raise Unavailable("host-busy", str(error), BUSY_RETRY_SECONDS) from error
    stages.seconds |= {f"network.{name}": seconds for name, seconds in answer.seconds.items()}
    stages.peak_memory_mb["host"] = answer.peak_memory_mb
    return answer
