"""The process that reads what a stranger brought; see `models.incoming.reading`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from .. import memory
from ..card import CardError
from ..confine import locks
from ..confine.environment import live_in
from ..confine.process import Unconfined, confine
from ..confine.rights import Demand, Rights
from . import program
from .program import Program, Said
from .reading import EXIT_UNCONFINED, SCRATCH

#: what results of nnU-Net are known by; `nnunet.plans` has it too, and takes the seconds that torch takes
PLANS = "plans.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.incoming", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("confine", type=Demand)
    parser.add_argument("--orientation", default="")
    options = parser.parse_args()
    folder, scratch = options.folder, options.folder / SCRATCH
    live_in(scratch)
    locks.of_threads()
    try:
        confine(Rights(read=(folder,), write=(folder,), data_bytes=memory.of_machine()[0]), options.confine)
    except Unconfined as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_UNCONFINED
    try:
        made = _as_bundle(folder, options.orientation)
        said: dict[str, Any] = {
            "folder": made.relative_to(folder).as_posix(),
            "program": _plain(program.program(made)),
        }
    except CardError as error:
        said = {"wrong": str(error)}
    shutil.rmtree(scratch, ignore_errors=True)
    json.dump(said, sys.stdout)
    return 0


def _as_bundle(folder: Path, orientation: str) -> Path:
    """The folder itself, or the bundle that was made of nnU-Net's results in it.

    Raises:
        CardError: these cannot be run to the same label map, or an orientation was said of something else.
    """
    if not any(folder.rglob(PLANS)):
        if orientation:
            raise CardError("--orientation is for results of nnU-Net; the configuration of a bundle says its own")
        return folder
    from . import nnunet  # takes the seconds that torch takes

    results = nnunet.chosen(folder)
    return nnunet.bundle(results, orientation) if results else folder


def _plain(of: Program) -> dict[str, Any]:
    values = {one.name: getattr(of, one.name) for one in fields(of)}
    return {
        name: [astuple(one) if isinstance(one, Said) else one for one in value] if isinstance(value, tuple) else value
        for name, value in values.items()
    }


if __name__ == "__main__":
    sys.exit(main())
