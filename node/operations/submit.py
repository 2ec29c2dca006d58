"""Take in files without the network, through the same door as C-STORE."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ..audit.transfer import Transfer, unheard
from ..errors import Refused
from ..inbound.files import SUBMITTED, submitted_meta, take_file
from ..inbound.inbox import Inbox

__all__ = ["files_below", "shown", "submit", "submitted_meta", "take_file"]


def submit(inbox: Inbox, path: Path, transfer: Transfer | None = None) -> int:
    """Take in a file, or everything below a folder, with a progress bar; the exit status.

    Args:
        transfer: for the audit trail; it is ended here.
    """
    if not path.exists():
        raise Refused("no-such-file", f"{path}: there is no such file or folder")
    files = list(files_below(path))
    counts: Counter[str] = Counter()
    refused: list[tuple[Path, Refused]] = []
    console, transfer = Console(stderr=True), transfer or unheard()
    with Progress(console=console, transient=not console.is_terminal) as progress:
        for file in progress.track(files, description="submitting"):
            try:
                counts[take_file(inbox, file, transfer=transfer)] += 1
            except Refused as refusal:
                refused.append((file, refusal))
                inbox.refuse(SUBMITTED, shown(file.name), refusal)
                transfer.failed += 1
    transfer.end()
    said = ", ".join(f"{count} {seen}" for seen, count in sorted(counts.items())) or "nothing taken in"
    sys.stdout.write(f"{said}; {len(refused)} refused\n")
    for file, why in refused[:20]:
        sys.stdout.write(f"  {shown(file)}: {why.sentence}\n")
    if len(refused) > 20:
        sys.stdout.write(f"  and {len(refused) - 20} more\n")
    return 0 if counts and not refused else 1


def files_below(path: Path) -> Iterator[Path]:
    """A file itself; of a folder everything below it, in the order of the names, but for indexes of media."""
    if path.is_file():
        yield path
    else:
        yield from sorted(file for file in path.rglob("*") if file.is_file() and file.name != "DICOMDIR")


def shown(file: Path | str) -> str:
    """A file's name as text: on the disks of others it may be of another alphabet, which neither a database nor a
    terminal takes, or hostile."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(file))
