"""A training run, from the labels that are there to a candidate. It makes way for every study that needs the device.

What decides the outcome is frozen before it begins, in one transaction: the data set, the locked patients that the
candidate will be judged on, and the protocol by which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from db import jobs, networks, training_runs
from db.job_states import Claim, JobKind, JobState
from db.training_runs import RunState
from models.card import Bundle
from models.confine.room import Room
from models.scores import summary

from . import case_files, trying
from .app import Node
from .attempt import Stages
from .errors import Unavailable
from .failpoints import reach
from .learning import cases, data_set, protocol, trainer, versions
from .learning.buckets import TEST
from .learning.gate import power
from .learning.gate.values import Protocol
from .learning.trainer import Order
from .operations import retrain

PRIORITY = retrain.PRIORITY
#: an attempt may take so much longer than the training itself: to begin, to save, to end
MARGIN_SECONDS = 900.0
WHO = "planimeter"
FOLDER = "learning/runs"


def train(node: Node, job: Claim, stages: Stages) -> None:
    """Train a candidate of a network from the live weights, or go on with that."""
    trying.make_way(node)
    with node.database.read() as tx:
        run = training_runs.open_of(tx, job.subject)
    if run is None:
        run = _begun(node, job.subject, stages)
    if run["state"] == RunState.TRAINED:  # its candidate is there, and is judged by a job of its own
        with node.database.write() as tx:
            jobs.finish(tx, job, JobState.DONE, stages.report())
        return
    parent = _parent(node, run)
    folder = node.archive.home / run["folder"]
    order = _order(node, run, parent, stages)
    if "power" not in run["facts"]:
        _say_power(node, run, parent, order.validation, stages)
    order.write(folder)
    if run["state"] == RunState.WAITING:
        with node.database.write() as tx:
            training_runs.change(tx, run["id"], RunState.TRAINING)
    reach("before-training")
    try:
        with stages("training"):
            limit_seconds = 60 * node.learning.max_minutes * _longer(order) + MARGIN_SECONDS
            room = Room(reserve_bytes=node.alarms.reserve_bytes)
            done = trainer.train(
                folder, lambda: _leave(node, run), limit_seconds, node.learning.processes, node.confine, room
            )
    except Unavailable as error:
        with node.database.write() as tx:
            if training_runs.find(tx, run["id"])["state"] in training_runs.OPEN:  # nobody stopped it
                training_runs.change(tx, run["id"], RunState.WAITING)
        raise Unavailable(error.code, error.sentence, node.learning.quiet_seconds) from error
    reach("trained-before-row")
    _commit(node, job, run, parent, folder, done, stages)


def _leave(node: Node, run: Any) -> str:
    """Why the training has to leave the device; "" where it may go on."""
    with node.database.read() as tx:
        if training_runs.find(tx, run["id"])["state"] not in training_runs.OPEN:
            return "a person has stopped it"
    return trying.study_waits(node)


def _parent(node: Node, run: Any) -> Bundle:
    """What the run begins with: the version that was live, or the network as it was made."""
    if run["parent_id"] is None:
        return node.networks.known(run["network"])[1]
    return node.networks.pinned(run["parent_id"])


def _begun(node: Node, network: str, stages: Stages) -> Any:
    """Freeze everything, and open the run.

    Raises:
        Refused: `empty-data-set`: there is nobody to train on. `training-impossible`.
        Unavailable: labels came meanwhile.
    """
    version, bundle = node.networks.known(network)
    trainer.must_be_trainable(bundle.card)
    lost = {purpose: case_files.make(node, bundle, purpose, stages) for purpose in (data_set.TRAINING, TEST)}
    home, inputs, policy = node.archive.home, bundle.card.input, node.learning
    declared = protocol.declared(
        bundle.card,
        fewest_patients=policy.fewest_patients,
        automatic_patients=policy.automatic_patients,
        seed=policy.seed,
    )
    with node.database.write() as tx:
        training, test = (
            data_set.freeze(tx, home, network, purpose, inputs, lost=lost[purpose])
            for purpose in (data_set.TRAINING, TEST)
        )
        run = training_runs.open_run(
            tx,
            network=network,
            parent_id=version,
            data_set_id=training.data_set_id,
            test_set_id=test.data_set_id,
            protocol=asdict(declared),
            protocol_sha256=declared.sha256(),
            seed=policy.seed,
            folder="",
            who=retrain.asked_by(tx, network),
        )
        if run is None:
            raise Unavailable("training-open", f"another worker has just begun to train {network}")
        training_runs.note(tx, run, {}, folder=f"{FOLDER}/{run}")
        return training_runs.find(tx, run)


def _say_power(node: Node, run: Any, parent: Bundle, validation: Sequence[Path], stages: Stages) -> None:
    """How many locked patients it takes to find a gain, by how the live network does on the validation's patients."""
    declared = Protocol.of(run["protocol"])
    folder = node.archive.home / run["folder"] / "power"
    if run["parent_id"] is None:
        validation = ()  # there is no champion yet
    found = [trying.by_networks(node, [parent], cases.read(path), folder, stages)[0].scores for path in validation]
    dices = summary.mean_dice(found, declared.primary_classes)
    needed, sentence = power.from_champion(list(dices.values()), declared)
    with node.database.write() as tx:
        training_runs.note(tx, run["id"], {"power": {"patients": needed, "sentence": sentence}})


def _order(node: Node, run: Any, parent: Bundle, stages: Stages) -> Order:
    case_files.make_again(node, parent, run["data_set_id"], stages)
    with node.database.read() as tx:
        paths = data_set.paths_for_training(tx, node.archive.home, run["data_set_id"])
    return Order(
        bundle=parent,
        start=parent.folder / parent.card.weights,
        train=paths.train,
        validation=paths.validation,
        seed=run["seed"],
        max_epochs=node.learning.max_epochs,
        max_minutes=node.learning.max_minutes,
        early_stop=node.learning.early_stop,
        device=node.device,
        transfer=parent.card.start is not None,
        freeze_epochs=parent.card.start.freeze_epochs if parent.card.start else 0,
        augmentation=parent.card.augmentation,
    )


def _longer(order: Order) -> float:
    """A generator of made-up cases has half of the minutes beside the training itself."""
    return 1.5 if order.augmentation is not None and order.augmentation.synthetic_share else 1.0


def _commit(
    node: Node, job: Claim, run: Any, parent: Bundle, folder: Path, done: dict[str, Any], stages: Stages
) -> None:
    """The candidate as a bundle of its own, its row, and the job that judges it: one transaction."""
    with node.database.read() as tx:
        taken = [row["version"] for row in networks.versions(tx, run["network"])]
    version = versions.next_version(parent.card.version, taken)
    bundle = versions.make_version(parent, folder / "candidate.pt", version=version, home=node.archive.home)
    reach("candidate-before-row")
    with node.database.write() as tx:
        candidate = networks.add_candidate(
            tx,
            WHO,
            network=run["network"],
            version=bundle.card.version,
            weights_sha256=bundle.weights_sha256,
            card_sha256=bundle.card_sha256,
            device_uid=bundle.card.device_uid,
            folder=bundle.folder.relative_to(node.archive.home).as_posix(),
            parent=run["parent_id"],
        )
        training_runs.note(tx, run["id"], {"done": done})
        training_runs.change(tx, run["id"], RunState.TRAINED, candidate_id=candidate)
        attempts = node.work.attempts
        jobs.enqueue(tx, JobKind.EVALUATE, str(run["id"]), max_attempts=attempts, priority=PRIORITY)
        jobs.finish(tx, job, JobState.DONE, stages.report())
