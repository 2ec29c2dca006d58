"""For programs that watch: /health/live, /health/ready and /metrics. No sign-in, no patient, nothing secret."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from models.gpus import gpus

from ... import __version__
from ...operations import health, machines, metrics
from ..page import node_of, public


@public
async def live(_request: Request) -> Response:
    """This process answers; also while all threads wait for a database that hangs."""
    return JSONResponse({"status": "live"})


@public
def ready(request: Request) -> Response:
    """The node can do its work; 503, with the reasons, where it cannot."""
    node = node_of(request)
    found = health.reasons(node.database, node.archive.home, node.alarms.reserve_bytes)
    said = [{"code": one.code, "sentence": one.sentence} for one in found]
    return JSONResponse({"status": "not ready" if said else "ready", "reasons": said}, 503 if said else 200)


@public
def numbers(request: Request) -> Response:
    """For Prometheus; to whoever may not, there is no such page."""
    node = node_of(request)
    address = request.client.host if request.client else ""
    if not node.readers.may(address, request.headers.get("authorization", "")):
        if node.readers.token_file is not None:
            return Response("A token is needed.\n", 401, {"www-authenticate": "Bearer"}, media_type="text/plain")
        raise HTTPException(404)
    warm = machines.warm_networks(node.database, node.archive.home)
    seen = metrics.snapshot(node.database, node.archive.home, __version__, warm, gpus(), node.confine)
    return Response(metrics.exposition(seen), media_type=metrics.CONTENT_TYPE)


ROUTES = [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", numbers)]
