"""Writing configuration files: the same configuration gives the same bytes, and what is written is read again."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from csproxy.core.changes import Action, Change, Position
from csproxy.core.files.reading import read_file
from csproxy.core.files.writing import repetitions
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.wellknown import well_known_objects
from csproxy.testing.sites import generate_site
from tests.core.files.bench import Bench

T = "Environment"


def bench_with_site(agents: int) -> Bench:
    bench = Bench()
    base = well_known_objects()
    first = bench.cache.position.uen + 1
    changes = [
        Change(
            action=Action.CREATED,
            type=number,
            dbid=obj["DBID"],
            position=Position(1, first + index),
            frame=b"",
            object=encode_object(SCHEMA.types[number], obj),
            folder=folder,
        )
        for index, (number, obj, folder) in enumerate(generate_site(agents, seed=1, base=base))
    ]
    bench.cache.apply(changes)
    return bench


@pytest.mark.slow
def test_export_import_into_an_empty_master_and_export_again_is_byte_identical() -> None:
    first = bench_with_site(100).export()
    empty = Bench()
    plan = empty.bring(first)
    assert len(plan.operations) > 700
    assert empty.export() == first
    assert empty.bring(first).operations == (), "a second import changes nothing"


def test_dbids_and_the_order_of_creation_do_not_show() -> None:
    document = {
        "skills": [{"name": name, "tenant": T} for name in ("a", "b", "c")],
        "persons": [
            {
                "tenant": T,
                "employeeId": f"e{n}",
                "userName": f"u{n}",
                "agentInfo": {"skillLevels": {"a": 1, "c": 3, "b": 2}},
                "folder": {"type": "person", "owner": {"type": "tenant", "name": T}, "path": ["Persons", "Team"]},
            }
            for n in range(5)
        ],
        "agentGroups": [{"group": {"name": "g", "tenant": T}, "agents": ["e3", "e1", "e2"]}],
        "folders": [
            {"name": "Team", "folder": {"type": "person", "owner": {"type": "tenant", "name": T}, "path": ["Persons"]}}
        ],
    }
    exports = set()
    for seed in range(3):
        shuffled = {kind: random.Random(seed).sample(items, len(items)) for kind, items in document.items()}
        bench = Bench()
        bench.bring(shuffled)
        exports.add(bench.export())
    (text,) = exports
    written = json.loads(text)
    (group,) = written["agentGroups"]
    assert group["agents"] == ["e1", "e2", "e3"]
    assert written["persons"][1]["agentInfo"] == {"skillLevels": {"a": 1, "b": 2, "c": 3}}


def every_kind() -> dict[str, list[dict[str, Any]]]:
    """One object or more of every kind, with as much in it as the rules allow."""
    options = {"section": {"number": 456, "string": "def", "bytes": {"$base64": "AAH/"}, "${X}": "${Y}"}}
    dn = {"number": "1", "switch": "east", "type": "extension"}
    alarm = {"name": "s", "tenant": T}
    script = {"name": "s", "tenant": T, "type": "capacityrule", "index": 3, "userProperties": options}
    table = {"name": "ta", "tenant": T, "type": "ttcallinglist", "dbAccess": "app", "dbTableName": "t"}
    return {
        "accessGroups": [{"group": {"name": "ag", "tenant": T}, "members": ["e"], "type": "defaultgroup"}],
        "actionCodes": [{"name": "ac", "type": "transfer", "code": "1", "subcodes": {"x": "1", "a": "2"}, "tenant": T}],
        "agentGroups": [{"group": {"name": "gg", "tenant": T, "managers": ["e"], "routeDNs": [dn]}, "agents": ["e"]}],
        "alarmConditions": [
            {
                "name": "al",
                "alarmDetectEvent": {"logEventID": 5, "app": "app", "selectionMode": "smbyappdbid"},
                "alarmDetectScript": alarm,
                "reactionScripts": [alarm],
                "category": "accritical",
                "isMasked": False,
            }
        ],
        "appPrototypes": [{"name": "p", "type": "tserver", "version": "8", "options": options}],
        "applications": [
            {
                "name": "app",
                "appPrototype": "p",
                "appServers": [{"appServer": "confserv", "id": "default", "mode": "tmnone", "timeoutLocal": 2}],
                "autoRestart": True,
                "redundancyType": "htnohatype",
                "commandLine": "",
                "workDirectory": "/tmp",
                "portInfos": [{"id": "default", "port": "1"}, {"id": "b", "port": "2"}],
                "serverInfo": {"host": "h", "timeout": 3},
                "tenants": [T],
            }
        ],
        "campaigns": [
            {"name": "c", "tenant": T, "callingLists": [{"callingList": "cl", "share": 5, "isActive": True}]}
        ],
        "campaignGroups": [
            {
                "campaign": {"name": "c", "tenant": T},
                "name": "cg",
                "group": {"groupType": "agentgroup", "name": "gg"},
                "dialMode": "dmpredict",
                "operationMode": "ommanual",
                "optMethod": "ombusyfactor",
                "origDN": dn,
                "servers": ["app"],
                "tenant": T,
            }
        ],
        "dns": [
            {**dn, "tenant": T, "routeType": "default", "destinationDNs": [{**dn, "number": "2"}], "useOverride": True},
            {**dn, "number": "2", "name": "named", "tenant": T, "routeType": "noroute", "group": "dg"},
        ],
        "dnGroups": [{"group": {"name": "dg", "tenant": T}, "type": "acdqueues", "dns": [{"dn": dn, "trunks": 2}]}],
        "enumerators": [{"name": "en", "displayName": "E", "type": "entrole", "tenant": T}],
        "enumeratorValues": [{"enumerator": "en", "name": "v", "displayName": "V", "isDefault": True, "tenant": T}],
        "fields": [
            {
                "name": "f",
                "tenant": T,
                "type": "dtchar",
                "fieldType": "ftphone",
                "isNullable": True,
                "isPrimaryKey": False,
                "isUnique": False,
                "length": 9,
            }
        ],
        "folders": [
            {
                "name": "DN folder",
                "type": "dn",
                "folder": {"type": "dn", "owner": {"type": "switch", "name": "east", "tenant": T}, "path": ["DNs"]},
                "userProperties": options,
                "customType": 8,
            },
            {"name": "any", "type": "folder", "folder": {"type": "folder", "owner": {"type": "tenant", "name": T}}},
        ],
        "gvpCustomers": [
            {
                "name": "gc",
                "tenant": T,
                "reseller": "gr",
                "channel": "x",
                "isAdminCustomer": True,
                "isProvisioned": False,
                "timeZone": "tz",
            }
        ],
        "gvpIVRProfiles": [
            {
                "name": "gi",
                "tenant": T,
                "displayName": "d",
                "type": "inbound",
                "tfn": ["1", "2"],
                "dids": [dn],
                "startServiceDate": "2025-01-31T00:00:00.000+0000",
            }
        ],
        "gvpResellers": [{"name": "gr", "tenant": T, "isParentNSP": True}],
        "hosts": [{"name": "h", "lcaPort": "4999", "osInfo": {"type": "windows"}, "type": "networkserver"}],
        "ivrs": [{"name": "iv", "tenant": T, "type": "ivrtconversant", "version": "1", "ivrServer": "app"}],
        "persons": [
            {
                "tenant": T,
                "employeeId": "e",
                "userName": "u",
                "firstName": "أحمد 🎧",
                "appRanks": {"advisors": "user"},
                "agentInfo": {
                    "place": "pl",
                    "skillLevels": {"sk": 5},
                    "agentLogins": [{"agentLogin": {"loginCode": "7", "switch": "east"}, "wrapupTime": 5}],
                },
                "userProperties": options,
            }
        ],
        "physicalSwitches": [{"name": "ps", "type": "fujitsu"}],
        "places": [
            {"name": "pl", "tenant": T, "dns": [dn, {**dn, "number": "2", "name": "named"}], "capacityRule": "s"}
        ],
        "placeGroups": [{"group": {"name": "pg", "tenant": T, "capacityTable": "st"}, "places": ["pl"]}],
        "roles": [{"name": "ro", "tenant": T, "members": ["person/e"]}],
        "scripts": [script],
        "services": [
            {
                "name": "se",
                "solutionType": "stdefaultsolutiontype",
                "version": "1",
                "components": [{"app": "app", "startupPriority": 1, "isOptional": True}],
                "componentDefinitions": [{"type": "tserver", "version": "8", "startupPriority": 1}],
            }
        ],
        "skills": [{"name": "sk", "tenant": T}],
        "switches": [
            {
                "name": "east",
                "tenant": T,
                "physicalSwitch": "ps",
                "tServer": "app",
                "switchAccessCodes": [{"switch": "east", "accessCode": "9", "targetType": "targetagent"}],
            }
        ],
        "tenants": [{"name": "Other", "parentTenant": T, "chargeableNumber": "5"}],
        "transactions": [{"name": "tr", "tenant": T, "type": "calldata", "alias": "a", "recordPeriod": 5}],
        "agentLogins": [{"loginCode": "7", "switch": "east", "tenant": T, "useOverride": False}],
        "statDays": [
            {"name": "sd", "tenant": T, "isDayOfWeek": True, "day": 1, "statIntervals": [{"intervalCount": 1}]}
        ],
        "statTables": [{"name": "st", "tenant": T, "type": "capacitytable", "statDays": ["sd"]}],
        "formats": [{"name": "fo", "tenant": T, "fields": ["f"]}],
        "tableAccesses": [{**table, "format": "fo"}],
        "callingLists": [
            {"name": "cl", "tenant": T, "tableAccess": "ta", "timeFrom": 0, "timeUntil": 5, "maxAttempts": 1}
        ],
        "treatments": [{"name": "tm", "tenant": T, "callResult": "ok", "destDN": dn}],
        "filters": [{"name": "fi", "tenant": T, "format": "fo"}],
        "timeZones": [{"name": "tz", "tenant": T, "nameNetscape": "n", "nameMSExplorer": "m", "offset": 3600}],
        "voicePrompts": [{"name": "vp", "tenant": T, "switch": "east"}, {"name": "free", "tenant": T}],
        "ivrPorts": [{"ivr": "iv", "tenant": T, "portNumber": "1", "dn": dn}],
        "objectiveTables": [{"name": "ot", "tenant": T, "timeZone": "tz"}],
        "scheduledTasks": [{"name": "sc", "type": "ttupdateappivr"}],
    }


def test_every_kind_survives_export_and_import() -> None:
    bench = Bench()
    bench.bring(json.dumps(every_kind()).replace("${", "\\u0024{"))
    text = bench.export()
    _, warnings = read_file(text.encode(), {})
    assert not warnings
    other = Bench()
    other.bring(text)
    assert other.export() == text
    written = json.loads(text)
    for kind, items in every_kind().items():
        for item in items:
            assert any(_holds(each, item, kind) for each in written[kind]), (kind, item, written[kind])


def _holds(written: Any, given: Any, kind: str) -> bool:
    """Whether everything given stands in what was written; role members are not read."""
    if isinstance(given, dict) and isinstance(written, dict):
        return all(
            (kind, name) == ("roles", "members")
            or (name == "path" and not value)
            or (name in written and _holds(written[name], value, kind))
            or value == ""
            for name, value in given.items()
        )
    if isinstance(given, list) and isinstance(written, list):
        return len(given) == len(written) and all(any(_holds(each, one, kind) for each in written) for one in given)
    return bool(written == given)


def test_references_into_another_tenant_say_so() -> None:
    bench = Bench()
    bench.bring(
        {
            "tenants": [{"name": "Sub", "parentTenant": T}],
            "scripts": [{"name": "r", "tenant": T, "type": "capacityrule"}],
            "places": [{"name": "p", "tenant": "Sub", "capacityRule": {"name": "r", "tenant": T}}],
            "accessGroups": [{"group": {"name": "g", "tenant": "Sub"}, "members": [{"employeeId": "0", "tenant": T}]}],
        }
    )
    written = json.loads(bench.export())
    assert written["places"][0]["capacityRule"] == {"name": "r", "tenant": T}
    group = next(each for each in written["accessGroups"] if each["group"]["name"] == "g")
    assert group["members"] == [{"type": "person", "employeeId": "0", "tenant": T}]
    other = Bench()
    other.bring(bench.export())
    assert other.export() == bench.export()


def test_objects_that_a_file_cannot_tell_apart_are_told() -> None:
    bench = Bench()
    for _ in range(2):
        bench.create("format", {"name": "same", "tenantDBID": 1})
    assert repetitions(bench.directory()) == ["format [Environment/same]"]


def test_a_link_that_is_required_and_not_there_is_an_empty_text() -> None:
    bench = Bench()
    bench.create("gvpCustomer", {"name": "c", "tenantDBID": 1})
    bench.create("host", {"name": "bare", "type": 1, "LCAPort": "1"})
    written = json.loads(bench.export())
    assert written["gvpCustomers"][0]["reseller"] == ""
    assert written["hosts"][0]["osInfo"] == ""
    other = Bench()
    other.bring(bench.export())
    assert other.export() == bench.export()


def test_a_password_is_never_written() -> None:
    bench = Bench()
    bench.bring({"persons": [{"tenant": T, "employeeId": "e", "userName": "u", "password": "swordfish"}]})
    assert "swordfish" not in bench.export()


def test_default_folders_are_written_only_when_somebody_changed_them() -> None:
    bench = Bench()
    assert "folders" not in json.loads(bench.export())
    owner = {"type": "tenant", "name": T}
    changed = {"name": "Persons", "description": "all", "folder": {"type": "person", "owner": owner, "path": []}}
    bench.bring({"folders": [changed]})
    (folder,) = json.loads(bench.export())["folders"]
    assert folder["description"] == "all"
    assert folder["folder"]["path"] == []
