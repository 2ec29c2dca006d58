"""A network for a structure that nothing here finds yet: made like another, taught, held to what its card asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from config.settings import load
from db import networks as rows
from db import training_runs
from db.events import listing
from models import card, likeness
from models.card import CardError
from node.app import Node, open_node
from node.errors import Failed, Refused
from node.hosts import Hosts
from node.operations import catalogue, labels, new_network, retrain, versions
from node.operations.status import overview
from tests import loop_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.nurseries import SHARED
from tests.test_learning_loop import KEY, SHARES, series, taught

WALLS = """
title = "Vessels"
manufacturer = "Hospital"
intended_use = "Tests."
smallest_component_ml = 0.0

[[segment]]
value = 1
label = "Vessel"
category = ["123037004", "SCT", "Anatomical Structure"]
type = ["15825003", "SCT", "Aorta"]
colour = [50, 100, 200]

[gate]
absolute = { 1 = 0.7 }
"""
#: judges each voxel by its value alone, in two layers: the first fits whatever it is to find
NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [8, 8],
    "strides": [1],
    "kernel_size": 1,
    "up_kernel_size": 1,
    "norm": "batch",
}


def two_layers(folder: Path) -> Path:
    """The loop's bundle with that network, which sees voxels as it learnt them: none that lie half in, half out."""
    from monai.networks.nets import UNet

    root = loop_bundle.make(folder)
    for name in likeness.CONFIGS:
        file = root / name
        config = json.loads(file.read_text()) | {"network_def": NETWORK}
        if "preprocessing" in config:
            steps = config["preprocessing"]["transforms"]
            steps[:] = [step for step in steps if step["_target_"] != "Spacingd"]
        file.write_text(json.dumps(config))
    torch.manual_seed(1)
    torch.save(UNet(**{k: v for k, v in NETWORK.items() if k != "_target_"}).state_dict(), root / "models" / "model.pt")
    card.seal(root)
    return root


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with one network, `balls`."""
    home = tmp_path / "home"
    (home / "learning").mkdir(parents=True, mode=0o700)
    (home / "learning" / "key").write_bytes(KEY.secret)
    two_layers(home / "models")
    hosts = Hosts(tmp_path / "h", "cpu", nursery=SHARED)
    hosts.folder.mkdir()
    learning = {
        "train": True,
        "shares": list(SHARES),
        "window": "",
        "max_epochs": 60,
        "max_minutes": 5,
        "early_stop": 100,
        "quiet_seconds": 0,
    }
    settings = load(
        None,
        {
            "node": {"home": home},
            "receive": {"quiet_seconds": 0, "port": 0, "reserve_gb": 0},
            "learning": learning,
            "route": [{"name": "all", "networks": ["balls", "vessels"]}],
        },
    )
    opened = open_node(settings, hosts.serve())
    yield opened
    opened.close()
    hosts.stop()


def asked_for(tmp_path: Path, text: str = WALLS) -> Path:
    file = tmp_path / "vessels.toml"
    file.write_text(text)
    return file


def made(node: Node, tmp_path: Path, text: str = WALLS, like: str = "balls") -> str:
    return new_network.make(node.networks, "vessels", like, asked_for(tmp_path, text), 2, "somebody")


def segmented_by(node: Node) -> set[str]:
    return {job["model"] for job in overview(node.database)["jobs"] if job["kind"] == "segment"}


@pytest.mark.slow
def test_it_is_made_taught_judged_by_its_thresholds_and_promoted(node: Node, tmp_path: Path) -> None:
    assert "vessels is there, to be trained for Vessel" in made(node, tmp_path)
    version, bundle = node.networks.known("vessels")
    assert version is None
    card.verify(bundle)
    configs = [json.loads((bundle.folder / name).read_text()) for name in likeness.CONFIGS]
    assert [one["network_def"]["out_channels"] for one in configs] == [2, 2]
    with pytest.raises(Failed, match="no version of vessels is live yet"):
        node.networks.live("vessels")
    (shown,) = [one for one in catalogue.listing(node.networks)["networks"] if one["network"] == "vessels"]
    assert (shown["live"], shown["because"]) == (None, "made like balls 0.1, and never live yet")

    taught(node, tmp_path, {"train": 3, "validation": 1, "test": 12})
    assert segmented_by(node) == {"balls 0.1"}
    ready = [one for one in labels.listing(node.database, "ready") if one["network"] == "vessels"]
    assert len(ready) == 16
    assert {tuple(one["annotated"]) for one in ready} == {(1,)}

    retrain.ask(node.database, node.networks, "vessels", 3, "somebody")
    work_off(node)
    with node.database.read() as tx:
        (run,) = training_runs.listing(tx, "vessels")
        (judged,) = training_runs.evaluations(tx)
        (candidate,) = rows.versions(tx, "vessels")
    assert run["state"] == "evaluated", jobs_of(node)
    assert (judged["outcome"], judged["champion_id"]) == ("pass", None), judged["verdict"]
    assert "cannot be said from 0" in run["facts"]["power"]["sentence"]
    order = json.loads((node.archive.home / run["folder"] / "run.json").read_text())
    assert (order["transfer"], order["freeze_epochs"]) == (True, 2)
    taken = json.loads((node.archive.home / run["folder"] / "done.json").read_text())["transfer"]
    assert taken["taken"] and taken["not_fitting"]

    assert (candidate["version"], candidate["state"], candidate["parent"]) == ("0.1.0+001", "eligible", None)
    versions.approve(node.database, "vessels", "0.1.0+001", "somebody", "seen the report")
    said = versions.promote(node.networks, "vessels", "0.1.0+001", "somebody", "it reaches what was asked for")
    assert "the first of its network" in said
    assert node.networks.live("vessels")[1].card.start is None
    take_in(node, series(77, "NEXT1"))
    work_off(node)
    assert segmented_by(node) == {"balls 0.1", "vessels 0.1.0+001"}
    with node.database.read() as tx:
        recorded = [event["what"] for event in listing(tx, "vessels")]
    assert recorded[-1] == new_network.MADE


def test_a_name_is_given_once(node: Node, tmp_path: Path) -> None:
    made(node, tmp_path)
    with pytest.raises(Refused, match="there is a network called vessels"):
        made(node, tmp_path)


def test_where_it_is_all_that_a_route_names_the_study_is_refused(node: Node, tmp_path: Path) -> None:
    made(node, tmp_path)
    alone = replace(node, routes=(replace(node.routes[0], networks=("vessels",)),))
    take_in(alone, series(3, "ALONE"))
    work_off(alone)
    (job,) = jobs_of(alone)
    assert (job["kind"], job["state"]) == ("choose", "refused")
    assert job["reason"] == "network-aside: no version of vessels is live yet"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("value = 1", "value = 2"), r"the values of the \[\[segment\]\] are \[2\]; they are 1, 2, 3"),
        (("absolute = { 1 = 0.7 }", ""), "absolute has no Dice for 1: without a predecessor"),
        (('title = "Vessels"', ""), "needs title"),
        (('title = "Vessels"', 'title = "Vessels"\nversion = "7"'), "version: not of the structures"),
        (("[gate]", "[gate"), "not valid TOML"),
        (("colour = [50, 100, 200]", "colour = [50, 100, 900]"), "segment.0.colour.2"),
        (("[[segment]]", "[segment]"), r"write each structure as a \[\[segment\]\]"),
    ],
)
def test_what_is_wrong_with_its_structures_is_said(
    node: Node, tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        made(node, tmp_path, WALLS.replace(*change))
    assert node.networks.names() == ["balls", "ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"]


def test_names_and_models_that_are_not_there_are_refused(node: Node, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="a network's name has letters"):
        new_network.make(node.networks, "../out", "balls", asked_for(tmp_path), 0, "somebody")
    with pytest.raises(Failed, match="there is no network called nobody"):
        made(node, tmp_path, like="nobody")
    with pytest.raises(Refused, match="cannot be read"):
        new_network.make(node.networks, "vessels", "balls", tmp_path / "nowhere.toml", 0, "somebody")


def changed(root: Path, name: str, change: dict[str, Any]) -> card.Bundle:
    file = root / name
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    card.seal(root)
    return card.read(root)


def test_where_the_number_of_classes_cannot_be_told_nothing_is_guessed(tmp_path: Path) -> None:
    root = loop_bundle.make(tmp_path)
    assert likeness.configs(card.read(root), ["one", "two", "three"]).keys() == set(likeness.CONFIGS)
    with pytest.raises(CardError, match="network_def has no out_channels = 3"):
        likeness.configs(changed(root, "configs/train.json", {"network_def": {"_target_": "UNet"}}), ["one"])
    (root / "configs" / "train.json").unlink()
    card.seal(root)
    with pytest.raises(CardError, match=r"has no configs/train.json"):
        likeness.configs(card.read(root), ["one"])


@pytest.mark.parametrize("name", ["ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"])
def test_the_shipped_networks_can_be_begun_with(name: str) -> None:
    found = likeness.configs(card.read(card.SHIPPED / name), ["a", "b", "c", "d"])
    train, metadata = (json.loads(found[file]) for file in ("configs/train.json", likeness.METADATA))
    assert train["network_def"]["out_channels"] == 5
    assert train["train"]["postprocessing"]["transforms"][1]["to_onehot"] == 5
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"]["4"] == "d"
