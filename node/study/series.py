"""Which series a network reads: the input rules of its card, given meaning.

Rules refuse, preferences rank. BodyPartExamined only ranks: it is typed in or defaulted, and wrong too often to refuse
by.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.card import Card, Input

from ..errors import Refused
from .facts import Image, Series, text, values


@dataclass(frozen=True)
class Pick:
    """The images that one run of a network reads, per channel."""

    slot: str
    """the first channel's series, or empty where the network takes the best one of the study"""
    channels: tuple[tuple[str, tuple[Image, ...]], ...]
    because: str

    series_uid: str
    """of the first channel"""

    def members_hash(self) -> str:
        """Equal for equal images: SOP Instance UIDs with the identity of their geometry and pixels."""
        return members_hash(
            [(name, image.sop_uid, image.identity) for name, images in self.channels for image in images]
        )


def members_hash(members: Iterable[tuple[str, str, str]]) -> str:
    """The hash of (channel, SOP Instance UID, image identity) of every image, whatever their order."""
    digest = hashlib.sha256()
    for channel, sop_uid, identity in sorted(members):
        digest.update(f"{channel} {sop_uid} {identity}\n".encode())
    return digest.hexdigest()


def choose(card: Card, candidates: Sequence[Series]) -> list[Pick]:
    """The runs of a network on a study.

    Args:
        card: says what the network reads.
        candidates: the series that a route offers it.

    Raises:
        Refused: `no-series`, with the reason for every series.
    """
    (rule,) = card.input if len(card.input) == 1 else (None,)
    if rule is None:
        raise Refused("several-channels", f"{card.name} reads several series at once, which this version cannot do yet")
    fitting: list[tuple[Series, tuple[Image, ...]]] = []
    reasons = []
    for series in candidates:
        images, why_not = _images(rule, series)
        if why_not:
            reasons.append(f"series {series.number()}: {why_not}")
        else:
            fitting.append((series, images))
    if not fitting:
        what = "; ".join(reasons) or "the study has no series that its routes offer it"
        raise Refused("no-series", f"{card.name} can read no series of this study: {what}")
    fitting.sort(key=lambda found: _rank(rule, *found))
    if card.take == "best":
        best, images = fitting[0]
        because = f"series {best.number()}" + (f", the best of {len(fitting)} that fit" if len(fitting) > 1 else "")
        return [Pick("", ((rule.channel, images),), because, best.series_uid)]
    return [
        Pick(one.series_uid, ((rule.channel, images),), f"series {one.number()}", one.series_uid)
        for one, images in fitting
    ]


def _images(rule: Input, series: Series) -> tuple[tuple[Image, ...], str]:
    """The images of a series that a channel reads, or why it reads none."""
    if series.broken:
        return (), series.broken
    modalities = sorted({text(image.header, "Modality") for image in series.images})
    if not set(modalities) <= set(rule.modality):
        return (
            (),
            f"its modality is {' and '.join(m or 'not stated' for m in modalities)}, not {' or '.join(rule.modality)}",
        )
    images = tuple(
        image for image in series.images if not set(rule.image_type_excludes) & set(values(image.header, "ImageType"))
    )
    if not images:
        return (), f"its ImageType is {' or '.join(rule.image_type_excludes)}"
    if any(text(image.header, "NumberOfFrames") not in ("", "0", "1") for image in images):
        return (), "it is a multi-frame image, which this version cannot read yet"
    if len(images) < rule.minimum_slices:
        return (), f"it has {len(images)} slice{'s' * (len(images) > 1)}, {rule.minimum_slices} are needed"
    return images, ""


def _rank(rule: Input, series: Series, images: tuple[Image, ...]) -> tuple[object, ...]:
    """Smaller is better: preferred body part, preferred description, the longer range, the thinner slices, the UID."""
    body = {text(image.header, "BodyPartExamined").upper() for image in images}
    described = " ".join(sorted({text(image.header, "SeriesDescription") for image in images}))
    preferred = next(
        (n for n, pattern in enumerate(rule.prefer_description) if re.search(pattern, described, re.IGNORECASE)),
        len(rule.prefer_description),
    )
    extent, step = _range_mm(images)
    return (not body & set(rule.prefer_body_part), preferred, -round(extent / 10), round(step, 1), series.series_uid)


def _range_mm(images: tuple[Image, ...]) -> tuple[float, float]:
    """How far the slices reach along their normal, and the usual step between them; 0 where positions are missing."""
    try:
        rows = np.array([[float(part) for part in image.header.ImageOrientationPatient] for image in images])
        positions = np.array([[float(part) for part in image.header.ImagePositionPatient] for image in images])
    except (AttributeError, TypeError, ValueError):
        return 0.0, 0.0
    if rows.shape != (len(images), 6) or positions.shape != (len(images), 3) or len(images) < 2:
        return 0.0, 0.0
    if not (np.isfinite(rows).all() and np.isfinite(positions).all()):
        return 0.0, 0.0
    along = np.sort(positions @ np.cross(rows[0, :3], rows[0, 3:]))
    return float(along[-1] - along[0]), float(np.median(np.diff(along)))
