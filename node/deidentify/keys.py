"""New identifiers that follow from the old ones and a secret: the same one gets the same one, in every export."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..errors import Refused

KEY_BYTES = 32
#: UIDs of these keywords name a kind of thing, never a thing
OF_KINDS = ("ClassUID", "TransferSyntaxUID", "CodingSchemeUID", "MappingResourceUID", "ContextUID", "ClassUIDs")
#: patients are moved back by one day to this many
MOST_DAYS = 3650


def is_well_known(uid: str) -> bool:
    """Whether the Standard gives it a meaning (PS3.6 Annex A): a SOP class, a frame of reference that all know ...

    Its root alone says nothing: there are systems that make UIDs of their own objects below it.
    """
    return bool(UID(uid, validation_mode=IGNORE).type)


@dataclass(frozen=True)
class Keys:
    """What an export is keyed with. Without it nobody can try identifiers until one fits."""

    secret: bytes = field(repr=False)

    @classmethod
    def of_house(cls, secret: bytes) -> Keys:
        """The key that follows from a home folder's: what it names says nothing of what the other names."""
        return cls(hmac.new(secret, b"planimeter de-identification", hashlib.sha256).digest())

    @classmethod
    def read(cls, file: Path) -> Keys:
        """A key of an export of its own.

        Raises:
            Refused: `bad-key`.
        """
        found = file.read_bytes()
        if len(found) != KEY_BYTES:
            raise Refused("bad-key", f"{file} must be {KEY_BYTES} random bytes and is {len(found)}")
        return cls(found)

    @property
    def name(self) -> str:
        """Tells keys apart, and says nothing of this one."""
        return self._hash("name", "").hex()[:8]

    def uid(self, uid: str) -> str:
        """A UID below 2.25 (PS3.5 B.2) in place of one; a UID of the Standard stays."""
        if is_well_known(uid):
            return uid
        number = int.from_bytes(self._hash("uid", uid)[:16])
        number = number & ~(0xF << 76) | 8 << 76  # version 8 of RFC 9562: as the maker likes
        number = number & ~(0x3 << 62) | 2 << 62
        return f"2.25.{number}"

    def pseudonym(self, identity: str) -> str:
        """PatientID and PatientName in place of a person's."""
        return f"P{self._hash('patient', identity).hex()[:16].upper()}"

    def days(self, identity: str) -> int:
        """By how many days a person's dates are moved: -3650 to -1."""
        return -1 - int.from_bytes(self._hash("days", identity)[:8]) % MOST_DAYS

    def _hash(self, kind: str, text: str) -> bytes:
        return hmac.new(self.secret, f"{kind}\0{text}".encode(), hashlib.sha256).digest()
