"""The structured reports: conformant to two strangers, readable, drawable, and true to what was measured."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    SegmentationStorage,
    UltrasoundMultiFrameImageStorage,
)

from models.card import SHIPPED, Segment, find
from models.wire import SharedArray
from node.errors import Failed
from node.measurements.values import Change, Flag, Intensity, Lesion, Line, Measured, PixelSize, Verdict
from node.objects.headers import repaired
from node.objects.identity import Predecessor
from node.objects.reports import diameters, groups, volumes
from node.objects.reports.variants import variant
from node.objects.run import Run, SegReference
from node.study.frames import flattened
from node.study.geometry import flat, place
from node.study.volume import Volume
from tests import scenes
from tests.peers_tools import PROGRAMS, dciodvfy
from tests.pixelmed import sr_errors
from tests.runs import provenance
from tests.synthetic import SPACING_MM, small_series
from tests.test_pictures import disc, picture

CARD = find("ct_lungs", (SHIPPED,)).card
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


# ------------------------------------------------------------------------------------------- runs, made by hand


def segments(count: int, **values: Any) -> tuple[Segment, ...]:
    """Of a card: lungs, left and right in turn, with labels of their own."""
    return tuple(
        CARD.segment[n % 2].model_copy(update={"value": n + 1, "label": f"Part {n + 1}", **values})
        for n in range(count)
    )


def line(across: tuple[float, float], start: tuple[float, float], stop: tuple[float, float], k: int = 3) -> Line:
    """Between two points (column, row); `across` is the size of a pixel (column, row)."""
    length = math.hypot(*((b - a) * size for a, b, size in zip(start, stop, across, strict=True)))
    return Line(length=length, slice=k, ends=(start, stop))


def measured(value: int, **values: Any) -> Measured:
    """A segment of a volume with everything that can be measured."""
    across = SPACING_MM[:2]
    n = value % 10
    given: dict[str, Any] = dict(
        value=value,
        voxels=1234 + value,
        volume_ml=(1234 + value) * 0.03,
        largest_slice=3,
        pixels=140,
        area_mm2=840.0,
        pixel_size=PixelSize.PATIENT,
        intensity=Intensity(
            mean=-801.26, sd=11.04, least=-1000, most=-0.04, median=-802, percentile_10=-880.5, percentile_90=-700
        ),
        long_axis=line(across, (n, 2), (n + 10, 17)),
        short_axis=line(across, (n, 12), (n + 9, 8)),
        diameter_3d_mm=61.237,
        surface_mm2=7654.321,
        components=1,
    )
    return Measured(**given | values)


def empty(value: int, **values: Any) -> Measured:
    nothing = dict.fromkeys(("intensity", "long_axis", "short_axis", "diameter_3d_mm", "surface_mm2"))
    zero: dict[str, Any] = dict(voxels=0, volume_ml=0.0, largest_slice=0, pixels=0, area_mm2=0.0, components=0)
    return measured(value, **zero | nothing | values)


def lesion(number: int, **values: Any) -> Lesion:
    given: dict[str, Any] = dict(
        number=number,
        voxels=90,
        volume_ml=2.7,
        area_mm2=54.0,
        largest_slice=4,
        centre=(11.5, 9.5, 4.0),
        long_axis=line(SPACING_MM[:2], (3, 4), (9, 4), 4),
        short_axis=line(SPACING_MM[:2], (5, 2), (5, 6), 4),
    )
    return Lesion(**given | values)


def run_of(found: Sequence[Measured], headers: Sequence[Dataset] | None = None, **values: Any) -> Run:
    """A run of which these were measured, on a small CT or on images of another kind."""
    headers = small_series() if headers is None else headers
    of_run = {name: values.pop(name) for name in ("flags", "changes") if name in values}
    frames = values.pop("frames", (0,) * len(headers))
    quantity = values.pop("quantity", "HU")
    parts = values.pop("segment", None) or segments(len(found))
    grid = place(headers)[0] if "ImagePositionPatient" in headers[0] else flat(headers)
    built = Volume(SharedArray.make(grid.shape, np.float32), grid, tuple(headers), frames, quantity)
    built.close()
    sources = repaired(headers, grid)
    return Run(
        volume=built,
        sources=sources,
        labels=np.zeros(grid.shape, np.uint8),
        measured=tuple(found),
        provenance=provenance(sources, card=CARD.model_copy(update={"segment": parts}), **values),
        **of_run,
    )


def seg_of(run: Run, sop_class: str = SegmentationStorage) -> SegReference:
    """As if it had been written: a frame of every slice for every segment, or one for all of them."""
    slices = range(len(run.sources))
    count = len(run.measured)
    by_segment = {(n, k): (n - 1) * len(slices) + k + 1 for n in range(1, count + 1) for k in slices}
    by_slice = {(n, k): k + 1 for n in range(1, count + 1) for k in slices}
    label_map = sop_class == LABEL_MAP
    return SegReference(
        sop_class_uid=sop_class,
        sop_instance_uid=run.provenance.result_uid("SEG", sop_class),
        series_uid=run.provenance.series_uid(sop_class),
        frames=by_slice if label_map else by_segment,
    )


def radiograph(**values: Any) -> list[Dataset]:
    return [picture(ComputedRadiographyImageStorage, "CR", disc(), **values)]


def flat_segment(value: int, pixel_size: PixelSize, k: int = 0, **values: Any) -> Measured:
    """A segment of images that are no volume; a pixel is 0.2 mm where its size is known."""
    size = 1.0 if pixel_size is PixelSize.UNKNOWN else 0.2
    given: dict[str, Any] = dict(
        volume_ml=None,
        voxels=254,
        pixels=254,
        area_mm2=None if pixel_size is PixelSize.UNKNOWN else 254 * size**2,
        pixel_size=pixel_size,
        largest_slice=k,
        long_axis=line((size, size), (6, 11), (24, 29), k),
        short_axis=line((size, size), (6, 29), (24, 11), k),
        diameter_3d_mm=None,
        surface_mm2=None,
    )
    return measured(value, **given | values)


FLAGS = (
    Flag(code="volume-implausible", segment=1, sentence="Part 1 has 37.1 ml; 200 to 5000 ml are plausible."),
    Flag(code="touches-edge", segment=1, sentence="Part 1 reaches the first slice of the scan."),
    Flag(code="too-many-components", segment=2, sentence="Part 2 has 9 pieces; at most 2 are expected."),
    Flag(code="low-confidence", segment=2, sentence="The mean entropy inside Part 2 is 0.61; up to 0.4 is expected."),
    Flag(code="outside-training", segment=None, sentence="Slices of 10 mm; the network learnt from 1 to 5 mm."),
    Flag(code="of-tomorrow", segment=None, sentence="Something that this test has never heard of."),
)


def change(verdict: Verdict, segment: int = 1, quantity: str = "volume", **values: Any) -> Change:
    given: dict[str, Any] = dict(
        now=37.054,
        prior=30.0,
        least=1.5,
        prior_study_uid="1.2.3",
        prior_date="20251119",
    )
    return Change(segment=segment, quantity=quantity, verdict=verdict, **given | values)


CHANGES = (
    change(Verdict.LARGER),
    change(Verdict.SMALLER, prior=44.9, quantity="long axis"),
    change(Verdict.SAME, 2, prior=36.99),
    change(Verdict.OTHER_VERSION, 3, prior=None),
)


def a_full_run() -> Run:
    """Three segments, one with lesions, one empty; every doubt and every verdict."""
    parts = segments(3)
    parts = (parts[0], parts[1].model_copy(update={"lesions": True, "laterality": None}), parts[2])
    found = [measured(1), measured(2, lesions=(lesion(1), lesion(2)), components=2), empty(3)]
    return run_of(found, segment=parts, flags=FLAGS, changes=CHANGES)


def a_foreign_run() -> Run:
    """MR of a patient with a Japanese name, parts with Greek ones; it replaces earlier results."""
    images = scenes.images("MR", scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 12)))
    for ds in images:
        ds.SpecificCharacterSet, ds.PatientName = ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"
    parts = tuple(one.model_copy(update={"label": "Ἧπαρ, λοβός δεξιός"}) for one in segments(1))
    earlier = (
        Predecessor("TID1411", Comprehensive3DSRStorage, "2.25.11", "2.25.12"),
        Predecessor("TID1501", ComprehensiveSRStorage, "2.25.21", "2.25.22"),
    )
    return run_of([measured(1)], images, quantity="", segment=parts, predecessors=earlier, revision=2)


def a_cine() -> Run:
    """Ultrasound whose pixels have no known size; the segment is largest in its third frame."""
    headers = flattened(picture(UltrasoundMultiFrameImageStorage, "US", disc(4)))
    found = [flat_segment(1, PixelSize.UNKNOWN, 2), empty(2, volume_ml=None, area_mm2=None)]
    return run_of(found, headers, frames=(1, 2, 3, 4), quantity="")


RUNS: dict[str, Callable[[], Run]] = {
    "full": a_full_run,
    "nothing": lambda: run_of([empty(1), empty(2)]),
    "foreign": a_foreign_run,
    "detector": lambda: run_of([flat_segment(1, PixelSize.DETECTOR)], radiograph(), quantity=""),
    "calibrated": lambda: run_of(
        [flat_segment(1, PixelSize.PATIENT)], radiograph(PixelSpacing=[0.2, 0.2]), quantity=""
    ),
    "cine": a_cine,
}


def written(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read(ds: Dataset) -> Dataset:
    """As somebody else gets it."""
    return dcmread(BytesIO(written(ds)))


def both(run: Run) -> tuple[Dataset, Dataset]:
    """The two reports, through bytes."""
    seg = seg_of(run)
    return read(volumes.report(run, seg)), read(diameters.report(run, seg))


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of report as a file."""
    folder = tmp_path_factory.mktemp("reports")
    made: dict[str, Dataset] = {}
    for name, of in RUNS.items():
        run = of()
        seg = seg_of(run)
        made[f"{name} volumes"] = volumes.report(run, seg)
        made[f"{name} diameters"] = diameters.report(run, seg, marked=True)
        if name in ("full", "cine"):
            label_map = seg_of(run, LABEL_MAP)
            for what in ("volumes", "diameters"):
                base = made[f"{name} {what}"]
                made[f"{name} {what} comprehensive"] = variant(
                    base, run, f"{what}-COMPREHENSIVE", seg=label_map, comprehensive=True
                )
    files = {name: folder / f"{name.replace(' ', '_')}.dcm" for name in made}
    for name, ds in made.items():
        files[name].write_bytes(written(ds))
    return files


# ----------------------------------------------------------------------------------- what a stranger sees of a report


def groups_of(ds: Dataset) -> list[Dataset]:
    (container,) = [item for item in ds.ContentSequence if name_of(item) == "Imaging Measurements"]
    return list(container.ContentSequence)


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def every_item(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence") or ():
        yield item
        yield from every_item(item)


def shown(group: Dataset) -> list[str]:
    """The lines of a group that a person reads, as a plain viewer shows them: numbers, codes of evaluations, words."""
    lines = []
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            (value,) = item.MeasuredValueSequence
            how = [one.ConceptCodeSequence[0].CodeMeaning for one in item.get("ContentSequence", ()) if is_code(one)]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            lines.append(" ".join([name_of(item), *how, f"{value.NumericValue!s} {unit}"]))
        elif item.RelationshipType == "CONTAINS" and item.ValueType == "TEXT":
            lines.append(str(item.TextValue))
        elif item.RelationshipType == "CONTAINS" and is_code(item) and not name_of(item).startswith("Finding"):
            lines.append(f"{name_of(item)}: {item.ConceptCodeSequence[0].CodeMeaning}")
    return lines


def is_code(item: Dataset) -> bool:
    return bool(item.ValueType == "CODE")


def overall(ds: Dataset) -> list[str]:
    """What is said of all of the result."""
    return [line for item in ds.ContentSequence if name_of(item) == "Qualitative Evaluations" for line in shown(item)]


# ------------------------------------------------------------------------------------------------------- validators


#: dciodvfy does not count label maps (PS3.3 A.90) among what has segments and frames that can be referred to
UNKNOWN_OF_LABEL_MAPS = (
    "Referenced SOP Class that is not segmentation - attribute <ReferencedSegmentNumber>",
    "Referenced SOP Class that is not multi-frame - attribute <ReferencedFrameNumber>",
)


def dciodvfy_errors(file: Path) -> list[str]:
    """What it says, but of references to a label map: no other object may draw these two errors."""
    refers_to_label_map = LABEL_MAP.encode() in file.read_bytes()
    return [line for line in dciodvfy(file) if not (refers_to_label_map and line.endswith(UNKNOWN_OF_LABEL_MAPS))]


def without_evidence(ds: Dataset) -> None:
    del ds.CurrentRequestedProcedureEvidenceSequence


def test_dciodvfy_finds_no_error_but_the_planted_one(documents: dict[str, Path], tmp_path: Path) -> None:
    assert {name: found for name, file in documents.items() if (found := dciodvfy_errors(file))} == {}
    assert dciodvfy_errors(spoilt(documents["full volumes"], without_evidence, tmp_path))


def spoilt(file: Path, spoil: Callable[[Dataset], None], folder: Path) -> Path:
    ds = dcmread(file)
    spoil(ds)
    made = folder / f"{spoil.__name__}.dcm"
    made.write_bytes(written(ds))
    return made


def without_its_segment(ds: Dataset) -> None:
    group = groups_of(ds)[0]
    group.ContentSequence = [item for item in group.ContentSequence if name_of(item) != "Referenced Segment"]


def with_a_wrong_relationship(ds: Dataset) -> None:
    for item in every_item(ds):
        if item.ValueType == "SCOORD":
            item.RelationshipType = "CONTAINS"


def test_pixelmed_finds_no_error_but_the_planted_ones(documents: dict[str, Path], tmp_path: Path) -> None:
    """All in one Java process, since the templates take seconds to load."""
    planted = [
        spoilt(documents["full volumes"], without_its_segment, tmp_path),
        spoilt(documents["full diameters"], with_a_wrong_relationship, tmp_path),
    ]
    found = sr_errors([*documents.values(), *planted], tmp_path)
    assert all(found.pop(file.name) for file in planted)
    assert {name: errors for name, errors in found.items() if errors} == {}


def test_dcmqi_reads_the_measurements(documents: dict[str, Path], tmp_path: Path) -> None:
    for name in ("full volumes", "full diameters", "full volumes comprehensive"):
        out = tmp_path / "read.json"
        command = [PROGRAMS / "tid1500reader", "--inputDICOM", documents[name], "--outputMetadata", out]
        subprocess.run([str(part) for part in command], capture_output=True, check=True)
        found = json.loads(out.read_text())["Measurements"]
        wanted = [
            [(name_of(item), float(item.MeasuredValueSequence[0].NumericValue)) for item in numbers(group)]
            for group in groups_of(dcmread(documents[name]))
        ]
        read_by_it = [
            [(row["quantity"]["CodeMeaning"], float(row["value"])) for row in one.get("measurementItems", ())]
            for one in found
        ]
        assert read_by_it == wanted


def numbers(group: Dataset) -> list[Dataset]:
    return [item for item in group.ContentSequence if item.ValueType == "NUM"]


def test_highdicom_reads_every_group(documents: dict[str, Path]) -> None:
    for name, file in documents.items():
        content = hd.sr.srread(file).content
        assert isinstance(content, hd.sr.MeasurementReport), name
        found = [
            *content.get_volumetric_roi_measurement_groups(),
            *content.get_planar_roi_measurement_groups(),
            *content.get_image_measurement_groups(),
        ]
        groups = groups_of(dcmread(file))
        assert len(found) == len(groups), name
        for one, group in zip(found, groups, strict=True):
            values = [float(item.MeasuredValueSequence[0].NumericValue) for item in numbers(group)]
            assert [row.value for row in one.get_measurements()] == values, name


# ---------------------------------------------------------------------------------------------------------- contents


def test_a_segment_of_a_volume_has_all_its_rows() -> None:
    sizes, axes = both(run_of([measured(1)]))
    (group,) = groups_of(sizes)
    assert shown(group) == [
        "Volume Sum of segmented voxel volumes 37.05 ml",
        "Maximum 3D Diameter of a Mesh 61.2 mm",
        "Surface Area of Mesh 7654.3 mm2",
        "Number of connected components 1 {count}",
        "Attenuation Coefficient Mean -801.3 [hnsf'U]",
        "Attenuation Coefficient Standard Deviation 11.0 [hnsf'U]",
        "Attenuation Coefficient Minimum -1000.0 [hnsf'U]",
        "Attenuation Coefficient Maximum 0.0 [hnsf'U]",
        "Attenuation Coefficient Median -802.0 [hnsf'U]",
        "Attenuation Coefficient Tenth percentile -880.5 [hnsf'U]",
        "Attenuation Coefficient Ninetieth percentile -700.0 [hnsf'U]",
    ]
    (group,) = groups_of(axes)
    assert shown(group) == ["Long axis 49.2 mm", "Short axis 21.6 mm"]


@pytest.mark.parametrize(
    ("kind", "quantity", "wanted"),
    [
        ("CT", "HU", "Attenuation Coefficient Mean -801.3 [hnsf'U]"),
        ("PT", "suv_bw", "SUVbw Mean -801.26 {SUVbw}g/ml"),
        ("MR", "", "MR signal intensity Mean -801.3 1"),
        ("CT", "", None),
        ("PT", "", None),
    ],
)
def test_intensities_have_their_unit_or_are_left_out(kind: str, quantity: str, wanted: str | None) -> None:
    images = scenes.images(kind, scenes.grid((1, 0, 0), (0, 1, 0), (4, 4, 12)))
    sizes, _ = both(run_of([measured(1)], images, quantity=quantity))
    lines = shown(groups_of(sizes)[0])
    assert len(lines) == (11 if wanted else 4)
    assert [line for line in lines if " Mean " in line] == ([wanted] if wanted else [])


@pytest.mark.parametrize(
    ("value", "shown_as"),
    [
        (123456.7, "123457"),
        (1234.56, "1235"),
        (1.23456, "1.235"),
        (0.000123456, "0.0001235"),
        (0.0, "0.000"),
        (-2, "-2.000"),
    ],
)
def test_a_signal_has_the_digits_that_say_something(value: float, shown_as: str) -> None:
    assert groups.significant(value, 4) == shown_as


def test_every_segment_has_its_group_in_the_order_of_the_card_empty_or_not() -> None:
    run = run_of([measured(1), empty(2), measured(3)])
    for ds in both(run):
        assert [one.ContentSequence[0].TextValue for one in groups_of(ds)] == ["Part 1", "Part 2", "Part 3"]
        uids = [one.ContentSequence[1].UID for one in groups_of(ds)]
        assert uids == [run.provenance.tracking_uid(segment) for segment in run.provenance.card.segment]
        assert overall(ds) == []
    sizes, axes = both(run)
    said = "Nothing was found: no voxel belongs to this segment."
    assert shown(groups_of(sizes)[1]) == [
        "Volume Sum of segmented voxel volumes 0.00 ml",
        "Number of connected components 0 {count}",
        said,
    ]
    assert shown(groups_of(axes)[1]) == [said]


def test_an_empty_mask_is_said_in_words() -> None:
    for ds in both(RUNS["nothing"]()):
        assert overall(ds) == ["Nothing was found: the network marked no voxel of any segment."]


def test_lesions_have_groups_of_their_own_behind_their_segment() -> None:
    run = a_full_run()
    sizes, axes = both(run)
    assert "Number of lesions 2 {count}" in shown(groups_of(sizes)[1])
    found = groups_of(axes)
    names = ["Part 1", "Part 2", "Lesion 1 of Part 2", "Lesion 2 of Part 2", "Part 3"]
    assert [one.ContentSequence[0].TextValue for one in found] == names
    assert shown(found[2]) == [
        "Volume Sum of segmented voxel volumes 2.70 ml",
        "Long axis 12.0 mm",
        "Short axis 12.0 mm",
    ]
    part = run.provenance.card.segment[1]
    assert [one.ContentSequence[1].UID for one in found[2:4]] == [run.provenance.tracking_uid(part, n) for n in (1, 2)]
    assert len({one.ContentSequence[1].UID for one in found}) == 5


@pytest.mark.parametrize(
    ("name", "size", "axis"),
    [
        ("calibrated", "Area 10.16 mm2", "Long axis 5.1 mm"),
        (
            "detector",
            "Area At the detector plane, magnification not corrected 10.16 mm2",
            "Long axis At the detector plane, magnification not corrected 5.1 mm",
        ),
        ("cine", "Area 254 {pixels}", "Long axis 25.5 {pixels}"),
    ],
)
def test_2d_sizes_say_what_a_millimetre_is(name: str, size: str, axis: str) -> None:
    sizes, axes = both(RUNS[name]())
    lines, drawn = shown(groups_of(sizes)[0]), shown(groups_of(axes)[0])
    assert (lines[0], drawn[0]) == (size, axis)
    assert not any("Volume" in line or "3D" in line for line in lines)
    for of in (lines, drawn):
        assert any("detector plane: magnification is not corrected" in line for line in of) is (name == "detector")


def test_a_group_of_a_2d_image_refers_to_the_frame_that_shows_most() -> None:
    run = a_cine()
    seg = seg_of(run)
    sizes, _ = both(run)
    group = groups_of(sizes)[0]
    frame, source = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert (frame.ReferencedSOPInstanceUID, frame.ReferencedFrameNumber) == (seg.sop_instance_uid, 3)
    assert "ReferencedSegmentNumber" not in frame
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == (run.sources[2].SOPInstanceUID, 3)
    with pytest.raises(Failed, match="no frame of slice 2"):
        volumes.report(run, dataclasses.replace(seg, frames={}))


def test_doubts_stand_as_codes_and_as_sentences_with_what_they_are_about() -> None:
    for ds in both(a_full_run()):
        first, second = (shown(one) for one in groups_of(ds)[:2])
        assert first[-4 - 2 :][:4] == [
            "Quality Assessment: Volume outside of the plausible range",
            FLAGS[0].sentence,
            "Quality Assessment: Segment touches the edge of the scan",
            FLAGS[1].sentence,
        ]
        assert "Quality Assessment: More connected components than expected" in second
        assert second[second.index("Quality Assessment: Low confidence of the network") + 1] == FLAGS[3].sentence
        assert overall(ds) == [
            "Quality Assessment: Input outside of the training range",
            FLAGS[4].sentence,
            "Quality Assessment: Doubt about the result",
            FLAGS[5].sentence,
        ]
        (scheme,) = ds.CodingSchemeIdentificationSequence
        assert scheme.CodingSchemeDesignator == "99PLANIMETER"
        used = {
            str(one.CodingSchemeDesignator) for item in every_item(ds) for one in item.get("ConceptCodeSequence", ())
        }
        assert used - {"DCM", "SCT", "LN", "RFC5646"} == {"99PLANIMETER"}


def test_a_change_stands_with_the_quantity_that_it_is_of() -> None:
    sizes, axes = both(a_full_run())
    prior = "the prior study of 2025-11-19"
    assert shown(groups_of(sizes)[0])[-2:] == [
        "Comparison to previous studies: Increase in size",
        f"Volume 37.05 ml; in {prior} 30.00 ml; difference +7.05 ml: larger.",
    ]
    assert shown(groups_of(axes)[0])[-2:] == [
        "Comparison to previous studies: Decrease in size",
        f"Long axis 37.1 mm; in {prior} 44.9 mm; difference -7.8 mm: smaller.",
    ]
    assert shown(groups_of(sizes)[1])[-2:] == [
        "Comparison to previous studies: No change",
        f"Volume 37.05 ml; in {prior} 36.99 ml; difference +0.06 ml: no change beyond the resolution (least 1.50 ml).",
    ]
    assert shown(groups_of(sizes)[2])[-2:] == [
        "Comparison to previous studies: Not compared, the prior is of another version",
        f"Volume 37.05 ml. The result of {prior} was made by another version of the network: nothing is compared.",
    ]


def test_a_prior_without_a_date_and_a_resolution_below_the_digits_are_said_too() -> None:
    said = groups.sentence(change(Verdict.SAME, prior=37.054, least=0.003, prior_date=""))
    assert said == (
        "Volume 37.05 ml; in the prior study, of unknown date, 37.05 ml; difference +0.00 ml: "
        "no change beyond the resolution (least 0.003 ml)."
    )


def test_what_is_no_number_never_gets_into_a_report() -> None:
    run = run_of([measured(1, surface_mm2=math.nan)])
    with pytest.raises(Failed, match="not-a-number"):
        volumes.report(run, seg_of(run))


# ---------------------------------------------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("name", ["full", "cine", "calibrated", "detector"])
def test_end_points_lie_on_their_image_and_give_the_stated_length(name: str) -> None:
    run = RUNS[name]()
    _, axes = both(run)
    lines = [line for one in run.measured for part in (one, *one.lesions) for line in (part.long_axis, part.short_axis)]
    drawn = [item for group in groups_of(axes) for item in numbers(group) if name_of(item).endswith("axis")]
    assert len(drawn) == len([line for line in lines if line])
    for item, meant in zip(drawn, [line for line in lines if line], strict=True):
        scoord = item.ContentSequence[-1]
        (referenced,) = scoord.ContentSequence[0].ReferencedSOPSequence
        source, frame = run.sources[meant.slice], run.volume.frames[meant.slice]
        assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert referenced.get("ReferencedFrameNumber", 0) == frame
        points = np.array(scoord.GraphicData).reshape(2, 2)
        assert (points >= 0).all()
        assert (points <= (source.Columns, source.Rows)).all()
        across = [float(part) for part in source.get("PixelSpacing", ["1", "1"])][::-1]
        if name == "detector":
            across = [0.2, 0.2]
        length = np.linalg.norm((points[1] - points[0]) * across)
        assert float(item.MeasuredValueSequence[0].NumericValue) == pytest.approx(length, abs=0.0501)


# ------------------------------------------------------------------------------------- who, from what, in place of what


def test_who_made_it_is_said_the_same_everywhere() -> None:
    """IHE AIR 6.5.3.1, table 6.5.3.1-1."""
    for ds in both(run_of([measured(1), empty(2)])):
        (equipment,) = [
            item
            for item in ds.ContributingEquipmentSequence
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        ]
        wanted = (CARD.manufacturer, CARD.name, CARD.version, CARD.device_uid)
        found = (equipment.Manufacturer, equipment.ManufacturerModelName, equipment.SoftwareVersions)
        assert (*found, equipment.DeviceUID) == wanted
        said = {name_of(item): str(item.get("TextValue") or item.get("UID")) for item in ds.ContentSequence}
        assert said["Device Observer Manufacturer"] == CARD.manufacturer
        assert said["Device Observer Model Name"] == CARD.name
        assert said["Device Observer UID"] == CARD.device_uid
        for group in groups_of(ds):
            algorithm = {name_of(item): item for item in group.ContentSequence if "Algorithm" in name_of(item)}
            assert algorithm["Algorithm Name"].TextValue == CARD.name
            assert algorithm["Algorithm Version"].TextValue == CARD.version
            assert algorithm["Algorithm Manufacturer"].TextValue == CARD.manufacturer
        assert ds.ContentQualification == "RESEARCH"
        acquired = [item for item in ds.ContributingEquipmentSequence if item is not equipment]
        assert [item.ManufacturerModelName for item in acquired] == ["phantom"]


@pytest.mark.parametrize("name", RUNS)
def test_evidence_lists_the_segmentation_and_every_image(name: str) -> None:
    run = RUNS[name]()
    seg = seg_of(run)
    for ds in both(run):
        (study,) = ds.CurrentRequestedProcedureEvidenceSequence
        assert study.StudyInstanceUID == ds.StudyInstanceUID == run.provenance.study_uid
        listed = {
            (series.SeriesInstanceUID, one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID)
            for series in study.ReferencedSeriesSequence
            for one in series.ReferencedSOPSequence
        }
        images = {(one.SeriesInstanceUID, one.SOPClassUID, one.SOPInstanceUID) for one in run.sources}
        assert listed == images | {(seg.series_uid, seg.sop_class_uid, seg.sop_instance_uid)}
        assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == len(images)
        referenced = {
            one.ReferencedSOPInstanceUID for item in every_item(ds) for one in item.get("ReferencedSOPSequence", ())
        }
        assert referenced <= {uid for _, _, uid in listed}


def test_it_names_the_reports_that_it_replaces() -> None:
    run = a_foreign_run()
    for ds, old in zip(both(run), run.provenance.predecessors, strict=True):
        (study,) = ds.PredecessorDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        (instance,) = series.ReferencedSOPSequence
        found = (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID, series.SeriesInstanceUID)
        assert found == (old.sop_class_uid, old.sop_instance_uid, old.series_uid)
        assert study.StudyInstanceUID == ds.StudyInstanceUID
        assert "rev 2" in ds.SeriesDescription
    assert all("PredecessorDocumentsSequence" not in ds for ds in both(a_full_run()))


def test_names_in_other_scripts_stand_as_they_are() -> None:
    run = a_foreign_run()
    for ds in (*both(run), volumes.report(run, seg_of(run))):  # the last one not through bytes
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert ds.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"
        assert groups_of(ds)[0].ContentSequence[0].TextValue == "Ἧπαρ, λοβός δεξιός"


def test_a_marked_report_says_so_where_it_is_listed() -> None:
    run = a_full_run()
    for module in (volumes, diameters):
        plain, marked = (read(module.report(run, seg_of(run), marked=one)) for one in (False, True))
        assert marked.SeriesDescription.startswith("CHECK! ")
        assert not plain.SeriesDescription.startswith("CHECK! ")
        assert len(marked.SeriesDescription) <= 64


# ---------------------------------------------------------------------------------------------------------- variants


def test_the_same_run_gives_the_same_bytes_and_other_options_other_uids() -> None:
    headers = small_series()
    run, again = (run_of([measured(1)], headers, flags=FLAGS) for _ in range(2))
    for module in (volumes, diameters):
        assert written(module.report(run, seg_of(run))) == written(module.report(again, seg_of(again)))
    made = [*both(run)]
    made += [read(variant(base, run, f"{n}-A")) for n, base in enumerate(made)]
    assert len({ds.SOPInstanceUID for ds in made}) == len({ds.SeriesInstanceUID for ds in made}) == 4
    for ds in made:
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_a_variant_has_the_same_content_and_leaves_its_base_alone() -> None:
    run = a_full_run()
    seg, label_map = seg_of(run), seg_of(run, LABEL_MAP)
    for module in (volumes, diameters):
        base = module.report(run, seg)
        before = written(base)
        plain = variant(base, run, "A")
        other = read(variant(base, run, "B", seg=label_map, comprehensive=True))
        assert written(base) == before
        assert groups_of(plain) == groups_of(read(base))
        assert [shown(one) for one in groups_of(other)] == [shown(one) for one in groups_of(base)]
        assert other.SOPClassUID == other.file_meta.MediaStorageSOPClassUID == ComprehensiveSRStorage
        assert plain.SOPClassUID == Comprehensive3DSRStorage
        assert "SCOORD3D" not in {item.ValueType for item in every_item(other)}
        assert seg.sop_instance_uid.encode() in written(plain)
        data = written(other)
        assert seg.sop_instance_uid.encode() not in data
        assert seg.series_uid.encode() not in data
        assert label_map.series_uid.encode() in data


def test_a_variant_of_a_2d_report_refers_to_the_frames_of_the_other_segmentation() -> None:
    run = a_cine()
    base = volumes.report(run, seg_of(run))
    other = read(variant(base, run, "B", seg=seg_of(run, LABEL_MAP)))
    frames = [
        item.ReferencedSOPSequence[0].ReferencedFrameNumber
        for group in groups_of(other)
        for item in group.ContentSequence
        if name_of(item) == "Referenced Segmentation Frame"
    ]
    assert frames == [3, 1]


def test_many_segments_have_many_groups() -> None:
    run = run_of([measured(n) for n in range(1, 25)])
    for ds in both(run):
        assert len(groups_of(ds)) == 24


# ------------------------------------------------------------------------------------------------------- the long form


@pytest.mark.slow
def test_masks_of_every_shape_of_many_segments_are_conformant(tmp_path: Path) -> None:
    """20 segments: empty, full, a single voxel, touching edges; and 24 of everything."""
    edges = tuple(
        Flag(code="touches-edge", segment=n, sentence=f"Part {n} reaches the last slice.") for n in range(1, 21)
    )
    whole = dict(
        voxels=3840, volume_ml=115.2, long_axis=line(SPACING_MM[:2], (0, 0), (24, 20)), touches=("first slice",)
    )
    voxel = dict(
        voxels=1,
        volume_ml=0.03,
        area_mm2=6.0,
        long_axis=line(SPACING_MM[:2], (11, 7), (12, 8)),
        short_axis=line(SPACING_MM[:2], (11, 8), (12, 7)),
        intensity=Intensity(mean=1, sd=0, least=1, most=1, median=1, percentile_10=1, percentile_90=1),
    )
    shapes = {
        "empty": run_of([empty(n) for n in range(1, 21)]),
        "full": run_of([measured(n, **whole) for n in range(1, 21)]),
        "voxel": run_of([measured(n, **voxel) for n in range(1, 21)]),
        "edges": run_of([measured(n, **whole) for n in range(1, 21)], flags=edges),
        "all": run_of(
            [measured(n, lesions=(lesion(1), lesion(2))) for n in range(1, 25)], segment=segments(24, lesions=True)
        ),
    }
    files = []
    for name, run in shapes.items():
        for module in (volumes, diameters):
            base = module.report(run, seg_of(run))
            other = variant(base, run, "B", seg=seg_of(run, LABEL_MAP), comprehensive=True)
            for ds in (base, other):
                files.append(tmp_path / f"{name}_{module.__name__}_{ds is other}.dcm")
                files[-1].write_bytes(written(ds))
    assert {file.name: found for file in files if (found := dciodvfy_errors(file))} == {}
    assert {name: errors for name, errors in sr_errors(files, tmp_path).items() if errors} == {}
