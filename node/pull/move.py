"""Have a PACS send a study to our receiver, by C-MOVE (PS3.4 C.4.2)."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import sop_class

from ..errors import Refused
from ..outbound.scu import associate
from .pacs import Limits, Pacs
from .retrieved import Follower, Progress, Retrieved
from .watch import Watch

MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove
CONTEXTS = [(MOVE, syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)]
#: how often it is counted what has come
COUNT_SECONDS = 2.0


def retrieve(
    pacs: Pacs,
    ae_title: str,
    which: Dataset,
    register: str,
    came: Callable[[], int],
    limits: Limits,
    progress: Progress,
) -> Retrieved:
    """Have it sent.

    Args:
        ae_title: ours, to which it is sent.
        which: the identifier of the request.
        register: what the PACS has to know of us, for a person.
        came: how many objects of the study are here by now.

    Raises:
        Unavailable, Failed, Refused: see `Follower.follow`; `unreachable`, `rejected`.
    """
    timeout_seconds = limits.timeout_seconds
    assoc = associate(pacs.target, ae_title, CONTEXTS, timeout_seconds)
    if not assoc.is_established:
        raise Refused("fetch-refused", f"{pacs.name} does not offer C-MOVE")
    assoc.dimse_timeout = limits.study_seconds  # the watch knows better
    follower = Follower(pacs.name, register, progress)
    try:
        with Watch(
            assoc,
            pacs.name,
            total_seconds=limits.study_seconds,
            silent_seconds=limits.silent_seconds,
            sign=lambda: (follower.last, came()),
            look_seconds=min(COUNT_SECONDS, limits.silent_seconds / 4),
        ) as watch:
            return follower.follow(assoc.send_c_move(which, ae_title, MOVE), watch)
    finally:
        if assoc.is_established:
            assoc.release()
