"""What a study has to offer: its images in their newest revision, with what their headers and bytes say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset

from db.database import Row

from ..errors import Refused
from . import facts, frames, pixels
from .archive import Archive, require_kept
from .decode import Decoders
from .facts import Image, Series, text

#: what must be equal, beside the pixels, for two revisions of an image to be the same image
SAME_IMAGE = (
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "Modality",
    "ImageType",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "Units",
    "SUVType",
    "CorrectedImage",
    "DecayCorrection",
    "PatientWeight",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "FrameReferenceTime",
    "ActualFrameDuration",
)
#: the same, of sequences
SAME_SEQUENCES = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DetectorInformationSequence",
    "ModalityLUTSequence",
    "RadiopharmaceuticalInformationSequence",
)


@dataclass(frozen=True)
class Identity:
    """What was found out about one stored instance."""

    instance_id: int
    sha256: str
    image_identity: str


@dataclass(frozen=True)
class Candidates:
    """A study's images.

    Attributes:
        series: in the order of their UIDs.
        series_ids: series UID -> row.
        identities: of the instances that had none yet.
        patients: (issuer, PatientID) of the newest revisions.
    """

    series: tuple[Series, ...]
    series_ids: dict[str, int]
    identities: tuple[Identity, ...]
    patients: frozenset[tuple[str, str]]


@dataclass
class _Gathered:
    images: list[tuple[Row, Dataset]] = field(default_factory=list)
    callers: Counter[str] = field(default_factory=Counter)
    broken: str = ""


def gather(rows: Sequence[Row], archive: Archive, decoders: Decoders, also: Collection[str] = ()) -> Candidates:
    """Read the headers of a study's images.

    Args:
        rows: all revisions, those of one SOP instance together and in order (`db.arrivals.images`).
        also: keywords of what is read beside `facts.KEYWORDS`: what routes ask for.

    Raises:
        Refused: `images-purged`: what is left of the study must not be taken for all of it.
    """
    newest = {row["sop_uid"]: row for row in rows}
    require_kept(newest.values())
    gathered = _headers(newest.values(), archive, also)
    identities = _identities(rows, archive, decoders)
    known = {row["id"]: row["image_identity"] for row in rows} | {
        one.instance_id: one.image_identity for one in identities
    }
    series = tuple(
        Series(
            uid,
            tuple(Image(row["sop_uid"], known[row["id"]], header) for row, header in one.images),
            dict(one.callers),
            one.broken,
        )
        for uid, one in sorted(gathered.items())
    )
    return Candidates(
        series,
        {row["series_uid"]: row["series_id"] for row in newest.values()},
        identities,
        frozenset((row["issuer"], row["patient"]) for row in newest.values()),
    )


def _headers(newest: Iterable[Row], archive: Archive, also: Collection[str]) -> dict[str, _Gathered]:
    """The images of each series, by its UID."""
    gathered: dict[str, _Gathered] = {}
    for row in newest:
        one = gathered.setdefault(row["series_uid"], _Gathered())
        one.callers[row["calling_ae"]] += 1
        try:
            file = archive.at(row["path"])
            header = facts.read(file, also=also)
            if not frames.has_room(header, file.stat().st_size):
                raise Refused("pixel-data-truncated", "an image declares more frames than its file has room for")
        except Refused as refusal:
            header, one.broken = Dataset(), refusal.sentence
        one.images.append((row, header))
    return gathered


def _identities(rows: Sequence[Row], archive: Archive, decoders: Decoders) -> tuple[Identity, ...]:
    """Of the instances that have none yet: their own, or that of the revision before where they are the same image."""
    found: list[Identity] = []
    known: dict[int, str] = {}
    before: dict[str, Row] = {}
    for row in rows:
        known[row["id"]] = row["image_identity"]
        if row["image_identity"] is None:
            earlier, sha256 = before.get(row["sop_uid"]), _sha256(archive, row)
            same = earlier is not None and _same_image(archive, earlier, row, decoders)
            known[row["id"]] = known[earlier["id"]] if earlier is not None and same else sha256
            found.append(Identity(row["id"], sha256, known[row["id"]]))
        before[row["sop_uid"]] = row
    return tuple(found)


def _sha256(archive: Archive, row: Row) -> str:
    with archive.at(row["path"]).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _same_image(archive: Archive, one: Row, other: Row, decoders: Decoders) -> bool:
    """Whether two revisions have equal geometry and pixels, whatever else differs, the transfer syntax included.

    Of one that is not kept any more nobody knows.
    """
    if one["purged"] is not None:
        return False
    try:
        images = [pixels.read(archive.at(row["path"])) for row in (one, other)]
        for image in images:
            facts.readable(image.header)
        if any(text(images[0].header, keyword) != text(images[1].header, keyword) for keyword in SAME_IMAGE):
            return False
        if any(images[0].header.get(keyword) != images[1].header.get(keyword) for keyword in SAME_SEQUENCES):
            return False
        first, second = pixels.decoded(images, decoders)
    except Refused:
        return False
    return np.array_equal(first, second)
