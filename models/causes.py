"""What an error began with: MONAI wraps what a transform or a constructor raises, sometimes more than once."""

from __future__ import annotations


def first_cause(error: BaseException) -> BaseException:
    """The innermost one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def is_full(error: BaseException) -> bool:
    """Whether it began with a device or a machine that has no memory left."""
    cause = first_cause(error)
    return isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError"
