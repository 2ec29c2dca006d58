"""Who may call us, and for what: judged by address and AE title together."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class KnownPeer:
    """A peer as the receiver knows it."""

    name: str
    ae_title: str
    network: Network | None
    may_send: bool
    may_send_labels: bool


@dataclass(frozen=True)
class Verdict:
    """What a caller may do."""

    may_call: bool
    may_send: bool = False
    code: str = ""
    sentence: str = ""


class Doorkeeper:
    """Judges callers. With no sending peer configured every caller is welcome (and only loopback is listened on)."""

    def __init__(self, peers: tuple[KnownPeer, ...]) -> None:
        self._peers = peers
        self.open = not any(peer.may_send or peer.may_send_labels for peer in peers)

    def judge(self, address: str, ae_title: str) -> Verdict:
        """Whether this AE title at this address may open an association, and whether it may store."""
        if self.open:
            return Verdict(may_call=True, may_send=True)
        at = _plain(address)
        here = [peer for peer in self._peers if peer.network is not None and at in peer.network]
        known = [peer for peer in here if peer.ae_title == ae_title]
        if known:
            return Verdict(may_call=True, may_send=any(peer.may_send or peer.may_send_labels for peer in known))
        return Verdict(may_call=False, code="unknown-caller", sentence=self._how_to_let_in(at, ae_title, here))

    def _how_to_let_in(self, at: Address, ae_title: str, here: list[KnownPeer]) -> str:
        elsewhere = [peer for peer in self._peers if peer.ae_title == ae_title]
        if elsewhere:
            said = f"{ae_title} is peer {elsewhere[0].name}, but may not call from {at}"
        elif here:
            said = f"{at} is peer {here[0].name}, whose AE title is {here[0].ae_title}, not {ae_title}"
        else:
            said = f"nobody called {ae_title} at {at} is configured"
        name = "".join(c if c.isalnum() else "-" for c in ae_title.lower()).strip("-") or "peer"
        return (
            f'{said}; to let it send, add to the configuration: [[peer]]\nname = "{name}"\nae_title = "{ae_title}"\n'
            f'address = "{at}"\nmay_send = true'
        )


def _plain(address: str) -> Address:
    """An IPv4 address that came over an IPv6 socket is that IPv4 address."""
    at = ipaddress.ip_address(address.split("%")[0])
    return at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) and at.ipv4_mapped else at


def printable(text: str) -> str:
    """What a peer says of itself, safe to show and to log."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text.strip())[:64]
