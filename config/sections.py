"""What all parts of the settings are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# PS3.8 9.3.2: up to 16 characters of the default repertoire, no control characters, no backslash, not all spaces
AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=16, pattern=r"^[ -\[\]-~]+$")
]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


Object = Literal["SEG", "SR", "SC", "PDF", "RTSTRUCT", "STL", "PM"]


class Section(BaseModel):
    """A part of the settings: immutable, and no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)
