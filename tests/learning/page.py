"""What several runs of the learning loop came to, as one page, with the patients of the first run as a chart.

    python -P -m tests.learning.page FOLDER docs

writes docs/rehearsal.md and docs/pictures/rehearsal.svg. FOLDER has the folders that `make learn` and `make learn-keys`
wrote, each with its story.json and report.html.
"""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

HEAD = """# The learning loop, rehearsed on real images

`make learn` and `make learn-keys`, through the real door: a `pet_sarcoma` champion that is deliberately poor (trained
on two patients of the train bucket for 60 iterations, in the last row on six) goes into a fresh node. The PET of the
other patients arrives by C-STORE and gets drafts; the experts' contours come back by C-STORE, every other one as
RTSTRUCT, the rest as SEG. The scheduler sees that enough new patients have come and trains for at most seven minutes;
the gate compares champion and candidate on the locked patients. Where it passes, the candidate runs in the shadow on
two studies, is approved and promoted, and the next study is segmented by it. The keys that put patients into buckets
(50/10/40) were fixed before anything was trained, and none was chosen.

| key | champion of | taught by | locked | SUV > 2.5 | champion | candidate | gain | at least | p | verdict | minutes |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""
TAIL = """
![Dice of each locked patient under key 1, by the champion and by the candidate](pictures/rehearsal.svg)

Every locked patient under key 1: champion at the left, candidate at the right.

Dice: mean over the locked patients. "At least": lower bound of the one-sided 97.5 % studentised bootstrap over
patients; p: of the sign-flip permutation. Two processor cores, no GPU; the minutes are of the whole run. 36 patients
of Soft-tissue-Sarcoma (The Cancer Imaging Archive, doi 10.7937/K9/TCIA.2015.7GO2GSKS), cropped around the tumour; the
reports with their pictures are not kept here.

The first row ran on an idle machine; beside the others there was other work, so that they trained for fewer epochs.

What the gate said of each:

"""


def page(folder: Path) -> str:
    """The page."""
    stories = [_story(file.parent) for file in sorted(folder.glob("*/story.json"))]
    stories.sort(key=lambda story: (len(story["facts"]["champion"]), story["facts"]["key"]))
    said = [f"- Key {_key(story)}: {' '.join(story['facts']['evaluation']['reasons'])}" for story in stories]
    return HEAD + "".join(map(_row, stories)) + TAIL + "\n".join(said) + "\n"


def _story(folder: Path) -> dict[str, Any]:
    """A run, with the mean Dice of each contender as the first table of its report has it."""
    story: dict[str, Any] = json.loads((folder / "story.json").read_text(encoding="utf-8"))
    text = html.unescape(re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text(encoding="utf-8")))
    found = {}
    for who in ("Baseline", "Champion", "Candidate"):
        said = re.search(rf"{who}: .*?\s\d+\s+(\d\.\d{{3}})\s+\d\.\d{{3}} to", text, re.DOTALL)
        assert said, f"{folder}: the report has no row of the {who}"
        found[who] = said[1]
    return story | {"dices": found}


def chart(report: str) -> str:
    """The report's lines of the patients, as a picture that stands alone."""
    style = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", report.split("@media")[0]))
    (lines,) = re.findall(r'<svg [^>]*aria-label="Every patient by both.*?</svg>', report, re.DOTALL)
    rules = [
        f".f.{name} {{ fill: {value} }} .s.{name} {{ stroke: {value}; fill: none }}" for name, value in style.items()
    ]
    head = f"<style>text {{ font-family: sans-serif }} {' '.join(rules)} .hollow {{ fill: {style['ground']} }}</style>"
    ground = f'<rect width="100%" height="100%" fill="{style["ground"]}"/>'
    opening, rest = lines.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{head}{ground}{rest}\n'


def _key(story: dict[str, Any]) -> str:
    of_champion = len(story["facts"]["champion"])
    return f"{story['facts']['key']}" + (f", champion of {of_champion}" if of_champion != 2 else "")


def _row(story: dict[str, Any]) -> str:
    facts = story["facts"]
    judged = facts["evaluation"]
    cells = (
        facts["key"],
        f"{len(facts['champion'])} patients",
        f"{facts['buckets']['train']} + {facts['buckets']['validation']}",
        judged["patients"],
        *story["dices"].values(),
        f"{judged['mean_difference']:+.3f}",
        f"{judged['lower_bound']:+.3f}",
        f"{judged['p']:.4f}",
        judged["outcome"],
        f"{sum(story['seconds'].values()) / 60:.1f}",
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


if __name__ == "__main__":
    runs, docs = map(Path, sys.argv[1:])
    (docs / "rehearsal.md").write_text(page(runs), encoding="utf-8")
    first = (runs / "learn" / "report.html").read_text(encoding="utf-8")
    (docs / "pictures" / "rehearsal.svg").write_text(chart(first), encoding="utf-8")
