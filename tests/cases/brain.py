"""Lesions in FLAIR: a small U-Net trained on one patient and tried on the other; and FLAIR and T1 in two channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from numpy.typing import NDArray
from safetensors.torch import load_file

from models.scores.lesions import detected
from tests.cases import bundles, drawing, kept, lesion_training, open_ms, reading
from tests.cases.case import Brought, Case, Judged, Picture, Place, Returned
from tests.cases.drawing import TRUTH, Outline, Slice
from tests.cases.kept import Weights
from tests.cases.mr_images import read
from tests.cases.open_ms import FLAIR, T1
from tests.synthetic import as_files

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Run:
    """One network and one patient.

    Attributes:
        trained_on, tried_on: numbers of patients.
        channels: the sequences that the network reads.
        start: the name of the network that training goes on from; none: from random weights.
    """

    trained_on: int
    tried_on: int
    channels: tuple[str, ...]
    iterations: int
    start: str = ""

    @property
    def name(self) -> str:
        return "_".join(("flair_lesions", *(kind.lower() for kind in self.channels[1:]), str(self.trained_on)))


RUNS = {
    "Trained on patient 26, tried on patient 19": Run(26, 19, (FLAIR,), 500),
    "Trained on patient 19, tried on patient 26": Run(19, 26, (FLAIR,), 500),
    "FLAIR and T1 through two channels": Run(26, 26, (FLAIR, T1), 60, start="flair_lesions_26"),
}
#: of the FLAIR: all, or a part of the brain with lesions
WHOLE, PART = slice(0, None), slice(70, 120)
SHOWN = 6
METADATA = {
    "version": "0.1.0",
    "task": "Bright lesions in FLAIR of the brain without its skull",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "modality": "MR", "spatial_shape": [96, 96, 96]}},
        "outputs": {
            "pred": {
                "type": "segmentation",
                "num_channels": 2,
                "channel_def": {"0": "background", "1": "lesion"},
            }
        },
    },
}
PREPROCESSING = (
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"},
    {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": 4},
    {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
    {"_target_": "EnsureTyped", "keys": "image"},
)
INFERER = {
    "_target_": "SlidingWindowInferer",
    "roi_size": [96, 96, 96],
    "sw_batch_size": 1,
    "overlap": 0.25,
    "mode": "gaussian",
}
CARD = """format = 1
name = "{name}"
version = "0.1.0"
title = "Lesions in FLAIR, one patient (demonstration)"
manufacturer = "Planimeter's worked cases"
device_uid = "2.25.1919191919191919191919191919191919{number:02}"
intended_use = "To show the way of an MR study. It was trained on one patient and is of no use on others."
licence = "Apache-2.0"
weights_licence = "CC-BY-4.0"
weights = "models/model.safetensors"
demonstration = true
{inputs}
[[segment]]
value = 1
label = "Lesion of white matter"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["52988006", "SCT", "Lesion"]
anatomic_region = ["12738006", "SCT", "Brain"]
colour = [255, 150, 40]
lesions = true

[trained_on]
pixel_spacing_mm = [0.9, 1.1]
slice_spacing_mm = [0.9, 1.1]
"""
INPUT = """
[[input]]
channel = "{channel}"
modality = ["MR"]
description_includes = ["{channel}"]
minimum_slices = 20
"""
SEGMENT = "Lesion of white matter"
ABOUT = """
MR of the brain of two people with multiple sclerosis goes to the node as classic MR series, and lesions come back as a
SEG and two SR. The network, a 3D U-Net on FLAIR, was trained on **one** of the two and is tried on the other, whom it
has never seen; then the other way round. A third network reads FLAIR and T1: two series of one study, chosen by
their descriptions, the T1 in sagittal slices, which the node brings onto the grid of the FLAIR.

The images are `open_ms` (Lesjak et al., Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7, CC BY): 3 T, the skull
taken off, intensities evened out, on the MNI grid of 1 mm, with the consensus of three raters as truth. They are NIfTI
files; the case writes them as DICOM by their affine. The weights are kept beside the case; `ARGS=--train` trains them
again.
"""
SAID = """Dice, and lesions found and false, are of the SEG that came back, on the voxels of the FLAIR that was sent.
A lesion is what hangs together, of any size; it is found when a tenth of it is in the mask, and a part of the mask is
false when less than a tenth of it is lesion. The volume is that in the SR."""
SAID_TWO = """**These are the patient's own training images.** Only one of the two patients has a T1 on this grid, so
nobody is left to try the network on, and whether the T1 helps cannot be said. What is shown is the way of two series:
MONAI's own transforms and inferer, run on the two NIfTI files with the same weights, give a mask whose Dice with the
SEG that came back is {same:.4f}."""
IS_NOT = """
It is no lesion network. Two patients prove nothing: of each there is a single number, without an interval, and their
disease is very different, 8 ml in 19 lesions and 50 ml of which 47 hang together. One lesion of that size decides about
Dice, and many lesions of a few voxels about the count. Images straight from a scanner have a skull, other intensities,
thicker slices and motion; none of that was seen here. It measures no change over time and tells no disease from
another. Put a network of your own in its place before looking at anybody's brain.
"""
FOUND = (255, 150, 40)


def _slices(place: Place) -> slice:
    return PART if place.short else WHOLE


def write_images(place: Place) -> Path:
    run, folder = RUNS[place.run], place.work / "mr"
    as_files(open_ms.images(place.data, run.tried_on, run.channels, _slices(place)), folder)
    return folder


def make_network(place: Place) -> Brought:
    run = RUNS[place.run]
    weights, took = kept.weights(place, run.name, partial(_trained, place, run))
    network = {"_target_": "UNet", "in_channels": len(run.channels), **lesion_training.UNET}
    post = (bundles.SOFTMAX, bundles.INVERT, bundles.ARGMAX)
    root = bundles.write(place.work / run.name, network, weights, PREPROCESSING, INFERER, post, METADATA)
    card = place.work / f"{run.name}.toml"
    inputs = "".join(INPUT.format(channel=kind.lower()) for kind in run.channels)
    number = list(RUNS).index(place.run) + 2
    card.write_text(CARD.format(name=run.name, inputs=inputs, number=number), encoding="utf-8")
    begun = f" It began as {run.start}, with a second channel that weighed nothing." if run.start else ""
    made = (
        f"a 3D U-Net of {sum(one.numel() for one in weights.values()):,} weights on {' and '.join(run.channels)}, "
        f"trained on patient {run.trained_on} alone: {run.iterations} steps of {lesion_training.PATCHES} patches, in "
        f"{took}.{begun}"
    )
    return Brought(root, card, made)


def _trained(place: Place, run: Run) -> Weights:
    files = {kind.lower(): open_ms.file_of(place.data, run.trained_on, kind) for kind in run.channels}
    start = kept.read(run.start)[0] if run.start else None
    return lesion_training.train(files, open_ms.gold(place.data, run.trained_on), run.iterations, start)


def judge(place: Place, returned: Returned) -> Judged:
    run = RUNS[place.run]
    sent = [ds for ds in reading.sorted_images(returned.images) if ds.SeriesDescription.startswith(FLAIR)]
    flair = read(open_ms.file_of(place.data, run.tried_on, FLAIR)).values[_slices(place)]
    truth = read(open_ms.gold(place.data, run.tried_on)).values[_slices(place)] > 0
    (seg,) = returned.of_modality("SEG")
    (found,) = reading.masks(seg, sent)
    volume_ml = reading.measured(returned.of_modality("SR"))[SEGMENT]["Volume"]
    lesions, score = detected(truth, found), reading.dice(truth, found)
    figures = {"dice": score, "ml": volume_ml, "voxels in ml": found.sum() / 1000, "found": lesions.found}
    said = SAID
    if len(run.channels) > 1:
        figures["same"] = reading.dice(found, _by_monai(place, run)[_slices(place)])
        said = SAID_TWO.format(same=figures["same"]) + "\n\n" + SAID
    count = lesions.found + lesions.missed
    row = (
        f"{run.tried_on}" + (" (its training images)" if run.trained_on == run.tried_on else ""),
        f"{score:.3f}",
        f"{truth.sum() / 1000:.1f}",
        f"{volume_ml:.1f}",
        f"{lesions.found} of {count} ({100 * lesions.found / count:.0f} %)",
        f"{lesions.false}",
    )
    return Judged(
        f"patient {run.tried_on}: {_counted(returned, run)} as MR Image Storage.",
        ("patient", "Dice", "true ml", "ml in the report", "lesions found", "false"),
        (row,),
        said,
        (_picture(run, flair, truth, found),),
        figures,
    )


def _counted(returned: Returned, run: Run) -> str:
    sent = reading.sorted_images(returned.images)
    counts = {kind: sum(ds.SeriesDescription.startswith(kind) for ds in sent) for kind in run.channels}
    return " and ".join(
        f"{count} {'axial' if kind == FLAIR else 'sagittal'} slices of {kind}" for kind, count in counts.items()
    )


def _by_monai(place: Place, run: Run) -> Mask:
    """The same bundle, as MONAI runs it from the NIfTI files: (slices, rows, columns)."""
    root = place.work / run.name
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser["device"] = "cpu"
    network = parser.get_parsed_content("network").eval()
    network.load_state_dict(load_file(root / bundles.WEIGHTS))
    files = [str(open_ms.file_of(place.data, run.tried_on, kind)) for kind in run.channels]
    item = parser.get_parsed_content("preprocessing")({"image": files})
    with torch.no_grad():
        item["pred"] = parser.get_parsed_content("inferer")(item["image"][None], network)[0]
    made = Compose(parser.get_parsed_content("postprocessing").transforms[:-1])(item)["pred"]
    file = place.work / "by_monai.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(made[0], np.uint8), np.asarray(made.affine)), file)  # type: ignore[attr-defined,no-untyped-call]
    return np.asarray(read(file).values > 0)


def _picture(run: Run, flair: NDArray[np.float32], truth: Mask, found: Mask) -> Picture:
    either = (truth | found).sum((1, 2))
    held = np.flatnonzero(either > 0.1 * either.max())
    picked = held[np.linspace(0, len(held) - 1, SHOWN).round().astype(int)]
    brain = flair > 0
    rows, columns = (slice(*(np.flatnonzero(brain.any(axes))[[0, -1]] + [-3, 4]).clip(0)) for axes in ((0, 2), (0, 1)))
    slices = [
        Slice(
            flair[k, rows, columns],
            1.0,
            1.0,
            f"slice {k + 1}",
            (Outline(truth[k, rows, columns], "truth", TRUTH), Outline(found[k, rows, columns], "found", FOUND)),
        )
        for k in picked
    ]
    title = f"Patient {run.tried_on}, network of {run.trained_on} on {' and '.join(run.channels)}"
    below = "open_ms (CC BY), demonstration; pink: truth of three raters"
    image = drawing.sheet(title, below, slices, 3, (0.0, float(np.percentile(flair[brain], 99.9))))
    caption = f"Patient {run.tried_on}: what was found (orange) by the network of {run.name} and the truth (pink)."
    return Picture(run.name, caption, image)


CASE = Case(
    name="brain",
    title="Lesions in MR of the brain: trained on one patient, tried on the other",
    about=ABOUT,
    is_not=IS_NOT,
    images=write_images,
    network=make_network,
    judge=judge,
    runs=tuple(RUNS),
)
