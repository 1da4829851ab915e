"""Permissions and accounts as a server reads them from its replica: alike at a master and at a proxy."""

from __future__ import annotations

from collections.abc import Callable

from csproxy.core.authority import Authority
from csproxy.core.cache import ConfigurationCache
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.core.permissions import (
    Permission,
    account_of_application,
    acl_of,
    check_account,
    existing_name,
    mask_of,
)
from csproxy.core.sessions import Author
from csproxy.transport.wire.administration import (
    AccessEntry,
    Account,
    ObjectPermissionsRead,
    PermissionsRead,
    ReadAccount,
    ReadObjectPermissions,
    ReadPermissions,
)

__all__ = ["PermissionAnswers", "account_of"]

_APPLICATION = int(CfgObjectType.CFGApplication)
_PERSON = int(CfgObjectType.CFGPerson)


def account_of(cache: ConfigurationCache, author: Author) -> ObjectId:
    """The user's Person, or the account of the application that runs without one."""
    if author.person_dbid:
        return _PERSON, author.person_dbid
    application = cache.lookup(_APPLICATION, ("name",), (author.application,))
    return account_of_application(cache, application or 0)


class PermissionAnswers:
    """Answers to 24, 30 and 47. ``cache()`` is the present data set.

    What the caller may not read is answered as what is not there.
    """

    def __init__(self, cache: Callable[[], ConfigurationCache]) -> None:
        self._cache = cache

    def __repr__(self) -> str:
        return "<PermissionAnswers>"

    async def read_permissions(self, request: ReadPermissions, author: Author) -> PermissionsRead:
        """The list that holds for an object; entries of deleted accounts are left out."""
        cache, id = self._cache(), (request.type, request.dbid)
        existing_name(cache, id)
        self._authority(author).require_for(Permission.READ_PERMISSIONS, id)
        acl, source = acl_of(cache, id)
        entries = [AccessEntry(**entry._asdict()) for entry in acl if cache.get(entry.type, entry.dbid) is not None]
        return PermissionsRead(type=id[0], dbid=id[1], entries=entries, source_type=source[0], source_dbid=source[1])

    async def read_mask(self, request: ReadObjectPermissions, author: Author) -> ObjectPermissionsRead:
        """What an account may do with an object."""
        cache, id = self._cache(), (request.type, request.dbid)
        existing_name(cache, id)
        authority = self._authority(author)
        if not authority.mask(id) & Permission.READ_PERMISSIONS:
            authority.require_for(Permission.READ, id)
        own = account_of(cache, author)
        account = (request.account_type, request.account_dbid)
        if account[0] == _APPLICATION:
            existing_name(cache, account)
            if account_of_application(cache, account[1]) != own:
                authority.require_for(Permission.READ, account)
            account = account_of_application(cache, account[1])
        elif account == (0, 0):
            account = own
        check_account(cache, account, object_type=id[0], property_name="account_dbid")
        return ObjectPermissionsRead(mask=mask_of(cache, id, account))

    async def read_account(self, request: ReadAccount, author: Author) -> Account:
        """As whom an application acts that runs without a user."""
        cache, id = self._cache(), (_APPLICATION, request.dbid)
        existing_name(cache, id)
        self._authority(author).require_for(Permission.READ, id)
        account_type, account_dbid = account_of_application(cache, request.dbid)
        return Account(dbid=request.dbid, account_type=account_type, account_dbid=account_dbid)

    def _authority(self, author: Author) -> Authority:
        cache = self._cache()
        return Authority(cache, account_of(cache, author))
