"""A destination: where it is, and what it wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..tls.calling import Calling
from ..tls.files import SYSTEM, Trust


@dataclass(frozen=True)
class Web:
    """A DICOMweb origin server.

    Attributes:
        url: without the service's own part (`/studies`).
        user, password_file: HTTP basic authentication; the file holds the password.
        token_file: or a bearer token, read anew for every association so that it can be renewed.
        trust: whose certificates are good.
    """

    url: str
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    trust: Trust = SYSTEM


@dataclass(frozen=True)
class Target:
    """A destination.

    Attributes:
        name: in the configuration.
        ae_title, host, port: where to send by C-STORE.
        web: where to send by STOW-RS instead.
        tls: how it is called over TLS; None: in the clear.
        objects: kinds of result that it gets: SEG, SR, SC, PDF, RTSTRUCT, STL, PM.
        stl_segments: labels of the segments that it gets as surfaces; all where none is named.
        label_map: whether it shows Label Map Segmentations; it gets these instead of binary ones, unless
            segments may overlap.
        flagged: what becomes of a result with quality flags: sent, sent with marks, or held for a person.
        commitment: whether it is asked for storage commitment.
        rejection_notes: whether it gets an IHE IOCM note on results that are replaced.
        refusals: whether it wants to be told what was not processed.
    """

    name: str
    ae_title: str
    host: str
    port: int
    web: Web | None = None
    tls: Calling | None = None
    objects: frozenset[str] = frozenset({"SEG", "SR"})
    stl_segments: tuple[str, ...] = ()
    label_map: bool = False
    flagged: Literal["send", "mark", "hold"] = "send"
    commitment: bool = False
    rejection_notes: bool = False
    refusals: bool = False

    @property
    def machine(self) -> str:
        """Its host, whichever way it is reached."""
        return (urlsplit(self.web.url).hostname or "") if self.web else self.host
