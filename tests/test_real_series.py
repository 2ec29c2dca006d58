"""Every series of the real imaging data is processed with the right geometry, or refused by the code to be expected."""

from __future__ import annotations

from pathlib import Path

from tests import real_series

PAGE = Path(__file__).parents[1] / "docs" / "real-series.md"
#: what is known of the odd ones
EXPECTED = {
    "odd/ge_head_ct_tilt_uneven": "uneven-spacing",
    "odd/totalseg_ct_j2k_blank_uids": "uid-missing",
    "odd/dicom2nifti_geometry/failing_notavolume_001": "duplicate-position",
    "odd/dicom2nifti_geometry/failing_sliceincrement_001": "no-frame-of-reference",
    "odd/dicom2nifti_geometry/ge_anatomical_001_single_slice": "too-few-slices",
    "odd/dicom2nifti_geometry/generic_rgb_001": "secondary-capture",
    "seg/lungfcp_vessel_label_as_ct/label": "label-map-as-image",
    "rtstruct/dicompyler_breast": "too-few-slices",
}


def test_every_real_series_is_read_as_the_page_says(dicom_data: Path) -> None:
    written = PAGE.read_text(encoding="utf-8")
    found = real_series.page(dicom_data)
    assert found.splitlines() == written.splitlines(), "write it anew: python -m tests.real_series"
    for folder, code in EXPECTED.items():
        lines = [line for line in written.splitlines() if f"`{folder}`" in line]
        assert lines, folder
        assert all(code in line for line in lines), lines
