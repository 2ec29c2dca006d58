"""The settings of the pages: where they are served, by which names, and for how long somebody stays signed in."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from .peers import Section

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253)]
STUDY = "{study_uid}"


class WebSection(Section):
    """The pages."""

    enabled: bool = True
    port: Annotated[int, Field(ge=0, le=65535)] = 8104
    listen: str = "127.0.0.1"
    hosts: tuple[HostName, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    session_hours: Annotated[float, Field(gt=0, le=168)] = 10
    idle_minutes: Annotated[float, Field(gt=0, le=1440)] = 30
    viewer_link: str = ""

    @field_validator("listen")
    @classmethod
    def _an_address(cls, value: str) -> str:
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(f"{value!r} is not an IP address") from None
        return value

    @field_validator("certificate", "key", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                ipaddress.ip_network(one)
            except ValueError:
                raise ValueError(f"{one!r} is not an IP address or network such as 10.20.30.0/24") from None
        return value

    @field_validator("viewer_link")
    @classmethod
    def _a_link(cls, value: str) -> str:
        if value and not (re.match(r"(https?|weasis)://", value) and STUDY in value):
            raise ValueError(f"a link begins with https://, http:// or weasis:// and contains {STUDY}")
        return value

    @model_validator(mode="after")
    def _nobody_listens_in(self) -> WebSection:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: name both files, or neither")
        if not (self.tls or self.behind_proxy or ipaddress.ip_address(self.listen).is_loopback):
            raise ValueError(
                f"listen is {self.listen}, and passwords would cross the network in the clear: name `certificate` and "
                "`key`, or say `behind_proxy = true` where a proxy speaks TLS in front of the node"
            )
        return self

    @property
    def tls(self) -> bool:
        """Whether the node itself speaks TLS."""
        return self.certificate is not None
