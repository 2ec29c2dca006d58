"""What `planimeter check` says of TLS: the files of [tls], what of it ends when, and whom we call over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import NodeError
from ..outbound.target import Target
from ..tls import accepting
from ..tls.accepting import Accepting
from ..tls.calling import Attempt
from .alarms import certificates

DAY_SECONDS = 86_400.0
#: so long before its end a certificate is said to end
SOON_SECONDS = 30 * DAY_SECONDS

Said = tuple[bool | None, str]
"""right, worth knowing (None) or wrong; and what"""


def check(how: Accepting | None, port: int, targets: Sequence[Target], now: float) -> Iterator[Said]:
    """Look at every file once.

    Args:
        how: callers are taken; None: not over TLS.
        now: seconds since 1970.
    """
    if how is not None:
        yield _callers(how, port)
    pairs = {how.pair} if how is not None else set()
    for target in targets:
        if target.tls is None:
            continue
        pairs |= {target.tls.pair} if target.tls.pair else set()
        try:
            Attempt(target.tls)
        except NodeError as error:
            yield False, f"{target.name}: {error.sentence}"
    for pair in sorted(pairs, key=lambda one: one.certificate):
        yield from _end(pair.certificate, "certificate", certificates.ends, now, SOON_SECONDS)
    if how is not None and how.trust.crl is not None:
        yield from _end(how.trust.crl, "list of revoked certificates", certificates.list_ends, now, 0.0)


def _callers(how: Accepting, port: int) -> Said:
    try:
        accepting.context(how)
    except NodeError as error:
        return False, error.sentence
    if how.trust.ca is None:
        who = "nobody is asked for a certificate"
    elif how.require_certificate:
        who = f"callers show a certificate of {how.trust.ca}"
    else:
        who = f"callers may show a certificate of {how.trust.ca}"
    return True, f"port {port}, profile {how.profile}; {who}"


def _end(file: Path, what: str, end: Callable[[Path], float], now: float, before: float) -> Iterator[Said]:
    try:
        left = end(file) - now
    except (OSError, ValueError) as error:
        yield False, f"{file}: {getattr(error, 'strerror', None) or error}"
        return
    if left == float("inf"):
        return
    on = time.strftime("%Y-%m-%d", time.gmtime(now + left))
    if left <= 0:
        yield False, f"the {what} {file} has ended on {on}"
    else:
        yield None if left < before else True, f"the {what} {file} is good until {on}"
