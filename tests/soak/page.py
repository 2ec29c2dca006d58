"""Write docs/reliability.md from the counts of the faults: `python -P -m tests.soak.page [FOLDER ...]`.

The words are those of `reliability.md` beside this file; the folders (build/soak without any) hold the NAME.json of
`python -P -m tests.soak`. Of a fault that is in several, the one with most trials counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .plan import PLAN
from .tally import Fault

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
WORDS = Path(__file__).with_name("reliability.md")
HEAD = (
    "| fault | plan | trials | acknowledged | delivered | lost | partial | duplicates | missing | recovery p50 / p95 |"
)
LINE = "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
FOUR = ("lost", "partial", "duplicates", "missing")


def main(folders: Sequence[str]) -> int:
    """Write it; what could not be read is said."""
    counts = counted([Path(folder) for folder in folders or ["build/soak"]])
    PAGE.write_text(page(WORDS.read_text(encoding="utf-8"), counts), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {len(counts)} of {len(PLAN)} faults\n")
    return 0


def counted(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Name of a fault -> what its file says; where several folders have it, that of most trials."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for fault in PLAN:
            file = folder / f"{fault.name}.json"
            if file.is_file():
                told = json.loads(file.read_text(encoding="utf-8"))
                if told["trials"] >= found.get(fault.name, {"trials": 1})["trials"]:
                    found[fault.name] = told
    return found


def page(words: str, counts: Mapping[str, Mapping[str, Any]], plan: Sequence[Fault] = PLAN) -> str:
    """The page.

    Args:
        words: with {table}, {machine}, {notes} and {commands}.
        counts: name of a fault -> what its file says.
    """
    table = "\n".join([HEAD, LINE, *(_row(fault, counts.get(fault.name)) for fault in plan)])
    commands = "\n".join(_command(fault) for fault in plan)
    notes = "\n".join(note for fault in plan if (note := _note(fault, counts.get(fault.name))))
    return words.format(table=table, machine=_machine(counts.values()), notes=notes, commands=commands)


def _row(fault: Fault, told: Mapping[str, Any] | None) -> str:
    begin = f"| `{fault.name}` | {' '.join(fault.ids)} |"
    if told is None:
        return f"{begin} not run yet | | | | | | | |"
    trials = f"{told['trials']:,}"
    if fault.long > told["trials"]:
        trials += f" of {fault.long:,}"
    four = " | ".join(f"**{told[name]}**" if told[name] else "0" for name in FOUR)
    recovery = ""
    if told.get("recovery_p95") is not None:
        recovery = f"{told['recovery_p50']:.1f} s, {told['recovery_p95']:.1f} s"
    seen = " | ".join(f"{told[name]:,}" if told[name] else "" for name in ("acknowledged", "delivered"))
    return f"{begin} {trials} | {seen} | {four} | {recovery} |"


def _command(fault: Fault) -> str:
    tests = ", ".join(f"`{name}`" for name in fault.tests) or "none: it takes too long"
    return f"| `{fault.name}` | {fault.what} | `make soak ARGS={fault.name}` | {tests} |"


def _note(fault: Fault, told: Mapping[str, Any] | None) -> str:
    """What else a fault has counted, and what it complained of."""
    if told is None or not (told["figures"] or told["complaints"]):
        return ""
    figures = {name: value for name, value in told["figures"].items() if value}
    said = [f"{name}: {_value(value)}" for name, value in figures.items() if not isinstance(value, dict)]
    if told["complaints"]:
        said.append(f"**{len(told['complaints'])} complaints**, the first: {told['complaints'][0].splitlines()[-1]}")
    parts = [
        f"  - {name}: {', '.join(f'{key} {_value(one)}' for key, one in value.items())}"
        for name, value in figures.items()
        if isinstance(value, dict)
    ]
    if not (said or parts):
        return ""
    return "\n".join([f"- `{fault.name}`: {'; '.join(said)}".rstrip(": ") + (":" if parts else "."), *parts])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_value(one)}" for name, one in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(_value(one) for one in value)
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _machine(counts: Iterable[Mapping[str, Any]]) -> str:
    told = list(counts)
    if not told:
        return "Nothing was run yet."
    days = sorted({one["made"] for one in told if "made" in one})
    cores = sorted({one["cores"] for one in told})
    loads = [one["load"] for one in told if "load" in one]
    when = days[0] if len(set(days)) == 1 else f"{days[0]} to {days[-1]}" if days else "a day that was not written down"
    said = f"Made on {when}, on a machine of {' or '.join(map(str, cores))} cores, Python {told[0]['python']}."
    if loads and max(loads) > max(cores):
        load = f"load averages of {min(loads):.0f} to {max(loads):.0f}"
        said += f" Other work ran beside ({load}), so that times to recover are upper bounds."
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
