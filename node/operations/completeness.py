"""Ask the PACS how many images the studies have that are arriving: some more may be under way."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from db import completeness
from db.database import Database

from ..audit.trail import SILENT, Trail
from ..errors import NodeError
from ..pull import search
from ..pull.pacs import Limits, Pacs
from ..pull.search import Asks

logger = logging.getLogger(__name__)

#: a PACS that is slower than this is no help: its studies settle by silence
ANSWER_SECONDS = 10.0
#: modalities of objects that make no work (promise 6): nobody waits for them
NO_IMAGES = frozenset(
    {"SEG", "SR", "PR", "KO", "DOC", "PLAN", "REG", "FID", "RWV", "SMR", "ANN", "ASMT", "M3D", "STAIN", "TEXTUREMAP"}
    | {"RTSTRUCT", "RTPLAN", "RTRECORD", "RTDOSE", "RTINTENT", "RTRAD", "RTSEGANN"}
    | {"AU", "ECG", "EPS", "HD", "RESP", "TG", "EEG", "EMG", "EOG", "POS"}
)


def ask(database: Database, pacs: Mapping[str, Pacs], ae_title: str, limits: Limits, trail: Trail = SILENT) -> int:
    """Ask about every study whose turn it is, and note the answers; how many studies that were.

    A study is asked of the PACS that sent its last image, else of the first that counts. One that does not answer is
    noted as silent, and its studies settle as if it were never asked.

    Raises:
        DatabaseUnreachable: as it says.
    """
    counting = {name: one for name, one in sorted(pacs.items()) if one.counts}
    if not counting:
        return 0
    with database.read() as tx:
        rows = completeness.to_ask(tx)
    by_sender = {one.target.ae_title: name for name, one in reversed(counting.items())}
    first = next(iter(counting))
    asked: dict[str, list[Any]] = {}
    for row in rows:
        asked.setdefault(by_sender.get(row["calling_ae"], first), []).append(row)
    quick = replace(limits, timeout_seconds=min(limits.timeout_seconds, ANSWER_SECONDS))
    for name, studies in asked.items():
        with search.asking(counting[name], ae_title, quick, trail) as finder:
            _ask_one(database, finder, name, studies)
    return len(rows)


def _ask_one(database: Database, finder: Asks, name: str, studies: list[Any]) -> None:
    silent = False
    for row in studies:
        images, of_series = None, dict[str, int]()
        if not silent:
            try:
                images, of_series = images_at(database, finder, row["study_uid"])
            except NodeError as error:
                silent = True  # it need not be waited for twenty times
                logger.warning("%s does not say how many images a study has: %s", name, error)
        with database.write() as tx:
            completeness.note(tx, row["id"], name, images, of_series)


def images_at(database: Database, finder: Asks, study_uid: str) -> tuple[int | None, dict[str, int]]:
    """How many images the PACS has, without what this node made; None where it does not say, or has none.

    And how many of each series, where it says that.
    """
    listed = [one for one in search.series(finder, study_uid) if one.modality not in NO_IMAGES]
    with database.read() as tx:
        ours = completeness.ours(tx, [one.series_uid for one in listed])
    theirs = [one for one in listed if one.series_uid not in ours]
    known = {one.series_uid: one.images for one in theirs if one.images is not None}
    return sum(known.values()) or None if len(known) == len(theirs) else None, known
