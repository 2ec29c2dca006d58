"""The settings of DICOM over TLS: a port of the receiver, who is trusted, and what we show of ourselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from .sections import Section


def _without_colons(value: object) -> object:
    """As `openssl x509 -fingerprint -sha256` prints it, and as everything else does."""
    return value.replace(":", "").strip().lower() if isinstance(value, str) else value


#: the SHA-256 of a certificate (DER)
Fingerprint = Annotated[
    str, BeforeValidator(_without_colons), StringConstraints(pattern=r"^[0-9a-f]{64}$", strip_whitespace=True)
]


class TlsSection(Section):
    """DICOM over TLS."""

    certificate: Path | None = None
    key: Path | None = None
    port: Annotated[int, Field(ge=0, le=65535)] = 2762
    plain: bool = True
    profile: Literal["bcp195", "bcp195-modified"] = "bcp195"
    ca_file: Path | None = None
    crl_file: Path | None = None
    require_client_certificate: bool = True
    client_certificate: Path | None = None
    client_key: Path | None = None
    handshake_seconds: Annotated[float, Field(gt=0, le=60)] = 10

    @field_validator("certificate", "key", "ca_file", "crl_file", "client_certificate", "client_key", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _files_fit_together(self) -> TlsSection:
        pairs = (
            ("certificate", "key", self.certificate, self.key),
            ("client_certificate", "client_key", self.client_certificate, self.client_key),
        )
        for first, second, one, other in pairs:
            if (one is None) != (other is None):
                raise ValueError(f"{first} and {second} belong together: name both files, or neither")
        if self.certificate and self.require_client_certificate and not self.ca_file:
            raise ValueError(
                "callers are asked for a certificate: name in `ca_file` the authorities of those, or say "
                "`require_client_certificate = false`"
            )
        if self.crl_file and not self.ca_file:
            raise ValueError("crl_file lists what the authorities of `ca_file` have revoked: name those too")
        if not self.plain and not self.is_on:
            raise ValueError("plain = false leaves no port at all: name `certificate` and `key`")
        return self

    @property
    def is_on(self) -> bool:
        """Whether the receiver has a port for TLS."""
        return self.certificate is not None

    @property
    def shown(self) -> tuple[Path, Path] | None:
        """Certificate and key that peers are shown which we call and which ask for one."""
        if self.client_certificate and self.client_key:
            return self.client_certificate, self.client_key
        return (self.certificate, self.key) if self.certificate and self.key else None
