"""What names a patient on a command line: everybody on the machine can read it in the list of processes."""

from __future__ import annotations

import sys

#: read from standard input instead
STANDARD_INPUT = "-"


def named(text: str) -> str:
    """A PatientID or an AccessionNumber, as a type of argparse; this process is not listed with it any more."""
    from setproctitle import setproctitle

    setproctitle(f"planimeter {' '.join(sys.argv[1:2])}")
    return sys.stdin.readline().strip() if text == STANDARD_INPUT else text


def asked(text: str) -> str:
    """KEYWORD=VALUE, as a type of argparse: the value may name a patient."""
    keyword, equals, value = text.partition("=")
    return f"{keyword}{equals}{named(value)}"
