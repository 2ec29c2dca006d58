"""Who may use the pages: accounts, their sessions, and how long a sign-in has to wait after failures."""

from __future__ import annotations

import sqlalchemy as sa

from .base import Time, id_column, metadata, one_of, reference

account = sa.Table(
    "account",
    metadata,
    id_column(),
    # lower case
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # argon2id with its parameters and salt (RFC 9106), as argon2-cffi writes it
    sa.Column("password", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created", Time, nullable=False),
    one_of("role", "viewer", "operator", "approver", "admin"),
)

# Somebody who is signed in. What the browser holds is not here, only its hash.
session = sa.Table(
    "session",
    metadata,
    sa.Column("token_sha256", sa.Text, primary_key=True),
    reference("account_id", "account"),
    sa.Column("created", Time, nullable=False),
    sa.Column("seen", Time, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    # until when names of patients are shown, because somebody asked for it
    sa.Column("shows_until", Time),
    # a sentence for the next page
    sa.Column("flash", sa.Text),
)

# How often signing in went wrong: per account, per address, and per account at an address. Names are hashed: what is
# typed there may be a password.
sign_in_delay = sa.Table(
    "sign_in_delay",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("last", Time, nullable=False),
    sa.Column("not_before", Time, nullable=False),
    # when that account was last signed in at that address
    sa.Column("succeeded", Time),
)
