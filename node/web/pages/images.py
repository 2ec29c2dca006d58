"""Images with contours, to be scrolled through: the pictures come from the node, no viewer is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import NodeError, Refused
from ...objects.pictures.window import Window
from ...operations.one_study import gather
from ...operations.one_study.values import ReadingView
from ...operations.viewing.desk import Desk
from ...operations.viewing.picture import picture
from ...operations.viewing.view import View, of_level
from ..guard import FRAGMENT
from ..looks import looked_at
from ..page import needs, node_of, render

#: of level and width
FARTHEST = 1e7


@dataclass(frozen=True)
class Asked:
    """What is to be shown, as a URL says it.

    Attributes:
        window: the name of a preset; empty for the first.
        level, width: of a window of one's own; None: the preset counts.
        hidden: numbers of structures.
    """

    k: int
    window: str
    level: float | None
    width: float | None
    hidden: frozenset[int]

    def seen_by(self, view: View) -> Window:
        """The window."""
        chosen = view.windows.get(self.window) or next(iter(view.windows.values()))
        if self.level is None or self.width is None:
            return chosen
        return of_level(self.level, self.width, inverted=chosen.inverted)


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """A page of its own; or the part of the study's page."""
    reading = _reading(request)
    channel = request.query_params.get("channel", "")
    values: dict[str, Any] = {"reading": reading, "study_uid": request.path_params["study_uid"], "channel": channel}
    template = "study_slices.html" if FRAGMENT in request.headers else "study_images.html"
    try:
        view = _view(request, reading.id)
        asked = _asked(request, view)
    except NodeError as error:
        return render(request, template, **values, view=None, fault=error.sentence)
    places = [{"name": view.image(k), "place": view.place(k)} for k in range(view.count)]
    found = {k: view.contours.numbers(k) for k in sorted(view.contours.parts)}
    return render(request, template, **values, view=view, fault="", asked=asked, places=places, found=found)


@needs(Role.VIEWER)
def slice_(request: Request) -> Response:
    """One slice, as a PNG."""
    view = _view(request, _reading_id(request))
    asked = _asked(request, view, int(request.path_params["k"]))
    png = picture(view, asked.k, asked.seen_by(view), asked.hidden)
    return Response(png, media_type="image/png", headers={"cache-control": "no-store"})


def _view(request: Request, input_set_id: int) -> View:
    """
    Raises:
        Refused: `patients-hidden`: the pixels may name the patient, and nobody has asked for names in this session.
    """
    looked_at(request, request.path_params["study_uid"])
    view = _desk(request).view(input_set_id, request.query_params.get("channel", ""))
    if view.burned_in and not request.state.shows:
        why = "text is burned into these images, which may name the patient; `Show patients` shows them"
        raise Refused("patients-hidden", why)
    return view


def _desk(request: Request) -> Desk:
    """The open views of this process."""
    state = request.app.state
    if not hasattr(state, "desk"):
        node = node_of(request)
        state.desk = Desk(node.archive, node.decoders, node.database, node.networks)
    desk: Desk = state.desk
    return desk


def _reading(request: Request) -> ReadingView:
    node = node_of(request)
    study = gather.study(node.database, node.networks, request.path_params["study_uid"])
    number = request.path_params["input_set"]
    found = next((one for one in study.readings if one.id == number and not one.unread), None)
    if found is None:
        raise Refused("no-such-input-set", f"no network has read anything of this study under the number {number}")
    return found


def _reading_id(request: Request) -> int:
    """Of this study; asked for every slice, so it looks at one row."""
    number = int(request.path_params["input_set"])
    if not gather.has(node_of(request).database, request.path_params["study_uid"], number):
        raise Refused("no-such-input-set", f"no network has read anything of this study under the number {number}")
    return number


def _asked(request: Request, view: View, k: int | None = None) -> Asked:
    """
    Raises:
        Refused: `no-such-slice`, `not-a-number`.
    """
    said = request.query_params
    at = k if k is not None else _whole(said["k"]) - 1 if said.get("k") else view.first()
    if not 0 <= at < view.count:
        raise Refused("no-such-slice", f"there are {view.count} slices, and this is none of them")
    numbers = [part for part in ",".join(said.getlist("hide")).split(",") if part]
    shown = [_whole(part) for part in said.getlist("show")]
    hidden = {one.number for one in view.contours.structures} - set(shown) if shown else set(map(_whole, numbers))
    return Asked(at, said.get("window", ""), _number(said.get("level")), _width(said.get("width")), frozenset(hidden))


def _whole(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) < 8):
        raise Refused("not-a-number", "the numbers of slices and structures have to be numbers")
    return int(written)


def _number(written: str | None) -> float | None:
    if not written:
        return None
    try:
        number = float(written)
    except ValueError:
        number = float("nan")
    if not abs(number) < FARTHEST:
        raise Refused("not-a-number", "level and width of a window have to be numbers")
    return number


def _width(written: str | None) -> float | None:
    number = _number(written)
    if number is not None and number <= 0:
        raise Refused("not-a-number", "the width of a window has to be above zero")
    return number


AT = "/studies/{study_uid}/images/{input_set:int}"
ROUTES = [Route(AT, show), Route(AT + "/{k:int}.png", slice_)]
