"""What a node says when it is ready: where it listens, for whom, and where the results go."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def ready(ae_title: str, facts: dict[str, dict[str, Any]], senders: Iterable[str], destinations: Iterable[str]) -> None:
    """Print it, on standard output.

    Args:
        facts: role -> what that process said of itself.
        senders: the peers that may send.
        destinations: the peers that are sent results.
    """
    lines = ["Planimeter is ready. Research use; not a medical device."]
    if where := next((said for role, said in facts.items() if role.startswith("receive")), None):
        if where["port"] != where["tls_port"]:
            lines.append(f"  receives as {ae_title} at {where['address']}:{where['port']}")
        if where["tls_port"]:
            lines.append(f"  receives as {ae_title} over TLS at {where['address']}:{where['tls_port']}")
        known = list(senders)
        if known:
            lines.append(f"  from {', '.join(known)}; unknown callers are rejected and shown by `planimeter status`")
        else:
            lines.append("  from any caller on this machine, and from nobody else: no [[peer]] has `may_send = true`")
    to = list(destinations)
    lines.append(f"  sends results to {', '.join(to)}" if to else "  sends results nowhere: no peer is a destination")
    workers = sum(role.startswith("work") for role in facts)
    lines.append(f"  works with {workers} worker{'s' * (workers != 1)}")
    pages = facts.get("web")
    if pages:
        lines.append(f"  shows its pages at {pages['url']}")
    _print(lines)
    if pages and pages["first_token"]:
        first_sign_in(pages["url"], pages["first_token"], Path(pages["first_file"]))


def first_sign_in(url: str, token: str, file: Path) -> None:
    """Say how the first administrator is made."""
    _print(
        [
            f"  nobody can sign in yet: open {url}/sign-in and make the first administrator with this one-time token,",
            f"  which is also in {file}: {token}",
        ]
    )


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
