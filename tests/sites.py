"""A site's node in this process, with a configuration file of its own that a test may change; no network runs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config.settings import load
from node.app import Node, open_node
from node.command_line.options import dicom_keywords

PEERS = """
[[peer]]
name = "pacs"
ae_title = "PACS"
destination = { host = "127.0.0.1", port = 9 }

[[peer]]
name = "viewer"
ae_title = "VIEWER"
destination = { host = "127.0.0.1", port = 9 }
"""
#: all but peers and routes
REST = "[receive]\nquiet_seconds = 0\nport = 0\nreserve_gb = 0\n"


def route(name: str = "chest", **keys: str) -> str:
    """A route of TOML; values as they are written there."""
    said = {"networks": '["ct_lungs"]', "destinations": '["pacs"]'} | keys
    return f'\n[[route]]\nname = "{name}"\n' + "".join(f"{key} = {value}\n" for key, value in said.items())


@dataclasses.dataclass
class Site:
    """Its folder, the file that it is started with, and its node."""

    folder: Path
    migrated: Path
    hosts: Path | None = None

    @property
    def file(self) -> Path:
        return self.folder / "planimeter.toml"

    def write(self, *parts: str, rest: str = REST) -> Path:
        """Write the file."""
        self.file.write_text("".join((rest, PEERS, *parts)))
        return self.file

    @contextmanager
    def started(self, by: str = "ann") -> Iterator[Node]:
        """A node as `planimeter run` opens it."""
        home = self.folder / "home"
        if not home.exists():
            home.mkdir(mode=0o700)
            shutil.copyfile(self.migrated, home / "planimeter.db")
        settings = load(self.file, {"node": {"home": home}}, dicom_keywords())
        node = open_node(settings, self.hosts, started_by=by)
        try:
            yield node
        finally:
            node.close()
