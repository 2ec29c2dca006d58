"""The demonstration: what `make demo` runs, on a small study."""

from __future__ import annotations

import re
from pathlib import Path

import highdicom as hd
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from models.phantom import chest
from node.demo.study import ct_series
from tests.running import planimeter
from tests.synthetic import as_files, small_series

UNITS = {"milliliter": "ml", "millimeter": "mm", "Hounsfield unit": "HU"}


def rows_of(ds: Dataset) -> list[list[str]]:
    """What the table should show of an object, as highdicom reads it."""
    if ds.Modality == "SEG":
        return [[f"2 segments, {ds.NumberOfFrames} frames", "", "", "", ""]]
    content = hd.sr.Comprehensive3DSR.from_dataset(ds).content
    rows = []
    for group in (*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()):
        cells = [f"{one.value:.1f} {UNITS[one.unit.meaning]}" for one in group.get_measurements() if is_shown(one)]
        blank = ["", ""]
        rows.append([group.tracking_identifier, *([*cells, *blank] if "ml" in cells[0] else [*blank, *cells])])
    return rows


def is_shown(one: hd.sr.Measurement) -> bool:
    name = one.name.meaning
    return name in ("Volume", "Long axis", "Short axis") or (
        one.derivation is not None and one.derivation.meaning == "Mean"
    )


@pytest.mark.slow
def test_a_study_of_ones_own_is_shown_with_its_contours(tmp_path: Path) -> None:
    spacing = (4.0, 4.0, 8.0)
    hu, _ = chest((96, 80, 24), spacing, seed=4)
    as_files(list(ct_series(hu, spacing)), tmp_path / "my study")
    (tmp_path / "my study" / "readme.txt").write_text("not an image")
    done = planimeter("demo", tmp_path / "my study", "--out", tmp_path / "out", COLUMNS="120")
    assert done.returncode == 0
    for said in ("Study done, 24 images", "Left lung", "Right lung", " ml", " HU", "Seconds per stage", "network"):
        assert said in done.stdout, said
    assert "3 results came to the toy PACS" in done.stdout
    results = {file.name: dcmread(file) for file in (tmp_path / "out").glob("*.dcm")}
    assert sorted(ds.Modality for ds in results.values()) == ["SEG", "SR", "SR"]
    shown = [re.split(r"\s*│\s*", line)[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    for name, ds in results.items():
        (first,) = [n for n, row in enumerate(shown) if row[0] == name]
        for n, wanted in enumerate(rows_of(ds)):
            assert shown[first + n] == ["" if n else name, *wanted]
    (picture,) = (tmp_path / "out").glob("*.png")
    image = Image.open(picture)
    assert image.width > 600
    assert str(picture) in done.stdout.replace("\n", "")
    colours = image.convert("RGB").getcolors(1 << 24) or []
    coloured = sum(count for count, (red, green, blue) in colours if max(red, green, blue) - min(red, green, blue) > 30)
    assert coloured > 500, "there are contours"


def test_a_study_that_cannot_be_used_ends_with_its_reason(tmp_path: Path) -> None:
    as_files(small_series()[:1], tmp_path / "one")
    done = planimeter("demo", tmp_path / "one", "--out", tmp_path / "out", check=False, COLUMNS="120")
    assert done.returncode == 1
    assert "Study refused, 1 images: too-few-slices" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = planimeter("demo", tmp_path / "nowhere", "--out", tmp_path / "out", check=False)
    assert done.returncode == 1
    assert "there is no such folder" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no DICOM file to send" in planimeter("demo", empty, "--out", tmp_path / "out", check=False).stderr
    assert not (tmp_path / "out").exists(), "nothing was begun"
