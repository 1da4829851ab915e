"""What an installation has to do with the master: it reads Hosts and Applications, fills in, and registers to check."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from csproxy import __version__
from csproxy.core import codec
from csproxy.core.cache import ConfigurationCache
from csproxy.core.failover import Endpoint
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import compute_delta
from csproxy.core.model.enumerations import CfgAppType
from csproxy.daemon.connection_flags import ConnectionFlags
from csproxy.daemon.connectors import master_connector
from csproxy.daemon.session import open_session, read_raw, run
from csproxy.daemon.write import read_one, send_write
from csproxy.errors import ConfigurationError, ErrorCode, ServerError
from csproxy.transport.connection import Connection
from csproxy.transport.upstream_checks import (
    check_redundancy,
    check_release,
    check_role,
    read_application,
    register,
)
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ObjectsRead
from csproxy.transport.wire.writes import UpdateObject

__all__ = ["ALREADY", "SiteView", "change_application", "check_registration", "host_of_this_machine", "read_site"]

_APPLICATION: Final = SCHEMA.object_type("application")
ALREADY: Final = "is connected already: a proxy runs as it now"


class SiteView(NamedTuple):
    """What the questions need: Hosts, Applications of type ConfigurationServer, and which of them answered."""

    hosts: Sequence[Mapping[str, Any]]
    servers: Sequence[Mapping[str, Any]]
    master_dbid: int

    def host(self, name: str) -> Mapping[str, Any] | None:
        """The Host object of a name, whatever its case."""
        return next((host for host in self.hosts if str(host["name"]).lower() == name.lower()), None)

    def applications(self, host_dbid: int) -> list[Mapping[str, Any]]:
        """The Applications that are configured for a Host, without the master and the backup of its pair."""
        masters = {self.master_dbid}
        for each in self.servers:
            pair = {each["DBID"], (each.get("serverInfo") or {}).get("backupServerDBID", 0)}
            if self.master_dbid in pair:
                masters |= pair
        return [
            each
            for each in self.servers
            if each["DBID"] not in masters and (each.get("serverInfo") or {}).get("hostDBID", 0) == host_dbid
        ]


def read_site(flags: ConnectionFlags) -> SiteView:
    """Log in and read. Raises `CsproxyError`; `ConfigurationError` for a server that is no master."""

    async def main() -> SiteView:
        async with open_session(flags) as (connection, registered):
            check_role(registered.role, connection.peer)
            hosts = await _read(connection, flags, "host", {})
            servers = await _read(connection, flags, "application", {"app_type": int(CfgAppType.CFGConfigServer)})
            return SiteView(hosts, servers, registered.server_dbid)

    return run(main)


def host_of_this_machine(hosts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The Host whose address this machine has; one with a loopback address comes last."""
    local = [host for host in hosts if _is_local(str(host.get("IPaddress", "")))]
    return min(local, key=lambda host: str(host["IPaddress"]).startswith(("127.", "::1")), default=None)


def change_application(
    flags: ConnectionFlags, dbid: int, present: Mapping[str, Sequence[str]], wanted: Mapping[str, str]
) -> dict[str, str]:
    """Set the attributes that have one of the ``present`` texts to what is ``wanted``, all in one update.

    Returns those that were set. Raises `CsproxyError`.
    """

    async def main() -> dict[str, str]:
        async with open_session(flags) as (connection, _):
            before = await read_one(connection, _APPLICATION, dbid, flags.timeout_s)
            changes = {name: text for name, text in wanted.items() if before.get(name, "") in present[name]}
            changes = {name: text for name, text in changes.items() if before.get(name, "") != text}
            delta = compute_delta(_APPLICATION, before, {**before, **changes})
            if delta:
                request = UpdateObject(type=_APPLICATION.number, dbid=dbid, delta=delta, key=uuid.uuid4().hex)
                await send_write(connection, MessageId.UPDATE_OBJECT, request, flags.timeout_s)
            return changes

    return run(main)


def check_registration(
    host: str, port: int, application: str, *, app_password: str, transport: Mapping[str, str], timeout_s: float
) -> str:
    """Register as the Application, exactly as the proxy will, and leave again; returns a sentence.

    Raises `CsproxyError` with the reason why the proxy would be refused.
    """
    endpoint = Endpoint(host, port)

    async def main() -> str:
        connect = master_connector(transport, ConfigurationCache, application, endpoint)
        connection = await Connection.open(await connect(host, port), application, timeout_s=timeout_s)
        try:
            return await _register(connection, application, app_password, timeout_s)
        finally:
            await connection.aclose()

    return run(main)


async def _register(connection: Connection, application: str, app_password: str, timeout_s: float) -> str:
    check_role(connection.server_role, connection.peer)
    warning = check_release(connection.server_release, __version__, connection.peer)
    more = f" (warning: {warning})" if warning else ""
    try:
        await register(connection, application, app_password=app_password, release=__version__, timeout_s=timeout_s)
    except ConfigurationError as e:
        if _is_connected_already(e.__cause__):
            return f"Application {application!r} {ALREADY}{more}"
        raise
    check_redundancy(await read_application(connection, application, timeout_s=timeout_s))
    return f"the master {connection.peer} accepts Application {application!r}{more}"


def _is_connected_already(cause: BaseException | None) -> bool:
    """Of the refusals with this code, the one that passes by itself."""
    return isinstance(cause, ServerError) and cause.code is ErrorCode.APP_SECURITY_VIOLATION and cause.retry_after_s > 0


async def _read(
    connection: Connection, flags: ConnectionFlags, type_name: str, filter_: dict[str, object]
) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []

    def part(read: ObjectsRead) -> None:
        found.extend(codec.decode_map(bytes(raw)) for raw in read.objects)

    type_ = SCHEMA.object_type(type_name)
    await read_raw(connection, type_, filter_, timeout_s=flags.timeout_s, on_part=part)
    return sorted(found, key=lambda each: str(each["name"]))


def _is_local(address: str) -> bool:
    """A socket can be bound to the addresses of this machine, and to no other."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except (OSError, UnicodeError, ValueError):
            continue
        return address not in ("", "0.0.0.0", "::")
    return False
