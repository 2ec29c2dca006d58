"""The cases a network is trained on: folders of arrays, read one at a time, when a transform asks for one.

A folder holds case.json, one channel_<n>.npy per input (float32, slices, rows, columns, in modality units; in colour
with a last axis of 3) and label.npy (uint8, the same grid). What the bundle's data set is given are handles of a few
bytes; `Loadd`, which stands where the bundle has LoadImaged, makes of them what LoadImaged would have made of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ..network import LPS_TO_RAS
from .run import Untrainable, first_line

LABEL = "label"
ANNOTATED = "annotated"
CASE = "case"

Row = tuple[float, float, float, float]


class Description(BaseModel):
    """case.json, as far as training reads it.

    Attributes:
        affine: from (column, row, slice) index to LPS, mm.
        annotated: the label values that somebody looked for; another one is not absent, it is not known.
        synthetic: whether a generator made it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    case: str
    patient: str
    affine: tuple[Row, Row, Row, Row]
    channels: tuple[str, ...]
    annotated: tuple[int, ...]
    synthetic: bool = False


@dataclass(frozen=True)
class Stored:
    """An array of a case, not read yet.

    Attributes:
        file: .npy, (slices, rows, columns).
        affine: of the case.
        known: the values it may have; None: any.
    """

    file: str
    affine: tuple[Row, Row, Row, Row]
    known: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Case:
    folder: Path
    said: Description

    def missing(self, classes: Sequence[int]) -> set[int]:
        return set(classes) - set(self.said.annotated)

    @property
    def left_right_axis(self) -> int:
        """Which axis of the arrays as transforms see them (columns, rows, slices) runs most along left-right."""
        return int(np.argmax(np.abs(np.array(self.said.affine)[0, :3])))

    def item(self, classes: Sequence[int]) -> dict[str, Any]:
        """What the bundle's data set gets: a handle per channel and for the label, and which values are annotated.

        Returns:
            "annotated": uint8, 1 at the index of each annotated class, as long as the largest class needs.
        """
        annotated = torch.zeros(max(classes) + 1, dtype=torch.uint8)
        annotated[sorted(set(self.said.annotated) & set(classes))] = 1
        values = (0, *sorted(set(self.said.annotated) & set(classes)))
        channels = {
            name: Stored(str(self.folder / f"channel_{number}.npy"), self.said.affine)
            for number, name in enumerate(self.said.channels)
        }
        label = Stored(str(self.folder / "label.npy"), self.said.affine, values)
        return {**channels, LABEL: label, ANNOTATED: annotated, CASE: self.said.case}


def read(folder: Path, channels: Sequence[str]) -> Case:
    """Read what a case says of itself and the headers of its arrays.

    Raises:
        Untrainable: it is not a case of a network with these channels.
    """
    try:
        said = Description.model_validate_json((folder / "case.json").read_bytes())
        arrays = [folder / f"channel_{number}.npy" for number in range(len(said.channels))]
        grids = [np.load(file, mmap_mode="r") for file in (folder / "label.npy", *arrays)]
    except (OSError, ValidationError, ValueError) as error:
        raise Untrainable(f"{folder}: is not a case: {first_line(error)}") from None
    if said.channels != tuple(channels):
        raise Untrainable(f"{folder}: has the channels {list(said.channels)}, the network reads {list(channels)}")
    label, *values = (grid.shape for grid in grids)
    if len(label) != 3 or any(one not in (label, (*label, 3)) for one in values):
        raise Untrainable(f"{folder}: its arrays are not volumes on one grid")
    if grids[0].dtype != np.uint8 or any(grid.dtype != np.float32 for grid in grids[1:]):
        raise Untrainable(f"{folder}: its label is not uint8 or its channels are not float32")
    if abs(np.linalg.det(np.array(said.affine)[:3, :3])) < 1e-9:
        raise Untrainable(f"{folder}: its affine has no volume")
    return Case(folder, said)


def read_all(train: Sequence[Path], validation: Sequence[Path], channels: Sequence[str]) -> tuple[list[Case], ...]:
    """Both lists.

    Raises:
        Untrainable: also where a patient or a case is in both, or a case twice: its validation would prove nothing;
            or where one is made up: a run makes such cases for itself, and nothing is ever validated on them.
    """
    both = [[read(folder, channels) for folder in folders] for folders in (train, validation)]
    for case in (case for cases in both for case in cases):
        if case.said.synthetic:
            raise Untrainable(f"{case.folder}: is a made-up case; a run is given real ones alone")
    names = [case.said.case for cases in both for case in cases]
    if len(set(names)) != len(names):
        raise Untrainable("a case is listed twice")
    shared = {case.said.patient for case in both[0]} & {case.said.patient for case in both[1]}
    if shared:
        raise Untrainable(f"{len(shared)} patients are in the training and in the validation cases")
    return tuple(both)


class Loadd(MapTransform):
    """Stands where a bundle has LoadImaged.

    Args:
        channel_first: give each array a channel axis, as LoadImaged does with ensure_channel_first.
    """

    def __init__(self, keys: Any, channel_first: bool = False, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channel_first = channel_first

    def __call__(self, data: Any) -> dict[str, Any]:
        item = dict(data)
        for key in self.keys:
            if key not in item and not self.allow_missing_keys:
                raise Untrainable(f"train.json reads {key!r}, the cases have {[k for k in item if k != ANNOTATED]}")
        for key in self.key_iterator(item):
            item[key] = self._loaded(item[key])
        return item

    def _loaded(self, stored: Stored) -> MetaTensor:
        """(columns, rows, slices), float32, in RAS, as LoadImaged reads a NIfTI file of it; in colour (3, ...)."""
        read_array = np.load(stored.file, mmap_mode="r")
        if stored.known is not None:
            _only_known(read_array, stored)
        tensor = torch.from_numpy(np.array(read_array.T, dtype=np.float32, order="C"))
        coloured = tensor.ndim == 4
        ras = LPS_TO_RAS @ np.array(stored.affine)
        meta = {
            "original_channel_dim": 0 if self.channel_first or coloured else "no_channel",
            "original_affine": ras.copy(),
            "spatial_shape": np.array(tensor.shape[-3:]),
            "space": "RAS",
            "filename_or_obj": Path(stored.file).parent.name,
        }
        add = self.channel_first and not coloured
        return MetaTensor(tensor[None] if add else tensor, affine=torch.as_tensor(ras), meta=meta)


def _only_known(label: NDArray[np.uint8], stored: Stored) -> None:
    found = np.flatnonzero(np.bincount(label.ravel(), minlength=256))
    strange = sorted(set(found.tolist()) - set(stored.known or ()))
    if strange:
        raise Untrainable(f"{stored.file}: has label values that are not annotated classes: {strange}")
