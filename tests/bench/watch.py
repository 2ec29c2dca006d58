"""Watch and the work list with thousands of studies: what they take on SQLite, and what describing a volume does.

    python -P -m tests.bench.watch --studies 5000

Prints milliseconds of processor time, which what else the machine does at that moment does not change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from db import schema
from db.database import clock, open_database, sqlite_url
from node.app import Node
from node.learning.buckets import Key
from node.operations import worklist
from node.operations.watch import drift, show
from node.study import appearance
from tests.pages import open_pages
from tests.watched import DAY, WEEK, Ward, appearance_of

ROUNDS = 5
KEY = Key(b"k" * 32)


def fill(node: Node, studies: int) -> None:
    random, looks = Random(0), np.random.default_rng(0)
    with node.database.write() as tx:
        now, ward = clock(tx), Ward(tx)
        ward.live()
        for _ in range(studies):
            at = now - random.random() * show.WEEKS * WEEK
            made = ward.read(at, looks=appearance_of(looks), delivered=at + 60)
            if random.random() < 0.2:
                ward.comes_back(made, at + DAY)


def milliseconds(what: Callable[[], Any]) -> float:
    what()
    took = []
    for _ in range(ROUNDS):
        start = time.process_time()
        what()
        took.append((time.process_time() - start) * 1000)
    return statistics.median(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        migrated = Path(folder) / "migrated.db"
        database = open_database(sqlite_url(migrated))
        schema.require(database)
        database.dispose()
        node = open_pages(Path(folder) / "home", migrated)
        fill(node, options.studies)
        random = np.random.default_rng(1)
        before, now = ([appearance_of(random) for _ in range(number)] for number in (100, 100))
        volume = random.normal(0, 300, (300, 512, 512)).astype(np.float32)
        table = Table("what", "ms", title=f"{options.studies} studies")
        for name, what in {
            "watch: twelve weeks of a network": lambda: show.watched(
                node.database, node.networks, node.watch, "ct_lungs"
            ),
            "work list": lambda: worklist.worklist(node.database, KEY, lambda _network: {}),
            "a look for drift, 100 persons against 100": lambda: drift.look(before, now, drift.Bounds(), random),
            "how 512 x 512 x 300 looks": lambda: appearance.histogram(volume, "HU"),
        }.items():
            table.add_row(name, f"{milliseconds(what):.0f}")
        Console().print(table)
        node.close()


if __name__ == "__main__":
    main()
