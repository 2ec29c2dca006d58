"""The report of an evaluation as files: what was compared, put into the words and pictures of `learning.report`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from importlib.metadata import version
from operator import add
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from db import data_sets, networks
from models.card import Card
from models.scores.curves import Ranked

from .app import Node
from .learning import durable, trainer
from .learning.cases import Case
from .learning.gate.values import Protocol, Verdict
from .learning.report import document, page, pictures
from .learning.report.values import Contender, Evaluation, Picture, Structure
from .learning.report.version_card import model_card
from .learning.trial import Compared, Trial
from .objects.pictures.window import Window, usual
from .study.geometry import Geometry


def write(node: Node, run: Any, compared: Compared, protocol: Protocol, verdict: Verdict) -> str:
    """Write HTML, PDF and the model card into the folder of the run; the path of the HTML below the home folder."""
    evaluation = _evaluation(node, run, compared, protocol, verdict)
    folder = node.archive.home / run["folder"]
    durable.put(folder / "report.html", page.html(evaluation).encode())
    durable.put(folder / "report.pdf", document.pdf(evaluation))
    bundle = compared.bundle
    parent = evaluation.champion.name if evaluation.champion else ""
    card = model_card(evaluation, bundle.card, weights_sha256=bundle.weights_sha256, parent=parent)
    durable.put(folder / "model-card.html", card.encode())
    return f"{run['folder']}/report.html"


def _evaluation(node: Node, run: Any, compared: Compared, protocol: Protocol, verdict: Verdict) -> Evaluation:
    with node.database.read() as tx:
        test, training = (data_sets.find(tx, run[name]) for name in ("test_set_id", "data_set_id"))
        parent = networks.find(tx, run["parent_id"]) if run["parent_id"] is not None else None
        candidate = networks.find(tx, run["candidate_id"])
    assert test is not None
    assert training is not None
    card = compared.bundle.card
    return Evaluation(
        network=card.name,
        title=card.title,
        made=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        structures=_structures(card),
        protocol=protocol,
        verdict=verdict,
        candidate=_contender(f"candidate {candidate['version']}", compared.candidate),
        champion=_contender(f"live {parent['version']}", compared.champion) if parent is not None else None,
        baseline=_contender(_threshold(card), compared.baseline) if compared.baseline else None,
        tolerance_mm=card.gate.tolerance_mm,
        test=test["manifest"],
        training=training["manifest"],
        progress=tuple(trainer.progress(node.archive.home / run["folder"])),
        pictures=_pictures(compared, protocol, verdict),
        provenance=_provenance(run, parent, candidate, test, training),
    )


def _threshold(card: Card) -> str:
    return ", ".join(f"above {one.above:g}" for one in card.gate.baseline)


def _contender(name: str, trials: Sequence[Trial]) -> Contender:
    counted: dict[int, list[Ranked]] = {}
    for one in trials:
        for value, counts in one.ranked.items():
            counted.setdefault(value, []).append(counts)
    ranked = {value: reduce(add, found) for value, found in counted.items()}
    return Contender(name=name, cases=tuple(one.scores for one in trials), ranked=ranked)


def _pictures(compared: Compared, protocol: Protocol, verdict: Verdict) -> tuple[Picture, ...]:
    """The cases that are worth a look, each with the truth beside what the networks made of it."""
    champion, candidate = ([one.scores for one in trials] for trials in (compared.champion, compared.candidate))
    wanted = pictures.worst(champion, candidate, protocol, verdict)
    numbers = {case.name: n for n, case in enumerate(compared.cases)}
    return tuple(_picture(compared, numbers[name], protocol) for name in wanted)


def _picture(compared: Compared, n: int, protocol: Protocol) -> Picture:
    case, card = compared.cases[n], compared.bundle.card
    trials = [("live", compared.champion[n])] if compared.champion else []
    trials.append(("candidate", compared.candidate[n]))
    dices = {name: one.scores.mean_dice(protocol.primary_classes) for name, one in trials}
    said = ", ".join(f"{name} {dice:.3f}" for name, dice in dices.items() if dice is not None)
    image = pictures.picture(
        case.channels[0],
        case.label,
        [(name, np.where(np.isin(one.labels, case.annotated), one.labels, 0)) for name, one in trials],
        Geometry(case.affine, case.label.shape),
        _window(case, card),
        _structures(card),
        f"case {case.name[:12]}",
    )
    return Picture(case=case.name, patient=case.patient, caption=f"Dice {said}", image=image)


def _window(case: Case, card: Card) -> Window:
    """As for the key images; a case has no headers, but the card says what it shows."""
    header, first = Dataset(), card.input[0]
    header.Modality = first.modality[0]
    quantity = first.values if first.values != "modality" else {"CT": "HU"}.get(first.modality[0], "")
    inside = case.label > 0
    mean = float(case.channels[0][inside].mean()) if inside.any() else None
    return usual(case.channels[0], header, quantity, mean)


def _structures(card: Card) -> tuple[Structure, ...]:
    return tuple(Structure(value=one.value, label=one.label, colour=one.colour) for one in card.segment)


def _made_up(record: dict[str, Any] | None) -> str:
    if not record:
        return ""
    share, cases, trained_on = record["synthetic_share"], len(record["cases"]), len(record["trained_on"])
    return f"{share:.0%} of the samples, from {cases} synthetic cases by a generator of {trained_on} training cases"


def _provenance(run: Any, parent: Any, candidate: Any, test: Any, training: Any) -> tuple[tuple[str, str], ...]:
    done = run["facts"].get("done", {})
    found = {
        "training run": str(run["id"]),
        "protocol (SHA-256)": run["protocol_sha256"],
        "seed": str(run["seed"]),
        "patients needed": run["facts"].get("power", {}).get("sentence", ""),
        "training set": f"{training['number']} ({training['sha256']})",
        "test set": f"{test['number']} ({test['sha256']})",
        "weights before (SHA-256)": parent["weights_sha256"] if parent is not None else "none",
        "weights now (SHA-256)": candidate["weights_sha256"],
        "Device UID": candidate["device_uid"],
        "made-up cases": _made_up(done.get("synthetic")),
        "ended because": str(done.get("why_ended", "")),
        "device": str(done.get("device", "")),
        "MONAI": version("monai"),
        "PyTorch": version("torch"),
    }
    return tuple((name, value) for name, value in found.items() if value)
