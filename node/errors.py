"""What can go wrong, by what is done about it.

NodeError
  Refused       the input cannot be used: never tried again; a code and a sentence are kept and shown (promise 5)
  Unavailable   something it needs is away: tried again, no attempt used up
  Failed        an attempt went wrong: tried again until the attempts are used up
"""

from __future__ import annotations


class NodeError(Exception):
    """Attributes:
    code: stable, lower-case, words joined by hyphens.
    sentence: what a technologist understands; no patient data.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class Refused(NodeError):
    """The input cannot be used, now or later."""


class Unavailable(NodeError):
    """Something that is needed does not answer.

    Attributes:
        retry_seconds: when to try again; None leaves it to the caller.
    """

    def __init__(self, code: str, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(code, sentence)
        self.retry_seconds = retry_seconds


class Failed(NodeError):
    """An attempt went wrong in a way that may pass."""
