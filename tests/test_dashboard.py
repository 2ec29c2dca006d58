"""The Grafana dashboard and the rules for Prometheus name what /metrics has, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from db import jobs, processes
from db.database import Database
from db.job_states import JobKind
from node.operations import metrics

FOLDER = Path(__file__).parents[1] / "config" / "grafana"
BOARD = json.loads((FOLDER / "planimeter.json").read_text())
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())
#: what Prometheus adds to whatever it scrapes
OF_PROMETHEUS = {"up", "instance", "job", "le"}
GIVEN = {"sum", "max", "by", "or", "vector", "rate", "increase", "histogram_quantile", "absent"}
WORD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def panels() -> list[dict[str, Any]]:
    return [one for one in BOARD["panels"] if one["type"] != "row"]


def asked() -> list[str]:
    """Every expression."""
    of_board = [target["expr"] for panel in panels() for target in panel["targets"]]
    return of_board + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


WARM = {"machine": "m", "network": "n", "device": "cpu", "memory_mb": 1, "peak_mb": 1}


@pytest.fixture
def known(database: Database, tmp_path: Path) -> dict[str, set[str]]:
    """Metric -> its labels, as a scrape has them; the families that are empty are there with their names alone."""
    with database.write() as tx:
        jobs.enqueue(tx, JobKind.CHOOSE, "1", max_attempts=1)
        processes.beat(tx, "work-1", "work")
    seen = metrics.snapshot(database, tmp_path, "1", [WARM])
    families = text_string_to_metric_families(metrics.exposition(seen).decode())
    found: dict[str, set[str]] = {}
    for family in families:
        for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}.get(
            family.type, [""]
        ):
            found[family.name + suffix] = set()
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_expression_names_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    for expression in asked():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\{[^}]*\}|by \([^)]*\)', " ", expression)
        names = set(WORD.findall(bare)) - GIVEN - OF_PROMETHEUS
        assert names, expression
        assert names <= set(known), (expression, names - set(known))


def test_every_label_is_one_of_its_metric() -> None:
    documented = labels_of_the_manual()
    for expression in asked():
        metric = next(iter(re.findall(r"planimeter_[a-z_]+", expression)), None)
        if metric is None or metric == "planimeter_info":
            continue
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", expression))
        for group in re.findall(r"by \(([^)]*)\)", expression):
            wanted |= {one.strip() for one in group.split(",")}
        for name in wanted - OF_PROMETHEUS:
            assert name in documented[re.sub("_(bucket|sum|count)$", "", metric)], (expression, name)


def labels_of_the_manual() -> dict[str, set[str]]:
    """Of the table in the manual; tests/test_metrics.py holds what is exposed."""
    found = {}
    for line in (FOLDER.parents[1] / "docs" / "operations.md").read_text().splitlines():
        cells = line.split("|")
        if len(cells) > 3 and cells[1].strip().startswith("`planimeter_"):
            for name in re.findall(r"`(planimeter_\w+)`", cells[1]):
                found[name] = set(re.findall(r"`(\w+)`", cells[2]))
    return found


def test_every_metric_of_the_manual_is_exposed_and_every_one_exposed_is_in_it(known: dict[str, set[str]]) -> None:
    documented = set(labels_of_the_manual())
    exposed = {re.sub("_(bucket|sum|count)$", "", name) for name in known if name.startswith("planimeter_")}
    assert documented == exposed


def test_every_metric_has_a_panel(known: dict[str, set[str]]) -> None:
    text = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    missing = {name for name in known if name.startswith("planimeter_") and name not in text}
    assert missing == set()


def test_panels_lie_beside_one_another_and_are_known_by_numbers_of_their_own() -> None:
    numbers = [one["id"] for one in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for one in BOARD["panels"]:
        at = one["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, one["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for one in panels():
        assert one["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in one["targets"]}) == len(one["targets"])
