"""Peers and routes change without a restart: versions are kept, mistakes change nothing, and there is a way back."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from config.reloadable import part_of, values_of
from config.settings import SettingsError, load
from db import config_versions, events, route_decisions, studies
from db.database import Conflict, Database
from db.job_states import JobKind
from node import cli, reloading
from node.app import Node
from node.command_line.options import who
from node.errors import Refused
from node.outbound.association import stand_aside
from node.receiver import Receiver
from tests.doors import door
from tests.driving import only_study, take_in, work_off
from tests.sites import PEERS, Site, route
from tests.synthetic import small_series
from tests.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path, migrated: Path) -> Site:
    made = Site(tmp_path, migrated)
    made.write(route())
    return made


def apply(node: Node, text: str, after: int | None = 1, who: str = "bob") -> int:
    return reloading.apply(node.configuration, text, "the text", who=who, why="a test", after=after)


def live(node: Node) -> dict[str, tuple[str, ...]]:
    return {one.name: one.destinations for one in node.fresh().routes}


# ---------------------------------------------------------------------------- text


def test_what_is_kept_is_what_was_written_with_its_comments() -> None:
    text = (
        "# the site\n[node]\nae_title = 'A'  # ours\n\n# the archive\n[[peer]]\nname = 'p'\n# of 2019\nae_title = 'P'\n"
        "[peer.destination]\nhost = '10.0.0.1'\nport = 104\n\n[work]\nworkers = 3\n# all chests\n[[route]]\n"
        "name = 'r'\nnetworks = ['n']\nwhen = [\n  { modality = 'CT' },  # no MR\n]\n"
    )
    kept = part_of(text)
    assert values_of(kept) == values_of(text)
    for comment in ("# the archive", "# of 2019", "# all chests", "# no MR"):
        assert comment in kept
    for other in ("the site", "ae_title = 'A'", "workers"):
        assert other not in kept


@pytest.mark.parametrize(
    "text",
    [
        "peer = [{ name = 'p', ae_title = 'P' }]\n[work]\nworkers = 3\n",
        "[[route]]\nname = '''\n[work]\n'''\nnetworks = ['n']\n",
        "",
        "[work]\nworkers = 2\n",
    ],
)
def test_what_cannot_be_cut_out_is_written_anew(text: str) -> None:
    assert values_of(part_of(text)) == values_of(text)
    assert "workers" not in values_of(part_of(text))


# ------------------------------------------------------------------------ versions


def test_a_file_makes_a_version_when_it_has_changed_and_what_was_applied_survives_a_restart(site: Site) -> None:
    with site.started() as node:
        assert node.config_version == 1
        assert apply(node, PEERS + route(destinations='["viewer"]')) == 2
    with site.started() as node:
        assert (node.config_version, live(node)) == (2, {"chest": ("viewer",)})
    site.write(route(destinations='["pacs", "viewer"]'))
    with site.started() as node:
        assert (node.config_version, live(node)) == (3, {"chest": ("pacs", "viewer")})
        with node.database.read() as tx:
            rows = config_versions.listing(tx)
    assert [(row["id"], row["what"], row["who"]) for row in rows] == [
        (3, "file", "ann"),
        (2, "apply", "bob"),
        (1, "file", "ann"),
    ]


def test_a_file_is_the_same_however_it_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.started() as node:
        apply(node, PEERS + route(destinations='["viewer"]'))
        monkeypatch.chdir(site.folder)
        named = load(Path("planimeter.toml"), {"node": {"home": site.folder / "home"}})
        assert reloading.note_file(node.database, named, "ann") is None
        assert live(node) == {"chest": ("viewer",)}


def test_a_file_without_peers_and_routes_takes_those_that_are_live(site: Site, tmp_path: Path) -> None:
    with site.started():
        pass
    worker = Site(tmp_path, site.migrated)
    other = tmp_path / "worker.toml"
    other.write_text("[work]\nworkers = 1\n")
    settings = load(other, {"node": {"home": tmp_path / "home"}})
    with worker.started() as node:
        assert reloading.note_file(node.database, settings, "ann") is None
        assert live(node) == {"chest": ("pacs",)}


def test_a_decision_keeps_the_version_it_was_made_under(site: Site) -> None:
    with site.started() as node:
        take_in(node, small_series(study_uid="1.2.3"))
        work_off(node, JobKind.CHOOSE)
        apply(node, PEERS + route("lungs", destinations='["viewer"]'))
        take_in(node, small_series(study_uid="1.2.3", series_number=3))
        work_off(node, JobKind.CHOOSE)
        with node.database.read() as tx:
            study = studies.find(tx, only_study(node)["study_uid"])
            assert study is not None
            rows = route_decisions.of_study(tx, study["id"])
    said = {(row["generation"], row["config_version"], row["said"][0]["route"]) for row in rows}
    assert said == {(1, 1, "chest"), (2, 2, "lungs")}


def test_what_a_job_began_with_it_ends_with(site: Site) -> None:
    with site.started() as node:
        during = node.fresh()
        apply(node, PEERS + route(destinations='["viewer"]'))
        assert during.routes[0].destinations == ("pacs",)
        assert node.fresh().routes[0].destinations == ("viewer",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PEERS + route(destinations='["nowhere"]'), "'nowhere' is no [[peer]]"),
        (
            PEERS + route(netwroks='["x"]'),
            "the text:16: route.0.netwroks: there is no such key; did you mean `networks`?",
        ),
        (PEERS + route(when='[{ keyword = "Modalitty", equals = "CT" }]'), "did you mean `Modality`?"),
        ("[[route\n", "the text: not valid TOML"),
        (PEERS + route(networks='["no_such"]'), "there is no network no_such"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place_and_changes_nothing(site: Site, text: str, said: str) -> None:
    with site.started() as node:
        with pytest.raises((SettingsError, Refused)) as caught:
            apply(node, text)
        assert said in str(caught.value)
        assert node.fresh() is node


def test_of_two_who_change_it_at_the_same_time_one_is_told(site: Site) -> None:
    with site.started() as node:
        apply(node, PEERS + route(destinations='["viewer"]'), after=1)
        with pytest.raises(Refused, match="somebody else"):
            apply(node, PEERS + route(destinations="[]"), after=1, who="eve")
        with pytest.raises(Refused, match="version 2, which is live, says already"):
            apply(node, PEERS + route(destinations='["viewer"]'), after=2)


def test_every_version_is_one_more_also_when_many_write(database: Database) -> None:
    def write(number: int) -> None:
        wait_until("no other one writes at the same moment", lambda: added(number))

    def added(number: int) -> bool:
        with suppress(Conflict), database.write() as tx:
            config_versions.add(tx, f"# {number}", who="x", why="", what="apply")
            return True
        return False

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert sorted(row["id"] for row in config_versions.listing(tx)) == list(range(1, 7))
        assert config_versions.live_id(tx) == 6


def test_there_is_a_way_back_and_it_is_on_the_record(site: Site) -> None:
    with site.started() as node:
        apply(node, PEERS + route(destinations="[]"))
        assert reloading.roll_back(node.configuration, 1, who="eve", why="nothing arrived") == 3
        assert live(node) == {"chest": ("pacs",)}
        with pytest.raises(Refused, match="no version 9"):
            reloading.roll_back(node.configuration, 9, who="eve", why="")
        with node.database.read() as tx:
            said = [(one["who"], one["what"], one["subject"]) for one in events.listing(tx)]
    assert said == [("eve", "configuration rollback", "version 3"), ("bob", "configuration apply", "version 2")]


def test_a_version_that_cannot_be_used_here_leaves_what_runs_as_it_is(site: Site) -> None:
    with site.started() as node:
        with node.database.write() as tx:
            config_versions.add(tx, "[[route]]\nname = 'of a newer Planimeter'\n", who="x", why="", what="apply")
        assert live(node) == {"chest": ("pacs",)}
    with pytest.raises(SettingsError, match=r"version 2.*(\n.*)+rollback VERSION"), site.started():
        pass
    arguments = ["--config", str(site.file), "--home", str(site.folder / "home")]
    assert cli.main(["config", "rollback", "1", *arguments]) == 0
    with site.started() as node:
        assert live(node) == {"chest": ("pacs",)}


# ------------------------------------------------------------------------ processes


def test_the_receiver_lets_in_whom_the_live_version_names(site: Site) -> None:
    scanner = '\n[[peer]]\nname = "ct"\nae_title = "{}"\naddress = "127.0.0.1"\nmay_send = true\n'
    site.write(scanner.format("CT_1"), route())
    with site.started() as node:
        receiver = Receiver(door(), node.configuration.live().doorkeeper, node.inbox, node.database)
        receiver.renewed = lambda: node.configuration.live().doorkeeper
        port = receiver.start()
        try:
            assert _echoes(port, "CT_1")
            assert not _echoes(port, "CT_2")
            apply(node, PEERS + scanner.format("CT_2") + route())
            wait_until("the new scanner may call", lambda: _echoes(port, "CT_2"))
            assert not _echoes(port, "CT_1")
        finally:
            receiver.stop()


def _echoes(port: int, ae_title: str) -> bool:
    ae = AE(ae_title)
    ae.add_requested_context(Verification, [ImplicitVRLittleEndian])
    assoc = stand_aside(ae.associate("127.0.0.1", port))
    if assoc.is_established:
        assoc.release()
        return True
    return False


# ------------------------------------------------------------------------- commands


def test_the_commands_of_a_site(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(site.file), "--home", str(site.folder / "home")]
    query = 'query = { host = "127.0.0.1", port = 9, retrieve = "get" }'
    archive = f'\n[[peer]]\nname = "archive"\nae_title = "ARCHIVE"\n{query}\n'
    site.write(archive, route())
    with site.started() as node:
        take_in(node, small_series())
        work_off(node, JobKind.CHOOSE)
    new = site.folder / "new.toml"
    new.write_text(f"[work]\nworkers = 7\n{PEERS}{archive}{route(destinations='[]')}")
    assert cli.main(["config", "apply", str(new), *arguments]) == 1
    answer = capfd.readouterr()
    assert "1 of 1 studies would change" in answer.out
    assert "work.workers is not taken over: that needs a restart of `run` with this file" in answer.out
    assert "nothing is changed" in answer.err
    assert cli.main(["config", "apply", str(new), "--yes", "--reason", "tired", *arguments]) == 0
    assert "version 2 is live" in capfd.readouterr().out
    assert cli.main(["config", "diff", "1", *arguments]) == 0
    assert '-destinations = ["pacs"]\n+destinations = []\n' in capfd.readouterr().out
    assert cli.main(["config", "show", *arguments]) == 0
    assert "workers" not in capfd.readouterr().out
    assert cli.main(["config", "list", *arguments]) == 0
    assert "tired" in capfd.readouterr().out
    cli.main(["check", *arguments])
    said = " ".join(capfd.readouterr().out.split())
    assert f"version 2 of {who()} is live, and other than" in said
    assert "wrong PACS to ask" in said
    assert cli.main(["config", "show", "9", *arguments]) == 1
    assert "there is no version 9" in capfd.readouterr().err
    new.write_text("[[route]]\nname = 'r'\nnetworks = []\n")
    assert cli.main(["config", "apply", str(new), "--yes", *arguments]) == 1
    assert f"{new}:3: route.0.networks" in capfd.readouterr().err
