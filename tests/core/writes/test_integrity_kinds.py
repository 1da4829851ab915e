"""Rules that depend on what an object is: server information, prototypes, backups, hierarchies, pairs, list items."""

from __future__ import annotations

from typing import Any

import pytest
from desk import Desk

from csproxy.core.rules import MAX_NAMED
from csproxy.errors import ErrorCode, ModelError

INCOMPLETE = ErrorCode.INCOMPLETE_OBJECT_DATA
REFERENCE = ErrorCode.INCORRECT_REFERENCES
SERVER, GUI = 97, 100
"""DBIDs of prototypes: of a daemon, of a user interface."""


@pytest.fixture
def desk() -> Desk:
    return Desk()


def application(desk: Desk, name: str, prototype: int = SERVER, **more: Any) -> int:
    return desk.create("application", {"name": name, "appPrototypeDBID": prototype, **more})


def refused(desk: Desk, word: str, obj: dict[str, Any], dbid: int = 0) -> ModelError:
    """The error of a creation, or of an update of object ``dbid``."""
    before = desk.cache.position, dict(desk.counters)
    with pytest.raises(ModelError) as caught:
        desk.update(word, dbid, obj) if dbid else desk.create(word, obj)
    assert (desk.cache.position, desk.counters) == before
    return caught.value


def test_only_servers_have_server_information(desk: Desk) -> None:
    gui = {"name": "desktop", "appPrototypeDBID": GUI, "serverInfo": {"port": "9"}}
    error = refused(desk, "application", gui)
    assert (error.code, error.property_name) == (ErrorCode.UNSUPPORTED_PROPERTY, "serverInfo")
    made = application(desk, "desktop", GUI)
    assert refused(desk, "application", {"serverInfo": {"port": "9"}}, made).code is ErrorCode.UNCHANGEABLE_INFO


def test_an_application_that_has_them_wrongly_can_be_changed_elsewhere(desk: Desk) -> None:
    desk.plant("application", {"DBID": 200, "name": "old", "type": 19, "version": "1", "serverInfo": {}, "state": 1})
    desk.update("application", 200, {"commandLine": "x", "serverInfo": {"port": "9"}})


def test_the_prototype_is_of_the_type_of_the_application(desk: Desk) -> None:
    error = refused(desk, "application", {"name": "a", "type": 19, "version": "1", "appPrototypeDBID": SERVER})
    assert (error.code, error.property_name) == (REFERENCE, "appPrototypeDBID")
    error = refused(desk, "application", {"appPrototypeDBID": GUI}, application(desk, "a"))
    assert (error.code, error.property_name) == (REFERENCE, "appPrototypeDBID")


def test_a_backup_is_of_the_same_type_and_another_application(desk: Desk) -> None:
    first, second = application(desk, "first"), application(desk, "second")
    other = application(desk, "other", 99)
    desk.update("application", first, {"serverInfo": {"backupServerDBID": second}})
    desk.update("application", second, {"serverInfo": {"backupServerDBID": first}})
    for wrong in (other, first):
        error = refused(desk, "application", {"serverInfo": {"backupServerDBID": wrong}}, first)
        assert (error.code, error.property_name) == (REFERENCE, "serverInfo.backupServerDBID")
    error = refused(
        desk,
        "application",
        {"name": "third", "appPrototypeDBID": SERVER, "serverInfo": {"backupServerDBID": other}},
    )
    assert (error.code, error.property_name) == (REFERENCE, "serverInfo.backupServerDBID")
    desk.update("application", first, {"serverInfo": {"backupServerDBID": 0}})


def test_a_tenant_is_not_above_itself(desk: Desk) -> None:
    top = desk.create("tenant", {"name": "top"})
    middle = desk.create("tenant", {"name": "middle", "parentTenantDBID": top})
    low = desk.create("tenant", {"name": "low", "parentTenantDBID": middle})
    for above in (top, low):
        error = refused(desk, "tenant", {"parentTenantDBID": above}, top)
        assert (error.code, error.property_name) == (REFERENCE, "parentTenantDBID")
    desk.update("tenant", low, {"parentTenantDBID": top})


@pytest.mark.parametrize(
    ("word", "obj", "code", "path"),
    [
        ("accessGroup", {"memberIDs": [{"DBID": 100, "type": 9}]}, REFERENCE, "memberIDs.DBID"),
        ("accessGroup", {"memberIDs": [{"DBID": 999, "type": 3}]}, REFERENCE, "memberIDs.DBID"),
        ("accessGroup", {"memberIDs": [{"DBID": 100}]}, REFERENCE, "memberIDs.DBID"),
        ("agentGroup", {"agentDBIDs": [100, 999]}, REFERENCE, "agentDBIDs"),
        ("agentGroup", {"groupInfo": {"tenantDBID": 1, "name": ""}}, INCOMPLETE, "groupInfo.name"),
        ("agentGroup", {"agentDBIDs": [0]}, ErrorCode.VALUE_OUT_OF_RANGE, "agentDBIDs"),
        ("person", {"agentInfo": {"skillLevels": [{"level": 1}]}}, INCOMPLETE, "agentInfo.skillLevels.skillDBID"),
        ("person", {"agentInfo": {"skillLevels": [{"skillDBID": 99}]}}, REFERENCE, "agentInfo.skillLevels.skillDBID"),
        ("person", {"appRanks": [{"appType": 9999, "appRank": 1}]}, ErrorCode.VALUE_OUT_OF_RANGE, "appRanks.appType"),
        ("person", {"appRanks": [{"appRank": 1}]}, INCOMPLETE, "appRanks.appType"),
        ("person", {"userProperties": {"a": {"b": 2**31}}}, ErrorCode.VALUE_OUT_OF_RANGE, "userProperties.a/b"),
        ("host", {"resources": [{"resourceType": 19, "objectDBID": 9}]}, REFERENCE, "resources.objectDBID"),
    ],
)  # fmt: skip
def test_what_stands_in_lists_and_pairs_is_checked_too(
    desk: Desk, word: str, obj: dict[str, Any], code: ErrorCode, path: str
) -> None:
    rest: dict[str, dict[str, Any]] = {
        "accessGroup": {"groupInfo": {"name": "g", "tenantDBID": 1}},
        "agentGroup": {"groupInfo": {"name": "g", "tenantDBID": 1}},
        "person": {"userName": "joe", "employeeID": "joe"},
        "host": {"name": "h", "type": 1, "LCAPort": "4999", "OSinfo": {"OStype": 16}},
    }
    error = refused(desk, word, {**rest[word], **obj})
    assert (error.code, error.property_name) == (code, path), error


def test_links_inside_a_campaign_group_lead_where_each_of_them_may(desk: Desk) -> None:
    group, dialer = desk.group("g"), application(desk, "dialer")
    item = {"groupDBID": group, "groupType": 5, "dialerDBID": dialer}
    made = desk.create("campaign", {"name": "c", "tenantDBID": 1, "campaignGroups": [item]})
    assert desk.get("campaign", made)["campaignGroups"] == [item]
    error = refused(
        desk, "campaign", {"name": "d", "tenantDBID": 1, "campaignGroups": [{"groupDBID": 100, "groupType": 3}]}
    )
    assert (error.code, error.property_name) == (REFERENCE, "campaignGroups.groupDBID")


@pytest.mark.parametrize("word", ["GVPReseller", "GVPCustomer", "skill", "agentGroup"])
def test_no_object_gets_another_dbid(desk: Desk, word: str) -> None:
    obj = {"groupInfo": {"name": "g", "tenantDBID": 1}} if word == "agentGroup" else {"name": "n", "tenantDBID": 1}
    made = desk.create(word, obj)
    error = refused(desk, word, {"DBID": made + 1}, made)
    assert (error.code, error.property_name) == (ErrorCode.UNCHANGEABLE_INFO, "DBID")


def test_a_refused_deletion_names_who_depends_up_to_a_limit(desk: Desk) -> None:
    office = desk.create("physicalSwitch", {"name": "office", "type": 3})
    for n in range(MAX_NAMED + 5):
        desk.create("switch", {"name": f"s{n}", "tenantDBID": 1, "physSwitchDBID": office})
    with pytest.raises(ModelError) as caught:
        desk.delete("physicalSwitch", office)
    assert (caught.value.code, caught.value.object_type) == (ErrorCode.DEPENDENT_OBJECTS, 11)
    assert str(caught.value).count("(physSwitchDBID)") == MAX_NAMED
    assert str(caught.value).endswith("and 5 more")
