"""What comes in on one association, or of one retrieval: a message per study, not per instance.

The message is written with the first instance of a study, in its transaction, and left open; so also an association
that ends with its process has been told of. Its numbers come when the association ends.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from db import audit_trail

from .codes import What
from .trail import SILENT, Trail


@dataclass
class Transfer:
    """One association.

    Attributes:
        ae, address: of whom it comes from.
        asked: by us.
        open_by: the process; None: nothing is written before the end.
        what: TRANSFER_IN, or IMPORTED with `who` in `more`.
        lately_new: whether what came last was here for the first time: the next one will probably be, too.
    """

    trail: Trail
    ae: str = ""
    address: str = ""
    asked: bool = False
    open_by: str | None = None
    what: What = What.TRANSFER_IN
    more: dict[str, Any] = field(default_factory=dict)
    failed: int = 0
    lately_new: bool = False
    _open: dict[str, int] = field(default_factory=dict)
    _opening: tuple[str, int] | None = None
    _studies: defaultdict[str, Counter[str]] = field(default_factory=partial(defaultdict, Counter))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_to_open(self, study_uid: str) -> bool:
        """Whether a message may have to be written with an instance of a study."""
        return self.open_by is not None and study_uid not in self._studies and self.trail.database is not None

    def begins(self) -> None:
        """An instance comes. What was written with one before it that was not committed is not there."""
        self._opening = None

    def opens(self, tx: Any, study_uid: str) -> None:
        """An instance is written down, in this transaction; `took` says that it was committed."""
        self._opening = None
        if not self.is_to_open(study_uid):
            return
        if not audit_trail.is_on(tx):
            return
        made = audit_trail.put(tx, self.what, audit_trail.about(tx, study_uid) | self._facts(), self.open_by)
        if made is not None:
            self._opening = (study_uid, made)

    def took(self, study_uid: str, sop_class: str, *, new: bool = True) -> None:
        """An instance is here."""
        with self._lock:
            self.lately_new = new
            if self._opening is not None and self._opening[0] == study_uid:
                self._open[study_uid] = self._opening[1]
            self._opening = None
            self._studies[study_uid][sop_class] += 1

    def end(self) -> None:
        """It is over. Called again, it tells of what came since."""
        with self._lock:
            studies, self._studies = self._studies, defaultdict(Counter)
            began, self._open = self._open, {}
        for study_uid, classes in studies.items():
            facts = self._facts() | {"classes": dict(classes), "failed": self.failed}
            if study_uid in began:
                self.trail.end(self.what, began[study_uid], study_uid, facts)
            else:
                self.trail.note(self.what, study_uid, **facts)

    def _facts(self) -> dict[str, Any]:
        return {"ae": self.ae, "address": self.address, "asked": self.asked} | self.more


def imported(trail: Trail, who: str, address: str = "") -> Transfer:
    """Of files that a person brings."""
    return Transfer(trail, what=What.IMPORTED, more={"who": who, "address": address})


def unheard() -> Transfer:
    """Of which nobody is told."""
    return Transfer(SILENT)
