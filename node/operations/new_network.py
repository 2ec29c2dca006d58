"""A network for structures that no network here finds yet: like one that is live, and to be trained on local labels."""

from __future__ import annotations

import re
from pathlib import Path

from db import events
from db import networks as rows
from models import likeness
from models.card import NAME, CardError
from models.finding_rules import Result

from ..errors import Refused
from ..learning import versions
from ..learning.trainer import must_be_trainable
from ..networks import Networks

MADE = "network made"


def make(networks: Networks, name: str, like: str, file: Path, freeze_epochs: int, who: str) -> str:
    """Make it, and record who did; a sentence. It segments nothing before a version of it is promoted.

    Args:
        like: the network whose input, configs and weights it begins with.
        file: what is to be found, as `models.likeness.structures` reads it.
        freeze_epochs: for so long the layers that are taken over stay as they are.

    Raises:
        Refused: `no-such-name`, `network-exists`, `bad-structures`, `not-like-that`; `training-impossible`, where the
            other one is not trained here itself.
        Failed: `network-unusable`, of the network that it is like.
    """
    if not re.fullmatch(NAME, name):
        raise Refused("no-such-name", f"{name!r}: a network's name has letters, digits, `.`, `_` and `-`, up to 64")
    with networks.database.read() as tx:
        taken = name in {*networks.names(), *rows.names(tx)}
    if taken:
        raise Refused("network-exists", f"there is a network called {name}; `planimeter models list` lists them")
    _, parent = networks.live(like)
    if parent.card.result is not Result.SEGMENTS:
        raise Refused("not-like-that", f"{like} gives {parent.card.result}, and what is made here gives a label map")
    must_be_trainable(parent.card)
    try:
        said = likeness.structures(file)
    except CardError as error:
        raise Refused("bad-structures", str(error)) from None
    labels = [str(one.get("label", "")) for one in said["segment"]]
    try:
        text = likeness.card_text(parent, said, name, versions.device_uid(name, parent.weights_sha256), freeze_epochs)
        made = versions.make_like(parent, name, text, likeness.configs(parent, labels), networks.home)
    except CardError as error:
        raise Refused("not-like-that", str(error)) from None
    with networks.database.write() as tx:
        details = {"like": f"{like} {parent.card.version}", "card_sha256": made.card_sha256, "classes": labels}
        events.append(tx, who, MADE, name, details)
    return (
        f"{name} is there, to be trained for {', '.join(labels)}: it learns from labels on the images that {like} "
        f"reads, and finds nothing before a version of it is live. `planimeter retrain {name}` trains it"
    )
