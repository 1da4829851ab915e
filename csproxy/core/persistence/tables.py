"""The schema of the Configuration Database, version `SCHEMA_VERSION`.

The vendor publishes no data model, so this one is the project's own (docs/reference/database.md).
Objects are rows of encoded bytes: what an attribute means is the object model's affair and never
needs a migration. The tables here must equal what the migrations build; a test compares them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Unicode
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

__all__ = [
    "SCHEMA_VERSION",
    "UEN_COUNTER",
    "changes",
    "counters",
    "credentials",
    "epochs",
    "former_hashes",
    "history",
    "idempotency",
    "lease",
    "log_ins",
    "meta",
    "metadata",
    "objects",
    "session_batches",
]

SCHEMA_VERSION: Final = "0007"
"""The newest migration; the database holds its own in table ``alembic_version``."""

UEN_COUNTER: Final = 0
"""Row of ``counters`` that holds the head UEN; every other row is the last DBID of its object type."""

metadata: Final = MetaData()


class Name(TypeDecorator[str]):
    """A name that may be empty, which Oracle takes for NULL: there a space stands for it."""

    impl = Unicode
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """What the database is given."""
        return " " if value == "" and dialect.name == "oracle" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """What was meant."""
        return "" if value == " " and dialect.name == "oracle" else value


meta: Final = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(255), nullable=False),
)
"""``guid``: the database's identity; ``release``: who made it; ``operational_mode``: full unless it says another."""

epochs: Final = Table(
    "epochs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("first_uen", BigInteger, nullable=False),
)
"""One row each time a master takes the database; ``number`` counts them."""

lease: Final = Table(
    "lease",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("time_ms", Integer, nullable=False),
    Column("application", Name(255), nullable=False),
    Column("process", Name(255), nullable=False),
    Column("address", Name(255), nullable=False),
    Column("port", Integer, nullable=False),
)
"""One row, ``id`` 1: who has the database (``epoch`` 0: nobody), renewed by counting ``counter`` up; ``time_ms`` is
how long it holds unrenewed."""

counters: Final = Table(
    "counters",
    metadata,
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)
"""Row 0: head UEN. Row n: the highest DBID that an object of type n ever had."""

objects: Final = Table(
    "objects",
    metadata,
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("dbid", Integer, primary_key=True, autoincrement=False),
    Column("folder", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The objects; ``body`` is the canonical msgpack map of the attributes. Types above 1000 are security records
(`csproxy.core.security_records`)."""

changes: Final = Table(
    "changes",
    metadata,
    Column("uen", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("last", Boolean, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("action", Integer, nullable=False),
    Column("type", Integer, nullable=False),
    Column("dbid", Integer, nullable=False),
    Column("user_name", Name(255), nullable=False),
    Column("application", Name(255), nullable=False),
    Column("size", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
"""The recent changes; ``payload`` is that of the notification, ``size`` its bytes, ``last`` ends a transaction."""

idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("uen", BigInteger, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    Index("idempotency_time", "time_ms"),
)
"""Outcomes of writes that carried a key, so that a repeated one is answered and not done again."""

credentials: Final = Table(
    "credentials",
    metadata,
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("dbid", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(255), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
"""Password hashes of Persons and Applications; they and former ones stand nowhere else."""

former_hashes: Final = Table(
    "former_hashes",
    metadata,
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("dbid", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(255), nullable=False),
)
"""The hashes before, as many as the rule password-no-repeats asks for; ``number`` 0 is the newest."""

log_ins: Final = Table(
    "log_ins",
    metadata,
    Column("dbid", Integer, primary_key=True, autoincrement=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("application", Name(255), nullable=False),
    Column("address", Name(255), nullable=False),
    Column("failed", Integer, nullable=False),
    Column("failed_ms", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("locked_ms", BigInteger, nullable=False),
)
"""Log-ins of Persons: a `csproxy.core.log_in_state.LogInState` for each that has one."""

history: Final = Table(
    "history",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("uen", BigInteger, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("history_kind_time", "kind", "time_ms", "number"),
)
"""The history log: ``kind`` is a `csproxy.core.history.HistoryKind`; ``body`` is the record."""

session_batches: Final = Table(
    "session_batches",
    metadata,
    Column("server", String(255), primary_key=True),
    Column("batch", String(64), nullable=False),
)
"""The last batch of session records that was stored for each server: a repeated one is not stored again."""
