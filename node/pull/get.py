"""Get a study from a PACS on the association on which it is asked for, by C-GET (PS3.4 C.4.3).

An object is answered with Success when it is durable: file and row, as for C-STORE (promise 1).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AllStoragePresentationContexts, _config, build_role, evt, sop_class

from db.database import DatabaseUnreachable

from ..errors import Refused, Unavailable
from ..inbound.kinds import LABELS
from ..inbound.syntaxes import ACCEPTED, uids
from ..outbound.scu import associate
from .door import Door
from .pacs import Limits, Pacs
from .retrieved import Follower, Progress, Retrieved
from .watch import Watch

logger = logging.getLogger(__name__)

GET = sop_class.StudyRootQueryRetrieveInformationModelGet
#: PS3.8 9.3.2.2: a presentation context ID is odd and one byte; one context is that of C-GET
MOST_CONTEXTS = 126
CONTEXTS = [(GET, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000


def retrieve(
    pacs: Pacs,
    ae_title: str,
    which: Dataset,
    sop_classes: Sequence[str],
    door: Door,
    limits: Limits,
    progress: Progress,
) -> Retrieved:
    """Get it.

    Args:
        which: the identifier of the request.
        sop_classes: of the study's objects; none where the PACS does not say.

    Raises:
        Unavailable, Failed, Refused: see `Follower.follow`; `unreachable`, `rejected`, `disk-reserve`, `not-stored`.
    """
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(door.inbox.archive.spool)  # where pynetdicom streams what it receives
    storage, classes = offered(sop_classes)
    taking = _Taking(door)
    assoc = associate(
        pacs.target,
        ae_title,
        [*CONTEXTS, *storage],
        limits.timeout_seconds,
        handlers=[(evt.EVT_C_STORE, taking.store)],
        roles=[build_role(uid, scp_role=True) for uid in classes],
    )
    if not any(context.abstract_syntax == GET for context in assoc.accepted_contexts) or not assoc.is_established:
        if assoc.is_established:
            assoc.release()
        raise Refused("fetch-refused", f"{pacs.name} does not offer C-GET")
    assoc.dimse_timeout = limits.study_seconds  # the watch knows better
    follower = Follower(pacs.name, "our AE title, as one that may retrieve", progress)
    try:
        with Watch(
            assoc,
            pacs.name,
            total_seconds=limits.study_seconds,
            silent_seconds=limits.silent_seconds,
            sign=lambda: (follower.last, taking.heard),
        ) as watch:
            taking.watch = watch
            return follower.follow(assoc.send_c_get(which, GET), watch)
    finally:
        if assoc.is_established:
            assoc.release()


@dataclass
class _Taking:
    """The C-STORE handler."""

    door: Door
    heard: int = 0
    watch: Watch | None = None

    def store(self, event: Any) -> int:
        self.heard += 1
        request = event.request
        command = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        try:
            self.door.take(event.dataset_path, event.context.transfer_syntax, command)
        except Refused as refusal:
            return MISMATCH if refusal.code == "uid-mismatch" else CANNOT_UNDERSTAND
        except Unavailable as error:
            return self._not_now(error)
        except (DatabaseUnreachable, OSError) as error:
            why = f"{type(error).__name__}: {error}".split("\n")[0]
            return self._not_now(Unavailable("not-stored", why))
        finally:
            if request._dataset_file is not None:  # pynetdicom closes it for acceptors alone
                request._dataset_file.close()
        return SUCCESS

    def _not_now(self, error: Unavailable) -> int:
        """Nothing more can be taken; the PACS need not go on."""
        logger.warning("instance answered 0xA700: %s: %s", error.code, error.sentence)
        if self.watch is not None:
            self.watch.end(error)
        return OUT_OF_RESOURCES


def offered(sop_classes: Sequence[str]) -> tuple[list[tuple[str, UID | list[UID]]], list[str]]:
    """Presentation contexts for what may come, and their SOP classes.

    A context of its own for each transfer syntax lets the PACS send every object as it keeps it. That many go into one
    association only for few classes; where these are not known, images go first, and the PACS chooses one syntax each.
    """
    known = {str(uid) for uid in uids(AllStoragePresentationContexts)}
    named = sorted(set(sop_classes) & known)
    if named and len(named) * len(ACCEPTED) < MOST_CONTEXTS:
        return [(uid, syntax) for uid in named for syntax in ACCEPTED], named
    classes = (named or sorted(known, key=_images_first))[: MOST_CONTEXTS - 1]
    return [(uid, list(ACCEPTED)) for uid in classes], classes


def _images_first(uid: str) -> tuple[int, str]:
    keyword = UID(uid).keyword
    return (0 if "ImageStorage" in keyword else 1 if uid in LABELS else 2 if "SR" in keyword else 3), uid
