"""Make the training cases of `pet_sarcoma` from PET series and their contours, as NIfTI with a dataset.json.

    python -m node.learning.pet_cases DATA OUT

DATA is the unpacked imaging data. SUV and mask are read as the node reads them: the images by the card's own input, the
contours by geometry, since their references name images that do not exist.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from models import card

from ..study import volume
from ..study.decode import Decoders
from ..study.volume import Volume
from . import mapping, outlined

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NETWORK = "pet_sarcoma"


def main(data: Path, out: Path) -> None:
    """Make all cases below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    decoders = Decoders()
    try:
        cases = [case(folder, out, decoders) for folder in track(sorted(data.glob("pet_series/*")), "reading PET")]
    finally:
        decoders.close()
    (out / "dataset.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


def case(folder: Path, out: Path, decoders: Decoders) -> dict[str, str]:
    """Write one patient: image and label on the grid of the images, axes by the affine.

    Raises:
        Refused: the images make no volume in SUV, or the contours are no label of it.
    """
    network = card.find(NETWORK, (card.SHIPPED,)).card
    built = volume.build(sorted(folder.glob("PET/image/*.dcm")), decoders, network.input[0])
    try:
        labels = label_map(folder / "PET" / "mask" / "RS.dcm", built, network)
        affine = LPS_TO_RAS @ built.geometry.affine
        made = {
            "image": f"{folder.name}_PET_image.nii.gz",
            "label": f"{folder.name}_PET_mask.nii.gz",
            "patient": folder.name,
        }
        for name, array in (("image", built.values.array), ("label", labels)):
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0).copy(), affine), out / made[name])
    finally:
        built.close()
    return made


def label_map(contours: Path, built: Volume, network: card.Card) -> NDArray[np.uint8]:
    """What is outlined, as label map of the network, (slices, rows, columns): mapped as any label that comes in.

    Raises:
        Refused: it cannot be read or placed, or nothing of it is a class of the network.
    """
    found = outlined.read(contours, built)
    mapped = mapping.map_structures(found, network, (), {})
    return mapping.compose(mapped, network, built.geometry.shape).mask


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
