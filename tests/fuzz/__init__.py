"""Fuzzing of all that reads bytes of strangers, by atheris: `python -P -m tests.fuzz --help`."""
