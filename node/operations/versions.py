"""What a person decides about versions of networks: shadow, approve, promote, roll back. Each answers with a sentence.

A decision is one transaction: the release, the states and the events of the record, or none of it. No file is touched
by it, and jobs that run finish with the version they began with.
"""

from __future__ import annotations

import json
from typing import Any

from db import events, shadows, training_runs
from db import networks as rows
from db.database import Database, Row
from db.networks import VersionState

from ..errors import Refused
from ..networks import Networks

#: why a version in this state is not approved, with {why}: the gate's reasons
NOT_APPROVABLE = {
    VersionState.INSTALLED: "an administrator installed it; it needs no approval",
    VersionState.CANDIDATE: "the gate has not passed it ({why}); when there are more locked patients, train again",
    VersionState.REJECTED: "the gate rejected it ({why}); nobody can approve it, only another training may do better",
    VersionState.APPROVED: "it is approved already; `planimeter models promote` makes it live",
}


def shadow(database: Database, network: str, version: str, who: str, why: str = "") -> str:
    """Let a version that the gate passed run beside the champion; nothing of it is sent."""
    _signed(who)
    with database.write() as tx:
        row = _find(tx, network, version)
        if row["state"] != VersionState.ELIGIBLE:
            raise Refused(
                "not-eligible", f"{_said(row)} is {row['state']}; only an eligible version runs in the shadow"
            )
        _compared_with_the_live_one(tx, row)
        rows.change_state(tx, row["id"], VersionState.SHADOW, who, why)
    return f"{_said(row)} runs beside the live version from the next study on; nothing of it is sent"


def approve(
    database: Database,
    network: str,
    version: str,
    who: str,
    why: str,
    shadow_studies: int = 0,
    *,
    two_person: bool = False,
) -> str:
    """Let a version go live when it is promoted. Who made its training begin is recorded beside who approved it.

    Args:
        shadow_studies: beside the live version on at least so many studies it has to have run before.
        two_person: whoever made its training begin may not approve it.
    """
    _signed(who)
    if not why.strip():
        raise Refused("no-reason", "an approval needs a reason: --reason TEXT")
    with database.write() as tx:
        row = _find(tx, network, version)
        if (state := VersionState(row["state"])) in NOT_APPROVABLE:
            raise Refused("not-approvable", f"{_said(row)}: {NOT_APPROVABLE[state].format(why=_reasons(tx, row))}")
        _proven(tx, row)
        _compared_with_the_live_one(tx, row)
        _seen_enough(tx, row, shadow_studies)
        run = training_runs.of_candidate(tx, row["id"])
        begun_by = run["who"] if run is not None else None
        if two_person and begun_by is not None:
            _another(who, begun_by, f"asked for the training of {_said(row)}")
        rows.change_state(tx, row["id"], VersionState.APPROVED, who, why.strip(), training_begun_by=begun_by)
    return f"{_said(row)} is approved; `planimeter models promote {network} {version}` makes it live"


def promote(
    networks: Networks,
    network: str,
    version: str,
    who: str,
    why: str,
    *,
    automatic: bool = False,
    two_person: bool = False,
) -> str:
    """Make a version live.

    Args:
        automatic: nobody approved it: the gate's verdict must say that it may be, and it must never have been live.
        two_person: whoever approved it may not make it live.

    Raises:
        Refused: with what has to be done first.
        Failed: `network-unusable`: its files are not whole.
    """
    _signed(who)
    _, live = networks.seen(network)
    with networks.database.read() as tx:
        row = _find(tx, network, version)
        _promotable(tx, row, automatic=automatic)
    networks.verified(row)
    if live is not None:
        networks.keep(live)  # what one goes back to must outlive its folder
    with networks.database.write() as tx:
        events.lock(tx)
        row = rows.find(tx, row["id"])
        _promotable(tx, row, automatic=automatic)
        if two_person and (approver := _approver(tx, row)) is not None:
            _another(who, approver, f"approved {_said(row)}")
        if automatic and row["state"] != VersionState.APPROVED:
            rows.change_state(tx, row["id"], VersionState.APPROVED, who, why, automatic=True)
        rows.make_live(tx, network, row["id"], who, why, "promote")
    if live is None:
        return f"{_said(row)} is live, the first of its network"
    back = f"`planimeter models rollback {network}` takes it back"
    return f"{_said(row)} is live; jobs that run finish with {live['version']}; {back}"


def rollback(networks: Networks, network: str, who: str, why: str, to: str | None = None) -> str:
    """Go back to the version that was live before, or to one that is named and was live once.

    A second rollback goes further back. The version that is left has to be approved again before it is promoted.

    Raises:
        Refused: with what can be done instead.
        Failed: `network-unusable`: the files of the version to go back to are not whole.
    """
    _signed(who)
    if not why.strip():
        raise Refused("no-reason", "a rollback needs a reason: --reason TEXT")
    networks.seen(network)  # else a change of what is installed would be live again at once
    with networks.database.read() as tx:
        target = _target(tx, network, to)
    networks.verified(target)
    with networks.database.write() as tx:
        events.lock(tx)
        if _target(tx, network, to)["id"] != target["id"]:
            raise Refused(
                "released-meanwhile", f"another version of {network} has just become live; look, and say it again"
            )
        left = rows.live(tx, network)
        assert left is not None
        if left["state"] == VersionState.APPROVED:
            rows.change_state(tx, left["id"], VersionState.ELIGIBLE, who, f"rolled back: {why.strip()}")
        rows.make_live(tx, network, target["id"], who, why.strip(), "rollback")
    return f"{_said(target)} is live again; jobs that run finish with {left['version']}"


def _target(tx: Any, network: str, to: str | None) -> Row:
    history = rows.releases(tx, network)
    standing = rows.standing(history)
    if not standing:
        raise Refused("no-such-network", f"no version of {network} was ever live; `planimeter models list` lists them")
    if to is None:
        if len(standing) < 2:
            raise Refused("nothing-before", f"no version of {network} was live before; name one that was, with --to")
        return rows.find(tx, standing[-2])
    row = _find(tx, network, to)
    if row["id"] == standing[-1]:
        raise Refused("live-already", f"{_said(row)} is live")
    if row["id"] not in {one["model_version_id"] for one in history}:
        raise Refused("never-live", f"{_said(row)} was never live; `planimeter models promote` is the way there")
    return row


def _promotable(tx: Any, row: Row, *, automatic: bool) -> None:
    live = rows.live(tx, row["network"])
    if live is not None and live["id"] == row["id"]:
        raise Refused("live-already", f"{_said(row)} is live")
    if automatic:
        _automatic(tx, row)
    elif row["state"] != VersionState.APPROVED:
        hint = {VersionState.INSTALLED: "only a trained version is promoted; to go back to it, roll back"}
        todo = hint.get(row["state"], "approve it first: `planimeter models approve`")
        raise Refused("not-approved", f"{_said(row)} is {row['state']}: {todo}")
    _proven(tx, row)
    _compared_with_the_live_one(tx, row)


def _approver(tx: Any, row: Row) -> str | None:
    """Who said so last."""
    for event in events.listing(tx, row["network"]):
        if event["what"] == VersionState.APPROVED and json.loads(event["details"]).get("model_version") == row["id"]:
            return str(event["who"])
    return None


def _another(who: str, other: str, did: str) -> None:
    if who.strip().lower() == other.strip().lower():
        raise Refused("same-person", f"{other} {did}: where two persons are wanted (`two_person`), another one decides")


def _automatic(tx: Any, row: Row) -> None:
    evaluation = training_runs.evaluation_of(tx, row["id"])
    if evaluation is None or evaluation["verdict"].get("automatic") is not True:
        raise Refused("needs-a-person", f"the gate's verdict does not let {_said(row)} go live without a person")
    if row["id"] in {one["model_version_id"] for one in rows.releases(tx, row["network"])}:
        raise Refused(
            "needs-a-person", f"{_said(row)} was live before and was taken back; only a person brings it back"
        )


def _proven(tx: Any, row: Row) -> None:
    """Whatever its state says: the gate's own row must be there."""
    evaluation = training_runs.evaluation_of(tx, row["id"])
    if evaluation is None or evaluation["outcome"] != "pass":
        raise Refused("not-proven", f"there is no evaluation that {_said(row)} has passed")


def _compared_with_the_live_one(tx: Any, row: Row) -> None:
    """What was proven is that it is better than one certain version: that one must be the live one."""
    evaluation = training_runs.evaluation_of(tx, row["id"])
    live = rows.live(tx, row["network"])
    champion = evaluation["champion_id"] if evaluation is not None else None
    if champion == (live["id"] if live is not None else None):
        return
    against = rows.find(tx, champion)["version"] if champion is not None else "no other version"
    now = live["version"] if live is not None else "none"
    raise Refused(
        "other-champion",
        f"{_said(row)} was compared with {against}, but {now} is live now: train again, or roll back to that one first",
    )


def _seen_enough(tx: Any, row: Row, wanted: int) -> None:
    found = shadows.summary(tx, row["id"])
    studies = found.studies if found is not None else 0
    if row["state"] == VersionState.SHADOW and studies < wanted:
        raise Refused(
            "too-few-studies",
            f"{_said(row)} has run beside the live version on {studies} of {wanted} studies (shadow_studies)",
        )


def _reasons(tx: Any, row: Row) -> str:
    evaluation = training_runs.evaluation_of(tx, row["id"])
    if evaluation is None:
        return "it was not evaluated yet"
    return "; ".join([evaluation["outcome"], *evaluation["verdict"].get("reasons", ())])


def _find(tx: Any, network: str, name: str) -> Row:
    found = rows.named(tx, network, name.strip())
    if not found:
        raise Refused(
            "no-such-version", f"{network} has no version {name}; `planimeter models list` lists networks and versions"
        )
    if len(found) > 1:
        hashes = ", ".join(f"{one['card_sha256'][:12]} ({one['state']})" for one in found)
        raise Refused(
            "ambiguous-version", f"{network} has {len(found)} versions {name}: name one by its card: {hashes}"
        )
    return found[0]


def _said(row: Row) -> str:
    return f"{row['network']} {row['version']}"


def _signed(who: str) -> None:
    if not who.strip():
        raise Refused("no-name", "a decision needs the name of who decides")
