"""What is compared: the recipe of ct_pet_sarcoma with one channel, with the other, with both in two ways."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..contenders import Case, Contender

FOLDS = 5
PET = Contender("PET alone", "channels", {"channels": ["pet"]})
CT = Contender("CT alone", "channels", {"channels": ["ct"]})
BOTH = Contender("PET and CT, early fusion (shipped recipe)", "channels")
LATE = Contender(
    "PET and CT, late fusion",
    "channels",
    network={
        "_target_": "models.comparison.fusion.branches.Branches",
        "branches": 2,
        "out_channels": 2,
        "channels": [16, 32, 64, 128],
        "strides": [2, 2, 2],
    },
)
#: what is trained; late fusion is made of the first two
TRAINED = (PET, CT, BOTH)
CONTENDERS = (*TRAINED, LATE)


def fold(cases: Sequence[Case], number: int) -> tuple[list[Case], list[Case]]:
    """One fold, counted from 0: the cases to train on, those to judge by.

    FOLDS of them judge every patient once; the next FOLDS once more, parted anew. What parts them is a hash of the
    patient's name, which knows nothing of images or results.
    """
    repeat, part = divmod(number, FOLDS)
    name = f"ct_pet_sarcoma {repeat}"
    order = sorted(cases, key=lambda case: hashlib.sha256(f"{name} {case['patient']}".encode()).digest())
    return [one for n, one in enumerate(order) if n % FOLDS != part], order[part::FOLDS]
