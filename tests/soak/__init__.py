"""Faults on purpose, many times over, with one oracle: `python -P -m tests.soak`, or `make soak`."""
