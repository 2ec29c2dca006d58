"""A network on labelled cases of one's own: scored as at the gate, the worst first, on paper."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from rich.console import Console

from db.events import listing
from models import card
from models.card import Bundle
from node.app import Node
from node.errors import Refused
from node.operations import acceptance
from tests import mini_bundle
from tests.nurseries import SHARED

TO_RAS = np.diag([-2.0, -2.0, 2.0, 1.0])


def box(value: float, first: int) -> NDArray[np.float32]:
    made = np.zeros((24, 18, 12), np.float32)
    made[first : first + 5, 5:12, 3:9] = value
    return made


def pair(folder: Path, name: str, image: NDArray[np.float32], mask: NDArray[np.float32]) -> None:
    folder.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, TO_RAS), folder / f"{name}_image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask, TO_RAS), folder / f"{name}_mask.nii.gz")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """What is darker than -500 HU is 1."""
    return card.read(mini_bundle.make(tmp_path))


def test_every_case_is_scored_and_the_worst_is_first(tmp_path: Path, bundle: Bundle, node: Node) -> None:
    cases = tmp_path / "cases"
    pair(cases, "good", box(-700, 4), box(1, 4))
    pair(cases, "off by one", box(-700, 5), box(1, 4))
    pair(cases, "empty", box(0, 4), box(0, 4))
    console = Console(record=True, width=160)
    said = acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", console, nursery=SHARED)
    assert said.startswith("3 cases; the report is ")
    printed = console.export_text()
    assert printed.index("off by one") < printed.index("good") < printed.index("empty")
    report = (tmp_path / "out" / "acceptance.html").read_text(encoding="utf-8")
    for part in ("off by one", "0.800", "1.000", bundle.weights_sha256, "Hausdorff", "No case has it"):
        assert part in report
    with pypdfium2.PdfDocument(tmp_path / "out" / "acceptance.pdf") as document:
        assert "off by one" in "".join(page.get_textpage().get_text_bounded() for page in document)
    with node.database.read() as tx:
        (event,) = listing(tx, bundle.card.name)
    assert (event["who"], event["what"]) == ("ann", acceptance.ACCEPTED)
    assert '"mean_dice":0.9' in event["details"].replace(" ", "")


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nothing", "has no pairs NAME_image.nii.gz and NAME_mask.nii.gz"),
        ("no image", "a_mask.nii.gz has no a_image.nii.gz beside it"),
        ("grid", "a_image.nii.gz is not on the grid of a_mask.nii.gz"),
        ("value", "has values that the card does not know"),
        ("damaged", "a_image.nii.gz: cannot be read"),
    ],
)
def test_what_is_no_case_is_said_and_nothing_is_recorded(
    tmp_path: Path, bundle: Bundle, node: Node, what: str, sentence: str
) -> None:
    cases = tmp_path / "cases"
    pair(cases, "a", box(-700, 4), box(7 if what == "value" else 1, 4))
    image = cases / "a_image.nii.gz"
    if what == "nothing":
        cases = tmp_path
    elif what == "no image":
        image.unlink()
    elif what == "grid":
        nibabel.save(nibabel.Nifti1Image(box(-700, 4)[:-1], TO_RAS), image)
    elif what == "damaged":
        image.write_bytes(b"nothing")
    with pytest.raises(Refused, match=sentence):
        acceptance.accept(bundle, cases, tmp_path / "out", "cpu", node.database, "ann", Console(record=True))
    with node.database.read() as tx:
        assert listing(tx, bundle.card.name) == []
    assert not (tmp_path / "out").exists()
