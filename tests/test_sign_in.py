"""Who gets in: accounts, sessions, guessed passwords, planted sessions, forms and names from elsewhere."""

from __future__ import annotations

import ipaddress
import json
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from config.settings import SettingsError, load
from db import events, sign_in_delays
from db.accounts import Role
from db.database import Database
from db.tables import session, sign_in_delay
from node.command_line.arguments.users import ROLES
from node.errors import Refused
from node.operations import accounts, sign_in
from node.operations.passwords import Passwords
from tests.conftest import find_program
from tests.pages import PASSWORD, QUICK, Client, Site, open_pages, serving
from tests.running import RunningNode, planimeter
from tests.waiting import wait_until

OTHER = "nine green herons"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Site]:
    node = open_pages(tmp_path_factory.mktemp("pages") / "home", migrated)
    with serving(node) as served:
        yield served
    node.close()


@pytest.fixture
def fresh(tmp_path: Path, migrated: Path) -> Iterator[Site]:
    """Nobody was here yet."""
    node = open_pages(tmp_path / "home", migrated)
    with serving(node) as served:
        yield served
    node.close()


def said(database: Database, what: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Who, about what, details: the events of a kind, oldest first."""
    with database.read() as tx:
        rows = [row for row in events.every(tx) if row["what"] == what]
    return [(row["who"], row["subject"], json.loads(row["details"])) for row in rows]


def let_pass(database: Database, seconds: float) -> None:
    """As if so much time had gone by for everything that signing in is about."""
    with database.write() as tx:
        for column in (session.c.created, session.c.seen, session.c.shows_until):
            tx.execute(sa.update(session).values({column.name: column - seconds}))
        for column in (sign_in_delay.c.last, sign_in_delay.c.not_before, sign_in_delay.c.succeeded):
            tx.execute(sa.update(sign_in_delay).values({column.name: column - seconds}))


def stretch(database: Database) -> None:
    """Every wait that was given is 1000 s longer: what a slow machine takes between two attempts does not count."""
    given, long = sign_in_delay.c.not_before > sign_in_delay.c.last, sign_in_delay.c.last + 500
    with database.write() as tx:
        short = sa.and_(given, sign_in_delay.c.not_before < long)
        tx.execute(sa.update(sign_in_delay).where(short).values(not_before=sign_in_delay.c.not_before + 1000))


def is_in(client: Client) -> bool:
    return client.get("/queue").status_code == 200


# ------------------------------------------------------------- the first one


def test_the_first_administrator_is_made_with_a_token_that_works_once(fresh: Site) -> None:
    database, home = fresh.node.database, fresh.node.archive.home
    with Client(fresh.url) as client:
        assert "one-time token" in client.get("/sign-in").text
        file = home / sign_in.FIRST_FILE
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text().strip()
        form = {"name": "ada", "password": PASSWORD, "again": PASSWORD}
        wrong = client.submit("/first", at="/sign-in", token="not it", **form)
        assert wrong.status_code == 401
        assert "not the one-time token" in wrong.text
        weak = client.submit("/first", at="/sign-in", token=token, name="ada", password="short", again="short")
        assert "12 to 1024 characters" in weak.text
        unequal = client.submit("/first", at="/sign-in", token=token, **form | {"again": OTHER})
        assert "not the same" in unequal.text
        assert client.submit("/first", at="/sign-in", token=token, **form).status_code == 303
        assert is_in(client)
        assert not file.exists()
    with Client(fresh.url) as second:
        assert "one-time token" not in second.get("/sign-in").text
        late = second.submit("/first", at="/sign-in", token=token, name="eve", password=PASSWORD, again=PASSWORD)
        assert late.status_code == 401
        assert "an account already" in late.text
    assert [one.name for one in accounts.listing(database)] == ["ada"]
    assert said(database, "account-added") == [("ada", "ada", {"role": "admin", "with": "first token"})]


def test_of_two_processes_that_start_at_once_both_know_the_same_token(fresh: Site) -> None:
    database, home = fresh.node.database, fresh.node.archive.home
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(sign_in.first_token(database, home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [file.name for file in home.glob("first-sign-in*")] == [sign_in.FIRST_FILE]


# ------------------------------------------------------------------ sessions


def test_signing_in_and_out_is_recorded(site: Site) -> None:
    with site.client(Role.VIEWER) as client:
        assert is_in(client)
        assert client.submit("/sign-out").status_code == 303
        assert not is_in(client)
    name, database = site.account(Role.VIEWER), site.node.database
    assert (name, "pages", {"from": "127.0.0.1"}) in said(database, "sign-in")
    assert (name, "pages", {}) in said(database, "sign-out")


def test_a_session_ends_with_time_and_with_idleness(site: Site) -> None:
    with site.client() as client:
        let_pass(site.node.database, 29 * 60)
        assert is_in(client), "and that somebody is there was noted"
        let_pass(site.node.database, 29 * 60)
        assert is_in(client)
        let_pass(site.node.database, 31 * 60)
        assert not is_in(client)
    with site.client() as client:
        for _ in range(30):
            assert is_in(client)
            let_pass(site.node.database, 29 * 60)
            if not is_in(client):
                break
        else:
            raise AssertionError("a session lives for ever where somebody is there")


def test_what_a_page_asks_by_itself_keeps_nobody_signed_in(site: Site) -> None:
    with site.client() as client:
        let_pass(site.node.database, 29 * 60)
        fragment = {"x-planimeter-fragment": "1"}
        assert client.get("/queue/rows", headers=fragment).status_code == 200
        let_pass(site.node.database, 2 * 60)
        assert client.get("/queue/rows", headers=fragment).status_code == 401
        assert not is_in(client)


def test_a_planted_session_is_never_anybodys(site: Site) -> None:
    """Fixation: what was in the browser before is worth nothing after signing in."""
    name = site.account(Role.VIEWER)
    with Client(site.url) as client:
        client.cookies.set(site.policy.cookie, "planted", domain="127.0.0.1")
        client.sign_in(name, PASSWORD)
        assert is_in(client)
        now = [cookie.value for cookie in client.cookies.jar if cookie.name == site.policy.cookie]
        assert "planted" not in now or len(now) > 1
    with Client(site.url) as thief:
        thief.cookies.set(site.policy.cookie, "planted", domain="127.0.0.1")
        assert not is_in(thief)


def test_each_sign_in_has_a_session_of_its_own_and_the_database_cannot_be_read_for_one(site: Site) -> None:
    with site.client() as one, site.client() as other:
        tokens = {client.cookies[site.policy.cookie] for client in (one, other)}
        assert len(tokens) == 2
        with site.node.database.read() as tx:
            kept = set(tx.execute(sa.select(session.c.token_sha256)).scalars())
        assert not tokens & kept
        with Client(site.url) as thief:
            thief.cookies.set(site.policy.cookie, next(iter(kept)), domain="127.0.0.1")
            assert not is_in(thief)


def test_cookies_are_not_for_scripts_and_not_for_other_sites(site: Site) -> None:
    with Client(site.url) as client:
        answer = client.sign_in(site.account(Role.VIEWER), PASSWORD)
        (made,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith("planimeter=")]
        assert "HttpOnly" in made
        assert "SameSite=Strict" in made
        assert "Path=/" in made
        assert "Secure" not in made, "this site is spoken to in the clear, on this machine"


def test_a_change_of_the_account_ends_its_sessions(site: Site) -> None:
    database = site.node.database
    accounts.add(database, QUICK, "bob", PASSWORD, Role.OPERATOR, "tests")

    def signed_in(password: str = PASSWORD) -> Client:
        client = Client(site.url)
        client.sign_in("bob", password)
        assert is_in(client)
        return client

    client = signed_in()
    accounts.set_password(database, QUICK, "bob", OTHER, "tests")
    assert not is_in(client)
    assert client.sign_in("bob", PASSWORD).status_code == 401
    client = signed_in(OTHER)
    accounts.set_role(database, "bob", Role.VIEWER, "tests")
    assert not is_in(client)
    client = signed_in(OTHER)
    accounts.set_disabled(database, "bob", "tests", disabled=True)
    assert not is_in(client)
    assert client.sign_in("bob", OTHER).status_code == 401
    accounts.set_disabled(database, "bob", "tests", disabled=False)
    client = signed_in(OTHER)
    with Client(site.url) as elsewhere:
        elsewhere.sign_in("bob", OTHER)
        form = {"password": OTHER, "new": PASSWORD, "again": PASSWORD}
        assert client.submit("/account/password", at="/account", **form).status_code == 303
        assert is_in(client), "where it was changed one stays"
        assert not is_in(elsewhere)
    wrong = client.submit("/account/password", at="/account", **form | {"password": "guess"})
    assert "name or password is wrong" in client.get(wrong.headers["location"]).text


def test_patients_are_hidden_until_somebody_asks_which_is_recorded_and_ends(site: Site) -> None:
    with site.client(Role.VIEWER) as client:
        assert "Show patients" in client.get("/queue").text
        assert (
            client.submit("/patients", show="yes", back="/queue?state=done").headers["location"] == "/queue?state=done"
        )
        assert "Hide patients" in client.get("/queue").text
        assert said(site.node.database, "patients-shown")[-1] == (site.account(Role.VIEWER), "pages", {"minutes": 15})
        let_pass(site.node.database, 16 * 60)
        assert "Show patients" in client.get("/queue").text
        elsewhere = client.submit("/patients", show="no", back="//evil.example/")
        assert elsewhere.headers["location"] == "/queue"


# ------------------------------------------------------------------- guessing


def test_guessing_gets_slower_and_unknown_names_are_answered_alike(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    with Client(fresh.url) as client:
        for name in ("ada", "nobody"):
            answers = [client.sign_in(name, f"guess {n}") for n in range(5)]
            stretch(database)
            answers += [client.sign_in(name, f"guess {n}") for n in range(2)]
            assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
            assert "name or password is wrong" in answers[0].text
            assert "wait" in answers[-1].text
        assert client.sign_in("ada", PASSWORD).status_code == 429, "the right one has to wait too"
        let_pass(database, 1003)
        assert client.sign_in("ada", "guess").status_code == 401
        stretch(database)
        assert client.sign_in("ada", "guess").status_code == 429
        with database.read() as tx:
            asked = sa.select(sign_in_delay.c.not_before - sign_in_delay.c.last).where(sign_in_delay.c.failures == 6)
            waits = tx.execute(asked).scalars().all()
        assert waits
        assert waits == pytest.approx([1004.0] * len(waits)), "each failure doubles it"
        let_pass(database, 1005)
        assert client.sign_in("ada", PASSWORD).status_code == 303
    failed = said(database, "sign-in-failed")
    assert {who for who, _, _ in failed} == {"ada", "unknown account"}, "what was typed as a name is not kept"
    with database.read() as tx:
        subjects = tx.execute(sa.select(sign_in_delay.c.subject)).scalars().all()
    assert not [one for one in subjects if "ada" in one or "nobody" in one]


class Counting(PasswordHasher):
    """Counts how often a password is compared."""

    compared = 0

    def verify(self, *given: Any) -> Any:
        self.compared += 1
        return super().verify(*given)


def test_an_unknown_name_takes_as_much_work_as_a_known_one(fresh: Site) -> None:
    database = fresh.node.database
    hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
    passwords = Passwords(hasher)
    accounts.add(database, passwords, "ada", PASSWORD, Role.ADMIN, "tests")
    accounts.add(database, passwords, "gone", PASSWORD, Role.ADMIN, "tests")
    accounts.set_disabled(database, "gone", "tests", disabled=True)
    for name, password in (("ada", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD), ("", ""), ("ada", "x" * 100_000)):
        before = hasher.compared
        with pytest.raises(Refused, match="name or password is wrong"):
            sign_in.sign_in(database, passwords, name, password, "10.0.0.1")
        assert hasher.compared == before + 1, name


def test_guessing_from_elsewhere_locks_nobody_out_who_was_here_before(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "10.0.0.1")
    for n in range(12):
        with pytest.raises(Refused):
            sign_in.sign_in(database, QUICK, "ada", "guess", f"10.6.6.{n}")
    stretch(database)
    with pytest.raises(Refused, match="wait"):
        sign_in.sign_in(database, QUICK, "ada", PASSWORD, "10.0.0.99")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "10.0.0.1")


def test_the_addresses_of_one_network_guess_no_more_than_one_address(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    for n in range(30):
        with pytest.raises(Refused):
            sign_in.sign_in(database, QUICK, f"name{n}", "guess", f"2001:db8::{n:x}:1")
    stretch(database)
    with pytest.raises(Refused, match="wait"):
        sign_in.sign_in(database, QUICK, "ada", PASSWORD, "2001:db8::ffff")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "2001:db8:0:1::1")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "2001:db8:0:1::2")


def test_somebody_at_a_shared_address_locks_out_none_of_those_who_were_there(fresh: Site) -> None:
    """A proxy, or one address for a department."""
    database, address = fresh.node.database, "10.0.0.1"
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, address)
    for n in range(30):
        with pytest.raises(Refused):
            sign_in.sign_in(database, QUICK, f"name{n}", "guess", address)
    stretch(database)
    with pytest.raises(Refused, match="wait"):
        sign_in.sign_in(database, QUICK, "another name", "guess", address)
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, address)


def test_many_guesses_at_the_same_moment_gain_nothing(database: Database) -> None:
    """On either database: each attempt is counted before its password is looked at."""
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    codes: list[str] = []

    def guess() -> None:
        try:
            sign_in.sign_in(database, QUICK, "ada", "guess", "10.0.0.7")
        except Refused as refusal:
            codes.append(refusal.code)
        stretch(database)

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes.count("sign-in-wrong") == 5
    assert codes.count("sign-in-wait") == 7


def test_waits_double_up_to_their_longest_and_are_forgotten_after_a_day(database: Database) -> None:
    waits = []
    for _ in range(9):
        with database.write() as tx:
            assert sign_in_delays.book(tx, {"account:x": (2, 16.0)}) == 0.0
            waits.append(tx.execute(sa.select(sign_in_delay.c.not_before - sign_in_delay.c.last)).scalar_one())
            if len(waits) > 2:
                assert sign_in_delays.book(tx, {"account:x": (2, 16.0)}) > 0
        let_pass(database, 16)
    assert waits == pytest.approx([0, 0, 2, 4, 8, 16, 16, 16, 16])
    let_pass(database, 90_000)
    with database.write() as tx:
        assert sign_in_delays.book(tx, {"account:x": (2, 16.0)}) == 0.0
        assert sign_in_delays.book(tx, {"account:x": (2, 16.0)}) == 0.0
        sign_in_delays.sweep(tx)


def test_what_is_over_is_forgotten_when_somebody_signs_in(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "10.0.0.1")
    with pytest.raises(Refused):
        sign_in.sign_in(database, QUICK, "ada", "guess", "10.0.0.2")
    let_pass(database, 100 * 86_400)
    sign_in.sign_in(database, QUICK, "ada", PASSWORD, "10.0.0.3")
    with database.read() as tx:
        assert tx.execute(sa.select(session.c.address)).scalars().all() == ["10.0.0.3"]
        assert not [one for one in tx.execute(sa.select(sign_in_delay.c.subject)).scalars() if "10.0.0.1" in one]


# ------------------------------------------------------- forms from elsewhere


def test_a_form_without_its_token_or_from_another_site_does_nothing(site: Site) -> None:
    with site.client() as client:
        token = client.token("/users")
        form = {"csrf": token, "name": "mallory", "role": "admin", "new": OTHER, "again": OTHER}
        for headers, fields in (
            ({}, form | {"csrf": ""}),
            ({}, form | {"csrf": token[::-1]}),
            ({"origin": "http://evil.example"}, form),
            ({"origin": "null"}, form),
            ({"origin": site.url.replace("127.0.0.1", "localhost")}, form),
            ({"sec-fetch-site": "cross-site"}, form),
            ({"sec-fetch-site": "same-site"}, form),
        ):
            assert client.post("/users/add", data=fields, headers=headers).status_code == 403, headers
        del client.headers["origin"]
        assert client.post("/users/add", data=form, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        del client.headers["sec-fetch-site"]
        assert client.post("/users/add", data=form).status_code == 403, "a browser says where it comes from"
        assert not any(one.name == "mallory" for one in accounts.listing(site.node.database))
        assert client.post("/users/add", data=form, headers={"origin": site.url}).status_code == 303
        with site.client() as other:
            assert other.post("/users/add", data=form | {"name": "eve"}).status_code == 403, "a token is one session's"


def test_a_name_that_is_not_ours_is_answered_nothing(site: Site) -> None:
    with site.client() as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "evil.example:8104"):
            answer = client.get("/queue", headers={"host": host})
            assert answer.status_code in (400, 421), host
            assert "Queue" not in answer.text
        assert client.get("/queue", headers={"host": "localhost"}).status_code == 200


def test_two_names_are_none(site: Site) -> None:
    port = int(site.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(b"GET /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b" 4" in line.recv(4096).split(b"\r\n")[0]


def test_too_much_at_once_is_not_read(site: Site) -> None:
    with site.client() as client:
        big = {"csrf": client.token("/users"), "name": "x" * 1_000_000}
        assert client.post("/users/add", data=big).status_code == 413
        many = {f"field{n}": "x" for n in range(2000)}
        assert client.post("/users/add", data=many).status_code in (400, 413)


def test_every_answer_forbids_what_pages_do_not_need(site: Site) -> None:
    with site.client() as client:
        for path in ("/queue", "/sign-in", "/nowhere", "/static/planimeter.js", "/queue/rows"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
            assert "server" not in headers
        answer = client.post("/queue", headers={"host": "evil.example"})
        assert "content-security-policy" in answer.headers


# ------------------------------------------------------------- TLS and proxies


def test_a_proxy_says_who_called_and_nobody_else_is_answered(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    here, there = ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("10.9.9.0/24")
    with serving(fresh.node, proxies=(there,)) as other, Client(other.url) as client:
        assert client.get("/sign-in").status_code == 403
    hosts = frozenset({"planimeter.example"})
    with serving(fresh.node, proxies=(here,), hosts=hosts) as behind, Client(behind.url) as client:
        client.headers.update({"host": "planimeter.example", "origin": "https://planimeter.example"})
        assert client.get("/sign-in", headers={"x-forwarded-proto": "http"}).status_code == 403
        two = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")]
        assert client.get("/sign-in", headers=two).status_code == 403, "the browser's line is not the proxy's"
        client.headers.update({"x-forwarded-for": "6.6.6.6, 10.1.2.3", "x-forwarded-proto": "https"})
        page = client.get("/sign-in")
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-planimeter=")
        assert "; Secure" in cookie
        assert "max-age" in page.headers["strict-transport-security"]
        # the client keeps no Secure cookie of a site that it speaks to in the clear; the proxy's browser does
        held = {"cookie": cookie.split(";")[0]}
        token = page.text.split('name="csrf" value="')[1].split('"')[0]
        form = {"csrf": token, "name": "ada", "password": PASSWORD}
        assert client.post("/sign-in", data=form, headers=held | {"origin": behind.url}).status_code == 403
        assert client.post("/sign-in", data=form, headers=held).status_code == 303
        # a proxy that adds a line of its own behind what the browser has said
        lines = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "10.1.2.4")]
        del client.headers["x-forwarded-for"]
        client.post("/sign-in", data=form, headers=[*held.items(), *lines])
    assert said(database, "sign-in")[-2:] == [("ada", "pages", {"from": one}) for one in ("10.1.2.3", "10.1.2.4")]


def test_pages_over_tls(fresh: Site, tmp_path: Path) -> None:
    openssl = find_program("openssl", "apt-get install openssl")
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -keyout {key}"
    also = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(pem)]
    subprocess.run([openssl, *command.split(), *also], check=True, capture_output=True)
    accounts.add(fresh.node.database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    with serving(fresh.node, certificate=pem, key=key) as served:
        assert served.url.startswith("https://127.0.0.1:")
        with Client(served.url, verify=ssl.create_default_context(cafile=str(pem))) as client:
            assert client.sign_in("ada", PASSWORD).status_code == 303
            assert is_in(client)
            assert "__Host-planimeter" in client.cookies
        with pytest.raises(httpx.HTTPError), Client(served.url.replace("https", "http")) as plain:
            plain.get("/sign-in")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(pem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.HTTPError), Client(served.url, verify=old) as outdated:
            outdated.get("/sign-in")


# ------------------------------------------------------------------- accounts


def test_an_administrator_stays(fresh: Site) -> None:
    database = fresh.node.database
    accounts.add(database, QUICK, "ada", PASSWORD, Role.ADMIN, "tests")
    for refused in (
        lambda: accounts.set_role(database, "ada", Role.VIEWER, "ada"),
        lambda: accounts.set_disabled(database, "ada", "ada", disabled=True),
    ):
        with pytest.raises(Refused, match="the only administrator"):
            refused()
    accounts.add(database, QUICK, "grace", PASSWORD, Role.ADMIN, "ada")
    accounts.set_disabled(database, "grace", "ada", disabled=True)
    with pytest.raises(Refused, match="the only administrator"):
        accounts.set_role(database, "ada", Role.VIEWER, "ada")


@pytest.mark.parametrize("name", ["", "Ada Lovelace", "a" * 65, "ada\n", "<b>", "äda", "-ada"])
def test_names_are_plain(database: Database, name: str) -> None:
    with pytest.raises(Refused, match="a name has up to 64"):
        accounts.add(database, QUICK, name + "!" if name == "ada\n" else name, PASSWORD, Role.VIEWER, "tests")


@pytest.mark.parametrize("password", ["", "elevenchars", "aaaaaaaaaaaaaaaa", "it is ADA herself", "x" * 2000])
def test_weak_passwords_are_refused(fresh: Site, password: str) -> None:
    with pytest.raises(Refused) as refused:
        accounts.add(fresh.node.database, QUICK, "ada", password, Role.VIEWER, "tests")
    assert refused.value.code == "weak-password"
    if password:
        assert password not in refused.value.sentence


def test_roles_include_those_before() -> None:
    assert tuple(Role) == ROLES
    assert [Role.APPROVER.may(role) for role in Role] == [True, True, True, False]


def test_the_commands_of_users(tmp_path: Path, migrated: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copyfile(migrated, home / "planimeter.db")
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    node = ("--home", home)
    assert (
        "may sign in as admin"
        in planimeter("users", "add", "Ada", "--role", "admin", "--password-file", secret, *node).stdout
    )
    (one,) = json.loads(planimeter("users", "list", "--json", *node).stdout)
    assert {**one, "created": ""} == {"name": "ada", "role": "admin", "state": "enabled", "created": ""}
    assert "the only administrator" in planimeter("users", "disable", "ada", *node, check=False).stderr
    assert "no account eve" in planimeter("users", "role", "eve", "viewer", *node, check=False).stderr


def test_run_serves_the_pages_and_says_how_the_first_one_gets_in(
    start_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    config = tmp_path / "site.toml"
    config.write_text("[web]\nport = 0\n[work]\nworkers = 1\n[hosts]\nat_start = false\n")
    running = start_node("--config", str(config), pages=True)
    wait_until("it says how the first one gets in", lambda: "one-time token" in running.log)
    url = running.log.split("shows its pages at ")[1].split()[0]
    token = (running.home / sign_in.FIRST_FILE).read_text().strip()
    assert token in running.log
    with Client(url) as client:
        form = {"token": token, "name": "ada", "password": PASSWORD, "again": PASSWORD}
        assert client.submit("/first", at="/sign-in", **form).status_code == 303
        assert is_in(client)
    assert running.stop() == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("listen = '0.0.0.0'", "passwords would cross the network in the clear"),
        ("listen = 'everywhere'", "is not an IP address"),
        ("certificate = 'cert.pem'", "certificate and key belong together"),
        ("hosts = ['https://planimeter.example']", "web.hosts.0"),
        ("viewer_link = 'javascript:alert({study_uid})'", "a link begins with https://"),
        ("viewer_link = 'https://viewer.example/'", "contains {study_uid}"),
        ("proxies = ['the proxy']", "is not an IP address or network"),
    ],
)
def test_settings_that_would_be_unsafe_are_refused_in_words(tmp_path: Path, lines: str, said: str) -> None:
    config = tmp_path / "site.toml"
    config.write_text(f"[web]\n{lines}\n")
    with pytest.raises(SettingsError) as error:
        load(config)
    assert said in str(error.value)
    assert str(config) in str(error.value)


def test_settings_that_are_safe_are_taken(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    for lines in (
        "listen = '0.0.0.0'\nbehind_proxy = true",
        "listen = '0.0.0.0'\ncertificate = 'cert.pem'\nkey = 'key.pem'",
        "listen = '::1'",
        "viewer_link = 'weasis://?%24dicom%3Ars+-r+%22studyUID%3D{study_uid}%22'",
    ):
        config.write_text(f"[web]\n{lines}\n")
        load(config)


def test_a_port_that_is_taken_and_a_certificate_that_is_none_are_said(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config.write_text(f"[web]\nport = {other.getsockname()[1]}\n")
        taken = ("--home", tmp_path / "home", "--config", config, "--port", "0")
        for command in ("web", "run"):
            done = planimeter(command, *taken, check=False)
            assert done.returncode == 1
            assert "the pages cannot be served: Address already in use" in done.stderr
            assert "Traceback" not in done.stderr
    config.write_text(f"[web]\nport = 0\ncertificate = '{config}'\nkey = '{config}'\n")
    done = planimeter("web", "--home", tmp_path / "home", "--config", config, check=False)
    assert "`certificate` and `key` in [web] cannot be used" in done.stderr
