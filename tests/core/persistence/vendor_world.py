"""A vendor's database as public material shows it, filled by tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, create_engine, insert
from sqlalchemy.pool import NullPool

__all__ = ["ROWS", "TABLES", "fill"]

_TEXTS = frozenset(
    """
    last_name first_name address_line1 address_line2 address_line3 address_line4 address_line5 office home mobile
    pager fax modem phones_comment comment_ employee_id user_name password name chargeable_number login_code number_
    version app_params section opt val prop_name prop_value
    """.split()  # noqa: SIM905
)

TABLES = {
    "cfg_person": "dbid tenant_dbid last_name first_name address_line1 address_line2 address_line3 address_line4 "
    "address_line5 office home mobile pager fax modem phones_comment birthdate comment_ employee_id user_name password "
    "is_agent is_admin state csid tenant_csid place_dbid place_csid capacity_dbid site_dbid contract_dbid",
    "cfg_tenant": "dbid is_serv_provider name password chargeable_number tenant_person_dbid provid_person_dbid "
    "is_super_tenant state csid capacity_dbid contract_dbid parent_tenant_dbid",
    "cfg_group": "dbid group_type tenant_dbid name cap_table_dbid quota_table_dbid state dn_group_type csid "
    "capacity_dbid site_dbid contract_dbid",
    "cfg_agent_group": "group_dbid agent_dbid",
    "cfg_skill": "dbid name tenant_dbid state",
    "cfg_skill_level": "person_dbid skill_dbid level_",
    "cfg_agent_login": "dbid login_code",
    "cfg_login_info": "person_dbid agent_login_dbid",
    "cfg_place": "dbid name tenant_dbid state",
    "cfg_dn": "dbid name tenant_dbid state switch_dbid type number_",
    "cfg_switch": "dbid name tenant_dbid state phys_switch_dbid type link_type",
    "cfg_application": "dbid name type version state is_server",
    "cfg_server": "app_dbid host_dbid",
    "cfg_app_server": "app_dbid app_server_dbid app_params",
    "cfg_app_option": "object_dbid object_type section opt part val",
    "cfg_flex_prop": "dbid object_dbid object_type parent_dbid prop_type prop_name prop_value part",
    "cfg_host": "dbid name",
    "cfg_locale": "dbid name",
}
"""The tables and columns of public material."""

_LONG = "0123456789" * 60

ROWS: dict[str, list[dict[str, Any]]] = {
    "cfg_tenant": [{"dbid": 1, "is_serv_provider": 2, "name": "Environment", "state": 1, "password": "x", "csid": 1}],
    "cfg_person": [
        {
            "dbid": 100,
            "tenant_dbid": 1,
            "first_name": "default",
            "employee_id": "0",
            "user_name": "default",
            "is_agent": 1,
        }
        | {"state": 1, "place_dbid": 0},
        {"dbid": 102, "tenant_dbid": 1, "last_name": "Müller", "first_name": "Zoë 日本", "employee_id": "e2"}
        | {"user_name": "zoe", "is_agent": 2, "state": 1, "place_dbid": 7, "capacity_dbid": 4, "comment_": "left out"},
        {"dbid": 101, "tenant_dbid": 1, "employee_id": "e1", "user_name": "new", "is_agent": 2, "state": 2},
    ],
    "cfg_skill": [{"dbid": 11, "name": "Deutsch", "tenant_dbid": 1, "state": 1}],
    "cfg_skill_level": [{"person_dbid": 102, "skill_dbid": 11, "level_": 8}],
    "cfg_agent_login": [{"dbid": 21, "login_code": "4711"}],
    "cfg_login_info": [{"person_dbid": 102, "agent_login_dbid": 21}],
    "cfg_group": [
        {"dbid": 31, "group_type": 1, "tenant_dbid": 1, "name": "Agents", "state": 1, "capacity_dbid": 4},
        {"dbid": 32, "group_type": 2, "tenant_dbid": 1, "name": "Places", "state": 1},
        {"dbid": 33, "group_type": 3, "tenant_dbid": 1, "name": "DNs", "state": 1, "dn_group_type": 2},
        {"dbid": 34, "group_type": 4, "tenant_dbid": 1, "name": "Users", "state": 1},
    ],
    "cfg_agent_group": [{"group_dbid": 31, "agent_dbid": 102}, {"group_dbid": 31, "agent_dbid": 101}],
    "cfg_place": [{"dbid": 7, "name": "Desk 7", "tenant_dbid": 1, "state": 1}],
    "cfg_switch": [
        {"dbid": 41, "name": "Switch", "tenant_dbid": 1, "state": 1, "phys_switch_dbid": 51, "type": 3, "link_type": 1}
    ],
    "cfg_dn": [{"dbid": 61, "tenant_dbid": 1, "state": 1, "switch_dbid": 41, "type": 1, "number_": "5001"}],
    "cfg_application": [
        {"dbid": 99, "name": "confserv", "type": 21, "version": "8.5", "state": 1, "is_server": 2},
        {"dbid": 105, "name": "Client", "type": 19, "version": "8.5", "state": 1, "is_server": 1},
    ],
    "cfg_server": [{"app_dbid": 99, "host_dbid": 71}],
    "cfg_app_server": [{"app_dbid": 105, "app_server_dbid": 99, "app_params": "p"}],
    "cfg_app_option": [
        # the pieces of a long value in an order of their own
        {"object_dbid": 99, "object_type": 9, "section": "log", "opt": "long", "part": 3, "val": _LONG[500:]},
        {"object_dbid": 99, "object_type": 9, "section": "log", "opt": "long", "part": 1, "val": _LONG[:250]},
        {"object_dbid": 99, "object_type": 9, "section": "log", "opt": "long", "part": 2, "val": _LONG[250:500]},
        {"object_dbid": 99, "object_type": 9, "section": "log", "opt": "verbose", "part": 1, "val": "all"},
        {"object_dbid": 99, "object_type": 9, "section": "log", "opt": "empty", "part": 1},
        {"object_dbid": 99, "object_type": 9, "section": "nothing", "part": 1},
    ],
    "cfg_flex_prop": [
        {"dbid": 1, "object_dbid": 102, "object_type": 3, "parent_dbid": 0, "prop_name": "desktop", "part": 0},
        {"dbid": 2, "object_dbid": 102, "object_type": 3, "parent_dbid": 1, "prop_name": "note", "part": 2}
        | {"prop_value": "two"},
        {"dbid": 3, "object_dbid": 102, "object_type": 3, "parent_dbid": 1, "prop_name": "note", "part": 1}
        | {"prop_value": "one "},
        {"dbid": 4, "object_dbid": 102, "object_type": 3, "parent_dbid": None, "prop_name": "empty", "part": 0},
        {"dbid": 5, "object_dbid": 31, "object_type": 5, "parent_dbid": 0, "prop_name": "VQ", "part": 0},
        {"dbid": 6, "object_dbid": 31, "object_type": 5, "parent_dbid": 5, "prop_name": "target", "part": 0}
        | {"prop_value": "q1"},
    ],
    "cfg_host": [{"dbid": 71, "name": "alpha"}],
}
"""Rows of a small site, without a mistake."""


def fill(
    url: str,
    rows: dict[str, list[dict[str, Any]]] | None = None,
    tables: dict[str, str] | None = None,
    *,
    types: dict[str, Any] | None = None,
) -> None:
    """Make the tables, in place of whatever is there, and their rows.

    ``types`` gives columns (``table.column``) another SQL type.
    """
    wanted = {name: columns.split() for name, columns in (TABLES if tables is None else tables).items()}
    metadata = MetaData()
    for name, columns in wanted.items():
        described = [Column(column, (types or {}).get(f"{name}.{column}", _sql_type(column))) for column in columns]
        Table(name, metadata, *described)
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        before = MetaData()
        before.reflect(connection)
        before.drop_all(connection)
        metadata.create_all(connection)
        for name, found in (ROWS if rows is None else rows).items():
            complete = [{column: row.get(column) for column in wanted[name]} for row in found]
            if complete:
                connection.execute(insert(metadata.tables[name]), complete)
    engine.dispose()


def _sql_type(column: str) -> Any:
    if column in _TEXTS:
        return String(255)
    # as a database that came from Oracle often has them
    return Numeric(10, 0, asdecimal=True) if column == "csid" else Integer
