"""By when a study that was not chosen from yet is to be delivered: no route has taken it, but some may.

Until a study is chosen from, only its modalities and its sender are known. So the shortest deadline counts of all
routes that these do not keep from it: a study whose images stopped coming, or that no worker chooses from, is late as
well. Once it is chosen from, the deadlines of the routes that took it count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from db import deadlines
from db.deadlines import Due, Unchosen

from .conditions import CALLING_AE_TITLE, Condition
from .routes import Route

#: the modalities of the images of a study, and who sent it -> seconds from its last image; None: no route says
Promise = Callable[[Collection[str], str], float | None]
#: what a condition may look at that is known by then
MODALITY = "Modality"


def nothing(_modalities: Collection[str], _sender: str) -> float | None:
    """No route has a deadline."""
    return None


def of(routes: Sequence[Route]) -> Promise:
    """What routes promise before they are asked."""
    limited = [route for route in routes if route.deadline_seconds is not None]
    if not limited:
        return nothing

    def promise(modalities: Collection[str], sender: str) -> float | None:
        may = (route.deadline_seconds for route in limited if _may_take(route, modalities, sender))
        return min((seconds for seconds in may if seconds is not None), default=None)

    return promise


def _may_take(route: Route, modalities: Collection[str], sender: str) -> bool:
    """Whether any series of a study may be one for a route, as far as is known."""

    def known(condition: Condition, modality: str) -> bool | None:
        value = {MODALITY: modality, CALLING_AE_TITLE: sender}.get(condition.looks_at)
        return None if value is None else condition.asks(value)

    return any(
        all(known(one, modality) is not False for one in route.when)
        and not any(known(one, modality) for one in route.unless)
        for modality in modalities
    )


def unchosen(tx: Any, promise: Promise, within_seconds: float) -> list[Due]:
    """What was not chosen from and whose deadline has passed, or comes in so many seconds; the most urgent first."""
    if promise is nothing:
        return []
    found = (due(one, promise) for one in deadlines.unchosen(tx))
    return sorted((one for one in found if one and one.left_seconds <= within_seconds), key=lambda one: one.deadline)


def due(one: Unchosen, promise: Promise) -> Due | None:
    """By when a study is to be delivered; None: no route says."""
    seconds = promise(one.modalities, one.sender)
    if seconds is None:
        return None
    left = seconds - one.quiet_seconds
    return Due(None, one.study_id, one.study_uid, "", one.last_image + seconds, left, one.waits_for)
