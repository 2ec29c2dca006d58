"""All objects of one run as bytes, in the forms that are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from . import forms, parametric
from .begun import as_file
from .forms import BINARY, COMPREHENSIVE, DIAMETERS, LABEL_MAP, MARKED, PLAIN, SEG, SR, VOLUMES, Form
from .outlines import rtstruct, stl
from .pictures import key_images, pdf
from .reports import diameters, findings, variants, volumes
from .run import Run, SegReference
from .segments import writer


@dataclass(frozen=True)
class Made:
    """A finished object as bytes."""

    kind: str
    options: str
    sop_uid: str
    sop_class: str
    series_uid: str
    data: bytes

    @property
    def form(self) -> Form:
        return Form(self.kind, self.options)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def mask_sha256(labels: NDArray[np.uint8]) -> str:
    """The hash of a label map, shape included."""
    digest = hashlib.sha256(repr(labels.shape).encode())
    digest.update(np.ascontiguousarray(labels).data)
    return digest.hexdigest()


def make(run: Run, asked: Sequence[Form] = PLAIN) -> list[Made]:
    """Write the objects of a run, in the order in which they are asked for."""
    return _Desk(run).all(asked)


class _Desk:
    """What is written once and used by several objects of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._segmentations: dict[Form, tuple[bytes, SegReference]] = {}
        self._reports: dict[Form, Dataset] = {}
        self._key_images: dict[bool, list[bytes]] = {}

    def all(self, asked: Sequence[Form]) -> list[Made]:
        return [self._one(form) for form in asked]

    def _one(self, form: Form) -> Made:
        if form.kind == SR:
            return written(self._report(form), form)
        return _named(form, self._bytes(form))

    def _bytes(self, form: Form) -> bytes:
        marked = form.has(MARKED)
        match form.kind:
            case forms.SEG:
                return self._segmentation(form)[0]
            case forms.SC:
                pictures = self._key_images.get(marked)
                if pictures is None:
                    pictures = self._key_images[marked] = key_images.key_images(self._run, marked=marked)
                return pictures[form.number - 1]
            case forms.PDF:
                return pdf.pdf_report(self._run, marked=marked)
            case forms.RTSTRUCT:
                return rtstruct.rtstruct(self._run, marked=marked)
            case forms.STL:
                return stl.stl(self._run, form.number, marked=marked)
            case forms.PM:
                return parametric.parametric_map(self._run, marked=marked)
        raise LookupError(f"there is no writer for {form.kind}")

    def _segmentation(self, form: Form) -> tuple[bytes, SegReference]:
        if form not in self._segmentations:
            made = writer.segmentation(self._run, label_map=form.has(LABEL_MAP), marked=form.has(MARKED))
            self._segmentations[form] = made
        return self._segmentations[form]

    def _report(self, form: Form) -> Dataset:
        """A report; those that say the same of another segmentation, or in another class, are made from the first."""
        marked = form.has(MARKED)
        first = Form.of(SR, form.base, marked=marked)
        if first not in self._reports and self._run.found is not None:
            self._reports[first] = findings.report(self._run, self._run.found, first.options, marked=marked)
        elif first not in self._reports:
            write = {VOLUMES: volumes.report, DIAMETERS: diameters.report}[form.base]
            seg = self._segmentation(Form.of(SEG, BINARY, marked=marked))[1]
            self._reports[first] = write(self._run, seg, first.options, marked=marked)
        if form == first:
            return self._reports[first]
        label_map = Form.of(SEG, LABEL_MAP, marked=marked)
        return variants.variant(
            self._reports[first],
            self._run,
            form.options,
            seg=self._segmentation(label_map)[1] if form.has(LABEL_MAP) else None,
            comprehensive=form.has(COMPREHENSIVE),
        )


def _named(form: Form, data: bytes) -> Made:
    head = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    meta = head.file_meta
    return Made(
        *form,
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.MediaStorageSOPClassUID),
        str(head.SeriesInstanceUID),
        data,
    )


def written(ds: Dataset, form: Form) -> Made:
    """A finished object as bytes."""
    return Made(*form, str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID), as_file(ds))
