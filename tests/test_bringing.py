"""What docs/models.md says of bringing a network, command by command, up to a segmentation in a stock Orthanc."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models import card
from tests import mini_bundle
from tests.orthanc import Orthanc
from tests.running import RunningNode, planimeter
from tests.synthetic import as_files, small_series
from tests.test_installing import METADATA, filled_in
from tests.waiting import wait_until

PAGE = Path(__file__).parent.parent / "docs" / "models.md"
SECTION = "## From an empty folder to a segmentation in the PACS"


def commands() -> list[list[str]]:
    """The lines of the page's shell blocks, in order."""
    section = PAGE.read_text().split(SECTION)[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line.split() for block in blocks for line in block.splitlines()]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for what somebody brought: a network, and a CT to try it on."""
    folder = tmp_path / "lab"
    folder.mkdir()
    bundle = mini_bundle.make(tmp_path / "elsewhere", "spleen_ct_segmentation")
    (bundle / card.FILE).unlink()
    (bundle / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    shutil.make_archive(str(folder / bundle.name), "zip", bundle.parent)
    as_files(small_series(), folder / "CT")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page_leads_from_an_empty_folder_to_a_segmentation_in_orthanc(
    lab: Path, orthanc: Orthanc, start_node: Callable[..., RunningNode]
) -> None:
    node: RunningNode | None = None
    for program, *words in commands():
        assert program == "planimeter"
        line = [word.replace("127.0.0.1:4242", f"127.0.0.1:{orthanc.port}") for word in words]
        if line[0] == "run":
            node = start_node(*line[1:], "--quiet-seconds", "1", home=Path.home() / ".planimeter")
            continue
        if node is not None:
            line = [word.replace("127.0.0.1:11112", f"127.0.0.1:{node.port}") for word in line]
        drafts = line[:2] == ["models", "add"] and "--card" not in line
        done = planimeter(*line, check=not drafts)
        if drafts:
            assert "FILL IN" in done.stdout + done.stderr
            filled_in(lab / "spleen_ct_segmentation.toml")
    assert node is not None
    segments = wait_until("the segmentation is in Orthanc", lambda: _segments(orthanc), 180)
    assert segments == {"left kidney", "Spleenoid"}


def _segments(pacs: Orthanc) -> set[str]:
    """The labels of the segments of our network in the PACS."""
    found: set[str] = set()
    for one in pacs.instances():
        if one.get("Modality") == "SEG":
            labels = {str(segment.SegmentLabel) for segment in one.SegmentSequence}
            found |= labels if "Spleenoid" in labels else set()
    return found
