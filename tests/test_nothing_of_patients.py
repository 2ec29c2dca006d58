"""Where nothing may name a patient: logs, the list of processes, error pages, headers, metrics, messages, folders.

A whole node does everything once, well and badly, with patients whose names are known; then all that it said is read.
The collector of audit messages is the one place that is told who they were.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset

from node.errors import NodeError
from node.operations import send
from node.outbound.target import Target
from tests.certificates import self_signed
from tests.fake_collector import FakeCollector
from tests.fake_hook import FakeHook
from tests.fake_mail import FakeMail
from tests.fake_pacs import FakePacs
from tests.orthanc import Orthanc
from tests.pages import PASSWORD, Client
from tests.ports import free_port
from tests.running import PLANIMETER, RunningNode
from tests.synthetic import as_files, small_series
from tests.waiting import wait_until

PLANTED = {"PatientName": "OKAPI^TAPIR", "PatientID": "PLNT-8815", "AccessionNumber": "PLNTACC77"}
#: as they would be found in any text, whatever its case, and in UTF-16
SECRETS = re.compile("|".join(["okapi", "tapir", "plnt-?8815", "plntacc77"]).encode(), re.IGNORECASE)


def planted(**changes: str) -> list[Dataset]:
    images = small_series()
    for ds in images:
        for keyword, value in (PLANTED | changes).items():
            setattr(ds, keyword, value)
    return images


class Processes:
    """The command lines and environments of all processes of this machine, looked at again and again."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self._ended = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[Processes]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        yield self
        self._ended.set()
        thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            for folder in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        text = (folder / name).read_bytes()
                    except OSError:
                        continue
                    if SECRETS.search(text.replace(b"\0", b" ")) or b"planimeter" in text[:60]:
                        self.seen.add(text)
            self.looks += 1


def found(text: bytes | str) -> list[str]:
    """What of a patient is in a text, each with what stands around it."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    plain = raw + raw.replace(b"\0", b"")
    return [
        plain[max(0, one.start() - 80) : one.end() + 40].decode("utf-8", "replace") for one in SECRETS.finditer(plain)
    ]


def told(answers: list[httpx.Response]) -> str:
    """Headers and addresses of answers, and the whole of those that say that something went wrong."""
    lines = []
    for one in answers:
        lines += [str(one.url), *(f"{name}: {value}" for name, value in one.headers.items())]
        if one.status_code >= 400:
            lines.append(one.text)
    return "\n".join(lines)


@pytest.mark.filterwarnings("ignore")
def test_nothing_outside_names_a_patient(
    start_node: Callable[..., RunningNode], pacs: FakePacs, orthanc: Orthanc, tmp_path: Path
) -> None:
    processes, scratch = Processes(), Path(tempfile.mkdtemp(prefix="pl-"))  # sockets in it have short names
    for name in ("good", "bad", "there"):
        (tmp_path / name).mkdir()
    shown = self_signed(tmp_path, "collector")
    cert, key = shown.certificate, shown.key
    with FakeHook() as hook, FakeMail() as mail, FakeCollector((cert, key)) as collector, processes.watched():
        config = tmp_path / "node.toml"
        config.write_text(configuration(pacs, orthanc, hook, mail, collector, cert))
        node = start_node("--config", str(config), pages=True, TMPDIR=str(scratch))
        orthanc.know("PLANIMETER", node.port)
        answers = everything(node, pacs, orthanc, tmp_path, config)
        wait_until("the alarm of a destination is mailed", lambda: mail.mails and hook.taken)
        wait_until("the collector knows of all", lambda: "110105" in collector.codes())
        assert node.stop() == 0
        codes = set(collector.codes())
        audit = b"".join(collector.messages)
        messages = "\n".join(
            [str(mail.mails), str([str(one) for one in mail.mails]), str(hook.taken), str(hook.headers)]
        )
    # what it did was worth reading
    assert {"110104", "110102", "110103", "110105", "110112", "110113/110126", "110114/110122"} <= codes
    assert {"110100/110120", "110107", "110113/110134", "110108/110124"} <= codes
    assert b"PLNT-8815" in audit
    assert b"OKAPI" not in audit  # the Standard wants the number; nobody asked for the name
    assert processes.looks > 20
    assert any(b"model host" in one for one in processes.seen)
    lines = [json.loads(line) for line in node.log.splitlines() if line.startswith("{")]
    assert {"receive", "schedule", "work-1", "web", "planimeter"} <= {line["process"] for line in lines}
    other = [line for line in node.log.splitlines() if not line.startswith(("{", "---"))]
    assert [line for line in other if not re.match(r"(PLANIMETER|pages|  |sends|first|\S+ is|$)", line)] == [], other
    # and nothing of it names them
    assert found(node.log) == []
    assert [one for one in processes.seen if SECRETS.search(one)] == []
    assert found(told(answers)) == []
    assert found(messages) == []
    left = [file for file in scratch.rglob("*") if file.is_file()]
    assert [file for file in left if found(file.read_bytes())] == []
    assert list((node.home / "spool").glob("*")) == []
    shutil.rmtree(scratch)


def configuration(
    pacs: FakePacs, orthanc: Orthanc, hook: FakeHook, mail: FakeMail, collector: FakeCollector, cert: Path
) -> str:
    query = f'query = {{ host = "127.0.0.1", port = {orthanc.port}, retrieve = "move" }}'
    return f"""
[hosts]
at_start = false
[receive]
quiet_seconds = 1
reserve_gb = 0
[work]
workers = 1
[send]
attempts = 2
first_retry_seconds = 0.1
[web]
port = {free_port()}
[log]
format = "json"
level = "debug"
[alarms]
destination_minutes = 0.001
[mail]
host = "127.0.0.1"
port = {mail.port}
security = "none"
sender = "planimeter@hospital.example"
[metrics]
allow = ["127.0.0.1"]
[audit]
host = "127.0.0.1"
port = {collector.port}
ca_file = "{cert}"
[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "127.0.0.1"
may_send = true
[[peer]]
name = "pacs"
ae_title = "{pacs.ae_title}"
destination = {{ host = "127.0.0.1", port = {pacs.port} }}
[[peer]]
name = "away"
ae_title = "AWAY"
destination = {{ host = "127.0.0.1", port = {free_port()} }}
[[peer]]
name = "orthanc"
ae_title = "ORTHANC"
address = "127.0.0.1"
may_send = true
{query}
[[route]]
name = "chest"
networks = ["ct_lungs"]
destinations = ["pacs", "away"]
[[recipient]]
name = "office"
mail = ["office@hospital.example"]
[[recipient]]
name = "chat"
webhook = "{hook.url}"
"""


def everything(
    node: RunningNode, pacs: FakePacs, orthanc: Orthanc, tmp_path: Path, config: Path
) -> list[httpx.Response]:
    """Good and bad studies, callers, deliveries, fetches, pages, and an erasure; what the pages answered."""
    good, there = planted(), planted()
    uid = str(good[0].StudyInstanceUID)
    as_files(good, tmp_path / "good")
    pacs.comment = "no room for OKAPI^TAPIR (PLNT-8815)"  # a PACS may say anything
    pacs.statuses = [0xA700, 0xC000]
    send.send(tmp_path / "good", Target("node", "PLANIMETER", "127.0.0.1", node.port), "SCANNER")
    bad_ones(tmp_path / "bad", node.port)
    wait_until("results were sent", lambda: pacs.objects, 120)
    for ds in there:
        data = BytesIO()
        ds.save_as(data, enforce_file_format=True)
        orthanc.take(data.getvalue())
    this = ("--config", str(config), "--home", str(node.home))
    run("fetch", "--patient", "-", *this, said="PLNT-8815\n")
    run("submit", str(tmp_path / "bad"), *this, check=False)
    with Client(f"http://127.0.0.1:{node_web_port(config)}") as client:
        answers = look_around(client, node, uid)
    run("erase", "-", "--reason", "asked to", *this, said="PLNT-8815\n")
    return answers


def node_web_port(config: Path) -> int:
    return int(config.read_text().split("[web]\nport = ")[1].split("\n")[0])


def run(*words: str, said: str = "", check: bool = True) -> str:
    """A command of a person at a terminal, who may be shown what was asked for."""
    command = [*PLANIMETER, *words]
    done = subprocess.run(
        command, input=said, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=300
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def bad_ones(folder: Path, port: int) -> None:
    """A truncated object, one with an impossible one inside, one without UIDs; from somebody unknown too."""
    images = planted()[:3]
    images[0].Rows = 3
    images[1].StudyInstanceUID = "not a uid PLNT-8815"
    files = as_files(images, folder)
    whole = files[2].read_bytes()
    send.send(folder, Target("node", "PLANIMETER", "127.0.0.1", port), "SCANNER")
    files[2].write_bytes(whole[:-700])
    send.send(folder, Target("node", "PLANIMETER", "127.0.0.1", port), "SCANNER")
    for who in ("STRANGER", "OTHER"):
        with pytest.raises(NodeError) as turned_away:
            send.send(folder, Target("node", "PLANIMETER", "127.0.0.1", port), who)
        assert found(turned_away.value.sentence) == []


def look_around(client: Client, node: RunningNode, uid: str) -> list[httpx.Response]:
    """Every way to ask wrongly, and some to ask right."""
    token = (node.home / "first-sign-in").read_text().strip()
    who = {"name": "bert", "password": PASSWORD, "again": PASSWORD, "token": token}
    answers = [client.post("/first", data={"csrf": client.token(), **who | {"token": "wrong"}})]
    who["name"] = "anna"
    answers.append(client.post("/first", data={"csrf": client.token(), **who}))
    assert answers[-1].status_code == 303
    study = f"/studies/{uid}"
    paths = (
        "/nowhere", "/studies/1.2.3", f"{study}/images/9", f"{study}/images/1/9999.png", f"{study}/images/1?window=x",
        "/labels/7", "/networks/none", "/runs/9", "/audit?before=x", "/metrics", "/health/ready", "/queue", "/alarms",
        "/sign-in", study, f"{study}/images/1",
    )  # fmt: skip
    answers += [client.get(path) for path in paths]
    wrong: tuple[tuple[str, dict[str, str]], ...] = (
        (f"{study}/retry", {"job": "x"}),
        (f"{study}/withdraw", {"result": "1"}),
        (f"{study}/send", {"result": "1", "destination": "nobody"}),
        ("/nowhere", {}),
        ("/users", {}),
    )
    answers += [client.submit(path, **fields) for path, fields in wrong]
    answers += [client.post(path, data=fields) for path, fields in wrong]
    answers.append(client.get("/queue", headers={"host": "evil.example"}))
    assert {404, 403, 421} <= {one.status_code for one in answers}
    return answers
