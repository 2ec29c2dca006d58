"""Routes: what their conditions hold for, what is kept of a decision, and what another configuration would change."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from config.settings import Settings, SettingsError, load
from db import route_decisions
from node import cli
from node.app import Node, open_node
from node.command_line.options import dicom_keywords
from node.configured import routes_of, targets_of
from node.operations import routes
from node.operations.conditions import Seen
from node.study.facts import Image, Series
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.synthetic import as_files, small_series
from tests.threshold_host import ThresholdHosts

HEAD = '[[route]]\nname = "r"\nnetworks = ["ct_lungs"]\n'


def verdict(tmp_path: Path, when: str, series: Series, at: time = time(12), unless: str = "") -> routes.Verdict:
    file = tmp_path / "planimeter.toml"
    file.write_text(f"{HEAD}when = [{when}]\nunless = [{unless}]\n")
    settings = load(file, None, dicom_keywords())
    (route,) = routes_of(settings, None, targets_of(settings))  # type: ignore[arg-type]
    return route.judge(Seen(series.counted, series.calling_ae_titles, at))


def series_of(*headers: dict[str, Any]) -> Series:
    made = []
    for number, values in enumerate(headers):
        ds = Dataset()
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        made.append(Image(f"1.2.{number}", f"{number}", ds))
    return Series("1.2", tuple(made), {"CT_1": len(made)})


ORDER = Dataset()
ORDER.RequestedProcedureDescription = "CT Chest with contrast"
CHEST: dict[str, Any] = {
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SliceThickness": "1.25",
    "BodyPartExamined": "Chest",
    "SeriesDescription": "Thorax  B70f (lung)",
    "PatientAge": "009M",
    "RequestAttributesSequence": [ORDER],
    "PixelSpacing": [0.7, 0.9],
}
THICK = CHEST | {"SliceThickness": "5", "ContrastBolusAgent": "Iomeprol"}


@pytest.mark.parametrize(
    ("condition", "of_thin", "of_both"),
    [
        ('{ modality = "CT" }', True, True),
        ('{ modality = ["MR", "PT"] }', False, False),
        ('{ keyword = "Modality", equals = "ct" }', True, True),
        ('{ keyword = "BodyPartExamined", one_of = ["CHEST", "THORAX"] }', True, True),
        ('{ keyword = "ImageType", equals = "AXIAL" }', True, True),
        ('{ keyword = "ImageType", equals = "LOCALIZER" }', False, False),
        ('{ keyword = "SeriesDescription", matches = "lung|chest" }', True, True),
        ('{ keyword = "SeriesDescription", matches = "^lung" }', False, False),
        ('{ keyword = "SliceThickness", range = [0, 3] }', True, False),
        ('{ keyword = "SliceThickness", range = [0, 3], over = "any" }', True, True),
        ('{ keyword = "SliceThickness", range = [3, inf], over = "any" }', False, True),
        ('{ keyword = "SliceThickness", equals = 1.25 }', True, False),
        ('{ keyword = "PixelSpacing", range = [0.5, 0.8] }', False, False),
        ('{ keyword = "PixelSpacing", range = [0.5, 1] }', True, True),
        ('{ keyword = "PatientAge", range = [0, 1] }', True, True),
        ('{ keyword = "PatientAge", range = [1, 120] }', False, False),
        ('{ keyword = "SeriesDescription", range = [0, 3] }', False, False),
        ('{ keyword = "ContrastBolusAgent", exists = true }', False, False),
        ('{ keyword = "ContrastBolusAgent", exists = true, over = "any" }', False, True),
        ('{ keyword = "ContrastBolusAgent", exists = false }', True, False),
        ('{ keyword = "RequestAttributesSequence", exists = true }', True, True),
        (
            '{ keyword = "RequestAttributesSequence.RequestedProcedureDescription", matches = "chest" }',
            True,
            True,
        ),
        ('{ keyword = "RequestAttributesSequence.StudyInstanceUID", exists = true }', False, False),
        ('{ calling_ae_title = "CT_1" }', True, True),
        ('{ calling_ae_title = ["CT_2", "CT_3"] }', False, False),
        ('{ time = "07:00-19:00" }', True, True),
        ('{ time = "19:00-07:00" }', False, False),
    ],
)
def test_a_condition_holds_for_all_images_or_for_any(
    tmp_path: Path, condition: str, of_thin: bool, of_both: bool
) -> None:
    assert verdict(tmp_path, condition, series_of(CHEST, CHEST)).takes is of_thin
    assert verdict(tmp_path, condition, series_of(CHEST, THICK)).takes is of_both
    assert verdict(tmp_path, "", series_of(CHEST), unless=condition).takes is not of_thin


def test_the_night_goes_over_midnight(tmp_path: Path) -> None:
    night = '{ time = "22:00-06:00" }'
    taken = [hour for hour in range(24) if verdict(tmp_path, night, series_of(CHEST), time(hour)).takes]
    assert taken == [0, 1, 2, 3, 4, 5, 22, 23]


def test_of_a_series_without_images_nothing_holds(tmp_path: Path) -> None:
    for condition in ('{ modality = "CT" }', '{ keyword = "ContrastBolusAgent", exists = false }'):
        assert not verdict(tmp_path, condition, Series("1.2", ())).takes


def test_a_verdict_names_the_values_that_made_it(tmp_path: Path) -> None:
    said = verdict(tmp_path, '{ keyword = "SliceThickness", range = [0, 3] }', series_of(CHEST, CHEST, THICK)).record()
    assert said["takes"] is False
    (one,) = said["when"]
    assert one == {
        "condition": "SliceThickness is 0 to 3",
        "found": {"1.25": 2, "5": 1},
        "values": 2,
        "holds": False,
    }


def test_of_thousands_of_values_the_commonest_are_kept(tmp_path: Path) -> None:
    many = [{"SeriesDescription": f"{number}" + "x" * 3000} for number in range(40)]
    said = verdict(tmp_path, '{ keyword = "SeriesDescription", matches = "x" }', series_of(*many)).record()
    (one,) = said["when"]
    assert (len(one["found"]), one["values"], one["holds"]) == (10, 40, True)
    assert max(map(len, one["found"])) == 500


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ('{ keyword = "SliceThicknes", range = [0, 3] }', "'SliceThicknes' is the DICOM keyword of no element"),
        ('{ keyword = "SliceThicknes", range = [0, 3] }', "did you mean `SliceThickness`?"),
        ('{ keyword = "PixelData", exists = true }', "'PixelData' is the DICOM keyword of no element that can be"),
        ('{ keyword = "Modality.Rows", exists = true }', "'Modality' is the DICOM keyword of no sequence"),
        ('{ keyword = "Modality" }', "asks one thing: equals, one_of, matches, range or exists"),
        ('{ keyword = "Modality", equals = "CT", exists = true }', "asks one thing"),
        ('{ keyword = "Modality", one_of = [] }', "at least 1 item"),
        ('{ modality = "CT", equals = "CT" }', "`equals` belongs to a `keyword`"),
        ('{ equals = "CT" }', "exactly one kind"),
        ('{ over = "any" }', "exactly one kind"),
        ('{ keyword = "SeriesDescription", matches = "(" }', "'(' is no regular expression"),
        ('{ keyword = "Rows", range = [3, 1] }', "a range is [least, most], not [3, 1]"),
        ('{ keyword = "Rows", range = [nan, 1] }', "a range is [least, most]"),
        ('{ keyword = "Rows", range = [3] }', ""),
        ('{ time = "25:00-26:00" }', "'25:00' is no time of the day"),
        ('{ time = "" }', "exactly one kind"),
        ('{ keyword = "Rows", exists = true, over = "most" }', "'all' or 'any'"),
        ('{ keyword = "Rows", exits = true }', "did you mean `exists`?"),
    ],
)
def test_a_wrong_condition_is_answered_with_its_line_and_what_was_meant(
    tmp_path: Path, condition: str, said: str
) -> None:
    file = tmp_path / "planimeter.toml"
    right = '{ keyword = "Rows", exists = true, over = "all" },'
    file.write_text(f"[node]\n{HEAD}when = [\n  {right}\n  {right}\n  {condition},\n]\n[[route]]\nname = 's'\n")
    with pytest.raises(SettingsError) as caught:
        load(file, None, dicom_keywords())
    mine = next(line for line in str(caught.value).splitlines() if "route.0" in line)
    assert said in mine
    place = 5 if "route.0.when.2: " in mine else 8
    assert mine.startswith(f"{file}:{place}: route.0.when.2"), mine


# ----------------------------------------------------------------- recorded, tried, replayed


@pytest.fixture
def configured(
    settings: Settings, tmp_path: Path, threshold_hosts: ThresholdHosts, pacs: FakePacs
) -> Callable[[str], tuple[Node, Path]]:
    """A node with routes, and its configuration file."""

    def opened(text: str) -> tuple[Node, Path]:
        file = tmp_path / "site.toml"
        file.write_text(
            f'[node]\nhome = "{settings.home}"\n[database]\nurl = "{settings.database.url}"\n'
            f'[receive]\nquiet_seconds = 0\n[[peer]]\nname = "pacs"\nae_title = "PACS"\n'
            f'destination = {{ host = "127.0.0.1", port = {pacs.port} }}\n{text}'
        )
        return open_node(load(file, None, dicom_keywords()), threshold_hosts.address), file

    return opened


ROUTES = """
[[route]]
name = "thin"
when = [{ modality = "CT" }, { keyword = "StationName", matches = "^CT" }]
networks = ["ct_lungs"]
destinations = ["pacs"]

[[route]]
name = "magnets"
when = [{ modality = "MR" }]
networks = ["ct_lungs"]
"""


def from_station(name: str) -> list[Dataset]:
    images = small_series()
    for ds in images:
        ds.StationName = name
    return images


def test_every_decision_is_kept_with_the_values_that_made_it(
    configured: Callable[[str], tuple[Node, Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    node, file = configured(ROUTES)
    images = from_station("CT_7")
    take_in(node, images)
    work_off(node)
    study = only_study(node)
    assert study["state"] == "done"
    uid = study["study_uid"]
    with node.database.read() as tx:
        (row,) = route_decisions.of_study(tx, 1)
    thin, magnets = row["said"]
    assert [thin["takes"], magnets["takes"]] == [True, False]
    assert thin["when"][1]["found"] == {"CT_7": len(images)}
    assert magnets["when"][0] == {
        "condition": "Modality is MR",
        "found": {"CT": len(images)},
        "values": 1,
        "holds": False,
    }
    node.close()
    assert cli.main(["routes", "show", uid, "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert "Choice 1" in out
    assert f"CT_7 × {len(images)}" in out
    assert "✗ Modality is MR" in out
    assert cli.main(["routes", "show", "1.2.3", "--config", str(file)]) == 1
    assert "there is no study 1.2.3 here" in capsys.readouterr().err


def test_routes_are_tried_on_files_and_on_studies_and_nothing_is_taken_in(
    configured: Callable[[str], tuple[Node, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, file = configured(ROUTES)
    take_in(node, from_station("CT_7"))
    uid = only_study(node)["study_uid"]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    as_files(from_station("MAGNET"), folder)
    (folder / "notes.txt").write_text("no image")
    before = only_study(node)
    node.close()

    def tried(*what: str) -> dict[str, Any]:
        assert cli.main(["routes", "test", *what, "--json", "--config", str(file)]) == 0
        (study,) = json.loads(capsys.readouterr().out)["studies"]
        return dict(study)

    here = tried(uid)
    assert [one["network"] for one in here["networks"]] == ["ct_lungs"]
    assert here["networks"][0]["destinations"] == ["pacs"]
    assert here["networks"][0]["priority"] == "routine"
    elsewhere = tried(str(folder))
    assert elsewhere["networks"] == []
    assert elsewhere["refused"][0]["code"] == "no-route"
    assert elsewhere["series"][0]["routes"][0]["when"][1]["found"] == {"MAGNET": elsewhere["series"][0]["images"]}
    assert cli.main(["routes", "test", str(folder), "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert "no network would run" in out
    assert "notes.txt: the header of an image cannot be read" in out.replace("\n", "")
    node, _ = configured(ROUTES)
    assert only_study(node) == before
    node.close()


def test_a_trial_of_what_is_not_there_or_no_image_is_said(
    configured: Callable[[str], tuple[Node, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, file = configured(ROUTES)
    node.close()
    empty = tmp_path / "empty"
    empty.mkdir()
    for what, said in (
        (["test", "/no/such/thing"], "there is no such file or folder, and no such study"),
        (["test", str(empty)], "there is no file below it"),
        (["test", str(file)], "the header of an image cannot be read"),
        (["test", str(empty), "--at", "noon"], "'noon' is no time of the day"),
        (["replay", str(tmp_path / "none.toml")], "cannot be read"),
    ):
        assert cli.main(["routes", *what, "--config", str(file)]) == 1
        assert said in capsys.readouterr().err


def test_a_replay_tells_which_studies_another_configuration_would_change(
    configured: Callable[[str], tuple[Node, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, file = configured(ROUTES)
    take_in(node, from_station("CT_7"))
    work_off(node)
    uid = only_study(node)["study_uid"]
    node.close()

    def replayed(text: str, *more: str) -> dict[str, Any]:
        other = tmp_path / "other.toml"
        other.write_text(file.read_text().replace(ROUTES, text))
        assert cli.main(["routes", "replay", str(other), "--json", *more, "--config", str(file)]) == 0
        return dict(json.loads(capsys.readouterr().out))

    assert replayed(ROUTES) == {"studies": 1, "changed": []}
    # what was looked at before is in the rows, RescaleSlope is in the files alone
    more = '"thin"\npriority = "stat"\nwhen = [{ keyword = "RescaleSlope", exists = true },'
    stat = replayed(ROUTES.replace('"thin"\nwhen = [', more))
    (changed,) = stat["changed"]
    assert changed["study_uid"] == uid
    assert [one["priority"] for one in changed["no_more"]] == ["routine"]
    assert [one["priority"] for one in changed["newly"]] == ["stat"]
    gone = replayed(ROUTES.replace("^CT", "^MR"))
    assert [(one["network"], one["destination"]) for one in gone["changed"][0]["no_more"]] == [("ct_lungs", "pacs")]
    assert gone["changed"][0]["newly"] == []
    assert replayed(ROUTES.replace("^CT", "^MR"), "--days", "0") == {"studies": 0, "changed": []}
    unknown = tmp_path / "unknown.toml"
    unknown.write_text(file.read_text().replace("ct_lungs", "ct_lnugs"))
    assert cli.main(["routes", "replay", str(unknown), "--config", str(file)]) == 1
    assert "there is no network ct_lnugs" in capsys.readouterr().err
