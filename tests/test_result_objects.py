"""The SEG and both SR of a run as a whole: conformant and the same to strangers, whatever the images' headers say.

The parts have tests of their own: test_segments, test_reports, test_measurements, test_self_check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models import card
from node.errors import Refused
from node.objects import results
from node.objects.headers import repaired
from node.objects.uids import derive
from node.study import volume
from node.study.decode import Decoders
from node.study.volume import Volume
from tests import runs
from tests.peers_tools import dciodvfy, dcmqi_labels
from tests.runs import provenance_of
from tests.synthetic import as_files, small_series
from tests.threshold_host import threshold

BUNDLE = card.find("ct_lungs", (card.SHIPPED,))


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(2)
    yield pool
    pool.close()


@pytest.fixture
def make(tmp_path: Path, decoders: Decoders) -> Callable[..., tuple[Volume, NDArray[np.uint8], list[Path]]]:
    """Images -> volume, thresholded labels, and the SEG and both SR as files."""

    def run(images: list[Dataset] | list[Path], labels: NDArray[np.uint8] | None = None) -> Any:
        files = images if isinstance(images[0], Path) else as_files(images, tmp_path / "in")  # type: ignore[arg-type]
        built = volume.build(files, decoders)  # type: ignore[arg-type]
        mask = threshold(built.values.array) if labels is None else labels
        made = results.make(runs.run_of(built, mask, provenance_of(built, mask)))
        paths = []
        for one in made:
            paths.append(tmp_path / f"{one.kind}-{one.options}.dcm")
            paths[-1].write_bytes(one.data)
        return built, mask, paths

    return run


REAL = [
    "acrin_flt_breast_001_t1_abdomen",
    "acrin_flt_breast_001_t2_chest",
    "cip_chest64",
    "cptac_pda_c3l00189_abdomen",
    "lungfcp_0001_chest",
    "rider_pilot_0117_chest",
]


@pytest.mark.parametrize("series", REAL)
def test_real_series_give_conformant_objects_that_strangers_read_voxel_for_voxel(
    dicom_data: Path, make: Any, tmp_path: Path, series: str
) -> None:
    built, mask, files = make(sorted((dicom_data / "ct_series" / series).rglob("*.dcm")))
    assert [dciodvfy(file) for file in files] == [[], [], []]
    seg = files[0]
    labels, affine, meta = dcmqi_labels(seg, tmp_path)
    assert _same_on_our_grid(labels, affine, built, mask)
    assert [one["SegmentLabel"] for group in meta["segmentAttributes"] for one in group] == ["Left lung", "Right lung"]
    source = built.headers[0]
    for file in files:
        ds = dcmread(file)
        for keyword in ("PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber", "PatientBirthDate"):
            assert str(ds.get(keyword) or "") == str(source.get(keyword) or ""), keyword
    built.close()


def _same_on_our_grid(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], built: Volume, mask: NDArray[np.uint8]
) -> bool:
    """dcmqi writes only the slices that have something, in its own order: compare by world coordinates."""
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    to_ours = np.linalg.inv(built.geometry.affine) @ to_lps
    found = np.argwhere(labels)
    at = np.round((to_ours @ np.column_stack([found, np.ones(len(found))]).T)[:3]).astype(int)
    back = np.zeros_like(mask)
    back[at[2], at[1], at[0]] = labels[tuple(found.T)]
    return np.array_equal(back, mask)


@pytest.mark.parametrize("what", ["empty", "full", "single voxel", "edges", "one segment"])
def test_masks_of_every_shape_give_conformant_objects(make: Any, what: str) -> None:
    labels = np.zeros((8, 20, 24), np.uint8)
    if what == "full":
        labels[:] = 2
    elif what == "single voxel":
        labels[3, 7, 11] = 1
    elif what == "edges":
        labels[0, :, :], labels[-1, :, :] = 1, 2
    elif what == "one segment":
        labels[2:5, 4:9, 3:20] = 1
    _, _, files = make(small_series(), labels)
    assert [dciodvfy(file) for file in files] == [[], [], []]
    groups = hd.sr.srread(files[1]).content.get_volumetric_roi_measurement_groups()
    voxels = [int((labels == value).sum()) for value in (1, 2)]
    for group, count in zip(groups, voxels, strict=True):
        rows = {one.name.meaning: one.value for one in group.get_measurements()}
        assert rows["Volume"] == pytest.approx(count * 0.03, abs=0.006)
        assert ("Attenuation Coefficient" in rows) is bool(count)


def test_who_made_it_is_said_the_same_everywhere(make: Any) -> None:
    """IHE AIR 6.5.3.1, table 6.5.3.1-1."""
    _, _, files = make(small_series())
    seg, *reports = made = [dcmread(file) for file in files]
    one = BUNDLE.card
    wanted = (one.manufacturer, one.name, one.version, one.device_uid)
    for ds in made:
        (equipment,) = [
            item
            for item in ds.ContributingEquipmentSequence
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        ]
        found = (equipment.Manufacturer, equipment.ManufacturerModelName, equipment.SoftwareVersions)
        assert (*found, equipment.DeviceUID) == wanted
        assert ds.ContentQualification == "RESEARCH"
    for item in seg.SegmentSequence:
        assert (item.SegmentAlgorithmType, item.SegmentAlgorithmName) == ("AUTOMATIC", one.name)
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmSource, algorithm.AlgorithmName, algorithm.AlgorithmVersion) == wanted[:3]
    for sr in reports:
        said = _content(sr)
        assert said["121014"] == one.manufacturer
        assert said["121015"] == one.name
        assert said["121012"] == one.device_uid
        assert (said["111001"], said["111003"]) == (one.name, one.version)


def _content(ds: Dataset) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in ds.get("ContentSequence") or []:
        name = item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""
        found[name] = str(item.get("TextValue") or item.get("UID") or "")
        found |= _content(item)
    return found


def test_laterality_colour_tracking_and_references_are_there(make: Any) -> None:
    built, _, (seg_file, *sr_files) = make(small_series())
    seg, reports = dcmread(seg_file), [hd.sr.srread(file).content for file in sr_files]
    for item, side in zip(seg.SegmentSequence, ("7771000", "24028007"), strict=True):
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == side
        assert len(item.RecommendedDisplayCIELabValue) == 3
    by_report = [content.get_volumetric_roi_measurement_groups() for content in reports]
    assert [len(groups) for groups in by_report] == [2, 0]
    by_report[1] = reports[1].get_image_measurement_groups()
    for groups in by_report:
        assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in seg.SegmentSequence]
        assert [group.finding_sites[0].laterality.value for group in groups] == ["7771000", "24028007"]
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == built.headers[0].SeriesInstanceUID
    named = {
        item.SourceImageSequence[0].ReferencedSOPInstanceUID
        for groups in seg.PerFrameFunctionalGroupsSequence
        for item in groups.DerivationImageSequence
    }
    assert named <= {header.SOPInstanceUID for header in built.headers}


def test_the_same_run_gives_the_same_bytes_and_another_gives_other_uids(tmp_path: Path, decoders: Decoders) -> None:
    built = volume.build(as_files(small_series(), tmp_path), decoders)
    labels = threshold(built.values.array)
    known = provenance_of(built, labels, content_time=1_800_000_000.25)
    first = results.make(runs.run_of(built, labels, known))
    assert [one.data for one in results.make(runs.run_of(built, labels, known))] == [one.data for one in first]
    for change in (
        {"weights_sha256": "other"},
        {"card_sha256": "other"},
        {"input_set_hash": "other"},
        {"mask_sha256": "other"},
        {"node_version": "0.2.0"},
        {"node_serial": "other"},
        {"uid_root": "1.2.3.4"},
        {"headers_sha256": "other"},
        {"context_sha256": "other"},
    ):
        other = provenance_of(built, labels, **change)
        assert {other.result_uid(*one.form) for one in first}.isdisjoint(one.sop_uid for one in first), change
    built.close()


def test_derived_uids_are_uids() -> None:
    for root in ("", "1.2.840.99999", "1.2.826.0.1.3680043.99"):
        for number in range(200):
            uid = derive(root, "x", str(number))
            assert len(uid) <= 64
            assert all(part == "0" or not part.startswith("0") for part in uid.split("."))
            assert uid.startswith(root or "2.25")
    assert derive("", "ab", "c") != derive("", "a", "bc")


# ------------------------------------------------------------------ headers


def on_all(**values: Any) -> Callable[[list[Dataset]], None]:
    def change(images: list[Dataset]) -> None:
        for ds in images:
            for keyword, value in values.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value)

    return change


def item(**values: str) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


HEADERS = {
    "no accession number": on_all(AccessionNumber=None),
    "no study id": on_all(StudyID=None),
    "no birth date": on_all(PatientBirthDate=None),
    "no study date and time": on_all(StudyDate=None, StudyTime=None),
    "no slice thickness": on_all(SliceThickness=None),
    "empty slice thickness": on_all(SliceThickness=""),
    "no position reference": on_all(PositionReferenceIndicator=None),
    "no referring physician": on_all(ReferringPhysicianName=None),
    "sex unknown": on_all(PatientSex="U"),
    "sex lower case": on_all(PatientSex="f"),
    "time with a colon": on_all(StudyTime="9:15"),
    "date with dots": on_all(StudyDate="2026.11.21"),
    "age of nothing": on_all(PatientAge="old"),
    "size and weight zero": on_all(PatientSize="0", PatientWeight="0"),
    "weight not a number": on_all(PatientWeight="nan"),
    "description too long": on_all(StudyDescription="x" * 100),
    "station name too long": on_all(StationName="x" * 40),
    "study id too long": on_all(StudyID="1234567890123456789"),
    "body part in small letters": on_all(BodyPartExamined="Chest wall, left"),
    "identity removed without a method": on_all(PatientIdentityRemoved="YES"),
    "half a clinical trial": on_all(ClinicalTrialProtocolID="NCT1"),
    "a clinical trial without its empty parts": on_all(
        ClinicalTrialSponsorName="S", ClinicalTrialProtocolID="NCT1", ClinicalTrialSubjectID="7"
    ),
    "an empty procedure code": on_all(ProcedureCodeSequence=Sequence()),
    "a procedure code without a scheme": on_all(
        ProcedureCodeSequence=Sequence([item(CodeValue="1", CodeMeaning="CT")])
    ),
    "a good procedure code": on_all(
        ProcedureCodeSequence=Sequence([item(CodeValue="24627-2", CodingSchemeDesignator="LN", CodeMeaning="CT Chest")])
    ),
    "a study reference without a class": on_all(
        ReferencedStudySequence=Sequence([item(ReferencedSOPInstanceUID="1.2.3")])
    ),
    "Latin 1": on_all(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen"),
    "Japanese": on_all(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Korean": on_all(SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese": on_all(SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东"),
    "a name of one word": on_all(PatientName="Anonymous"),
    "orientation jitter": lambda images: setattr(images[2], "ImageOrientationPatient", [1, 1e-7, 0, -1e-7, 1, 0]),
    "no manufacturer": on_all(Manufacturer=None, ManufacturerModelName=None, DeviceSerialNumber=None),
    "no body part": on_all(BodyPartExamined=None),
    "several software versions": on_all(SoftwareVersions=["1", "2"]),
    "private elements": lambda images: [
        ds.private_block(0x0013, "VENDOR", create=True).add_new(1, "LO", "secret") for ds in images
    ],
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_real_scanners_are_repaired(make: Any, header: str) -> None:
    images = small_series()
    HEADERS[header](images)
    name = str(images[0].get("PatientName"))
    _, _, files = make(images)
    assert len(files) == 3
    for file in files:
        assert dciodvfy(file) == []
        ds = dcmread(file)
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == name
        assert not any(element.tag.is_private for element in ds)


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("identifier-too-long", on_all(PatientID="1" * 65)),
        ("identifier-too-long", on_all(AccessionNumber="1" * 17)),
        ("identifier-ambiguous", on_all(PatientID=["a", "b"])),
    ],
)
def test_an_identifier_is_never_changed_the_study_is_refused(make: Any, code: str, spoil: Any) -> None:
    images = small_series()
    spoil(images)
    with pytest.raises(Refused) as refused:
        make(images)
    assert refused.value.code == code


def test_repaired_headers_keep_every_place(make: Any) -> None:
    images = small_series()
    for number, ds in enumerate(images):
        ds.ImagePositionPatient = [1 / 3, -2 / 7, number * 10 / 3]
    built, _, _ = make(images)
    for header, small in zip(built.headers, repaired(built.headers, built.geometry), strict=True):
        wanted = [float(part) for part in header.ImagePositionPatient]
        assert [float(part) for part in small.ImagePositionPatient] == pytest.approx(wanted, abs=1e-9)
        assert all(len(str(part)) <= 16 for part in small.ImagePositionPatient)


def test_images_without_a_model_name_give_results(tmp_path: Path, decoders: Decoders) -> None:
    images = small_series()
    for ds in images:
        del ds.ManufacturerModelName
    built = volume.build(as_files(images, tmp_path), decoders)
    labels = threshold(built.values.array)
    assert len(results.make(runs.run_of(built, labels, provenance_of(built, labels)))) == 3
    built.close()


@pytest.mark.parametrize("offset", ["+0900", "-0330", None])
def test_times_are_in_the_zone_of_the_study(tmp_path: Path, decoders: Decoders, offset: str | None) -> None:
    images = small_series()
    for ds in images:
        if offset:
            ds.TimezoneOffsetFromUTC = offset
    built = volume.build(as_files(images, tmp_path), decoders)
    labels = threshold(built.values.array)
    made = results.make(runs.run_of(built, labels, provenance_of(built, labels, content_time=1790000000.0)))
    for one in made:
        ds = dcmread(BytesIO(one.data))
        assert ds.get("TimezoneOffsetFromUTC") == offset
        assert ds.StudyTime == images[0].StudyTime
        if offset == "+0900":
            assert (ds.ContentDate, ds.ContentTime) == ("20260921", "231320")
    built.close()


def test_another_accession_number_gives_other_uids(tmp_path: Path, decoders: Decoders) -> None:
    uids = set()
    for accession in ("A-1", "A-2"):
        images = small_series()
        for n, ds in enumerate(images):
            ds.AccessionNumber, ds.SOPInstanceUID = accession, f"1.2.3.{n + 1}"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
        built = volume.build(as_files(images, tmp_path / accession), decoders)
        labels = threshold(built.values.array)
        uids.add(results.make(runs.run_of(built, labels, provenance_of(built, labels, content_time=0.0)))[0].sop_uid)
        built.close()
    assert len(uids) == 2
