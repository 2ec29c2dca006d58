"""What a page or a terminal shows of one study. Times are seconds since 1970 on the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something that happened.

    Attributes:
        at: when it began.
        seconds: how long it took; None for what takes no time, or has not ended.
        what: one word or two: "images", "settled", "choose", "segment", "result", "deliver" ...
        said: what happened, in words.
        state: of it, as colours know states; may be empty.
        stages: name -> seconds, of an attempt.
        job: its id; None where it is none.
    """

    at: float
    what: str
    said: str
    seconds: float | None = None
    state: str = ""
    stages: tuple[tuple[str, float], ...] = ()
    job: int | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesView:
    """A series.

    Attributes:
        kind: image, ours, label or other.
        facts: keyword -> value -> number of images.
        routes: what each route said of it when the study was chosen from last, as `Verdict.record` keeps it.
        read_by: networks that read it.
    """

    series_uid: str
    number: str
    modality: str
    description: str
    kind: str
    objects: int
    came_again: int
    size: int
    facts: dict[str, dict[str, int]]
    routes: tuple[dict[str, Any], ...]
    read_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job.

    Attributes:
        what: that can be done about it: "retry", "cancel", or both not.
        windows_done, windows_of: of a network that runs.
    """

    id: int
    kind: str
    state: str
    network: str
    destination: str
    attempts: int
    code: str
    reason: str
    due: float
    can_retry: bool
    can_cancel: bool
    windows_done: int | None = None
    windows_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeliveryView:
    """An object on its way to a destination."""

    result: int
    destination: str
    state: str
    status: str
    attempts: int
    reason: str
    delivered: float | None
    committed: float | None
    rejected: bool


@dataclass(frozen=True, kw_only=True)
class ObjectView:
    """One object of a result."""

    id: int
    kind: str
    options: str
    sop_uid: str
    size: int
    there: bool
    """whether its file is kept"""
    deliveries: tuple[DeliveryView, ...]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What was measured of one segment, or found.

    Attributes:
        number: label value of a segment; None for a finding.
        more: what has no column: size and place of a box, a probability.
        change: against the prior, in words; empty where there is none.
    """

    number: int | None
    label: str
    volume_ml: float | None = None
    area_mm2: float | None = None
    long_axis_mm: float | None = None
    more: str = ""
    change: str = ""


@dataclass(frozen=True, kw_only=True)
class ResultView:
    """What one run of a network made: its objects belong together, and are decided on together.

    Attributes:
        version: of the network.
        state: ready, held, superseded, withdrawn or discarded.
        waits_for_person: destinations for which it waits to be released.
        delivered_to: destinations that have any of it, or were sent some and gave no answer.
    """

    id: int
    version: str
    revision: int
    state: str
    reason: str
    created: float
    objects: tuple[ObjectView, ...]
    waits_for_person: tuple[str, ...]
    delivered_to: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value of one study of the patient."""

    study_uid: str
    date: str
    value: float
    version: str
    same_version: bool
    here: bool
    """whether it is of the study that is shown"""


@dataclass(frozen=True, kw_only=True)
class Trend:
    """How one quantity of one segment went from study to study, the oldest first."""

    label: str
    quantity: str
    unit: str
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class ReadingView:
    """What one network reads of the study, and what came of it.

    Attributes:
        id: of the input set.
        because: by which rule and route it was chosen; or why nothing could be read.
        unread: whether no network could read it.
        replaced: whether newer images took its place.
        channels: with the series of each.
        routes: route, mode and destination.
        flags: doubts about the newest result, as sentences.
        measured: of the newest result.
    """

    id: int
    network: str
    because: str
    created: float
    images: int
    unread: bool
    replaced: bool
    channels: tuple[tuple[str, tuple[str, ...]], ...]
    routes: tuple[tuple[str, str, str], ...]
    results: tuple[ResultView, ...]
    flags: tuple[str, ...]
    measured: tuple[Quantity, ...]
    trends: tuple[Trend, ...]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something that was refused, and why."""

    at: float
    of: str
    code: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """One study.

    Attributes:
        state, reason: as the queue says them.
        patient_id, issuer: hostile text, and a patient's.
        asked: networks that a person asked for: network, destination, who.
    """

    study_uid: str
    state: str
    reason: str
    patient_id: str
    issuer: str
    row_state: str
    arrived: float
    last_image: float | None
    closed: float | None
    closed_because: str
    pacs_images: int | None
    pacs_name: str
    images: int
    size: int
    steps: tuple[Step, ...]
    series: tuple[SeriesView, ...]
    readings: tuple[ReadingView, ...]
    jobs: tuple[JobView, ...]
    refusals: tuple[Refusal, ...]
    asked: tuple[tuple[str, str, str], ...]
