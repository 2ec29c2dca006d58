"""Many callers, and all kinds of studies at once: the faults of the plan in their short form."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.soak import growth, peak_hour
from tests.soak.growth import Held
from tests.soak.tally import Tally, Trials


def trial(folder: Path, count: int, run: Callable[[Trials], Tally]) -> Tally:
    return run(Trials(folder, count, Random(1), lambda: None, threading.Event()))


def test_associations_of_every_kind_leave_nothing_behind(tmp_path: Path) -> None:
    tally = trial(tmp_path, 160, growth.run)
    assert tally.complaints == []
    assert (tally.lost, tally.partial, tally.duplicates, tally.trials) == (0, 0, 0, 160)


def test_what_grows_is_complained_of() -> None:
    def held(associations: int, resident_mb: float, threads: int = 5, spooled: int = 0) -> Held:
        return Held(associations, resident_mb, threads, 20, spooled, 1.0, 1.0, {})

    first = held(0, 100)
    assert list(growth.grown(first, [held(5000, 300), held(20_000, 304)])) == []
    assert "304.0 MB of memory became 312.0 MB" in next(growth.grown(first, [held(5000, 304), held(20_000, 312)]))
    assert "6 threads" in next(growth.grown(first, [held(5000, 300, 6)]))
    assert "1 in the spool" in next(growth.grown(first, [held(5000, 300, spooled=1)]))


def test_an_hour_is_as_busy_as_it_is_meant_to_be() -> None:
    random = Random(1)
    for modality in peak_hour.MODALITIES:
        hours = [len(peak_hour.arrivals(modality, peak_hour.HOUR_SECONDS, random)) for _ in range(40)]
        assert abs(sum(hours) / len(hours) - modality.studies) < modality.studies * 0.1
    assert [len(peak_hour.images(one, 1, random)) >= one.images[0] for one in peak_hour.MODALITIES] == [True] * 4


def test_a_moment_of_a_peak_hour_is_delivered(tmp_path: Path) -> None:
    tally = trial(tmp_path, 4, peak_hour.run)
    assert tally.complaints == []
    assert (tally.lost, tally.partial, tally.duplicates, tally.missing, tally.figures["late"]) == (0, 0, 0, 0, 0)
