"""Networks that are brought from elsewhere: looked at, given a card, installed switched off, and taken away again."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from db import switches
from db.events import listing
from models import card
from models.card import CardError
from models.incoming import draft, program, unpacked
from node.app import Node
from node.errors import Refused
from node.operations import catalogue, installing, rehearse, show_network
from node.operations.codes import suggest
from tests import mini_bundle
from tests.driving import jobs_of, only_study, take_in, work_off
from tests.nurseries import SHARED
from tests.synthetic import small_series

METADATA = {
    "version": "0.5.9",
    "task": "Organs of the abdomen",
    "authors": "Somebody",
    "intended_use": "Research",
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "channel_def": {"0": "image"}}},
        "outputs": {
            "pred": {"num_channels": 3, "channel_def": {"0": "background", "1": "left kidney", "2": "Spleenoid"}}
        },
    },
}


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    """A bundle in the Model Zoo's shape, without a card."""
    root = mini_bundle.make(tmp_path / "elsewhere", "organs")
    (root / card.FILE).unlink()
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (root / "scripts").mkdir()
    (root / "scripts" / "nets.py").write_text("import torch\n\n\nclass Net(torch.nn.Module): ...\n")
    return root


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which somebody types commands."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def filled_in(file: Path) -> Path:
    """As a person would leave it."""
    text = file.read_text()
    asked = f"{draft.FILL_IN}: what label value 2 is"
    text = text.replace(f'["{draft.FILL_IN}", "SCT", "{asked}"]', '["78961009", "SCT", "Spleen"]')
    text = text.replace(
        f'["{draft.FILL_IN}", "SCT", "{draft.FILL_IN}"]', '["123037004", "SCT", "Anatomical Structure"]'
    )
    for line in draft.open_questions(text):
        text = text.replace(line.split(": ", 1)[1], line.split(": ", 1)[1].split(" = ")[0] + ' = "Apache-2.0"')
    file.write_text(text)
    return file


def installed(node: Node, bundle: Path) -> str:
    first = installing.add(node.networks, bundle, "ann")
    assert first.draft is not None
    return installing.add(node.networks, bundle, "ann", filled_in(first.draft)).name


def test_a_card_is_drafted_and_says_what_only_a_person_knows(node: Node, brought: Path, workplace: Path) -> None:
    found = installing.add(node.networks, brought, "ann")
    text = (workplace / "organs.toml").read_text()
    assert found.draft == Path("organs.toml")
    assert 'type = ["64033007", "SCT", "Kidney"]' in text and 'laterality = ["7771000", "SCT", "Left"]' in text
    asked = " ".join(found.questions)
    for part in ("licence", "weights_licence", "what label value 2 is"):
        assert part in asked
    assert "Kidney" not in asked
    assert node.networks.names() == ["ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"]
    again = installing.add(node.networks, brought, "ann", Path("organs.toml"))
    assert again.questions and node.networks.names() == ["ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"]
    with pytest.raises(Refused, match="is there already: fill it in"):
        installing.add(node.networks, brought, "ann")


def test_it_is_installed_off_and_reads_studies_when_a_person_says_so(
    node: Node, brought: Path, workplace: Path
) -> None:
    assert installed(node, brought) == "organs"
    version, bundle = node.networks.live("organs")
    card.verify(bundle)
    assert bundle.folder == node.archive.home / "models" / "organs"
    assert version
    (shown,) = [one for one in catalogue.listing(node.networks)["networks"] if one["network"] == "organs"]
    assert (shown["live"], shown["on"], shown["fault"]) == ("0.5.9", False, None)
    assert installing.switch(node.networks, "organs", "ann", on=True).startswith("organs reads the studies")
    assert installing.switch(node.networks, "organs", "ann", on=True) == "organs is on already"
    with pytest.raises(Refused, match="is on; `planimeter models disable organs` first"):
        installing.remove(node.networks, "organs", "ann")
    installing.switch(node.networks, "organs", "bob", on=False)
    assert installing.remove(node.networks, "organs", "ann") == "organs is gone; the results that it made stay"
    assert node.networks.names() == ["ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"]
    with node.database.read() as tx:
        recorded = [(event["what"], event["who"]) for event in listing(tx, "organs") if event["who"] != "planimeter"]
    assert recorded[::-1] == [
        (installing.ADDED, "ann"),
        (installing.ON, "ann"),
        (installing.OFF, "bob"),
        (installing.REMOVED, "ann"),
    ]
    assert installed(node, brought.rename(brought.with_name("again"))) == "again"


def test_a_study_is_not_read_by_a_network_that_is_off(node: Node) -> None:
    installing.switch(node.networks, "ct_lungs", "ann", on=False)
    installing.switch(node.networks, "pet_sarcoma", "ann", on=False)
    take_in(node, small_series())
    work_off(node)
    (job,) = jobs_of(node)
    assert job["reason"].startswith("network-aside: ct_lungs is off")
    assert only_study(node)["state"] == "refused"


def test_what_ships_with_the_node_is_not_removed_and_what_is_not_there_is_said(node: Node) -> None:
    with pytest.raises(Refused, match="is part of Planimeter; `planimeter models disable ct_lungs`"):
        installing.remove(node.networks, "ct_lungs", "ann")
    for act in (installing.remove, lambda *at: installing.switch(*at, on=True)):
        with pytest.raises(Refused, match="there is no network called nobody"):
            act(node.networks, "nobody", "ann")


def test_what_it_would_run_is_said_without_running_it(brought: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    config = {
        "imports": ["$import os"],
        "harmless": "$[1, 2] + [3]",
        "named": "$'open me'.upper()",
        "opens": f"$open({str(mark)!r}, 'w')",
        "hides": "$().__class__",
        "net": {"_target_": "scripts.nets.Net"},
        "unet": {"_target_": "UNet"},
        "known": {"_target_": "torch.nn.Conv3d"},
        "elsewhere": {"_target_": "os.system", "command": "true"},
    }
    (brought / "configs" / "more.yaml").write_text(json.dumps(config))
    (brought / "models" / "search.pkl").write_bytes(b"")
    found = program.program(brought)
    in_more = [one for one in found.reaching if one.file == "configs/more.yaml"]
    assert [one.place for one in in_more] == ["opens", "hides"]
    assert [one.words for one in found.targets] == ["scripts.nets.Net", "os.system"]
    assert found.scripts == (("scripts/nets.py", 4),)
    assert (found.pickles, found.weights) == (("models/search.pkl",), ("models/model.pt",))
    assert not mark.exists()
    console = Console(record=True, width=120)
    show_network.print_program(found, console)
    printed = console.export_text()
    assert "expressions that reach out" in printed and "scripts/nets.py: 4 lines" in printed


def zipped(folder: Path, file: Path) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for one in folder.rglob("*"):
            archive.write(one, Path(folder.name) / one.relative_to(folder))
    return file


def test_a_zip_is_taken_like_its_folder(node: Node, brought: Path, workplace: Path) -> None:
    assert installed(node, zipped(brought, workplace / "organs.zip")) == "organs"
    assert (node.networks.live("organs")[1].folder / "scripts" / "nets.py").is_file()
    assert not list((node.archive.home / "networks").glob(".brought*"))


def test_a_zip_that_leads_out_of_itself_or_fills_a_disk_is_refused(tmp_path: Path) -> None:
    def refused(name: str, data: bytes = b"x", mode: int = 0) -> str:
        file = tmp_path / "bad.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
        with pytest.raises(CardError) as error, unpacked.unpacked(file, tmp_path / "into"):
            pass
        assert not (tmp_path / "into").exists()
        return str(error.value)

    assert "leads out of it" in refused("../out")
    assert "leads out of it" in refused("/etc/out")
    assert "no plain file" in refused("configs/link", b"/etc/passwd", stat.S_IFLNK | 0o777)
    assert "more than 200 times its size" in refused("zeros", bytes(unpacked.BLOCK * 201))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["nothing", "text", "cut zip", "link", "no config", "no weights", "bad json"])
def test_what_is_no_bundle_is_refused_and_leaves_nothing(node: Node, brought: Path, workplace: Path, what: str) -> None:
    path = brought
    if what == "nothing":
        path = workplace / "nowhere"
    elif what == "text":
        path = workplace / "notes.txt"
        path.write_text("a bundle")
    elif what == "cut zip":
        path = zipped(brought, workplace / "cut.zip")
        path.write_bytes(path.read_bytes()[:-500])
    elif what == "link":
        (brought / "models" / "more.pt").symlink_to("/etc/hostname")
    elif what == "no config":
        (brought / "configs" / "inference.json").unlink()
    elif what == "no weights":
        (brought / "models" / "model.pt").unlink()
    else:
        (brought / "configs" / "inference.json").write_text("{")
    with pytest.raises(Refused) as refusal:
        installing.add(node.networks, path, "ann")
    assert refusal.value.code == "bad-bundle"
    assert not list(workplace.glob("*.toml"))
    assert not list((node.archive.home / "networks").glob(".*"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('name = "organs"', 'name = "ct_lungs"'), "there is a network called ct_lungs"),
        (('name = "organs"', 'name = "../out"'), "a name has letters, digits"),
        (("value = 2", "value = 1"), "two \\[\\[segment\\]\\] have the same value"),
        (("format = 1", "format"), "not valid TOML"),
        (('weights = "models/model.pt"', 'weights = "models/other.pt"'), "does not list models/other.pt"),
    ],
)
def test_a_card_that_is_wrong_is_refused_and_nothing_is_installed(
    node: Node, brought: Path, workplace: Path, change: tuple[str, str], sentence: str
) -> None:
    first = installing.add(node.networks, brought, "ann")
    assert first.draft is not None
    file = filled_in(first.draft)
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(Refused, match=sentence):
        installing.add(node.networks, brought, "ann", file)
    assert node.networks.names() == ["ct_lungs", "ct_pet_sarcoma", "pet_sarcoma"]
    with node.database.read() as tx:
        assert switches.switched_off(tx) == set()


def test_a_name_that_differs_between_card_and_command_is_the_cards(node: Node, brought: Path, workplace: Path) -> None:
    found = installing.add(node.networks, brought, "ann", name="abdomen")
    assert (found.draft, found.name) == (Path("abdomen.toml"), "abdomen")
    found = installing.add(node.networks, brought, "ann", name="../out of here")
    assert (found.draft, found.name) == (Path("out_of_here.toml"), "out_of_here")
    assert not list(workplace.parent.glob("*.toml"))


@pytest.mark.parametrize(
    ("label", "code", "side"),
    [
        ("spleen", "78961009", None),
        ("Left_Lung", "39607008", "Left"),
        ("portal vein", "32764006", None),
        ("kidneys", "64033007", None),
        ("Left Kideny", None, None),
    ],
)
def test_codes_are_proposed_for_names_that_snomed_has(label: str, code: str | None, side: str | None) -> None:
    found = suggest(label)
    if found is None:
        assert code is None
    else:
        _, (value, scheme, _), laterality = found
        assert (value, scheme, laterality[2] if laterality else None) == (code, "SCT", side)


def test_multi_channel_inputs_are_asked_for_one_by_one(tmp_path: Path) -> None:
    root = mini_bundle.make(tmp_path, "brain")
    described = {"modality": "MR", "num_channels": 3, "channel_def": {"0": "T1", "1": "FLAIR"}}
    metadata = {"network_data_format": {"inputs": {"image": described}, "outputs": {}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    text = draft.draft(root, "brain", "1.2.3", suggest)
    assert text.count('modality = ["MR"]') == 3
    asked = " ".join(draft.open_questions(text))
    for part in ("what SeriesDescription says of T1", "what SeriesDescription says of FLAIR", "channel 2"):
        assert part in asked


# ----------------------------------------------------------------- trying it


def printed_check(bundle: Path) -> tuple[int, str]:
    console = Console(record=True, width=200)
    code = rehearse.check(card.read(bundle), "cpu", console, nursery=SHARED)
    return code, console.export_text()


def test_a_network_is_tried_on_what_was_never_a_patient(tmp_path: Path) -> None:
    code, said = printed_check(mini_bundle.make(tmp_path, "sound"))
    assert code == 0
    for part in ("start of its model host", "noise on an oblique grid", "a drawn chest", "Dark ", "has no channel_def"):
        assert part in said


def test_what_a_network_does_otherwise_is_printed(tmp_path: Path) -> None:
    """It labels water, another part of it each time."""
    code = "$lambda x: (__import__('torch').rand_like(x) - 0.5) * 4000"
    dice = {"_target_": "Lambdad", "keys": "image", "func": code}
    status, said = printed_check(mini_bundle.make(tmp_path, "dice", before=[dice]))
    assert status == 1
    assert "voxels are labelled otherwise than the first time" in said
    assert "of noise is labelled" in said


def test_a_network_that_does_not_start_is_said_and_nothing_more_is_tried(tmp_path: Path) -> None:
    bundle = mini_bundle.make(tmp_path, "broken")
    (bundle / "stray.txt").write_text("not listed")
    code, said = printed_check(bundle)
    assert code == 1
    assert "is not what its card says" in said
    assert "drawn chest" not in said
