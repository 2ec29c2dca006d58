"""The page of a case: what was sent, what came back, beside the truth; the seconds; what it is not."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.cases.case import Case, Picture, Went

#: of patients, whose images are not ours to keep: git ignores the second folder
PICTURES, OF_PATIENTS = "pictures", "pictures-of-patients"
LINE = 118
SHORT = (
    "What follows is of the case's short form (`ARGS=--short`): fewer slices and fewer steps of training than the "
    "command takes without it."
)
MOST_BYTES = 150_000
#: of a picture, as many of them as fit into so many bytes
COLOURS = (256, 128, 64, 32)


def write(case: Case, went: Sequence[Went], folder: Path, *, short: bool = False) -> Path:
    """Write the page and its pictures below a folder; the page."""
    kept = folder / _kept(case)
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.glob(f"{case.name}-*.png"):
        old.unlink()
    for one in went:
        for picture in one.judged.pictures:
            _save(picture.image, kept / f"{case.name}-{picture.name}.png")
    page = folder / f"{case.name}.md"
    page.write_text(text(case, went, short=short), encoding="utf-8")
    return page


def _kept(case: Case) -> str:
    return OF_PATIENTS if case.real_images else PICTURES


def _shown(case: Case, picture: Picture) -> list[str]:
    """A picture with its caption, or, of patients, where it lies once the command was run."""
    file = f"{_kept(case)}/{case.name}-{picture.name}.png"
    if case.real_images:
        return [f"Picture, `{file}` once the command was run: {picture.caption}"]
    return [f"![{picture.caption}]({file})", picture.caption]


def _save(image: Image.Image, file: Path) -> None:
    for colours in COLOURS:
        image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size <= MOST_BYTES:
            return
    raise AssertionError(f"{file.name} has {file.stat().st_size} bytes: show less in one picture")


def text(case: Case, went: Sequence[Went], *, short: bool = False) -> str:
    """The page."""
    parts = [
        f"# {case.title}",
        "**A worked case of the plumbing. Research use; not a medical device.**",
        case.about.strip(),
    ]
    parts += [f"    {case.command}", "makes all of it. Once the network and its card are there, a person would type:"]
    parts += ["\n".join(f"    {command}" for command in went[0].returned.commands)]
    for one in went:
        parts += _of_run(case, one)
    parts += ["## Seconds", _seconds(went), _machine(), "## What this is not", case.is_not.strip()]
    return "\n\n".join(map(_wrapped, parts)) + "\n"


def _wrapped(part: str) -> str:
    """A paragraph in lines; tables, commands, pictures and what has lines already stay as they are."""
    if "\n" in part or part.startswith(("|", " ", "!", "#")):
        return part
    return textwrap.fill(part, LINE, break_long_words=False, break_on_hyphens=False)


def _of_run(case: Case, went: Went) -> list[str]:
    judged = went.judged
    heading = f"## {went.run}" if went.run else "## What came back"
    parts = [heading, f"**Sent:** {judged.sent}", f"**The network:** {went.brought.made}", _came(went)]
    parts += [table(judged.head, judged.rows), *([judged.said] if judged.said else [])]
    for picture in judged.pictures:
        parts += _shown(case, picture)
    return parts


def _came(went: Went) -> str:
    """What came back, counted, as it calls itself."""
    counted: dict[str, int] = {}
    for ds in went.returned.objects:
        said = f"{ds.Modality} ({ds.get('SeriesDescription') or 'without a description'})"
        counted[said] = counted.get(said, 0) + 1
    return "**Came back:** " + "; ".join(f"{count} {said}" for said, count in counted.items()) + "."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a column of numbers is aligned at the right."""
    numbers = [all(re.match(r"[-+]?[\d.,]+( %)?$|$", row[n]) for row in rows) for n in range(len(head))]
    lines = [head, [("---:" if right else "---") for right in numbers], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _seconds(went: Sequence[Went]) -> str:
    head = ["", *(one.run or "seconds" for one in went)]
    rows = [[what, *(f"{one.returned.seconds[what]:.1f}" for one in went)] for what in went[0].returned.seconds]
    for stage in ("volume", "network"):
        found = [_stage(one, stage) for one in went]
        if all(found):
            rows.append([f"of these, {stage}: all input sets", *found])
    return table(head, rows)


def _stage(went: Went, stage: str) -> str:
    """Seconds of a stage over all jobs; empty where no job has it."""
    spent = [job["seconds"].get(stage) for job in went.returned.status["jobs"]]  # type: ignore[attr-defined]
    known = [float(one) for one in spent if one is not None]
    return f"{sum(known):.1f} in {len(known)}" if known else ""


def _machine() -> str:
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    return (
        f"Measured on a processor with {threads} {'thread' if threads == '1' else 'threads'}, without a GPU, beside "
        "other work. From the last image to the last result, two seconds are the wait for more images; the network's "
        "process starts within them and the first job."
    )
