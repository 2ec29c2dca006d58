"""All shapes by their names."""

from __future__ import annotations

from tests.zoo import endings, inputs, loading, networks  # importing them fills the table
from tests.zoo.bundles import SHAPES

__all__ = ["SHAPES", "endings", "inputs", "loading", "networks"]
