"""Versions of networks: made whole, proven, approved, promoted, taken back; the same on SQLite and PostgreSQL."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from pydicom.dataset import Dataset

from db import events, jobs, lost_jobs, networks, schema, shadows, training_runs
from db.database import Clock, Database, open_database, sqlite_url
from db.job_states import JobKind
from db.networks import VersionState, WrongState
from db.tables import data_set, data_set_member, input_set, label, patient, release, study
from db.training_runs import RunState
from models import card, client
from models.card import FILE, Bundle
from models.wire import SharedArray
from node.app import Node
from node.errors import Failed, Refused
from node.hosts import Hosts
from node.learning.gate.values import Outcome, Verdict
from node.learning.versions import device_uid, keep, make_version, next_version, sweep
from node.networks import Networks
from node.operations import audit, catalogue, versions
from tests import mini_bundle
from tests.driving import take_in, work_off
from tests.fake_pacs import FakePacs
from tests.nurseries import SHARED
from tests.running import planimeter
from tests.synthetic import small_series

NAME = "thresholds"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to copy: with comments in its card, as people's have."""
    folder = mini_bundle.make(tmp_path_factory.mktemp("template"), NAME)
    text = (folder / FILE).read_text()
    text = text.replace('version = "0.1"', '# since the upgrade\nversion = "0.1"  # as in its README')
    (folder / FILE).write_text(text)
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text("What it was trained on.\n")
    card.seal(folder)
    return folder


def _installed(home: Path, template: Path, database: Database) -> Networks:
    shutil.copytree(template, home / "models" / NAME)
    return Networks((home / "models",), database)


@pytest.fixture
def ours(tmp_path: Path, database: Database, template: Path) -> Networks:
    """A node's networks, on a database of either kind; one is installed."""
    return _installed(tmp_path / "home", template, database)


@pytest.fixture
def on_disk(tmp_path: Path, template: Path) -> Iterator[Networks]:
    """The same on SQLite, where the files are what matters."""
    database = open_database(sqlite_url(tmp_path / "rows.db"))
    schema.require(database)
    yield _installed(tmp_path / "home", template, database)
    database.dispose()


def weights(ours: Networks, limit: float = -500.0) -> Path:
    """Trained weights: what is darker than `limit` is 1, than `limit` - 400 is 2."""
    slope = 0.02
    weight = torch.tensor([0.0, -slope, -2 * slope]).reshape(3, 1, 1, 1, 1)
    bias = torch.tensor([0.0, limit * slope, (2 * limit - 400) * slope])
    file = ours.home / f"candidate{limit:.0f}.pt"
    torch.save({"weight": weight, "bias": bias}, file)
    return file


def verdict(outcome: str, *, automatic: bool = False) -> dict[str, Any]:
    reasons = ("the mean Dice rises by 0.031",) if outcome == "pass" else ("the lower bound is -0.02",)
    numbers = dict(patients=14, look=1, alpha=0.025, mean_difference=0.031, lower_bound=0.01, p=0.004)
    rest = dict(guards=(), losers=(), blind_spot="", automatic=automatic)
    said = asdict(Verdict(outcome=Outcome(outcome), reasons=reasons, **numbers, **rest))  # type: ignore[arg-type]
    return dict(json.loads(json.dumps(said)))


def a_data_set(tx: Any, purpose: str, people: tuple[str, ...] = (), network: str = NAME) -> int:
    number = tx.execute(sa.select(sa.func.count()).select_from(data_set)).scalar_one() + 1
    values = dict(network=network, purpose=purpose, number=number, sha256=f"{purpose}{number}", manifest={})
    made = int(tx.execute(sa.insert(data_set).values(**values, created=Clock()).returning(data_set.c.id)).scalar_one())
    for one in people:
        row_id = tx.execute(sa.select(patient.c.id).where(patient.c.patient_id == one)).scalar()
        if row_id is None:
            values = dict(issuer="", patient_id=one, bucket="test", pseudonym=f"pseudonym of {one}")
            row_id = tx.execute(sa.insert(patient).values(**values).returning(patient.c.id)).scalar_one()
        source = f"{one}/{made}"
        values = dict(source_uid=source, source_sha256="", source_path="", came="added", calling_ae="", network=network)
        rest = dict(structures=[], annotated=[1], author="", tool="", made="", state="ready", created=Clock())
        label_id = tx.execute(sa.insert(label).values(**values, **rest).returning(label.c.id)).scalar_one()
        member = dict(data_set_id=made, label_id=label_id, patient_id=row_id, role="test")
        tx.execute(sa.insert(data_set_member).values(**member))
    return made


def a_run(tx: Any, parent: int | None, people: tuple[str, ...] = (), network: str = NAME) -> int:
    opened = training_runs.open_run(
        tx,
        network=network,
        parent_id=parent,
        data_set_id=a_data_set(tx, "training", network=network),
        test_set_id=a_data_set(tx, "test", people, network),
        protocol={"alpha": 0.025},
        protocol_sha256="p" * 64,
        seed=7,
        folder="learning/runs/1",
        who="night shift",
    )
    assert opened is not None
    return opened


def trained(ours: Networks, limit: float, outcome: str = "pass", *, automatic: bool = False, name: str = NAME) -> str:
    """Train, evaluate against what is live: the name of the version."""
    champion, parent = ours.live(name)
    with ours.database.write() as tx:
        taken = [row["version"] for row in networks.versions(tx, name)]
        run = a_run(tx, champion, network=name)
        training_runs.change(tx, run, RunState.TRAINING)
    version = next_version(parent.card.version, taken)
    bundle = make_version(parent, weights(ours, limit), version=version, home=ours.home)
    with ours.database.write() as tx:
        candidate = ours.add(tx, bundle, champion, "planimeter")
        training_runs.change(tx, run, RunState.TRAINED, candidate_id=candidate)
    if outcome:
        with ours.database.write() as tx:
            said = verdict(outcome, automatic=automatic)
            values = dict(champion_id=champion, look=1, outcome=outcome, verdict=said, report="")
            training_runs.evaluate(tx, run, **values)  # type: ignore[arg-type]
    else:
        with ours.database.write() as tx:
            training_runs.change(tx, run, RunState.CANCELLED)
    return version


def promoted(ours: Networks, limit: float = -300) -> str:
    version = trained(ours, limit)
    versions.approve(ours.database, NAME, version, "ada", "ok")
    versions.promote(ours, NAME, version, "ada", "")
    return version


def live(ours: Networks) -> str:
    return ours.live(NAME)[1].card.version


def row(ours: Networks, version: str) -> Any:
    with ours.database.read() as tx:
        (found,) = networks.named(tx, NAME, version)
    return found


def recorded(ours: Networks) -> list[tuple[str, str]]:
    """Who did what, oldest first."""
    with ours.database.read() as tx:
        return [(one["who"], one["what"]) for one in events.every(tx)]


def refused(code: str, call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(Refused) as error:
        call(*arguments, **more)
    assert error.value.code == code, error.value
    return error.value.sentence


def edit(bundle: Path, old: str, new: str) -> None:
    text = (bundle / FILE).read_text()
    assert old in text
    (bundle / FILE).write_text(text.replace(old, new, 1))


# --------------------------------------------------------------- a version


@pytest.mark.parametrize(
    ("parent", "taken", "wanted"),
    [
        ("1.2.0", ["1.2.0"], "1.2.0+001"),
        ("1.2.0+001", ["1.2.0", "1.2.0+001", "1.2.0+009", "1.1.0+044"], "1.2.0+010"),
        ("1.2.0", ["1.2.0+999"], "1.2.0+1000"),
        ("1.0+cu12", [], "1.0+cu12+001"),
        ("v" * 32, [], "v" * 28 + "+001"),
        ("v" * 32, ["v" * 28 + "+001"], "v" * 28 + "+002"),
        ("v" * 28 + "+999", ["v" * 28 + "+999"], "v" * 27 + "+001"),
    ],
)
def test_versions_are_counted_and_fit(parent: str, taken: list[str], wanted: str) -> None:
    assert next_version(parent, taken) == wanted
    assert len(wanted) <= 32


def test_a_version_is_the_parent_with_new_weights_and_says_so(on_disk: Networks) -> None:
    parent = on_disk.live(NAME)[1]
    trained_on = {"docs/README.md": b"Trained here.\n", "docs/run.json": b"{}"}
    made = make_version(parent, weights(on_disk, -300), version="0.1+001", home=on_disk.home, documents=trained_on)
    assert made.folder == on_disk.home / "networks" / NAME / made.weights_sha256[:16]
    card.verify(made)
    assert made == card.read(made.folder)
    assert made.card.version == "0.1+001"
    assert made.card.device_uid == device_uid(NAME, made.weights_sha256) != parent.card.device_uid
    assert made.card.device_uid.startswith("2.25.")
    assert made.weights_sha256 != parent.weights_sha256
    assert (made.folder / "docs" / "README.md").read_bytes() == b"Trained here.\n"
    assert (made.folder / "docs" / "run.json").exists()
    assert (made.folder / "configs" / "inference.json").read_bytes() == (
        parent.folder / "configs" / "inference.json"
    ).read_bytes()
    text = (made.folder / FILE).read_text()
    assert '# since the upgrade\nversion = "0.1+001"  # as in its README' in text
    aside = {"version", "device_uid", "files"}
    assert made.card.model_dump(exclude=aside) == parent.card.model_dump(exclude=aside)
    assert [entry.name for entry in made.folder.parent.iterdir()] == [made.folder.name], "nothing is left beside it"


def test_made_again_it_is_the_same_and_other_files_never_take_its_place(on_disk: Networks) -> None:
    parent, new = on_disk.live(NAME)[1], weights(on_disk, -300)
    made = make_version(parent, new, version="0.1+001", home=on_disk.home)
    leftover, another = (made.folder.with_name(f".{made.folder.name}.{name}") for name in ("crashed", "at work"))
    for folder in (leftover, another):
        folder.mkdir()
        (folder / "half a file").write_bytes(b"")
    os.utime(leftover, (1, 1))
    before = (made.folder / FILE).stat().st_mtime_ns
    assert make_version(parent, new, version="0.1+001", home=on_disk.home) == made
    assert (made.folder / FILE).stat().st_mtime_ns == before
    assert not leftover.exists()
    assert another.exists(), "another process may be building it"
    said = refused("version-exists", make_version, parent, new, version="0.1+002", home=on_disk.home)
    assert "never overwritten" in said
    (made.folder / "models" / "model.pt").write_bytes(b"damaged")
    with pytest.raises(Failed, match="damaged"):
        make_version(parent, new, version="0.1+001", home=on_disk.home)


def test_a_training_that_changed_nothing_is_no_version(on_disk: Networks) -> None:
    parent = on_disk.live(NAME)[1]
    same = parent.folder / parent.card.weights
    refused("nothing-learnt", make_version, parent, same, version="0.1+001", home=on_disk.home)


def test_no_version_is_made_of_a_parent_that_is_not_what_its_card_says(on_disk: Networks) -> None:
    parent = on_disk.live(NAME)[1]
    (parent.folder / "configs" / "inference.json").write_text("{}")
    with pytest.raises(Failed, match=r"inference\.json"):
        make_version(parent, weights(on_disk, -300), version="0.1+001", home=on_disk.home)
    assert not list((on_disk.home / "networks").rglob("*"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('intended_use = "Tests."', 'intended_use = """\nversion = "9"\n"""', "differently"),
        ('version = "0.1"', '"version" = "0.1"', "no line"),
    ],
)
def test_a_card_that_hides_its_version_is_not_guessed_at(on_disk: Networks, old: str, new: str, said: str) -> None:
    folder = on_disk.folders[0] / NAME
    edit(folder, old, new)
    if said == "differently":  # the text that looks like the version comes first
        text = (folder / FILE).read_text()
        line = 'version = "0.1"  # as in its README\n'
        (folder / FILE).write_text(text.replace(line, "", 1).replace("licence =", f"{line}licence =", 1))
    parent = card.read(folder)
    with pytest.raises(Failed, match=said):
        make_version(parent, weights(on_disk, -300), version="0.1+001", home=on_disk.home)


# ------------------------------------------------------- from training on


def test_from_the_gate_to_live_and_back(ours: Networks) -> None:
    assert live(ours) == "0.1"
    first = trained(ours, -300)
    assert first == "0.1+001"
    assert row(ours, first)["state"] == VersionState.ELIGIBLE
    assert live(ours) == "0.1", "nothing goes live by itself"
    assert "0.1+001 runs beside" in versions.shadow(ours.database, NAME, first, "ada")
    assert "approved" in versions.approve(ours.database, NAME, first, "ada", "better at the apex")
    assert live(ours) == "0.1"
    said = versions.promote(ours, NAME, first, "grace", "since Monday")
    assert said.startswith("thresholds 0.1+001 is live; jobs that run finish with 0.1;")
    version_id, bundle = ours.live(NAME)
    assert bundle.card.version == first
    assert row(ours, first)["id"] == version_id
    assert versions.rollback(ours, NAME, "grace", "worse on children").startswith("thresholds 0.1 is live again")
    assert live(ours) == "0.1"
    assert row(ours, first)["state"] == VersionState.ELIGIBLE, "what was taken back has to be approved again"
    assert recorded(ours) == [
        ("planimeter", "seen"),
        ("night shift", "training"),
        ("planimeter", "candidate"),
        ("planimeter", "run trained"),
        ("planimeter", "run evaluated"),
        ("planimeter", "evaluated"),
        ("planimeter", "eligible"),
        ("ada", "shadow"),
        ("ada", "approved"),
        ("grace", "promote"),
        ("grace", "eligible"),
        ("grace", "rollback"),
    ]
    approved = next(one for one in audit.listing(ours.database) if one["what"] == "approved")
    assert approved["details"]["why"] == "better at the apex"
    assert approved["details"]["training_begun_by"] == "night shift"
    assert audit.verify(ours.database).startswith("the record is whole: 12 events")


def test_what_was_promoted_is_what_a_host_runs(on_disk: Networks) -> None:
    """The installed network calls -400 HU background, the trained one class 1."""
    version = promoted(on_disk)
    _, bundle = on_disk.live(NAME)
    assert bundle.card.version == version
    volume = np.full((8, 16, 16), -400, np.float32)
    volume[4:] = -200
    channel = SharedArray.make(volume.shape, np.float32)
    channel.array[...] = volume
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        hosts = Hosts(Path(folder), "cpu", nursery=SHARED)
        try:
            address = hosts.address(str(bundle.folder), bundle.card_sha256)
            answer = client.segment(address, [channel], np.diag([2.0, 2.0, 2.0, 1.0]), limit_seconds=120)
        finally:
            hosts.stop()
            channel.close()
    assert (answer.labels[:3] == 1).all()
    assert (answer.labels[5:] == 0).all()


@pytest.mark.parametrize("outcome", ["fail", "inconclusive", ""])
def test_what_the_gate_did_not_pass_nobody_can_approve(ours: Networks, outcome: str) -> None:
    version = trained(ours, -300, outcome)
    state = {"fail": VersionState.REJECTED}.get(outcome, VersionState.CANDIDATE)
    assert row(ours, version)["state"] == state
    said = refused("not-approvable", versions.approve, ours.database, NAME, version, "ada", "please")
    assert ("lower bound is -0.02" if outcome else "not evaluated yet") in said
    assert "training may do better" in said if outcome == "fail" else "train again" in said
    refused("not-eligible", versions.shadow, ours.database, NAME, version, "ada")
    refused("not-approved", versions.promote, ours, NAME, version, "ada", "")
    refused("needs-a-person", versions.promote, ours, NAME, version, "planimeter", "", automatic=True)
    assert live(ours) == "0.1"


def test_only_what_was_approved_is_promoted_and_only_once(ours: Networks) -> None:
    version = trained(ours, -300)
    assert "approve it first" in refused("not-approved", versions.promote, ours, NAME, version, "ada", "")
    refused("no-reason", versions.approve, ours.database, NAME, version, "ada", " ")
    refused("no-name", versions.approve, ours.database, NAME, version, "", "why not")
    versions.approve(ours.database, NAME, version, "ada", "ok")
    said = refused("not-approvable", versions.approve, ours.database, NAME, version, "ada", "ok")
    assert "models promote" in said
    versions.promote(ours, NAME, version, "ada", "")
    refused("live-already", versions.promote, ours, NAME, version, "ada", "")
    said = refused("not-approved", versions.promote, ours, NAME, "0.1", "ada", "")
    assert "roll back" in said
    said = refused("not-approvable", versions.approve, ours.database, NAME, "0.1", "ada", "ok")
    assert "needs no approval" in said
    refused("no-such-version", versions.promote, ours, NAME, "0.7", "ada", "")
    refused("no-such-version", versions.approve, ours.database, "no network", version, "ada", "ok")


def test_a_state_alone_proves_nothing(ours: Networks) -> None:
    """Somebody who writes the state into the database has not made an evaluation."""
    version = trained(ours, -300, "")
    with ours.database.write() as tx:
        tx.execute(sa.text("UPDATE model_version SET state = 'approved' WHERE folder <> ''"))
    refused("not-proven", versions.promote, ours, NAME, version, "ada", "")
    assert live(ours) == "0.1"


def test_what_was_compared_with_another_version_is_not_promoted(ours: Networks) -> None:
    """Both are better than 0.1; nobody knows whether the second is better than the first."""
    first, second = trained(ours, -300), trained(ours, -200)
    third = trained(ours, -100)
    assert (first, second, third) == ("0.1+001", "0.1+002", "0.1+003")
    versions.approve(ours.database, NAME, second, "ada", "ok")
    versions.approve(ours.database, NAME, first, "ada", "ok")
    versions.promote(ours, NAME, first, "ada", "")
    said = refused("other-champion", versions.promote, ours, NAME, second, "ada", "")
    assert "was compared with 0.1, but 0.1+001 is live now" in said
    refused("other-champion", versions.approve, ours.database, NAME, third, "ada", "ok")
    refused("other-champion", versions.shadow, ours.database, NAME, third, "ada")
    versions.rollback(ours, NAME, "ada", "we want the other one")
    versions.promote(ours, NAME, second, "ada", "")
    assert live(ours) == second


def test_without_a_person_only_what_the_verdict_allows_and_never_what_was_taken_back(ours: Networks) -> None:
    careful, sure = trained(ours, -300), trained(ours, -200, automatic=True)
    refused("needs-a-person", versions.promote, ours, NAME, careful, "planimeter", "", automatic=True)
    versions.promote(ours, NAME, sure, "planimeter", "auto_promote", automatic=True)
    assert live(ours) == sure
    assert row(ours, sure)["state"] == VersionState.APPROVED
    versions.rollback(ours, NAME, "ada", "no")
    said = refused("needs-a-person", versions.promote, ours, NAME, sure, "planimeter", "", automatic=True)
    assert "taken back" in said
    assert live(ours) == "0.1"


def test_rolling_back_twice_goes_further_back_and_never_to_what_was_left(ours: Networks) -> None:
    refused("no-such-network", versions.rollback, ours, "unheard of", "ada", "why")
    ours.live(NAME)
    refused("nothing-before", versions.rollback, ours, NAME, "ada", "why")
    refused("no-reason", versions.rollback, ours, NAME, "ada", "")
    never = trained(ours, -250)
    for limit in (-300, -200):
        version = trained(ours, limit)
        versions.approve(ours.database, NAME, version, "ada", "ok")
        versions.promote(ours, NAME, version, "ada", "")
    assert live(ours) == "0.1+003"
    versions.rollback(ours, NAME, "ada", "one back")
    assert live(ours) == "0.1+002"
    versions.rollback(ours, NAME, "ada", "and one more")
    assert live(ours) == "0.1"
    refused("nothing-before", versions.rollback, ours, NAME, "ada", "and one more")
    refused("live-already", versions.rollback, ours, NAME, "ada", "here", to="0.1")
    refused("never-live", versions.rollback, ours, NAME, "ada", "there", to=never)
    versions.rollback(ours, NAME, "ada", "it was a mistake", to="0.1+003")
    assert live(ours) == "0.1+003"
    versions.rollback(ours, NAME, "ada", "or not")
    assert live(ours) == "0.1"
    assert audit.verify(ours.database)


def test_two_versions_of_one_name_are_told_apart_by_their_hashes(on_disk: Networks) -> None:
    on_disk.live(NAME)
    before = on_disk.live(NAME)[1].card_sha256
    edit(on_disk.folders[0] / NAME, "[200, 100, 50]", "[200, 100, 51]")
    on_disk.live(NAME)
    versions_of = refused("ambiguous-version", versions.rollback, on_disk, NAME, "ada", "the colour", to="0.1")
    assert before[:12] in versions_of
    edit(on_disk.folders[0] / NAME, "[200, 100, 51]", "[200, 100, 50]")
    assert on_disk.live(NAME)[1].card_sha256 == before
    refused("live-already", versions.rollback, on_disk, NAME, "ada", "the colour", to=before[:12])


def test_the_next_study_says_the_new_version_and_a_job_that_had_begun_the_old(node: Node, pacs: FakePacs) -> None:
    """Every SEG and report names version, weights and Device UID of the network that made it."""
    lungs = "ct_lungs"
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    begun, before = node.networks.live(lungs)
    with node.database.write() as tx:
        claim = jobs.claim(tx, [JobKind.SEGMENT], "dies", 0)
        assert claim is not None
        jobs.pin(tx, claim, begun)
    version = trained(node.networks, -300, name=lungs)
    versions.approve(node.database, lungs, version, "ada", "ok")
    versions.promote(node.networks, lungs, version, "ada", "")
    with node.database.write() as tx:
        lost_jobs.rescue(tx)
    work_off(node)
    assert {said_of(ds) for ds in pacs.objects} == {said_by(before)}
    pacs.objects.clear()
    take_in(node, small_series())
    work_off(node)
    after = node.networks.live(lungs)[1]
    assert after.card.version == version == "1.2.0+001"
    assert len(pacs.of_modality("SEG")) == 1
    assert {said_of(ds) for ds in pacs.objects} == {said_by(after)}
    assert said_by(after) != said_by(before)


def said_by(bundle: Bundle) -> tuple[str, str, str]:
    return bundle.card.version, bundle.card.device_uid, bundle.weights_sha256


def said_of(ds: Dataset) -> tuple[str, str, str]:
    """Version, Device UID and hash of the weights, as an object says them of the network."""
    (network,) = (item for item in ds.ContributingEquipmentSequence if item.get("DeviceUID"))
    return network.SoftwareVersions, network.DeviceUID, network.ContributionDescription.split()[-1]


# ------------------------------------------- what lies on disk, and changes


def test_what_an_administrator_installs_is_live_from_then_on_and_said_so(ours: Networks) -> None:
    version = promoted(ours)
    assert live(ours) == live(ours) == version
    assert ours.names() == [NAME]
    edit(ours.folders[0] / NAME, '"0.1"', '"0.2"')
    assert live(ours) == live(ours) == "0.2"
    newest = audit.listing(ours.database, NAME, limit=1)[0]
    assert (newest["who"], newest["what"]) == ("planimeter", "seen")
    assert "it takes the place of 0.1+001" in newest["details"]["why"]
    assert newest["details"]["instead_of"] == version
    versions.rollback(ours, NAME, "ada", "ours was better")
    assert live(ours) == live(ours) == version, "what is installed was seen, and is not seen again"
    edit(ours.folders[0] / NAME, '"0.2"', '"0.1"')
    assert live(ours) == "0.1", "changed once more, even to what it was: that is a decision too"


def test_a_change_on_disk_that_nobody_has_seen_yet_cannot_undo_a_rollback(on_disk: Networks) -> None:
    version = promoted(on_disk)
    edit(on_disk.folders[0] / NAME, '"0.1"', '"0.2"')
    versions.rollback(on_disk, NAME, "ada", "away from what is live")
    assert live(on_disk) == live(on_disk) == version
    assert [what for _, what in recorded(on_disk)][-2:] == ["seen", "rollback"]


def test_one_can_go_back_although_what_was_installed_is_gone(on_disk: Networks) -> None:
    version = promoted(on_disk)
    shutil.rmtree(on_disk.folders[0] / NAME)
    assert live(on_disk) == version, "a promoted version does not need what it was made from"
    assert on_disk.names() == [NAME]
    versions.rollback(on_disk, NAME, "ada", "no")
    _, bundle = on_disk.live(NAME)
    assert bundle.card.version == "0.1"
    card.verify(bundle)
    assert bundle.folder.is_relative_to(on_disk.home / "networks")


@pytest.mark.parametrize("what", ["missing", "card", "weights", "removed"])
def test_a_live_version_that_lies_there_no_more_is_said_and_never_replaced_silently(
    on_disk: Networks, what: str
) -> None:
    promoted(on_disk)
    version_id, bundle = on_disk.live(NAME)
    if what == "missing":
        (bundle.folder / "models" / "model.pt").unlink()
    elif what == "card":
        edit(bundle.folder, "[200, 100, 50]", "[200, 100, 51]")
    elif what == "removed":
        shutil.rmtree(bundle.folder)
    else:
        (bundle.folder / "models" / "model.pt").write_bytes(b"others")
    if what == "weights":  # read by the host, which verifies before it parses; and by whoever decides
        with on_disk.database.read() as tx:
            live_row = networks.find(tx, version_id)
        with pytest.raises(Failed, match=r"model\.pt"):
            on_disk.verified(live_row)
    else:
        for ask in (lambda: on_disk.live(NAME), lambda: on_disk.pinned(version_id)):
            with pytest.raises(Failed, match=r"0\.1\+001 of thresholds cannot be used") as failed:
                ask()
            assert failed.value.code == "network-unusable"
            assert "rollback" in failed.value.sentence
        everything = catalogue.listing(on_disk)
        assert "cannot be used" in everything["networks"][0]["fault"]
    versions.rollback(on_disk, NAME, "ada", "its files are gone")
    assert live(on_disk) == "0.1"
    if what == "weights":
        with pytest.raises(Failed, match=r"model\.pt"):
            versions.rollback(on_disk, NAME, "ada", "and forth", to="0.1+001")
        assert live(on_disk) == "0.1"


def test_nothing_goes_live_whose_files_were_changed_after_it_was_judged(on_disk: Networks) -> None:
    version = trained(on_disk, -300)
    versions.approve(on_disk.database, NAME, version, "ada", "ok")
    (on_disk.home / row(on_disk, version)["folder"] / "models" / "model.pt").write_bytes(b"others")
    with pytest.raises(Failed, match="cannot be used"):
        versions.promote(on_disk, NAME, version, "ada", "")
    assert live(on_disk) == "0.1"


def test_a_job_finishes_with_the_version_it_began_with(on_disk: Networks) -> None:
    begun, before = on_disk.live(NAME)
    version = promoted(on_disk)
    assert on_disk.pinned(begun).card_sha256 == before.card_sha256
    later, after = on_disk.live(NAME)
    assert after.card.version == version
    versions.rollback(on_disk, NAME, "ada", "no")
    assert on_disk.pinned(later) == after
    edit(on_disk.folders[0] / NAME, '"0.1"', '"0.2"')
    assert live(on_disk) == "0.2"
    assert on_disk.pinned(begun).card_sha256 == before.card_sha256, "it was kept when another was promoted over it"
    third, _ = on_disk.live(NAME)
    edit(on_disk.folders[0] / NAME, '"0.2"', '"0.3"')
    assert "reprocess" in refused("network-changed", on_disk.pinned, third)


def test_a_folder_with_another_networks_card_is_not_run(on_disk: Networks) -> None:
    shutil.copytree(on_disk.folders[0] / NAME, on_disk.folders[0] / "lungs")
    with pytest.raises(Failed, match="is the card of thresholds"):
        on_disk.live("lungs")


def test_a_network_that_was_made_here_needs_nothing_installed(on_disk: Networks, tmp_path: Path) -> None:
    """`models new`: a candidate without a champion, judged by itself."""
    parent = card.read(on_disk.folders[0] / NAME)
    bundle = make_version(parent, weights(on_disk, -300), version="0.1", home=on_disk.home)
    shutil.rmtree(on_disk.folders[0] / NAME)
    with pytest.raises(Failed, match="there is no network called thresholds"):
        on_disk.live(NAME)
    with on_disk.database.write() as tx:
        run = a_run(tx, None)
        training_runs.change(tx, run, RunState.TRAINING)
        candidate = on_disk.add(tx, bundle, None, "ada")
        training_runs.change(tx, run, RunState.TRAINED, candidate_id=candidate)
        values = dict(champion_id=None, look=1, outcome="pass", verdict=verdict("pass"), report="")
        training_runs.evaluate(tx, run, **values)  # type: ignore[arg-type]
    assert on_disk.names() == []
    versions.approve(on_disk.database, NAME, "0.1", "ada", "ok")
    assert versions.promote(on_disk, NAME, "0.1", "ada", "") == "thresholds 0.1 is live, the first of its network"
    assert on_disk.names() == [NAME]
    assert on_disk.live(NAME) == (candidate, bundle)
    refused("nothing-before", versions.rollback, on_disk, NAME, "ada", "why")


# ------------------------------------------------------------ one transaction


def test_killed_anywhere_in_a_promotion_either_the_old_or_the_new_is_live(ours: Networks, database_url: str) -> None:
    version = trained(ours, -300)
    versions.approve(ours.database, NAME, version, "ada", "ok")
    ours.database.dispose()
    for writes in range(1, 20):
        child = os.fork()
        if child == 0:
            _promote_and_die(database_url, ours, version, writes)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        with ours.database.read() as tx:
            assert events.verify(tx) is None
            releases = [one["what"] for one in networks.releases(tx, NAME)]
            promotions = [one for one in events.listing(tx) if one["what"] == "promote"]
        assert len(promotions) == releases.count("promote")
        if not os.WIFSIGNALED(status):
            break
        assert live(ours) == "0.1"
    assert writes > 3, "it was killed at the copy, the release, its event and the commit"
    assert releases == ["seen", "promote"]
    assert live(ours) == version


def _promote_and_die(database_url: str, ours: Networks, version: str, writes: int) -> None:
    """In a child process: SIGKILL before the given write or commit of a promotion."""
    try:
        mine = open_database(database_url)
        left = writes

        def count(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        @sa.event.listens_for(mine.engine, "before_cursor_execute")
        def _before(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(("INSERT", "UPDATE")):
                count()

        sa.event.listen(mine.engine, "commit", count)
        versions.promote(Networks(ours.folders, mine), NAME, version, "ada", "")
        os._exit(0)
    finally:
        os._exit(1)


def test_a_decision_that_bypasses_the_record_is_found(ours: Networks) -> None:
    version = trained(ours, -300)
    candidate = row(ours, version)["id"]
    audit.verify(ours.database)
    with ours.database.write() as tx:
        values = dict(network=NAME, model_version_id=candidate, at=Clock(), who="eve", why="", what="promote")
        tx.execute(sa.insert(release).values(**values))
    with pytest.raises(Refused, match=r"release 2, promote of thresholds 0\.1\+001, was never recorded"):
        audit.verify(ours.database)


def test_a_verdict_that_was_changed_afterwards_is_found(ours: Networks) -> None:
    trained(ours, -300, "fail")
    audit.verify(ours.database)
    with ours.database.write() as tx:
        if ours.database.is_sqlite:
            tx.execute(sa.text("DROP TRIGGER evaluation_no_update"))
        else:
            tx.execute(sa.text("ALTER TABLE evaluation DISABLE TRIGGER USER"))
        tx.execute(sa.text("UPDATE evaluation SET outcome = 'pass'"))
    with pytest.raises(Refused, match="evaluation 1 of thresholds is not the one that was recorded"):
        audit.verify(ours.database)


def test_releases_from_before_there_was_a_record_are_no_fault(ours: Networks) -> None:
    with ours.database.write() as tx:
        values = dict(network=NAME, version="0.0", weights_sha256="a", card_sha256="b", device_uid="1.2")
        old = networks.register(tx, **values)
        tx.execute(sa.insert(release).values(network=NAME, model_version_id=old, at=Clock(), who="planimeter", why=""))
    assert audit.verify(ours.database) == "the record is empty"
    assert live(ours) == "0.1"
    assert audit.verify(ours.database).startswith("the record is whole")
    with ours.database.write() as tx:
        tx.execute(sa.insert(release).values(network=NAME, model_version_id=old, at=Clock(), who="planimeter", why=""))
    with pytest.raises(Refused, match="never recorded"):
        audit.verify(ours.database)


# -------------------------------------------------------- runs and their looks


def test_a_network_has_one_open_run(ours: Networks) -> None:
    parent, _ = ours.live(NAME)
    with ours.database.write() as tx:
        run = a_run(tx, parent)
        values = dict(data_set_id=a_data_set(tx, "training"), test_set_id=a_data_set(tx, "test"))
        rest: dict[str, Any] = dict(protocol={}, protocol_sha256="", seed=1, folder="", who="ada")
        assert training_runs.open_run(tx, network=NAME, parent_id=parent, **values, **rest) is None
        assert training_runs.open_run(tx, network="another", parent_id=None, **values, **rest) is not None
        assert training_runs.open_of(tx, NAME)["id"] == run  # type: ignore[index]
        training_runs.note(tx, run, {"device": "cpu", "loss": 1.0})
        training_runs.note(tx, run, {"loss": 0.5}, folder="learning/runs/9")
        training_runs.change(tx, run, RunState.TRAINING)
        training_runs.change(tx, run, RunState.WAITING, reason="a clinical job came")
        training_runs.change(tx, run, RunState.TRAINING)
        with pytest.raises(WrongState, match="is training, which evaluated does not follow"):
            training_runs.change(tx, run, RunState.EVALUATED)
        training_runs.change(tx, run, RunState.FAILED, reason="out of memory")
        with pytest.raises(WrongState):
            training_runs.change(tx, run, RunState.TRAINING)
        assert training_runs.open_of(tx, NAME) is None
        kept = training_runs.find(tx, run)
        assert [one["id"] for one in training_runs.listing(tx, NAME)] == [run]
    assert (kept["facts"], kept["folder"]) == ({"device": "cpu", "loss": 0.5}, "learning/runs/9")
    assert (kept["state"], kept["reason"]) == ("failed", "out of memory")
    assert kept["ended"] is not None
    assert [what for _, what in recorded(ours)] == ["seen", "training", "training", "run failed"]
    with ours.database.write() as tx:
        a_run(tx, parent)


def test_every_look_names_the_people_that_were_looked_at(ours: Networks) -> None:
    parent, bundle = ours.live(NAME)
    for look, people in enumerate((("a", "b"), ("b", "c"), ()), 1):
        made = make_version(bundle, weights(ours, -300 - look), version=f"0.1+00{look}", home=ours.home)
        with ours.database.write() as tx:
            run = a_run(tx, parent, people)
            training_runs.change(tx, run, RunState.TRAINING)
            candidate = ours.add(tx, made, parent, "planimeter")
            training_runs.change(tx, run, RunState.TRAINED, candidate_id=candidate)
            if people:
                values = dict(champion_id=parent, look=look, outcome="fail", verdict=verdict("fail"), report="")
                training_runs.evaluate(tx, run, **values)  # type: ignore[arg-type]
    with ours.database.write() as tx:
        assert training_runs.looks(tx, "another") == []
        a, b, c = (f"pseudonym of {one}" for one in "abc")
        assert training_runs.looks(tx, NAME) == [(1, frozenset({a, b})), (2, frozenset({b, c}))]
        ids = {one.patient_id: one.id for one in tx.execute(sa.select(patient))}
        tx.execute(sa.update(patient).where(patient.c.id == ids["c"]).values(alias_of=ids["a"]))
        assert training_runs.looks(tx, NAME) == [(1, frozenset({a, b})), (2, frozenset({a, b}))]


def test_a_version_is_registered_and_recorded_once(ours: Networks) -> None:
    parent, bundle = ours.live(NAME)
    made = make_version(bundle, weights(ours, -300), version="0.1+001", home=ours.home)
    found = set()
    for _ in range(2):
        with ours.database.write() as tx:
            found.add(ours.add(tx, made, parent, "planimeter"))
    assert len(found) == 1
    assert [what for _, what in recorded(ours)] == ["seen", "candidate"]
    kept = keep(bundle, ours.home)
    assert keep(bundle, ours.home) == kept != bundle


# ------------------------------------------------------------------ for people


def test_the_list_says_what_is_live_since_when_by_whom_and_how_each_did(on_disk: Networks) -> None:
    from rich.console import Console

    version = promoted(on_disk)
    other = trained(on_disk, -200, "fail")
    with on_disk.database.write() as tx:
        person = tx.execute(sa.insert(patient).values(issuer="", patient_id="9").returning(patient.c.id)).scalar_one()
        values = dict(study_uid="1.2", patient_id=person, state="closed", arrived=Clock())
        study_id = tx.execute(sa.insert(study).values(**values).returning(study.c.id)).scalar_one()
        values = dict(study_id=study_id, network=NAME, slot="", members_hash="", because="", created=Clock())
        set_id = tx.execute(sa.insert(input_set).values(**values).returning(input_set.c.id)).scalar_one()
        candidate = networks.named(tx, NAME, version)[0]["id"]
        agreement = {"1": {"dice": 0.94, "champion_ml": 1210.0, "candidate_ml": 1190.0}}
        shadows.record(
            tx,
            input_set_id=set_id,
            model_version_id=candidate,
            champion_id=candidate - 1,
            mask_path="",
            agreement=agreement,
            seconds=2,
        )
    everything = json.loads(json.dumps(catalogue.listing(on_disk)))
    (network,) = everything["networks"]
    assert (network["live"], network["by"], network["release"]) == (version, "ada", "promote")
    assert network["since"][:2] == "20"
    assert (network["fault"], network["training"]) == (None, None)
    installed, first, second = everything["versions"]
    assert [one["version"] for one in everything["versions"]] == ["0.1", version, other]
    assert [one["live"] for one in everything["versions"]] == [False, True, False]
    assert [one["state"] for one in everything["versions"]] == ["installed", "approved", "rejected"]
    assert [one["parent"] for one in everything["versions"]] == [None, "0.1", version]
    assert installed["evaluation"] is None
    evaluation = first["evaluation"]
    assert (evaluation["outcome"], evaluation["champion"], evaluation["patients"]) == ("pass", "0.1", 14)
    assert evaluation["reasons"] == ["the mean Dice rises by 0.031"]
    assert second["evaluation"]["champion"] == version
    assert first["shadow"]["studies"] == 1
    assert first["shadow"]["classes"][0]["dice"] == 0.94
    out = io.StringIO()
    catalogue.print_tables(everything, Console(file=out, width=200))
    shown = " ".join(out.getvalue().split())
    for words in (
        "approved, live",
        "pass against 0.1 (look 1, 14 patients, mean Dice +0.031)",
        "1 studies: class 1 Dice 0.94 (0.94 at least), 1190 ml for 1210 ml",
        "rejected",
    ):
        assert words in shown, shown
    assert catalogue.listing(on_disk, "another") == {"networks": [], "versions": []}


def test_what_was_left_half_done_beside_the_versions_is_swept_when_it_is_old(tmp_path: Path) -> None:
    left = [tmp_path / "networks" / name for name in (".brought-1", ".removed-2", "balls/.half.3", "balls/whole")]
    for folder in left:
        folder.mkdir(parents=True)
    assert sweep(tmp_path, time.time() - 60) == 0
    assert sweep(tmp_path, time.time() + 60) == 3
    assert [folder.exists() for folder in left] == [False, False, False, True]


# ------------------------------------------------------------- two persons


def test_where_two_persons_are_wanted_nobody_decides_twice(ours: Networks) -> None:
    version = trained(ours, -300)
    versions.shadow(ours.database, NAME, version, "ada", "")
    with pytest.raises(Refused, match="night shift asked for the training") as refused:
        versions.approve(ours.database, NAME, version, "Night Shift", "I trust it", two_person=True)
    assert refused.value.code == "same-person"
    versions.approve(ours.database, NAME, version, "ada", "seen the report", two_person=True)
    with pytest.raises(Refused, match="ada approved") as refused:
        versions.promote(ours, NAME, version, "ada", "", two_person=True)
    assert refused.value.code == "same-person"
    assert live(ours) == "0.1"
    versions.promote(ours, NAME, version, "grace", "", two_person=True)
    assert live(ours) == version
    versions.rollback(ours, NAME, "ada", "worse on children")
    versions.approve(ours.database, NAME, version, "grace", "mended", two_person=True)
    with pytest.raises(Refused, match="grace approved"):
        versions.promote(ours, NAME, version, "grace", "", two_person=True)
    versions.promote(ours, NAME, version, "ada", "", two_person=True)


def test_where_two_persons_are_wanted_the_command_line_decides_nothing(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text("[learning]\ntwo_person = true\n")
    for command in ("approve", "promote"):
        node = ("--home", tmp_path / "home", "--config", config)
        done = planimeter("models", command, NAME, "0.1", "--reason", "ok", *node, check=False)
        assert done.returncode == 1
        assert "approve and promote on the pages" in done.stderr
