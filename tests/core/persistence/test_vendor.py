"""A database laid out as public material shows becomes objects; what does not is named."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Boolean, DateTime, Numeric, String, create_engine, text
from sqlalchemy.exc import DBAPIError

from csproxy.core.model import SCHEMA
from csproxy.core.persistence.vendor import AdaptedConfiguration, adapt
from csproxy.core.persistence.vendor_mapping import VendorMapping, load_mapping
from csproxy.core.persistence.vendor_source import ROWS_AT_ONCE, open_source
from csproxy.errors import ConfigurationError, ErrorCode, StoreError
from tests.core.persistence.vendor_world import ROWS, TABLES, fill
from tests.postgresql import PostgresServer

LONG = "0123456789" * 60


@pytest.fixture
def postgresql(postgres: PostgresServer) -> str:
    return postgres.url()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        found: str = request.getfixturevalue("postgresql")
        return found
    return f"sqlite:///{tmp_path / 'vendor ä#%.db'}"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'vendor.db'}"


@pytest.fixture
def default() -> VendorMapping:
    return load_mapping()


def site_mapping(folder: Path, content: str) -> VendorMapping:
    path = folder / "site.toml"
    path.write_text(content, encoding="utf-8")
    return load_mapping(path)


def found(adapted: AdaptedConfiguration) -> dict[tuple[str, int], dict[str, Any]]:
    return {(SCHEMA.types[kind].name, obj["DBID"]): obj for kind, obj, _ in adapted.objects}


def one(adapted: AdaptedConfiguration, kind: str, dbid: int) -> dict[str, Any]:
    return found(adapted)[kind, dbid]


def with_rows(**changes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the small site, some tables with more rows."""
    rows = copy.deepcopy(ROWS)
    for table, more in changes.items():
        rows[table] = rows.get(table, []) + more
    return rows


def test_the_small_site_becomes_objects(url: str, default: VendorMapping) -> None:
    fill(url)
    adapted = adapt(url, default)
    group = {"tenantDBID": 1, "state": 1}
    assert found(adapted) == {
        ("CfgTenant", 1): {"DBID": 1, "isServiceProvider": 2, "name": "Environment", "state": 1},
        ("CfgPerson", 100): {
            "DBID": 100,
            "tenantDBID": 1,
            "firstName": "default",
            "employeeID": "0",
            "userName": "default",
            "isAgent": 1,
            "state": 1,
        },
        ("CfgPerson", 101): {
            "DBID": 101,
            "tenantDBID": 1,
            "employeeID": "e1",
            "userName": "new",
            "isAgent": 2,
            "state": 2,
            "agentInfo": {},
        },
        ("CfgPerson", 102): {
            "DBID": 102,
            "tenantDBID": 1,
            "lastName": "Müller",
            "firstName": "Zoë 日本",
            "employeeID": "e2",
            "userName": "zoe",
            "isAgent": 2,
            "state": 1,
            "agentInfo": {
                "placeDBID": 7,
                "capacityRuleDBID": 4,
                "skillLevels": [{"skillDBID": 11, "level": 8}],
                "agentLogins": [{"agentLoginDBID": 21}],
            },
            "userProperties": {"desktop": {"note": "one two"}, "empty": {}},
        },
        ("CfgSkill", 11): {"DBID": 11, "name": "Deutsch", "tenantDBID": 1, "state": 1},
        ("CfgAgentLogin", 21): {"DBID": 21, "loginCode": "4711"},
        ("CfgAgentGroup", 31): {
            "DBID": 31,
            "groupInfo": {
                **group,
                "DBID": 31,
                "name": "Agents",
                "capacityRuleDBID": 4,
                "userProperties": {"VQ": {"target": "q1"}},
            },
            "agentDBIDs": [102, 101],
        },
        ("CfgPlaceGroup", 32): {"DBID": 32, "groupInfo": {**group, "DBID": 32, "name": "Places"}},
        ("CfgDNGroup", 33): {"DBID": 33, "type": 2, "groupInfo": {**group, "DBID": 33, "name": "DNs"}},
        ("CfgAccessGroup", 34): {"DBID": 34, "groupInfo": {**group, "DBID": 34, "name": "Users"}},
        ("CfgPlace", 7): {"DBID": 7, "tenantDBID": 1, "name": "Desk 7", "state": 1},
        ("CfgSwitch", 41): {
            "DBID": 41,
            "tenantDBID": 1,
            "physSwitchDBID": 51,
            "type": 3,
            "name": "Switch",
            "linkType": 1,
            "state": 1,
        },
        ("CfgDN", 61): {"DBID": 61, "tenantDBID": 1, "switchDBID": 41, "type": 1, "number": "5001", "state": 1},
        ("CfgApplication", 99): {
            "DBID": 99,
            "name": "confserv",
            "type": 21,
            "version": "8.5",
            "state": 1,
            "isServer": 2,
            "serverInfo": {"hostDBID": 71},
            "options": {"log": {"long": LONG, "verbose": "all", "empty": ""}, "nothing": {}},
        },
        ("CfgApplication", 105): {
            "DBID": 105,
            "name": "Client",
            "type": 19,
            "version": "8.5",
            "state": 1,
            "isServer": 1,
            "appServerDBIDs": [{"appServerDBID": 99, "appParams": "p"}],
        },
    }
    assert [number for number, _, _ in adapted.objects] == sorted(number for number, _, _ in adapted.objects)
    assert {folder for _, _, folder in adapted.objects} == {0}
    assert repr(adapted) == "<AdaptedConfiguration 15 objects, 0 problems>"


def test_the_report_names_what_the_default_mapping_does_not_cover(url: str, default: VendorMapping) -> None:
    fill(url, tables={**TABLES, "cfg_place": f"{TABLES['cfg_place']} color", "site_extra": "dbid"})
    report = adapt(url, default).report
    assert report.problems == {}
    assert report.objects["CfgPerson"] == 3
    assert report.unmapped_tables == ["site_extra"]
    assert report.unmapped_columns == ["cfg_host.dbid", "cfg_host.name", "cfg_place.color"]
    assert report.ignored["cfg_locale"] == "texts of locales are no objects"
    assert report.ignored["cfg_person.comment_"] == "no attribute in the object model"
    assert report.unmapped_types["CfgFolder"] == "the mapping names no table"
    assert report.unmapped_types["CfgHost"] == "table cfg_host, of which the mapping names no columns"
    assert "CfgPlace.DNDBIDs" in report.unmapped_attributes
    assert "CfgPerson.agentInfo.agentLogins.wrapupTime" in report.unmapped_attributes
    assert "CfgPerson.userProperties" not in report.unmapped_attributes
    assert report.missing_required == [
        "CfgApplication.autoRestart",
        "CfgApplication.redundancyType",
        "CfgAgentLogin.switchDBID",
        "CfgAgentLogin.state",
    ]
    assert report.missing_tables == {}
    assert report.missing_columns == {}
    assert not report.is_clean


def test_the_report_reads_as_sentences(sqlite: str, default: VendorMapping) -> None:
    rows = with_rows(cfg_skill=[{"dbid": 12, "name": None, "state": "9"}])
    fill(sqlite, rows, {**TABLES, "site_extra": "x"} | {"cfg_place": "dbid name"})
    lines = list(adapt(sqlite, default).report.lines())
    assert lines[0] == "read: CfgSwitch: 1 objects"
    for line in (
        "mandatory, and not in the database as mapped: CfgAgentLogin.switchDBID",
        "mandatory, and empty: CfgSkill.name: 1 times (DBID 12)",
        "problem: CfgSkill.state must be the number of a member of CfgObjectState; 9 is none; "
        "the object is given as it is: 1 times (DBID 12)",
        "column of the mapping not in the database: cfg_place.state (for CfgPlace.state)",
        "table not in the mapping: site_extra",
        "column not in the mapping: cfg_host.dbid",
        "left out on purpose: cfg_locale (texts of locales are no objects)",
        "type not read: CfgFolder (the mapping names no table)",
        "attribute without a column: CfgPlace.DNDBIDs",
    ):
        assert line in lines


def test_the_report_can_be_printed_as_json(sqlite: str, default: VendorMapping) -> None:
    fill(sqlite, {"cfg_skill": [{"dbid": 5, "name": "x", "tenant_dbid": 1}]})
    document = msgspec.json.decode(msgspec.json.encode(adapt(sqlite, default).report))
    assert document["missing_values"] == {"CfgSkill.state": {"count": 1, "dbids": [5]}}
    assert document["objects"]["CfgSkill"] == 1


def test_a_database_without_anything_is_all_report(url: str, default: VendorMapping) -> None:
    fill(url, {}, {"empty": "dbid"})
    adapted = adapt(url, default)
    assert adapted.objects == []
    assert adapted.report.unmapped_types["CfgPerson"] == "the database has no table cfg_person"
    assert adapted.report.missing_tables["cfg_person"] == ["CfgPerson"]
    assert adapted.report.missing_tables["cfg_app_option"] == ["options"]
    assert any(
        line.startswith("table of the mapping not in the database: cfg_person") for line in adapted.report.lines()
    )


def test_tables_and_columns_that_are_missing_cost_only_what_they_hold(sqlite: str, default: VendorMapping) -> None:
    tables = {
        **TABLES,
        "cfg_person": "dbid user_name",
        "cfg_skill_level": "person_dbid level_",
        "cfg_group": "dbid name",
    }
    tables |= {
        "cfg_server": "app_dbid",
        "cfg_app_option": "object_dbid object_type section opt val",
        "cfg_skill": "name",
    }
    tables |= {"cfg_flex_prop": "dbid object_dbid object_type prop_name prop_value", "cfg_agent_group": "group_dbid"}
    del tables["cfg_login_info"], tables["cfg_app_server"]
    rows = {
        "cfg_person": [{"dbid": 5, "user_name": "u"}],
        "cfg_application": [{"dbid": 9, "name": "a", "type": 1, "version": "1", "state": 1}],
        "cfg_server": [{"app_dbid": 9}],
        "cfg_app_option": [{"object_dbid": 9, "object_type": 9, "section": "s", "opt": "o", "val": "v"}],
        "cfg_flex_prop": [{"dbid": 1, "object_dbid": 9, "object_type": 9, "prop_name": "s"}],
    }
    fill(sqlite, rows, tables)
    adapted = adapt(sqlite, default)
    assert one(adapted, "CfgPerson", 5) == {"DBID": 5, "userName": "u"}
    application = one(adapted, "CfgApplication", 9)
    assert application["serverInfo"] == {}
    assert application["options"] == {"s": {"o": "v"}}
    report = adapted.report
    assert report.unmapped_types["CfgAgentGroup"] == "table cfg_group lacks group_type"
    assert report.unmapped_types["CfgSkill"] == "table cfg_skill lacks dbid"
    assert report.missing_columns["cfg_skill_level.skill_dbid"] == ["CfgPerson.agentInfo.skillLevels.skillDBID"]
    assert report.missing_columns["cfg_person.is_agent"] == ["CfgPerson.isAgent", "CfgPerson.agentInfo"]
    assert report.missing_columns["cfg_flex_prop.parent_dbid"] == ["userProperties and groupInfo.userProperties"]
    assert report.missing_columns["cfg_app_option.part"] == ["options"]
    assert report.missing_tables["cfg_login_info"] == ["CfgPerson.agentInfo.agentLogins"]
    assert "CfgPerson.state" in report.missing_required


def test_a_site_completes_the_mapping(url: str, tmp_path: Path) -> None:
    mapping = site_mapping(
        tmp_path,
        """
        [types.CfgHost]
        folder = "folder_dbid"
        [types.CfgHost.attributes]
        name = "name"
        LCAPort = "lca_port"
        type = { column = "kind", values = { server = "CFGNetworkServer", "7" = 2 } }
        [types.CfgHost.constants]
        state = "CFGEnabled"
        name = "only where the column has none"
        IPaddress = "127.0.0.1"
        "OSinfo.OStype" = 9

        [types.CfgPlace.lists.DNDBIDs]
        table = "cfg_place_dn"
        owner = "place_dbid"
        item = "dn_dbid"

        [types.CfgFolder]
        table = "cfg_folder"
        dbid = "id"
        attributes = { name = "name" }
        [types.CfgFolder.lists.objectIDs]
        table = "cfg_folder_object"
        owner = "folder"
        items = { DBID = "object_dbid", type = "object_type" }

        [types.CfgTimeZone]
        table = "cfg_time_zone"
        attributes = { name = "name", DSTStartDate = "dst_start", DSTStopDate = "dst_stop" }

        [types.CfgAgentGroup.attributes]
        "groupInfo.capacityRuleDBID" = false

        [options.cfg_flex_prop.kinds]
        1 = "int"
        2 = "hex"
        """,
    )
    tables = {
        **TABLES,
        "CFG_HOST": "dbid name lca_port kind folder_dbid",
        "cfg_place_dn": "place_dbid dn_dbid",
        "cfg_folder": "id name",
        "cfg_folder_object": "folder object_dbid object_type",
        "cfg_time_zone": "dbid name dst_start dst_stop",
    }
    del tables["cfg_host"]
    props = [
        {"dbid": 81, "object_dbid": 71, "object_type": 10, "parent_dbid": 0, "prop_name": "s", "part": 0},
        {"dbid": 82, "object_dbid": 71, "object_type": 10, "parent_dbid": 81, "prop_name": "n", "prop_value": "5"}
        | {"prop_type": 1},
        {"dbid": 83, "object_dbid": 71, "object_type": 10, "parent_dbid": 81, "prop_name": "b", "prop_value": "00ff"}
        | {"prop_type": 2},
        {"dbid": 84, "object_dbid": 71, "object_type": 10, "parent_dbid": 81, "prop_name": "x", "prop_value": "z"}
        | {"prop_type": 2},
    ]
    rows = with_rows(cfg_flex_prop=props)
    del rows["cfg_host"]
    rows |= {
        "CFG_HOST": [
            {"dbid": 71, "name": "alpha", "lca_port": 4999, "kind": "server", "folder_dbid": 77},
            {"dbid": 72, "name": "beta", "lca_port": 4999, "kind": "other", "folder_dbid": None},
        ],
        "cfg_place_dn": [{"place_dbid": 7, "dn_dbid": 61}],
        "cfg_folder": [{"id": 77, "name": "Hosts"}],
        "cfg_folder_object": [{"folder": 77, "object_dbid": 71, "object_type": 10}],
        "cfg_time_zone": [
            {"dbid": 1, "name": "UTC", "dst_start": datetime.datetime(2020, 3, 29, 1), "dst_stop": "20200329"},
            {"dbid": 2, "name": "never", "dst_stop": "never"},
            {"dbid": 3, "name": "zone", "dst_stop": "2020-03-29T01:00:00+00:00"},
        ],
    }
    fill(
        url,
        rows,
        tables,
        types={"CFG_HOST.kind": String(8), "cfg_time_zone.dst_start": DateTime(), "cfg_time_zone.dst_stop": String(30)},
    )
    adapted = adapt(url, mapping)
    host = {"DBID": 71, "name": "alpha", "LCAPort": "4999", "type": 1, "state": 1, "IPaddress": "127.0.0.1"}
    host |= {"OSinfo": {"OStype": 9}, "userProperties": {"s": {"n": 5, "b": b"\x00\xff"}}}
    assert one(adapted, "CfgHost", 71) == host
    assert [folder for kind, _, folder in adapted.objects if kind == 10] == [77, 0]
    assert one(adapted, "CfgPlace", 7)["DNDBIDs"] == [61]
    assert one(adapted, "CfgFolder", 77)["objectIDs"] == [{"DBID": 71, "type": 10}]
    assert one(adapted, "CfgTimeZone", 1)["DSTStartDate"] == 1585443600
    assert one(adapted, "CfgTimeZone", 1)["DSTStopDate"] == 20200329
    assert one(adapted, "CfgTimeZone", 3)["DSTStopDate"] == 1585443600
    assert "capacityRuleDBID" not in one(adapted, "CfgAgentGroup", 31)["groupInfo"]
    assert set(adapted.report.problems) == {
        "cfg_time_zone.dst_stop: 'never' is neither a number of seconds nor a date; left out",
        "cfg_host.kind: 'other' is none of the values that the mapping translates; left out",
        "cfg_flex_prop: 's', 'x': no hex (non-hexadecimal number found in fromhex() arg at position 0); left out",
    }
    assert adapted.report.missing_values["CfgHost.type"].dbids == [72]


def problems(
    url: str, mapping: VendorMapping, rows: dict[str, list[dict[str, Any]]], **options: Any
) -> dict[str, list[int]]:
    fill(url, rows, **options)
    return {sentence: examples.dbids for sentence, examples in adapt(url, mapping).report.problems.items()}


def test_rows_that_mean_nothing_are_left_out_and_named(url: str, default: VendorMapping) -> None:
    rows = with_rows(
        cfg_skill=[{"dbid": None, "name": "x"}, {"dbid": None, "name": "y"}, {"dbid": 11, "name": "again"}],
        cfg_skill_level=[{"person_dbid": 102, "level_": 3}, {"person_dbid": 999, "skill_dbid": 11}],
        cfg_group=[{"dbid": 39, "group_type": 9, "name": "x"}],
        cfg_agent_group=[{"group_dbid": 31, "agent_dbid": 0}, {"group_dbid": 32, "agent_dbid": 101}],
        cfg_server=[{"app_dbid": 99, "host_dbid": 72}, {"app_dbid": 12345, "host_dbid": 72}],
    )
    assert problems(url, default, rows) == {
        "cfg_skill: the DBID is there twice; left out": [11],
        "cfg_skill: a row without DBID; left out": [0],
        "cfg_skill_level: an item of agentInfo.skillLevels without skillDBID; left out": [102],
        "cfg_agent_group: an item of agentDBIDs without value; left out": [31],
        "cfg_server: several rows for one object; the first was taken": [99],
        "cfg_skill_level: rows of an object that was not read; left out": [999],
        "cfg_agent_group: rows of an object that was not read; left out": [32],
        "cfg_server: rows of an object that was not read; left out": [12345],
        "cfg_group: rows with group_type 9 belong to no type; left out": [39],
    }


def test_options_that_mean_nothing_are_left_out_and_named(url: str, default: VendorMapping) -> None:
    def option(opt: str, part: int | None, val: str = "v", **more: Any) -> dict[str, Any]:
        row = {"object_dbid": 99, "object_type": 9, "section": "s", "opt": opt, "part": part, "val": val}
        return {**row, **more}

    def prop(dbid: int, parent: int, name: str | None, value: str | None = None, **more: Any) -> dict[str, Any]:
        row = {"dbid": dbid, "object_dbid": 102, "object_type": 3, "parent_dbid": parent, "prop_name": name}
        return {**row, "prop_value": value, **more}

    rows = with_rows(
        cfg_app_option=[
            *(option("gap", part) for part in (1, 3)),
            *(option("twice", part) for part in (1, 1)),
            option("late", 2),
            option("none", None),
            option("x", 1, section=None),
            option("x", 1, object_type=3, object_dbid=102),
            option("x", 1, object_type=77),
            option("x", 1, object_type=22),
            option("x", 1, object_dbid=98),
        ],
        cfg_flex_prop=[
            prop(91, 0, None),
            prop(92, 0, "alone", "value"),
            prop(93, 1, None, "v"),
            prop(94, 1, "deep"),
            prop(95, 94, "deeper", "v"),
            prop(96, 777, "lost", "v"),
        ],
    )
    left = problems(url, default, rows)
    assert left == {
        "cfg_app_option: 's', 'gap': the parts 1, 3 are not one value; left out": [99],
        "cfg_app_option: 's', 'twice': the parts 1, 1 are not one value; left out": [99],
        "cfg_app_option: 's', 'late': the parts 2 are not one value; left out": [99],
        "cfg_app_option: a row without a section; left out": [99],
        "cfg_app_option: CfgPerson has no options; left out": [102],
        "cfg_app_option: object type 77 does not exist; left out": [99],
        "cfg_app_option: CfgFolder was not read; left out": [99],
        "cfg_app_option: there is no such CfgApplication; left out": [98],
        "cfg_flex_prop: a section without a name; left out": [102],
        "cfg_flex_prop: 'alone' has a value and is in no section; left out": [102],
        "cfg_flex_prop: an option without a name in section 'desktop'; left out": [102],
        "cfg_flex_prop: 'desktop', 'deep': a section in a section; left out": [102],
        "cfg_flex_prop: 'deeper' is in no section, or deeper than sections and options; left out": [102],
        "cfg_flex_prop: 'lost' is in no section, or deeper than sections and options; left out": [102],
    }
    adapted = adapt(url, default)
    assert one(adapted, "CfgApplication", 99)["options"]["s"] == {"none": "v"}
    assert one(adapted, "CfgPerson", 102)["userProperties"] == {"desktop": {"note": "one two"}, "empty": {}}


def test_values_of_another_kind_are_left_out_and_named(sqlite: str, default: VendorMapping) -> None:
    rows = {
        "cfg_skill": [{"dbid": "13", "name": b"\xff", "tenant_dbid": "x" * 99, "state": 1.5}],
        "cfg_place": [{"dbid": 1.0, "name": 7, "tenant_dbid": "-5", "state": 1.0}],
        "cfg_application": [{"dbid": 9, "name": 2.5, "type": 1, "version": "1", "state": 1}],
        "cfg_app_option": [
            {"object_dbid": 9, "object_type": 9, "section": "s", "opt": "p", "part": "x", "val": "1"},
            {"object_dbid": 9, "object_type": 9, "section": "s", "opt": "b", "part": 1, "val": b"\xfe"},
        ],
    }
    fill(sqlite, {}, TABLES)
    engine = create_engine(sqlite)
    with engine.begin() as connection:
        for table, found_rows in rows.items():
            for row in found_rows:
                names = ", ".join(row)
                marks = ", ".join("?" for _ in row)
                connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))
        connection.execute(text("UPDATE cfg_skill SET name = CAST(x'ff' AS TEXT)"))
    engine.dispose()
    adapted = adapt(sqlite, default)
    assert one(adapted, "CfgSkill", 13) == {"DBID": 13}
    assert one(adapted, "CfgPlace", 1) == {"DBID": 1, "name": "7", "tenantDBID": -5, "state": 1}
    assert one(adapted, "CfgApplication", 9)["name"] == "2.5"
    assert set(adapted.report.problems) == {
        "cfg_skill.name: b'\\xff' is no text; left out",
        f"cfg_skill.tenant_dbid: '{'x' * 39}… is no whole number; left out",
        "cfg_skill.state: 1.5 is no whole number; left out",
        "CfgPlace.tenantDBID must be from 0 to 2147483647, not -5; the object is given as it is",
        "cfg_app_option: 'p': 'x' is no whole number; left out",
        "cfg_app_option: 'b': b'\\xfe' is no text; left out",
    }


def test_a_join_serves_a_structure_that_is_there_already(sqlite: str, tmp_path: Path) -> None:
    mapping = site_mapping(
        tmp_path,
        """
        [types.CfgApplication.attributes]
        "serverInfo.port" = "port"
        [types.CfgApplication]
        where = { state = 1 }
        joins = [
            { table = "cfg_server", owner = "app_dbid", attributes = { "serverInfo.hostDBID" = "host_dbid" } },
            { table = "cfg_nowhere", owner = "dbid", attributes = { version = "version" } },
            { table = "cfg_application_more", owner = "dbid", attributes = { commandLine = "command" } },
        ]
        """,
    )
    tables = {**TABLES, "cfg_application": f"{TABLES['cfg_application']} port", "cfg_application_more": "dbid command"}
    rows = {
        "cfg_application": [{"dbid": 9, "name": "a", "port": 7, "state": 1}, {"dbid": 10, "state": 2}],
        "cfg_server": [{"app_dbid": 9, "host_dbid": 3}],
        "cfg_application_more": [{"dbid": 9, "command": "./x"}],
    }
    fill(sqlite, rows, tables, types={"cfg_application_more.command": String(20)})
    adapted = adapt(sqlite, mapping)
    assert one(adapted, "CfgApplication", 9)["serverInfo"] == {"port": "7", "hostDBID": 3}
    assert one(adapted, "CfgApplication", 9)["commandLine"] == "./x"
    assert "cfg_application: rows with state 2 belong to no type; left out" in adapted.report.problems


def test_types_may_share_a_table_of_members(sqlite: str, tmp_path: Path) -> None:
    member = 'table = "cfg_member"\nowner = "group_dbid"\n'
    mapping = site_mapping(
        tmp_path,
        f"""
        [types.CfgAgentGroup.lists.agentDBIDs]
        {member}item = "member_dbid"
        [types.CfgPlaceGroup.lists.placeDBIDs]
        {member}item = "member_dbid"
        """.replace("\n        ", "\n"),
    )
    rows = [{"group_dbid": group, "member_dbid": 5} for group in (31, 32, 35)]
    fill(sqlite, with_rows(cfg_member=rows, cfg_agent_group=[]), {**TABLES, "cfg_member": "group_dbid member_dbid"})
    adapted = adapt(sqlite, mapping)
    assert one(adapted, "CfgAgentGroup", 31)["agentDBIDs"] == [5]
    assert one(adapted, "CfgPlaceGroup", 32)["placeDBIDs"] == [5]
    assert adapted.report.problems["cfg_member: rows of an object that was not read; left out"].dbids == [35]


def test_numbers_of_other_sql_types_are_numbers(url: str, default: VendorMapping) -> None:
    names = ("cfg_skill.dbid", "cfg_skill.tenant_dbid", "cfg_skill.state", "cfg_group.group_type", "cfg_group.dbid")
    fill(url, types={name: Numeric(12, 2) for name in names})
    adapted = adapt(url, default)
    assert one(adapted, "CfgSkill", 11)["state"] == 1
    assert one(adapted, "CfgAgentGroup", 31)["groupInfo"]["name"] == "Agents"


def test_numbers_that_are_none_are_named(postgresql: str, default: VendorMapping) -> None:
    fill(postgresql, types={"cfg_skill.state": Numeric(), "cfg_skill.tenant_dbid": Boolean()})
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("UPDATE cfg_skill SET state = 'NaN', tenant_dbid = true"))
    engine.dispose()
    adapted = adapt(postgresql, default)
    assert one(adapted, "CfgSkill", 11)["tenantDBID"] == 1
    assert list(adapted.report.problems) == ["cfg_skill.state: Decimal('NaN') is no whole number; left out"]


def test_a_condition_may_name_true_and_false(postgresql: str, tmp_path: Path) -> None:
    mapping = site_mapping(tmp_path, "types.CfgSkill.where = { state = 1 }")
    fill(postgresql, types={"cfg_skill.state": Boolean()})
    assert one(adapt(postgresql, mapping), "CfgSkill", 11)["state"] == 1


def test_many_rows_are_read_in_parts(url: str, default: VendorMapping) -> None:
    skills = [
        {"dbid": dbid, "name": f"s{dbid}", "tenant_dbid": 1, "state": 1} for dbid in range(100, 100 + 3 * ROWS_AT_ONCE)
    ]
    fill(url, with_rows(cfg_skill=skills))
    assert adapt(url, default).report.objects["CfgSkill"] == 3 * ROWS_AT_ONCE + 1


def test_thousands_of_problems_are_bounded(sqlite: str, default: VendorMapping) -> None:
    rows = [{"dbid": dbid, "name": "x", "tenant_dbid": 1, "state": 1000 + dbid} for dbid in range(1, 801)]
    fill(sqlite, {"cfg_skill": rows})
    report = adapt(sqlite, default).report
    assert (len(report.problems), report.more_problems) == (500, 300)
    assert "problem: 300 more" in list(report.lines())


def test_examples_count_all_and_name_the_first_five(sqlite: str, default: VendorMapping) -> None:
    fill(sqlite, {"cfg_skill": [{"dbid": dbid, "name": "x", "tenant_dbid": 1} for dbid in range(1, 9)]})
    examples = adapt(sqlite, default).report.missing_values["CfgSkill.state"]
    assert str(examples) == "8 times (DBID 1, 2, 3, 4, 5)"


def test_nothing_can_be_written_through_the_source(url: str) -> None:
    fill(url)
    with open_source(url) as source, pytest.raises(DBAPIError, match=r"read-?only"):
        source._connection.execute(text("DELETE FROM cfg_skill"))


def test_all_tables_are_read_as_of_one_moment(url: str) -> None:
    fill(url)
    engine = create_engine(url)
    with open_source(url) as source:
        before = list(source.rows("cfg_skill", ["dbid"]))
        if url.startswith("sqlite"):
            # SQLite without WAL lets nobody write meanwhile
            engine = create_engine(url, connect_args={"timeout": 0})
            with pytest.raises(Exception, match="locked"), engine.begin() as connection:
                connection.execute(text("DELETE FROM cfg_skill"))
        else:
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM cfg_skill"))
        assert list(source.rows("cfg_skill", ["dbid"])) == before
    engine.dispose()


def test_a_schema_of_the_database_can_be_named(postgresql: str, tmp_path: Path) -> None:
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS genesys CASCADE"))
        connection.execute(text("CREATE SCHEMA genesys"))
        connection.execute(
            text("CREATE VIEW genesys.cfg_skill AS SELECT 5 AS dbid, 'x' AS name, 1 AS tenant_dbid, 1 AS state")
        )
    engine.dispose()
    mapping = site_mapping(tmp_path, 'schema = "genesys"')
    (skill,) = adapt(postgresql.replace("+psycopg", ""), mapping).objects
    assert skill.object["name"] == "x"


def test_databases_that_cannot_be_opened_are_named(tmp_path: Path, default: VendorMapping) -> None:
    with pytest.raises(StoreError, match="there is no database file") as caught:
        adapt(f"sqlite:///{tmp_path / 'nothing.db'}", default)
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="names no file"):
        adapt("sqlite://", default)
    with pytest.raises(ConfigurationError, match="csproxy\\[postgresql\\]"):
        adapt("klingon://x", default)
    for unreadable in ("no url", "postgresql://u:swordfish@h:port/x"):
        with pytest.raises(ConfigurationError, match="cannot be read") as refused:
            adapt(unreadable, default)
        assert unreadable not in str(refused.value), "it may hold a password"
    with pytest.raises(ConfigurationError, match="more than one @"):
        adapt("postgresql://u:sword@fish@h/x", default)
    with pytest.raises(StoreError, match="connecting") as caught:
        adapt(f"postgresql://u@/x?host={tmp_path}&connect_timeout=2", default)
    assert caught.value.code is ErrorCode.NO_DB_ACCESS
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        adapt(f"sqlite:///{tmp_path / 'junk.db'}", default)
