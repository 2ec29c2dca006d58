"""What an examination means for somebody who wants results to arrive: sentences, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import RLELossless

from ...objects.forms import LABEL_MAP_SEGMENTATION_STORAGE, SEG, SR
from ...objects.written import REFUSALS, REJECTION_NOTES
from ...outbound.target import Target
from . import custody, query, storage
from .examination import Examination
from .service import Service
from .storage import Taken


class Mark(StrEnum):
    """How a sentence is meant."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Said:
    """One sentence of the verdict."""

    mark: Mark
    sentence: str


WORDS = {REFUSALS: "notices of what was not processed", REJECTION_NOTES: "rejection notes"}


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    deliverable: results can be delivered as they are configured.
    """

    deliverable: bool
    sentences: tuple[Said, ...]


def judge(found: Examination) -> Verdict:
    """The verdict."""
    if found.problem:
        said = Said(Mark.BAD, found.problem[1])
        return Verdict(False, (said, *_security(found)))
    sentences = [*_security(found), *_objects(found), *_services(found)]
    return Verdict(all(one.mark is not Mark.BAD for one in sentences), tuple(sentences))


def _security(found: Examination) -> Iterator[Said]:
    security = found.security
    if security is None:
        return
    who, is_on = found.target.ae_title, found.target.tls is not None
    if not security.trusted:
        todo = "give its authority with --ca-file, and write that as `ca_file` where it is configured"
        yield Said(
            Mark.BAD, f"{who} speaks {security.version}, but {security.why_not}; nothing is sent to it so: {todo}"
        )
    elif found.problem is None:
        todo = "" if is_on else ": `tls = true` where it is configured uses it"
        yield Said(Mark.GOOD, f"{who} speaks {security.version}, and its certificate is trusted{todo}")


# -------------------------------------------------------------------- objects


def wished(target: Target) -> list[str]:
    """The keys of what a destination is to get."""
    more = [(REFUSALS, target.refusals), (REJECTION_NOTES, target.rejection_notes)]
    return sorted(target.objects) + [key for key, is_wished in more if is_wished]


def _objects(found: Examination) -> Iterator[Said]:
    target, who = found.target, found.target.ae_title
    goes = {key for key in wished(target) if any(_used(target, key, found))}
    if goes:
        yield Said(Mark.GOOD, f"{who} takes {_listed([WORDS.get(key, key) for key in wished(target) if key in goes])}")
    for key in wished(target):
        if key not in goes:
            yield Said(Mark.BAD, _refused(found, key))
    yield from _segmentations(found)
    yield from _reports(found)
    wishes = wished(target)
    idle = [one.written.key for one in found.taken if one.written.key not in wishes]
    for accepted, text in ((True, "also takes"), (False, "takes no")):
        keys = [key for key in dict.fromkeys(idle) if bool(_accepted(found, key)) is accepted]
        if keys:
            todo = f": add {_keys(keys)} if wanted" if accepted else f": keep {_keys(keys)} out of its destination"
            yield Said(Mark.NOTE, f"{who} {text} {_listed([WORDS.get(key, key) for key in keys])}{todo}")


def _used(target: Target, key: str, found: Examination) -> list[Taken]:
    """Of what is sent for a key, what the peer takes; label maps are sent only where they are asked for."""
    label_map = target.label_map
    return [
        one for one in _accepted(found, key) if label_map or one.written.sop_class != LABEL_MAP_SEGMENTATION_STORAGE
    ]


def _accepted(found: Examination, key: str) -> list[Taken]:
    return [one for one in found.taken if one.written.key == key and one.accepted]


def _refused(found: Examination, key: str) -> str:
    """What to do about something that is wished and not taken."""
    names = [one.written.name for one in found.taken if one.written.key == key]
    if key == SEG and not found.target.label_map:
        names = [one.written.name for one in found.taken if one.written.key == key and one.written.instead_of]
    uids = [str(one.written.sop_class) for one in found.taken if one.written.name in names]
    instead = f"turn `{key}` off" if key in WORDS else f'leave "{key}" out of `objects`'
    if key == SEG and _accepted(found, SEG):
        instead = "set `label_map = true` if it also shows them: it takes label map SEG"
    what = WORDS.get(key, key)
    return (
        f"{found.target.ae_title} takes no {what}: allow {' or '.join(names)} ({', '.join(uids)}) there for "
        f"{found.ae_title}, or {instead}"
    )


def _segmentations(found: Examination) -> Iterator[Said]:
    target, who = found.target, found.target.ae_title
    if SEG not in target.objects:
        return
    classes = {one.written.sop_class: one for one in found.taken if one.written.key == SEG}
    label_map = classes.pop(LABEL_MAP_SEGMENTATION_STORAGE)
    (binary,) = classes.values()
    if not label_map.accepted:
        todo = "set `label_map = false`; until then binary SEG goes" if target.label_map else "keep `label_map = false`"
        yield Said(Mark.NOTE, f"{who} takes no label map SEG: {todo}")
        return
    if not target.label_map and binary.accepted:
        said = f"{who} stores label map SEG too; ask whether it shows them before setting `label_map = true`"
        yield Said(Mark.NOTE, said)
    if target.label_map and not binary.accepted:
        yield Said(
            Mark.BAD, f"{who} takes no binary SEG: results whose segments overlap cannot go there; allow it there"
        )
    if target.label_map and RLELossless not in label_map.accepted:
        yield Said(Mark.NOTE, f"{who} takes label map SEG, but not RLE: they are sent uncompressed, which is large")


def _reports(found: Examination) -> Iterator[Said]:
    if SR not in found.target.objects:
        return
    accepted = _accepted(found, SR)
    if accepted and all(one.written.instead_of for one in accepted):
        names = _listed([one.written.name for one in accepted])
        yield Said(
            Mark.NOTE, f"{found.target.ae_title} takes reports only as {names}: they are sent as that by themselves"
        )


# ------------------------------------------------------------------- services


def _services(found: Examination) -> Iterator[Said]:
    by_name = {one.name: one for one in found.services}
    who, us = found.target.ae_title, found.ae_title
    if dropped := [one.name for one in found.services if one.dropped]:
        todo = f"it may answer only AE titles that it knows, so add {us} there with this machine's address"
        yield Said(Mark.NOTE, f"{who} ends the association at {_listed(dropped)}: {todo}")
    echo, asked, moved, got = (by_name[name] for name in (storage.ECHO, query.FIND, query.MOVE, query.GET))
    if not echo.works:
        yield Said(Mark.NOTE, f"{who}, C-ECHO: {echo.said}; `planimeter check` calls it wrong")
    yield from _custody(found, by_name[custody.NAME], by_name[query.FIND_IMAGE])
    if asked.works:
        yield Said(Mark.GOOD, f"{who} answers queries (C-FIND)")
    elif not asked.dropped:
        yield Said(Mark.NOTE, f"{who} answers no queries (C-FIND: {asked.said})")
    if moved.status == query.MOVE_DESTINATION_UNKNOWN:
        todo = f"add {us} there, with this machine's address and the port of `receive.port`"
        yield Said(Mark.NOTE, f"{who} does not know our AE title {us} as a move destination (0xA801): {todo}")
    elif moved.works:
        yield Said(Mark.GOOD, f"{who} knows {us} as a move destination (C-MOVE)")
    elif not moved.dropped:
        yield Said(Mark.NOTE, f"{who}, C-MOVE: {moved.said}")
    if got.works and not moved.works:
        yield Said(Mark.NOTE, f"{who} offers C-GET, which needs no move destination")


def _custody(found: Examination, asked: Service, image: Service) -> Iterator[Said]:
    who, is_on = found.target.ae_title, found.target.commitment
    if asked.works:
        todo = "" if is_on else ": `commitment = true` uses it"
        yield Said(Mark.GOOD, f"{who} answers storage commitment{todo}")
    elif asked.works is None:
        todo = "the deliveries will show it" if is_on else "`commitment = true` will show it"
        yield Said(Mark.NOTE, f"{who}, storage commitment: {asked.said}; {todo}")
    elif is_on and image.works:
        yield Said(Mark.NOTE, f"{who}, storage commitment: {asked.said}; C-FIND of each object takes its place")
    elif is_on:
        todo = "nobody will know whether it keeps results; set `commitment = false`, or have it turned on there"
        yield Said(Mark.NOTE, f"{who}, storage commitment: {asked.said}, and C-FIND does not take its place: {todo}")
    else:
        yield Said(Mark.NOTE, f"{who}, storage commitment: {asked.said}; keep `commitment = false`")


def _keys(keys: list[str]) -> str:
    kinds = [f'"{key}"' for key in keys if key not in WORDS]
    others = [f"`{key}`" for key in keys if key in WORDS]
    return ", ".join([*kinds, *others])


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
