"""Every series of the real imaging data is processed with the right geometry, or refused by the code to be expected."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from node.objects import forms, results
from node.objects.checks.whole import faults
from node.objects.forms import PDF, RTSTRUCT, SC, SEG, SR, Wish
from node.objects.outlines import rtstruct
from node.objects.pictures.choice import number_of_key_images
from node.objects.run import Run
from tests import real_series
from tests.peers_tools import dciodvfy
from tests.pixelmed import sr_errors

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


def some(folder: str) -> bool:
    """The odd ones, and every sixth of the others."""
    return folder in EXPECTED or zlib.crc32(folder.encode()) % 6 == 0


def test_some_real_series_are_read_as_the_page_says(dicom_data: Path) -> None:
    written = PAGE.read_text(encoding="utf-8").splitlines()
    found = [row.line() for row in real_series.rows(dicom_data, of=some)]
    assert len(found) > len(EXPECTED) + 5
    assert found == [line for line in written if line in found], "write it anew: python -m tests.real_series"
    of_odd = [line for folder in EXPECTED for line in written if f"`{folder}`" in line]
    assert set(of_odd) <= set(found)


@pytest.mark.slow
def test_every_real_series_is_read_as_the_page_says(dicom_data: Path) -> None:
    written = PAGE.read_text(encoding="utf-8")
    found = real_series.page(dicom_data)
    assert found.splitlines() == written.splitlines(), "write it anew: python -m tests.real_series"
    for folder, code in EXPECTED.items():
        lines = [line for line in written.splitlines() if f"`{folder}`" in line]
        assert lines, folder
        assert all(code in line for line in lines), lines


@pytest.mark.slow
def test_every_object_of_every_real_series_satisfies_every_judge(dicom_data: Path, tmp_path: Path) -> None:
    """Our self-check, dciodvfy and PixelMed; and dcmqi voxel for voxel, as above."""
    reports: list[Path] = []
    found: list[str] = []

    def look(folder: str, run: Run) -> None:
        pictures = number_of_key_images(run.labels, run.provenance.card)
        asked = []
        for label_map in (False, True):
            wish = Wish(objects=frozenset({SEG, SR, SC, PDF, RTSTRUCT}), label_map=label_map)
            asked += forms.wanted(wish, pictures, has_contours=rtstruct.can_have(run))
        made = results.make(run, forms.with_what_may_take_their_place(asked))
        found.extend(f"{folder}: {fault}" for fault in faults(made, run))
        for number, one in enumerate(made):
            file = tmp_path / f"{len(reports):04d}-{number:02d}.dcm"
            file.write_bytes(one.data)
            about_a_label_map = one.kind == SR and one.form.has(forms.LABEL_MAP)  # whose class the tool does not know
            found.extend(f"{folder}: {one.form}: {said}" for said in dciodvfy(file) if not about_a_label_map)
            if one.kind == SR:
                reports.append(file)
            else:
                file.unlink()

    assert real_series.rows(dicom_data, look)
    assert found == []
    assert len(reports) > 100
    assert {file: errors for file, errors in sr_errors(reports, tmp_path).items() if errors} == {}
