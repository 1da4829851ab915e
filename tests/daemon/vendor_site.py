"""A small site in tables as a vendor has them, complete enough to be imported, and the mapping that completes ours."""

from __future__ import annotations

from typing import Any

from tests.core.persistence.vendor_world import ROWS, TABLES, fill

__all__ = ["MAPPING", "fill_site"]

MAPPING = """
[types.CfgAgentLogin.attributes]
switchDBID = "switch_dbid"
[types.CfgAgentLogin.constants]
state = "CFGEnabled"
useOverride = "CFGTrue"

[types.CfgDN.constants]
routeType = "CFGDefault"

[types.CfgSwitch.constants]
DNRange = ""

[types.CfgPhysicalSwitch]
table = "cfg_phys_switch"
attributes = { name = "name", type = "type", state = "state" }

[types.CfgHost]
table = "cfg_host"
attributes = { name = "name", type = "type", state = "state", LCAPort = "lca_port", "OSinfo.OStype" = "os_type" }

[types.CfgScript]
table = "cfg_script"
attributes = { tenantDBID = "tenant_dbid", name = "name", type = "type", state = "state" }

[types.CfgAppPrototype]
table = "cfg_app_prototype"
attributes = { name = "name", type = "type", version = "version", state = "state" }

[types.CfgApplication.attributes]
appPrototypeDBID = "app_prototype_dbid"
commandLine = "command_line"
workDirectory = "work_directory"
[types.CfgApplication.constants]
autoRestart = "CFGFalse"
startupTimeout = 90
shutdownTimeout = 90

[types.CfgPlace.lists.DNDBIDs]
table = "cfg_place_dn"
owner = "place_dbid"
item = "dn_dbid"
"""

_MORE_COLUMNS = {
    "cfg_agent_login": "switch_dbid",
    "cfg_host": "type state lca_port os_type",
    "cfg_application": "app_prototype_dbid command_line work_directory",
}
_MORE_TABLES = {
    "cfg_phys_switch": "dbid name type state",
    "cfg_script": "dbid name tenant_dbid type state",
    "cfg_app_prototype": "dbid name type version state",
    "cfg_place_dn": "place_dbid dn_dbid",
}
_TEXTS = ("cfg_host.lca_port", "cfg_application.command_line", "cfg_application.work_directory")


def _rows() -> dict[str, list[dict[str, Any]]]:
    client, server = {"app_prototype_dbid": 202}, {"app_prototype_dbid": 201}
    rows = {table: [dict(row) for row in found] for table, found in ROWS.items()}
    rows["cfg_agent_login"][0] |= {"switch_dbid": 41}
    rows["cfg_host"] = [{"dbid": 71, "name": "alpha", "type": 1, "state": 1, "lca_port": "4999", "os_type": 1}]
    rows["cfg_application"] = [
        {"dbid": 205, "name": "tserver", "type": 1, "version": "8.5", "state": 1, "is_server": 2, **server}
        | {"command_line": "tserver", "work_directory": "/srv"},
        {"dbid": 206, "name": "desktop", "type": 19, "version": "8.5", "state": 1, "is_server": 1, **client},
    ]
    rows["cfg_server"] = [{"app_dbid": 205, "host_dbid": 71}]
    rows["cfg_app_server"] = [{"app_dbid": 206, "app_server_dbid": 205, "app_params": "p"}]
    for row in rows["cfg_app_option"]:
        row["object_dbid"] = 205
    return rows | {
        "cfg_phys_switch": [{"dbid": 51, "name": "office", "type": 3, "state": 1}],
        "cfg_script": [{"dbid": 4, "name": "rule", "tenant_dbid": 1, "type": 24, "state": 1}],
        "cfg_app_prototype": [
            {"dbid": 201, "name": "T-Server 8.5", "type": 1, "version": "8.5", "state": 1},
            {"dbid": 202, "name": "Desktop 8.5", "type": 19, "version": "8.5", "state": 1},
        ],
        "cfg_place_dn": [{"place_dbid": 7, "dn_dbid": 61}],
    }


def fill_site(url: str) -> None:
    """Make the tables of the site, in place of whatever is there, and their rows."""
    from sqlalchemy import String

    tables = {name: f"{columns} {_MORE_COLUMNS.get(name, '')}" for name, columns in TABLES.items()}
    fill(url, _rows(), tables | _MORE_TABLES, types=dict.fromkeys(_TEXTS, String(99)))
