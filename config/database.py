"""The settings of the database: where the rows are."""

from __future__ import annotations

from pathlib import Path

from pydantic import field_validator, model_validator

from .sections import Section


class DatabaseSection(Section):
    """Where the rows are; an empty URL is SQLite in the home folder."""

    url: str = ""
    password_file: Path | None = None

    @field_validator("password_file", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _a_password_is_for_somebody(self) -> DatabaseSection:
        if self.password_file is not None and not self.url:
            raise ValueError("password_file belongs to a url; SQLite has no password")
        return self
