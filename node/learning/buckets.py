"""Which part of what is learnt a person belongs to: by a keyed hash of who it is, never by order, date or chance.

A person is known by issuer and normalised PatientID, so that two spellings of an identity fall together. What the hash
said is kept in the patient's row and is not asked again: a key that is lost or changed, and other shares, move nobody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Refused
from .durable import sync_folder, write

TRAIN, VALIDATION, TEST = "train", "validation", "test"
KEY_BYTES = 32
DIGITS = 32
#: what systems and people write where they have no PatientID, normalised; whoever shares one shares nothing else
PLACEHOLDERS = frozenset(
    [
        *("ANON", "ANONYM", "ANONYMIZED", "ANONYMISED", "ANONYMOUS", "DEIDENTIFIED", "UNBEKANNT", "UNDEFINED"),
        *("UNKNOWN", "NA", "NIL", "NOID", "NONE", "NOPATIENTID", "NULL", "XXX", "XXXX", "XXXXX", "XXXXXX", "XXXXXXXX"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many patients of a hundred go where."""

    train: float = 70
    validation: float = 10
    test: float = 20

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if min(parts) < 0 or abs(sum(parts) - 100) > 1e-6:
            raise Refused("bad-shares", f"train, validation and test are {parts}; they must be parts of 100")


@dataclass(frozen=True)
class Key:
    """What the hashes of patients are keyed with: without it nobody can try PatientIDs until one fits."""

    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, home: Path) -> Key:
        """The key of a home folder; made where there is none. Two processes that make it at once get the same one.

        Raises:
            Refused: `bad-key`: the file is no key.
        """
        file = home / "learning" / "key"
        if not file.exists():
            _make(file)
        found = file.read_bytes()
        if len(found) != KEY_BYTES:
            raise Refused("bad-key", f"{file} must be {KEY_BYTES} bytes and is {len(found)}; restore it from a backup")
        return cls(found)

    @property
    def name(self) -> str:
        """Tells keys apart, and says nothing of this one."""
        return self._hash("name")[:8]

    def pseudonym(self, issuer: str, patient_id: str) -> str:
        """Names the person in data sets: 32 hexadecimal digits."""
        return self._hash("patient", normalised_issuer(issuer), normalised(patient_id))[:DIGITS]

    def trait(self, kind: str, value: str) -> str:
        """A trait as it is kept: with the name of the key, for hashes of different keys say nothing of one another."""
        return f"{self.name}:{self._hash('trait', kind, value)[:DIGITS]}"

    def site(self, institution: str) -> str:
        """A name for an institution that tells it from others and does not name it."""
        return f"site {self._hash('site', normalised(institution))[:4]}"

    def _hash(self, *parts: str) -> str:
        # the length of each part before it: no two lists of parts make one text
        message = b"".join(len(data).to_bytes(4, "big") + data for data in (part.encode() for part in parts))
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()


def normalised(patient_id: str) -> str:
    """A PatientID without what differs between spellings of one: " 00123-A" and "123a" are equal.

    Compatible characters become one (NFKC), letters upper case, digits of any script ASCII; only letters, their marks
    and digits are kept; zeros that lead are dropped. So "1-23" and "12-3" are equal too: equal is only suspected
    to be one person.

    Returns:
        Empty where nothing is left, as of "000".
    """
    letters = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", patient_id).upper())
    kept = (letter for letter in letters if unicodedata.category(letter)[0] in "LMN")
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in kept).lstrip("0")


def normalised_issuer(issuer: str) -> str:
    """An issuer of PatientIDs: case and blanks do not count; points do, for some are OIDs."""
    return " ".join(unicodedata.normalize("NFKC", issuer).upper().split())


def is_nobody(patient_id: str) -> bool:
    """Whether a PatientID names no one: empty, zeros, or what is written where there is none."""
    plain = normalised(patient_id)
    return not plain or plain in PLACEHOLDERS


def bucket(pseudonym: str, shares: Shares) -> str:
    """train, validation or test."""
    place = int(pseudonym[:12], 16) / 16**12 * 100  # 48 bits: a double never rounds it up to 100
    if place < shares.train:
        return TRAIN
    return VALIDATION if place < shares.train + shares.validation else TEST


def _make(file: Path) -> None:
    """Complete and durable, or not at all; the first of two wins."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_name(f".key-{secrets.token_hex(8)}")
    try:
        write(beside, secrets.token_bytes(KEY_BYTES))
        with suppress(FileExistsError):
            os.link(beside, file)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(file.parent)
