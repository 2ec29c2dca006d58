"""Serve the pages over HTTP or TLS until the process is told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette

from .connection import Connection
from .entrance import BACKLOG, Entrance
from .policy import WebPolicy

STOP_SECONDS = 3


class Server:
    """The pages at an address; it listens once it is made.

    Attributes:
        url: where a browser on this machine finds them.

    Raises:
        OSError: it cannot listen there, or the files of the certificate cannot be used.
    """

    def __init__(self, site: Starlette, policy: WebPolicy) -> None:
        self._entrance, self._patience = Entrance(policy), policy.patience
        port = self._entrance.getsockname()[1]
        made = partial(Connection, entrance=self._entrance, patience=self._patience)
        self._config = uvicorn.Config(
            site,
            lifespan="off",
            ws="none",
            http=cast(type[asyncio.Protocol], made),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(max(1, self._patience.head_seconds)),
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=policy.certificate,
            ssl_keyfile=policy.key,
        )
        try:
            self._config.load()
        except OSError as error:
            self._entrance.close()
            said = f"`certificate` and `key` in [web] cannot be used: {error.strerror or error}"
            raise OSError(error.errno, said) from None
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._run, name="pages", daemon=True)
        there = ipaddress.ip_address(policy.address)
        name = "127.0.0.1" if there.is_unspecified else f"[{there}]" if there.version == 6 else str(there)
        self.url = f"{'https' if policy.certificate else 'http'}://{name}:{port}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Let what is being answered come to its end."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS + 2)
        self._entrance.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=partial(_Loop, self._patience.handshake_seconds)) as runner:
            runner.run(self._server.serve([self._entrance]))


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that waits for handshakes of TLS as long as it is told to: uvicorn has no key for it."""

    def __init__(self, handshake_seconds: float) -> None:
        super().__init__()
        self._handshake_seconds = handshake_seconds

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("ssl"):
            bounds = ("ssl_handshake_timeout", "ssl_shutdown_timeout")
            kwargs |= dict.fromkeys(bounds, self._handshake_seconds)
        return await super().create_server(*args, **kwargs)
