"""The options of the command line that say which node is meant, made into settings."""

from __future__ import annotations

import argparse
import os
import pwd
from pathlib import Path
from typing import Any

from config.conditions import KEYWORDS, SEQUENCES
from config.settings import Settings, SettingsError, load

from ..configured import targets_of
from ..outbound.target import Target
from ..remembered import recall
from ..study import keywords

#: PS3.5 table 6.2-1
LONGEST_AE_TITLE = 16


def target_of(text: str) -> tuple[str, str, int]:
    """AET@HOST:PORT, taken apart.

    Raises:
        SettingsError: it is something else.
    """
    ae_title, at, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not (at and colon and ae_title and host and port.isdigit() and 0 < int(port) < 65536):
        raise SettingsError(f"{text!r} is not AET@HOST:PORT, such as ORTHANC@10.20.30.5:4242")
    if len(ae_title) > LONGEST_AE_TITLE:
        raise SettingsError(f"{ae_title!r} is no AE title: those have up to {LONGEST_AE_TITLE} characters")
    return ae_title, host.strip("[]"), int(port)


def peer_of(settings: Settings, text: str) -> Target:
    """A peer of the configuration by its name, as it is sent to; or anybody, as AET@HOST:PORT.

    Raises:
        SettingsError: it is neither.
    """
    if text in (targets := targets_of(settings)):
        return targets[text]
    if any(peer.name == text for peer in settings.peer):
        raise SettingsError(f"{text} has no `destination`: name it as AET@HOST:PORT")
    if "@" not in text:
        known = f"; there are {', '.join(targets)}" if targets else ""
        raise SettingsError(f"{text!r} is neither a [[peer]] nor AET@HOST:PORT{known}")
    ae_title, host, port = target_of(text)
    return Target(ae_title, ae_title, host, port)


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that a command line asks for; `options.config` and `options.database` are then what was used.

    Without them, what `planimeter run` noted in that home is used: file and database of the node that lives there.
    """
    overrides: dict[str, Any] = {}
    for section, key, value in (
        ("node", "home", options.home),
        ("node", "ae_title", options.ae_title),
        ("receive", "port", options.port),
        ("receive", "quiet_seconds", options.quiet_seconds),
        ("database", "url", options.database),
    ):
        if value is not None:
            overrides.setdefault(section, {})[key] = value
    if options.config is None and (named := os.environ.get("PLANIMETER_CONFIG")):
        options.config = Path(named)
    if options.config is None:
        noted = recall((options.home or Settings().node.home).expanduser().absolute())
        options.config = Path(config) if (config := noted.get("config")) else None
        if options.database is None and noted.get("database"):
            options.database = noted["database"]
            overrides.setdefault("database", {})["url"] = options.database
    peers: list[dict[str, Any]] = []
    for text in options.send_to:
        ae_title, host, port = target_of(text)
        name = "".join(c if c.isalnum() else "-" for c in ae_title.lower()).strip("-") or "destination"
        if any(peer["name"] == name for peer in peers):
            name = f"{name}-{len(peers) + 1}"
        peers.append({"name": name, "ae_title": ae_title, "destination": {"host": host, "port": port}})
    if peers:
        overrides["peer"] = peers
    return load(options.config, overrides, dicom_keywords(), tuple(peer["name"] for peer in peers))


def dicom_keywords() -> dict[str, frozenset[str]]:
    """What the conditions of routes may look at."""
    return {KEYWORDS: keywords.known(), SEQUENCES: keywords.sequences()}


def same_options(options: argparse.Namespace) -> list[str]:
    """The node's options again, for a child."""
    given: list[str] = []
    for name in ("config", "home", "ae_title", "port", "database", "quiet_seconds"):
        if (value := getattr(options, name)) is not None:
            given += [f"--{name.replace('_', '-')}", str(value)]
    for text in options.send_to:
        given += ["--send-to", text]
    return given


def who() -> str:
    """The operating-system user, for the record."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under any number
        return f"uid {os.getuid()}"
