"""What stock nnU-Net makes of the results folders that the tests write; needs nnunetv2, which Planimeter does not.

python -m tests.nnunet_stock    writes nnunet_stock.npz anew, with nnunetv2 2.8.1
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tests.nnunet_results import TUMOUR, Results, image, make

KEPT = Path(__file__).with_suffix(".npz")
Sizes = tuple[int, int, int]
Spacings = tuple[float, float, float]
#: name -> results, shape and spacing in mm of the image (slices, rows, columns)
CASES: dict[str, tuple[Results, Sizes, Spacings]] = {
    "ct, two folds": (Results(folds=("0", "1"), mirror_axes=(0, 2)), (22, 34, 36), (2.5, 1.1, 1.1)),
    "thick slices, two channels, residual": (
        Results(
            patch=(8, 24, 24), spacing_mm=(6.0, 1.2, 1.2), channels=("T1", "FLAIR"), masked=True, residual=True,
            mirror_axes=(1,),
        ),
        (14, 40, 36),
        (5.0, 0.9, 0.9),
    ),
    "transposed": (
        Results(transpose=(2, 0, 1), spacing_mm=(1.4, 2.0, 1.2), mirror_axes=(0, 1)), (24, 30, 32), (2.5, 1.1, 1.3)
    ),
    "2d": (
        Results(
            configuration="2d", patch=(32, 24), spacing_mm=(1.5, 1.5), mirror_axes=(0, 1), channels=("MR",)
        ),
        (9, 40, 44),
        (5.0, 1.1, 1.1),
    ),
    "regions": (
        Results(labels=dict(TUMOUR), regions=(1, 2, 3), channels=("T1", "T2"), mirror_axes=None),
        (24, 36, 40),
        (2.0, 1.5, 1.5),
    ),
    "plans of 2023, smaller than a window": (
        Results(older=True, configuration="3d_lowres", mirror_axes=None), (13, 20, 44), (2.0, 1.1, 1.1)
    ),
}  # fmt: skip


def stock(root: Path, channels: list[NDArray[np.float32]], spacing_mm: Spacings) -> NDArray[np.uint8]:
    """nnU-Net's own label map.

    Args:
        channels: (slices, rows, columns) each.
    """
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, str(root))
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # type: ignore[import-not-found]

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(root), None)
    found = predictor.predict_single_npy_array(np.stack(channels), {"spacing": list(spacing_mm)})
    return np.asarray(found, np.uint8)


def main() -> None:
    made = {}
    for name, (results, shape, spacing_mm) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = make(Path(folder), results)
            made[name] = stock(root, image(shape, len(results.channels)), spacing_mm)
    np.savez_compressed(KEPT, **made)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
