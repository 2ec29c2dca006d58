"""The whole learning loop on real images, through the real door: what `make learn` runs.

    python -P -m tests.learning.rehearsal --data DATA --out FOLDER [--key N] [--champion PATIENTS]

A deliberately poor network is installed in a fresh node. The other patients' PET arrives by C-STORE and gets drafts;
the experts' contours come back by C-STORE, half of them as RTSTRUCT, half as SEG. The scheduler sees that enough new
patients have come, and trains; the gate judges the candidate on the locked patients. Where it passes, it runs in the
shadow on two more studies, is approved and promoted, and the next study is segmented by it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from rich.console import Console

from models import card
from models.card import SHIPPED
from node.learning.buckets import Key, Shares, bucket
from node.study.decode import Decoders
from tests.learning import champion, patients
from tests.learning.keys import SHARES, key
from tests.learning.patients import Patient
from tests.returned import folder_of
from tests.running import RunningNode, planimeter
from tests.waiting import wait_until

SETTINGS = """
[receive]
quiet_seconds = 2

[work]
workers = 1

[learning]
train = true
shares = {shares}
new_patients = {new_patients}
window = ""
max_epochs = {epochs}
max_minutes = {minutes}
early_stop = 1000
quiet_seconds = 1
shadow_studies = 2

[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "127.0.0.1"
may_send = true

[[peer]]
name = "viewer"
ae_title = "VIEWER"
address = "127.0.0.1"
may_send_labels = true

[[route]]
name = "sarcoma"
networks = ["pet_sarcoma"]
"""
CHAMPION_EPOCHS = champion.STEPS
#: 15 patients in batches of four: four steps an epoch
EPOCHS, MINUTES = 120, 7.0
ASK_SECONDS = 6.0
LONG_SECONDS = 1500.0


@dataclass
class Story:
    """What happened, for the report.

    Attributes:
        seconds: what took how long.
        facts: everything else.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def rehearse(data: Path, home: Path, scratch: Path, number: int, of_champion: int, console: Console) -> Story:
    """One run of the loop.

    Args:
        data: the unpacked imaging data.
        home, scratch: empty folders.
        number: of the key.
        of_champion: how many patients of the train bucket the champion is trained on.
    """
    story, decoders = Story(), Decoders(1)
    begun = time.monotonic()

    def passed(what: str) -> None:
        nonlocal begun
        story.seconds[what] = round(time.monotonic() - begun, 1)
        console.print(f"  {what}: {story.seconds[what]} s")
        begun = time.monotonic()

    secret = _install_key(home, key(number))
    everybody = patients.find(data)
    buckets = {one.name: _bucket(secret, one) for one in everybody}
    first = [one for one in everybody if buckets[one.name] == "train"][:of_champion]
    rest = [one for one in everybody if one not in first]
    counted = {name: [buckets[one.name] for one in rest].count(name) for name in ("train", "validation", "test")}
    story.facts |= {"key": number, "champion": [one.name for one in first], "buckets": counted}
    console.print(f"key {number}: {len(first)} patients for the champion; of the other {len(rest)} {counted}")
    champion.make(first, secret, home, scratch, CHAMPION_EPOCHS, decoders)
    passed("champion trained")
    config = scratch / "planimeter.toml"
    words = {"shares": list(SHARES), "new_patients": counted["train"], "epochs": EPOCHS, "minutes": MINUTES}
    config.write_text(SETTINGS.format(**words), encoding="utf-8")
    node = RunningNode(home, ("--config", str(config)), {"OMP_NUM_THREADS": str(os.cpu_count() or 1)})
    node.start()
    try:
        passed("node started")
        _send(node, "SCANNER", [one.images[0].parent for one in rest])
        _all_done(home, [one.study_uid for one in rest])
        passed("drafts of the other patients")
        _send(node, "VIEWER", _corrections(rest, scratch / "corrections", decoders))
        story.facts["labels"] = _labels(home, len(rest))
        passed("corrections sent and read")
        story.facts["evaluation"] = _judged(home)
        passed("trained and judged")
        story.facts["released"] = _release(node, home, first, scratch, story) if _passes(story) else None
        passed("shadow, approval, next study")
        story.facts["models"] = _json("models", "list", home)
        story.facts["record"] = planimeter("audit", "verify", "--home", home).stdout.strip()
    finally:
        node.stop()
        decoders.close()
    return story


def _passes(story: Story) -> bool:
    return bool(story.facts["evaluation"]["outcome"] == "pass")


def _install_key(home: Path, secret: Key) -> Key:
    folder = home / "learning"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "key").write_bytes(secret.secret)
    (folder / "key").chmod(0o600)
    return secret


def _bucket(secret: Key, patient: Patient) -> str:
    train, validation, test = SHARES
    return bucket(secret.pseudonym("", patient.name), Shares(train=train, validation=validation, test=test))


def _send(node: RunningNode, ae_title: str, paths: Sequence[Path]) -> None:
    for path in paths:
        planimeter("send", path, f"PLANIMETER@127.0.0.1:{node.port}", "--ae-title", ae_title)


def _json(*command: str | Path) -> Any:
    *words, home = command
    return json.loads(planimeter(*words, "--home", home, "--json").stdout)


def _until(what: str, answer: Callable[[], Any]) -> Any:
    """Ask now and then: every question is a command of its own, and takes a processor for a second or two."""
    return wait_until(what, answer, LONG_SECONDS, ASK_SECONDS)


def _all_done(home: Path, studies: Sequence[str]) -> None:
    def done() -> bool:
        states = {one["study_uid"]: one["state"] for one in _json("status", home)["studies"]}
        wrong = {uid: state for uid, state in states.items() if state in ("refused", "failed", "held")}
        assert not wrong, wrong
        return all(states.get(uid) == "done" for uid in studies)

    _until("every study has its draft", done)


def _corrections(of: Sequence[Patient], folder: Path, decoders: Decoders) -> list[Path]:
    """The even ones as the structure set that the expert drew, the odd ones as a segmentation of the same."""
    shipped = card.read(SHIPPED / champion.NETWORK).card
    as_segmentations = [patients.segmentation(one, shipped, decoders) for one in of[1::2]]
    return [*(one.contours for one in of[::2]), *folder_of(as_segmentations, folder)]


def _labels(home: Path, wanted: int) -> dict[str, int]:
    def all_read() -> dict[str, int] | None:
        listed = _json("labels", "list", home)["labels"]
        states = [one["state"] for one in listed]
        counted = {state: states.count(state) for state in sorted(set(states))}
        return counted if counted.get("ready", 0) == wanted else _stuck(listed, counted, wanted)

    found: dict[str, int] = _until("every correction is a label", all_read)
    return found


def _stuck(listed: list[dict[str, Any]], counted: dict[str, int], wanted: int) -> None:
    if counted.get("quarantined", 0) + counted.get("ready", 0) == wanted and counted.get("quarantined"):
        raise AssertionError([one["reason"] for one in listed if one["state"] == "quarantined"])


def _judged(home: Path) -> dict[str, Any]:
    def verdict() -> dict[str, Any] | None:
        jobs = [job for job in _json("status", home)["jobs"] if job["kind"] in ("train", "evaluate")]
        assert not [job for job in jobs if job["state"] in ("refused", "dead")], jobs
        found = [one for one in _json("models", "list", home)["versions"] if one["evaluation"]]
        return dict(found[-1]) if found else None

    judged: dict[str, Any] = _until("the candidate is judged", verdict)
    return judged | dict(judged["evaluation"])


def _release(node: RunningNode, home: Path, first: Sequence[Patient], scratch: Path, story: Story) -> dict[str, Any]:
    version = story.facts["evaluation"]["version"]
    _send(node, "SCANNER", [one.images[0].parent for one in first[:2]])
    _until("two studies in the shadow", lambda: _shadowed(home, version) >= 2)
    network, why = champion.NETWORK, "make learn"
    said = [
        planimeter("models", step, network, version, "--reason", why, "--home", home).stdout.strip()
        for step in ("approve", "promote")
    ]
    follow_up = patients.follow_up(first[0], scratch / "follow_up")
    _send(node, "SCANNER", [follow_up[0].parent])
    study = str(pydicom.dcmread(follow_up[0], stop_before_pixels=True).StudyInstanceUID)
    _all_done(home, [study])
    return {"said": said, "next_study": _version_in_objects(home, study)}


def _shadowed(home: Path, version: str) -> int:
    found = [one for one in _json("models", "list", home)["versions"] if one["version"] == version]
    return int((found[0].get("shadow") or {}).get("studies", 0))


def _version_in_objects(home: Path, study: str) -> dict[str, str]:
    """What the objects of a study say of the network that made them: Modality -> its version."""
    said = {}
    for file in (home / "results").rglob("*.dcm"):
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        if ds.StudyInstanceUID == study:
            said[str(ds.Modality)] = str(ds.ContributingEquipmentSequence[-1].SoftwareVersions)
    return said


def main() -> None:
    options = _options()
    console = Console()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="planimeter-learn-") as folder:
        data = options.data
        if (data / "unpack.sh").is_file():
            subprocess.run(["sh", str(data / "unpack.sh"), f"{folder}/data"], check=True)
            data = Path(folder) / "data"
        home, scratch = Path(folder) / "home", Path(folder) / "scratch"
        for one in (home, scratch):
            one.mkdir()
        story = rehearse(data, home, scratch, options.key, options.champion, console)
        report = home / Path(story.facts["evaluation"]["report"])
        for file in sorted(report.parent.glob("report.*")):
            (options.out / file.name).write_bytes(file.read_bytes())
    (options.out / "story.json").write_text(json.dumps(story.__dict__, indent=1) + "\n", encoding="utf-8")
    console.print_json(json.dumps(story.__dict__))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the imaging data, packed or unpacked")
    parser.add_argument("--out", type=Path, required=True, help="for the report")
    parser.add_argument("--key", type=int, default=1)
    parser.add_argument("--champion", type=int, default=2, help="patients that the champion is trained on")
    return parser.parse_args()


if __name__ == "__main__":
    main()
