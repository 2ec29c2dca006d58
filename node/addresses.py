"""Addresses of those who call, as they are compared and counted."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def plain(address: str) -> Address:
    """An address without its zone; an IPv4 address that came over an IPv6 socket is that IPv4 address.

    Raises:
        ValueError: it is none.
    """
    at = ipaddress.ip_address(address.split("%")[0])
    return at.ipv4_mapped if isinstance(at, ipaddress.IPv6Address) and at.ipv4_mapped else at


def home_of(address: str) -> str:
    """What counts as one address: all of a /64 network are as good as one machine's. What is none is itself."""
    try:
        at = plain(address)
    except ValueError:
        return address
    return str(ipaddress.IPv6Network((at, 64), strict=False)) if isinstance(at, ipaddress.IPv6Address) else str(at)
