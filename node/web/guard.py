"""What every request goes through before a page sees it: Host, proxy, Origin, session; and what every answer says.

- A Host that is not ours is answered 421: a page of somebody else's whose name is bound to our address (DNS rebinding)
  reads nothing.
- A request that changes something comes from our own pages: Origin is ours, or, where a browser sends none,
  Sec-Fetch-Site is "same-origin" (Fetch Metadata). The token in the form is the second lock (`page.needs`).
- Answers forbid scripts and styles that are not files of ours, framing, sniffing, and being kept by caches.
"""

from __future__ import annotations

import asyncio
import secrets
import time

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db import sessions
from db.database import Database, DatabaseUnreachable

from ..operations import sign_in
from .policy import WebPolicy

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: of requests that no person makes: they keep no session alive
FRAGMENT = "x-planimeter-fragment"
STATIC = "/static/"
#: an IPv6 address with its zone
LONGEST_ADDRESS = 64

AGAIN = (
    '<!doctype html><html lang="en"><title>Planimeter</title><meta http-equiv="refresh" content="0"><p>One moment.</p>'
)

CSP = "; ".join(
    [
        "default-src 'none'",
        *(f"{what}-src 'self'" for what in ("script", "style", "img", "connect", "font")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
ALWAYS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


#: answered to whoever asks, by any name: programs that watch know a machine by its address; they are nobody's session
WATCHED = ("/health/live", "/health/ready")
NO_SESSION = (*WATCHED, "/metrics")


class Guard:
    """An ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, policy: WebPolicy, database: Database) -> None:
        self._app, self._policy, self._database = app, policy, database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # nothing else is served
        refusal = self._refusal(scope)
        guarded = self._guarded(scope, send)
        if refusal is not None:
            status, sentence = refusal
            await PlainTextResponse(sentence + "\n", status)(scope, receive, guarded)
            return
        if _followed_a_link(scope):
            await HTMLResponse(AGAIN)(scope, receive, guarded)
            return
        try:
            await self._identify(scope)
        except DatabaseUnreachable:
            busy = PlainTextResponse(
                "The database does not answer; try again in a moment.\n", 503, {"retry-after": "5"}
            )
            await busy(scope, receive, guarded)
            return
        await self._app(scope, self._in_time(receive), guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence of what is not answered; None: it may go on."""
        if scope["path"] in WATCHED and scope["method"] in SAFE:
            return None
        headers = Headers(scope=scope)
        scope["scheme"] = "https" if self._policy.secure else "http"
        if self._policy.proxies is not None:
            if not self._policy.is_proxy(scope["client"][0] if scope["client"] else ""):
                return 403, "These pages are reached through the proxy alone."
            if (_said_by_proxy(headers, "x-forwarded-proto") or "https") != "https":
                return 403, "The proxy was asked without TLS."
            if came_from := _said_by_proxy(headers, "x-forwarded-for"):
                scope["client"] = (came_from[:LONGEST_ADDRESS], 0)
        if len(headers.getlist("host")) != 1 or not self._policy.knows(headers["host"]):
            return 421, "This node is not known by that name; `hosts` in [web] of its configuration lists its names."
        if scope["method"] not in SAFE and not _ours(headers, f"{scope['scheme']}://{headers['host']}"):
            return 403, "This request does not come from a page of this node."
        return None

    async def _identify(self, scope: Scope) -> None:
        """Who asks; `state` has user, token (also of nobody: it guards the sign-in form), flash and shows."""
        request = Request(scope)
        state = scope.setdefault("state", {})
        token = request.cookies.get(self._policy.cookie, "")
        state.update(user=None, token=token, flash=None, shows=False, new_cookie=None)
        if scope["path"].startswith(STATIC) or scope["path"] in NO_SESSION:
            return
        found = await run_in_threadpool(self._session, token, FRAGMENT not in request.headers) if token else None
        if found is not None:
            state.update(user=found.user, flash=found.flash, shows=found.shows)
        elif not token:
            state["token"] = state["new_cookie"] = secrets.token_urlsafe(32)

    def _session(self, token: str, by_a_person: bool) -> sign_in.Found | None:
        policy = self._policy
        found = sign_in.session(self._database, token, policy.session_hours, policy.idle_minutes)
        if found is not None and by_a_person and found.stale:
            with self._database.write() as tx:
                sessions.touch(tx, sign_in.hashed(token))
        return found

    def _in_time(self, receive: Receive) -> Receive:
        """What is waited for a body counts, not what is done with it; big files over slow lines come to their end."""
        patience = self._policy.patience
        left, whole = patience.body_seconds, False

        async def received() -> Message:
            nonlocal left, whole
            if whole:
                return await receive()  # it waits for the end of the connection
            began = time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "What was sent did not come to its end in time.") from None
            left += len(message.get("body", b"")) / patience.body_bytes - (time.monotonic() - began)
            whole = not message.get("more_body", False)
            return message

        return received

    def _guarded(self, scope: Scope, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                if self._policy.secure:
                    headers.setdefault("strict-transport-security", "max-age=31536000")
                new = scope.get("state", {}).get("new_cookie")
                if new is not None:
                    headers.append("set-cookie", cookie(self._policy, new))
            await send(message)

        return guarded


def cookie(policy: WebPolicy, value: str) -> str:
    """The header that sets it; an empty value takes it away."""
    gone = "" if value else "; Max-Age=0"
    return f"{policy.cookie}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if policy.secure else ''}{gone}"


def _followed_a_link(scope: Scope) -> bool:
    """Whether a link on another site led here, an e-mail's for one: the browser keeps the Strict cookie to itself then.

    Somebody who is signed in would be asked to sign in. The same page asked for once more, from here, comes with it.
    """
    headers = Headers(scope=scope)
    asked = (scope["method"], headers.get("sec-fetch-site"), headers.get("sec-fetch-mode"))
    return asked == ("GET", "cross-site", "navigate") and "cookie" not in headers


def _said_by_proxy(headers: Headers, name: str) -> str:
    """What the proxy itself has said: the last word; in the last line, where it adds one to what the browser said."""
    return ",".join(headers.getlist(name)).split(",")[-1].strip()


def _ours(headers: Headers, origin: str) -> bool:
    said = headers.get("origin")
    if said is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return said.lower() == origin.lower() and headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
