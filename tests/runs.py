"""Runs of a network, as the writers of results get them: built from a volume and a mask, without a node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models import card
from node.measurements.measure import measure
from node.objects import results
from node.objects.headers import fingerprint, repaired
from node.objects.identity import Provenance
from node.objects.run import Run
from node.study.volume import Volume

BUNDLE = card.find("ct_lungs", (card.SHIPPED,))


def provenance(sources: Sequence[Dataset], **changes: Any) -> Provenance:
    """Of a run of the lung network on repaired images, always the same; changes: what is to be otherwise."""
    values: dict[str, Any] = dict(
        card=BUNDLE.card,
        weights_sha256=BUNDLE.weights_sha256,
        card_sha256=BUNDLE.card_sha256,
        input_set_hash="members",
        headers_sha256=fingerprint(sources),
        mask_sha256="mask",
        study_uid=sources[0].StudyInstanceUID,
        content_time=1_800_000_000.25,
        node_version="0.1.0",
        node_serial="0123456789abcdef",
        uid_root="",
    )
    return Provenance(**values | changes)


def provenance_of(built: Volume, labels: NDArray[np.uint8], **changes: Any) -> Provenance:
    """Of a run that gave these labels just now."""
    known = {"mask_sha256": results.mask_sha256(labels), "content_time": time.time()}
    return provenance(repaired(built.headers, built.geometry), **known | changes)


def run_of(volume: Volume, labels: NDArray[np.uint8], provenance: Provenance) -> Run:
    """A run without doubts and without a prior."""
    sources = repaired(volume.headers, volume.geometry)
    measured = measure(volume, labels, provenance.card.segment)
    return Run(volume=volume, sources=sources, labels=labels, measured=measured, provenance=provenance)
