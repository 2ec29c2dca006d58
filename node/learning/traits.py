"""What may show that two patients are one person: names, UIDs and pixels that both have.

A trait only raises a suspicion, which a person decides; so spellings are brought together widely. What many people
share because it stands for nothing (placeholders, UIDs of the Standard, blank slices) is left out.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ..objects.values import value
from ..study.facts import text
from ..study.volume import Volume
from .buckets import PLACEHOLDERS, Key, is_nobody, normalised

#: UIDs that the Standard gives, as those of well-known frames of reference (PS3.6 table A-2), are nobody's
STANDARD_ROOT = "1.2.840.10008."
UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*)){4,}", re.ASCII)
LONGEST_UID = 64
BIRTH_DATE = re.compile(r"(1[89]|20)\d{6}", re.ASCII)
#: what stands for a name where there is none, beside `PLACEHOLDERS`
NO_NAME = PLACEHOLDERS | {"NAME", "NONAME", "PATIENT"}
#: German spellings without umlauts, and letters that have no decomposition
SPELLINGS = {"AE": "A", "OE": "O", "UE": "U", "\u00c6": "A", "\u0152": "O", "\u00d8": "O", "\u0141": "L"}
#: a slice with fewer values, or larger than needed to tell it, is not looked at so closely
FEWEST_VALUES = 16
WIDEST_LOOK = 128


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What is known of a patient beside the PatientID.

    Attributes:
        names: PatientName, PatientBirthDate (YYYYMMDD) and PatientSex, as in the header; only all three tell.
        study_uids, frames_of_reference: of the images; images that lie nowhere in the patient have no frame.
        pixel_digests: of slices (`pixel_digests` makes them).
    """

    names: frozenset[tuple[str, str, str]] = frozenset()
    study_uids: frozenset[str] = frozenset()
    frames_of_reference: frozenset[str] = frozenset()
    pixel_digests: frozenset[str] = frozenset()

    def kept(self, key: Key, patient_id: str) -> frozenset[tuple[str, str]]:
        """Kind and keyed hash of each trait that tells anything, as they are kept.

        Args:
            patient_id: as the issuer gives it; which issuer that is does not count here.
        """
        found = [] if is_nobody(patient_id) else [("patient_id", normalised(patient_id))]
        found += [("name", same) for same in (_same_name(*one) for one in self.names) if same]
        found += [("study", uid) for uid in self.study_uids if _tells(uid)]
        found += [("frame_of_reference", uid) for uid in self.frames_of_reference if _tells(uid)]
        found += [("pixels", digest) for digest in self.pixel_digests if digest]
        return frozenset((kind, key.trait(kind, what)) for kind, what in found)


def traits(volumes: Iterable[Volume]) -> Traits:
    """The traits of a patient's images, in the headers and in the pixels."""
    names: set[tuple[str, str, str]] = set()
    studies, frames, digests = set[str](), set[str](), set[str]()
    for volume in volumes:
        for header in {id(header): header for header in volume.headers}.values():
            names.add((_one(header, "PatientName"), _one(header, "PatientBirthDate"), _one(header, "PatientSex")))
            studies.add(text(header, "StudyInstanceUID"))
            frames.add(text(header, "FrameOfReferenceUID"))
        digests.update(pixel_digests(volume.values.array))
    return Traits(
        names=frozenset(names),
        study_uids=frozenset(studies) - {""},
        frames_of_reference=frozenset(frames) - {""},
        pixel_digests=frozenset(digests),
    )


def pixel_digests(slices: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Iterator[str]:
    """A digest of each slice that shows something.

    It is made of the order of the values, not of the values: the same image is the same in counts, in SUV and in
    Hounsfield units. Large slices are looked at in every second pixel, or every third and so on.

    Args:
        slices: (slices, rows, columns), or (slices, rows, columns, 3).
    """
    for one in slices:
        step = max(1, -(-max(one.shape[:2]) // WIDEST_LOOK))
        found, ranks = np.unique(one[::step, ::step], return_inverse=True)
        if len(found) >= FEWEST_VALUES:
            digest = hashlib.sha256(str(one.shape).encode())
            digest.update(ranks.astype("<u4").tobytes())
            yield digest.hexdigest()


def _one(header: Dataset, keyword: str) -> str:
    found = value(header, keyword)
    return found if isinstance(found, str) else found[0]


def _same_name(name: str, birth_date: str, sex: str) -> str:
    """Equal for spellings of one name with equal birth date and sex; empty where that tells nothing.

    Family and given name count, in any order; case, accents and what else the name has do not.
    """
    group = next((part for part in name.split("=") if part.strip(" ^")), "")
    words = sorted({_plain(word) for part in group.split("^")[:2] for word in re.split(r"[\s,.]+", part)} - {""})
    if set(words) <= NO_NAME or not BIRTH_DATE.fullmatch(birth_date) or not sex.strip():
        return ""
    return f"{' '.join(words)} {birth_date} {sex.strip().upper()}"


def _plain(word: str) -> str:
    letters = "".join(one for one in unicodedata.normalize("NFKD", word.upper()) if one.isalnum())
    for long, short in SPELLINGS.items():
        letters = letters.replace(long, short)
    return letters


def _tells(uid: str) -> bool:
    """Whether a UID can be one patient's: not the Standard's, not cut short, not counted up by hand (1.2.3.4.5)."""
    if not UID.fullmatch(uid) or len(uid) > LONGEST_UID or uid.startswith(STANDARD_ROOT):
        return False
    parts = [int(part) for part in uid.split(".")]
    counted = all(b - a == 1 for a, b in pairwise(parts))
    return not counted and any(parts[1:])
