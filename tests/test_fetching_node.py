"""A whole node takes a new PACS without a restart, and fetches from it: Orthanc has the study, nobody sends it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from db import route_decisions, studies
from db.database import open_database, sqlite_url
from tests.orthanc import Orthanc
from tests.pulling import study
from tests.running import RunningNode, planimeter
from tests.sites import route

FILE = '[hosts]\nat_start = false\n[receive]\nquiet_seconds = 1\n[fetch]\nwindow = ""\n[work]\nworkers = 1\n'
#: takes nothing of what comes, so that no network has to run
NOTHING = route(destinations="[]", when='[{ modality = "MR" }]')


def test_a_running_node_takes_a_new_pacs_and_fetches_from_it(
    orthanc: Orthanc, start_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    images = study(4)
    for ds in images:
        data = BytesIO()
        ds.save_as(data, enforce_file_format=True)
        orthanc.take(data.getvalue())
    file = tmp_path / "planimeter.toml"
    file.write_text(FILE + NOTHING)
    node = start_node("--config", str(file))
    this = ("--config", file, "--home", node.home)
    orthanc.know("PLANIMETER", node.port)
    days = ("--days", "2026-01-04")
    assert "no [[peer]]" in planimeter("fetch", *days, "--from", "orthanc", *this, check=False).stderr
    new = tmp_path / "new.toml"
    query = f'query = {{ host = "127.0.0.1", port = {orthanc.port} }}'
    peer = f'[[peer]]\nname = "orthanc"\nae_title = "ORTHANC"\naddress = "127.0.0.1"\nmay_send = true\n{query}\n'
    new.write_text(peer + NOTHING)
    assert "version 2 is live" in planimeter("config", "apply", new, "--yes", *this).stdout
    assert "1 studies are fetched" in planimeter("fetch", *days, *this).stdout
    uid = images[0].StudyInstanceUID
    found = node.wait_for(uid, "refused")
    assert found["images"] == len(images)
    assert "no-route" in found["reason"]
    database = open_database(sqlite_url(node.home / "planimeter.db"))
    with database.read() as tx:
        row = studies.find(tx, uid)
        assert row is not None
        (said,) = route_decisions.of_study(tx, row["id"])
    database.dispose()
    assert said["config_version"] == 2
