"""All worked cases by their names."""

from __future__ import annotations

from tests.cases import brain, lung, thyroid, tumour
from tests.cases.case import Case

CASES: dict[str, Case] = {case.name: case for case in (thyroid.CASE, tumour.CASE, brain.CASE, lung.CASE)}
