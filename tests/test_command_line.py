"""The command line: what each command prints, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from config.settings import SettingsError
from db.job_states import JobKind
from db.tables import result
from models import card
from node.app import Node
from node.command_line.options import target_of
from tests.driving import only_study, take_in, work_off
from tests.fake_pacs import FakePacs
from tests.ports import free_port
from tests.running import PLANIMETER, planimeter
from tests.synthetic import as_files, small_series

KEYS = {
    "studies": {"study_uid", "state", "images", "reason"},
    "jobs": {
        *("id", "kind", "state", "model", "study_uid", "attempts", "reason", "seconds"),
        *("windows_done", "windows_of", "progress"),
    },
    "callers": {"address", "ae_title", "count", "reason", "last"},
    "deliveries": {
        *("result", "sop_uid", "study_uid", "kind", "options", "destination", "state", "attempts", "reason"),
    },
    "held": {"result", "study_uid", "reason"},
    "machines": {"machine", "process", "role", "state", "version", "since", "silent_seconds"},
    "networks": {"machine", "network", "state", "device", "memory_mb", "peak_mb", "last_used"},
    "confinement": {"part", "state", "can", "reason"},
    "aside": {"network", "reason"},
    "due": {"state", "study_uid", "network", "deadline", "minutes", "waits_for"},
    "lacking": {"peer", "study_uid", "day", "modalities", "images", "here"},
    "audit": {
        *("waiting", "oldest_seconds", "open", "unsendable", "sent", "lost", "lost_seconds"),
        *("failing_seconds", "reason"),
    },
}
#: without a supervisor, a result to look at, a network that lost its golden cases, deadlines and a PACS to go through
EMPTY = {"audit", "held", "networks", "aside", "due", "lacking", "machines"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "a home"


@pytest.fixture
def used(home: Path, migrated: Path) -> Path:
    """The home of a node that has run before: its database is there."""
    home.mkdir(mode=0o700)
    shutil.copyfile(migrated, home / "planimeter.db")
    return home


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, str]:
    """A folder of images, and their StudyInstanceUID."""
    images = small_series()
    as_files(images, tmp_path / "study")
    return tmp_path / "study", str(images[0].StudyInstanceUID)


def refused(*arguments: str | Path) -> str:
    """What a command that must fail says: a sentence, and no traceback."""
    done = planimeter(*arguments, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_help_lists_every_command_and_each_has_help_of_its_own() -> None:
    commands = re.findall(r"^    (\w+)(?: |$)", planimeter("--help").stdout, re.MULTILINE)
    assert set(commands) >= {
        *("run", "receive", "work", "schedule", "status", "jobs", "retry", "reprocess", "send", "submit", "check"),
        *("close", "pause", "resume", "upgrade", "demo"),
    }
    for command in commands:
        assert f"planimeter {command}" in planimeter(command, "--help").stdout


def test_what_is_not_a_command_is_answered_with_the_way_to_help() -> None:
    for arguments in (["frobnicate"], ["run", "--prot", "104"], ["retry", "one"], ["pause", "breathing"]):
        done = planimeter(*arguments, check=False)
        assert done.returncode == 2
        assert "--help` tells more" in done.stderr
    assert planimeter(check=False).returncode == 2


def test_a_folder_is_taken_in_and_shown(used: Path, study: tuple[Path, str]) -> None:
    folder, study_uid = study
    assert planimeter("submit", "--home", used, folder).stdout == "8 new; 0 refused\n"
    assert planimeter("submit", "--home", used, folder).stdout == "8 same; 0 refused\n"
    status = json.loads(planimeter("status", "--home", used, "--json").stdout)
    assert status["jobs"] == status["callers"] == status["deliveries"] == []
    assert status["studies"] == [{"study_uid": study_uid, "state": "arriving", "images": 8, "reason": None}]
    assert "arriving" in planimeter("status", "--home", used).stdout


def test_the_json_of_status_keeps_its_keys(node: Node, pacs: FakePacs) -> None:
    take_in(node, small_series())
    pacs.statuses = [0xB000]
    work_off(node)
    (cut,) = as_files(small_series()[:1], node.inbox.archive.home / "..")
    cut.write_bytes(cut.read_bytes()[:-100])
    planimeter("submit", "--home", node.inbox.archive.home, cut, check=False)
    status = json.loads(planimeter("status", "--home", node.inbox.archive.home, "--json").stdout)
    assert {name for name, rows in status.items() if rows == []} == EMPTY
    assert {name: set(rows[0]) if rows else KEYS[name] for name, rows in status.items()} == KEYS
    assert set(status["studies"][0].values()) >= {"done", 8}
    segment = next(job for job in status["jobs"] if job["kind"] == "segment")
    assert {"volume", "host", "network", "objects"} <= set(segment["seconds"])
    assert {row["state"] for row in status["deliveries"]} == {"delivered"}
    assert any("0xB000" in (row["reason"] or "") for row in status["deliveries"])
    shown = planimeter("status", "--home", node.inbox.archive.home).stdout
    assert "turned away at the door" in shown
    with node.database.write() as tx:
        tx.execute(sa.update(result).values(state="held", reason="the volumes differ"))
    (held,) = json.loads(planimeter("status", "--home", node.inbox.archive.home, "--json").stdout)["held"]
    assert set(held) == KEYS["held"]
    assert (held["study_uid"], held["reason"]) == (status["studies"][0]["study_uid"], "the volumes differ")


def test_what_cannot_be_taken_in_is_said_and_the_rest_is(used: Path, study: tuple[Path, str]) -> None:
    folder, _ = study
    (folder / "notes.txt").write_text("the patient moved")
    (folder / "0003.dcm").write_bytes((folder / "0003.dcm").read_bytes()[:-50])
    said = refused("submit", "--home", used, folder)
    assert "7 new; 2 refused" in said
    assert "notes.txt: this is no DICOM file" in said
    assert "0003.dcm: the object is cut short" in said
    assert "there is no such file or folder" in refused("submit", "--home", used, folder / "nowhere")


@pytest.mark.parametrize("command", [["submit"], ["labels", "add"]], ids=" ".join)
def test_a_disk_whose_file_names_are_of_another_alphabet_is_taken_in(
    used: Path, study: tuple[Path, str], command: list[str]
) -> None:
    folder, _ = study
    Path(os.fsdecode(bytes(folder) + b"/M\xfcller.txt")).write_text("the patient moved")
    said = refused(*command, "--home", used, folder)
    assert "8 " in said and "; 1 refused" in said
    assert "M?ller.txt: this is no DICOM file" in said


def test_the_home_is_for_its_owner_alone(home: Path, study: tuple[Path, str]) -> None:
    planimeter("submit", "--home", home, study[0])
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_closing_does_not_wait_for_more(used: Path, study: tuple[Path, str]) -> None:
    planimeter("submit", "--home", used, study[0])
    assert "is closed" in planimeter("close", "--home", used, study[1]).stdout
    (job,) = json.loads(planimeter("status", "--home", used, "--json").stdout)["jobs"]
    assert (job["kind"], job["state"]) == ("choose", "waiting")
    assert "there is no study 1.2.3 with images" in refused("close", "--home", used, "1.2.3")
    assert "there is no study 1.2.3 with images" in refused("reprocess", "--home", used, "1.2.3")


def test_a_dead_letter_is_retried_by_its_job(node: Node, pacs: FakePacs) -> None:
    home = node.inbox.archive.home
    take_in(node, small_series())
    pacs.statuses = [0xC000]
    work_off(node)
    assert only_study(node)["state"] == "failed"
    jobs = json.loads(planimeter("status", "--home", home, "--json").stdout)["jobs"]
    (deliver,) = [job for job in jobs if job["kind"] == "deliver"]
    assert deliver["state"] == "dead"
    shown = planimeter("jobs", "--home", home, str(deliver["id"])).stdout
    assert "0xC000" in shown
    assert "waits again" in planimeter("retry", "--home", home, str(deliver["id"])).stdout
    assert "has not ended" in refused("retry", "--home", home, str(deliver["id"]))
    assert "there is no job 999" in refused("retry", "--home", home, "999")
    work_off(node, JobKind.DELIVER)
    assert only_study(node)["state"] == "done"
    assert "deliver" in planimeter("jobs", "--home", home).stdout


def test_reprocessing_runs_again(node: Node) -> None:
    take_in(node, small_series())
    work_off(node)
    said = planimeter("reprocess", "--home", node.inbox.archive.home, only_study(node)["study_uid"]).stdout
    assert "1 networks run again" in said
    assert only_study(node)["state"] == "waiting"


def test_pausing_is_shown_until_it_is_resumed(used: Path) -> None:
    assert planimeter("pause", "--home", used, "send").stdout == "send: paused\n"
    assert "Paused: send" in planimeter("status", "--home", used).stdout
    assert planimeter("pause", "--home", used).stdout == "receive, work, send, learn: paused\n"
    assert planimeter("resume", "--home", used).stdout == "receive, work, send, learn: goes on\n"
    assert "Paused" not in planimeter("status", "--home", used).stdout


def test_a_folder_is_sent_to_a_pacs(home: Path, study: tuple[Path, str], pacs: FakePacs) -> None:
    folder, _ = study
    (folder / "notes.txt").write_text("no DICOM")
    target = f"{pacs.ae_title}@127.0.0.1:{pacs.port}"
    sent = planimeter("send", "--home", home, folder, target)
    assert sent.stdout == f"8 of 8 stored at {pacs.ae_title}; 1 files were no DICOM\n"
    assert len(pacs.objects) == 8
    pacs.statuses = [0xA700]
    assert "7 of 8 stored" in refused("send", "--home", home, folder, target)
    assert "no DICOM file there" in refused("send", "--home", home, folder / "notes.txt", target)
    assert "NOBODY" in refused("send", "--home", home, folder, f"NOBODY@127.0.0.1:{free_port()}")
    assert "'PACS' is neither a [[peer]] nor AET@HOST:PORT" in refused("send", "--home", home, folder, "PACS")


@pytest.mark.parametrize("wrong", ["PACS", "PACS@host", "PACS@host:port", "@host:104", "PACS@host:99999"])
def test_what_is_no_target_is_refused_with_an_example_of_one(wrong: str) -> None:
    with pytest.raises(SettingsError, match="is not AET@HOST:PORT, such as"):
        target_of(wrong)


def test_check_finds_everything_in_order(home: Path, pacs: FakePacs) -> None:
    done = planimeter("check", "--home", home, "--send-to", f"{pacs.ae_title}@127.0.0.1:{pacs.port}", COLUMNS="200")
    assert "Everything is in order" in done.stdout
    for said in ("no [[peer]] has `may_send = true`", "ct_lungs", "answers C-ECHO", "transfer syntaxes", "SQLite"):
        assert said in done.stdout, said


def test_check_says_what_is_wrong(home: Path, tmp_path: Path, pacs: FakePacs) -> None:
    home.mkdir()
    home.chmod(0o755)
    shutil.copytree(card.SHIPPED / "ct_lungs", home / "models" / "ct_lungs")
    (home / "models" / "ct_lungs" / "configs" / "inference.json").write_text("{}")
    config = tmp_path / "planimeter.toml"
    config.write_text(
        "[receive]\nreserve_gb = 1e9\n"
        "[[peer]]\nname = 'away'\nae_title = 'AWAY'\n"
        f"destination = {{ host = '127.0.0.1', port = {free_port()} }}\n"
        "[[route]]\nname = 'r'\nnetworks = ['ct_lungs', 'ct_hearts']\n"
    )
    said = refused("check", "--home", home, "--config", config)
    said = " ".join(said.split())
    assert "every C-STORE is answered 0xA700" in said
    assert "can be read by others; chmod 700 it" in said
    assert "there is no network called ct_hearts" in said
    assert "is not the file that planimeter.toml lists" in said
    assert "5 wrong" in said


def test_check_with_a_database_that_is_away(home: Path) -> None:
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/planimeter"
    assert "does not answer: connection failed" in " ".join(refused("check", "--home", home, "--database", url).split())


def test_a_mistake_in_the_settings_stops_every_command(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "planimeter.toml"
    config.write_text("[receive]\nprot = 104\n")
    for command in (["run"], ["status"], ["check"], ["submit", str(tmp_path)]):
        said = refused(*command, "--home", home, "--config", config)
        assert said == (f"planimeter: {config}:2: receive.prot: there is no such key; did you mean `port`?\n")


def test_a_port_that_is_taken_is_said(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = refused("run", "--home", home, "--port", str(other.getsockname()[1]))
    assert "cannot listen on 127.0.0.1" in said
    assert "is another node running" in said
    assert not home.exists(), "nothing was begun"


def test_upgrading_says_from_where_to_where(home: Path) -> None:
    assert re.search(r"is at 0\d+, it was at nothing", planimeter("upgrade", "--home", home).stdout)
    assert re.search(r"is at (0\d+), it was at \1", planimeter("upgrade", "--home", home).stdout)


def test_a_home_that_may_not_be_written_is_said(tmp_path: Path, study: tuple[Path, str]) -> None:
    file = tmp_path / "file"
    file.touch()
    said = refused("submit", "--home", file / "home", study[0])
    assert str(file) in said


def test_status_without_a_terminal_has_no_colours(used: Path) -> None:
    assert "\x1b" not in planimeter("status", "--home", used).stdout


def test_in_a_pipe_each_row_is_a_line_and_a_terminal_gets_lines_that_fit(used: Path, study: tuple[Path, str]) -> None:
    folder, study_uid = study
    planimeter("submit", "--home", used, folder)
    (row,) = [
        line for line in planimeter("status", "--home", used, COLUMNS="").stdout.splitlines() if study_uid in line
    ]
    assert "arriving" in row
    narrow = planimeter("status", "--home", used, COLUMNS="40").stdout
    assert study_uid not in narrow
    assert max(map(len, narrow.splitlines())) <= 40


def test_a_closed_pipe_ends_quietly(used: Path) -> None:
    """`planimeter status --json | head -1`"""
    command = " ".join([*PLANIMETER, "status", "--home", f"'{used}'", "--json", "|", "head", "-c", "1"])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_node_keeps_its_configuration_when_it_is_started_without_naming_it(tmp_path: Path, home: Path) -> None:
    """The children of `run` are told the file that is meant, and the next start finds it again."""
    import argparse

    from node.command_line.options import same_options, settings_of
    from node.remembered import remember

    config = tmp_path / "site.toml"
    config.write_text("[receive]\nquiet_seconds = 7\n")
    home.mkdir()
    given: dict[str, object] = {"config": config}
    for _ in range(3):
        unset = dict.fromkeys(("config", "ae_title", "port", "database", "quiet_seconds"))
        options = argparse.Namespace(**(unset | {"home": home, "send_to": []} | given))
        assert settings_of(options).receive.quiet_seconds == 7
        assert str(config) in same_options(options)
        remember(home, options.config, options.database)
        given = {}


def test_a_version_that_is_named_is_not_taken_for_the_question_which_version_this_is(tmp_path: Path) -> None:
    for command in ("approve", "promote"):
        done = planimeter(
            "models", command, "ct_lungs", "9.9.9", "--reason", "tried", "--home", tmp_path / "home", check=False
        )
        assert done.returncode == 1
        assert "ct_lungs has no version 9.9.9" in done.stderr
