"""What a person decides about results: release, discard, withdraw. Each answers with a sentence, or refuses with one.

The objects that were made together are decided on together: a report without its segmentation would help nobody.
"""

from __future__ import annotations

from typing import Any

from db import deliveries, upstreams, verdicts
from db.database import Database
from db.verdicts import RunOfResults

from ..errors import Refused


def release(database: Database, name: str, who: str, attempts: int) -> str:
    """Let results go that were held for a person.

    Args:
        name: id or SOP Instance UID of any object of the results.
        attempts: of the jobs that deliver them.
    """
    with database.write() as tx:
        run = _find(tx, name)
        if run.named["state"] == "held":
            raise Refused(
                "not-releasable",
                f"the self-check found a fault in it, and it is never sent: {run.named['reason']}; "
                "`planimeter reprocess` makes it again, `planimeter discard` puts it away",
            )
        if not run.held:
            raise Refused("not-held", "no destination's results of it wait for a person")
        verdicts.release(tx, run)
        verdicts.note(tx, run, "release", who, "")
        for destination in run.held:
            deliveries.ask(tx, destination, run.named["input_set_id"], run.named["study_id"], attempts)
    return f"the results of study {run.named['study_uid']} go to {', '.join(run.held)}"


def discard(database: Database, name: str, who: str, why: str, attempts: int = 3, again: int = 3) -> str:
    """Put results away that were not sent; what was made from them is refused, or made again.

    A destination that was sent some of them and gave no answer is told not to use them.

    Args:
        attempts: of the jobs that deliver; see `withdraw`.
    """
    with database.write() as tx:
        run = _find(tx, name)
        _not_decided(run)
        verdicts.discard(tx, run)
        if have := verdicts.have(tx, run):
            raise Refused(
                "already-delivered", f"{', '.join(have)} has it; `planimeter withdraw` says there that it is wrong"
            )
        verdicts.note(tx, run, "discard", who, why)
        upstreams.changed(tx, run.named["input_set_id"], again)
        said = _tell(tx, run, attempts)
    return f"the results of study {run.named['study_uid']} are discarded{said or ' and will not be sent'}"


def withdraw(database: Database, name: str, who: str, why: str, attempts: int, again: int = 3) -> str:
    """Take results back wherever they are: every destination that has them, or may have them, is sent a rejection note.

    What another network made from them is refused, and set aside; every destination that holds it is told so, where it
    wants that.

    Args:
        attempts: of the jobs that deliver.
        again: of those that run what was made from them once more.
    """
    if not why.strip():
        raise Refused("no-reason", "a withdrawal needs a reason: --reason TEXT")
    with database.write() as tx:
        run = _find(tx, name)
        _not_decided(run)
        verdicts.withdraw(tx, run, why.strip())
        verdicts.note(tx, run, "withdraw", who, why.strip())
        upstreams.changed(tx, run.named["input_set_id"], again)
        said = _tell(tx, run, attempts)
    return f"the results of study {run.named['study_uid']} are withdrawn{said or '; it had not been sent anywhere'}"


def _tell(tx: Any, run: RunOfResults, attempts: int) -> str:
    """Have every destination that has results, or may have them, told not to use them; which ones that are."""
    have, silent, taking = verdicts.have(tx, run), verdicts.may_have(tx, run), verdicts.may_take(tx, run)
    for destination in (*have, *silent):
        deliveries.ask(tx, destination, run.named["input_set_id"], run.named["study_id"], attempts)
    perhaps = [one for one in silent if one not in taking]
    told = f"; {', '.join(have)} is told so" if have else ""
    told += f"; {', '.join(perhaps)} may have it, though no answer came, and is told so" if perhaps else ""
    return told + (f"; {', '.join(taking)} may be taking it at this moment, and is told so then" if taking else "")


def _find(tx: Any, name: str) -> RunOfResults:
    run = verdicts.find(tx, name.strip())
    if run is None:
        raise Refused(
            "no-such-result", f"there is no result {name}; `planimeter status` lists them with their deliveries"
        )
    return run


def _not_decided(run: RunOfResults) -> None:
    state = run.named["state"]
    if state in ("withdrawn", "discarded"):
        raise Refused("decided-already", f"it was {state} before")
