"""The objects that every new configuration begins with.

Numbers that the vendor publishes: tenant Environment 1; person
``default`` 100 with employee id ``0``; access groups EVERYONE 97 and SYSTEM 98; application
``confserv`` 99 with prototype 99; application ``default`` 100 with prototype 100. The others here
are our choice, all below `FIRST_FREE_DBID`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from csproxy.core.containers import ENVIRONMENT, FOLDER, TENANT, default_folder, held_types
from csproxy.core.model.enumerations import (
    CfgAccessGroupType,
    CfgAppType,
    CfgFlag,
    CfgHAType,
    CfgHostType,
    CfgObjectState,
    CfgObjectType,
    CfgOSType,
    CfgStartupType,
)
from csproxy.core.model.schema import SCHEMA

__all__ = [
    "ADMINISTRATORS",
    "CLIENT_PROTOTYPE",
    "CONFSERV",
    "DEFAULT_APPLICATION",
    "DEFAULT_PERSON",
    "EVERYONE",
    "FIRST_FREE_DBID",
    "LOCALHOST",
    "PERMANENT",
    "PROXY_PROTOTYPE",
    "SERVER_PROTOTYPE",
    "SUPER_ADMINISTRATORS",
    "SYSTEM",
    "USERS",
    "InitialObject",
    "first_counters",
    "well_known_objects",
]

FIRST_FREE_DBID: Final = 101
"""The first number, in each type, that is given to an object that somebody creates."""

DEFAULT_PERSON: Final = 100
USERS: Final = 94
ADMINISTRATORS: Final = 95
SUPER_ADMINISTRATORS: Final = 96
EVERYONE: Final = 97
SYSTEM: Final = 98
CONFSERV: Final = 99
"""DBID of the master's own Application and of its prototype."""
DEFAULT_APPLICATION: Final = 100
"""DBID of the Application that user interfaces name by default, and of its prototype."""
PROXY_PROTOTYPE: Final = 98
SERVER_PROTOTYPE: Final = 97
CLIENT_PROTOTYPE: Final = 96
LOCALHOST: Final = 1

_PERSON: Final = int(CfgObjectType.CFGPerson)
_APPLICATION: Final = int(CfgObjectType.CFGApplication)
_HOST: Final = int(CfgObjectType.CFGHost)
_PROTOTYPE: Final = int(CfgObjectType.CFGAppPrototype)
_ACCESS_GROUP: Final = int(CfgObjectType.CFGAccessGroup)
_ENABLED: Final = int(CfgObjectState.CFGEnabled)
_FALSE: Final = int(CfgFlag.CFGFalse)
_TRUE: Final = int(CfgFlag.CFGTrue)
_WARM: Final = {"redundancyType": int(CfgHAType.CFGHTWarmStanby)}

PERMANENT: Final = frozenset(
    {
        (TENANT, ENVIRONMENT),
        (_PERSON, DEFAULT_PERSON),
        (_ACCESS_GROUP, EVERYONE),
        (_ACCESS_GROUP, SYSTEM),
        (_APPLICATION, CONFSERV),
    }
)
"""Objects that cannot be deleted: without them nobody could log in, or the master would not start."""


class InitialObject(NamedTuple):
    """One object of a new configuration: type number, plain form with its DBID, and its folder's DBID."""

    type: int
    object: dict[str, Any]
    folder: int


def well_known_objects(
    master_port: int = 2020,
    *,
    version: str = "1.0",
    host: str = "localhost",
    address: str = "127.0.0.1",
    proxies: Sequence[tuple[str, int]] = (),
    backup: tuple[str, int] | None = None,
) -> list[InitialObject]:
    """The objects of a new configuration whose master listens on ``master_port`` of ``host``.

    ``version`` is written into prototypes and applications (the release); ``proxies`` are names
    and ports of Configuration Server Proxy applications on the same host, numbered from
    `FIRST_FREE_DBID`. ``backup`` is name and port of the backup master, numbered after them. The
    tenant comes first, then its default folders, whose DBIDs are the numbers of their types.
    """
    server, gui = int(CfgAppType.CFGConfigServer), int(CfgAppType.CFGSCE)
    prototypes = [
        (CONFSERV, "Configuration Server", server),
        (DEFAULT_APPLICATION, "Configuration Manager", gui),
        (PROXY_PROTOTYPE, "Configuration Server Proxy", server),
        (SERVER_PROTOTYPE, "Generic Server", int(CfgAppType.CFGGenericServer)),
        (CLIENT_PROTOTYPE, "Generic Client", int(CfgAppType.CFGGenericClient)),
    ]
    default = {"name": "default", "type": gui, "appPrototypeDBID": DEFAULT_APPLICATION, "version": version}
    objects = [
        *_environment(),
        *_accounts(),
        _in_default_folder(_HOST, LOCALHOST, _host(host, address)),
        *(
            _in_default_folder(_PROTOTYPE, dbid, {"name": name, "type": kind, "version": version, "state": _ENABLED})
            for dbid, name, kind in prototypes
        ),
        _in_default_folder(
            _APPLICATION, CONFSERV, _server("confserv", master_port, prototype=CONFSERV, version=version)
        ),
        _in_default_folder(_APPLICATION, DEFAULT_APPLICATION, {**_application(), **default, "isServer": _FALSE}),
    ]
    for dbid, (name, port) in enumerate(proxies, FIRST_FREE_DBID):
        proxy = _server(name, port, prototype=PROXY_PROTOTYPE, version=version)
        proxy["appServerDBIDs"] = [{"appServerDBID": CONFSERV, "id": "default"}]
        objects.append(_in_default_folder(_APPLICATION, dbid, proxy))
    if backup is not None:
        dbid = FIRST_FREE_DBID + len(proxies)
        second = _server(*backup, prototype=CONFSERV, version=version)
        objects.append(_in_default_folder(_APPLICATION, dbid, {**second, **_WARM, "isPrimary": _FALSE}))
        (primary,) = (each.object for each in objects if (each.type, each.object["DBID"]) == (_APPLICATION, CONFSERV))
        primary.update(_WARM)
        primary["serverInfo"]["backupServerDBID"] = dbid
    return objects


def first_counters(objects: Iterable[InitialObject]) -> dict[int, int]:
    """The last DBID given out, for every type: at least that before `FIRST_FREE_DBID`."""
    counters = dict.fromkeys(SCHEMA.types, FIRST_FREE_DBID - 1)
    for kind, obj, _ in objects:
        counters[kind] = max(counters[kind], obj["DBID"])
    return counters


def _environment() -> list[InitialObject]:
    tenant = {"DBID": ENVIRONMENT, "name": "Environment", "isServiceProvider": _TRUE, "state": _ENABLED}
    folders = []
    for kind in held_types(SCHEMA.types[TENANT], environment=True):
        folder = default_folder(kind, owner_type=TENANT, owner_dbid=ENVIRONMENT)
        folders.append(InitialObject(FOLDER, {"DBID": kind.number, **folder}, 0))
    return [InitialObject(TENANT, tenant, TENANT), *folders]


def _accounts() -> list[InitialObject]:
    person = {
        "tenantDBID": ENVIRONMENT,
        "firstName": "default",
        "employeeID": "0",
        "userName": "default",
        "isAgent": _FALSE,
        "state": _ENABLED,
    }
    groups = [
        (USERS, "Users", CfgAccessGroupType.CFGUsersGroup, []),
        (ADMINISTRATORS, "Administrators", CfgAccessGroupType.CFGAdministratorsGroup, []),
        (
            SUPER_ADMINISTRATORS,
            "Super Administrators",
            CfgAccessGroupType.CFGSuperAdministratorsGroup,
            [{"DBID": DEFAULT_PERSON, "type": _PERSON}],
        ),
        (EVERYONE, "EVERYONE", CfgAccessGroupType.CFGEveryoneGroup, []),
        (SYSTEM, "SYSTEM", CfgAccessGroupType.CFGSystemGroup, []),
    ]
    return [
        _in_default_folder(_PERSON, DEFAULT_PERSON, person),
        *(
            _in_default_folder(_ACCESS_GROUP, dbid, _group(dbid, name, kind=kind, members=members))
            for dbid, name, kind, members in groups
        ),
    ]


def _group(dbid: int, name: str, *, kind: int, members: list[dict[str, int]]) -> dict[str, Any]:
    info = {"DBID": dbid, "tenantDBID": ENVIRONMENT, "name": name, "state": _ENABLED}
    return {"groupInfo": info, "type": int(kind), "memberIDs": members}


def _host(name: str, address: str) -> dict[str, Any]:
    return {
        "name": name,
        "IPaddress": address,
        "OSinfo": {"OStype": int(CfgOSType.CFGRedHatLinux)},
        "type": int(CfgHostType.CFGNetworkServer),
        "LCAPort": "4999",
        "state": _ENABLED,
    }


def _application() -> dict[str, Any]:
    return {"tenantDBIDs": [ENVIRONMENT], "autoRestart": _FALSE, "state": _ENABLED}


def _server(name: str, port: int, *, prototype: int, version: str) -> dict[str, Any]:
    return {
        **_application(),
        "name": name,
        "type": int(CfgAppType.CFGConfigServer),
        "version": version,
        "appPrototypeDBID": prototype,
        "isServer": _TRUE,
        "serverInfo": {"hostDBID": LOCALHOST, "port": str(port), "timeout": 10, "attempts": 1},
        "portInfos": [{"id": "default", "port": str(port)}],
        "workDirectory": ".",
        "commandLine": ".",
        "startupTimeout": 90,
        "shutdownTimeout": 90,
        "isPrimary": _TRUE,
        "startupType": int(CfgStartupType.CFGSUTAutomatic),
    }


def _in_default_folder(kind: int, dbid: int, obj: dict[str, Any]) -> InitialObject:
    return InitialObject(kind, {"DBID": dbid, **obj}, kind)
