"""What a proxy checks before it follows a server: role, release, its own Application object.

A check that fails raises `ConfigurationError` with a sentence that says which object or server is
wrong and what is valid; repeating the attempt cannot help before somebody changes that.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from csproxy.core import codec
from csproxy.core.model.enumerations import CfgAppType, CfgHAType, CfgObjectType
from csproxy.errors import (
    ConfigurationError,
    ConnectionLostError,
    ErrorCode,
    RemoteProtocolError,
    RetryableError,
    ServerError,
)
from csproxy.transport.connection import Connection
from csproxy.transport.wire.frames import Frame
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.reads import ObjectsRead, ReadObjects
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient

__all__ = [
    "OwnApplication",
    "check_redundancy",
    "check_release",
    "check_role",
    "lasting_refusal",
    "read_application",
    "register",
]

FATAL_CODES: Final = frozenset(
    {
        ErrorCode.WRONG_PROTOCOL,
        ErrorCode.UNKNOWN_MESSAGE,
        ErrorCode.LOGIN_INCORRECT,
        ErrorCode.APP_SECURITY_VIOLATION,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.NO_PERMISSION,
        ErrorCode.OBJECT_NOT_FOUND,
        ErrorCode.EXTERNAL_AUTHENTICATION_ERROR,
        ErrorCode.UNSECURE_CONNECTION_DENIED,
        ErrorCode.EMPTY_PASSWORD_DENIED,
        ErrorCode.USER_MUST_CHANGE_PASSWORD,
        ErrorCode.UNSUPPORTED_ENCODING,
    }
)
"""Refusals of a registration that the same attempt meets again until somebody changes something."""

_HA_NAMES: Final[dict[int, str]] = {
    CfgHAType.CFGHTNoHAType: "Not Specified",
    CfgHAType.CFGHTColdStanby: "Cold Standby",
    CfgHAType.CFGHTWarmStanby: "Warm Standby",
    CfgHAType.CFGHTHotStanby: "Hot Standby",
}


class OwnApplication(NamedTuple):
    """The proxy's own Application object (plain form) and whether it is one of a pair."""

    object: dict[str, Any]
    paired: bool


async def register(
    connection: Connection, application: str, *, app_password: str, release: str, timeout_s: float
) -> ClientRegistered:
    """Register as Configuration Server ``application``, without a user.

    Raises `ConfigurationError` for a refusal that will not go away by itself, `RetryableError` for
    any other, and what `Connection.request` raises.
    """
    request = RegisterClient(
        type=int(CfgAppType.CFGConfigServer), name=application, app_password=app_password, release=release
    )
    try:
        return await connection.register(request, timeout_s=timeout_s)
    except ServerError as e:
        if e.code in FATAL_CODES:
            raise ConfigurationError(
                f"{connection.peer} refused Application {application!r}: {e.description} (error {int(e.code)})"
            ) from e
        raise RetryableError(e.code, e.description, retry_after_s=e.retry_after_s) from e
    except (RemoteProtocolError, ConnectionLostError) as e:
        raise (lasting_refusal(e) or e) from e


def lasting_refusal(error: RemoteProtocolError | ConnectionLostError) -> ConfigurationError | None:
    """Two sides that do not agree on UTF-8, or on TLS, will not do so at the next attempt; None for any other error."""
    if error.code not in (ErrorCode.UNSUPPORTED_ENCODING, ErrorCode.UNSECURE_CONNECTION_DENIED):
        return None
    return ConfigurationError(f"{error} (error {int(error.code)})")


def check_role(role: str, peer: str) -> None:
    """Only a master may be followed (feature A5)."""
    if role != "master":
        raise ConfigurationError(
            f"{peer} is in the role of {role or 'nothing'}, not of a master: a proxy cannot follow another proxy; "
            "connect it to the Configuration Server itself"
        )


def check_release(theirs: str, ours: str, peer: str) -> str:
    """Compare releases (feature A6). Returns a warning for a newer master, "" for the same release."""
    master, own = _release(theirs), _release(ours)
    if master is None:
        raise ConfigurationError(
            f"{peer} names no release that can be read ({theirs!r}): this proxy, release {ours}, "
            "follows a master of the same or a newer release"
        )
    if own is None or master == own:
        return ""
    if master < own:
        raise ConfigurationError(
            f"{peer} is of release {theirs}, older than this proxy ({ours}): update the master first, "
            f"or run the proxy of release {theirs}"
        )
    return f"{peer} is of release {theirs}, newer than this proxy ({ours}): update the proxy soon"


def check_redundancy(own: OwnApplication) -> None:
    """Redundancy type Not Specified for a single proxy, Warm Standby for one of a pair (feature A8)."""
    found = own.object.get("redundancyType", 0)
    wanted = CfgHAType.CFGHTWarmStanby if own.paired else CfgHAType.CFGHTNoHAType
    if found != wanted:
        kind = "one of a pair of proxies" if own.paired else "a single proxy"
        shown = repr(_HA_NAMES.get(found, found))
        raise ConfigurationError(
            f"Application {own.object.get('name', '')!r} (DBID {own.object['DBID']}): redundancyType is {shown}, "
            f"but must be {_HA_NAMES[wanted]!r} ({wanted.name}) for {kind}"
        )


async def read_application(connection: Connection, application: str, *, timeout_s: float) -> OwnApplication:
    """Read the Application object named ``application``, and whether it has, or is, a backup.

    Raises `ConfigurationError` when the master does not show it or its type is another.
    """
    found = await _read_applications(connection, {"name": application}, timeout_s)
    if not found:
        raise ConfigurationError(
            f"{connection.peer} has no Application {application!r}: create it, or correct the name"
        )
    own = found[0]
    if own.get("type", 0) != CfgAppType.CFGConfigServer:
        raise ConfigurationError(
            f"Application {application!r} (DBID {own['DBID']}): type is {own.get('type', 0)}, "
            f"but must be {int(CfgAppType.CFGConfigServer)} (CFGConfigServer)"
        )
    backup = own.get("serverInfo", {}).get("backupServerDBID", 0)
    paired = bool(backup or await _read_applications(connection, {"backup_server_dbid": own["DBID"]}, timeout_s))
    return OwnApplication(own, paired)


async def _read_applications(connection: Connection, filter: dict[str, Any], timeout_s: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def part(frame: Frame) -> None:
        found.extend(codec.decode_map(raw) for raw in decode_payload(ObjectsRead, frame.payload).objects)

    request = ReadObjects(type=int(CfgObjectType.CFGApplication), filter=filter)
    await connection.request(MessageId.READ_OBJECTS, request, timeout_s=timeout_s, on_part=part)
    return found


def _release(text: str) -> tuple[int, ...] | None:
    """The leading numbers of a release without trailing zeros; None when there are none."""
    match = re.match(r"\d+(\.\d+)*", text)
    if match is None:
        return None
    numbers = [int(number) for number in match.group().split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
