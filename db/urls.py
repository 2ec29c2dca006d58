"""URLs of databases, and the passwords that are kept apart from them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from .database import DatabaseError


def with_password(url: str, file: Path) -> str:
    """A database's URL with the password that a file holds.

    Raises:
        DatabaseError: the file cannot be read, or is empty; or the URL is wrong.
    """
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        password = ""
    if not password:
        raise DatabaseError(f"password_file of [database]: {file} cannot be read, or is empty")
    try:
        return sa.make_url(url).set(password=password).render_as_string(hide_password=False)
    except sa.exc.ArgumentError:
        raise DatabaseError("database.url is not a database URL such as postgresql+psycopg://user@host/name") from None
