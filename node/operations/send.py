"""Send files by C-STORE: a scanner for whoever has none at hand."""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from rich.console import Console
from rich.progress import Progress

from ..errors import Refused
from ..outbound import scu
from ..outbound.scu import Parcel
from ..outbound.statuses import Answer
from ..outbound.target import Target

TIMEOUT_SECONDS = 60.0
#: PS3.8 9.3.2.2: a presentation context ID is odd and one byte
MOST_CONTEXTS = 100


def send(path: Path, target: Target, our_ae_title: str) -> int:
    """Send a file, or every DICOM file below a folder; the exit status."""
    if target.web is not None:
        raise Refused("no-form", f"{target.name} is sent to by STOW-RS: name it as AET@HOST:PORT")
    parcels, skipped = _parcels(path)
    if not parcels:
        raise Refused("nothing-to-send", f"{path}: no DICOM file there")
    delivered = 0
    console = Console(stderr=True)
    with (
        scu.connect(target, our_ae_title, parcels, TIMEOUT_SECONDS) as sender,
        Progress(console=console, transient=not console.is_terminal) as progress,
    ):
        for parcel in progress.track(parcels, description=f"sending to {target.ae_title}"):
            receipt = sender.send(parcel)
            if receipt.answer is Answer.DELIVERED:
                delivered += 1
            if receipt.sentence:
                console.print(f"{parcel.file}: {receipt.sentence}", markup=False)
    sys.stdout.write(f"{delivered} of {len(parcels)} stored at {target.ae_title}; {skipped} files were no DICOM\n")
    return 0 if delivered == len(parcels) else 1


def _parcels(path: Path) -> tuple[list[Parcel], int]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    parcels, skipped = [], 0
    for file in files:
        try:
            meta = read_file_meta_info(file)
            parcels.append(Parcel(file, str(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID)))
        except (InvalidDicomError, AttributeError, ValueError, KeyError, TypeError, EOFError):
            skipped += 1
    if len({(parcel.sop_class, parcel.transfer_syntax) for parcel in parcels}) > MOST_CONTEXTS:
        raise Refused(
            "too-many-kinds", "these files are of more kinds than one association can offer; send them in parts"
        )
    return parcels, skipped
