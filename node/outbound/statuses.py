"""What a destination's answer means for the object: to C-STORE (PS3.4 B.2.3, PS3.7 C), to STOW-RS and N-ACTION."""

from __future__ import annotations

from enum import StrEnum


class Answer(StrEnum):
    """What is done about it.

    LATER: it says nothing of the object: the destination has no room, or did not look at it. It is tried again as long
    as that lasts. RETRY: so many times.
    """

    DELIVERED = "delivered"
    LATER = "later"
    RETRY = "retry"
    DEAD = "dead"


#: PS3.7's code for it, and the one that Azure gives
ALREADY_THERE = frozenset({0x0111, 0xB00E})
#: single codes; the ranges below catch the rest
KNOWN = {
    0x0000: (Answer.DELIVERED, ""),
    0xB000: (Answer.DELIVERED, "stored, but elements were coerced"),
    0xB006: (Answer.DELIVERED, "stored, but elements were discarded"),
    0xB007: (Answer.DELIVERED, "stored, though the data set does not match its SOP class"),
    **dict.fromkeys(ALREADY_THERE, (Answer.DELIVERED, "was there already: equal UID means equal bytes")),
    0x0107: (Answer.DELIVERED, "stored, with a warning about the attribute list"),
    0x0110: (Answer.RETRY, "processing failure"),
    0x0112: (Answer.RETRY, "no such object instance"),
    0x0119: (Answer.DEAD, "class and instance do not belong together"),
    0x0131: (Answer.RETRY, "duplicate transaction UID"),
    0x0213: (Answer.LATER, "resource limitation"),
    0x0122: (Answer.DEAD, "SOP class not supported"),
    0x0123: (Answer.DEAD, "no such action"),
    0x0124: (Answer.DEAD, "not authorised"),
    0x0211: (Answer.DEAD, "unrecognised operation"),
    0xC122: (Answer.DEAD, "transfer syntax not supported"),
}


def meaning(status: int) -> tuple[Answer, str]:
    """The answer and a sentence; empty for plain success."""
    if status in KNOWN:
        answer, sentence = KNOWN[status]
        return answer, f"0x{status:04X} {sentence}" if sentence else ""
    if 0xA700 <= status <= 0xA7FF:
        return Answer.LATER, f"0x{status:04X} out of resources"
    if 0xA900 <= status <= 0xA9FF:
        return Answer.DEAD, f"0x{status:04X} the data set does not match the SOP class"
    if 0xC000 <= status <= 0xCFFF:
        return Answer.DEAD, f"0x{status:04X} cannot understand"
    if 0xB000 <= status <= 0xBFFF or status == 0x0001:
        return Answer.DELIVERED, f"0x{status:04X} stored with a warning"
    return Answer.RETRY, f"0x{status:04X} is not a status of the Storage service"


def named(status: int) -> str:
    """The code and what it means, also where a status that is no success stands for an object (PS3.3 C.14.1.1)."""
    return meaning(status)[1] or f"0x{status:04X}"
