"""Permissions, accounts of applications and the operational mode of a master, kept in its database."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from csproxy.core.authority import Authority
from csproxy.core.cache import ConfigurationCache
from csproxy.core.containers import ENVIRONMENT, TENANT
from csproxy.core.history_administration import Moment, account_changed, mode_changed, permissions_changed
from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.model.other_enumerations import CfgOperationalMode
from csproxy.core.ownership import ObjectId
from csproxy.core.permissions import (
    SYSTEM_ACCOUNT_ID,
    Acl,
    AclEntry,
    Permission,
    Permissions,
    check_account,
    checked_acl,
    existing_name,
    is_super_administrator,
)
from csproxy.core.persistence.permissions import Security, read_security, write_account, write_acls, write_mode
from csproxy.core.sessions import Author
from csproxy.errors import ErrorCode, ServerError, StoreError
from csproxy.transport.database import DatabaseMaster
from csproxy.transport.wire.administration import (
    AccessEntry,
    Account,
    ObjectPermissionsRead,
    OperationalMode,
    PermissionsRead,
    PermissionsUpdated,
    ReadAccount,
    ReadObjectPermissions,
    ReadPermissions,
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

    Changes of them and writes of objects are carried out one after the other. In read-only mode
    every write is refused with error 29, in emergency mode every write of anybody but members of
    Super Administrators; the mode itself can always be changed, by who may change the tenant Environment.
    """

    mode: int
    """The operational mode, a number of CfgOperationalMode."""

    def __init__(self, database: DatabaseMaster, cache: Callable[[], ConfigurationCache], stored: Security) -> None:
        self._database = database
        self._cache = cache
        self._is_stale = False
        self._take(stored)
        self._answers: dict[MessageId, Callable[[Any, Author], Awaitable[msgspec.Struct]]] = {
            MessageId.READ_PERMISSIONS: self._read_permissions,
            MessageId.UPDATE_PERMISSIONS: self._update_permissions,
            MessageId.READ_OBJECT_PERMISSIONS: self._read_mask,
            MessageId.READ_ACCOUNT: self._read_account,
            MessageId.UPDATE_ACCOUNT: self._update_account,
            MessageId.READ_OPERATIONAL_MODE: self._read_mode,
            MessageId.CHANGE_OPERATIONAL_MODE: self._change_mode,
        }

    def __repr__(self) -> str:
        return f"<MasterAdministration {CfgOperationalMode(self.mode).name}, {self.permissions!r}>"

    @classmethod
    async def open(cls, database: DatabaseMaster, cache: Callable[[], ConfigurationCache]) -> MasterAdministration:
        """Read what is stored and forget what belonged to deleted objects; mode and permissions hold from now on.

        Raises `StoreError`.
        """
        administration = cls(database, cache, await database.read_beside(read_security))
        if database.is_primary:
            await administration._sweep()
        database.on_takeover.append(administration.refresh)
        database.admit = administration.admit
        return administration

    async def refresh(self) -> None:
        """Read anew what another server may have changed. Raises `StoreError`."""
        self._take(await self._database.read_beside(read_security))

    def admit(self, author: Author) -> Authority | None:
        """What an author may do, None for everything.

        Raises `ServerError` READ_ONLY_OPERATIONAL_MODE_ACTIVATED if the mode allows this author no write.
        """
        self._check_mode(author)
        return None if author.vouched else self._authority(author)

    def _authority(self, author: Author) -> Authority:
        cache = self._cache()
        return Authority(self.permissions, cache, self._account(author))

    def _account(self, author: Author) -> ObjectId:
        """The user's Person, or the account of the application that runs without one."""
        application = self._cache().lookup(_APPLICATION, ("name",), (author.application,))
        if author.via:
            self._check_forwarded(author, application)
        return (_PERSON, author.person_dbid) if author.person_dbid else self._account_of(application or 0)

    def _check_forwarded(self, author: Author, application: int | None) -> None:
        """Raise `ServerError` ACCESS_DENIED for a proxy's client that the master would not let log in now."""
        problem = ""
        if application is None:
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

    async def _read_permissions(self, request: ReadPermissions, author: Author) -> PermissionsRead:
        cache, id = self._cache(), (request.type, request.dbid)
        existing_name(cache, id)
        self._authority(author).require(Permission.READ_PERMISSIONS, id)
        acl, source = self.permissions.acl_of(cache, id)
        entries = [AccessEntry(**entry._asdict()) for entry in acl if cache.get(entry.type, entry.dbid) is not None]
        return PermissionsRead(type=id[0], dbid=id[1], entries=entries, source_type=source[0], source_dbid=source[1])

    async def _update_permissions(self, request: UpdatePermissions, author: Author) -> PermissionsUpdated:
        id = (request.type, request.dbid)
        async with self._database.beside() as write:
            self._check_mode(author)
            cache, authority = self._cache(), self._authority(author)
            name = existing_name(cache, id)
            authority.require(Permission.CHANGE_PERMISSIONS, id)
            if request.inherit and request.entries:
                raise ServerError.from_code(
                    ErrorCode.WRONG_API_PARAMETERS,
                    "an object that inherits its access control list has no entries of its own",
                    object_type=id[0],
                    property_name="entries",
                )
            entries = [AclEntry(entry.type, entry.dbid, entry.mask) for entry in request.entries]
            acl = None if request.inherit else checked_acl(cache, entries, object_type=id[0])
            changed = self.permissions.plan(cache, id, acl, recursive=request.recursive)
            for other in changed:
                authority.require(Permission.CHANGE_PERMISSIONS, other)
            if changed:
                former = {other: self._own_acl(other) for other in changed}
                history = permissions_changed(self._database.history_settings, self._moment(author), changed, former)
                await write(partial(write_acls, changed=changed), history)
                self.permissions.apply(changed)
        removed = len(changed.keys() - {id})
        log.info("permissions of %s changed by %r with %r, %d below it taken away", name, *author[:2], removed)
        return PermissionsUpdated(type=id[0], dbid=id[1], removed=removed)

    async def _read_mask(self, request: ReadObjectPermissions, author: Author) -> ObjectPermissionsRead:
        cache, id = self._cache(), (request.type, request.dbid)
        existing_name(cache, id)
        account = (request.account_type, request.account_dbid)
        if account[0] == _APPLICATION:
            existing_name(cache, account)
            account = self._account_of(account[1])
        elif account == (0, 0):
            account = (_PERSON, author.person_dbid)
        check_account(cache, account, object_type=id[0], property_name="account_dbid")
        return ObjectPermissionsRead(mask=self.permissions.mask_of(cache, id, account))

    async def _read_account(self, request: ReadAccount, author: Author) -> Account:
        existing_name(self._cache(), (_APPLICATION, request.dbid))
        account_type, account_dbid = self._account_of(request.dbid)
        return Account(dbid=request.dbid, account_type=account_type, account_dbid=account_dbid)

    async def _update_account(self, request: Account, author: Author) -> Account:
        account: ObjectId = (request.account_type, request.account_dbid)
        async with self._database.beside() as write:
            self._check_mode(author)
            name = existing_name(self._cache(), (_APPLICATION, request.dbid))
            self._authority(author).require(Permission.CHANGE, (_APPLICATION, request.dbid))
            check_account(self._cache(), account, object_type=_APPLICATION, property_name="account_dbid")
            row = None if account == SYSTEM_ACCOUNT_ID else account
            former, history = self.accounts.get(request.dbid, SYSTEM_ACCOUNT_ID), None
            if account != former:
                moment = self._moment(author)
                history = account_changed(self._database.history_settings, moment, request.dbid, account, former)
            await write(partial(write_account, application=request.dbid, account=row), history)
            self.accounts[request.dbid] = account
        log.info("account of %s changed to %s by %r with %r", name, account, *author[:2])
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
                moment = self._moment(author)
                history = mode_changed(self._database.history_settings, moment, request.mode, self.mode)
            await write(partial(write_mode, mode=request.mode), history)
            self.mode = request.mode
        log.warning("%s was set by %r with %r", CfgOperationalMode(request.mode).name, *author[:2])
        return OperationalMode(mode=request.mode)

    def _account_of(self, application: int) -> ObjectId:
        """The account of an application; SYSTEM if it has none, or its own is deleted."""
        account = self.accounts.get(application, SYSTEM_ACCOUNT_ID)
        return account if self._cache().get(*account) is not None else SYSTEM_ACCOUNT_ID

    def _own_acl(self, id: ObjectId) -> Acl | None:
        """An object's own ACL; None if it inherits."""
        acl, source = self.permissions.acl_of(self._cache(), id)
        return acl if source == id else None

    def _moment(self, author: Author) -> Moment:
        return Moment(author.user, author.application, self._database.now_ms(), self._cache().position)

    def _take(self, stored: Security) -> None:
        self.permissions = Permissions(stored.acls)
        self.accounts = dict(stored.accounts)
        self.mode = stored.mode

    async def _sweep(self) -> None:
        """Forget lists and accounts of deleted objects. A DBID is never given twice: until now they did no harm."""
        cache = self._cache()
        lists: dict[ObjectId, Acl | None] = dict.fromkeys(self.permissions.orphans(cache))
        applications = [dbid for dbid in self.accounts if cache.get(_APPLICATION, dbid) is None]
        if not lists and not applications:
            return

        def forget(connection: Connection) -> None:
            write_acls(connection, lists)
            for dbid in applications:
                write_account(connection, dbid, None)

        async with self._database.beside() as write:
            await write(forget)
            self.permissions.apply(lists)
            for dbid in applications:
                del self.accounts[dbid]
