"""What the answer to a STOW-RS request means for the one object in it (PS3.18 10.5.3 and I.2)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from ..errors import Unavailable
from ..study.facts import UNREADABLE
from .scu import Receipt, Unheard
from .statuses import ALREADY_THERE, REJECTED_ALREADY, Answer, meaning, named
from .target import Target

#: is it a failure, the list of such objects, the reason of each; what failed is looked for first
LISTS = ((True, "FailedSOPSequence", "FailureReason"), (False, "ReferencedSOPSequence", "WarningReason"))

#: HTTP statuses that say nothing about the object: it waits, for somebody who changes something or for better times
NOT_NOW = {
    401: ("not-authorised", "does not accept our credentials; see user and password_file, or token_file"),
    403: ("not-authorised", "does not allow this; see user and password_file, or token_file"),
    404: ("wrong-url", "has no such DICOMweb service at the configured url"),
    405: ("wrong-url", "has no such DICOMweb service at the configured url"),
    407: ("not-authorised", "cannot be reached: a proxy wants credentials"),
    429: ("unreachable", "has too many requests at the moment"),
    502: ("unreachable", "cannot be reached behind its gateway"),
    503: ("unreachable", "is not available at the moment"),
    504: ("unreachable", "cannot be reached behind its gateway"),
}
#: of those, what a gateway says: what is behind it may have the object
OF_GATEWAYS = (502, 504)
#: what other statuses mean for the object, where the answer names no reason
MEANINGS = {
    400: "the request cannot be understood",
    406: "it cannot answer in JSON or XML",
    408: "the object did not come in time",
    409: "the object was not stored, and no reason is given",
    413: "the object is too large",
    415: "this kind of object is not supported",
    507: "it has no room",
}
#: these have an answer for each object
WITH_RESPONSE = (200, 202, 409)


@dataclass(frozen=True)
class Stored:
    """What a Store Instances Response says of the one object.

    Attributes:
        failed: it was not stored.
        reason: Failure Reason or Warning Reason, if any.
    """

    failed: bool
    reason: int | None = None


def not_now(target: Target, status: int) -> Unavailable | None:
    """What an HTTP status says about the server and not about the object; None where it does not."""
    if status not in NOT_NOW:
        return None
    code, said = NOT_NOW[status]
    kind = Unheard if status in OF_GATEWAYS else Unavailable
    return kind(code, f"{target.name} {said} (HTTP {status})")


def receipt(target: Target, status: int, location: str, answer: bytes, sop_class: str = "") -> Receipt:
    """What came of the object.

    Args:
        status: of HTTP.
        location: where a redirect leads; its host alone is told.
        sop_class: of the object.

    Raises:
        Unavailable: `unreachable`, `not-authorised`, `wrong-url`.
    """
    if (away := not_now(target, status)) is not None:
        raise away
    if 300 <= status < 400:
        there = urlsplit(location).hostname or "another place"
        raise Unavailable("wrong-url", f"{target.name} redirects to {there} (HTTP {status}); set its url to that")
    if status not in WITH_RESPONSE:
        said = MEANINGS.get(status, "the object was not stored")
        means = _of_http(status)
        perhaps = means is Answer.RETRY and status >= 500  # what broke may have broken after it was stored
        return Receipt(means, None, f"HTTP {status}: {said}", perhaps=perhaps, class_refused=status == 415)
    stored = read(answer)
    if stored is None:
        return _without_reasons(status, answer)
    if not stored.failed and status == 409:
        return Receipt(Answer.RETRY, None, "HTTP 409, and an answer that says it was stored", perhaps=True)
    if not stored.failed:
        return Receipt(Answer.DELIVERED, stored.reason or 0x0000, named(stored.reason) if stored.reason else "")
    if stored.reason is None:
        return Receipt(Answer.DEAD, None, "not stored, and no reason is given")
    return Receipt(_of_failure(stored.reason, sop_class), stored.reason, named(stored.reason))


def _of_http(status: int) -> Answer:
    if status == 507:
        return Answer.LATER
    return Answer.RETRY if status >= 500 or status == 408 else Answer.DEAD


def _without_reasons(status: int, answer: bytes) -> Receipt:
    if status == 200 and _may_be_its_own(answer):
        return Receipt(Answer.DELIVERED, 0x0000, "")
    if status == 409:
        return Receipt(Answer.DEAD, None, f"HTTP 409: {MEANINGS[409]}")
    said = f"HTTP {status}, and no readable answer that says whether it was stored"
    return Receipt(Answer.RETRY, None, said, perhaps=True)


def _may_be_its_own(answer: bytes) -> bool:
    """Whether an answer that names no object is one of an origin server: it says nothing, or is a data set. A page on
    which a person is to sign in is none."""
    text = answer.strip()
    if not text:
        return True
    try:
        if text.startswith(b"<"):
            return ET.fromstring(text).tag.endswith("NativeDicomModel")  # noqa: S314 - as below
        return isinstance(Dataset.from_json(text.decode("utf-8")), Dataset) and text.startswith(b"{")
    except (*UNREADABLE, ET.ParseError):
        return False


def _of_failure(reason: int, sop_class: str) -> Answer:
    """What a failure reason means: what counts as stored elsewhere stands here for an object that was not."""
    outcome = meaning(reason, sop_class)[0]
    there = reason in ALREADY_THERE | REJECTED_ALREADY
    return Answer.DEAD if outcome is Answer.DELIVERED and not there else outcome


def read(answer: bytes) -> Stored | None:
    """Read a Store Instances Response, JSON or XML; None where it names no object."""
    try:
        return _from_xml(answer) if answer.lstrip().startswith(b"<") else _from_json(answer)
    except (*UNREADABLE, ET.ParseError):
        return None  # something else, as a proxy's page of HTML


def _from_json(answer: bytes) -> Stored | None:
    ds = Dataset.from_json(answer.decode("utf-8"))
    for is_failure, sequence, reason in LISTS:
        for item in ds.get(sequence) or ():
            return Stored(is_failure, _number(item[reason].value) if reason in item else None)
    return None


def _from_xml(answer: bytes) -> Stored | None:
    """The Native DICOM Model (PS3.19 A.1), which older servers answer in."""
    root = ET.fromstring(answer)  # noqa: S314 - expat since 2.4.1 stops entities that grow
    for is_failure, sequence, reason in LISTS:
        item = root.find(f"./{_attribute(sequence)}/{{*}}Item")
        if item is not None:
            value = item.findtext(f"./{_attribute(reason)}/{{*}}Value")
            return Stored(is_failure, _number(value))
    return None


def _number(value: Any) -> int | None:
    """A reason; None where it is none: US has 16 bits, and a row has no more for it."""
    try:
        said = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return said if 0 <= said <= 0xFFFF else None


def _attribute(keyword: str) -> str:
    return f"{{*}}DicomAttribute[@tag='{tag_for_keyword(keyword):08X}']"
