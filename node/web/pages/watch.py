"""Watch: what networks in use found, week by week, and the reviews that drift opens."""

from __future__ import annotations

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.accounts import Role

from ...operations.watch import looking
from ...operations.watch import show as watching
from ...operations.watch.charts import charts
from ..page import Form, Navigation, done, needs, node_of, render, text, user_of, whole


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """Every network."""
    node = node_of(request)
    found = watching.watched(node.database, node.networks, node.watch)
    drawn = {
        one.network: [(chart, Markup(svg)) for chart, svg in charts(one)]  # noqa: S704 - its texts are escaped
        for one in found
    }
    words = {"in_words": watching.in_words, "counted": watching.counted}
    return render(request, "watch.html", watched=found, charts=drawn, **words)


@needs(Role.APPROVER)
def close(request: Request, form: Form) -> Response:
    """A person has looked."""
    renew = text(form, "renew") == "yes"
    who, why = user_of(request).name, text(form, "why")
    said = looking.close(node_of(request).database, whole(form, "review"), who, why, renew=renew)
    return done(request, "/watch", said)


NAVIGATION = Navigation(60, "/watch", "Watch")
ROUTES = [Route("/watch", show), Route("/watch/close", close, methods=["POST"])]
