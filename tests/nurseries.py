"""One nursery of model hosts for all tests of a process: PyTorch and MONAI are loaded once."""

from __future__ import annotations

from node.nursery import Nursery

SHARED = Nursery()
