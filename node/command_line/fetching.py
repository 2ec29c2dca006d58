"""What `planimeter fetch` does with its options."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import date, datetime

from .. import fetching
from ..app import Node
from ..errors import Refused
from ..operations.fetch import Fetcher, chosen, days_of
from ..pull.query import Wish
from . import answers


def call(options: argparse.Namespace, node: Node) -> int:
    """Fetch; the exit status.

    Raises:
        Refused: `bad-query`: the options do not go together.
    """
    wish = Wish(
        accession=(options.accession or "").strip(),
        patient_id=(options.patient or "").strip(),
        study_uid=(options.study or "").strip(),
        modality=(options.modality or "").strip().upper(),
    )
    fetcher = Fetcher(fetching.us_of(node), chosen(node.fetch, options.peer), node.fetch)
    if options.series and not options.study:
        raise Refused("bad-query", "a series is found by its study: give --study too")
    moment = datetime.now().astimezone()
    days = _days(options, moment.date())
    if days is None:
        return fetcher.now(wish, options.series or "", options.priors, only_list=options.list)
    wish = replace(wish, since=days[0], until=days[1])
    if options.accession or options.patient or options.study or options.list or options.now:
        return fetcher.now(wish, options.series or "", options.priors, only_list=options.list)
    if options.priors:
        raise Refused("bad-query", "--priors goes with --accession, --patient or --study")
    return fetcher.later(wish, node.database, node.work.attempts, node.fetch.wait_seconds(moment.time()))


def reconcile(options: argparse.Namespace, node: Node) -> int:
    """What PACS have of the last days that never came; the exit status."""
    from ..operations import reconcile as going_through

    now = datetime.now().astimezone()
    days = going_through.days_before(now.date(), options.days)
    found = going_through.Reconciled()
    for pacs in going_through.asked_of(node.fetch, options.peer):
        modalities = [options.modality.strip().upper()] if options.modality else pacs.modalities
        found += going_through.reconcile(node.database, pacs, node.ae_title, node.fetch.limits, days, modalities)
    asked = 0
    if options.fetch:
        wait_seconds = node.fetch.wait_seconds(now.time())
        asked = going_through.fetch(node.database, found.lacking, node.work.attempts, wait_seconds)
    listed = [going_through.record(one) for one in found.lacking]
    answers.show(options, {"lacking": listed}, lambda: going_through.print_lacking(found.lacking))
    if not options.json:
        answers.say(found.sentence + (f"; {asked} are fetched, one after the other" if options.fetch else ""))
    return 0


def _days(options: argparse.Namespace, today: date) -> tuple[date, date] | None:
    if options.days:
        return days_of(options.days)
    if options.since or options.until:
        if not options.since:
            raise Refused("bad-query", "--until needs --since")
        return days_of(options.since)[0], days_of(options.until)[0] if options.until else today
    return None
