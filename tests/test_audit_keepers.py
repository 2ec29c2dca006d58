"""Which machines keep an audit trail, and how it ends when they go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from db import audit_trail, processes
from db.database import Clock, Database
from db.tables import audit_keeper, process
from node.app import Node
from node.errors import Refused
from node.operations import machines
from node.operations.sweep import sweep_home


def kept(database: Database) -> bool:
    with database.read() as tx:
        return audit_trail.is_on(tx)


def began(database: Database, machine: str, *, told: bool) -> None:
    """A machine begins, with a receiver."""
    with database.write() as tx:
        audit_trail.keep(tx, machine, told=told)
        processes.begin(tx, f"{machine}/receive", "receive", machine)


def swept(database: Database, later: float = 0) -> Sequence[str]:
    """What a sweep forgets that comes so many seconds after the one before."""
    with database.write() as tx:
        tx.execute(sa.update(audit_keeper).values(gone=audit_keeper.c.gone - later))
        return audit_trail.forget_gone(tx)


def test_machines_whose_names_change_do_not_keep_a_trail_for_ever(database: Database) -> None:
    """Pods: each has a new name, and its predecessor ended as it should."""
    day = audit_trail.GONE_SECONDS + 1
    began(database, "receive-7d9f-aaaaa", told=True)
    began(database, "receive-7d9f-bbbbb", told=True)
    assert swept(database) == swept(database, day) == []  # they are there
    with database.write() as tx:
        processes.end(tx, "receive-7d9f-aaaaa/receive")
        processes.end(tx, "receive-7d9f-bbbbb/receive")
    assert swept(database) == []
    assert swept(database, day / 2) == []
    began(database, "receive-7d9f-bbbbb", told=True)  # this one was away for half a day
    assert swept(database, day / 2 + 1) == ["receive-7d9f-aaaaa"]
    assert kept(database)
    with database.write() as tx:
        processes.end(tx, "receive-7d9f-bbbbb/receive")
    began(database, "receive-84c1-ccccc", told=False)  # [audit] is in the configuration no more
    assert kept(database)
    assert swept(database) == []
    assert swept(database, day) == ["receive-7d9f-bbbbb"]
    assert not kept(database)


def test_a_machine_of_which_only_the_trail_knows_is_forgotten_too(database: Database) -> None:
    began(database, "pod-1", told=True)
    with pytest.raises(Refused, match="none of its processes"):
        machines.forget(database, "pod-1", "ada")
    with database.write() as tx:
        processes.end(tx, "pod-1/receive")
    with pytest.raises(Refused, match="this node are: pod-1"):
        machines.forget(database, "pod-2", "ada")
    assert kept(database)
    assert "pod-1 is forgotten" in machines.forget(database, "pod-1", "ada")
    assert not kept(database)
    with pytest.raises(Refused, match="pod-1"):
        machines.forget(database, "pod-1", "ada")


def test_a_machine_that_still_runs_keeps_its_trail_when_a_lost_process_of_it_is_forgotten(database: Database) -> None:
    began(database, "gpu1", told=True)
    with database.write() as tx:
        processes.begin(tx, "gpu1/work-1", "work", "gpu1")
        tx.execute(sa.update(process).where(process.c.role == "work").values(beat=Clock() - 1000))
    assert "1 processes" in machines.forget(database, "gpu1", "ada")
    assert kept(database)


def test_a_sweep_of_the_home_folder_forgets_machines_that_are_gone(node: Node) -> None:
    began(node.database, "pod-1", told=True)
    with node.database.write() as tx:
        processes.end(tx, "pod-1/receive")
    sweep_home(node.archive, node.database, node.inbox)
    assert kept(node.database)
    with node.database.write() as tx:
        tx.execute(sa.update(audit_keeper).values(gone=audit_keeper.c.gone - audit_trail.GONE_SECONDS - 1))
    sweep_home(node.archive, node.database, node.inbox)
    assert not kept(node.database)
