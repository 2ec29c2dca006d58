"""Passwords: which may be used, and how they are kept (argon2id, RFC 9106)."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ..errors import Refused

FEWEST_LETTERS = 12
MOST_LETTERS = 1024
FEWEST_DIFFERENT = 5
#: a hash takes 64 MiB, and whoever guesses may ask for many at once
AT_ONCE = 2


def _hasher() -> PasswordHasher:
    return PasswordHasher()  # RFC 9106's second recommendation: 64 MiB, three passes, four lanes


@dataclass(frozen=True)
class Passwords:
    """Hash and compare. A name that is not known takes as long as one that is.

    Attributes:
        hasher: how much time and memory it takes.
    """

    hasher: PasswordHasher = field(default_factory=_hasher)
    _turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))
    _nobody: list[str] = field(default_factory=list)

    def hash(self, password: str) -> str:
        """What is kept of it."""
        with self._turns:
            return self.hasher.hash(password)

    def right(self, kept: str | None, password: str) -> bool:
        """Whether it is the one that was kept; None: there is nobody to compare it with."""
        if not self._nobody:
            self._nobody.append(self.hash(secrets.token_hex()))
        if len(password) > MOST_LETTERS:
            password, kept = password[:MOST_LETTERS], None
        try:
            with self._turns:
                self.hasher.verify(kept or self._nobody[0], password)
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether it was kept with less care than is taken now."""
        return self.hasher.check_needs_rehash(kept)


def require_good(password: str, name: str) -> None:
    """
    Raises:
        Refused: `weak-password`, with what is missing. Length is what counts (NIST SP 800-63B 3.1.1.2).
    """
    if not FEWEST_LETTERS <= len(password) <= MOST_LETTERS:
        raise Refused("weak-password", f"a password has {FEWEST_LETTERS} to {MOST_LETTERS} characters")
    if len(set(password)) < FEWEST_DIFFERENT or (name and name.lower() in password.lower()):
        raise Refused(
            "weak-password", f"a password has {FEWEST_DIFFERENT} different characters and does not contain the name"
        )
