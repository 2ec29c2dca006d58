"""The way to a PostgreSQL: a machine at either end of it may lose its power, or stand still, in the midst of anything.

Without these settings the kernel and the server wait for two hours for one that is not there any more, and for ever for
one that is there and does not go on; whoever wants a row that it has locked waits as long.
"""

from __future__ import annotations

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: a transaction of ours makes its statements within a fraction of a second, and within some seconds on a busy machine
IDLE_SECONDS = 30
#: one that reads a folder of files between its statements, or writes one, takes longer
LONG_SECONDS = 900
#: how this end connects, and when it gives the other one up (PostgreSQL's manual, 34.1.2). The URL may say otherwise
PARAMETERS = {
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
#: the same of the server's end, which leaves out on a Unix socket what is TCP's (19.3.2), and what it does by itself
SETTINGS = {
    "jit": "off",  # it would take a second to compile questions that take milliseconds
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
}
#: the server ended a session of its own accord, or takes no writes: the driver calls these no errors of the connection
TURNED_AWAY = (
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)

#: what was to be written fits no page or index: the driver calls that an error of operation, too
TOO_LARGE = psycopg.errors.ProgramLimitExceeded


def because(error: object) -> str:
    """Of one that `TURNED_AWAY`: what the database does, for people."""
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return "takes no writes now: it is a standby, or set to read only"
    return "ended a transaction that stood still for too long; nothing of it was written"


def parameters(url: sa.URL) -> dict[str, str]:
    """What the driver is told beside the URL."""
    return {name: value for name, value in PARAMETERS.items() if name not in url.query}


def settle_in(connection: psycopg.Connection, url: sa.URL) -> None:
    """Tell the server about a new session, in one statement; not what the `options` of the URL say of it already."""
    said = str(url.query.get("options", ""))
    ours = [(name, value) for name, value in SETTINGS.items() if f"{name}=" not in said]
    calls = ", ".join(["set_config(%s, %s, false)"] * len(ours))
    connection.execute(f"SELECT {calls}", [word for one in ours for word in one])
    connection.commit()


def take_time(tx: Connection) -> None:
    """This transaction does other work between its statements: it is given up after LONG_SECONDS of that."""
    if tx.dialect.name == "postgresql":
        statement = f"SET LOCAL idle_in_transaction_session_timeout = '{LONG_SECONDS}s'"
        tx.exec_driver_sql(statement, execution_options={"stream_results": False})  # it is no question
