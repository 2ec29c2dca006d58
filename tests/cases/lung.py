"""A detector: a small RetinaNet trained on balls in one patient's lungs, tried on other balls in another's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydicom.dataset import Dataset

from models.scores.detection import Candidate, Lesion, Study, matched
from tests.cases import drawing, kept, nodule_features, nodule_training, reading
from tests.cases.ball_images import Chest
from tests.cases.case import Brought, Case, Judged, Picture, Place, Returned
from tests.cases.drawing import TRUTH, Outline, Slice
from tests.cases.kept import Weights
from tests.synthetic import as_files
from tests.zoo import detectors

RUNS = {
    "Trained on rider, tried on lungfcp": ("rider", "lungfcp"),
}
ITERATIONS = 300
#: seeds of the studies that are sent, each with so many balls; training has a seed of its own
STUDIES, BALLS = (1, 2), 10
#: at which the table counts; the card has a lower one, so that fewer false boxes can be chosen
THRESHOLD, LEAST = 0.5, 0.2
CARD = """format = 1
name = "{name}"
version = "0.1.0"
title = "Balls in the lungs (synthetic, demonstration)"
manufacturer = "Planimeter's worked cases"
device_uid = "2.25.1919191919191919191919191919191919{number:02}"
intended_use = "To show a detector. It has seen drawn balls only, in one patient, and is of no use on people."
licence = "Apache-2.0"
weights_licence = "CC-BY-3.0"
demonstration = true
result = "boxes"
take = "every"

[boxes]
score_threshold = {least}

[[input]]
channel = "image"
modality = ["CT"]
# Balls were drawn into these: they are derived, and say so.
derived = true
description_includes = ["SYNTHETIC"]
minimum_slices = 20

[[finding]]
value = 0
label = "Nodule"
category = ["49755003", "SCT", "Morphologically Altered Structure"]
type = ["27925004", "SCT", "Nodule"]
anatomic_region = ["39607008", "SCT", "Lung"]
doubtful = [{least}, {threshold}]
"""
ABOUT = """
A detector reads chest CT and gives boxes. They come back as an SR: for each box a TID 1501 group with its score, its
sizes, the rectangle on the slice of its centre, and a tracking UID. There is no SEG, for there is no mask.

The findings are **synthetic**: balls of 6 to 20 mm with a soft edge, drawn into the lungs of two real chests,
`lungfcp_0001_chest` and `rider_pilot_0117_chest` (TCIA, CC BY 3.0). MONAI's RetinaNet, with a backbone of three small
stages on a grid of 2 mm and one feature map of 4 mm, was trained on one patient with other balls in every patch, and
is tried on the other with balls that it has never seen. The bundle has the Model Zoo's
`lung_nodule_ct_detection` for its shape: its own scripts, evaluator, and boxes taken to millimetres. The weights are
kept beside the case; `ARGS=--train` trains them again.
"""
SAID = """A ball is found when the centre of a box lies in the ball's own box; the middle column is how far the two
centres are apart, as the SR says it. False boxes are in no ball. Scores count from {threshold}; the SR has all from
{least} and flags those between as doubtful. What is not a ball and yet no healthy lung
counts as false too; in rider, on whom it was trained, a mass at the base of the lung was taught as no ball."""
IS_NOT = """
It is no nodule detector. Balls are round, of even density, and mostly free in the lung; nodules are spiculated, part
solid, at vessels and at the pleura, and those are the ones that are missed. Twenty balls in one patient give a
sensitivity without a meaning for anybody else, and the false boxes of two studies of one patient are the same
structures twice. No real nodule was marked, neither in training nor here. Put a network of your own in its place.
"""
AT = re.compile(r"Centre at \((\S+), (\S+), (\S+)\) mm")
COMMENT, GROUPS, SCORE = "121106", "126010", "111012"
FOUND = (255, 150, 40)
#: slices of the first study
SHOWN = 3


@dataclass(frozen=True)
class Boxed:
    """A box of an SR: score 0 ... 1, centre in mm LPS, and its sides across, down and along."""

    score: float
    centre_mm: tuple[float, float, float]
    size_mm: tuple[float, float, float]


def write_images(place: Place) -> Path:
    _, tried = RUNS[place.run]
    chest = Chest.read(place.data, tried)
    for seed in _seeds(place):
        as_files(chest.study(chest.scattered(BALLS, seed), seed), place.work / "ct" / str(seed))
    return place.work / "ct"


def _seeds(place: Place) -> tuple[int, ...]:
    return STUDIES[:1] if place.short else STUDIES


def make_network(place: Place) -> Brought:
    trained, _ = RUNS[place.run]
    name = f"balls_{trained}"
    weights, took = kept.weights(place, name, partial(_trained, place, trained))
    root = place.work / name
    for folder in ("models", "configs", "scripts"):
        (root / folder).mkdir(parents=True)
    features = Path(nodule_features.__file__).read_text(encoding="utf-8")
    scripts = {"__init__": "", "engine": detectors.ENGINE, "saver": detectors.SAVER, "inferer": detectors.INFERER}
    for script, text in (scripts | {"features": features}).items():
        (root / "scripts" / f"{script}.py").write_text(text, encoding="utf-8")
    (root / "configs" / "inference.json").write_text(json.dumps(_config(), indent=1), encoding="utf-8")
    torch.save(weights, root / "models" / "model.pt")
    card = place.work / f"{name}.toml"
    number = list(RUNS).index(place.run) + 11
    words = {"name": name, "number": number, "least": LEAST, "threshold": THRESHOLD}
    card.write_text(CARD.format(**words), encoding="utf-8")
    made = (
        f"MONAI's RetinaNet of {sum(one.numel() for one in weights.values()):,} weights, trained on {trained} alone: "
        f"{ITERATIONS} steps of {nodule_training.PATCHES} patches with new balls in each, in {took}."
    )
    return Brought(root, card, made)


def _config() -> dict[str, object]:
    post = [detectors.CLIP, detectors.TO_WORLD, detectors.TO_CENTRE, detectors.AWAY]
    config = detectors.detector_config(list(nodule_training.SPACING_MM), post)
    config |= {
        "features": {"_target_": "scripts.features.Features"},
        "network_def": {"_target_": "RetinaNet", "feature_extractor": "@features", **nodule_training.NETWORK},
        "anchors": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            **nodule_training.ANCHORS,
        },
        "detector": {"_target_": "RetinaNetDetector", "network": "@network", "anchor_generator": "@anchors"},
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_box_selector_parameters(score_thresh=0.05,nms_thresh=0.1,detections_per_img=100)",
        ],
        "inferer": {"_target_": "scripts.inferer.DetectorInferer", "detector": "@detector"},
    }
    config["evaluator"]["_requires_"] = "@detector_ops"
    return config


def _trained(place: Place, patient: str) -> Weights:
    chest = Chest.read(place.data, patient)
    return nodule_training.train(np.ascontiguousarray(chest.hu.transpose(2, 1, 0)), chest.ras, ITERATIONS)


def boxes(report: Dataset) -> Iterator[Boxed]:
    """The boxes of an SR, by the codes of its items alone."""
    for above in report.ContentSequence:
        if above.ConceptNameCodeSequence[0].CodeValue != GROUPS:
            continue
        for group in above.ContentSequence:
            items = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group.ContentSequence}
            if SCORE not in items:
                continue  # what says that nothing was found
            at = AT.search(str(items[COMMENT].TextValue))
            assert at is not None
            x, y, z = (float(part) for part in at.groups())
            score, *sides = (
                float(items[code].MeasuredValueSequence[0].NumericValue)
                for code in (SCORE, "103355008", "121207", "131197000")
            )
            yield Boxed(score / 100, (x, y, z), (sides[0], sides[1], sides[2]))


def judge(place: Place, returned: Returned) -> Judged:
    trained, tried = RUNS[place.run]
    chest = Chest.read(place.data, tried)
    sent = {seed: reading.sorted_images(returned.images / str(seed)) for seed in _seeds(place)}
    rows, figures, slices = [], {"found": 0.0, "balls": 0.0, "false": 0.0, "furthest": 0.0}, []
    for seed, images in sent.items():
        (report,) = [one for one in returned.of_modality("SR") if one.StudyInstanceUID == images[0].StudyInstanceUID]
        found = list(boxes(report))
        truth = [chest.lesion(ball) for ball in chest.scattered(BALLS, seed)]
        sure = [one for one in found if one.score >= THRESHOLD]
        study, every = _matched(truth, sure), _matched(truth, found)
        away = [_nearest(lesion, sure) for lesion in truth if any(lesion.holds(one.centre_mm) for one in sure)]
        figures["found"] += len(study.hits)
        figures["balls"] += study.lesions
        figures["false"] += len(study.false)
        figures["furthest"] = max(figures["furthest"], *away, 0.0)
        rows.append(
            (
                str(seed),
                f"{len(study.hits)} of {study.lesions}",
                f"{np.mean(away):.1f}" if away else "",
                str(len(study.false)),
                f"{len(every.hits)} and {len(every.false)}",
            )
        )
        slices += _slices(images, truth, found)
    smallest = "smallest and largest ball: " + " and ".join(f"{mm:.0f} mm" for mm in _extent(chest, _seeds(place)))
    return Judged(
        f"{len(sent)} studies of {tried}, each of {len(chest.images)} slices with {BALLS} balls or as many as there is "
        f"room for ({smallest}); every header says SYNTHETIC.",
        ("study", "balls found", "mm apart", "false boxes", f"found and false from {LEAST}"),
        tuple(rows),
        SAID.format(threshold=THRESHOLD, least=LEAST),
        (_picture(trained, tried, slices[:SHOWN]),),
        figures,
    )


def _matched(truth: Sequence[Lesion], found: Sequence[Boxed]) -> Study:
    return matched(truth, [Candidate(one.score, one.centre_mm) for one in found])


def _nearest(lesion: Lesion, found: Sequence[Boxed]) -> float:
    return min(float(np.linalg.norm(np.subtract(lesion.centre_mm, one.centre_mm))) for one in found)


def _extent(chest: Chest, seeds: Sequence[int]) -> tuple[float, float]:
    sizes = [ball.diameter_mm for seed in seeds for ball in chest.scattered(BALLS, seed)]
    return min(sizes), max(sizes)


def _slices(images: Sequence[Dataset], truth: Sequence[Lesion], found: Sequence[Boxed]) -> list[Slice]:
    """The slices that show most balls and boxes, from the feet to the head."""
    low = float(images[0].ImagePositionPatient[2])
    step = float(images[1].ImagePositionPatient[2]) - low
    held = [(one.centre_mm, one.size_mm) for one in truth]
    said = [(one.centre_mm, one.size_mm) for one in found if one.score >= THRESHOLD]
    counts = [
        sum(abs(low + k * step - centre[2]) < size[2] / 4 for centre, size in (*held, *said))
        for k in range(len(images))
    ]
    picked = sorted(np.argsort(counts, kind="stable")[::-1][:SHOWN])
    return [_drawn(images[k], low + k * step, held, said) for k in picked]


def _drawn(ds: Dataset, z: float, held: Sequence[object], said: Sequence[object]) -> Slice:
    down, across = (float(part) for part in ds.PixelSpacing)
    values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    outlines = tuple(
        Outline(_rectangles(ds, z, of), caption, colour)
        for of, caption, colour in ((held, "ball", TRUTH), (said, "box", FOUND))
    )
    return Slice(values.astype(np.float32), across, down, f"z = {z:.0f} mm", outlines)


def _rectangles(ds: Dataset, z: float, of: Sequence[object]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros((ds.Rows, ds.Columns), np.bool_)
    corner = np.array(ds.ImagePositionPatient[:2], float)
    spacing = np.array(ds.PixelSpacing[::-1], float)
    for centre, size in of:  # type: ignore[misc]
        if abs(z - centre[2]) <= size[2] / 2:
            ends = ((np.array(centre[:2]) + side * np.array(size[:2]) / 2 - corner) / spacing for side in (-1, 1))
            (left, top), (right, bottom) = (np.round(end).astype(int) for end in ends)
            mask[max(0, top) : bottom + 1, max(0, left) : right + 1] = True
    return mask


def _picture(trained: str, tried: str, slices: Sequence[Slice]) -> Picture:
    below = "balls drawn into a real CT: synthetic findings; pink: ball, orange: box"
    image = drawing.sheet(f"Balls in {tried}, detector of {trained}", below, slices, 3, (-1000.0, 300.0))
    return Picture(tried, f"{tried} with balls: pink where they are, orange the boxes of the report.", image)


CASE = Case(
    name="lung",
    title="Findings in the lung: a detector, boxes in a report",
    about=ABOUT,
    is_not=IS_NOT,
    images=write_images,
    network=make_network,
    judge=judge,
    runs=tuple(RUNS),
    objects=("SR",),
)
