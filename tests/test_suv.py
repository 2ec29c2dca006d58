"""From a PET header to the factor of SUV body weight: numbers worked out by hand, or a refusal that says why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from math import exp, log, log2
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import Refused
from node.study import suv

#: 70 kg and 370 MBq, nothing decayed: 70 000 g / 370 000 000 Bq
UNDECAYED = 1.8918918918918919e-4


def pet(tracer: dict[str, Any] | None = None, **values: Any) -> Dataset:
    """A PET slice in Bq/ml, one half life of 110 minutes after the injection: the factor is twice the undecayed one."""
    header = Dataset()
    item = Dataset()
    for target, given_values in (
        (
            item,
            {
                "RadionuclideTotalDose": 370e6,
                "RadionuclideHalfLife": 6600,
                "RadiopharmaceuticalStartTime": "100000",
                **(tracer or {}),
            },
        ),
        (
            header,
            {
                "Units": "BQML",
                "CorrectedImage": ["DECY", "ATTN", "SCAT"],
                "DecayCorrection": "START",
                "PatientWeight": 70,
                "SeriesDate": "20240305",
                "SeriesTime": "115000",
                "AcquisitionDate": "20240305",
                "AcquisitionTime": "115000",
                "ActualFrameDuration": 120_000,
                "FrameReferenceTime": 60_000,
                "RadiopharmaceuticalInformationSequence": Sequence([item]),
                **values,
            },
        ),
    ):
        for keyword, value in given_values.items():
            put(target, keyword, value)
    return header


def put(target: Dataset, keyword: str, value: Any) -> None:
    """Set an element, or with None leave it out; a text goes in as it is, as if it had been read."""
    if isinstance(value, str):
        target.add_new(keyword, "LO", value)
    elif value is not None:
        setattr(target, keyword, value)


def with_private(header: Dataset, group: int, creator: str, vr: str, **elements: Any) -> Dataset:
    """With a block of private elements: e00 is element xx00."""
    header.add_new((group, 0x10), "LO", "ANOTHER CREATOR")
    header.add_new((group, 0x11), "LO", creator)
    for name, value in elements.items():
        header.add_new((group, 0x1100 | int(name[1:], 16)), vr, value)
    return header


def philips(vr: str = "DS", values: dict[str, Any] | None = None, **elements: Any) -> Dataset:
    return with_private(pet(Units="CNTS", **(values or {})), 0x7053, "Philips PET Private Group", vr, **elements)


def ge(scan_datetime: str, vr: str = "DT", **values: Any) -> Dataset:
    return with_private(pet(**values), 0x0009, "GEMS_PETD_01", vr, e0D=scan_datetime)


def reread(header: Dataset, syntax: str) -> Dataset:
    """Written to a file and read again."""
    file = BytesIO()
    dcmwrite(file, header, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    file.seek(0)
    read = Dataset()
    read.update(dcmread(file, force=True))
    return read


def test_activity_at_the_start_of_the_scan_is_held_against_the_dose_that_is_left_then() -> None:
    assert suv.factor(pet()) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    # an hour of fluorine-18: 2 ** (60 / 109.77)
    hour = pet({"RadionuclideHalfLife": 6586.2, "RadiopharmaceuticalStartTime": "105000"})
    assert suv.factor(hour) == pytest.approx(UNDECAYED * 1.4606367, rel=1e-6)


def test_activity_at_the_injection_is_held_against_the_whole_dose() -> None:
    assert suv.factor(pet(DecayCorrection="ADMIN")) == pytest.approx(UNDECAYED, rel=1e-12)


def test_activity_at_the_injection_needs_no_times() -> None:
    bare = pet(
        {"RadiopharmaceuticalStartTime": None, "RadionuclideHalfLife": None},
        DecayCorrection="ADMIN",
        SeriesTime=None,
        AcquisitionTime=None,
        ActualFrameDuration=None,
    )
    assert suv.factor(bare) == pytest.approx(UNDECAYED, rel=1e-12)


def test_activity_as_measured_is_held_against_the_dose_left_while_it_was_measured() -> None:
    """A frame that lasts one half life has a mean activity of 1 / (2 ln 2) of that at its start."""
    frame = pet(DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration=6_600_000)
    assert suv.factor(frame) == pytest.approx(2 * UNDECAYED * 1.3862943611198906, rel=1e-12)


def test_a_frame_that_was_taken_later_is_only_multiplied_by_more_if_its_decay_is_not_corrected() -> None:
    corrected = pet(AcquisitionTime="134000")
    measured = pet(AcquisitionTime="134000", DecayCorrection="NONE", CorrectedImage=["ATTN"], ActualFrameDuration=1)
    assert suv.factor(corrected) == pytest.approx(2 * UNDECAYED, rel=1e-12)
    assert suv.factor(measured) == pytest.approx(4 * UNDECAYED, rel=1e-6)


@pytest.mark.parametrize("kind", [None, "", "BW"])
def test_values_that_are_suv_by_body_weight_stay_as_they_are(kind: str | None) -> None:
    header = Dataset()
    header.Units = "GML"
    put(header, "SUVType", kind)
    assert suv.factor(header) == 1


@pytest.mark.parametrize("vr", ["DS", "UN"])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_counts_are_multiplied_with_the_suv_factor_of_philips(vr: str, syntax: str | None) -> None:
    header = philips(vr, e00="0.000551" if vr == "DS" else b"0.000551", e09="1.5" if vr == "DS" else b"1.5 ")
    assert suv.factor(reread(header, syntax) if syntax else header) == pytest.approx(0.000551, rel=1e-12)


@pytest.mark.parametrize("nothing", [None, "0", ""])
def test_counts_without_an_suv_factor_become_activity_by_the_other_factor_of_philips(nothing: str | None) -> None:
    header = philips(e09="1.5", **({} if nothing is None else {"e00": nothing}))
    assert suv.factor(header) == pytest.approx(1.5 * 2 * UNDECAYED, rel=1e-12)


def test_the_activity_factor_of_philips_may_come_as_bytes() -> None:
    assert suv.factor(philips("UN", e09=b"1.5\0")) == pytest.approx(1.5 * 2 * UNDECAYED, rel=1e-12)


@pytest.mark.parametrize(
    ("injected", "scanned"),
    [
        ("10", "1150"),
        ("1000", "115000"),
        ("100000.25", "115000.250000"),
        ("10:00:00", "11:50:00"),
        ("2310", "0100"),
        ("235959.5", "014959.5"),
        ("2210", "00"),
    ],
)
def test_times_are_read_as_they_may_be_written_and_an_injection_may_be_before_midnight(
    injected: str, scanned: str
) -> None:
    header = pet({"RadiopharmaceuticalStartTime": injected}, SeriesTime=scanned, AcquisitionTime=scanned)
    assert suv.factor(header) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_dates_are_read_as_they_were_once_written() -> None:
    assert suv.factor(pet(SeriesDate="2024.03.05")) == pytest.approx(2 * UNDECAYED, rel=1e-12)


@pytest.mark.parametrize(
    ("injected", "zone"),
    [
        ("20240305100000", None),
        ("20240305100000.000000", "+0100"),
        ("2024030510", None),
        ("202403051000", None),
        ("20240305100000.00+0100", "+0100"),
        ("20240305090000.00+0000", "+0100"),
        ("20240304230000-1000", "+0100"),
        ("20240305143000+0530", "+0100"),
        ("20240305100000+0100", None),
    ],
)
def test_an_injection_with_its_date_is_put_on_the_clock_of_the_scanner(injected: str, zone: str | None) -> None:
    tracer = {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": injected}
    assert suv.factor(pet(tracer, TimezoneOffsetFromUTC=zone)) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_an_injection_with_its_date_may_be_on_an_earlier_day_and_has_fractions() -> None:
    tracer = {
        "RadiopharmaceuticalStartDateTime": "20240302120000.750",
        "RadiopharmaceuticalStartTime": "1200",
        "RadionuclideHalfLife": 86_400,
    }
    header = pet(tracer, SeriesTime="120000.75", AcquisitionTime="120001")
    assert suv.factor(header) == pytest.approx(8 * UNDECAYED, rel=1e-12)


@pytest.mark.parametrize("clock", ["100000", "1000", "095940", "100030"])
def test_the_two_times_of_the_injection_may_be_cut_differently(clock: str) -> None:
    tracer = {"RadiopharmaceuticalStartDateTime": "20240305100000", "RadiopharmaceuticalStartTime": clock}
    assert suv.factor(pet(tracer)) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_a_nuclide_that_lasts_for_days_needs_the_day_of_its_injection() -> None:
    """Copper-64 is looked at an hour and a day after the injection: a time alone does not say which."""
    assert refusal(pet({"RadionuclideHalfLife": 45_720})) == "suv-time-missing"


@pytest.mark.parametrize("vr", ["DT", "UN"])
def test_a_series_made_later_takes_the_start_of_the_scan_from_ge(vr: str) -> None:
    value: Any = "20240305115000.00" if vr == "DT" else b"20240305115000.00 "
    later = ge(value, vr, SeriesDate="20240306", SeriesTime="090000", AcquisitionTime="120500")
    assert suv.factor(later) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_the_time_of_the_series_is_the_start_of_the_scan_even_if_ge_says_another() -> None:
    assert suv.factor(ge("20240305100000")) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def test_a_series_made_later_is_counted_back_from_the_frame() -> None:
    """The frame began 7800 s after the scan; 6600 s long, it has its mean activity 6600 * log2(2 ln 2) s later."""
    later = pet(
        SeriesDate="20240307",
        SeriesTime="080000",
        AcquisitionTime="140000",
        ActualFrameDuration=6_600_000,
        FrameReferenceTime="10910141.94",
    )
    assert suv.factor(later) == pytest.approx(2 * UNDECAYED, rel=1e-8)


def test_every_frame_of_a_series_made_later_gets_the_same_factor() -> None:
    factors = [
        suv.factor(pet(SeriesTime="180000", AcquisitionTime=start, FrameReferenceTime=milliseconds))
        for start, milliseconds in (("115000", 59_937), ("115500", 359_937), ("123000", 2_459_937))
    ]
    assert factors == pytest.approx([2 * UNDECAYED] * 3, rel=1e-6)


def test_a_clock_without_fractions_does_not_make_a_series_later_than_its_image() -> None:
    header = pet(SeriesTime="115000.73", FrameReferenceTime=None)
    assert suv.factor(header) == pytest.approx(2 * UNDECAYED, rel=1e-3)


def test_a_scan_that_was_running_at_the_injection_has_the_whole_dose() -> None:
    header = pet({"RadiopharmaceuticalStartTime": "115003"})
    assert suv.factor(header) == pytest.approx(UNDECAYED, rel=1e-3)


def test_an_empty_item_beside_that_of_the_dose_is_passed_over() -> None:
    header = pet()
    header.RadiopharmaceuticalInformationSequence.append(Dataset())
    assert suv.factor(header) == pytest.approx(2 * UNDECAYED, rel=1e-12)


def refusal(header: Dataset) -> str:
    with pytest.raises(Refused) as refused:
        suv.factor(header)
    assert refused.value.sentence
    return refused.value.code


def twice_injected() -> Dataset:
    header = pet()
    header.RadiopharmaceuticalInformationSequence.append(pet().RadiopharmaceuticalInformationSequence[0])
    return header


def broken_sequence() -> Dataset:
    header = pet()
    header.add_new("RadiopharmaceuticalInformationSequence", "LO", "none")
    return header


def truncated_weight() -> Dataset:
    file = BytesIO()
    header = pet()
    del header.PatientWeight
    header.add_new("PatientWeight", "FD", 70.0)
    dcmwrite(file, header, implicit_vr=False, little_endian=True)
    data = file.getvalue().replace(b"\x10\x00\x30\x10FD\x08\x00", b"\x10\x00\x30\x10FD\x06\x00")
    at = data.index(b"\x10\x00\x30\x10FD")
    return dcmread(BytesIO(data[: at + 14] + data[at + 16 :]), force=True)


NOT_CORRECTED: dict[str, Any] = {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]}
LATER: dict[str, Any] = {"SeriesTime": "180000"}
REFUSALS: list[tuple[str, Callable[[], Dataset]]] = [
    ("suv-units", lambda: pet(Units="PROPCPS")),
    ("suv-units", lambda: pet(Units=None)),
    ("suv-units", lambda: pet(Units="CM2ML")),
    ("suv-units", lambda: pet(Units="CNTS")),
    ("suv-units", lambda: philips(e00="0", e09="0")),
    ("suv-units", lambda: philips("LO", e00="-0.0005", e09="1.5")),
    ("suv-units", lambda: philips("LO", e00="nan", e09="1.5")),
    ("suv-units", lambda: philips("LO", e00="inf")),
    ("suv-units", lambda: philips("LO", e00="much")),
    ("suv-units", lambda: philips("DS", e00=["1", "2"])),
    ("suv-units", lambda: philips("UN", e00=b"\xff\xfe")),
    ("suv-units", lambda: with_private(pet(Units="CNTS"), 0x7053, "Philips", "DS", e00="0.0005")),
    ("suv-other-type", lambda: pet(Units="GML", SUVType="LBM")),
    ("suv-other-type", lambda: pet(Units="GML", SUVType="BSA")),
    ("suv-other-type", lambda: pet(Units="GML", SUVType="IBW")),
    ("suv-not-corrected", lambda: pet(CorrectedImage=["DECY", "SCAT"])),
    ("suv-not-corrected", lambda: pet(CorrectedImage=None)),
    ("suv-not-corrected", lambda: pet(Units="GML", CorrectedImage=["DECY"])),
    ("suv-not-corrected", lambda: philips(values={"CorrectedImage": ["DECY"]}, e00="0.0005")),
    ("suv-decay-correction", lambda: pet(DecayCorrection=None)),
    ("suv-decay-correction", lambda: pet(DecayCorrection="CALIBRATION")),
    ("suv-decay-correction", lambda: pet(DecayCorrection="NONE")),
    ("suv-decay-correction", lambda: pet(CorrectedImage=["ATTN"])),
    ("suv-decay-correction", lambda: philips(values={"DecayCorrection": None}, e09="1.5")),
    *(
        ("suv-weight-missing", lambda weight=weight: pet(PatientWeight=weight))
        for weight in (None, 0, -70, 70_000, 0.1, "nan", "inf", "heavy", "")
    ),
    *(
        ("suv-dose-missing", lambda keyword=keyword, number=number: pet({keyword: number}))
        for keyword in ("RadionuclideTotalDose", "RadionuclideHalfLife")
        for number in (None, 0, -370e6, "nan", "inf", "some", "")
    ),
    ("suv-dose-missing", lambda: pet({"RadionuclideTotalDose": 370})),
    ("suv-dose-missing", lambda: pet(RadiopharmaceuticalInformationSequence=None)),
    ("suv-dose-missing", lambda: pet(RadiopharmaceuticalInformationSequence=Sequence([]))),
    ("suv-dose-missing", broken_sequence),
    ("suv-dose-missing", twice_injected),
    *(
        ("suv-time-missing", lambda keyword=keyword, value=value: pet(**{keyword: value}))
        for keyword in ("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime")
        for value in (None, "", "soon")
    ),
    ("suv-time-missing", lambda: pet(SeriesDate="20240230")),
    ("suv-time-missing", lambda: pet(SeriesTime="2460")),
    ("suv-time-missing", lambda: pet(SeriesTime="1160")),
    ("suv-time-missing", lambda: pet(SeriesTime="115061")),
    ("suv-time-missing", lambda: pet({"RadiopharmaceuticalStartTime": None})),
    ("suv-time-missing", lambda: pet({"RadiopharmaceuticalStartTime": "10 o'clock"})),
    ("suv-time-missing", lambda: pet({"RadiopharmaceuticalStartDateTime": "20240305"})),
    ("suv-time-missing", lambda: pet({"RadiopharmaceuticalStartDateTime": "yesterday"})),
    (
        "suv-time-missing",
        lambda: pet({"RadiopharmaceuticalStartDateTime": "20240305100000+0100"}, TimezoneOffsetFromUTC="CET"),
    ),
    *(
        ("suv-time-missing", lambda keyword=keyword, value=value: pet(**LATER, **{keyword: value}))
        for keyword in ("FrameReferenceTime", "ActualFrameDuration")
        for value in (None, 0, -5, "nan", "long")
    ),
    ("suv-time-missing", lambda: ge("then", **LATER)),
    ("suv-time-missing", lambda: pet(**NOT_CORRECTED, ActualFrameDuration=None)),
    ("suv-time-missing", lambda: pet(**NOT_CORRECTED, AcquisitionTime=None)),
    ("suv-time-impossible", lambda: pet(**LATER, FrameReferenceTime=10)),
    ("suv-time-impossible", lambda: ge("20240305120000", **LATER)),
    # the day before would be more than ten half lives ago
    ("suv-time-impossible", lambda: pet({"RadiopharmaceuticalStartTime": "120000"})),
    ("suv-time-impossible", lambda: pet({"RadionuclideHalfLife": 110})),
    (
        "suv-time-impossible",
        lambda: pet(
            {"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20240305115006"},
        ),
    ),
    ("suv-time-impossible", lambda: pet({"RadiopharmaceuticalStartDateTime": "20240306100000"})),
    ("suv-time-impossible", lambda: pet({"RadiopharmaceuticalStartDateTime": "20240305090000"})),
    (
        "suv-time-impossible",
        lambda: pet(
            {"RadiopharmaceuticalStartDateTime": "20240305100000"}, **NOT_CORRECTED, AcquisitionDate="20240309"
        ),
    ),
    ("unreadable-header", truncated_weight),
]


@pytest.mark.parametrize(("code", "header"), REFUSALS)
def test_what_has_no_suv_is_refused_with_its_code(code: str, header: Callable[[], Dataset]) -> None:
    assert refusal(header()) == code


def written(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


@given(
    half_life_s=st.floats(70, 2e4),
    dose_bq=st.floats(1e6, 1e10),
    weight_kg=st.floats(1, 300),
    bq_per_ml=st.floats(1, 1e6),
    injected=st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001 - DICOM's clocks are local
    uptake=st.floats(0, 4),
    waiting=st.floats(0, 2),
    frame=st.floats(0.01, 3),
)
@settings(deadline=None)
def test_one_activity_has_one_suv_however_its_decay_was_corrected(
    half_life_s: float,
    dose_bq: float,
    weight_kg: float,
    bq_per_ml: float,
    injected: datetime,
    uptake: float,
    waiting: float,
    frame: float,
) -> None:
    """The times are in half lives; the activity is that at the injection."""
    uptake_s, waiting_s, frame_s = (round(part * half_life_s, 6) for part in (uptake, waiting, frame))
    scan, began = injected + timedelta(seconds=uptake_s), injected + timedelta(seconds=uptake_s + waiting_s)
    frame_ms = max(1, round(frame_s * 1000))

    def activity(moment_s: float) -> float:
        return bq_per_ml * exp(-log(2) * moment_s / half_life_s)

    # decays in the frame over the frame's time
    start_s, end_s = uptake_s + waiting_s, uptake_s + waiting_s + frame_ms / 1000
    mean = (activity(start_s) - activity(end_s)) * half_life_s / log(2) / (end_s - start_s)
    reference_ms = max(1.0, (half_life_s * log2(bq_per_ml / mean) - uptake_s) * 1000)

    def header(**values: Any) -> Dataset:
        parts: dict[str, Any] = {"PatientWeight": weight_kg, "ActualFrameDuration": frame_ms}
        parts["SeriesDate"], parts["SeriesTime"] = written(scan)
        parts["AcquisitionDate"], parts["AcquisitionTime"] = written(began)
        tracer = {
            "RadionuclideTotalDose": dose_bq,
            "RadionuclideHalfLife": half_life_s,
            "RadiopharmaceuticalStartTime": None,
            "RadiopharmaceuticalStartDateTime": "".join(written(injected)),
        }
        return pet(tracer, **{**parts, **values})

    made_date, made_time = written(began + timedelta(days=2))
    made_later = {"SeriesDate": made_date, "SeriesTime": made_time, "FrameReferenceTime": repr(reference_ms)}
    wanted = pytest.approx(bq_per_ml * 1000 * weight_kg / dose_bq, rel=1e-4)
    assert activity(0) * suv.factor(header(DecayCorrection="ADMIN")) == wanted
    assert activity(uptake_s) * suv.factor(header(DecayCorrection="START")) == wanted
    assert activity(uptake_s) * suv.factor(header(DecayCorrection="START", **made_later)) == wanted
    assert mean * suv.factor(header(**NOT_CORRECTED)) == wanted


def test_real_pet_that_is_suv_already_stays_as_it_is(dicom_data: Path) -> None:
    series = sorted((dicom_data / "pet_series").glob("STS_*/PET/image"))
    assert len(series) == 36
    for folder in series:
        header = dcmread(next(folder.iterdir()), stop_before_pixels=True)
        assert suv.factor(header) == 1
        put(header, "Units", "BQML")
        whole_dose = float(header.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose)
        assert suv.factor(header) == pytest.approx(1000 * float(header.PatientWeight) / whole_dose)
