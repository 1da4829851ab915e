"""PostgreSQL: no call may hang, whatever happens to the server or the network.

| what happens | who ends the wait |
|---|---|
| no connection to be had | ``connect_timeout`` |
| a lock that another session holds; a slow statement | the server: ``lock_timeout``, ``statement_timeout`` |
| the network is cut, sent bytes are never acknowledged | the kernel: ``tcp_user_timeout`` |
| the network is cut while nothing is due; a server that is stopped (SIGSTOP) | this module: `SILENCE_S` |
| this process is stopped in the middle of a transaction, and its locks keep a backup out | the server: \
``idle_in_transaction_session_timeout`` |

The last limit does not count in a pipeline, in which psycopg sends a statement for many rows: between two rows the
server waits for the next one as in a statement of its own that has no end. So each row is sent by itself.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import Engine, event

__all__ = ["SILENCE_S", "bound_waits", "is_postgresql_away"]

CONNECT_S: Final = 5
STATEMENT_S: Final = 8
SILENCE_S: Final = 10.0
"""How long the server may say nothing while an answer is due: longer than its own limits."""

_SESSION: Final = {
    "statement_timeout": STATEMENT_S * 1000,
    "lock_timeout": 4_000,
    "idle_in_transaction_session_timeout": 6_000,
}
_CONNECTION: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_S,
    "tcp_user_timeout": STATEMENT_S * 1000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "application_name": "csproxy",
}

_AWAY: Final = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "53300", "25P03", "28000", "28P01", "3D000"})
"""Shut down, starting, database dropped, idle too long, too many connections, wrong password, no such database."""


def bound_waits(engine: Engine) -> None:
    """Give every connection of ``engine`` the limits above."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        del dialect, record
        session = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
        wanted = {**_CONNECTION, **options}
        wanted["options"] = f"{session} {options.get('options', '')}".strip()
        return _bounded_connection().connect(*arguments, **wanted)

    @event.listens_for(engine, "do_executemany")
    def execute_each(cursor: Any, statement: str, rows: Sequence[Any], context: Any) -> bool:
        del context
        for row in rows:
            cursor.execute(statement, row)
        return True


def is_postgresql_away(error: BaseException | None) -> bool:
    """Whether psycopg's ``error`` means that the server cannot be reached or used at all."""
    state = getattr(error, "sqlstate", "")
    if state:
        return state.startswith("08") or state in _AWAY
    # no state: the error did not come from the server, so the server did not get that far
    return type(error).__module__.startswith("psycopg") and _is_operational(error)


def _is_operational(error: BaseException | None) -> bool:
    from psycopg import OperationalError

    return isinstance(error, OperationalError)


@cache
def _bounded_connection() -> type[Any]:
    """psycopg's connection, made when PostgreSQL is used: the package is optional."""
    import psycopg

    class BoundedConnection(psycopg.Connection[Any]):
        """Gives up when the server is silent for `SILENCE_S`; the connection is closed then."""

        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            """Wait for what ``gen`` waits for."""
            return super().wait(_impatient(gen, self), *args, **kwargs)

    return BoundedConnection


def _impatient(gen: Generator[Any, Any, Any], connection: Any) -> Generator[Any, Any, Any]:
    """Pass on what ``gen`` yields, until the socket has shown nothing for too long (0 is sent every 0.1 s then)."""
    import psycopg

    deadline = time.monotonic() + SILENCE_S
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                deadline = time.monotonic() + SILENCE_S
            elif time.monotonic() > deadline:
                connection.pgconn.finish()
                raise psycopg.OperationalError(f"the server did not answer within {SILENCE_S:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value
