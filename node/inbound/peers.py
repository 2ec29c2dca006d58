"""Who may call us, and for what: judged by address, AE titles and certificate together."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..addresses import Address, plain
from ..tls.shown import Shown
from .identity import CALLING_UNKNOWN, Reject, alike, differs, objection, wrongly_called
from .quotas import UNLIMITED, Quota

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: how long the addresses of a host name are taken for its addresses
RESOLVED_SECONDS = 60.0
#: how long a caller waits for the first answer, where another one has asked already
FIRST_SECONDS = 1.0


@dataclass(frozen=True)
class KnownPeer:
    """A peer as the receiver knows it.

    Attributes:
        network: it calls from there.
        commitment_host: where it is sent results, if it is asked for storage commitment: it may then call to report.
        called_ae: what it has to call us; empty: as everybody.
        needs_tls: it is let in over TLS alone.
        sha256: of certificates: it has to show one of these; none named: any, or none.
        names: or one with one of these names, in small letters.
    """

    name: str
    ae_title: str
    network: Network | None
    may_send: bool
    may_send_labels: bool
    commitment_host: str = ""
    called_ae: str = ""
    needs_tls: bool = False
    sha256: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    quota: Quota = UNLIMITED


@dataclass(frozen=True)
class Verdict:
    """What a caller may do.

    Attributes:
        teaches: outlines from it may become labels; nobody teaches without being named.
        commits: names of the peers as which it may report on storage commitment.
        peer: as which peer it was let in; None: as anybody.
        reject: result, source and reason, where it may not call (PS3.8 9.3.4).
    """

    may_call: bool
    may_send: bool = False
    teaches: bool = False
    commits: frozenset[str] = frozenset()
    peer: KnownPeer | None = None
    reject: Reject = CALLING_UNKNOWN
    code: str = ""
    sentence: str = ""


def resolve(host: str) -> frozenset[Address]:
    """The addresses of a host name; none where it has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(plain(str(entry[4][0])) for entry in found)


class Doorkeeper:
    """Judges callers. With no sending peer configured every caller of this machine is welcome.

    Args:
        resolve: the addresses of a host name; asked for the AE titles of peers that may report, once a minute.
        called_ae: what everybody has to call us, but for peers that say otherwise; empty: anything.
    """

    def __init__(
        self,
        peers: tuple[KnownPeer, ...],
        resolve: Callable[[str], frozenset[Address]] = resolve,
        clock: Callable[[], float] = time.monotonic,
        called_ae: str = "",
    ) -> None:
        self._peers, self._resolve, self._clock, self._called_ae = peers, resolve, clock, called_ae
        self._resolved: dict[str, tuple[float, frozenset[Address] | None]] = {}
        self._answered = threading.Condition()
        self.open = not any(peer.may_send or peer.may_send_labels for peer in peers)

    @property
    def ae_titles(self) -> frozenset[str]:
        """Of all peers."""
        return frozenset(peer.ae_title for peer in self._peers)

    @property
    def counts_hours(self) -> bool:
        """Whether any peer has a limit for an hour."""
        return any(peer.quota.is_hourly for peer in self._peers)

    def judge(self, address: str, ae_title: str, called: str | None = None, line: Shown | None = None) -> Verdict:
        """Whether this AE title at this address may open an association, whether it may store, and report on what.

        Args:
            called: the AE title that it calls; None: that is not asked.
            line: what it showed over TLS; None: it calls in the clear.
        """
        at = plain(address)
        titled = [peer for peer in self._peers if peer.ae_title == ae_title]
        against = {peer.name: objection(peer, called, self._called_ae, line) for peer in titled}
        reporting = [peer for peer in titled if self._reports_from(peer, at)]
        here = [peer for peer in titled if peer.network is not None and at in peer.network]
        commits = frozenset(peer.name for peer in reporting if against[peer.name] is None)
        known = [peer for peer in here if against[peer.name] is None]
        if self.open and at.is_loopback:
            if wrong := wrongly_called(self._called_ae, called):
                return Verdict(may_call=False, **vars(wrong))
            return Verdict(may_call=True, may_send=True, commits=commits)
        if known or commits:
            may_send = any(peer.may_send or peer.may_send_labels for peer in known)
            teaches = any(peer.may_send_labels for peer in known)
            return Verdict(True, may_send, teaches, commits, known[0] if known else None)
        for peer in (*here, *reporting):
            if found := against[peer.name]:
                return Verdict(may_call=False, **vars(found))
        there = [peer for peer in self._peers if peer.network is not None and at in peer.network]
        return Verdict(may_call=False, code="unknown-caller", sentence=self._how_to_let_in(at, ae_title, there))

    def _reports_from(self, peer: KnownPeer, at: Address) -> bool:
        """Whether a peer that is asked for storage commitment may report from an address."""
        if not peer.commitment_host:
            return False
        return at in peer.network if peer.network is not None else at in self._addresses(peer.commitment_host)

    def _addresses(self, host: str) -> frozenset[Address]:
        """Those of a host. One caller asks; others take what was known before: with a slow DNS they would be as many
        threads as anybody likes."""
        now = self._clock()
        with self._answered:
            until, found = self._resolved.get(host, (now, None))
            if now < until:
                if found is None:
                    self._answered.wait_for(lambda: self._resolved[host][1] is not None, FIRST_SECONDS)
                return self._resolved[host][1] or frozenset()
            self._resolved[host] = (now + RESOLVED_SECONDS, found)
        fresh = self._resolve(host)
        with self._answered:
            self._resolved[host] = (now + RESOLVED_SECONDS, fresh)
            self._answered.notify_all()
        return fresh

    def _how_to_let_in(self, at: Address, ae_title: str, here: list[KnownPeer]) -> str:
        elsewhere = [peer for peer in self._peers if peer.ae_title == ae_title]
        meant = [peer for peer in here or self._peers if alike(peer.ae_title, ae_title)]
        if reporting := [peer for peer in elsewhere if peer.commitment_host]:
            return self._how_to_let_report(at, reporting[0])
        if elsewhere:
            said = f"{ae_title} is peer {elsewhere[0].name}, but may not call from {at}"
        elif meant:
            said = f"{differs(meant[0].ae_title, ae_title)}; it is probably peer {meant[0].name}"
        elif here:
            said = f"{at} is peer {here[0].name}, whose AE title is {here[0].ae_title}, not {ae_title}"
        else:
            said = f"nobody called {ae_title} at {at} is configured"
        name = "".join(c if c.isalnum() else "-" for c in ae_title.lower()).strip("-") or "peer"
        return (
            f'{said}; to let it send, add to the configuration: [[peer]]\nname = "{name}"\nae_title = "{ae_title}"\n'
            f'address = "{at}"\nmay_send = true'
        )

    def _how_to_let_report(self, at: Address, peer: KnownPeer) -> str:
        """A peer that is asked for storage commitment calls from another address than we know of."""
        if peer.network is not None:
            known = f"its address is {peer.network}"
        elif addresses := self._addresses(peer.commitment_host):
            known = f"its destination {peer.commitment_host} is {', '.join(sorted(map(str, addresses)))}"
        else:
            known = f"the host name {peer.commitment_host} of its destination cannot be resolved"
        return (
            f"{peer.ae_title} is peer {peer.name}, but may not call from {at}: {known}; if it answers storage "
            f'commitment from there, set in the [[peer]] called "{peer.name}": address = "{at}"'
        )


def printable(text: str) -> str:
    """What a peer says of itself, safe to show and to log."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text.strip())[:64]
