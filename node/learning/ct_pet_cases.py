"""Make the training cases of `ct_pet_sarcoma` from PET, CT and contours of one patient, as NIfTI with a dataset.json.

    python -m node.learning.ct_pet_cases DATA OUT

DATA is the unpacked imaging data. Both series are read by the card's own inputs, and the CT is brought onto the grid of
the PET by the code that does so in service, so that a network learns from what it will read. The contours are those of
the PET, placed by geometry.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
from rich.progress import track

from models import card

from ..study import channels, volume
from ..study.channels import Channels
from ..study.decode import Decoders
from .pet_cases import LPS_TO_RAS, label_map

NETWORK = "ct_pet_sarcoma"
#: channel of the card -> folder of the collection
FOLDERS = {"pet": "PET", "ct": "CT"}


def main(data: Path, out: Path) -> None:
    """Make all cases below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    folders = sorted(data.glob("rtstruct/sts_ibsi_*"))
    decoders = Decoders()
    try:
        cases = [case(folder, out, decoders) for folder in track(folders, "reading CT and PET")]
    finally:
        decoders.close()
    (out / "dataset.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


def read(folder: Path, network: card.Card, decoders: Decoders) -> Channels:
    """Both series of a patient on the grid of the PET; whoever asks closes them.

    Raises:
        Refused: the images make no volumes, or the CT is not where the PET is.
    """
    volumes: list[volume.Volume] = []
    try:
        for rule in network.input:
            files = sorted(folder.glob(f"{FOLDERS[rule.channel]}/image/*.dcm"))
            volumes.append(volume.build(files, decoders, rule))
        return channels.assemble(volumes, network.input)
    except BaseException:
        for one in volumes:
            one.close()
        raise


def case(folder: Path, out: Path, decoders: Decoders) -> dict[str, str]:
    """Write one patient: an image per channel and the label, all on the grid of the PET, axes by the affine.

    Raises:
        Refused: as `read`; or the contours are no label of the PET.
    """
    network = card.find(NETWORK, (card.SHIPPED,)).card
    patient = folder.name.removeprefix("sts_ibsi_")
    built = read(folder, network, decoders)
    try:
        labels = label_map(folder / "PET" / "mask" / "RS.dcm", built.first, network)
        arrays = {rule.channel: one.array for rule, one in zip(network.input, built.arrays, strict=True)}
        affine = LPS_TO_RAS @ built.first.geometry.affine
        made = {channel: f"{patient}_{FOLDERS[channel]}_image.nii.gz" for channel in arrays}
        made |= {"label": f"{patient}_PET_mask.nii.gz", "patient": patient}
        for name, array in (*arrays.items(), ("label", labels)):
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0).copy(), affine), out / made[name])
    finally:
        built.close()
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
