"""What a destination's answer means for the object: to C-STORE (PS3.4 B.2.3, PS3.7 C), to STOW-RS and N-ACTION."""

from __future__ import annotations

from enum import StrEnum

from pydicom.uid import KeyObjectSelectionDocumentStorage


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
#: of dcm4chee-arc, which has codes of its own in the range of "out of resources": these to a rejection note say that
#: what it is about is rejected there
REJECTED_ALREADY = frozenset({0xA770, 0xA774})
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
    0xA700: (Answer.LATER, "out of resources"),
    0xA770: (Answer.DEAD, "it has this rejection note already (such a note counts as delivered)"),
    0xA771: (Answer.DEAD, "this object was rejected there, and is not taken again"),
    0xA772: (Answer.DEAD, "it has not all objects that the rejection note is about"),
    0xA773: (Answer.DEAD, "the rejection note gives another SOP class to an object than it has there"),
    0xA774: (Answer.DEAD, "an object of the rejection note is rejected already (such a note counts as delivered)"),
    0xA775: (Answer.DEAD, "it allows no rejection note for objects whose retention period has expired"),
    0xA776: (Answer.DEAD, "the retention period of the study has not expired"),
    0xA777: (Answer.DEAD, "it takes no object without a Patient ID"),
    0xA778: (Answer.DEAD, "the Patient ID is not the one that the study has there"),
    0xA779: (Answer.DEAD, "the patient's attributes are not those that it has for this Patient ID"),
    0xC122: (Answer.DEAD, "transfer syntax not supported"),
}


def meaning(status: int, sop_class: str = "") -> tuple[Answer, str]:
    """The answer and a sentence; empty for plain success.

    Args:
        sop_class: of the object; the only Key Object Selections that are sent are rejection notes.
    """
    if status in KNOWN:
        answer, sentence = KNOWN[status]
        if status in REJECTED_ALREADY and sop_class == KeyObjectSelectionDocumentStorage:
            answer = Answer.DELIVERED
        return answer, f"0x{status:04X} {sentence}" if sentence else ""
    if 0xA700 <= status <= 0xA7FF:
        # the class of PS3.4 B.2.3 and table GG.4-1; but beyond the one code anything may be meant, also for ever
        return Answer.RETRY, f"0x{status:04X} refused: out of resources, or a reason that only its maker knows"
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
