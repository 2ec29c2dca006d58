"""Run a worked case and write its page: `python -P -m tests.cases NAME --data FOLDER`; `--help` says the rest."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from tests.cases import page, way
from tests.cases.case import Place
from tests.cases.known import CASES


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="planimeter-case-") as folder:
        scratch = Path(folder)
        case = CASES[options.name]
        data = _unpacked(options.data, scratch)
        place = Place(data, scratch / "work", "", short=options.short, train=options.train)
        went = way.all_runs(case, place)
        written = page.write(case, went, options.out, short=options.short)
        if options.keep:
            shutil.copytree(scratch / "work", options.keep, dirs_exist_ok=True)
    Console().print(f"wrote {written}")


def _unpacked(data: Path, scratch: Path) -> Path:
    """The imaging data; unpacked first where they are packed."""
    if not (data / "unpack.sh").is_file():
        return data
    subprocess.run(["sh", str(data / "unpack.sh"), str(scratch / "data")], check=True)
    return scratch / "data"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.cases", description="Run a worked case and write its page.")
    parser.add_argument("name", choices=sorted(CASES), metavar="NAME", help=", ".join(sorted(CASES)))
    parser.add_argument(
        "--data", type=Path, default=Path(), help="the imaging data, packed or unpacked, where it needs any"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/cases"), help="for the page and its pictures")
    parser.add_argument("--short", action="store_true", help="less of everything, as in the tests; the page says so")
    parser.add_argument("--train", action="store_true", help="make the weights anew, where some are kept")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy what was made there: images, bundle")
    return parser.parse_args()


if __name__ == "__main__":
    main()
