"""The bundles of versions that are kept in the home folder, each whole, none ever changed or overwritten.

A version appears under its name complete and durable, or not at all: built in a folder beside it, synced, renamed. It
is made from its parent's files: the weights are new, and so are the version and the Device UID in the card.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from models import card
from models.card import FILE, Bundle, Card, CardError

from ..errors import Failed, Refused
from ..failpoints import reach
from ..objects.uids import derive
from . import durable

FOLDER, INSTALLED = "networks", "models"
LONGEST_VERSION = 32
#: nobody builds a version for so long
LEFTOVER_SECONDS = 3600.0
_START = re.compile(r"^\[start\]\n(?:[^\[\n].*\n|\n)*", re.MULTILINE)
_OURS = re.compile(r"\+\d{3,}$")


def next_version(parent: str, taken: Collection[str]) -> str:
    """What a version trained from `parent` is called: "1.2.0" -> "1.2.0+001" -> "1.2.0+002"; at most 32 characters.

    Args:
        taken: the versions that the network has.
    """
    base = _OURS.sub("", parent)
    numbers = [int(name[len(base) + 1 :]) for name in taken if _OURS.search(name) and _OURS.sub("", name) == base]
    tail = f"+{max(numbers, default=0) + 1:03}"
    short = base[: LONGEST_VERSION - len(tail)]
    return f"{short}{tail}" if short == base else next_version(short, taken)


def device_uid(network: str, weights_sha256: str) -> str:
    """The Device UID of a trained version (IHE AIR 6.5.3.1: every training has its own): follows from the weights."""
    return derive("", "device", network, weights_sha256)


def make_version(
    parent: Bundle, weights: Path, *, version: str, home: Path, documents: Mapping[str, bytes] | None = None
) -> Bundle:
    """The bundle of a trained version, in `<home>/networks/<network>/<first 16 digits of the weights' SHA-256>/`.

    Made a second time from the same, it is the one that is there.

    Args:
        parent: whose card and files it has; it is verified first.
        weights: what was trained, in the form of the parent's weights.
        documents: further files, "docs/..." -> bytes: what it was trained on, how it was judged.

    Raises:
        Refused: `nothing-learnt`: the weights are the parent's; `version-exists`: other files lie under its name.
        Failed: `network-unusable`: the parent is not what its card says, or its card cannot be given a new version.
    """
    found = _sha256(weights)
    if found == parent.weights_sha256:
        raise Refused("nothing-learnt", f"the training left the weights of {parent.card.name} as they were")
    made = dict(documents or {})
    assert all(name.startswith("docs/") and ".." not in Path(name).parts for name in made)
    text = _card_text(parent, version, device_uid(parent.card.name, found))
    sources = {name: parent.folder / name for name in parent.card.files} | {parent.card.weights: weights}
    for name in made:
        sources.pop(name, None)
    made[FILE] = text.encode()
    with _whole(parent):
        check = partial(_same_but_for_the_version, parent.card)
        return _publish(sources, made, home / FOLDER / parent.card.name / found[:16], check=check)


def make_like(parent: Bundle, name: str, text: str, configs: Mapping[str, bytes], home: Path) -> Bundle:
    """The bundle of a new network that begins as a copy of another one, in `<home>/models/<name>/`.

    Args:
        text: its card, without [files].
        configs: files that it has of its own; what documents its parent is left out.

    Raises:
        CardError: the card is not right, or the parent is not what its card says.
        Refused: `version-exists`.
    """
    card.verify(parent)
    sources = {one: parent.folder / one for one in parent.card.files if not one.startswith("docs/")}
    made = {**configs, FILE: text.encode()}
    for one in made:
        sources.pop(one, None)
    return _publish(sources, made, home / INSTALLED / name, beside=home / FOLDER)


def install(folder: Path, name: str, text: str, home: Path) -> Bundle:
    """The bundle of a folder under a card of its own, copied into `<home>/models/<name>/`.

    Args:
        text: the card, without [files].

    Raises:
        CardError: the card is not right.
        Refused: `version-exists`: something else lies under that name.
    """
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    sources = {file.relative_to(folder).as_posix(): file for file in files}
    sources.pop(FILE, None)
    return _publish(sources, {FILE: text.encode()}, home / INSTALLED / name, beside=home / FOLDER)


def keep(bundle: Bundle, home: Path) -> Bundle:
    """A copy of an installed bundle that stays when an administrator or an upgrade changes what lies in its folder.

    Raises:
        Failed, Refused: as in `make_version`.
    """
    name = f"{bundle.weights_sha256[:16]}-{bundle.card_sha256[:16]}"
    sources = {name: bundle.folder / name for name in (FILE, *bundle.card.files)}
    with _whole(bundle):
        return _publish(sources, {}, home / FOLDER / bundle.card.name / name, seal=False)


@contextmanager
def _whole(parent: Bundle) -> Iterator[None]:
    """What is made of a bundle is made of one that is what its card says."""
    try:
        card.verify(parent)
        yield
    except CardError as error:
        raise Failed("network-unusable", f"no version can be made of {parent.card.name}: {error}") from None


def _publish(
    sources: Mapping[str, Path],
    made: Mapping[str, bytes],
    target: Path,
    *,
    check: Callable[[Card], None] | None = None,
    seal: bool = True,
    beside: Path | None = None,
) -> Bundle:
    """Build it, and let it appear.

    Args:
        check: of the card that was made.
        beside: where a network of its own is built, which lies among the installed ones; a version is built beside it.
    """
    below = beside or target.parent
    for folder in (below, target.parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in below.glob(f".{target.name}.*"):
        if leftover.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
            shutil.rmtree(leftover)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=below))
    try:
        _fill(building, sources, made)
        if seal:
            card.seal(building)
        bundle = card.read(building)
        card.verify(bundle)
        if check is not None:
            check(bundle.card)
        _sync(building)
        reach("version-built")
        if not target.exists():
            _appear(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)  # it is there no more where it was renamed
    return _there(target, bundle)


def sweep(home: Path, before: float) -> int:
    """Remove what processes that were killed left half built, unpacked or removed; how many folders there were.

    Args:
        before: seconds since 1970; nobody is still busy with a folder that was not touched since then.
    """
    made = [folder for where in (".*", "*/.*") for folder in (home / FOLDER).glob(where)]
    left = [folder for folder in made if folder.stat().st_mtime < before]
    for folder in left:
        shutil.rmtree(folder)
    return len(left)


def _appear(building: Path, target: Path) -> None:
    """Rename, durably; where another process was quicker, its folder stays."""
    try:
        building.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    for folder in (target.parent, target.parent.parent, target.parent.parent.parent):
        durable.sync_folder(folder)


def _fill(folder: Path, sources: Mapping[str, Path], made: Mapping[str, bytes]) -> None:
    for name in (*sources, *made):
        (folder / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    for name, data in made.items():
        (folder / name).write_bytes(data)


def _sync(folder: Path) -> None:
    """Everything below a folder, and the folder, on the disk."""
    for above, _, names in os.walk(folder, topdown=False):
        for name in names:
            with (Path(above) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        durable.sync_folder(Path(above))


def _there(target: Path, wanted: Bundle) -> Bundle:
    """The bundle under that name, if it is the same."""
    try:
        there = card.read(target)
        card.verify(there)
    except CardError as error:
        raise Failed("network-unusable", f"a version that was kept is damaged: {error}") from None
    if there.card_sha256 != wanted.card_sha256:
        sentence = f"{target} holds version {there.card.version} with the same weights and another card"
        raise Refused("version-exists", f"{sentence}; a version is never overwritten")
    return there


def _card_text(parent: Bundle, version: str, uid: str) -> str:
    """The parent's card with another version and Device UID, and trained; all else, comments too, stays as it is."""
    text = (parent.folder / FILE).read_text(encoding="utf-8")
    if parent.card.start is not None:
        text = _START.sub("", text)
    for key, value in (("version", version), ("device_uid", uid)):
        line = re.compile(rf"""^({key}[ \t]*=[ \t]*)("[^"\n]*"|'[^'\n]*')""", re.MULTILINE)
        quoted = json.dumps(value).replace("\\", r"\\")
        text, found = line.subn(rf"\g<1>{quoted}", text, count=1)
        if not found:
            raise Failed("network-unusable", f"{parent.folder / FILE} has no line that begins with `{key} =`")
    return text


def _same_but_for_the_version(parent: Card, made: Card) -> None:
    """A line that looked like the version may have been part of something else."""
    aside = {"version", "device_uid", "start", "files"}
    if made.start is not None or parent.model_dump(exclude=aside) != made.model_dump(exclude=aside):
        raise CardError("its card says more than a version differently; write `version` and `device_uid` first in it")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
