"""Make the training cases of the network `ct_lungs` from the imaging data, as NIfTI with a dataset.json.

    python -m node.learning.lung_cases DATA OUT

DATA is the unpacked imaging data. Every lung and every phantom is there twice: as it is, and mirrored with left and
right exchanged. Beside each label lies a picture of it, to be looked at before anybody trains.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from rich.progress import track

from models.phantom import chest, no_chest

from ..errors import Refused
from ..objects.pictures.preview import Outlined, picture
from ..study import volume
from ..study.decode import Decoders
from ..study.geometry import Geometry
from .lungs_by_threshold import LEFT, RIGHT, Rules, label

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SEED = 20261121
CHESTS, NO_CHESTS = 24, 18
EXCHANGED = np.array([0, RIGHT, LEFT], np.uint8)

Array = NDArray[Any]


@dataclass(frozen=True)
class Scan:
    """One scan that shows lung, and how its label was made."""

    path: str
    patient: str
    rules: Rules = field(default_factory=Rules)

    @property
    def name(self) -> str:
        return Path(self.path).name.removesuffix(".nii.gz")


#: every rule was decided by looking at the label that it makes
LUNGS = (
    Scan("ct_series/acrin_flt_breast_001_t1_abdomen", "acrin_001", Rules(gas_hu=-890)),
    Scan("ct_series/acrin_flt_breast_001_t2_chest", "acrin_001", Rules(gas_hu=-840)),
    Scan("ct_series/cip_chest64", "cip", Rules(trachea_grows=True, not_lung=((17, 50, 8), (26, 54, 2)))),
    Scan("ct_series/cptac_pda_c3l00189_abdomen", "cptac_c3l00189", Rules(gas_hu=-900)),
    Scan("ct_series/lungfcp_0001_chest", "lungfcp_0001", Rules(airway_at=244)),
    Scan(
        "ct_series/rider_pilot_0117_chest",
        "rider_0117",
        Rules(
            gas_hu=-965,
            gas_smoothing_mm=2.5,
            cropped=True,
            not_lung=((262, 71, 24), (241, 463, 24), (259, 18, 23)),
        ),
    ),
    Scan(
        "nifti_labeled/totalsegmentator_examples/aorta_cta/ct_cropped.nii.gz",
        "totalseg_aorta",
        Rules(gas_hu=-915, cropped=True),
    ),
    Scan("nifti_labeled/totalsegmentator_examples/example_ct.nii.gz", "totalseg_example", Rules(gas_hu=-890)),
)
NO_LUNGS = ("rtstruct/sts_ibsi_STS_*", "rtstruct/rtutils_phantom", "odd/totalseg_ct_j2k_blank_uids")


def main(data: Path, out: Path) -> None:
    """Make all cases below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    cases: list[dict[str, str]] = []
    decoders = Decoders()
    try:
        for scan in track(LUNGS, "labelling lungs"):
            hu, affine = _read(data / scan.path, decoders)
            labels = _own_label(data / scan.path, hu.shape)
            if labels is None:
                labels = label(hu, np.linalg.norm(affine[:3, :3], axis=0), scan.rules)
            cases += _put(out, scan.name, hu, labels, affine, scan.patient, "lung")
            _picture(scan.name, hu, labels, affine).save(out / f"{scan.name}.png")
        for folder in track([found for one in NO_LUNGS for found in sorted(data.glob(one))], "scans without lung"):
            try:
                hu, affine = _read(folder, decoders)
            except Refused as refusal:
                sys.stderr.write(f"{folder.name} is left out: {refusal.sentence}\n")
                continue
            cases += _put(out, folder.name, hu, np.zeros(hu.shape, np.uint8), affine, folder.name, "none")
    finally:
        decoders.close()
    for name, hu, labels, affine in track(_phantoms(), "drawing phantoms", total=CHESTS + NO_CHESTS):
        cases += _put(out, name, hu, labels, affine, name, "phantom" if labels.any() else "none")
    (out / "dataset.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


def _read(path: Path, decoders: Decoders) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Hounsfield units and affine, axes to the patient's right, front and head (RAS)."""
    if path.is_file():
        image = nib.load(path)
    else:
        built = volume.build(_images(path), decoders)
        affine = LPS_TO_RAS @ built.geometry.affine
        image = nib.Nifti1Image(built.values.array.transpose(2, 1, 0).copy(), affine)
        built.close()
    turned = image.as_reoriented(nib.io_orientation(image.affine))
    return np.asarray(turned.dataobj, np.float32), turned.affine


def _images(folder: Path) -> list[Path]:
    """The CT images of a folder."""
    found = []
    for file in sorted(folder.rglob("*")):
        try:
            if file.is_file() and dcmread(file, stop_before_pixels=True).get("Modality") == "CT":
                found.append(file)
        except InvalidDicomError:
            continue
    return found


def _own_label(folder: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Left and right lung of the label map that came with `cip_chest64`; None for the others.

    The low byte of its voxels is a region of the lung: 9 to 11 in the left one, 12 to 14 in the right one.
    """
    file = folder / "lm-64.nrrd"
    if not file.is_file():
        return None
    _, _, data = file.read_bytes().partition(b"\n\n")
    regions = np.frombuffer(gzip.decompress(data), "<u2").reshape(shape[::-1]).transpose(2, 1, 0) & 255
    labels = np.zeros(regions.shape, np.uint8)
    labels[(regions >= 9) & (regions <= 11)] = LEFT
    labels[(regions >= 12) & (regions <= 14)] = RIGHT
    return labels[::-1, ::-1].copy()  # its axes run to the left, back and head


def _put(
    out: Path, name: str, hu: Array, labels: Array, affine: Array, patient: str, kind: str
) -> list[dict[str, str]]:
    """Write a case, and its mirror image when there is a lung in it."""
    made = [(name, kind, hu, labels)]
    if kind != "none":
        made.append((f"{name}_mirrored", f"{kind}-mirrored", hu[::-1], EXCHANGED[labels[::-1]]))
    cases = []
    for stem, as_kind, values, label_map in made:
        case = {"image": f"{stem}_image.nii.gz", "label": f"{stem}_label.nii.gz", "patient": patient, "kind": as_kind}
        nib.save(nib.Nifti1Image(np.clip(values, -1024, 3071).astype(np.int16), affine), out / case["image"])
        nib.save(nib.Nifti1Image(label_map.astype(np.uint8), affine), out / case["label"])
        cases.append(case)
    return cases


def _picture(name: str, hu: Array, labels: Array, affine: Array) -> Image.Image:
    """The label's contours, to be looked at."""
    seen = [one[::-1, ::-1].transpose(2, 1, 0) for one in (hu, labels)]
    grid = Geometry(np.diag([*np.linalg.norm(affine[:3, :3], axis=0), 1.0]), seen[0].shape)
    sides = (Outlined(LEFT, "left", (197, 165, 145)), Outlined(RIGHT, "right", (111, 184, 210)))
    return picture(seen[0], seen[1], grid, sides, name)


def _phantoms() -> Iterator[tuple[str, Array, Array, Array]]:
    """Chests and other body parts of nobody, of every size and spacing (RAS); every other one with pitfalls."""
    rng = np.random.default_rng(SEED)
    for n in range(CHESTS):
        spacing = ((in_plane := rng.uniform(1.6, 2.6)), in_plane, rng.uniform(1.5, 5))
        size, height = int(380 / in_plane // 2 * 2), rng.uniform(80, 420)
        first = rng.uniform(-150, max(-149, 250 - height))
        hu, labels = chest(
            (size, size, max(12, int(height / spacing[2]))), spacing, 1000 + n, first_slice_mm=first, hard=bool(n % 2)
        )
        yield f"phantom_{n:02d}", hu[::-1, ::-1], labels[::-1, ::-1], np.diag([*spacing, 1.0])
    for n in range(NO_CHESTS):
        spacing = ((in_plane := rng.uniform(1.2, 2.8)), in_plane, rng.uniform(1.5, 5))
        size, height = int(rng.uniform(220, 420) / in_plane // 2 * 2), rng.uniform(60, 300)
        hu = no_chest((size, size, max(12, int(height / spacing[2]))), spacing, 2000 + n, hard=bool(n % 2))
        yield f"no_chest_{n:02d}", hu[::-1, ::-1], np.zeros(hu.shape, np.uint8), np.diag([*spacing, 1.0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
