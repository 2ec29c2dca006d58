"""Peers: the scanners and PACS that we know, and what a destination gets."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from .conditions import Expects
from .sections import AETitle as AETitle
from .sections import Name as Name
from .sections import Object, Port
from .sections import Section as Section
from .tls import Fingerprint


class Service(Section):
    """Where a peer answers: at host and port by DIMSE, or at a URL by DICOMweb."""

    #: as messages call it: the role, and its two ways
    called: ClassVar[tuple[str, str, str]]

    host: str = ""
    port: Port | None = None
    url: str = ""
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    tls: bool = False
    tls_name: str = ""
    certificate_sha256: tuple[Fingerprint, ...] = ()

    @field_validator("password_file", "token_file", "ca_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _one_way(self) -> Service:
        role, dimse, web = self.called
        if bool(self.url) == bool(self.host or self.port):
            raise ValueError(f"a {role} has host and port ({dimse}), or url ({web}), and not both")
        if not self.url and not (self.host and self.port):
            raise ValueError(f"a {role} has host and port")
        if self.url and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", self.url):
            raise ValueError(f"{self.url!r} is no URL such as https://pacs.example/dicom-web")
        if not self.url and (self.user or self.password_file or self.token_file):
            raise ValueError(f"user, password_file and token_file belong to a {role} with url")
        if self.url and self.tls:
            raise ValueError("a url says by itself whether it is TLS: https://; `tls` belongs to host and port")
        if not self.url and not self.tls and (self.ca_file or self.tls_name or self.certificate_sha256):
            raise ValueError("ca_file, tls_name and certificate_sha256 belong to tls = true")
        if self.url and (self.tls_name or self.certificate_sha256):
            raise ValueError("tls_name and certificate_sha256 belong to host and port with tls = true")
        if bool(self.user) != bool(self.password_file) or (self.user and self.token_file):
            raise ValueError("give user and password_file, or token_file alone")
        return self


class Destination(Service):
    """The role of a peer that is sent results: by C-STORE to host and port, or by STOW-RS to a URL."""

    called = ("destination", "C-STORE", "STOW-RS")

    objects: Annotated[tuple[Object, ...], Field(min_length=1)] = ("SEG", "SR")
    stl_segments: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    label_map: bool = False
    flagged: Literal["send", "mark", "hold"] = "send"
    commitment: bool = False
    rejection_notes: bool = False
    refusals: bool = False

    @model_validator(mode="after")
    def _commitment_is_dimse(self) -> Destination:
        if self.url and self.commitment:
            raise ValueError("storage commitment is a DIMSE service: a url has none; STOW-RS answers for each instance")
        return self


class Query(Service):
    """The role of a peer that is asked for studies: by C-FIND at host and port, or by QIDO-RS at a URL."""

    called = ("query", "C-FIND", "QIDO-RS")

    retrieve: Literal["move", "get", "wado", ""] = ""
    counts: bool = False
    priors: bool = False
    reconcile: bool = False
    modalities: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{1,16}$")], ...] = ()
    complete_minutes: Annotated[float, Field(gt=0, le=1440)] = 30

    @property
    def way(self) -> Literal["move", "get", "wado"]:
        """How its studies are retrieved."""
        return self.retrieve or ("wado" if self.url else "move")

    @model_validator(mode="after")
    def _retrieves_where_it_asks(self) -> Query:
        if bool(self.url) != (self.way == "wado"):
            raise ValueError('retrieve is "move" or "get" with host and port, and "wado" with url')
        return self


class Peer(Section):
    """Another application entity."""

    name: Name
    ae_title: AETitle
    address: str = ""
    may_send: bool = False
    may_send_labels: bool = False
    called_ae: AETitle | Literal[""] = ""
    tls_only: bool = False
    certificate_sha256: tuple[Fingerprint, ...] = ()
    certificate_names: tuple[Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)], ...] = ()
    associations: Annotated[int, Field(ge=0, le=500)] = 0
    instances_per_hour: Annotated[int, Field(ge=0)] = 0
    gb_per_hour: Annotated[float, Field(ge=0)] = 0
    expects: Expects | None = None
    destination: Destination | None = None
    query: Query | None = None

    @field_validator("address")
    @classmethod
    def _address_or_network(cls, value: str) -> str:
        try:
            ipaddress.ip_network(value or "0.0.0.0/0", strict=False)
        except ValueError:
            raise ValueError(f"{value!r} is neither an IP address nor a network such as 10.1.2.0/24") from None
        return value

    @model_validator(mode="after")
    def _senders_have_an_address(self) -> Peer:
        if (self.may_send or self.may_send_labels) and not self.address:
            raise ValueError("a peer that may send needs `address`, the IP address or network it calls from")
        return self

    @model_validator(mode="after")
    def _who_sends_is_expected_of(self) -> Peer:
        if self.expects is not None and not self.may_send:
            raise ValueError("`expects` is of the studies that a peer sends: it needs may_send = true")
        return self

    @model_validator(mode="after")
    def _moved_images_may_come_in(self) -> Peer:
        if self.query is not None and self.query.way == "move" and not self.may_send:
            raise ValueError(
                'what retrieve = "move" asks for comes back by C-STORE: the peer needs may_send = true, and its address'
            )
        return self

    @property
    def needs_tls(self) -> bool:
        """Whether it is let in over TLS alone; a certificate is shown nowhere else."""
        return self.tls_only or bool(self.certificate_sha256 or self.certificate_names)
