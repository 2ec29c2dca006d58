"""What processes write on standard error: a line per event, for people or as JSON, and nothing that names a patient.

Our own messages name jobs, networks, AE titles and codes. What others say (libraries, exceptions, warnings) may quote a
header: of a foreign message only its place is written, of an exception its type and where it came from, never its text.
A study is known by the first 16 digits of the SHA-256 of its Study Instance UID.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from . import machine

OURS = frozenset({"node", "db", "models", "config", "__main__"})
#: their messages name jobs of theirs, files of ours and addresses
TRUSTED = frozenset({"apscheduler", "alembic", "uvicorn"})
FIELDS = ("job", "study", "network", "ae")
ROOT = Path(__file__).parents[1]

_about: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("about", default=None)


@contextlib.contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Every line that this thread writes within is about this: `job`, `study`, `network`, `ae`."""
    token = _about.set({**(_about.get() or {}), **{name: value for name, value in fields.items() if value}})
    try:
        yield
    finally:
        _about.reset(token)


def study(study_uid: str | None) -> str:
    """What the log calls a study; empty where there is none."""
    return hashlib.sha256(study_uid.encode()).hexdigest()[:16] if study_uid else ""


def configure(process: str, form: str = "text", level: str = "info") -> None:
    """Write the log of this process, from now on.

    Args:
        process: what lines call it.
        form: "text" or "json".
        level: "debug", "info", "warning" or "error"; PLANIMETER_LOG in the environment wins.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(process) if form == "json" else Text(process))
    wanted = os.environ.get("PLANIMETER_LOG") or level
    logging.basicConfig(handlers=[handler], level=wanted.upper(), force=True)
    for library in ("alembic", "apscheduler", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    warnings.showwarning = _warned


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    said = (kind, error or kind(), trace)
    logging.getLogger(__name__).critical("an error that nobody caught", exc_info=said)


def _warned(
    message: Warning | str,  # noqa: ARG001 - it may quote a header
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    logging.getLogger(__name__).warning("%s at %s:%s", category.__name__, _place(filename), lineno)


class Text(logging.Formatter):
    """For people: time, process, level, what, and about what."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - of this machine
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        head = f"{at},{record.msecs:03.0f} {self._process}[{record.process}] {record.levelname}"
        lines = [f"{head} {_said(record)}{f' ({fields.strip()})' if fields else ''}"]
        return "\n    ".join([*lines, *_trace(record)])


class Json(logging.Formatter):
    """For programs: one JSON object in a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process, self._machine = process, machine.name()

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname.lower(),
            "machine": self._machine,
            "process": self._process,
            "pid": record.process,
            "module": record.name,
            "message": _said(record),
            **_fields(record),
        }
        if trace := _trace(record):
            line["error"] = trace
        return json.dumps(line, ensure_ascii=False)


def _said(record: logging.LogRecord) -> str:
    if _family(record.name) not in OURS | TRUSTED:
        return f"a message of {record.name} ({_place(record.pathname)}:{record.lineno})"
    text = record.getMessage()
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _family(name: str) -> str:
    return name.split(".")[0]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    given = {name: value for name in FIELDS if (value := getattr(record, name, None))}
    return {**(_about.get() or {}), **given}


def _trace(record: logging.LogRecord) -> list[str]:
    """The types of an exception and of those that led to it, each with its places; no text, no values."""
    error = record.exc_info[1] if record.exc_info else None
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        code = getattr(error, "code", None)
        of_ours = _family(type(error).__module__) in OURS and isinstance(code, str)
        lines.append(f"{type(error).__module__}.{type(error).__qualname__}" + (f" {code}" if of_ours else ""))
        frames = traceback.extract_tb(error.__traceback__)
        lines += [f"  at {_place(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _place(filename: str) -> str:
    """Where code lies, without the folders of this machine."""
    parts = Path(filename).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :])
    with contextlib.suppress(ValueError):
        return str(Path(filename).relative_to(ROOT))
    return Path(filename).name
