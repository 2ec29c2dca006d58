"""Read what a network wants, hand it to its warm host, and say in the node's words what may go wrong with that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import client
from models.card import Bundle
from models.client import Answer
from models.wire import SharedArray

from . import upstream
from .attempt import Stages
from .errors import Failed, Refused, Unavailable
from .failpoints import reach
from .hosts import OUT_OF_MEMORY, TOO_MUCH, ask
from .learning import sides
from .study import channels, frames, volume
from .study.archive import Archive, require_kept
from .study.channels import Channels
from .study.decode import Decoders
from .upstream import Upstream

BUSY_RETRY_SECONDS = 1.0


def read(
    archive: Archive,
    decoders: Decoders,
    bundle: Bundle,
    members: Sequence[Any],
    upstreams: Sequence[Upstream] | None = (),
) -> Channels:
    """The volumes of every channel of an input set, on one grid.

    Args:
        members: as `db.input_sets.members` gives them.
        upstreams: the results of other networks that it reads (`upstream.of`); None leaves their channels out, for
            whoever looks at the images alone.

    Raises:
        Refused: with a code that says what the images are not; `images-purged`.
    """
    require_kept(members)
    volumes: list[volume.Volume] = []
    rules = [rule for rule in bundle.card.input if upstreams is not None or not rule.network]
    of_channel = {one.channel: one for one in upstreams or ()}
    try:
        for rule in rules:
            rows = [row for row in members if row["channel"] == rule.channel]
            if rule.network:
                of_first = [row for row in members if row["channel"] == rules[0].channel]
                volumes.append(upstream.read(archive, decoders, of_channel[rule.channel], volumes[0], of_first))
                continue
            files = [archive.at(row["path"]) for row in rows]
            of_each = [frames.from_text(row["frames"]) for row in rows]
            volumes.append(volume.build(files, decoders, rule, of_each=of_each))
        return channels.assemble(volumes, rules)
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
    may_climb: bool = True,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Answer:
    """The label map of what a network reads.

    Args:
        hosts: where this machine's model hosts are asked for.
        arrays: one per channel, on one grid (`Channels.arrays`).
        affine: 4x4, of that grid.
        limit_seconds: on the wall clock; a network that takes longer is stopped.
        stages: the wait for the host's turn is `turn`; `network` begins when the host does. `host.idle` is how long the
            host had nothing to do before.
        probabilities: whether they are wanted beside the label map.
        may_climb: whether it may be made with less memory where the device is full.
        on_progress: told how many windows are done, and of how many; 0 where nobody knows.

    Raises:
        Refused: the network's output cannot be used.
        Failed: the host died, hung, or could not be started.
        Unavailable: the host went away before it began, or there is no room for it now.
    """
    with stages("host"):
        address = _asked(hosts, bundle)
    exchange = sides.for_passes(bundle.card)
    stage = contextlib.ExitStack()

    def on_started(idle_seconds: float) -> None:
        stage.close()
        stage.enter_context(stages("network"))
        stages.seconds["host.idle"] = round(stages.seconds.get("host.idle", 0.0) + idle_seconds, 3)
        reach("predicting")

    try:
        with stage:
            stage.enter_context(stages("turn"))
            answer = client.segment(
                address,
                list(arrays),
                affine,
                limit_seconds=limit_seconds,
                probabilities=probabilities,
                may_climb=may_climb,
                exchange=exchange,
                on_started=on_started,
                on_progress=on_progress,
            )
    except client.HostRefused as error:
        raise Refused(error.code, str(error)) from error
    except client.HostEnded as error:
        raise Failed(TOO_MUCH, str(error)) from error
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
    if answer.remark:
        stages.remarks.append(answer.remark)
    return answer
