"""Connections that say nothing, too little or too slowly: nobody else waits for them, and they come to an end."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from db.accounts import Role
from node.app import Node
from node.inbound.guests import Limits
from node.web.policy import Patience, WebPolicy
from node.web.server import Server
from node.web.site import site as made_of
from tests.certificates import Issued, self_signed
from tests.pages import QUICK, Client, Site, open_pages
from tests.waiting import wait_until

#: more than there is room for
MANY = 250
#: nobody's deadline comes in a test
LONG = Patience(handshake_seconds=600, head_seconds=600, body_seconds=600, unread_seconds=600)
PLAIN, TLS = "plain", "tls"
#: in which pages are made (anyio's default)
THREADS = 40

HEAD = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /sign-in HTTP/1.1\r\nhost: %s\r\norigin: %s\r\ncontent-length: 200\r\n"
FORM = b"content-type: application/x-www-form-urlencoded\r\n\r\n"


@dataclass
class Served:
    """Pages, or an application of a test, with ways to bother them."""

    server: Server
    context: ssl.SSLContext | None
    held: ExitStack

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.url.partition("//")[2].rpartition(":")
        return host, int(port)

    def connect(self, *, handshake: bool = True, source: str = "127.0.0.1") -> socket.socket:
        """A connection; it stays until the end of the test."""
        made = socket.create_connection(self.address, 30, (source, 0))
        if self.context is not None and handshake:
            made = self.context.wrap_socket(made, server_hostname="127.0.0.1")
        return self.held.enter_context(made)

    def get(self, path: str) -> httpx.Response:
        """What somebody gets who asks as he should."""
        with Client(self.server.url, verify=self.context or True) as client:
            return client.get(path)

    def post(self) -> bytes:
        """The head of a form whose body is still to come."""
        url = self.server.url
        return POST % (url.partition("//")[2].encode(), url.encode()) + FORM

    @property
    def left(self) -> int:
        """Connections and requests that the server still has."""
        state = self.server._server.server_state
        return len(state.connections) + len(state.tasks)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Node]:
    opened = open_pages(tmp_path_factory.mktemp("slow") / "home", migrated)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    return self_signed(tmp_path_factory.mktemp("certificate"), "pages")


@pytest.fixture
def serve(node: Node, certificate: Issued) -> Iterator[Callable[..., Served]]:
    """Serves the pages, or `app`, in a test: `serve(TLS, patience=...)`."""
    with ExitStack() as stack:

        def started(how: str = PLAIN, app: Starlette | None = None, **keys: Any) -> Served:
            tls = {"certificate": certificate.certificate, "key": certificate.key} if how == TLS else {}
            policy = WebPolicy(passwords=QUICK, **tls, **keys)
            server = Server(app or made_of(node, policy), policy)
            server.start()
            stack.callback(server.stop)
            context = ssl.create_default_context(cafile=str(certificate.certificate)) if tls else None
            return Served(server, context, stack.enter_context(ExitStack()))

        yield started


def silent(served: Served) -> None:
    served.connect()


def one_byte(served: Served) -> None:
    served.connect().sendall(b"G")


def half_a_head(served: Served) -> None:
    served.connect().sendall(HEAD)


def half_a_body(served: Served) -> None:
    served.connect().sendall(served.post() + b"csrf=")


def no_handshake(served: Served) -> None:
    served.connect(handshake=False)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


KINDS = [(PLAIN, kind) for kind in (silent, one_byte, half_a_head, half_a_body)]
KINDS += [(TLS, kind) for kind in (silent, half_a_body, no_handshake)]


@pytest.mark.parametrize(("how", "bother"), KINDS, ids=[f"{how}-{kind.__name__}" for how, kind in KINDS])
def test_many_that_do_not_ask_keep_nobody_out(
    how: str, bother: Callable[[Served], None], serve: Callable[..., Served]
) -> None:
    served = serve(how, patience=LONG)

    def all_is_well() -> None:
        assert served.get("/health/live").json() == {"status": "live"}
        assert served.get("/sign-in").status_code == 200
        assert served.get("/health/ready").status_code == 503  # no other process runs: it was asked

    all_is_well()
    wait_until("the first ones have gone", lambda: not served.left)
    before = descriptors()
    for number in range(MANY):
        bother(served)
        if number % 50 == 0:
            all_is_well()
    all_is_well()
    served.held.close()
    all_is_well()
    wait_until("nothing of them is left", lambda: not served.left)
    # the event loop, the database and the thread pool may have opened a few for good
    wait_until("their descriptors are closed", lambda: descriptors() <= before + 10)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ended it; what it still said is skipped."""
    try:
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True


@pytest.mark.parametrize("how", [PLAIN, TLS])
def test_a_head_has_its_time_also_where_bytes_trickle_in(how: str, serve: Callable[..., Served]) -> None:
    # whoever does not say goodbye, either, is waited for as long as for a handshake
    served = serve(how, patience=Patience(head_seconds=0.3, handshake_seconds=5))
    assert is_closed(served.connect())
    for said in (b"", HEAD + b"\r\n"):
        slow = served.connect()
        with suppress(ConnectionError, ssl.SSLError):  # the time may be over
            slow.sendall(said)

        def refused(slow: socket.socket = slow) -> bool:
            try:
                slow.sendall(b"x")
            except (ConnectionError, ssl.SSLError):
                return True
            return False

        wait_until("it is closed", refused)
    wait_until("nothing of them is left", lambda: not served.left)


def test_a_handshake_has_its_time(serve: Callable[..., Served]) -> None:
    served = serve(TLS, patience=Patience(handshake_seconds=0.3))
    assert is_closed(served.connect(handshake=False))
    begun = served.connect(handshake=False)
    with suppress(ConnectionError):  # the time may be over
        begun.sendall(b"\x16\x03\x01")
    assert is_closed(begun)


@pytest.mark.parametrize("how", [PLAIN, TLS])
def test_a_body_has_its_time(how: str, serve: Callable[..., Served]) -> None:
    served = serve(how, patience=Patience(body_seconds=0.3, head_seconds=1, handshake_seconds=60))

    def answered() -> bytes:
        """To the end of the connection; nothing where the time of the head was over before it had come."""
        slow, answer = served.connect(), b""
        with suppress(ConnectionError, ssl.SSLError):
            slow.sendall(served.post() + b"csrf=")
            while part := slow.recv(65536):
                answer += part
        return answer

    answer = wait_until("a body is waited for", answered)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not come to its end in time" in answer
    wait_until("nothing of it is left", lambda: not served.left)


def test_a_big_body_over_a_slow_line_comes_to_its_end(serve: Callable[..., Served]) -> None:
    served = serve(patience=Patience(body_seconds=0.5, body_bytes=1, head_seconds=600))
    slow = served.connect()
    began = time.monotonic()
    slow.sendall(served.post() + b"csrf=" + b"x" * 100)
    wait_until("more than the time of a body is over", lambda: time.monotonic() - began > 1)
    slow.sendall(b"x" * 95)
    assert slow.recv(65536).startswith(b"HTTP/1.1 403")  # its token is none: the form was read


def test_who_asks_again_and_again_on_one_connection_is_answered(serve: Callable[..., Served]) -> None:
    served = serve(patience=LONG)
    one = served.connect()
    for _ in range(3):
        one.sendall((HEAD + b"\r\n") * 2)  # the second is sent before the first is answered
        answers = b""
        while answers.count(b'"live"') < 2:
            answers += one.recv(65536)
        assert answers.count(b"HTTP/1.1 200") == 2


def test_an_answer_that_is_not_read_has_its_time(serve: Callable[..., Served]) -> None:
    over = threading.Event()

    async def big(_request: Request) -> Response:
        async def parts() -> Any:
            for _ in range(2000):
                yield b"x" * 65536
            over.set()

        return StreamingResponse(parts())

    served = serve(app=Starlette(routes=[Route("/", big)]), patience=Patience(unread_seconds=0.3))
    served.connect().sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    wait_until("it is given up", over.is_set)
    wait_until("nothing of it is left", lambda: not served.left)


def test_those_of_one_address_make_room_for_each_other(serve: Callable[..., Served]) -> None:
    served = serve(patience=LONG, room=Limits(per_address=4, waiting=100, associations=10))
    elsewhere, first = served.connect(source="127.0.0.2"), served.connect()
    for _ in range(4):
        served.connect()
    assert is_closed(first)
    elsewhere.sendall(HEAD + b"\r\n")
    assert elsewhere.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_proxy_may_have_as_many_as_there_is_room_for(serve: Callable[..., Served]) -> None:
    served = serve(patience=LONG, room=Limits(per_address=2, waiting=9, associations=9), proxies=())
    several = [served.connect() for _ in range(9)]
    for one in several:
        one.sendall(HEAD + b"\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200")


@contextmanager
def working(count: int) -> Iterator[tuple[Starlette, Callable[[], int]]]:
    """An application whose requests all wait, until the end of this."""
    go, begun = threading.Event(), list[int]()

    def work(_request: Request) -> Response:
        begun.append(1)
        go.wait(60)
        return PlainTextResponse("done")

    try:
        yield Starlette(routes=[Route("/", work)]), lambda: len(begun) >= count
    finally:
        go.set()


def test_who_comes_when_all_seats_are_taken_is_told_so(serve: Callable[..., Served]) -> None:
    with working(3) as (app, all_begun):
        served = serve(app=app, room=Limits(per_address=100, waiting=10, associations=3))
        busy = [served.connect() for _ in range(3)]
        for one in busy:
            one.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        wait_until("all three are at work", all_begun)
        for _ in range(20):
            served.connect()  # they displace each other, and nobody who is answered
        assert served.get("/").status_code == 503
    for one in busy:
        assert one.recv(65536).startswith(b"HTTP/1.1 200")
    wait_until("there is room again", lambda: served.get("/").status_code == 200)


def test_whether_it_lives_is_answered_while_every_thread_waits(serve: Callable[..., Served], node: Node) -> None:
    """As for a database that hangs: a probe that waited with them would have the pages started again."""
    go, begun = threading.Event(), list[int]()

    def wait(_request: Request) -> Response:
        begun.append(1)
        go.wait(60)
        return PlainTextResponse("done")

    app = made_of(node, WebPolicy(passwords=QUICK))
    app.router.routes.insert(0, Route("/wait", wait))
    served = serve(app=app)
    try:
        for _ in range(THREADS + 10):
            served.connect().sendall(b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n")
        wait_until("all threads wait", lambda: len(begun) == THREADS)
        assert served.get("/health/live").status_code == 200
    finally:
        go.set()


def test_a_file_that_is_tried_out_has_its_time_too(serve: Callable[..., Served], node: Node) -> None:
    """Its body is read by the page itself, as a stream."""
    site = Site(node, WebPolicy(passwords=QUICK), serve(patience=LONG).server.url)
    served = serve(patience=Patience(body_seconds=0.3, head_seconds=60))
    with site.client(Role.OPERATOR) as client:
        study = client.submit("/try/begin", at="/try", network="ct_lungs").json()["study"]
        said = {
            "origin": served.server.url,
            "host": served.server.url.partition("//")[2],
            "cookie": f"planimeter={client.cookies['planimeter']}",
            "x-csrf-token": client.token("/queue"),
            "content-length": "100",
        }
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    slow = served.connect()
    slow.sendall(f"POST /try/{study}/file?name=a HTTP/1.1\r\n{head}\r\nDICM".encode())
    assert slow.recv(65536).startswith(b"HTTP/1.1 408")
