"""One command in a process of its own, forked from one that has loaded what every command needs.

That takes a second of a processor, and the tests run some hundred commands. What a command brings in by itself it still
brings in by itself, and it has its own standard output, standard error, working folder and exit status.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError, CompletedProcess

LONGEST_SECONDS = 200
#: what `node.cli` brings in for every command
LOADED = ["node.cli", "node.command_line.commands"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LOADED)


def run(words: Sequence[str], *, check: bool) -> CompletedProcess[str]:
    """Run `planimeter` with these arguments to its end, in the environment and the working folder of the caller.

    Raises:
        CalledProcessError: it failed, where `check` is set.
    """
    with tempfile.TemporaryDirectory(prefix="planimeter-said-") as folder:
        process = _context.Process(target=_command, args=(list(words), folder, Path.cwd(), dict(os.environ)))
        process.start()
        process.join(LONGEST_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        out, err = ((Path(folder) / name).read_text(encoding="utf-8") for name in ("out", "err"))
        status = int(process.exitcode or 0)
        process.close()
    if check and status:
        raise CalledProcessError(status, list(words), out, err)
    return CompletedProcess(list(words), status, out, err)


def _command(words: list[str], folder: str, where: Path, environ: dict[str, str]) -> None:
    for number, name in enumerate(("out", "err"), 1):
        descriptor = os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = ["planimeter", *words]
    from node import cli

    sys.exit(cli.main(words))
