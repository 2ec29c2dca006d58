"""Fuzz what reads bytes of strangers: `python -P -m tests.fuzz [TARGET ...] --executions N --seed S`.

Each target runs in a process of its own, guided by atheris (libFuzzer). Exit status 1 where anything was found: inputs
lie in --out, each with the command that reads it again. With --planted the readers have faults, and 1 means that one
of them was not found.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shutil
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import atheris
import pydicom
from rich.console import Console

from tests.fuzz.session import Plan, Tally, fuzz, watched
from tests.fuzz.target import NAMES, READERS, Target, load

CONSOLE = Console(highlight=False, soft_wrap=True)


def main() -> int:
    options = _options()
    warnings.simplefilter("ignore")
    logging.disable()
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if options.replay:
        return _replayed(options.targets, options.replay)
    with atheris.instrument_imports(include=list(READERS)):
        targets = {name: load(name) for name in options.targets or NAMES}
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    each = -(-options.executions // len(targets))
    results = [] if options.planted == "only" else [_run(name, one, each, options) for name, one in targets.items()]
    missed = [] if not options.planted else _planted(targets, options)
    found = sum(one["findings"] for one in results)
    summary = {
        "executions": sum(one["executions"] for one in results),
        "findings": found,
        "seed": options.seed,
        "python": platform.python_version(),
        "atheris": version("atheris"),
        "targets": results,
        "faults": missed,
    }
    (options.out / "results.json").write_text(json.dumps(summary, indent=2) + "\n")
    CONSOLE.print(f"{summary['executions']:,} executions, {found} findings; {options.out / 'results.json'}")
    return int(bool(found) or not all(one["found"] for one in missed))


def _run(name: str, target: Target, executions: int, options: argparse.Namespace) -> dict[str, Any]:
    """A target with the node's own reader."""
    plan = Plan(name, target, target.read, executions, options.seed, options.out)
    tally, more = fuzz(plan, lambda now: _progress(name, now, executions))
    grown = max(0, tally.peak_bytes - tally.warm_bytes) / 1e6
    result = {
        "target": name,
        "executions": tally.executions,
        "accepted": tally.accepted,
        "per_second": round(tally.executions / max(more["seconds"], 0.1)),
        "findings": tally.findings,
        "memory_growth_mb": round(grown, 1),
        **more,
    }
    share = 100 * tally.accepted / max(1, tally.executions)
    CONSOLE.print(
        f"{name:<12} {tally.executions:>9,} executions {result['per_second']:>7,}/s {share:>5.1f} % accepted "
        f"{more['edges']:>5} edges {grown:>6.1f} MB more  {tally.findings} findings"
    )
    for file in more["files"]:
        CONSOLE.print(f"  python -P -m tests.fuzz {name} --replay {file}")
    return result


def _progress(name: str, now: Tally, executions: int) -> None:
    if CONSOLE.is_terminal:
        bar = "#" * (30 * now.executions // executions)
        CONSOLE.print(f"{name:<12} [{bar:<30}] {now.executions:,}\r", end="", markup=False)


def _planted(targets: dict[str, Target], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Each reader with each of its faults: whether it is found."""
    results = []
    for name, target in targets.items():
        for number, (fault, reader) in enumerate(target.faults.items()):
            folder = options.out / f"{name}-fault-{number}"
            folder.mkdir()
            plan = Plan(name, target, reader, options.fault_executions, options.seed, folder, until_found=True)
            tally, more = fuzz(plan, lambda now, name=name: _progress(name, now, options.fault_executions))
            found = bool(tally.findings)
            results.append({"target": name, "fault": fault, "found": found, "executions": tally.executions, **more})
            said = f"found after {tally.executions:,}" if found else f"NOT FOUND in {tally.executions:,}"
            CONSOLE.print(f"{name:<12} {fault}: {said} executions")
    return results


def _replayed(names: list[str], file: Path) -> int:
    """Read one input again, without the fuzzer."""
    name = names[0] if names else file.name.rsplit("-", 1)[0]
    target = load(name)
    with watched():
        accepted = target.check(target.read, file.read_bytes())
    CONSOLE.print(f"{name}: {'accepted' if accepted else 'refused'}, as it should be")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -P -m tests.fuzz", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one or more of {', '.join(NAMES)}; else all")
    parser.add_argument("--executions", type=int, default=100_000, help="of all targets together (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="emptied first (default: build/fuzz)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read an input again that was kept")
    parser.add_argument("--planted", nargs="?", const="too", choices=("too", "only"), help="see that faults are found")
    parser.add_argument("--fault-executions", type=int, default=30_000, help="until a fault counts as not found")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(NAMES):
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
