"""The steps of the Dockerfile, run without a container engine: in a folder that becomes the root of what runs there.

The base image is this machine's own /usr, read-only; what a step writes (/etc, /opt, /var ...) is the folder's. The
packages that pip would bring from the index are there already, from the environment of the tests, so `pip install` is
the real one of the tree that the COPY steps left, without its dependencies; `apt-get` is not run, since /usr is not
ours. Everything else is done as it stands there.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

SOURCE = Path(__file__).parents[1]
#: of the base image, from this machine
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin")


@dataclass
class Image:
    """What the steps have left.

    Attributes:
        folder: the root.
        done: the steps that were run, as they stand in the Dockerfile.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    labels: str = ""
    done: list[str] = field(default_factory=list)

    def run(
        self, *words: str, user: str = "", read_only: bool = False, check: bool = True, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run something inside, to its end; by default as the image's user."""
        command = self.inside(*words, user=user, read_only=read_only)
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=timeout, env=self.env())

    def inside(self, *words: str, user: str = "", read_only: bool = False) -> list[str]:
        """The words that run a command there, in mounts of its own.

        Args:
            read_only: of the root all but the volumes and /tmp is, and the network is its own, as in a container.
        """
        root = str(self.folder)
        script = ["set -e", "mount --make-rprivate /"]
        if read_only:
            script += ["ip link set lo up", f"mount --bind {root} {root}"]
            script += [f"mount --bind {root}{volume} {root}{volume}" for volume in self.volumes]
            script.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp")
        script += [f"mount --rbind {one} {root}{one} && mount -o remount,bind,ro {root}{one}" for one in _places()]
        script += [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        if read_only:
            script.append(f"mount -o remount,bind,ro {root}")
        line = "; ".join(script) + '; who="$1"; where="$2"; shift 2; '
        line += f'exec chroot --userspec="$who" {root} /bin/sh -c \'cd "$0" && exec "$@"\' "$where" "$@"'
        apart = ["unshare", "--mount", *(["--net"] if read_only else [])]
        return [*apart, "sh", "-c", line, "sh", user or self.user, self.workdir, *words]

    def env(self) -> dict[str, str]:
        """What is set inside."""
        return {"PATH": os.environ["PATH"], "HOME": "/var/lib/planimeter", **self.environment}


def _python() -> Path:
    """The interpreter of the tests, where it is once links are followed but its own: it knows its packages by that."""
    return Path(sys.prefix).resolve() / "bin" / Path(sys.executable).name


def _places() -> list[str]:
    """What is bound in: the system, the interpreter of the tests, and its packages."""
    places = [place for place in SYSTEM if Path(place).is_dir() and not Path(place).is_symlink()]
    packages = str(Path(sys.prefix).resolve())
    base = str(Path(sys.base_prefix).resolve())
    return [*places, packages, *([] if base.startswith(tuple(places)) or base == packages else [base])]


def build(folder: Path) -> Image:
    """Run all steps; others may read what they make, as in an engine, whatever this process keeps for itself."""
    mask = os.umask(0o022)
    try:
        return _built(Image(folder))
    finally:
        os.umask(mask)


def _built(image: Image) -> Image:
    folder = image.folder
    _base(image)
    with (SOURCE / "Dockerfile").open("rb") as file:
        steps = DockerfileParser(fileobj=file).structure
    stages = 0
    for step in steps:
        what, value = step["instruction"], step["value"]
        if what == "COMMENT":
            continue
        if what == "FROM":
            stages += 1
            if stages > 1:  # of the stage before nothing is there but what is copied
                shutil.rmtree(folder / "src")
                image.workdir, image.environment = "/", {}
        else:
            _STEPS[what](image, value)
        image.done.append(f"{what} {value}")
    return image


def _base(image: Image) -> None:
    root = image.folder
    for name in ("proc", "dev", "tmp", "var/lib", "opt", "root", "stubs", "var/cache", "var/lib/apt/lists"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copytree("/etc", root / "etc", symlinks=True, ignore=shutil.ignore_patterns("ssl", "alternatives"))
    for name in ("ssl", "alternatives"):
        if Path("/etc", name).exists():
            shutil.copytree(f"/etc/{name}", root / "etc" / name, symlinks=True, dirs_exist_ok=True)
    for place in SYSTEM:
        if Path(place).is_symlink():
            (root / place[1:]).symlink_to(Path(place).readlink())
    for place in _places():
        (root / place[1:]).mkdir(parents=True, exist_ok=True)
    stub = root / "stubs" / "apt-get"
    stub.write_text('#!/bin/sh\necho "apt-get $*" >> /stubs/asked\n')
    stub.chmod(0o755)


def _copy(image: Image, value: str) -> None:
    words = shlex.split(value)
    if words[0].startswith("--from="):
        assert (image.folder / words[1].lstrip("/")).exists(), f"COPY {value}: it is not there"
        assert words[1] == words[2], "one root stands for both stages"
        return
    *sources, target = words
    there = image.folder / (target if target.startswith("/") else f"{image.workdir}/{target}").lstrip("/")
    for name in sources:
        source = SOURCE / name
        assert source.exists(), f"COPY {value}: there is no {name}"
        assert _is_let_in(name), f"COPY {value}: .dockerignore keeps {name} out"
        if source.is_dir():
            shutil.copytree(source, there, ignore=_ignored, dirs_exist_ok=True)
        else:
            where = there / source.name if target.endswith("/") else there
            where.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, where)


def _patterns() -> list[str]:
    lines = (SOURCE / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _is_let_in(name: str) -> bool:
    """Whether a part of the context gets to the build, as .dockerignore says: the last line that fits decides."""
    inside = True
    for pattern in _patterns():
        wanted = pattern.removeprefix("!")
        if name == wanted or name.startswith(f"{wanted}/") or fnmatch(name, wanted):
            inside = pattern.startswith("!")
    return inside


def _ignored(folder: str, names: list[str]) -> set[str]:
    below = Path(folder).relative_to(SOURCE)
    return {name for name in names if name == "__pycache__" or not _is_let_in(str(below / name))}


def _run(image: Image, value: str) -> None:
    """As Docker does it, but for what would need the network."""
    for name in ("python", "python3"):
        value = value.replace(f"RUN {name} ", f"{name} ")
    value = value.replace("python -m venv", f"{_python()} -m venv")
    value = value.replace("pip install ", "pip install --no-deps --no-build-isolation ")
    # what pip and the backend need, and what it would have installed, are packages of the tests' environment
    packages = str(next(Path(path).resolve() for path in sys.path if path.endswith("site-packages")))
    path = f"/stubs:{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = {**image.env(), "PATH": path, "PYTHONPATH": packages, "HOME": "/root"}
    done = subprocess.run(
        image.inside("/bin/sh", "-ec", value), capture_output=True, text=True, check=False, timeout=600, env=environment
    )
    assert done.returncode == 0, f"RUN {value}\n{done.stdout}{done.stderr}"
    for made in (image.folder / "opt").glob("*/lib/python3*/site-packages"):
        (made / "packages.pth").write_text(packages + "\n")


def _env(image: Image, value: str) -> None:
    for word in shlex.split(value):
        name, _, said = word.partition("=")
        image.environment[name] = said.replace("$PATH", image.environment.get("PATH", os.environ["PATH"]))


def _set(name: str) -> Any:
    def keep(image: Image, value: str) -> None:
        setattr(image, name, json.loads(value) if value.startswith("[") else value)

    return keep


def _healthcheck(image: Image, value: str) -> None:
    image.healthcheck = json.loads(value.split("CMD", 1)[1])


def _volume(image: Image, value: str) -> None:
    image.volumes.append(value)


def _workdir(image: Image, value: str) -> None:
    (image.folder / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
    image.workdir = value


def _nothing(_image: Image, _value: str) -> None:
    """It says something to an engine alone."""


_STEPS: dict[str, Any] = {
    "ARG": _nothing,
    "CMD": _set("command"),
    "COPY": _copy,
    "ENTRYPOINT": _set("entrypoint"),
    "ENV": _env,
    "EXPOSE": _nothing,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _set("labels"),
    "RUN": _run,
    "STOPSIGNAL": _nothing,
    "USER": _set("user"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
