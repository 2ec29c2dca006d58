"""How single values look on every page: times, states, what belongs to a patient. Everything is escaped."""

from __future__ import annotations

from datetime import datetime

from markupsafe import Markup

HIDDEN = "•••••"
#: from then on hours are said
LONG_MINUTES = 120


def state(word: str) -> Markup:
    """The state of anything; its colour is the stylesheet's."""
    return Markup('<span class="state state-{0}">{0}</span>').format(word)


def patient(text: str | None, *, visible: bool) -> Markup:
    """A name, id or accession number of a patient; hidden, only that there is one."""
    if not visible:
        return Markup('<span class="hidden-patient" title="hidden">{}</span>').format(HIDDEN if text else "")
    return Markup('<span class="patient">{}</span>').format(text or "")


def when(seconds: float | None) -> Markup:
    """A time of the database's clock, for people: by the machine's clock."""
    if seconds is None:
        return Markup("")
    at = datetime.fromtimestamp(seconds).astimezone()
    short = at.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(timespec="seconds"), short)


def due(deadline: float | None, now: float) -> Markup:
    """How long until a deadline, or since; a script of the page counts on (both are seconds since 1970)."""
    if deadline is None:
        return Markup("")
    minutes = max(1, round(abs(deadline - now) / 60))
    long = f"{minutes} min" if minutes < LONG_MINUTES else f"{round(minutes / 60)} h"
    said, look = (f"late by {long}", "late") if deadline < now else (f"due in {long}", "soon")
    return Markup('<span class="due {}" data-deadline="{:.0f}">{}</span>').format(look, deadline, said)


def clock_time(seconds: float | None) -> Markup:
    """The same in short: the time of a day like today, else the day too."""
    if seconds is None:
        return Markup("")
    at = datetime.fromtimestamp(seconds).astimezone()
    short = at.strftime("%H:%M:%S" if at.date() == datetime.now().astimezone().date() else "%b %d, %H:%M")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M:%S"), short
    )
