"""Golden cases run again before a network reads a study on another driver, torch or device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from config.settings import Settings
from db import events
from models import client
from models.environment import describe
from node.app import Node, open_node
from node.operations import installing, proofs, show_network
from node.operations.status import overview, print_tables
from tests import mini_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.synthetic import small_series
from tests.test_golden import box, with_case
from tests.threshold_host import ThresholdHosts, threshold

NAME = "holds"


@pytest.fixture
def hosts(threshold_hosts: ThresholdHosts) -> Iterator[ThresholdHosts]:
    """As they were, afterwards."""
    before = dict(threshold_hosts.environment)
    yield threshold_hosts
    threshold_hosts.environment, threshold_hosts.answer = before, threshold


@pytest.fixture
def proven(settings: Settings, hosts: ThresholdHosts) -> Iterator[Node]:
    """A node with one network that reads studies, and has a golden case."""
    with_case(mini_bundle.make(settings.home / "models", NAME), box(-700, first=2), box(1, first=2))
    opened = open_node(settings, hosts.address)
    node = replace(opened, routes=(replace(opened.routes[0], networks=(NAME,)),))
    for shipped in ("ct_lungs", "pet_sarcoma"):
        installing.switch(node.networks, shipped, "ann", on=False)
    yield node
    node.close()


def read_a_study(node: Node, hosts: ThresholdHosts, patient: str) -> int:
    """How many volumes the hosts were asked for until it was done with."""
    before = hosts.asked
    take_in(node, small_series(patient_id=patient))
    work_off(node)
    return hosts.asked - before


def recorded(node: Node) -> list[str]:
    with node.database.read() as tx:
        listed = [row["what"] for row in events.listing(tx, NAME)]
    return [what for what in reversed(listed) if what in (proofs.HELD, proofs.LOST)]


def test_they_run_before_the_first_study_and_after_every_change_and_no_more(
    proven: Node, hosts: ThresholdHosts
) -> None:
    first = dict(hosts.environment)
    assert read_a_study(proven, hosts, "a") == 2
    assert read_a_study(proven, hosts, "b") == 1
    hosts.environment = first | {"driver": "570.1"}
    assert read_a_study(proven, hosts, "c") == 2
    hosts.environment = first  # another machine of the same node, which has held already
    assert read_a_study(proven, hosts, "d") == 1
    assert recorded(proven) == [proofs.HELD, proofs.HELD]
    assert {job["state"] for job in jobs_of(proven) if job["model"]} == {"done"}


def test_a_network_that_lost_one_is_off_until_a_person_says_otherwise(proven: Node, hosts: ThresholdHosts) -> None:
    assert read_a_study(proven, hosts, "a") == 2
    hosts.environment = {"torch": "2", "device": "another"}
    hosts.answer = lambda volume: np.zeros(volume.shape, np.uint8)
    assert read_a_study(proven, hosts, "b") == 1  # the golden case alone
    refused = [job for job in jobs_of(proven) if job["state"] == "refused"]
    assert "golden-lost: holds does not find here" in str(refused[0]["reason"])
    assert "Dark has Dice 0.000" in str(refused[0]["reason"])
    said = overview(proven.database)
    assert said["aside"] == [
        {"network": NAME, "reason": "golden-lost: golden case box: Dark has Dice 0.000, and 0.98 is asked for"}
    ]
    console = Console(record=True, width=200)
    bundle = proven.networks.known(NAME)[1]
    with proven.database.read() as tx:
        proof = proofs.last(tx, bundle)
    show_network.print_network(bundle, proof, console)
    assert "with torch 2 on another: golden case box" in console.export_text()
    assert show_network.shown(bundle, proof)["golden"]["faults"]
    assert read_a_study(proven, hosts, "c") == 0
    assert "network-aside: holds is off" in str(overview(proven.database)["studies"][0]["reason"])
    hosts.answer = threshold
    installing.switch(proven.networks, NAME, "ann", on=True)
    assert read_a_study(proven, hosts, "d") == 2
    assert recorded(proven) == [proofs.HELD, proofs.LOST, proofs.HELD]
    assert overview(proven.database)["aside"] == []


def test_status_says_it(proven: Node, hosts: ThresholdHosts, capsys: pytest.CaptureFixture[str]) -> None:
    hosts.answer = lambda volume: np.zeros(volume.shape, np.uint8)
    read_a_study(proven, hosts, "a")
    print_tables(overview(proven.database), proven.database)
    assert "holds is off: golden-lost" in capsys.readouterr().out


def test_a_network_without_golden_cases_is_not_asked(node: Node, hosts: ThresholdHosts) -> None:
    assert read_a_study(node, hosts, "a") == 1
    assert jobs_of(node)[-1]["state"] == "done"


def test_a_host_that_is_gone_does_not_say_what_it_runs_on(tmp_path: Path) -> None:
    with pytest.raises(client.HostBusy, match="does not say what it runs on"):
        client.environment(tmp_path / "nobody.sock")


def test_an_environment_says_libraries_and_device() -> None:
    said = describe(torch.device("cpu"))
    assert said["torch"] == str(torch.__version__)
    assert said["device"] == "cpu"
    assert set(said) == {"torch", "monai", "machine", "processor", "instructions", "device"}
    assert said == describe(torch.device("cpu"))
