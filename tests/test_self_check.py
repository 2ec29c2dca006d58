"""The self-check finds nothing in what we write, and finds every fault that is planted there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    UltrasoundMultiFrameImageStorage,
    VLPhotographicImageStorage,
)

from models.card import Card, Input
from node.errors import Failed
from node.measurements.values import Flag
from node.objects.checks import codes, contours
from node.objects.checks.masks import mask
from node.objects.checks.whole import faults
from node.objects.forms import Form
from node.objects.identity import Predecessor
from node.objects.pictures.choice import number_of_key_images
from node.objects.results import Made, make
from node.objects.run import Run
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import runs, scenes
from tests.runs import BUNDLE, provenance_of
from tests.synthetic import as_files, small_series
from tests.test_pictures import picture

Labels = NDArray[np.uint8]

BINARY, LABEL_MAP = Form("SEG", "BINARY"), Form("SEG", "LABELMAP")
SIZES, AXES, SIZES_OF_MAP = Form("SR", "TID1411"), Form("SR", "TID1501"), Form("SR", "TID1411-LABELMAP")
OLD_SIZES = Form("SR", "TID1411-COMPREHENSIVE")
PICTURE, DOCUMENT, CONTOURS = Form("SC", "KEY02"), Form("PDF", "REPORT"), Form("RTSTRUCT", "CONTOURS")
SURFACE = Form("STL", "SEGMENT2")
OF_ALL = (BINARY, LABEL_MAP, SIZES, AXES, SIZES_OF_MAP, OLD_SIZES)
ANY = Input(modality=("any",), kind="image", secondary_capture=True)


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def run_of(built: Volume, labels: Labels, card: Card = BUNDLE.card, **changes: Any) -> Run:
    return runs.run_of(built, labels, provenance_of(built, labels, card=card, content_time=1_800_000_000.0, **changes))


def spoilt_copy(one: Made, spoil: Callable[[Dataset], None]) -> Made:
    ds = dcmread(BytesIO(one.data))
    spoil(ds)
    return replace(one, data=saved(ds))


def saved(ds: Dataset) -> bytes:
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def lopsided(shape: tuple[int, int, int]) -> Labels:
    """Two segments that are mirror images of themselves in no direction, the second in two parts."""
    labels = np.zeros(shape, np.uint8)
    labels[2:5, 4:9, 3:20], labels[3, 7, 11] = 1, 0
    labels[4:7, 12:15, 5:11], labels[2, 12, 7], labels[3, 13, 20] = 2, 2, 2
    return labels


# ---------------------------------------------------------------- nothing is found in what we write


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory, decoders: Decoders) -> Iterator[Volume]:
    rng = np.random.default_rng(3)
    images = small_series()
    for ds in images:
        noise = rng.integers(-300, 300, (ds.Rows, ds.Columns)).astype("<i2")
        ds.PixelData = (np.frombuffer(ds.PixelData, "<i2").reshape(noise.shape) + noise).tobytes()
    built = volume.build(as_files(images, tmp_path_factory.mktemp("ct")), decoders)
    yield built
    built.close()


GRIDS = {
    "axial": scenes.grid((1, 0, 0), (0, 1, 0), (4.0, 4.5, 8.0)),
    "feet last": scenes.grid((1, 0, 0), (0, 1, 0), (4.0, 4.5, 8.0), descending=True),
    "tilted": scenes.grid((1, 0, 0), (0, 1, 0), (4.0, 4.5, 8.0), tilt_degrees=17),
    "sagittal": scenes.grid((0, 1, 0), (0, 0, -1), (4.0, 4.5, 8.0)),
    "oblique": scenes.grid((0.8, 0.5, -0.2), (-0.4, 0.8, 0.3), (4.0, 4.5, 8.0)),
}


@pytest.mark.parametrize(
    ("kind", "grid"),
    [*(("CT", grid) for grid in GRIDS), ("enhanced CT", "axial"), ("enhanced CT", "oblique"), ("PT", "tilted")],
)
def test_nothing_is_found_in_volumes_however_they_lie(tmp_path: Path, decoders: Decoders, kind: str, grid: str) -> None:
    where = GRIDS[grid]
    built = volume.build(as_files(scenes.images(kind, where), tmp_path), decoders)
    labels = scenes.labels_at(np.moveaxis(_centres(built), 0, -1))
    assert {1, 2} <= set(np.unique(labels))
    run = run_of(built, labels)
    assert faults(make(run, (*OF_ALL, CONTOURS)), run) == []
    built.close()


def _centres(built: Volume) -> NDArray[np.float64]:
    """(3, slices, rows, columns), in mm."""
    k, j, i = np.indices(built.geometry.shape)
    points = np.einsum("ab,bkji->akji", built.geometry.affine[:3, :3], np.stack([i, j, k]))
    return np.asarray(points + built.geometry.affine[:3, 3][:, None, None, None])


@pytest.mark.parametrize("what", ["two", "empty", "one empty", "full", "single voxel"])
def test_nothing_is_found_in_masks_of_every_shape(ct: Volume, what: str) -> None:
    labels = np.zeros(ct.geometry.shape, np.uint8)
    if what == "two":
        labels = lopsided(labels.shape)
    elif what == "one empty":
        labels[2:5, 4:9, 3:20] = 2
    elif what == "full":
        labels[:] = 1
    elif what == "single voxel":
        labels[3, 7, 11] = 1
    run = run_of(ct, labels)
    assert faults(make(run, (*OF_ALL, CONTOURS)), run) == []


def test_nothing_is_found_in_twenty_four_segments(ct: Volume) -> None:
    card = many_segments(24)
    labels = np.zeros(ct.geometry.shape, np.uint8)
    for n, segment in enumerate(card.segment[:-1]):
        labels[n % 5 : n % 5 + 3, 3 * (n // 4) : 3 * (n // 4) + 3, 6 * (n % 4) : 6 * (n % 4) + 4 + n % 3] = (
            segment.value
        )
    run = run_of(ct, labels, card)
    assert faults(make(run, OF_ALL), run) == []


def many_segments(count: int) -> Card:
    """Label values with gaps, so that a value is not its segment's number."""
    first = BUNDLE.card.segment[0]
    segments = [
        first.model_copy(update={"value": 3 * n + 2, "label": f"Part {n}", "colour": (10 * n, 250 - 10 * n, 90)})
        for n in range(count)
    ]
    return BUNDLE.card.model_copy(update={"segment": tuple(segments)})


FLAT = {
    "radiograph": (DigitalXRayImageStorageForPresentation, "DX", (40, 48), {}),
    "calibrated": (DigitalXRayImageStorageForPresentation, "DX", (40, 48), {"PixelSpacing": [0.2, 0.3]}),
    "at the detector": (DigitalXRayImageStorageForPresentation, "DX", (40, 48), {"ImagerPixelSpacing": [0.2, 0.3]}),
    "ultrasound frames": (UltrasoundMultiFrameImageStorage, "US", (5, 40, 48), {}),
    "photograph": (VLPhotographicImageStorage, "XC", (40, 48, 3), {}),
}


@pytest.mark.parametrize("what", FLAT)
def test_nothing_is_found_in_results_on_images_that_lie_nowhere(tmp_path: Path, decoders: Decoders, what: str) -> None:
    sop_class, modality, shape, values = FLAT[what]
    stored = np.random.default_rng(5).integers(0, 255, shape).astype(np.uint8)
    rule = ANY.model_copy(update={"colour": "rgb"}) if shape[-1] == 3 else ANY
    built = volume.build(as_files([picture(sop_class, modality, stored, **values)], tmp_path), decoders, rule)
    labels = np.zeros(built.geometry.shape, np.uint8)
    labels[-1, 4:20, 6:31], labels[0, 30:33, 2:9] = 1, 2
    run = run_of(built, labels)
    assert faults(make(run, OF_ALL), run) == []
    built.close()


def test_nothing_is_found_in_what_is_marked_doubted_and_takes_the_place_of_another(ct: Volume) -> None:
    old = Predecessor("TID1411", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4", "1.2.3.5")
    run = run_of(ct, lopsided(ct.geometry.shape), revision=2, predecessors=(old,))
    run = replace(run, flags=(Flag(code="touches-edge", segment=1, sentence="It touches the edge."),))
    forms = [BINARY, SIZES, AXES, PICTURE, DOCUMENT, CONTOURS, SURFACE]
    asked = [*forms, *(Form(form.kind, f"{form.options}-MARKED") for form in forms)]
    assert faults(make(run, asked), run) == []
    (report,) = make(run, [SIZES])
    without = spoilt_copy(report, put(PredecessorDocumentsSequence=None))
    assert any("does not name the reports" in one for one in faults([without], run))
    assert faults(make(replace(run, flags=()), [SIZES]), run) == [
        "SR TID1411: it does not say what is doubtful (touches-edge)"
    ]


def test_a_text_that_is_burnt_into_an_image_is_said_of_the_pictures_that_show_it(
    tmp_path: Path, decoders: Decoders
) -> None:
    images = small_series()
    images[6].BurnedInAnnotation = "YES"
    built = volume.build(as_files(images, tmp_path), decoders)
    named = next(k for k, header in enumerate(built.headers) if header.get("BurnedInAnnotation"))
    labels = np.zeros(built.geometry.shape, np.uint8)
    labels[named, 4:9, 3:20], labels[named - 4, 4:9, 3:20] = 1, 2
    run = run_of(built, labels)
    pictures = make(run, [Form("SC", f"KEY0{n}") for n in range(1, number_of_key_images(labels, BUNDLE.card) + 1)])
    said = [dcmread(BytesIO(one.data)).BurnedInAnnotation for one in pictures]
    assert set(said) == {"YES", "NO"}
    assert faults(pictures, run) == []
    for one, word in zip(pictures, said, strict=True):
        for other in ("NO" if word == "YES" else "YES", "", "yes"):
            (found,) = faults([spoilt_copy(one, put(BurnedInAnnotation=other))], run)
            assert "BurnedInAnnotation" in found
    built.close()


# ------------------------------------------------------------------------ every planted fault is found


@dataclass
class Gold:
    """Objects without a fault, of one run."""

    run: Run
    objects: dict[Form, Made]

    def spoilt(self, form: Form, spoil: Callable[[Dataset], None]) -> list[str]:
        """What is found where one of the objects is spoilt."""
        spoilt = spoilt_copy(self.objects[form], spoil)
        return faults([self.objects[BINARY], spoilt][form == BINARY :], self.run)


@pytest.fixture(scope="module")
def gold(ct: Volume) -> Gold:
    run = run_of(ct, lopsided(ct.geometry.shape))
    forms = (*OF_ALL, PICTURE, DOCUMENT, CONTOURS, SURFACE)
    made = Gold(run, {one.form: one for one in make(run, forms)})
    assert faults(list(made.objects.values()), run) == []
    return made


def put(path: str = "", **values: Any) -> Callable[[Dataset], None]:
    """Set elements, or remove them where the value is None; below the first items of the sequences in the path."""

    def change(ds: Dataset) -> None:
        for keyword in path.split("."):
            ds = ds[keyword].value[0] if keyword else ds
        for keyword, value in values.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


def code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def bits(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Callable[[Dataset], None]:
    """Write other frames, (frames, rows, columns)."""

    def spoil(seg: Dataset) -> None:
        packed = np.packbits(change(seg.pixel_array.copy()).ravel(), bitorder="little").tobytes()
        seg.PixelData = packed + b"\0" * (len(packed) % 2)

    return spoil


def one_voxel(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    frames[0, 0, 0] ^= 1
    return frames


def each_frame(change: Callable[[Dataset, int], None]) -> Callable[[Dataset], None]:
    def spoil(seg: Dataset) -> None:
        for n, groups in enumerate(seg.PerFrameFunctionalGroupsSequence):
            change(groups, n)

    return spoil


def places_mirrored(seg: Dataset) -> None:
    groups = seg.PerFrameFunctionalGroupsSequence
    places = [one.PlanePositionSequence for one in groups]
    for one, place in zip(groups, reversed(places), strict=True):
        one.PlanePositionSequence = place


def a_frame_left_out(seg: Dataset) -> None:
    bits(lambda frames: frames[1:])(seg)
    seg.NumberOfFrames -= 1
    del seg.PerFrameFunctionalGroupsSequence[0]


def a_frame_twice(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[1] = seg.PerFrameFunctionalGroupsSequence[0]
    bits(lambda frames: frames[[0, 0, *range(2, len(frames))]])(seg)


def numbers_exchanged(seg: Dataset) -> None:
    for groups in seg.PerFrameFunctionalGroupsSequence:
        named = groups.SegmentIdentificationSequence[0]
        named.ReferencedSegmentNumber = 3 - int(named.ReferencedSegmentNumber)
        index = groups.FrameContentSequence[0]
        index.DimensionIndexValues = [3 - index.DimensionIndexValues[0], index.DimensionIndexValues[1]]


def moved(groups: Dataset, _: int) -> None:
    place = groups.PlanePositionSequence[0]
    place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 1, *place.ImagePositionPatient[1:]]


def content(
    name: str, change: Callable[[Dataset], None] | None = None, *, below: str = "", nth: int = 0
) -> Callable[[Dataset], None]:
    """Change the nth content item of a name, or take it out of the tree where there is no change."""

    def spoil(sr: Dataset) -> None:
        parent, item = [pair for pair in _items(sr) if _name(pair[1]) == name and below in ("", _name(pair[0]))][nth]
        if change is not None:
            change(item)
            return
        parent.ContentSequence = [one for one in parent.ContentSequence if one is not item]

    return spoil


def _items(ds: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    for item in ds.get("ContentSequence") or []:
        yield ds, item
        yield from _items(item)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""


def groups_exchanged(sr: Dataset) -> None:
    (above,) = [item for _, item in _items(sr) if _name(item) == "126010"]
    above.ContentSequence = above.ContentSequence[::-1]


def value_of(name: str, change: Callable[[float], float], nth: int = 0) -> Callable[[Dataset], None]:
    def other(item: Dataset) -> None:
        measured = item.MeasuredValueSequence[0]
        measured.NumericValue = str(round(change(float(measured.NumericValue)), 2))

    return content(name, other, nth=nth)


def points(change: Callable[[list[float]], list[float]]) -> Callable[[Dataset], None]:
    def other(item: Dataset) -> None:
        item.GraphicData = change([float(part) for part in item.GraphicData])

    return content("260753009", other, below="103339001")


def processing(**values: Any) -> Callable[[Dataset], None]:
    def spoil(ds: Dataset) -> None:
        for item in ds.ContributingEquipmentSequence:
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102":
                put(**values)(item)

    return spoil


def evidence_without_the_segmentation(sr: Dataset) -> None:
    study = sr.CurrentRequestedProcedureEvidenceSequence[0]
    study.ReferencedSeriesSequence = [
        series
        for series in study.ReferencedSeriesSequence
        if not str(series.ReferencedSOPSequence[0].ReferencedSOPClassUID).startswith("1.2.840.10008.5.1.4.1.1.66")
    ]


def a_private_element(ds: Dataset) -> None:
    ds.private_block(0x0013, "VENDOR", create=True).add_new(1, "LO", "secret")


def unit(name: str, scheme: str) -> Callable[[Dataset], None]:
    units = code(name, scheme, name)
    return content(
        "118565006", lambda item: setattr(item.MeasuredValueSequence[0], "MeasurementUnitsCodeSequence", units)
    )


def a_corner_moved(rt: Dataset) -> None:
    contour = rt.ROIContourSequence[0].ContourSequence[0]
    points = np.array([float(part) for part in contour.ContourData]).reshape(-1, 3)
    points[0, :2] += 9
    contour.ContourData = [f"{part:.4f}" for part in points.ravel()]


def off_its_image(rt: Dataset) -> None:
    contour = rt.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [part + (n % 3 == 2) for n, part in enumerate(float(part) for part in contour.ContourData)]


def corner(value: float) -> Callable[[Dataset], None]:
    def spoil(ds: Dataset) -> None:
        document = ds.EncapsulatedDocument
        ds.EncapsulatedDocument = document[:96] + np.float32(value).tobytes() + document[100:]

    return spoil


SHARED, SEGMENT = "SharedFunctionalGroupsSequence", "SegmentSequence"
Planted = tuple[Form, Callable[[Dataset], None], str]

#: what the validators find or miss, one fault at a time
MEASURED_ON_VALIDATORS: dict[str, Planted] = {
    "gap in the segment numbers": (
        BINARY,
        lambda ds: setattr(ds.SegmentSequence[1], "SegmentNumber", 3),
        "segments [1, 3]",
    ),
    "no referenced series": (BINARY, put(ReferencedSeriesSequence=None), "does not name the series"),
    "no algorithm name": (BINARY, put(SEGMENT, SegmentAlgorithmName=None), "SegmentAlgorithmName"),
    "frame count": (BINARY, put(NumberOfFrames=3), "NumberOfFrames"),
    "pixels truncated": (BINARY, lambda ds: setattr(ds, "PixelData", ds.PixelData[:-60]), "bytes of pixels"),
    "no evidence": (SIZES, put(CurrentRequestedProcedureEvidenceSequence=None), "not in its evidence"),
    "no frame of reference": (BINARY, put(FrameOfReferenceUID=None), "FrameOfReferenceUID"),
    "no algorithm identification": (
        BINARY,
        put(SEGMENT, SegmentationAlgorithmIdentificationSequence=None),
        "does not identify its algorithm",
    ),
    "bits reversed": (
        BINARY,
        lambda ds: setattr(
            ds,
            "PixelData",
            np.packbits(np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")).tobytes(),
        ),
        "voxels are not those",
    ),
    "slices mirrored": (BINARY, places_mirrored, "voxels are not those"),
    "index values": (
        BINARY,
        each_frame(lambda groups, n: put("FrameContentSequence", DimensionIndexValues=[1, 1 + n % 2])(groups)),
        "DimensionIndexValues",
    ),
    "a type of no meaning": (
        BINARY,
        put(SEGMENT, SegmentedPropertyTypeCodeSequence=code("12345678", "SCT", "Nothing")),
        "is not a code that readers can know",
    ),
    "a type as category": (
        BINARY,
        put(SEGMENT, SegmentedPropertyCategoryCodeSequence=code("39607008", "SCT", "Lung")),
        "its category (Lung) is a type",
    ),
    "another study": (BINARY, put(StudyInstanceUID="1.2.3"), "StudyInstanceUID is not that of the images"),
    "no tracking UID": (SIZES, content("112040"), "by tracking UID"),
    "no referenced segment": (SIZES, content("121191"), "does not refer to its segment"),
    "no procedure": (SIZES, content("121058"), "procedure reported"),
    "a unit not of UCUM": (SIZES, unit("cc", "99LOCAL"), "not of UCUM"),
    "another relationship": (
        SIZES,
        content("112040", put(RelationshipType="CONTAINS")),
        "112040 is related by CONTAINS",
    ),
    "another title": (SIZES, put(ConceptNameCodeSequence=code("121111", "DCM", "Summary")), "its title"),
}

OUR_OWN: dict[str, Planted] = {
    "one voxel": (BINARY, bits(one_voxel), "1 voxels are not those"),
    "rows mirrored": (BINARY, bits(lambda frames: frames[:, :, ::-1]), "voxels are not those"),
    "frame left out": (BINARY, a_frame_left_out, "are in no frame"),
    "frame twice": (BINARY, a_frame_twice, "the same segment in the same place"),
    "segment numbers exchanged": (BINARY, numbers_exchanged, "voxels are not those"),
    "frames moved": (BINARY, each_frame(moved), "do not lie on an image"),
    "turned": (
        BINARY,
        put(f"{SHARED}.PlaneOrientationSequence", ImageOrientationPatient=[0, 1, 0, 1, 0, 0]),
        "another orientation",
    ),
    "spacing exchanged": (
        BINARY,
        put(f"{SHARED}.PixelMeasuresSequence", PixelSpacing=[2, 3]),
        "another orientation or pixel",
    ),
    "another image named": (
        BINARY,
        each_frame(
            lambda one, _: put("DerivationImageSequence.SourceImageSequence", ReferencedSOPInstanceUID="1.2.3")(one)
        ),
        "do not name the image",
    ),
    "a segment renamed": (BINARY, put(SEGMENT, SegmentLabel="Liver"), "it is called 'Liver'"),
    "another colour": (BINARY, put(SEGMENT, RecommendedDisplayCIELabValue=[0, 32896, 32896]), "its colour"),
    "another side": (
        BINARY,
        put(
            f"{SEGMENT}.SegmentedPropertyTypeCodeSequence",
            SegmentedPropertyTypeModifierCodeSequence=code("24028007", "SCT", "Right"),
        ),
        "its laterality",
    ),
    "another tracking UID": (BINARY, put(SEGMENT, TrackingUID="1.2.3"), "tracked by another UID"),
    "a code of an old scheme": (
        BINARY,
        put(SEGMENT, SegmentedPropertyTypeCodeSequence=code("T-28000", "SRT", "Lung")),
        "is not a code that readers can know",
    ),
    "another label in the map": (
        LABEL_MAP,
        lambda ds: ds.compress(
            ds.file_meta.TransferSyntaxUID, ds.pixel_array ^ np.uint8(ds.pixel_array == 2), generate_instance_uid=False
        ),
        "voxels are not those",
    ),
    "another patient": (SIZES, put(PatientID="SOMEBODY"), "PatientID"),
    "another name": (BINARY, put(PatientName="Body^Some"), "PatientName"),
    "another frame of reference": (BINARY, put(FrameOfReferenceUID="1.2.3"), "FrameOfReferenceUID"),
    "another instance UID": (SIZES, put(SOPInstanceUID="1.2.3"), "SOPInstanceUID is not the one"),
    "an illegal UID": (BINARY, put(SEGMENT, TrackingUID="1.02.3"), "not a UID as PS3.5 9.1 has it: TrackingUID"),
    "another class": (SIZES, put(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"), "SOP class"),
    "the class of the other report": (OLD_SIZES, put(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.34"), "SOP class"),
    "another character set": (SIZES, put(SpecificCharacterSet="ISO_IR 100"), "UTF-8"),
    "a private element": (BINARY, a_private_element, "private elements"),
    "no word of research": (BINARY, put(SeriesDescription="Lungs"), "[RESEARCH]"),
    "a product": (BINARY, put(ContentQualification="PRODUCT"), "ContentQualification"),
    "no device UID": (SIZES, processing(DeviceUID=None), "DeviceUID of the Processing Equipment"),
    "another version": (BINARY, processing(SoftwareVersions="0"), "SoftwareVersions of the Processing Equipment"),
    "another observer": (SIZES, content("121012", put(UID="1.2.3")), "content item 121012"),
    "another algorithm": (
        BINARY,
        put(f"{SEGMENT}.SegmentationAlgorithmIdentificationSequence", AlgorithmVersion="0"),
        "AlgorithmVersion of segment 1",
    ),
    "volume of one voxel more": (SIZES, value_of("118565006", lambda ml: ml + 0.03), "the voxels are"),
    "mean": (SIZES, value_of("112031", lambda hu: hu + 0.3), "373098007"),
    "percentile": (SIZES, value_of("112031", lambda hu: hu + 60, nth=5), "371890005"),
    "no unit": (
        SIZES,
        content("118565006", lambda item: delattr(item.MeasuredValueSequence[0], "MeasurementUnitsCodeSequence")),
        "has no unit",
    ),
    "a unit of nothing": (SIZES, unit("millilitre", "UCUM"), "is not a code that readers can know"),
    "another unit": (SIZES, unit("mm3", "UCUM"), "is given in 'mm3'"),
    "no volume": (SIZES, content("118565006"), "not the sizes and axes"),
    "an area for a volume": (
        SIZES,
        content("118565006", nth=0, change=put(ConceptNameCodeSequence=code("42798000", "SCT", "Area"))),
        "not the sizes and axes",
    ),
    "no mean": (SIZES, content("121401", put(ConceptCodeSequence=code("373100007", "SCT", "Mode"))), "the mean of"),
    "no short axis": (AXES, content("103340004"), "not the sizes and axes"),
    "groups exchanged": (SIZES, groups_exchanged, "in their order"),
    "another segment": (
        SIZES,
        content("121191", put("ReferencedSOPSequence", ReferencedSegmentNumber=2)),
        "refers to another segment",
    ),
    "another finding": (SIZES, content("121071", put(ConceptCodeSequence=code("10200004", "SCT", "Liver"))), "finding"),
    "a side that is none": (
        SIZES,
        content("272741003", put(ConceptCodeSequence=code("255209002", "SCT", "Upper lobe"))),
        "none of the values of Laterality",
    ),
    "evidence lacks the segmentation": (SIZES, evidence_without_the_segmentation, "1 objects that it refers to"),
    "nobody's codes": (SIZES, put(CodingSchemeIdentificationSequence=None), "nothing says whose codes"),
    "verified": (SIZES, put(VerificationFlag="VERIFIED"), "complete and unverified"),
    "another length": (AXES, value_of("103339001", lambda mm: mm + 0.4), "its line is"),
    "a line beyond the image": (AXES, points(lambda ends: [-1, *ends[1:]]), "beyond the image"),
    "a line beside the segment": (
        AXES,
        points(lambda ends: [part + 3 for part in ends]),
        "does not end on the segment",
    ),
    "a line on another image": (
        AXES,
        content("260753009", put("ReferencedSOPSequence", ReferencedSOPInstanceUID="1.2.3"), below="260753009"),
        "not drawn on an image of the run",
    ),
    "a picture cut short": (PICTURE, lambda ds: setattr(ds, "PixelData", ds.PixelData[:-100]), "its pixels take"),
    "a picture of nothing": (PICTURE, lambda ds: setattr(ds, "PixelData", bytes(len(ds.PixelData))), "shows nothing"),
    "a picture of others": (
        PICTURE,
        put("SourceImageSequence", ReferencedSOPInstanceUID="1.2.3"),
        "SourceImageSequence",
    ),
    "burnt in": (PICTURE, put(BurnedInAnnotation="YES"), "BurnedInAnnotation"),
    "a document without its end": (
        DOCUMENT,
        lambda ds: put(EncapsulatedDocument=ds.EncapsulatedDocument[:400], EncapsulatedDocumentLength=400)(ds),
        "does not begin and end",
    ),
    "a document of another length": (DOCUMENT, put(EncapsulatedDocumentLength=17), "not as long as it says"),
    "a contour moved": (CONTOURS, a_corner_moved, "otherwise than the mask"),
    "a contour off its image": (CONTOURS, off_its_image, "does not lie on the image"),
    "a contour left out": (
        CONTOURS,
        lambda ds: ds.ROIContourSequence[1].ContourSequence.pop(),
        "otherwise than the mask",
    ),
    "a surface with a corner at nothing": (SURFACE, corner(np.nan), "no number"),
    "a surface beyond its segment": (SURFACE, corner(9999.0), "reaches beyond its segment"),
    "a surface of fewer facets": (
        SURFACE,
        lambda ds: setattr(
            ds, "EncapsulatedDocument", ds.EncapsulatedDocument[:80] + bytes(4) + ds.EncapsulatedDocument[84:]
        ),
        "is said to have 0 facets",
    ),
    "a surface in inches": (
        SURFACE,
        put(MeasurementUnitsCodeSequence=code("[in_i]", "UCUM", "inch")),
        "not the millimetre",
    ),
    "another structure": (
        CONTOURS,
        put("RTROIObservationsSequence", RTROIIdentificationCodeSequence=code("10200004", "SCT", "Liver")),
        "is not coded as the card",
    ),
    "a structure renamed": (CONTOURS, put("StructureSetROISequence", ROIName="Liver"), "is not called"),
}


@pytest.mark.parametrize("fault", [*MEASURED_ON_VALIDATORS, *OUR_OWN])
def test_the_self_check_catches_a_planted_fault(gold: Gold, fault: str) -> None:
    form, spoil, sentence = (MEASURED_ON_VALIDATORS | OUR_OWN)[fault]
    found = gold.spoilt(form, spoil)
    assert any(one.startswith(" ".join(form)) and sentence in one for one in found), found


def test_a_report_of_another_segmentation_is_found(gold: Gold) -> None:
    other = replace(gold.objects[SIZES], options=SIZES_OF_MAP.options)
    assert (
        "SR TID1411-LABELMAP: Left lung: it refers to another object than the segmentation that it goes with (LABELMAP)"
        in faults([other], gold.run)
    )


def test_objects_of_another_run_are_found(gold: Gold, ct: Volume) -> None:
    labels = gold.run.labels.copy()
    labels[4, 6, 6] = 0
    found = faults(list(gold.objects.values()), run_of(ct, labels))
    assert {one.split(":")[0] for one in found} == {" ".join(form) for form in gold.objects}
    for name, sentence in (
        ("SEG BINARY", "1 voxels are not those of the network"),
        ("SEG LABELMAP", "1 voxels are not those of the network"),
        ("SR TID1411", "the voxels are"),
        ("RTSTRUCT CONTOURS", "its contours hold 1 pixels otherwise than the mask"),
    ):
        assert any(one.startswith(f"{name}:") and sentence in one for one in found), (name, found)


def test_two_objects_under_one_name_are_found(gold: Gold) -> None:
    seg = gold.objects[BINARY]
    assert faults([seg, seg], gold.run) == ["SEG BINARY: there are two of them"]
    assert "two objects have the same SOPInstanceUID" in faults([seg, replace(seg, options="BINARY-MARKED")], gold.run)
    assert faults([replace(seg, kind="XYZ", options="1")], gold.run) == ["XYZ 1: no run has such an object"]


# ------------------------------------------------------------------------------------ broken bytes


@pytest.mark.parametrize("form", [BINARY, LABEL_MAP, SIZES, AXES, PICTURE, DOCUMENT, CONTOURS, SURFACE], ids=" ".join)
def test_broken_bytes_are_a_fault_and_never_an_error(gold: Gold, form: Form) -> None:
    one, rng = gold.objects[form], np.random.default_rng(11)
    data, head = one.data, one.data[:6000]
    for _ in range(8):
        broken = bytearray(head + data[6000:])
        for place in rng.integers(132, min(len(head), len(data)), 4):
            broken[place] = rng.integers(0, 256)
        faults([replace(one, data=bytes(broken))], gold.run)
    for cut in (0, 100, 131, 140, len(data) // 2, len(data) - 2):
        assert faults([replace(one, data=data[:cut])], gold.run), cut


def test_bytes_behind_the_pixels_are_found(gold: Gold) -> None:
    (found,) = faults([replace(gold.objects[BINARY], data=gold.objects[BINARY].data + bytes(64))], gold.run)
    assert "the file does not end where its data set ends" in found


# ------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("form", [BINARY, LABEL_MAP], ids=" ".join)
def test_a_segmentation_is_read_back_as_a_label_map(gold: Gold, form: Form) -> None:
    seg = dcmread(BytesIO(gold.objects[form].data))
    back = mask(seg, gold.run.volume.geometry, [1, 2])
    assert np.array_equal(back, gold.run.labels)
    each_frame(moved)(seg)
    with pytest.raises(Failed):
        mask(seg, gold.run.volume.geometry, [1, 2])


def test_overlapping_segments_are_no_label_map(gold: Gold) -> None:
    seg = dcmread(BytesIO(gold.objects[BINARY].data))
    bits(np.ones_like)(seg)
    with pytest.raises(Failed, match="overlap"):
        mask(seg, gold.run.volume.geometry, [1, 2])


def test_frames_that_end_within_a_byte_are_read(tmp_path: Path, decoders: Decoders) -> None:
    built = volume.build(as_files(small_series((23, 21, 7)), tmp_path), decoders)
    run = run_of(built, lopsided(built.geometry.shape))
    (seg,) = make(run, [BINARY])
    assert faults([seg], run) == []
    assert np.array_equal(mask(dcmread(BytesIO(seg.data)), built.geometry, [1, 2]), run.labels)
    built.close()


def test_contours_are_filled_as_points_in_polygons_are() -> None:
    """Against the crossing number of every pixel centre, for stars with a hole in them."""
    rng = np.random.default_rng(2)
    for _ in range(5):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 14))
        star = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(4, 11, 14)[:, None] + (13.3, 11.7)
        polygons = [star, (star - (13.3, 11.7)) * 0.4 + (13.3, 11.7)]
        edges = np.vstack([np.hstack([one, np.roll(one, -1, axis=0)]) for one in polygons])
        found = contours.fill(edges, (24, 27))
        for row in range(24):
            for column in range(27):
                assert found[row, column] == _inside(edges, column, row)


def _inside(edges: NDArray[np.float64], x: float, y: float) -> bool:
    crossed = 0
    for x0, y0, x1, y1 in edges:
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            crossed += 1
    return crossed % 2 == 1


@pytest.mark.parametrize(
    ("value", "right"),
    [("39607008", True), ("39607009", False), ("93607008", False), ("123037004", True), ("12", False), ("", False)],
)
def test_a_code_of_snomed_has_its_check_digit(value: str, right: bool) -> None:
    assert codes.is_snomed(value) is right


@pytest.mark.parametrize(
    ("unit", "right"),
    [
        *(
            (one, True)
            for one in ("ml", "mm2", "{pixels}", "[hnsf'U]", "{SUVbw}g/ml", "1", "%", "cm3", "/min", "Bq/ml")
        ),
        *((one, False) for one in ("", "cc", "pixels", "HU", "millilitre", "mm^2", "m m", "ml/")),
    ],
)
def test_a_unit_is_one_of_ucum(unit: str, right: bool) -> None:
    assert (codes.SHAPES["UCUM"].fullmatch(unit) is not None) is right
