"""Serve the pages over HTTP or TLS until the process is told to stop."""

from __future__ import annotations

import ipaddress
import socket
import threading

import uvicorn
from starlette.applications import Starlette

from .policy import WebPolicy

#: more connections at a time are answered 503
CONNECTIONS = 200
KEEP_ALIVE_SECONDS = 15
STOP_SECONDS = 3


class Server:
    """The pages at an address; it listens once it is made.

    Attributes:
        url: where a browser on this machine finds them.

    Raises:
        OSError: it cannot listen there, or the files of the certificate cannot be used.
    """

    def __init__(self, site: Starlette, policy: WebPolicy) -> None:
        self._socket = _listening(policy.address, policy.port)
        port = self._socket.getsockname()[1]
        self._config = uvicorn.Config(
            site,
            lifespan="off",
            ws="none",
            http="h11",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=policy.certificate,
            ssl_keyfile=policy.key,
        )
        try:
            self._config.load()
        except OSError as error:
            self._socket.close()
            said = f"`certificate` and `key` in [web] cannot be used: {error.strerror or error}"
            raise OSError(error.errno, said) from None
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="pages", daemon=True)
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
        self._socket.close()


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{error.strerror} ({address}:{port})") from None
    made.listen(128)
    return made
