"""Association requests and DIMSE messages that are wrong: rejected, refused by a status, or aborted; never silence."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from node.inbound.association.request import MOST_ITEMS
from node.inbound.peers import Doorkeeper, KnownPeer
from tests import wire
from tests.doors import HASTY, Secured, Tried, new_uid, trying
from tests.waiting import wait_until
from tests.wire import CT, ECHOING, EXPLICIT, IMPLICIT, STORING, VERIFICATION, context, item, p_data, pdv, request


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory, migrated: Path, over: Secured | None) -> Iterator[Tried]:
    with trying(tmp_path_factory.mktemp("tried"), migrated, over=over, largest_bytes=200_000) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, over: Secured | None, tried: Tried
) -> Iterator[Tried]:
    """A receiver that knows one scanner, called CT1."""
    peer = KnownPeer("ct", "CT1", ipaddress.ip_network("127.0.0.0/8"), may_send=True, may_send_labels=False)
    with trying(tmp_path_factory.mktemp("guarded"), migrated, (peer,), over=over) as made:
        tried.before = made.before  # its port is open as well, from now on
        yield made


# ------------------------------------------------------------------------ negotiation

ECHO = context(ECHOING, VERIFICATION, (IMPLICIT,))
MANY = tuple(f"1.2.826.0.1.3680043.10.9.7.{number}" for number in range(1000))


def identity(kind: int, primary: bytes, secondary: bytes = b"", answer: int = 1) -> bytes:
    body = struct.pack(">BBH", kind, answer, len(primary)) + primary + struct.pack(">H", len(secondary)) + secondary
    return item(0x58, body)


def role(sop_class: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(sop_class)) + sop_class.encode() + bytes((scu, scp)))


def with_user(*more: bytes, longest: int = 16384) -> bytes:
    return request(user=wire.user_information(*more, longest=longest))


#: a request; what is answered
REQUESTS = {
    "calling with NUL": (request(calling=b"CT1\0"), "reject 1 1 3"),
    "calling with newline": (request(calling=b"CT1\nFAKE log line"), "reject 1 1 3"),
    "calling with escape": (request(calling=b"\x1b[2JCT1"), "reject 1 1 3"),
    "calling not ASCII": (request(calling="RÖNTGEN".encode("latin-1")), "reject 1 1 3"),
    "calling with backslash": (request(calling=b"CT1\\CT2"), "reject 1 1 3"),
    "calling of spaces": (request(calling=b" "), "reject 1 1 3"),
    "called of spaces": (request(called=b" "), "reject 1 1 7"),
    "called with NUL": (request(called=b"A\0B"), "reject 1 1 7"),
    "another protocol version": (request(version=2), "reject 1 2 2"),
    "two protocol versions": (request(version=3), "accept"),
    "another application context": (request(application=item(0x10, b"1.2.3.4")), "reject 1 1 2"),
    "an empty application context": (request(application=item(0x10, b"")), "reject 1 1 2"),
    "no application context": (request(application=b""), "abort 6"),
    "two application contexts": (request(application=2 * wire.APPLICATION), "abort 6"),
    "an application context with newline": (request(application=item(0x10, b"1.2.3\n4")), "abort 6"),
    "a padded application context": (request(application=item(0x10, b"1.2.840.10008.3.1.1.1\0")), "accept"),
    "even context ID": (request(context(2, CT, (EXPLICIT,))), "abort 6"),
    "context ID 0": (request(context(0, CT, (EXPLICIT,))), "abort 6"),
    "context ID twice": (request(ECHO, ECHO), "abort 6"),
    "no transfer syntax": (request(context(1, CT, ())), "abort 6"),
    "no abstract syntax": (request(item(0x20, b"\1\0\0\0" + item(0x40, b"1.2"))), "abort 6"),
    "two abstract syntaxes": (
        request(item(0x20, b"\1\0\0\0" + 2 * item(0x30, b"1.2") + item(0x40, b"1.2"))),
        "abort 6",
    ),
    "a context cut": (request(item(0x20, b"\1\0")), "abort 6"),
    "UID of 65 characters": (request(context(1, "1." + "2" * 63, (EXPLICIT,))), "abort 6"),
    "item longer than the PDU": (request(ECHO, item(0x20, b"", 60000)), "abort 6"),
    "item shorter than it is": (request(item(0x20, ECHO[4:], 3)), "abort 6"),
    "sub-item longer than its item": (request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2", 500))), "abort 6"),
    "user item longer than its item": (request(ECHO, user=item(0x50, item(0x51, b"\0\0\1\0", 500))), "abort 6"),
    "maximum length of three bytes": (request(ECHO, user=item(0x50, item(0x51, b"\0\1\0"))), "abort 6"),
    "30,000 items": (request(*[item(0x99, b"")] * 30_000), "abort 6"),
    "unknown items": (request(item(0x99, b"x" * 70), ECHO, item(0xEE, b"")), "accept"),
    "unknown items inside": (request(user=wire.user_information(item(0x77, b"x" * 9))), "accept"),
    "an unknown item in a context": (
        request(item(0x20, b"\1\0\0\0" + item(0x31, b"x") + item(0x30, CT.encode()) + item(0x40, EXPLICIT.encode()))),
        "accept",
    ),
    "a name and a password": (with_user(identity(1, b"doctor")), "accept"),
    "user identity 2": (with_user(identity(2, b"doctor", b"secret")), "accept"),
    "user identity 3": (with_user(identity(3, b"k" * 65000)), "accept"),
    "user identity 4": (with_user(identity(4, b"<saml>")), "accept"),
    "user identity 5": (with_user(identity(5, b"jwt")), "accept"),
    "user identity 99": (with_user(identity(99, b"x")), "abort 6"),
    "user identity that lies": (with_user(item(0x58, b"\2\1\xff\xff")), "accept"),
    "asynchronous operations": (with_user(item(0x53, b"\xff\xff\xff\xff")), "accept"),
    "roles": (with_user(role(CT, 0, 1), role(VERIFICATION, 1, 1), role("1.2.3", 0, 0)), "accept"),
    "extended negotiation": (with_user(item(0x56, b"\0\x05" + b"1.2.3" + b"\xff" * 99)), "accept"),
    "extended negotiation that lies": (with_user(item(0x56, b"\xff\xff1.2")), "accept"),
    "common extended negotiation that lies": (with_user(item(0x57, b"\xff\xff1.2")), "abort 6"),
    "PDUs of one byte": (with_user(longest=1), "reject 1 1 1"),
    "PDUs of six bytes": (with_user(longest=6), "reject 1 1 1"),
    "no limit": (with_user(longest=0), "accept"),
    "4 GiB": (with_user(longest=0xFFFFFFFF), "accept"),
    "no user information": (request(user=b""), "accept"),
    "128 contexts": (
        request(*(context(2 * n + 1, MANY[n], (IMPLICIT,)) for n in range(127)), context(255, CT, (EXPLICIT,))),
        "accept",
    ),
    "1000 transfer syntaxes": (request(context(1, CT, (*MANY, EXPLICIT))), "accept"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_accepted_rejected_or_aborted(tried: Tried, case: str) -> None:
    asked, answer = REQUESTS[case]
    before = tried.counted()
    with wire.connected(tried.port) as caller:
        caller.say(asked)
        assert wire.said(caller.pdu()) == answer
        if answer != "accept":
            assert caller.pdu() == b""
    codes = set(tried.counted() - before) - {"sop-class-refused", "transfer-syntax-refused"}
    assert bool(codes) == (answer != "accept")
    assert not set(tried.sentences()) & set("\x1b\r\0")
    tried.settled()


def test_what_is_answered_says_nothing_of_what_is_not_offered(tried: Tried) -> None:
    """No user identity, no window of operations, no role for storage."""
    with wire.connected(tried.port) as caller:
        caller.say(with_user(identity(2, b"doctor", b"secret"), item(0x53, b"\xff\xff\xff\xff"), role(CT, 0, 1)))
        answer = caller.pdu()
    items = answer[74:]
    while items[0] != 0x50:
        items = items[4 + int.from_bytes(items[2:4], "big") :]
    kinds, inside = [], items[4:]
    while inside:
        kinds.append(inside[0])
        inside = inside[4 + int.from_bytes(inside[2:4], "big") :]
    assert kinds == [0x51, 0x52, 0x55]


def test_no_context_and_128_of_them(tried: Tried) -> None:
    with wire.connected(tried.port) as caller:
        caller.say(wire.pdu(1, request(ECHO)[6:].replace(ECHO, b"")))
        assert wire.results_of(caller.pdu()) == {}
    with wire.connected(tried.port) as caller:
        caller.say(REQUESTS["128 contexts"][0])
        results = wire.results_of(caller.pdu())
    assert len(results) == 128
    assert (results.pop(255), set(results.values())) == (0, {3})
    tried.settled()


@pytest.mark.parametrize("longest", [0, 7, 13, 0xFFFFFFFF])
def test_answers_are_no_longer_than_the_peer_takes(tried: Tried, longest: int) -> None:
    with wire.associated(tried.port, with_user(longest=longest)) as caller:
        caller.say(wire.echo())
        command = b""
        while True:
            answer = caller.pdu()
            assert not longest or len(answer) - 6 <= longest
            command += answer[12:]
            if answer[11] & 2:
                break
        assert command[-2:] == b"\0\0"
    tried.settled()


@pytest.mark.parametrize(
    ("calling", "answer"),
    [
        (b"CT1", "accept"),
        (b"  CT1", "accept"),
        (b"ct1", "reject 1 1 3"),
        (b"CT1X", "reject 1 1 3"),
        (b"CT 1", "reject 1 1 3"),
        (b"CT1.............", "reject 1 1 3"),
    ],
)
def test_who_is_let_in_is_named_to_the_letter(guarded: Tried, calling: bytes, answer: str) -> None:
    with wire.connected(guarded.port) as caller:
        caller.say(request(calling=calling))
        assert wire.said(caller.pdu()) == answer
    guarded.settled()


def test_of_a_stranger_nothing_is_read_but_who_calls(guarded: Tried) -> None:
    """Half a megabyte of items costs a receiver seconds; who is not known is turned away before."""
    before = guarded.counted()
    with wire.connected(guarded.port) as caller:
        caller.say(request(b"\x20\0\xff\xff no items at all", calling=b"NOBODY"))
        assert wire.said(caller.pdu()) == "reject 1 1 3"
    assert guarded.counted() - before == {"unknown-caller": 1}
    with wire.connected(guarded.port) as caller:
        caller.say(request(context(1, VERIFICATION, (IMPLICIT, *[""] * MOST_ITEMS))))
        assert wire.said(caller.pdu()) == "abort 6"
    guarded.settled()


@pytest.mark.parametrize("loop", ["own", "pynetdicom"])
def test_who_may_send_no_more_stores_nothing_more(
    tmp_path: Path, migrated: Path, over: Secured | None, loop: str
) -> None:
    here, there = (ipaddress.ip_network(one) for one in ("127.0.0.0/8", "10.0.0.0/8"))
    tls_of_another = {"needs_tls": True, "sha256": frozenset({"ab"})}
    changes = [{"network": there}, {"may_send": False}, {"called_ae": "AI"}, tls_of_another, {"ae_title": "GONE"}]
    titles = [f"CT{number}" for number in range(2, 2 + len(changes))]
    before = [KnownPeer(one, one, here, may_send=True, may_send_labels=False) for one in ("CT1", *titles)]
    after = [before[0], *(replace(peer, **change) for peer, change in zip(before[1:], changes, strict=True))]
    with trying(tmp_path, migrated, tuple(before), over=over, loop=loop) as made, ExitStack() as open_ones:
        knows = Doorkeeper(tuple(before))
        made.receiver.renewed = lambda: knows
        callers = [open_ones.enter_context(wire.associated(made.port, request(calling=one.encode()))) for one in titles]
        assert [stores(made, caller) for caller in callers] == [0] * len(callers)
        knows = Doorkeeper(tuple(after))
        for caller in callers:
            assert wait_until("the configuration is taken", partial(stores, made, caller)) == 0x0124
            if loop == "own":
                assert wire.said(caller.pdu()) == "abort 0"
            else:
                assert stores(made, caller) == 0x0124
        assert made.counted()["no-longer-allowed"] == len(callers) * (1 if loop == "own" else 2)
        assert made.sentences().count("it was let in, and may not send any more: ") == len(callers)
        open_ones.close()
        made.settled()


def stores(made: Tried, caller: wire.Wire) -> int | str:
    """What a C-STORE is answered; with success, and nothing else, it is stored."""
    uid = new_uid()
    caller.say(wire.store(uid))
    answer = caller.status()
    assert made.stored(uid) == (answer == 0)
    return answer


def test_what_a_caller_says_of_itself_breaks_no_line(tried: Tried) -> None:
    with wire.connected(tried.port) as caller:
        caller.say(b"HTTP\n\x1b[31mPWNED \r\n\r\n")
        assert caller.pdu() == b""
    assert not any(c in tried.sentences().replace("\n", "") for c in "\x1b\r")


# --------------------------------------------------------------------------- messages

UID = "1.2.826.0.1.3680043.10.9.8.1"
STORE = wire.store_command(UID)
DATA = wire.instance(UID)
ECHO_COMMAND = wire.echo()[12:]


def asked(command: bytes, context_id: int = STORING) -> bytes:
    return p_data(pdv(context_id, 3, command))


def storing(command: bytes, data: bytes = DATA) -> bytes:
    return asked(command) + p_data(pdv(STORING, 2, data))


def reordered(*numbers: int, **values: int | str) -> bytes:
    """A C-STORE-RQ with these elements alone."""
    every = {0x0002: CT, 0x0100: 1, 0x0110: 7, 0x0700: 0, 0x0800: 0, 0x1000: UID}
    return wire.command(*((number, every[number]) for number in numbers))


#: what comes inside an association that may store and echo; what is answered, in order
MESSAGES: dict[str, tuple[bytes, list[int | str]]] = {
    "PDV of a context that was not accepted": (p_data(pdv(5, 3, ECHO_COMMAND)), ["abort 6"]),
    "PDV of an even context": (p_data(pdv(2, 3, ECHO_COMMAND)), ["abort 6"]),
    "data before any command": (p_data(pdv(STORING, 2, DATA)), ["abort 5"]),
    "data after an echo": (wire.echo() + p_data(pdv(ECHOING, 2, DATA)), [0, "abort 5"]),
    "a command inside data": (asked(STORE) + p_data(pdv(STORING, 0, DATA[:9]), pdv(STORING, 3, STORE)), ["abort 5"]),
    "an echo inside data": (asked(STORE) + wire.echo(), ["abort 5"]),
    "data in another context": (asked(STORE) + p_data(pdv(ECHOING, 2, DATA)), ["abort 5"]),
    "a command in two contexts": (p_data(pdv(STORING, 1, STORE[:9]), pdv(ECHOING, 3, STORE[9:])), ["abort 5"]),
    "a command of more than 64 KiB": (b"".join(p_data(pdv(3, 1, b"\0" * 16000)) for _ in range(5)), ["abort 5"]),
    "too many fragments": (asked(STORE) + p_data(*[pdv(STORING, 0, b"x")] * 2000) * 8, ["abort 5"]),
    "too many fragments of nothing": (asked(STORE) + p_data(*[pdv(STORING, 0, b"")] * 2000) * 8, ["abort 5"]),
    "noise for a command": (asked(b"\xff" * 99, ECHOING), ["abort 6"]),
    "an empty command": (asked(b"", ECHOING), ["abort 6"]),
    "a command cut": (asked(ECHO_COMMAND[:-3], ECHOING), ["abort 6"]),
    "a command of another group": (asked(wire.explicit(8, 0x16, "UI", CT), ECHOING), ["abort 6"]),
    "an element of 4 GiB": (asked(struct.pack("<HHL", 0, 2, 0xFFFFFFFF), ECHOING), ["abort 6"]),
    "no Message ID": (asked(reordered(2, 0x100, 0x700, 0x800, 0x1000)), ["abort 6"]),
    "no Command Field": (asked(reordered(2, 0x110, 0x700, 0x800, 0x1000)), ["abort 6"]),
    "no Command Data Set Type": (asked(reordered(2, 0x100, 0x110, 0x1000)), ["abort 6"]),
    "Message ID twice": (asked(reordered(2, 0x100, 0x110, 0x110, 0x800, 0x1000)), ["abort 6"]),
    "a response": (asked(wire.store_command(UID, field=0x8001)), ["abort 5"]),
    "an unknown operation": (storing(wire.store_command(UID, field=0x0999)), [0x0211]),
    "C-FIND where to store": (storing(wire.store_command(UID, field=0x0020)), [0x0211]),
    "C-MOVE where to store": (storing(wire.store_command(UID, field=0x0021)), [0x0211]),
    "N-CREATE without a data set": (asked(wire.store_command(UID, field=0x0140, data_set=0x0101)), [0x0211]),
    "N-EVENT-REPORT where to store": (storing(wire.store_command(UID, field=0x0100)), [0x0122]),
    "C-ECHO where to store": (asked(ECHO_COMMAND), [0x0122]),
    "C-STORE where to echo": (asked(STORE, ECHOING) + p_data(pdv(ECHOING, 2, DATA)), [0x0122]),
    "a thousand C-CANCEL": (
        p_data(pdv(STORING, 3, wire.command((0x100, 0x0FFF), (0x120, 3), (0x800, 0x101)))) * 1000,
        [],
    ),
    "no SOP class": (storing(wire.store_command(UID, None)), [0x0122]),
    "another SOP class": (storing(wire.store_command(UID, "1.2.840.10008.5.1.4.1.1.4")), [0x0122]),
    "an empty SOP class": (storing(wire.store_command(UID, "")), [0x0122]),
    "SOP class twice": (storing(reordered(2, 2, 0x100, 0x110, 0x800, 0x1000)), [0x0122]),
    "no SOP instance": (storing(wire.store_command(None)), [0x0117]),
    "an empty SOP instance": (storing(wire.store_command("")), [0x0117]),
    "SOP instance twice": (storing(reordered(2, 0x100, 0x110, 0x800, 0x1000, 0x1000)), [0x0117]),
    "C-STORE without a data set": (asked(wire.store_command(UID, data_set=0x0101)), [0xC000]),
    "a data set of no bytes": (storing(STORE, b""), [0xC000]),
    "a data set of one byte": (storing(STORE, b"\0"), [0xC000]),
    "noise for a data set": (storing(STORE, b"\xfe" * 999), [0xC000]),
    "another instance in the data set": (storing(STORE, wire.instance("1.2.3")), [0xA900]),
    "another class in the data set": (storing(STORE, wire.instance(UID, sop_class="1.2.3")), [0xA900]),
    "group 2 in the data set": (storing(STORE, wire.explicit(2, 0x10, "UI", EXPLICIT) + DATA), [0xC000]),
    "too large": (
        asked(STORE) + p_data(pdv(STORING, 0, b"\0" * 16000)) * 20 + p_data(pdv(STORING, 2, b"")),
        [0xC000],
    ),
}
#: of the request and the data set; what is answered
UIDS: dict[str, int] = {
    "../../x": 0x0117,
    "/etc/x": 0x0117,
    "..": 0x0117,
    ".": 0x0117,
    "C:\\x": 0x0117,
    "1.2.3\0../x": 0x0117,
    "1.2.x": 0x0117,
    "1..2": 0x0117,
    "1.2.": 0x0117,
    "1.2 .3": 0x0117,
    "1.2." + "3" * 61: 0x0117,
    "1.2." + "3" * 59 + ".": 0x0117,
    "1.2." + "3" * 60: 0,
    "1.2.003.4": 0,
    "0.0.0": 0,
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_that_is_wrong_is_answered_and_the_next_is_served(tried: Tried, case: str) -> None:
    said, answers = MESSAGES[case]
    with wire.associated(tried.port) as caller:
        caller.say(said)
        assert [caller.status() for _ in answers] == answers
        if answers and str(answers[-1]).startswith("abort"):
            assert caller.pdu() == b""
        else:
            caller.say(wire.echo(9))
            assert caller.status() == 0
    tried.settled()


@pytest.mark.parametrize("uid", UIDS, ids=range(len(UIDS)))
def test_no_uid_is_more_than_a_name(tried: Tried, uid: str) -> None:
    before = {one for one in tried.archive.home.rglob("*") if not one.is_relative_to(tried.archive.home / "store")}
    with wire.associated(tried.port) as caller:
        caller.say(storing(wire.store_command(uid), wire.instance(uid)))
        assert caller.status() == UIDS[uid]
    after = {one for one in tried.archive.home.rglob("*") if not one.is_relative_to(tried.archive.home / "store")}
    assert after <= before
    tried.settled()


@pytest.mark.parametrize("padding", ["\0", " "])
def test_padding_is_no_part_of_a_uid(tried: Tried, padding: str) -> None:
    uid = new_uid() + ("1" if len(new_uid()) % 2 else "")
    command = wire.command((2, CT), (0x100, 1), (0x110, 7), (0x800, 0), (0x1000, (uid + padding).encode()))
    with wire.associated(tried.port) as caller:
        caller.say(storing(command, wire.instance(uid)))
        assert caller.status() == 0
    assert tried.stored(uid)


def test_a_refusal_says_which_message_it_answers(tried: Tried) -> None:
    with wire.associated(tried.port) as caller:
        caller.say(storing(wire.store_command("../../x")))
        answer = wire.elements_of(caller.pdu())
    assert (answer[0x0100], answer[0x0120], answer[0x0800]) == (0x8001, 7, 0x0101)
    assert b"SOP Instance UID" in answer[0x0902]
    assert 0x1000 not in answer, "what is no UID is not sent back as one"


def test_a_message_that_never_ends_is_aborted(tmp_path: Path, migrated: Path, over: Secured | None) -> None:
    begun = asked(STORE)
    with trying(tmp_path, migrated, over=over, **HASTY) as tried, ExitStack() as held:
        callers = [held.enter_context(wire.associated(tried.port)) for _ in range(3)]
        for caller, said in zip(
            callers, (p_data(pdv(1, 1, STORE[:20])), begun, begun + p_data(pdv(1, 0, DATA))), strict=True
        ):
            caller.say(said)
        assert [caller.status() for caller in callers] == ["abort 0"] * 3
        held.close()
        tried.settled()


# ------------------------------------------------------------------------ rude senders


def test_a_sender_that_waits_for_no_answer_gets_every_answer(tried: Tried) -> None:
    uids = [new_uid() for _ in range(5)]
    with wire.connected(tried.port) as caller:
        broken = storing(wire.store_command("../x"))
        caller.say(request() + broken.join(wire.store(uid) for uid in uids) + wire.RELEASE)
        assert wire.said(caller.pdu()) == "accept"
        assert [caller.status() for _ in range(9)] == [0, 0x0117, 0, 0x0117, 0, 0x0117, 0, 0x0117, 0]
        assert wire.said(caller.pdu()) == "released"
    assert all(map(tried.stored, uids))
    tried.settled()


def test_a_sender_that_drops_the_connection_after_each_answer_is_served(tried: Tried) -> None:
    for _ in range(5):
        uid = new_uid()
        with wire.associated(tried.port) as caller:
            caller.say(wire.store(uid))
            assert caller.status() == 0
            caller.break_off()
        assert tried.stored(uid)
    tried.settled()


def test_a_release_inside_an_object_is_a_release_without_it(tried: Tried) -> None:
    uid = new_uid()
    with wire.associated(tried.port) as caller:
        caller.say(asked(wire.store_command(uid)) + p_data(pdv(STORING, 0, wire.instance(uid))) + wire.RELEASE)
        assert wire.said(caller.pdu()) == "released"
    assert not tried.stored(uid)
    tried.settled()


def test_an_object_may_come_in_pieces_of_any_size(tried: Tried) -> None:
    for size in (1, 2, 7, 100, 5000):
        uid = new_uid()
        command, data = wire.store_command(uid), wire.instance(uid, wire.explicit(0x28, 0x4000, "LT", "x" * 3000))
        pieces = [pdv(STORING, 1, command[at : at + size]) for at in range(0, len(command), size)]
        pieces[-1] = pieces[-1][:5] + b"\3" + pieces[-1][6:]
        parts = [pdv(STORING, 0, data[at : at + size]) for at in range(0, len(data), size)]
        parts[-1] = parts[-1][:5] + b"\2" + parts[-1][6:]
        with wire.associated(tried.port) as caller:
            caller.say(b"".join(p_data(one) for one in pieces) + b"".join(p_data(*one) for one in pairs(parts)))
            assert caller.status() == 0
        assert tried.stored(uid)
    tried.settled()


def pairs(parts: list[bytes]) -> list[tuple[bytes, ...]]:
    return [tuple(parts[at : at + 2]) for at in range(0, len(parts), 2)]


@pytest.mark.parametrize("count", [100, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_instances_on_one_association(tried: Tried, count: int) -> None:
    with wire.associated(tried.port) as caller:
        for _ in range(count):
            caller.say(storing(wire.store_command(UID)))
            assert caller.status() == 0
    tried.settled()
