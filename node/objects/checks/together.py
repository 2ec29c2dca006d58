"""The objects of a run, read, with what several checks need of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.card import Segment

from ..forms import BINARY, LABEL_MAP, MARKED, SEG, Form
from ..run import Run
from .frames import Frames, frames_of
from .read import Read


@dataclass(frozen=True)
class Together:
    """A run and what was read back of its objects.

    Attributes:
        run: that all of them tell of.
        objects: by their form.
    """

    run: Run
    objects: Mapping[Form, Read]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(slices, values): how many pixels of a slice have a label value."""
        most = int(np.iinfo(self.run.labels.dtype).max) + 1
        return np.array([np.bincount(one.ravel(), minlength=most) for one in self.run.labels])

    def pixels(self, segment: Segment) -> NDArray[np.int64]:
        """How many each slice has of a segment."""
        of_it = [value for value in segment.values if value < self.counts.shape[1]]
        return np.asarray(self.counts[:, of_it].sum(axis=1))

    @cached_property
    def images(self) -> dict[tuple[str, int], int]:
        """The slice of each image and frame that was read, by SOP Instance UID and frame number (0: a single frame)."""
        named = zip(self.run.sources, self.run.volume.frames, strict=True)
        return {(str(source.SOPInstanceUID), number): k for k, (source, number) in enumerate(named)}

    def slice_of(self, reference: Dataset) -> int | None:
        """The slice that a reference to one image, or to one frame of it, means; None where it is not of the run."""
        number = int(reference.get("ReferencedFrameNumber") or 0)
        return self.images.get((str(reference.get("ReferencedSOPInstanceUID")), number))

    @cached_property
    def _frames(self) -> dict[Form, Frames]:
        return {}

    def frames(self, form: Form) -> Frames | None:
        """The frames of a segmentation; None where it is not here, or is none.

        Raises:
            UNREADABLE: as pydicom raises them.
        """
        if form.kind == SEG and form in self.objects and form not in self._frames:
            self._frames[form] = frames_of(self.objects[form].ds)
        return self._frames.get(form)


def segmentation_of(form: Form) -> Form:
    """The segmentation that an object of a form goes with: of the same edition."""
    return Form.of(SEG, LABEL_MAP if form.has(LABEL_MAP) else BINARY, marked=form.has(MARKED))
