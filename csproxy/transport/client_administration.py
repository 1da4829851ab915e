"""What a client asks beside objects: permissions, accounts, the operational mode, passwords.

acl = await client.administration.permissions(CfgPerson, 101)
await client.administration.set_operational_mode(CfgOperationalMode.CFGOperationalReadOnlyMode)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from csproxy.core import codec
from csproxy.core.model import SCHEMA, CfgObject
from csproxy.core.security_records import AclEntry
from csproxy.transport.client_filters import filter_map
from csproxy.transport.client_link import ClientLink
from csproxy.transport.wire import administration as wire
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.payload import Empty
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["ClientAdministration", "ObjectPermissions"]

_TypeRef = type[CfgObject] | str | int


class ObjectPermissions(NamedTuple):
    """The list that holds for an object, and the object that it belongs to; (0, 0) for the built-in list."""

    entries: tuple[AclEntry, ...]
    source: tuple[int, int]


class ClientAdministration:
    """Part of a `csproxy.transport.client.ConfigClient`; every call may raise what that class says.

    Reads are repeated after a lost connection, changes never.
    """

    def __init__(self, link: ClientLink) -> None:
        self._link = link

    def __repr__(self) -> str:
        return f"<ClientAdministration of {self._link.session.request.name!r}>"

    async def permissions(self, object_type: _TypeRef, dbid: int) -> ObjectPermissions:
        """The access control list of an object, its own or inherited."""
        request = wire.ReadPermissions(type=SCHEMA.object_type(object_type).number, dbid=dbid)
        frame = await self._link.repeatable(MessageId.READ_PERMISSIONS, request)
        read = decode_payload(wire.PermissionsRead, frame.payload)
        entries = tuple(AclEntry(entry.type, entry.dbid, entry.mask) for entry in read.entries)
        return ObjectPermissions(entries, (read.source_type, read.source_dbid))

    async def update_permissions(
        self,
        object_type: _TypeRef,
        dbid: int,
        entries: Mapping[tuple[int, int], int] | None,
        *,
        recursive: bool = False,
    ) -> int:
        """Set an object's own list: (type number, DBID) of a person or access group → mask; None: inherit again.

        ``recursive`` also takes away the lists of all objects below it; returns how many those were.
        """
        request = wire.UpdatePermissions(
            type=SCHEMA.object_type(object_type).number,
            dbid=dbid,
            entries=[wire.AccessEntry(type=who[0], dbid=who[1], mask=mask) for who, mask in (entries or {}).items()],
            inherit=entries is None,
            recursive=recursive,
        )
        frame = await self._change(MessageId.UPDATE_PERMISSIONS, request)
        return decode_payload(wire.PermissionsUpdated, frame.payload).removed

    async def effective_mask(self, object_type: _TypeRef, dbid: int, *, account: tuple[int, int] = (0, 0)) -> int:
        """What an account (type number, DBID) may do with an object; without one, what this client may do."""
        request = wire.ReadObjectPermissions(
            type=SCHEMA.object_type(object_type).number, dbid=dbid, account_type=account[0], account_dbid=account[1]
        )
        frame = await self._link.repeatable(MessageId.READ_OBJECT_PERMISSIONS, request)
        return decode_payload(wire.ObjectPermissionsRead, frame.payload).mask

    async def account(self, application_dbid: int) -> tuple[int, int]:
        """As whom an application acts that runs without a user: type number and DBID."""
        frame = await self._link.repeatable(MessageId.READ_ACCOUNT, wire.ReadAccount(dbid=application_dbid))
        read = decode_payload(wire.Account, frame.payload)
        return read.account_type, read.account_dbid

    async def set_account(self, application_dbid: int, account: tuple[int, int]) -> None:
        """Let an application act as this person or access group: type number and DBID."""
        request = wire.Account(dbid=application_dbid, account_type=account[0], account_dbid=account[1])
        await self._change(MessageId.UPDATE_ACCOUNT, request)

    async def operational_mode(self) -> int:
        """The number of the present CfgOperationalMode."""
        frame = await self._link.repeatable(MessageId.READ_OPERATIONAL_MODE, Empty())
        return decode_payload(wire.OperationalMode, frame.payload).mode

    async def set_operational_mode(self, mode: int) -> None:
        """Set the operational mode: 1 full, 2 read-only, 3 emergency."""
        await self._change(MessageId.CHANGE_OPERATIONAL_MODE, wire.OperationalMode(mode=mode))

    async def brief(self, object_type: _TypeRef, /, **filter: Any) -> list[dict[str, Any]]:
        """Persons, tenants or access groups with the few attributes by which people choose them."""
        found: list[dict[str, Any]] = []

        def take(frame: Frame) -> None:
            part = decode_payload(wire.BriefInfo, frame.payload)
            found.extend(codec.decode_map(bytes(raw)) for raw in part.objects)

        request = ReadObjects(type=SCHEMA.object_type(object_type).number, filter=filter_map(filter))
        await self._link.repeatable(MessageId.GET_BRIEF_INFO, request, on_part=take, restart=found.clear)
        return found

    async def change_password(self, user: str, old_password: str, new_password: str) -> None:
        """Set a user's password. Raises `ServerError` CHANGE_PASSWORD_DENIED if the old one is wrong."""
        request = wire.ChangePassword(user=user, old_password=old_password, new_password=new_password)
        await self._change(MessageId.CHANGE_PASSWORD, request)

    async def _change(self, message: MessageId, request: msgspec.Struct) -> Frame:
        connection = await self._link.ready()
        return await connection.request(message, request, timeout_s=self._link.request_timeout_s)
