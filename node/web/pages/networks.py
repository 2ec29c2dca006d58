"""Networks: their versions and scores, which one is live, and what a person decides about them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from db.accounts import Role

from ...errors import Refused
from ...operations import catalogue, installing, one_network, versions
from ..page import Form, Navigation, done, needs, node_of, render, text, user_of

#: of files that our own reports are: styles and pictures of their own, no script, nobody's origin
REPORT_CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


@needs(Role.VIEWER)
def show(request: Request) -> Response:
    """All of them."""
    return render(request, "networks.html", **catalogue.listing(node_of(request).networks))


@needs(Role.VIEWER)
def one(request: Request) -> Response:
    """One of them, with what can be decided."""
    found = one_network.one_network(node_of(request).networks, request.path_params["network"])
    return render(request, "network.html", of=found, policy=node_of(request).learning)


@needs(Role.APPROVER)
def decide(request: Request, form: Form) -> Response:
    """What a person decides: the same functions as those of the command line."""
    node, name = node_of(request), request.path_params["network"]
    who, what, why, version = user_of(request).name, text(form, "what"), text(form, "why"), text(form, "version")
    if not why.strip():
        raise Refused("no-reason", "This needs a reason: it is kept with the decision.")
    if what == "shadow":
        said = versions.shadow(node.database, name, version, who, why)
    elif what == "approve":
        studies, two_person = node.learning.shadow_studies, node.learning.two_person
        said = versions.approve(node.database, name, version, who, why, studies, two_person=two_person)
    elif what == "promote":
        said = versions.promote(node.networks, name, version, who, why, two_person=node.learning.two_person)
    elif what == "rollback":
        said = versions.rollback(node.networks, name, who, why, version or None)
    elif what in ("enable", "disable"):
        said = installing.switch(node.networks, name, who, on=what == "enable", why=why)
    else:
        raise Refused("no-such-decision", "That cannot be decided about a network.")
    return done(request, f"/networks/{name}", said)


@needs(Role.VIEWER)
def report(request: Request) -> Response:
    """A report or a model card that the node has kept."""
    run, name = request.path_params["run"], request.path_params["name"]
    file, media_type = one_network.report_file(node_of(request).networks, run, name)
    headers = {"content-security-policy": REPORT_CSP, "cache-control": "no-store"}
    if media_type == "application/pdf":
        headers["content-disposition"] = f'inline; filename="run-{run}-{name}"'
    return FileResponse(file, media_type=media_type, headers=headers)


NAVIGATION = Navigation(50, "/networks", "Networks")
ROUTES = [
    Route("/networks", show),
    Route("/networks/{network}", one),
    Route("/networks/{network}/decide", decide, methods=["POST"]),
    Route("/reports/{run:int}/{name}", report),
]
