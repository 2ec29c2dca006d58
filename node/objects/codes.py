"""Codes of the card as DICOM code items."""

from __future__ import annotations

import highdicom as hd


def coded(triple: tuple[str, str, str]) -> hd.sr.CodedConcept:
    """A code of the card."""
    value, scheme, meaning = triple
    return hd.sr.CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)
