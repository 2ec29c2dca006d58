"""What a destination's answer to C-STORE means for the object (PS3.4 B.2.3, PS3.7 C)."""

from __future__ import annotations

from enum import StrEnum


class Answer(StrEnum):
    """What is done about it."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"


#: single codes; the ranges below catch the rest
KNOWN = {
    0x0000: (Answer.DELIVERED, ""),
    0xB000: (Answer.DELIVERED, "stored, but elements were coerced"),
    0xB006: (Answer.DELIVERED, "stored, but elements were discarded"),
    0xB007: (Answer.DELIVERED, "stored, though the data set does not match its SOP class"),
    0x0111: (Answer.DELIVERED, "was there already: equal UID means equal bytes"),
    0x0107: (Answer.DELIVERED, "stored, with a warning about the attribute list"),
    0x0110: (Answer.RETRY, "processing failure"),
    0x0213: (Answer.RETRY, "resource limitation"),
    0x0122: (Answer.DEAD, "SOP class not supported"),
    0x0124: (Answer.DEAD, "not authorised"),
}


def meaning(status: int) -> tuple[Answer, str]:
    """The answer and a sentence; empty for plain success."""
    if status in KNOWN:
        answer, sentence = KNOWN[status]
        return answer, f"0x{status:04X} {sentence}" if sentence else ""
    if 0xA700 <= status <= 0xA7FF:
        return Answer.RETRY, f"0x{status:04X} out of resources"
    if 0xA900 <= status <= 0xA9FF:
        return Answer.DEAD, f"0x{status:04X} the data set does not match the SOP class"
    if 0xC000 <= status <= 0xCFFF:
        return Answer.DEAD, f"0x{status:04X} cannot understand"
    if 0xB000 <= status <= 0xBFFF or status == 0x0001:
        return Answer.DELIVERED, f"0x{status:04X} stored with a warning"
    return Answer.RETRY, f"0x{status:04X} is not a status of the Storage service"
