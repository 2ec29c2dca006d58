"""Retrieve one study, and hold what the PACS says against what is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from ..audit.trail import SILENT, Trail
from ..audit.transfer import Transfer
from ..errors import Failed, Refused, Unavailable
from ..inbound.inbox import Inbox, Source
from . import get, move, search, web
from .door import Door
from .pacs import Limits, Pacs
from .retrieved import ADMINISTRATOR_SECONDS, Progress, Retrieved


@dataclass(frozen=True)
class Us:
    """Who retrieves.

    Attributes:
        ae_title: ours.
        port: of our receiver.
        inbox: where it goes.
        here: Study and Series Instance UID (or "") -> how many objects of that are here.
        trail: is told of it.
    """

    ae_title: str
    port: int
    inbox: Inbox
    here: Callable[[str, str], int]
    trail: Trail = SILENT

    @property
    def register(self) -> str:
        """What a PACS has to know in order to send to us."""
        return f"AE title {self.ae_title}, the address of this machine, port {self.port}"


def study(
    us: Us, pacs: Pacs, limits: Limits, study_uid: str, series_uid: str, expected: int | None, progress: Progress
) -> str:
    """Retrieve a study, or one series of it, and make sure that it is here.

    Args:
        series_uid: or "".
        expected: how many objects it has, as the PACS answered to a query; None where it does not say.
        progress: is told how many objects have come, and of how many.

    Returns:
        What came, as a sentence.

    Raises:
        Unavailable, Failed, Refused: it is not here, or not all of it; the sentence says why.
    """
    if expected is not None and expected > limits.most_images:
        said = f"it has {expected} objects, and more than {limits.most_images} of one study are not fetched"
        raise Refused("too-many-images", said)
    transfer = Transfer(us.trail, pacs.target.ae_title, _address(pacs), asked=True)
    source = Source(pacs.target.ae_title, _address(pacs), pacs.teaches)
    door = Door(us.inbox, source, limits.reserve_bytes, transfer)
    door.must_have_room()
    before = us.here(study_uid, series_uid)
    which = {"StudyInstanceUID": study_uid} | ({"SeriesInstanceUID": series_uid} if series_uid else {})

    def shown(done: int, of: int | None) -> None:
        progress(done, of if of is not None else expected)

    try:
        if pacs.way == "wado":
            retrieved = web.retrieve(pacs, us.ae_title, which, expected, door, limits, shown)
        elif pacs.way == "get":
            with search.asking(pacs, us.ae_title, limits, us.trail) as finder:
                classes = search.sop_classes(finder, study_uid)
            retrieved = get.retrieve(pacs, us.ae_title, _identifier(which), classes, door, limits, shown)
        else:
            retrieved = move.retrieve(
                pacs,
                us.ae_title,
                _identifier(which),
                us.register,
                lambda: us.here(study_uid, series_uid),
                limits,
                shown,
            )
    finally:
        transfer.end()
    return _judged(us, pacs, door, retrieved, before, us.here(study_uid, series_uid), expected)


def _address(pacs: Pacs) -> str:
    return pacs.target.host or pacs.name


def _identifier(which: dict[str, str]) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = "SERIES" if "SeriesInstanceUID" in which else "STUDY"
    for keyword, value in which.items():
        setattr(ds, keyword, value)
    return ds


def _judged(us: Us, pacs: Pacs, door: Door, retrieved: Retrieved, before: int, here: int, expected: int | None) -> str:
    """Whether all of it is here."""
    sent, kept_out = retrieved.sent, len(door.refused)
    failed = max(0, retrieved.failed - kept_out)
    if not here and not kept_out and not sent and not failed:
        raise Refused("not-at-pacs", f"{pacs.name} has nothing of it to give (any more)")
    if pacs.way == "move" and sent and here < sent and here == before:
        why = (
            f"{pacs.name} says to have sent {sent} objects, and none came here: see where it sends to as {us.ae_title}"
        )
        raise Unavailable("sent-elsewhere", f"{why}; it has to be {us.register}", ADMINISTRATOR_SECONDS)
    if failed and not sent and here == before and pacs.way == "move":
        why = f"{pacs.name} could not send any of {failed} objects here; see that `planimeter run` receives, that the"
        raise Failed("fetch-incomplete", f"{why} PACS reaches {us.register}, and may send ([[peer]] with may_send)")
    wanted = sent + failed if sent is not None else expected
    if failed or (wanted is not None and here + kept_out < wanted):
        total = max(wanted or 0, here + failed)
        raise Failed("fetch-incomplete", f"{here} of {total} objects are here; {pacs.name} could not send {failed}")
    new = max(0, here - before)
    said = f"{here} objects are here, {new} of them new"
    if kept_out:
        reasons = ", ".join(sorted({refusal.code for refusal in door.refused}))
        said += f"; {kept_out} were kept out ({reasons})"
    if wanted is None:
        said += f"; {pacs.name} does not say how many there are"
    return said
