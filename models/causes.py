"""What an error began with: MONAI wraps what a transform or a constructor raises, sometimes more than once."""

from __future__ import annotations


def first_cause(error: BaseException) -> BaseException:
    """The innermost one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


#: how torch and its libraries say so, where they have no exception for it
FULL = (
    "can't allocate memory",
    "not enough memory: you tried to allocate",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "could not create a memory object",
)


def is_full(error: BaseException) -> bool:
    """Whether it began with a device or a machine that has no memory left."""
    cause = first_cause(error)
    if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
        return True
    return isinstance(cause, RuntimeError) and any(words in str(cause) for words in FULL)
