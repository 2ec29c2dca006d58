"""Networks that are brought from elsewhere: looked at, given a card, put beside the others; and taken away again.

A network that was brought is switched off: nothing reads a study with it before a person says so.
"""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from db import events, switches
from db import networks as rows
from models import card
from models.card import FILE, CardError
from models.confine.rights import Demand
from models.confine.room import Room
from models.incoming import draft, reading, unpacked
from models.incoming.program import Program
from models.incoming.reading import ROOM_BYTES, NotRead, TooMuch

from ..errors import Failed, Refused
from ..learning import versions
from ..networks import Networks
from ..objects.uids import derive
from .codes import suggest

#: what results of nnU-Net are known by
PLANS = "plans.json"
ADDED, REMOVED = "network added", "network removed"
ON, OFF = "network switched on", "network switched off"


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What became of a bundle.

    Attributes:
        program: what it would run.
        questions: lines of the card that a person has to fill in; where there are any, it was not installed.
        draft: the file with that card; None where one was given.
        name: of the network.
    """

    program: Program
    questions: tuple[str, ...]
    draft: Path | None
    name: str


def add(
    networks: Networks,
    path: Path,
    who: str,
    card_file: Path | None = None,
    name: str = "",
    orientation: str = "",
    confine: Demand = Demand.BEST,
    reserve_bytes: int = 0,
) -> Brought:
    """Install the bundle of a folder, a zip or a TorchScript file, or draft the card that it lacks.

    A results folder of nnU-Net becomes a bundle here. What is brought is read by a confined process
    (`models.incoming.reading`).

    Args:
        card_file: its card; None: the one that lies in it, or else one is drafted into `<name>.toml` in this folder.
        name: what the network is to be called, where its card is drafted; else the name of the folder or file.
        orientation: of nnU-Net's training (`models.incoming.nnunet.bundle`).
        confine: what is wanted of the kernel.
        reserve_bytes: that stay free on the disk.

    Raises:
        Refused: `bad-bundle`, `bad-card`, `network-exists`, `draft-exists`, `too-much-written`.
        Failed: `not-confined`.
    """
    aside = networks.home / versions.FOLDER / f".brought-{secrets.token_hex(8)}"
    try:
        with unpacked.unpacked(path, aside) as folder:
            room = Room(most_bytes=ROOM_BYTES, reserve_bytes=reserve_bytes)
            folder, would_run = reading.read(folder, orientation, confine, room=room)
            file = card_file or (folder / FILE if (folder / FILE).is_file() else None)
            if file is None:
                return _drafted(folder, would_run, _called(name or _own_name(path.resolve())))
            text = _text(file)
            if questions := draft.open_questions(text):
                return Brought(program=would_run, questions=tuple(questions), draft=file, name="")
            return _installed(networks, folder, text, would_run, who)
    except CardError as error:
        raise Refused("bad-bundle", str(error)) from None
    except TooMuch as error:
        raise Refused("too-much-written", str(error)) from None
    except NotRead as error:
        raise Failed("not-confined", str(error)) from None


def _own_name(path: Path) -> str:
    """What a network is called on disk; of nnU-Net's, by its data set: the folder says how it was trained."""
    name = path.parent.name if "__" in path.name and (path / PLANS).is_file() else path.name
    return name.removesuffix(".zip").removesuffix(".ts")


def _called(name: str) -> str:
    """A name that a network and the file of its card may have: nothing that leads out of the folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:64] or "network"


def _drafted(folder: Path, would_run: Program, name: str) -> Brought:
    text = draft.draft(folder, name, derive("", "device", name, secrets.token_hex(16)), suggest)
    file = Path(f"{name}.toml")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        sentence = f"{file.absolute()} is there already: fill it in and say --card {file}, or put it away"
        raise Refused("draft-exists", sentence) from None
    return Brought(program=would_run, questions=tuple(draft.open_questions(text)), draft=file, name=name)


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("bad-card", f"{file}: cannot be read: {error}") from None
    return text.split("\n[files]\n")[0] + "\n"


def _installed(networks: Networks, folder: Path, text: str, would_run: Program, who: str) -> Brought:
    said = _name(text)
    if said in networks.names():
        raise Refused(
            "network-exists",
            f"there is a network called {said}; give the card another name, or `planimeter models remove {said}` first",
        )
    with networks.database.write() as tx:  # before it is there: nothing may read a study with it in between
        switches.switch_off(tx, said, who)
    try:
        bundle = versions.install(folder, said, text, networks.home)
    except (CardError, Refused):
        with networks.database.write() as tx:  # whoever installs one of this name by hand finds it on
            switches.switch_on(tx, said)
        raise
    with networks.database.write() as tx:
        details = {"version": bundle.card.version, "weights_sha256": bundle.weights_sha256}
        events.append(tx, who, ADDED, said, details | {"card_sha256": bundle.card_sha256, "on": False})
    return Brought(program=would_run, questions=(), draft=None, name=said)


def _name(text: str) -> str:
    """The network's name, before the whole card can be read: [files] is not there yet."""
    try:
        return card.name_in(text)
    except CardError as error:
        raise Refused("bad-card", str(error)) from None


def switch(networks: Networks, name: str, who: str, *, on: bool, why: str = "") -> str:
    """Let a network read studies, or not any more; a sentence.

    Raises:
        Refused: `no-such-network`.
        Failed: `network-unusable`: a network whose result it would read is not there.
    """
    _known(networks, name)
    if (name in networks.switched_off()) is not on:
        return f"{name} is {'on' if on else 'off'} already"
    if on:
        networks.prove(networks.known(name)[1])
    with networks.database.write() as tx:
        if on:
            switches.switch_on(tx, name)
        else:
            switches.switch_off(tx, name, who)
        events.append(tx, who, ON if on else OFF, name, {"why": why.strip()} if why.strip() else {})
    return f"{name} reads {'the studies that are chosen from now on' if on else 'no study that is chosen from now on'}"


def _known(networks: Networks, name: str) -> None:
    if name not in networks.names():
        raise Refused("no-such-network", f"there is no network called {name}; `planimeter models list` lists them")


def remove(networks: Networks, name: str, who: str) -> str:
    """Take an installed network away; what it has made, and what was kept of its versions, stays; a sentence.

    Raises:
        Refused: `no-such-network`, `network-shipped`, `network-in-use`.
    """
    folder = networks.folders[0] / name
    _known(networks, name)
    if not (folder / FILE).is_file():
        sentence = f"{name} is part of Planimeter; `planimeter models disable {name}` lets it read no study"
        raise Refused("network-shipped", sentence)
    with networks.database.write() as tx:
        if name not in switches.switched_off(tx):
            raise Refused("network-in-use", f"{name} is on; `planimeter models disable {name}` first")
        if waiting := switches.open_jobs(tx, name):
            raise Refused("network-in-use", f"{waiting} jobs of {name} are not done yet; `planimeter jobs` lists them")
        events.append(tx, who, REMOVED, name, {})
        live = rows.live(tx, name)
    gone = networks.home / versions.FOLDER / f".removed-{secrets.token_hex(8)}"
    gone.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.rename(gone)
    shutil.rmtree(gone)
    if live is not None and live["folder"]:
        return (
            f"what was installed of {name} is gone; version {live['version']}, which was kept here, stays, and is off"
        )
    return f"{name} is gone; the results that it made stay"
