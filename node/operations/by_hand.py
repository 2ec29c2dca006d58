"""What a person asks of one study, whatever the routes say: a network to read it, a result to be sent somewhere.

Each answers with a sentence, or raises Refused with one. Who asked is kept and shown with the study.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from db import by_hand, deliveries, input_sets, job_orders, results, studies, verdicts
from db.database import Database, Row
from db.job_states import JobKind

from ..errors import Refused
from ..networks import Networks
from ..objects import forms
from ..objects.forms import Form, Wish
from ..outbound.target import Target
from .routes import Route

#: what a person asks for goes before routine
PRIORITY = 2


def routes_of(asked: Sequence[Row]) -> tuple[Route, ...]:
    """What was asked of a study (`db.by_hand.asked_networks`), as routes that take every series of it."""
    made = []
    for network, rows in groupby(sorted(asked, key=lambda row: str(row["network"])), key=lambda row: row["network"]):
        listed = list(rows)
        people = ", ".join(sorted({row["who"] for row in listed}))
        made.append(
            Route(
                name=f"{network}, asked for by {people}",
                when=(),
                unless=(),
                networks=(network,),
                destinations=tuple(row["destination"] for row in listed if row["destination"]),
                priority=PRIORITY,
                live=True,
            )
        )
    return tuple(made)


def reprocess_with(
    database: Database,
    networks: Networks,
    targets: Mapping[str, Target],
    study_uid: str,
    network: str,
    destinations: Iterable[str],
    who: str,
    attempts: int,
) -> str:
    """Let a network read a study, although no route may offer it; again, where it has read it before.

    It stays asked for: images that come later are read by it, too.

    Args:
        destinations: where its results go, beside where routes send them; none: they are kept.

    Raises:
        Refused: `no-such-network`, `network-aside`, `no-such-destination`, `no-such-study`, `study-held`.
        Failed: `network-unusable`.
    """
    to = list(dict.fromkeys(destinations))
    for name in to:
        target_of(targets, name)
    _may_read(networks, network)
    with database.write() as tx:
        study = studies.find(tx, study_uid)
        if study is None or study["last_image"] is None:
            raise Refused("no-such-study", f"there is no study {study_uid} with images")
        if study["state"] == "held":
            why = f"{study['held_because']}; `planimeter reprocess {study_uid}` goes on with the newest images"
            raise Refused("study-held", f"the study is held: {why}")
        by_hand.ask_network(tx, study["id"], network, to, who)
        studies.close(tx, study_uid, f"{network} asked for by {who}", attempts)
        for one in input_sets.of_study(tx, study["id"]):
            if one["network"] == network:  # behind `choose`, which says anew where the results go
                input_sets.ask(tx, one["id"], study["id"], attempts, PRIORITY)
                job_orders.hurry(tx, JobKind.SEGMENT, str(one["id"]))
    where = f"its results go to {', '.join(to)}" if to else "its results go where routes send them"
    return f"study {study_uid} is chosen from again, and {network} reads it; {where}"


def _may_read(networks: Networks, network: str) -> None:
    if network not in networks.names():
        raise Refused("no-such-network", f"there is no network called {network}; `planimeter models list` lists them")
    version, _ = networks.known(network)
    if version is None:
        raise Refused("network-aside", f"no version of {network} is live yet")
    if network in networks.switched_off():
        raise Refused("network-aside", f"{network} is off; `planimeter models enable {network}` switches it on")


def send_result(
    database: Database, targets: Mapping[str, Target], name: str, destination: str, who: str, attempts: int
) -> str:
    """Send a result to a destination, although no route may: of what was made, the forms that it takes.

    Args:
        name: id or SOP Instance UID of any object of the result.
        attempts: of the job that delivers it.

    Raises:
        Refused: `no-such-destination`, `no-such-result`, `not-sendable`, `study-held`, `no-form`.
    """
    target = target_of(targets, destination)
    with database.write() as tx:
        run = verdicts.find(tx, name.strip())
        if run is None:
            raise Refused("no-such-result", f"there is no result {name}; `planimeter status` lists them")
        row = run.named
        if row["state"] != "ready":
            why = f": {row['reason']}" if row["reason"] else ""
            raise Refused("not-sendable", f"this result is {row['state']}{why}; only what stands is sent")
        study = studies.find(tx, row["study_uid"])
        if study is not None and study["state"] == "held":
            raise Refused("study-held", f"the study is held: {study['held_because']}")
        made = {Form(one["kind"], one["options"]): one for one in results.of_ids(tx, run.ids) if one["path"]}
        wanted = sendable(target, list(made))
        if not wanted:
            raise Refused(
                "no-form",
                f"{destination} takes {', '.join(sorted(target.objects))}, and this result has none of that; "
                "give a route to it that destination, and `planimeter reprocess` makes it",
            )
        kept = by_hand.send(tx, [made[form]["id"] for form in wanted], destination, who)
        if len(kept) == len(wanted) and not {"waiting"} & set(kept):
            raise Refused("not-sendable", _said(destination, kept))
        deliveries.ask(tx, destination, row["input_set_id"], row["study_id"], attempts)
    left = f"; {len(kept)} more are there or on their way" if kept else ""
    return f"{len(wanted) - len(kept)} objects of this result go to {destination}{left}"


def _said(destination: str, kept: Sequence[str]) -> str:
    if "held" in kept:
        return f"it waits for a person before it goes to {destination}: `planimeter release`"
    return f"{destination} has it already: it is {', '.join(sorted(set(kept)))}"


def sendable(target: Target, made: Sequence[Form]) -> list[Form]:
    """Of the forms of a result those that a destination takes, in the order of sending.

    Where it wants label maps or marks and the result was made without them, it gets the plain form.
    """
    marked = target.flagged == "mark" and any(form.has(forms.MARKED) for form in made)
    label_map = target.label_map and any(form.has(forms.LABEL_MAP) for form in made)
    pictures = sum(form.kind == forms.SC and form.has(forms.MARKED) is marked for form in made)
    surfaces = tuple(form.number for form in made if form.kind == forms.STL and form.has(forms.MARKED) is marked)
    wish = Wish(objects=target.objects, label_map=label_map, marked=marked, surfaces=surfaces)
    reports = (forms.BOXES, forms.FINDING)
    of_findings = [form for form in made if form.base in reports and form.has(forms.MARKED) is marked]
    wanted = forms.wanted(wish, pictures, has_contours=True, has_map=True)
    if of_findings and forms.SR in target.objects:
        return [form for form in of_findings if not form.has(forms.COMPREHENSIVE)]
    return [form for form in wanted if form in made]


def target_of(targets: Mapping[str, Target], name: str) -> Target:
    """
    Raises:
        Refused: `no-such-destination`.
    """
    if name not in targets:
        known = ", ".join(sorted(targets)) or "there is none"
        raise Refused("no-such-destination", f"{name} is no [[peer]] with a `destination`; known: {known}")
    return targets[name]
