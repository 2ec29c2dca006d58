"""The network that `make learn` begins with: deliberately poor, trained on two patients for sixty steps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from models import card
from models.card import FILE, SHIPPED, Bundle
from node.learning import cases, outlined, trainer
from node.learning.buckets import Key
from node.learning.cases import Wanted
from node.learning.trainer import Order
from node.study import volume
from node.study.channels import assemble
from node.study.decode import Decoders
from tests.learning.patients import MASS, PET, Patient

NETWORK = "pet_sarcoma"
STEPS = 60
MINUTES = 10.0


def make(patients: Sequence[Patient], key: Key, home: Path, scratch: Path, epochs: int, decoders: Decoders) -> Bundle:
    """Train it, and install it in a node's home folder under the network's name.

    Args:
        patients: that it is trained on.
        epochs: whose steps are as many as it may have.
    """
    shipped = card.read(SHIPPED / NETWORK)
    run = scratch / "champion"
    Order(
        bundle=shipped,
        start=None,
        train=[_case(patient, shipped, key, scratch / "cases", decoders) for patient in patients],
        validation=[],
        seed=1,
        max_epochs=epochs,
        max_minutes=MINUTES,
        early_stop=epochs,
        device="cpu",
    ).write(run)
    trainer.train(run, lambda: "", MINUTES * 60 + 60)
    return install(shipped, run / "candidate.pt", home / "models" / NETWORK, len(patients))


def _case(patient: Patient, bundle: Bundle, key: Key, root: Path, decoders: Decoders) -> Path:
    built = volume.build(patient.images, decoders, PET)
    channels = assemble([built], bundle.card.input)
    try:
        (mass,) = (one for one in outlined.read(patient.contours, built).structures if one.name.startswith(MASS))
        wanted = Wanted(
            network=NETWORK,
            label_id=0,
            input_set_id=0,
            patient=key.pseudonym("", patient.name),
            person=0,
            bucket="train",
            members_hash=patient.name,
            mask_path="",
            mask_sha256="",
            annotated=(1,),
            reading="",
        )
        return cases.materialise(wanted, channels, mass.mask.astype("uint8"), key, root, bundle.card.input)
    finally:
        channels.close()


def install(shipped: Bundle, weights: Path, folder: Path, patients: int) -> Bundle:
    """The shipped bundle with other weights, as an administrator would put it there."""
    shutil.copytree(shipped.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(weights, folder / shipped.card.weights)
    file = folder / FILE
    text = re.sub(r'^version = "[^"]*"', 'version = "0.1.0"', file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r'^title = "[^"]*"', f'title = "PET sarcoma, poor: {patients} patients"', text, flags=re.MULTILINE)
    uid = f'device_uid = "2.25.{330_000_000_000_000_000 + patients}"'
    file.write_text(re.sub(r'^device_uid = "[^"]*"', uid, text, flags=re.MULTILINE), encoding="utf-8")
    card.seal(folder)
    return card.read(folder)
