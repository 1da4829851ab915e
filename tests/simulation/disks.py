"""The disks of simulated processes: what SQLite and the local copy meet when one is full, broken, slow or away.

SQLite's errors are raised where its driver raises them, so that everything above is the product's own. Files
of a local copy fail in the calls of ``os`` that write them.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any
from unittest import mock

import anyio
from sqlalchemy import Engine, event

from csproxy.core.persistence import copy_writing
from csproxy.transport.blocking import carrier


class Trouble(Enum):
    """What a disk, or the way to the database, suffers from."""

    NONE = "none"
    AWAY = "away"
    HANGING = "hanging"
    FULL = "full"
    BROKEN = "broken"


class Disk:
    """What one run of a process reads from and writes to. ``commit_errors`` is the share of commits that fail."""

    def __init__(self, rng: random.Random, *, commit_errors: float) -> None:
        self.trouble = Trouble.NONE
        self.is_dead = False
        self.errors = 0
        self._rng = rng
        self._commit_errors = commit_errors
        self._changed = anyio.Event()

    def suffer(self, trouble: Trouble) -> None:
        """From now on."""
        self.trouble = trouble
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def die(self) -> None:
        """The process has been killed: nothing that it still does reaches the disk."""
        self.is_dead = True
        self.suffer(Trouble.NONE)

    async def carry_out(self, call: Callable[[], Any]) -> Any:
        """Make a blocking call of the process: a `csproxy.transport.blocking.Carrier`."""
        await anyio.lowlevel.checkpoint()
        answers_late = self._rng.random() < 0.5  # a disk that hangs may have done it before
        if not answers_late:
            await self._while_hanging()
        result = call()
        await self._while_hanging()
        return result

    async def _while_hanging(self) -> None:
        while self.trouble is Trouble.HANGING:
            await self._changed.wait()

    # SQLite

    def before(self, statement: str) -> None:
        """A statement is to be carried out; raises as SQLite does."""
        if self.is_dead or self.trouble is Trouble.AWAY:
            self._fail("unable to open database file", sqlite3.SQLITE_CANTOPEN)
        if self.trouble is Trouble.BROKEN and self._rng.random() < 0.3:
            self._fail("disk I/O error", sqlite3.SQLITE_IOERR)
        if self.trouble is Trouble.FULL and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            self._fail("database or disk is full", sqlite3.SQLITE_FULL)

    def commit(self, commit: Callable[[], None]) -> None:
        """Commit what was written; a share fails before or after it was made."""
        self.before("COMMIT")
        share = 0.5 if self.trouble is Trouble.BROKEN else self._commit_errors
        if self._rng.random() >= share:
            commit()
            return
        if self._rng.random() < 0.5:
            commit()
        self._fail("disk I/O error", sqlite3.SQLITE_IOERR)

    def _fail(self, text: str, code: int) -> None:
        self.errors += 1
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        raise error

    # files

    def check_file(self, *, is_write: bool) -> None:
        """A file is to be opened, written, brought to the disk or renamed; raises OSError."""
        if (
            self.is_dead
            or self.trouble is Trouble.AWAY
            or (self.trouble is Trouble.BROKEN and self._rng.random() < 0.3)
        ):
            self.errors += 1
            raise OSError(errno.EIO, "the simulated disk does not answer")
        if is_write and self.trouble is Trouble.FULL:
            self.errors += 1
            raise OSError(errno.ENOSPC, "the simulated disk is full")

    def shortened(self, data: Any) -> Any:
        """What of ``data`` one call writes: a disk in trouble takes a part and fails at the next call."""
        if self.trouble is Trouble.NONE or len(data) < 2:
            return data
        return data[: self._rng.randint(1, len(data))]


_disk: ContextVar[Disk | None] = ContextVar("simulated_disk", default=None)


def use_disk(disk: Disk) -> None:
    """Let the present task, and what it starts, have this disk."""
    _disk.set(disk)
    carrier.set(disk.carry_out)


class _Cursor(sqlite3.Cursor):
    connection: _Connection

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self.connection.before(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        self.connection.before(sql)
        return super().executemany(sql, parameters)


class _Connection(sqlite3.Connection):
    """A connection of SQLite's driver to a simulated disk."""

    disk: Disk | None = None
    _is_writing = False

    def before(self, sql: str) -> None:
        if sql.startswith("BEGIN"):
            self._is_writing = sql == "BEGIN IMMEDIATE"
        if self.disk is not None:
            self.disk.before(sql)

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        if self.disk is not None and self._is_writing:
            self.disk.commit(super().commit)
        else:
            super().commit()


class _Os:
    """The module ``os`` on a simulated disk."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, *mode: int) -> int:
        _check_file(is_write=bool(flags & os.O_CREAT))
        return os.open(path, flags, *mode)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        _check_file(is_write=True)
        disk = _disk.get()
        return os.pwrite(fd, data if disk is None else disk.shortened(data), offset)

    def fsync(self, fd: int) -> None:
        _check_file(is_write=False)  # nothing survives this simulation's power failures that would need it

    def replace(self, source: Any, target: Any) -> None:
        _check_file(is_write=False)
        os.replace(source, target)


def _check_file(*, is_write: bool) -> None:
    disk = _disk.get()
    if disk is not None:
        disk.check_file(is_write=is_write)


@contextmanager
def simulated_disks() -> Iterator[None]:
    """While entered, databases and local copies are on the disks of the tasks that use them."""

    def connect(dialect: Any, record: object, cargs: Any, cparams: Any) -> Any:
        disk = _disk.get()
        if disk is None:
            return None
        disk.before("CONNECT")
        connection = dialect.connect(*cargs, factory=_Connection, **cparams)
        connection.disk = disk
        return connection

    event.listen(Engine, "do_connect", connect)
    try:
        with mock.patch.object(copy_writing, "os", _Os()):
            yield
    finally:
        event.remove(Engine, "do_connect", connect)
