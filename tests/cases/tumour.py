"""Four MR series and three segments that share voxels: the Model Zoo's brats shape, on a tumour drawn into a brain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.cases import drawing, drawn_tumour, mr_images, reading, tumour_network
from tests.cases.case import Brought, Case, Judged, Picture, Place, Returned
from tests.cases.drawing import TRUTH, Outline, Slice
from tests.cases.drawn_tumour import CHANNELS, SEGMENTS, Brain, Tumour
from tests.cases.tumour_network import APART_MM
from tests.synthetic import as_files

PATIENT = ("nifti_labeled", "open_ms_mni", "patient26")
#: of the files: slices around the brain, every second millimetre; rows; columns
SLICES, ROWS, COLUMNS = (20, 146, 2), slice(20, 196), slice(20, 162)
#: what is sent: deep in the left hemisphere
SENT = Tumour(centre_mm=(32.0, 10.0, 38.0), radius_mm=19.0, core=0.62, rim_mm=4.0, seed=3)
TRUTH_FILE = "truth.npz"
ABOUT = """
A brain MR study of four series (T1 after contrast, T1, T2, FLAIR) goes through a network of four channels in the
shape of the Model Zoo's brats bundle: sigmoid and threshold, a channel each for the core of the tumour, the whole of
it, and what enhances. The three share voxels, so that the SEG says SegmentsOverlap YES, and each is measured whole.

The brain is a real one (patient 26 of open_ms, 3 T, without its skull; Lesjak et al. 2017, CC BY). **The tumour is
drawn into it**, and so is half of the contrasts: FLAIR and T1 are the scanner's, T2 is 1000 less nine tenths of T1,
and T1 after contrast is T1 with a bright rim in the tumour. The patient's own small white spots are those of multiple
sclerosis.
"""
SAID = """Volumes are those of the SR. Dice is of the SEG that came back, on the slices of the T1 after contrast,
which is the card's first channel; the other three series lie on the same grid here."""
IS_NOT = f"""
It is no tumour network. It has seen one brain, with tumours drawn by the same program in other places of it (centres
at least {APART_MM:.0f} mm away), and was tried on one more drawing in the same brain: an easy task, whose figures say
nothing about glioma. A real one pushes tissue aside, bleeds, enhances in parts, and lies in brains that no training
has seen; real T2 and contrast-enhanced T1 are no sums of other series; real series must be registered and freed of
the skull before a brats network reads them, which this node does not do. What is shown is that a bundle of that shape
runs as it is, finds each of its series, and that three segments that overlap come back whole and where the
network put them.
"""
FOUND = ((255, 160, 40), (90, 255, 120), (90, 170, 255))


#: grey of the pictures: stored values of black and white
WINDOW = (0.0, 1100.0)


def brain(place: Place) -> Brain:
    """The real brain, on every second or, in the short form, every fourth millimetre."""
    first, last, step = SLICES
    slices = slice(first, last, step * 2 if place.short else step)
    folder = place.data.joinpath(*PATIENT)
    flair, t1 = (
        mr_images.read(next(folder.glob(f"{contrast}_*.nii.gz"))).part(slices, ROWS, COLUMNS)
        for contrast in ("FLAIR", "T1")
    )
    return drawn_tumour.brain(flair, t1)


def write_images(place: Place) -> Path:
    of = brain(place)
    contrasts, masks = drawn_tumour.draw(of, [SENT])
    names = dict(zip(CHANNELS, ("t1c derived", "t1 open_ms", "t2 derived", "flair open_ms"), strict=True))
    series = {names[channel]: values for channel, values in zip(CHANNELS, contrasts, strict=True)}
    folder = place.work / "brain"
    as_files(mr_images.study("CASE-TUMOUR", series, of.t1), folder)
    np.savez_compressed(place.work / TRUTH_FILE, masks=masks, contrasts=contrasts, spacing_mm=of.t1.spacing_mm)
    return folder


def make_network(place: Place) -> Brought:
    return tumour_network.make(brain(place), SENT, place.work, short=place.short)


def judge(place: Place, returned: Returned) -> Judged:
    with np.load(place.work / TRUTH_FILE) as kept:
        truth, contrasts = kept["masks"], kept["contrasts"]
        along, down, across = (float(one) for one in kept["spacing_mm"])
    images = reading.sorted_images(returned.images)
    first = [ds for ds in images if ds.SeriesDescription.startswith(CHANNELS[0])]
    (seg,) = returned.of_modality("SEG")
    assert [str(item.SegmentLabel) for item in seg.SegmentSequence] == list(SEGMENTS)
    found = reading.masks(seg, first)
    numbers = reading.measured(returned.of_modality("SR"))
    rows, figures = [], {"overlap": float(str(seg.SegmentsOverlap) == "YES")}
    for label, mask, wanted in zip(SEGMENTS, found, truth, strict=True):
        true_ml = float(wanted.sum()) * along * down * across / 1000
        ml, score = numbers[label].get("Volume", 0.0), reading.dice(mask, wanted)
        figures |= {f"{label} dice": score, f"{label} ml": ml}
        figures[f"{label} voxels in ml"] = float(mask.sum()) * along * down * across / 1000
        rows.append((label, f"{true_ml:.2f}", f"{ml:.2f}", f"{100 * (ml / true_ml - 1):+.0f} %", f"{score:.3f}"))
    figures["shared voxels"] = float((found.sum(axis=0) > 1).sum())
    slices, height, width = truth.shape[1:]
    return Judged(
        f"one MR study of four series, {slices} slices of {height} x {width}, {down:g} x {across:g} x {along:g} mm.",
        ("segment", "true ml", "ml in the report", "difference", "Dice"),
        tuple(rows),
        SAID,
        tuple(_pictures(contrasts, found, truth, (down, across))),
        figures,
    )


def _pictures(
    contrasts: NDArray[np.float32],
    found: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    pixel_mm: tuple[float, float],
) -> list[Picture]:
    """The four series where there is most of the tumour, with what was found; and slices through it with the truth."""
    k = int(truth[1].sum(axis=(1, 2)).argmax())
    of_found = [Outline(mask[k], label, colour) for mask, label, colour in zip(found, SEGMENTS, FOUND, strict=True)]
    series = [
        Slice(values[k], pixel_mm[1], pixel_mm[0], f"{channel}, slice {k + 1}", tuple(of_found))
        for channel, values in zip(CHANNELS, contrasts, strict=True)
    ]
    inside = np.flatnonzero(truth[1].any(axis=(1, 2)))
    beside = []
    for n, channel in ((1, 3), (0, 0), (2, 0)):
        at = int(inside[len(inside) // 3])
        outlines = (Outline(truth[n, at], "truth", TRUTH), Outline(found[n, at], SEGMENTS[n], FOUND[n]))
        caption = f"{SEGMENTS[n]} on {CHANNELS[channel]}, slice {at + 1}"
        beside.append(Slice(contrasts[channel, at], pixel_mm[1], pixel_mm[0], caption, outlines))
    below = "a tumour drawn into a real brain (open_ms patient 26, CC BY)"
    return [
        Picture(
            "series",
            "The four series that were sent, and the three segments that came back.",
            drawing.sheet("What came back, on four series", below, series, 2, WINDOW),
        ),
        Picture(
            "truth",
            "Each segment beside the truth, in pink, on another slice.",
            drawing.sheet("What came back, beside the truth", below, beside, 3, WINDOW),
        ),
    ]


CASE = Case(
    name="tumour",
    title="A drawn brain tumour: four MR series, segments that overlap",
    about=ABOUT,
    is_not=IS_NOT,
    images=write_images,
    network=make_network,
    judge=judge,
)
