"""Places where a test can end a process: the crash tests kill a node at every one of them.

PLANIMETER_FAILPOINT=name          kills this process (SIGKILL) when it comes to `name`
PLANIMETER_FAILPOINT=name:FILE     the same, once: the file is made first, and where it exists nothing happens
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

NAMES = (
    "stored-before-row",
    "claimed",
    "loading",
    "decoding",
    "volume-built",
    "predicting",
    "predicted",
    "object-written",
    "before-results-commit",
    "after-results-commit",
    "before-send",
    "sent-before-row",
    "after-delivery-commit",
)
#: of the step that reads labels
LABEL_NAMES = ("label-mask-written", "label-before-commit", "label-after-commit")
#: of the steps that train, judge and run beside
LEARNING_NAMES = (
    "before-training",
    "trained-before-row",
    "version-built",
    "candidate-before-row",
    "case-evaluated",
    "before-verdict-commit",
    "shadow-before-row",
)
#: of what removes files
REMOVING_NAMES = ("given-up", "unlinked")
#: of what leaves the house
EXPORTING_NAMES = ("export-made", "export-recorded")
#: of the audit trail
AUDIT_NAMES = ("audit-sent-before-row",)


def reach(name: str) -> None:
    """Come to a place; nothing happens unless the environment names it."""
    wanted = os.environ.get("PLANIMETER_FAILPOINT", "")
    if not wanted:
        return
    assert name in (*NAMES, *LABEL_NAMES, *LEARNING_NAMES, *REMOVING_NAMES, *EXPORTING_NAMES, *AUDIT_NAMES)
    place, _, once = wanted.partition(":")
    if place != name:
        return
    if once:
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
