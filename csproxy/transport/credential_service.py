"""A master's passwords and log-ins: kept in its database, and brought to the proxies that it trusts.

What changes in the book of credentials is written to the database and pushed to proxies once a second, so that log-ins
cost no commit each; a password that was set is in the database before, with its object, and is pushed at once: before
the change is published or answered. A proxy that takes its pushes slowly gets them later, not more of them.

A proxy asks for what differs from what it has; that makes it one that is pushed to. Nobody else gets anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from csproxy.core import codec
from csproxy.core.credentials import CredentialBook, differing_buckets
from csproxy.core.log_in_state import NO_STATE
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.persistence.credentials import replace_hash, write_log_ins
from csproxy.errors import StoreError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.channel import HIGH_WATER_BYTES
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.log_ins import LogIns
from csproxy.transport.wire.credentials import CredentialsChanged, CredentialsRead, LogInRecords, ReadCredentials
from csproxy.transport.wire.frames import encode_frame
from csproxy.transport.wire.messages import MessageId

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["FLUSH_S", "CredentialService"]

log = logging.getLogger("csproxy.credentials")

FLUSH_S: Final = 1.0
"""How long a log-in waits to be written and told with others."""
_ANSWER_BYTES: Final = 64 * 1024
"""Some 600 entries: a proxy takes 6 ms for them."""
_PUSHED_AT_ONCE: Final = 1_000
_MAX_REHASHES: Final = 100
_LAST_FLUSH_S: Final = 2.0
_PERSON: Final = int(CfgObjectType.CFGPerson)


class CredentialService:
    """A `csproxy.transport.credential_source.CredentialSource` over a master's database.

    Async context manager around one task. ``hash_password`` is slow and runs in a worker thread.
    """

    def __init__(self, database: DatabaseMaster, log_ins: LogIns, *, hash_password: Callable[[str], str]) -> None:
        self._database = database
        self._log_ins = log_ins
        self._hash_password = hash_password
        self._due: dict[ServerConnection, set[int]] = {}
        self._unwritten: set[int] = set()
        self._batches: dict[str, str] = {}
        self._rehashes: set[int] = set()
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<CredentialService of {self._book!r} for {len(self._due)} proxies>"

    @property
    def _book(self) -> CredentialBook:
        return self._database.book

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._flush_for_ever)
        self._database.on_passwords = self.push
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)
        with anyio.move_on_after(_LAST_FLUSH_S, shield=True):
            await self._flush()

    # CredentialSource

    def read(self, connection: ServerConnection, request: ReadCredentials) -> CredentialsRead:
        """As `CredentialSource.read`; an answer has about 64 KB, or one bucket."""
        book = self._book
        different = differing_buckets(book.digests(), request.digests)
        answer = CredentialsRead()
        size = 0
        for number in different:
            if size > _ANSWER_BYTES:
                answer.more = True
                break
            answer.buckets[number] = entries = book.entries(number)
            size += len(codec.encode(entries))
        self._due.setdefault(connection, set())
        return answer

    def take(self, request: LogInRecords, *, server: str) -> None:
        """As `CredentialSource.take`: a batch that was just taken is not taken again."""
        if request.batch and self._batches.get(server) == request.batch:
            return
        self._batches[server] = request.batch
        now_ms = self._log_ins.now_ms()
        for log_in in request.log_ins:
            if self._log_ins.knows(log_in.dbid):
                # a clock that is ahead locks nobody out for longer
                time_ms, is_kept = min(log_in.time_ms, now_ms), log_in.is_kept and self._log_ins.settings.last_login
                self._log_ins.take(msgspec.structs.replace(log_in, time_ms=time_ms, is_kept=is_kept))

    # pushing and writing

    def push(self, dbids: Collection[int]) -> None:
        """Tell the proxies of these Persons."""
        for connection in [connection for connection in self._due if connection.is_closed]:
            del self._due[connection]
        for connection, due in self._due.items():
            due.update(dbids)
            if connection.channel.pending_bytes <= HIGH_WATER_BYTES:
                self._send(connection, due)

    def _send(self, connection: ServerConnection, due: set[int]) -> None:
        while due:
            changed = CredentialsChanged()
            for dbid in [due.pop() for _ in range(min(len(due), _PUSHED_AT_ONCE))]:
                entry = self._book.entry(dbid)
                if entry is None:
                    changed.removed.append(dbid)
                else:
                    changed.entries.append(entry)
            connection.send(encode_frame(MessageId.CREDENTIALS_CHANGED, codec.encode(changed)))

    async def _flush_for_ever(self) -> None:
        while True:
            await anyio.sleep(FLUSH_S)
            await self._flush()

    async def _flush(self) -> None:
        touched = self._book.take_touched()
        self.push(touched)
        self._unwritten |= touched
        if not self._unwritten or not self._database.is_primary:
            self._unwritten.clear()  # a backup has what its primary has written
            return
        states = {dbid: self._book.state(dbid) for dbid in self._unwritten}
        rows = {dbid: None if state == NO_STATE else state for dbid, state in states.items()}
        try:
            async with self._database.beside() as write:
                await write(partial(write_log_ins, states=rows))
                self._unwritten.clear()
        except StoreError as e:
            log.warning(
                "log-ins of %d persons wait for the database: %s", len(self._unwritten), e, extra={"event": 31047}
            )

    # better hashes

    def rehash(self, dbid: int, stored: str, password: str) -> None:
        """Hash a right password with today's parameters, in the background, unless too many wait for that."""
        if self._tasks is not None and dbid not in self._rehashes and len(self._rehashes) < _MAX_REHASHES:
            self._rehashes.add(dbid)
            self._tasks.start_soon(self._rehash, dbid, stored, password)

    async def _rehash(self, dbid: int, stored: str, password: str) -> None:
        id = _PERSON, dbid
        try:
            new = await run_blocking(self._hash_password, password)
            async with self._database.beside() as write:
                if self._book.hashes.get(id) != stored:
                    return
                await write(partial(replace_hash, id=id, old=stored, new=new))
                self._book.set_hash(id, new, changed_ms=self._book.changed_ms(dbid))
                self.push({dbid})
            log.info("the password of person %d is hashed with today's parameters now", dbid)
        except StoreError as e:
            log.warning("the password of person %d keeps its old hash for now: %s", dbid, e, extra={"event": 31047})
        finally:
            self._rehashes.discard(dbid)
