"""Permissions, accounts of applications and the operational mode of a master, changed in its database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, Final

import msgspec

from csproxy.core.authority import Authority
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Position
from csproxy.core.containers import ENVIRONMENT, TENANT
from csproxy.core.history import HistoryBatch
from csproxy.core.history_administration import Moment, account_changed, mode_changed, permissions_changed
from csproxy.core.identities import is_super_administrator
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.core.ownership import ObjectId
from csproxy.core.permissions import (
    SYSTEM_ACCOUNT_ID,
    Permission,
    account_of_application,
    check_account,
    checked_acl,
    existing_name,
    own_acl,
    planned_acls,
)
from csproxy.core.persistence.mode import read_mode, write_mode
from csproxy.core.rules import MAX_CHANGES
from csproxy.core.security_records import ACCOUNT, AclEntry, encode_account, encode_acl, list_of
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError, StoreError
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.database_transactions import RecordPlan
from csproxy.transport.permission_answers import PermissionAnswers, account_of
from csproxy.transport.wire.administration import (
    Account,
    OperationalMode,
    PermissionsUpdated,
    UpdatePermissions,
)
from csproxy.transport.wire.messages import MessageId

__all__ = ["MasterAdministration"]

log = logging.getLogger("csproxy.master")

_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_PERSON: Final = int(CfgObjectType.CFGPerson)
_FULL: Final = int(CfgOperationalMode.CFGOperationalFullMode)
_READ_ONLY: Final = int(CfgOperationalMode.CFGOperationalReadOnlyMode)
_EMERGENCY: Final = int(CfgOperationalMode.CFGOperationalEmergencyMode)


class MasterAdministration:
    """Permissions, accounts and mode of a master, opened after its `DatabaseMaster`.

    Lists and accounts are security records: a change of them is a transaction with a UEN. In read-only mode
    every write is refused with error 29, in emergency mode every write of anybody but members of
    Super Administrators; the mode itself can always be changed, by who may change the tenant Environment.
    """

    mode: int
    """The operational mode, a number of CfgOperationalMode."""

    def __init__(
        self,
        database: DatabaseMaster,
        cache: Callable[[], ConfigurationCache],
        mode: int,
        turn: Callable[[], AbstractAsyncContextManager[object]],
    ) -> None:
        self._database = database
        self._cache = cache
        self._turn = turn
        self._is_stale = False
        self.mode = mode
        reader = PermissionAnswers(cache)
        self._answers: dict[MessageId, Callable[[Any, Author], Awaitable[msgspec.Struct]]] = {
            MessageId.READ_PERMISSIONS: reader.read_permissions,
            MessageId.UPDATE_PERMISSIONS: self._update_permissions,
            MessageId.READ_OBJECT_PERMISSIONS: reader.read_mask,
            MessageId.READ_ACCOUNT: reader.read_account,
            MessageId.UPDATE_ACCOUNT: self._update_account,
            MessageId.READ_OPERATIONAL_MODE: self._read_mode,
            MessageId.CHANGE_OPERATIONAL_MODE: self._change_mode,
        }

    def __repr__(self) -> str:
        return f"<MasterAdministration {CfgOperationalMode(self.mode).name}>"

    @classmethod
    async def open(
        cls,
        database: DatabaseMaster,
        cache: Callable[[], ConfigurationCache],
        *,
        turn: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> MasterAdministration:
        """Read the mode; mode and permissions hold from now on. ``turn()`` is entered around each write transaction.

        Raises `StoreError`.
        """
        administration = cls(database, cache, await database.read_beside(read_mode), turn)
        database.on_takeover.append(administration.refresh)
        database.admit = administration.admit
        return administration

    async def refresh(self) -> None:
        """Read anew what another server may have changed. Raises `StoreError`."""
        self.mode = await self._database.read_beside(read_mode)

    def admit(self, author: Author) -> Authority | None:
        """What an author may do, None for everything.

        Raises `ServerError` READ_ONLY_OPERATIONAL_MODE_ACTIVATED if the mode allows this author no write.
        """
        self._check_mode(author)
        return None if author.vouched else self._authority(author)

    def _authority(self, author: Author) -> Authority:
        cache = self._cache()
        if author.via:
            self._check_forwarded(author)
        return Authority(cache, account_of(cache, author))

    def _check_forwarded(self, author: Author) -> None:
        """Raise `ServerError` ACCESS_DENIED for a proxy's client that the master would not let log in now."""
        problem = ""
        if self._cache().lookup(_APPLICATION, ("name",), (author.application,)) is None:
            problem = f"there is no Application {author.application!r} (any more)"
        elif author.person_dbid:
            person = self._cache().stored(_PERSON, author.person_dbid)
            if person is None:
                problem = f"there is no user {author.user!r} (any more)"
            elif person.get("state") != CfgObjectState.CFGEnabled:
                problem = f"user {author.user!r} is disabled"
        if problem:
            raise ServerError.from_code(
                ErrorCode.ACCESS_DENIED, f"proxy {author.via!r} asks for a client that may not log in: {problem}"
            )

    def _check_mode(self, author: Author) -> None:
        if self.mode == _FULL:
            return
        if self.mode == _EMERGENCY:
            if author.person_dbid and is_super_administrator(self._cache(), author.person_dbid):
                return
            problem = "the system is in emergency mode: only Super Administrators can change anything"
        else:
            problem = "the system is in read-only mode: nothing can be changed until the full mode is set again"
        raise ServerError.from_code(ErrorCode.READ_ONLY_OPERATIONAL_MODE_ACTIVATED, problem)

    async def answer(self, message: MessageId, request: Any, author: Author) -> msgspec.Struct:
        """Carry out a request; what it changes is on the disk when this returns."""
        if self._is_stale:
            await self.refresh()
            self._is_stale = False
        try:
            return await self._answers[message](request, author)
        except StoreError:
            self._is_stale = True  # whether it was written is unknown: the next request looks
            raise

    async def _update_permissions(self, request: UpdatePermissions, author: Author) -> PermissionsUpdated:
        id = (request.type, request.dbid)
        changed: dict[ObjectId, Any] = {}

        def plan() -> RecordPlan:
            self._check_mode(author)
            cache, authority = self._cache(), self._authority(author)
            existing_name(cache, id)
            authority.require_for(Permission.CHANGE_PERMISSIONS, id)
            if request.inherit and request.entries:
                raise ServerError.from_code(
                    ErrorCode.WRONG_API_PARAMETERS,
                    "an object that inherits its access control list has no entries of its own",
                    object_type=id[0],
                    property_name="entries",
                )
            entries = [AclEntry(entry.type, entry.dbid, entry.mask) for entry in request.entries]
            acl = None if request.inherit else checked_acl(cache, entries, object_type=id[0])
            changed.update(planned_acls(cache, id, acl, recursive=request.recursive))
            if len(changed) > MAX_CHANGES:
                raise ServerError.from_code(
                    ErrorCode.WRONG_API_PARAMETERS,
                    f"this changes the lists of {len(changed)} objects, and a transaction has at most {MAX_CHANGES} "
                    "changes: begin further below",
                    object_type=id[0],
                    property_name="recursive",
                )
            for other in changed:
                authority.require(Permission.CHANGE_PERMISSIONS, other)
            former = {other: own_acl(cache, other) for other in changed}

            def history(position: Position) -> HistoryBatch | None:
                moment = self._moment(author, position)
                return permissions_changed(self._database.history_settings, moment, changed, former)

            records = {
                list_of(other): None if acl is None else encode_acl(other[1], acl) for other, acl in changed.items()
            }
            return RecordPlan(records, history)

        async with self._turn():
            await self._database.change_records(plan, author)
        removed = len(changed.keys() - {id})
        log.info("permissions of %s %d changed by %r with %r, %d below it taken away", *id, *author[:2], removed)
        return PermissionsUpdated(type=id[0], dbid=id[1], removed=removed)

    async def _update_account(self, request: Account, author: Author) -> Account:
        account: ObjectId = (request.account_type, request.account_dbid)
        id = (_APPLICATION, request.dbid)

        def plan() -> RecordPlan:
            self._check_mode(author)
            cache, authority = self._cache(), self._authority(author)
            existing_name(cache, id)
            authority.require_for(Permission.CHANGE, id)
            check_account(cache, account, object_type=_APPLICATION, property_name="account_dbid")
            former = account_of_application(cache, request.dbid)

            def history(position: Position) -> HistoryBatch | None:
                moment = self._moment(author, position)
                return account_changed(self._database.history_settings, moment, request.dbid, account, former)

            record = None if account == SYSTEM_ACCOUNT_ID else encode_account(request.dbid, account)
            return RecordPlan({(ACCOUNT, request.dbid): record}, history)

        async with self._turn():
            await self._database.change_records(plan, author)
        log.info("account of application %d changed to %s by %r with %r", request.dbid, account, *author[:2])
        return Account(dbid=request.dbid, account_type=account[0], account_dbid=account[1])

    async def _read_mode(self, request: object, author: Author) -> OperationalMode:
        return OperationalMode(mode=self.mode)

    async def _change_mode(self, request: OperationalMode, author: Author) -> OperationalMode:
        if request.mode not in (_FULL, _READ_ONLY, _EMERGENCY):
            raise ServerError.from_code(
                ErrorCode.SET_OPERATIONAL_MODE_FAILED,
                f"there is no operational mode {request.mode}: valid are 1 (full), 2 (read-only), 3 (emergency)",
                property_name="mode",
            )
        async with self._database.beside() as write:
            self._authority(author).require(Permission.CHANGE, (TENANT, ENVIRONMENT))
            history = None
            if request.mode != self.mode:
                moment = self._moment(author, self._cache().position)
                history = mode_changed(self._database.history_settings, moment, request.mode, self.mode)
            await write(partial(write_mode, mode=request.mode), history)
            self.mode = request.mode
        log.warning(
            "%s was set by %r with %r", CfgOperationalMode(request.mode).name, *author[:2], extra={"event": 31007}
        )
        return OperationalMode(mode=request.mode)

    def _moment(self, author: Author, position: Position) -> Moment:
        return Moment(author.user, author.application, self._database.now_ms(), position)
