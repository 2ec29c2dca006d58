"""A ward whose corrections may be wrong: bodies, networks that see a little around each voxel, and a node with both.

The networks begin neither useless nor perfect: right corrections make them better, and wrong ones worse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from config.settings import load
from db import networks, training_runs
from models import card
from node.app import Node, open_node
from node.demo.study import ct_series
from node.hosts import Hosts
from node.inbound.inbox import Source
from node.learning.buckets import Key, Shares, bucket
from node.operations import retrain
from node.operations.submit import take_file
from tests import mini_bundle, tiny_training_bundle
from tests.driving import jobs_of, take_in, work_off
from tests.nurseries import SHARED
from tests.returned import LUNG, Described, segmentation
from tests.synthetic import as_files

Body = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""HU and truth (columns, rows, slices)"""

NETWORK = "boxes"
BOXES: tuple[Described, ...] = ((1, "Dark", LUNG, None), (2, "Darker", Code("15825003", "SCT", "Aorta"), None))
"""what its card has"""
SHAPE = (24, 16, 8)
SPACING_MM = (3.0, 3.0, 4.0)
NOISE_HU = 25
KEY, SHARES = Key(bytes(range(32))), (30, 10, 60)
SEEN = 3
"""so many voxels around each one"""
KERNEL = (2 * SEEN + 1,) * 3
SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 0, "b_min": -1, "b_max": 0}
CONVOLUTION = {
    "_target_": "torch.nn.Conv3d",
    "in_channels": 1,
    "out_channels": 3,
    "kernel_size": KERNEL,
    "padding": SEEN,
}
LEARNING = {
    "train": True,
    "shares": list(SHARES),
    "window": "",
    "max_epochs": 50,
    "max_minutes": 5,
    "early_stop": 100,
    "quiet_seconds": 0,
    # all that the settings can give away, so that what does not go live was held by the gate
    "shadow_studies": 1,
    "automatic_patients": 12,
    "auto_promote": True,
}


# ------------------------------------------------------------------ bodies


def boxes(number: int) -> Body:
    """Water with a box of class 1 (-900 HU) and one of class 2 (about -450 HU), elsewhere in each patient."""
    random = np.random.default_rng(number)
    hu, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    for value, first, hounsfield in ((1, 1, -900), (2, 12, -450 + random.normal(0, 8))):
        x, y, z = first + random.integers(5), random.integers(1, 10), random.integers(1, 4)
        truth[x : x + 5, y : y + 6, z : z + 4] = value
        hu[truth == value] = hounsfield
    return hu + random.normal(0, NOISE_HU, SHAPE).astype(np.float32), truth


def sides(number: int) -> Body:
    """Two boxes (-900 HU) on either side of a bright column: 1 on the left of the patient, 2 on the right."""
    random = np.random.default_rng(number)
    hu, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint8)
    middle = random.integers(8, 13)
    hu[middle : middle + 3, 3:13] = 1500
    for value, first in ((1, middle + 3), (2, middle - 3)):
        y, z = random.integers(4, 8), random.integers(1, 4)
        truth[first : first + 3, y : y + 4, z : z + 4] = value
    hu[truth > 0] = -900
    return hu + random.normal(0, NOISE_HU, SHAPE).astype(np.float32), truth


@dataclass(frozen=True)
class Patient:
    """A patient with one CT series.

    Attributes:
        truth: (columns, rows, slices).
    """

    name: str
    images: Sequence[Dataset]
    truth: NDArray[np.uint8]

    def corrected(self, drawn: Sequence[Described], labels: NDArray[np.uint8] | None = None) -> Dataset:
        """What somebody sends back: the truth, or these labels."""
        chosen = self.truth if labels is None else labels
        return segmentation(list(self.images), chosen.transpose(2, 1, 0), drawn)


def patient(number: int, name: str, body: Body, scanner: str = "A") -> Patient:
    images = list(ct_series(body[0], SPACING_MM, name=f"{name}^Test", patient_id=name))
    for ds in images:
        ds.PatientBirthDate = f"{1930 + 7 * number % 60}0101"
        ds.Manufacturer, ds.ManufacturerModelName = "Scanner", scanner
    return Patient(name, images, body[1])


def names(wanted: dict[str, int], since: int = 1) -> list[str]:
    """PatientIDs of so many patients of each bucket."""
    shares, left, found = Shares(train=SHARES[0], validation=SHARES[1], test=SHARES[2]), dict(wanted), []
    number = since
    while any(left.values()):
        name = f"00{number}K"
        mine = bucket(KEY.pseudonym("", name), shares)
        if left.get(mine):
            left[mine] -= 1
            found.append(name)
        number += 1
    return found


# ----------------------------------------------------------------- network


Weights = dict[str, torch.Tensor]


def thresholds() -> Weights:
    """Of `boxes`: class 1 below -880 HU, 2 below -463 HU. So it cuts off some of 1 and the most of 2."""
    weight = torch.zeros(3, 1, *KERNEL)
    weight[1, 0, SEEN, SEEN, SEEN], weight[2, 0, SEEN, SEEN, SEEN] = -2, -1
    return {"weight": weight, "bias": torch.tensor([0.0, -0.88 - 0.463, -0.463])}


def by_side() -> Weights:
    """Of `sides`: what is dark, by the side on which it is bright nearby; half of what is 3 voxels off is missed."""
    weight = torch.zeros(3, 1, *KERNEL)
    weight[1:, 0, SEEN, SEEN, SEEN] = -5
    for away, much in ((1, 0.3), (2, 0.3), (3, 0.6)):  # the first axis runs from the patient's left to the right
        weight[1, 0, SEEN + away, SEEN, SEEN] = weight[2, 0, SEEN - away, SEEN, SEEN] = much
        weight[1, 0, SEEN - away, SEEN, SEEN] = weight[2, 0, SEEN + away, SEEN, SEEN] = -much
    return {"weight": weight, "bias": torch.tensor([0.0, -4.85, -4.85])}


def install(
    home: Path,
    weights: Weights,
    random: Sequence[dict[str, Any]] = (),
    change: Callable[[str], str] = str,
) -> None:
    """Make a home folder with a network that can be trained.

    Args:
        random: transforms of its training.
        change: of the text of its card.
    """
    (home / "learning").mkdir(parents=True, mode=0o700)
    (home / "learning" / "key").write_bytes(KEY.secret)
    root = mini_bundle.make(home / "models", NETWORK, SPACING_MM, before=[SCALE])
    inference = json.loads((root / "configs" / "inference.json").read_text())
    inference["network_def"] = CONVOLUTION
    inference["inferer"]["roi_size"] = SHAPE
    (root / "configs" / "inference.json").write_text(json.dumps(inference))
    like = tiny_training_bundle.make(home.parent / "like", learning_rate=0.05, random=random)
    train = json.loads((like / "configs" / "train.json").read_text())
    train["network_def"] = CONVOLUTION
    train["train"]["deterministic_transforms"].insert(-1, SCALE)
    (root / "configs" / "train.json").write_text(json.dumps(train))
    torch.save(weights, root / "models" / "model.pt")
    file = root / card.FILE
    file.write_text(change(file.read_text().split("\n[files]")[0]) + "\n[files]\n")
    card.seal(root)


# -------------------------------------------------------------------- node


@dataclass(frozen=True)
class Judged:
    """What became of a candidate.

    Attributes:
        order: what the training was given.
        state: of the candidate's version.
    """

    order: dict[str, Any]
    done: dict[str, Any]
    verdict: dict[str, Any]
    version: str
    state: str

    @property
    def reasons(self) -> str:
        return "\n".join(self.verdict["reasons"])

    @property
    def broken(self) -> set[str]:
        """The guards that do not hold."""
        return {guard["name"] for guard in self.verdict["guards"] if guard["holds"] is False}


@dataclass(frozen=True)
class Ward:
    """A node, driven by hand."""

    node: Node
    drawn: Sequence[Described]
    scratch: Path
    known: dict[str, Patient] = field(default_factory=dict)

    def admit(self, patients: Sequence[Patient]) -> None:
        """Patients come, and get drafts."""
        take_in(self.node, [image for one in patients for image in one.images])
        work_off(self.node, most=500)
        self.known.update({one.name: one for one in patients})

    def teach(self, objects: Sequence[Dataset]) -> None:
        """Corrections come from a viewer that may send labels."""
        viewer = Source("VIEWER", "10.0.0.5", teaches=True)
        folder = self.scratch / f"back{len(list(self.scratch.glob('back*')))}"
        for file in as_files(list(objects), folder):
            take_file(self.node.inbox, file, viewer)
        work_off(self.node, most=500)

    def correct(self, wanted: Sequence[str], wrong: Callable[[str], NDArray[np.uint8]] | None = None) -> None:
        """Patients come back corrected, rightly or wrongly."""
        self.teach([self.known[name].corrected(self.drawn, wrong(name) if wrong else None) for name in wanted])

    def retrain(self) -> Judged:
        """Train on what came back, and judge."""
        retrain.ask(self.node.database, self.node.networks, NETWORK, 3, "somebody")
        work_off(self.node)
        with self.node.database.read() as tx:
            run = training_runs.listing(tx, NETWORK)[0]
            assert run["candidate_id"] is not None, (run["reason"], jobs_of(self.node))
            version = networks.find(tx, run["candidate_id"])
            judged = training_runs.evaluation_of(tx, run["candidate_id"])
        assert judged is not None, jobs_of(self.node)
        return Judged(self.order(run), run["facts"]["done"], judged["verdict"], version["version"], version["state"])

    def order(self, run: Any) -> dict[str, Any]:
        """What a training was given."""
        return dict(json.loads((self.node.archive.home / run["folder"] / "run.json").read_text()))

    @property
    def live(self) -> str:
        """The version that reads the studies that come."""
        return self.node.networks.live(NETWORK)[1].card.version


@contextmanager
def ward(home: Path, drawn: Sequence[Described], hosts: Path | None = None, **learning: Any) -> Iterator[Ward]:
    """A node on a home folder.

    Args:
        drawn: what the corrections outline.
        hosts: where model hosts are; None: real ones, its own.
    """
    scratch = home.parent
    ours = Hosts(scratch / "h", "cpu", nursery=SHARED)
    settings = load(
        None,
        {
            "node": {"home": home},
            "receive": {"quiet_seconds": 0, "port": 0, "reserve_gb": 0},
            "learning": LEARNING | learning,
            "route": [{"name": NETWORK, "networks": [NETWORK]}],
        },
    )
    ours.folder.mkdir()
    opened = open_node(settings, hosts or ours.serve())
    try:
        yield Ward(opened, drawn, scratch)
    finally:
        opened.close()
        ours.stop()
