"""What a bundle would execute, said without executing it: its configs are read as trees, and nothing is resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from .. import torchscript
from ..card import CardError

CONFIGS = (".json", ".yaml", ".yml")
#: of one config; those of the largest networks have some thousand
MOST_VALUES = 1_000_000
#: packages that bundles are made of; MONAI finds names without a dot among its own
KNOWN = ("monai", "torch", "ignite", "numpy", "math", "json", "os.path", "pathlib", "glob", "nibabel", "builtins")
#: Planimeter's own, which a converted nnU-Net folder is made of
OURS = ("models.nnunet",)
#: what code needs that reaches out of a bundle, or hides what it does
REACHES_OUT = re.compile(
    r"__|\b(eval|exec|compile|open|input|getattr|setattr|subprocess|socket|urllib|requests|shutil|ctypes|pickle|"
    r"importlib|system|popen|remove|unlink|rmtree|environ|download\w*|urlopen|hub)\b"
)
#: files that are programs themselves, once they are loaded
PICKLES = (".pkl", ".pickle", ".joblib", ".npy", ".npz")
WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".ts", ".onnx", ".engine")


@dataclass(frozen=True)
class Said:
    """Something that would be run: in which file, at which id, and its words."""

    file: str
    place: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """All that a bundle would run.

    Attributes:
        expressions: how many `$` expressions its configs hold.
        reaching: those of them that open, import or call what a network does not need.
        imports: what its configs import.
        targets: classes and functions that are neither MONAI's nor PyTorch's.
        scripts: its own Python files, and how many lines each has.
        pickles: files that would run code if somebody loaded them in the old way.
        weights: files that may be its weights.
        networks: those that are whole networks in TorchScript, and how many lines each has.
        outside: lines of these that reach out of them.
    """

    expressions: int
    reaching: tuple[Said, ...]
    imports: tuple[Said, ...]
    targets: tuple[Said, ...]
    scripts: tuple[tuple[str, int], ...]
    pickles: tuple[str, ...]
    weights: tuple[str, ...]
    networks: tuple[tuple[str, int], ...]
    outside: tuple[Said, ...]


def configs(folder: Path) -> dict[str, Any]:
    """Its config files as trees, by name; also those inside of a TorchScript file, under that file's name.

    Raises:
        CardError: one cannot be read.
    """
    found = {}
    for file in sorted((folder / "configs").glob("*")):
        if file.suffix in CONFIGS and file.is_file():
            found[file.relative_to(folder).as_posix()] = tree(file)
    for file in _programs(folder):
        inside = torchscript.extras(file)
        if isinstance(inside.get("inference"), dict):
            found[file.relative_to(folder).as_posix()] = inside["inference"]
            found.setdefault("configs/metadata.json", inside.get("metadata"))
    return found


def _programs(folder: Path) -> list[Path]:
    """The TorchScript files of a bundle."""
    files = sorted((folder / "models").glob("*"))
    return [file for file in files if file.is_file() and torchscript.scripted(file)]


def tree(file: Path) -> Any:
    """One of them.

    Raises:
        CardError: it cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return json.loads(text) if file.suffix == ".json" else _unfolded(yaml.safe_load(text))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise CardError(f"{file.name}: cannot be read: {first}") from None


def _unfolded(said: Any) -> Any:
    """The same; in YAML a few lines that name one another can stand for more than any memory holds."""
    left, count = [said], 0
    while left:
        one = left.pop()
        inside = list(one.values()) if isinstance(one, dict) else one if isinstance(one, list) else []
        count += len(inside)
        if count > MOST_VALUES:
            raise ValueError(f"its aliases unfold to more than {MOST_VALUES:,} values")
        left += inside
    return said


def program(folder: Path) -> Program:
    """What the bundle in a folder would run.

    Raises:
        CardError: a config cannot be read.
    """
    said = [one for name, its in configs(folder).items() for one in _said(name, "", its)]
    expressions = [one for one in said if one.words.startswith("$")]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {file: file.relative_to(folder).as_posix() for file in files}
    scripts = {names[file]: torchscript.program(file) for file in _programs(folder)}
    return Program(
        expressions=len(expressions),
        reaching=tuple(one for one in expressions if REACHES_OUT.search(_without_strings(one.words))),
        imports=tuple(one for one in expressions if re.search(r"\bimport\b", one.words)),
        targets=tuple(one for one in said if one.place.endswith("_target_") and not _is_known(one.words)),
        scripts=tuple((names[file], _lines(file)) for file in files if file.suffix == ".py"),
        pickles=tuple(names[file] for file in files if file.suffix in PICKLES),
        weights=tuple(names[file] for file in files if file.suffix in WEIGHTS),
        networks=tuple((name, len(lines)) for name, lines in scripts.items()),
        outside=tuple(
            Said(name, place, words)
            for name, lines in scripts.items()
            for place, words in lines
            if torchscript.REACHES_OUT.search(words)
        ),
    )


def _said(file: str, place: str, node: Any) -> Iterator[Said]:
    """Every expression and every target, with its id."""
    if isinstance(node, str):
        if node.startswith("$") or place.endswith("_target_"):
            yield Said(file, place, node)
        return
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inside:
        yield from _said(file, f"{place}#{key}" if place else str(key), value)


def _without_strings(words: str) -> str:
    """An expression without what stands in quotes: a name of a file opens nothing."""
    return re.sub(r"'[^']*'|\"[^\"]*\"", "''", words)


def _is_known(target: str) -> bool:
    return "." not in target or any(target == name or target.startswith(f"{name}.") for name in (*KNOWN, *OURS))


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n")
