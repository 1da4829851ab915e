"""Transactions: several changes that see each other, carried out together or not at all."""

from __future__ import annotations

from typing import Any

import pytest
from desk import Desk, change_of

from csproxy.core.changes import Action, Position
from csproxy.core.model import SCHEMA
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.core.writes import Plan
from csproxy.errors import ErrorCode, ModelError


@pytest.fixture
def desk() -> Desk:
    return Desk()


def create(word: str, obj: dict[str, Any], *, folder: int = 0) -> RequestedChange:
    return RequestedChange(message=Verb.CREATE, type=SCHEMA.object_type(word).number, object=obj, folder=folder)


def update(word: str, dbid: int, delta: dict[str, Any]) -> RequestedChange:
    return RequestedChange(message=Verb.UPDATE, type=SCHEMA.object_type(word).number, dbid=dbid, delta=delta)


def delete(word: str, dbid: int) -> RequestedChange:
    return RequestedChange(message=Verb.DELETE, type=SCHEMA.object_type(word).number, dbid=dbid)


def skill(name: str, dbid: int = 0) -> RequestedChange:
    return create("skill", {"name": name, "tenantDBID": 1, **({"DBID": dbid} if dbid else {})})


def person(name: str, **more: Any) -> RequestedChange:
    return create("person", {"userName": name, "employeeID": name, "tenantDBID": 1, **more})


def apply(desk: Desk, *changes: RequestedChange) -> Plan:
    plan = desk.planner.transaction(changes)
    final = {(change.type, change.dbid): change for change in plan.changes}
    first = desk.cache.position.uen + 1
    desk.cache.apply([change_of(change, Position(1, first + n)) for n, change in enumerate(plan.changes)])
    for (number, dbid), change in final.items():
        assert desk.cache.get(number, dbid) == change.stored
    desk.counters.update(plan.counters)
    return plan


def refused(desk: Desk, *changes: RequestedChange) -> ModelError:
    before = dict(desk.counters), desk.cache.counts()
    with pytest.raises(ModelError) as caught:
        apply(desk, *changes)
    assert (desk.counters, desk.cache.counts()) == before
    return caught.value


def test_new_objects_refer_to_each_other_by_the_numbers_they_were_given(desk: Desk) -> None:
    plan = apply(
        desk,
        create("physicalSwitch", {"DBID": -1, "name": "office", "type": 3}),
        create("switch", {"DBID": -1, "name": "east", "tenantDBID": 1, "physSwitchDBID": -1}),
        create("dn", {"DBID": -5, "switchDBID": -1, "number": "1", "type": 1}),
        create("place", {"DBID": -9, "name": "p", "tenantDBID": 1, "DNDBIDs": [-5]}),
        skill("english", -1),
        person("joe", DBID=-2, agentInfo={"placeDBID": -9, "skillLevels": [{"skillDBID": -1, "level": 3}]}),
        create("agentGroup", {"groupInfo": {"name": "g", "tenantDBID": 1}, "agentDBIDs": [-2]}),
        create("accessGroup", {"groupInfo": {"name": "a", "tenantDBID": 1}, "memberIDs": [{"DBID": -2, "type": 3}]}),
    )
    answers = [plan.changes[place] for place in plan.answers]
    assert [answer.type for answer in answers] == [11, 1, 2, 4, 13, 3, 5, 21]
    assert all(answer.action is Action.CREATED and answer.dbid > 0 for answer in answers)
    joe = answers[5].dbid
    assert desk.get("person", joe)["agentInfo"] == {
        "placeDBID": answers[3].dbid,
        "skillLevels": [{"skillDBID": answers[4].dbid, "level": 3}],
    }
    assert desk.get("agentGroup", answers[6].dbid)["agentDBIDs"] == [joe]
    assert desk.get("accessGroup", answers[7].dbid)["memberIDs"] == [{"DBID": joe, "type": 3}]
    assert desk.get("dn", answers[2].dbid)["switchDBID"] == answers[1].dbid


def test_folders_and_dbids_of_later_changes_may_be_such_numbers(desk: Desk) -> None:
    plan = apply(
        desk,
        create("folder", {"DBID": -1, "name": "Team"}, folder=3),
        create("folder", {"DBID": -2, "name": "Sub", "parentID": {"DBID": -1, "type": 22}}),
        RequestedChange(
            message=7, type=3, object={"DBID": -1, "userName": "joe", "employeeID": "1", "tenantDBID": 1}, folder=-2
        ),
        skill("english", -1),
        update("person", -1, {"firstName": "Joe"}),
        update("folder", -1, {"objectIDs": {"added": [{"DBID": -1, "type": 3}]}}),
        update("folder", -2, {"parentID": {"DBID": 3}}),
        delete("skill", -1),
    )
    team, sub, joe, english = (plan.changes[place].dbid for place in plan.answers[:4])
    assert desk.folder_of("person", joe) == team
    assert (desk.folder_of("folder", team), desk.folder_of("folder", sub)) == (3, 3)
    assert desk.get("person", joe)["firstName"] == "Joe"
    assert not desk.has("skill", english)


def test_links_in_a_delta_are_resolved_too(desk: Desk) -> None:
    joe = desk.person("joe", agentInfo={})
    group = desk.group("g")
    plan = apply(
        desk,
        skill("a", -1),
        person("jim", DBID=-1),
        update("person", joe, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": -1, "level": 2}]}}}),
        update("agentGroup", group, {"agentDBIDs": {"added": [-1, joe]}, "groupInfo": {"name": "h"}}),
    )
    english, jim = (plan.changes[place].dbid for place in plan.answers[:2])
    assert desk.get("person", joe)["agentInfo"]["skillLevels"] == [{"skillDBID": english, "level": 2}]
    assert desk.get("agentGroup", group)["agentDBIDs"] == [joe, jim]


def test_a_pair_whose_type_is_the_stored_one_needs_no_type_in_a_delta(desk: Desk) -> None:
    office = desk.create("physicalSwitch", {"name": "o", "type": 3})
    campaign = desk.create("campaign", {"name": "c", "tenantDBID": 1})
    group = desk.group("g")
    assert office
    made = desk.create(
        "campaignGroup",
        {
            "name": "cg",
            "campaignDBID": campaign,
            "groupDBID": group,
            "groupType": 5,
            **{"dialMode": 1, "operationMode": 1, "optMethod": 1, "numOfChannels": 1},
            **{"minRecBuffSize": 1, "optRecBuffSize": 1},
        },
    )
    plan = apply(
        desk,
        create("agentGroup", {"DBID": -3, "groupInfo": {"name": "h", "tenantDBID": 1}}),
        update("campaignGroup", made, {"groupDBID": -3}),
    )
    assert desk.get("campaignGroup", made)["groupDBID"] == plan.changes[plan.answers[0]].dbid


def test_resources_name_the_type_in_their_own_way(desk: Desk) -> None:
    script = create("script", {"DBID": -4, "name": "s", "tenantDBID": 1, "type": 1})
    host = {"name": "h", "type": 1, "LCAPort": "4999", "OSinfo": {"OStype": 16}}
    plan = apply(desk, script, create("host", {**host, "resources": [{"resourceType": 19, "objectDBID": -4}]}))
    made = desk.get("host", plan.changes[1].dbid)
    assert made["resources"] == [{"resourceType": 19, "objectDBID": plan.changes[0].dbid}]
    unknown = {**host, "name": "i", "resources": [{"resourceType": 1, "objectDBID": -4}]}
    assert refused(desk, create("host", unknown)).code is ErrorCode.INCORRECT_REFERENCES


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ([skill("a"), skill("a")], ErrorCode.UNIQUENESS_VIOLATION, "change 1: skill 101 'a' has the same key"),
        ([skill("a", -1), skill("b", -1)], ErrorCode.WRONG_API_PARAMETERS, "change 1: two new skills"),
        ([skill("a"), update("skill", -1, {"name": "b"})], ErrorCode.INCORRECT_REFERENCES, "change 1: dbid refers"),
        (
            [person("joe", agentInfo={"skillLevels": [{"skillDBID": -1}]}), skill("a", -1)],
            ErrorCode.INCORRECT_REFERENCES,
            "change 0: agentInfo.skillLevels.skillDBID refers to skill -1, which no earlier change",
        ),
        (
            [create("accessGroup", {"groupInfo": {"name": "a"}, "memberIDs": [{"DBID": -2, "type": 99}]})],
            ErrorCode.INCORRECT_REFERENCES,
            "object -2 of type 99",
        ),
        ([skill("a"), RequestedChange(message=10, type=13)], ErrorCode.WRONG_API_PARAMETERS, "message 10 is no change"),
        ([RequestedChange(message=7, type=99)], ErrorCode.UNSUPPORTED_OBJECT, "change 0"),
        ([skill("a"), update("skill", 101, {})], ErrorCode.UNSPECIFIED_MODIFICATION, "change 1"),
        ([skill("a", -1), delete("skill", -1), delete("skill", -1)], ErrorCode.OBJECT_NOT_FOUND, "change 2"),
        (
            [skill(f"s{n}") for n in range(1001)],
            ErrorCode.WRONG_API_PARAMETERS,
            "change 1000: the transaction has more",
        ),
        ([], ErrorCode.WRONG_API_PARAMETERS, "at least one change"),
    ],
)
def test_one_refused_change_refuses_all_and_is_named(
    desk: Desk, changes: list[RequestedChange], code: ErrorCode, words: str
) -> None:
    error = refused(desk, *changes)
    assert error.code is code
    assert words in str(error)


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ([skill("a", -1), create("skill", {"colour": -1})], ErrorCode.UNSUPPORTED_PROPERTY, "colour"),
        (
            [create("campaignGroup", {"groupDBID": -1, "groupType": "agents"})],
            ErrorCode.INCORRECT_REFERENCES,
            "groupDBID",
        ),
        ([create("agentGroup", {"agentDBIDs": -1})], ErrorCode.VALUE_OUT_OF_RANGE, "agentDBIDs"),
        ([create("agentGroup", {"agentDBIDs": ["joe"]})], ErrorCode.VALUE_OUT_OF_RANGE, "agentDBIDs"),
        (
            [create("person", {"agentInfo": {"skillLevels": [5]}})],
            ErrorCode.VALUE_OUT_OF_RANGE,
            "agentInfo.skillLevels",
        ),
        ([create("host", {"resources": [{"objectDBID": -4}]})], ErrorCode.INCORRECT_REFERENCES, "resources.objectDBID"),
        ([person("joe", agentInfo=-1)], ErrorCode.VALUE_OUT_OF_RANGE, "agentInfo"),
        ([create("skill", {"DBID": "x", "name": "a", "tenantDBID": 1})], ErrorCode.VALUE_OUT_OF_RANGE, "DBID"),
    ],
)
def test_what_is_no_object_is_refused_as_it_would_be_alone(
    desk: Desk, changes: list[RequestedChange], code: ErrorCode, path: str
) -> None:
    error = refused(desk, *changes)
    assert (error.code, error.property_name) == (code, path), error


def test_negative_numbers_that_are_no_references_stay(desk: Desk) -> None:
    plan = apply(
        desk,
        create("statDay", {"DBID": -1, "name": "d", "tenantDBID": 1, "isDayOfWeek": 1, "day": 1, "minValue": -5}),
        update("statDay", -1, {"maxValue": -7}),
    )
    made = desk.get("statDay", plan.changes[0].dbid)
    assert (made["minValue"], made["maxValue"]) == (-5, -7)


def test_default_folders_count_towards_the_limit(desk: Desk) -> None:
    each = len(apply(desk, create("tenant", {"name": "t"})).changes)
    assert each > 20
    most = 1000 // each
    assert "more than 1000" in str(refused(desk, *(create("tenant", {"name": f"n{n}"}) for n in range(most + 1))))
    apply(desk, *(create("tenant", {"name": f"n{n}"}) for n in range(most)))


def test_objects_of_a_tenant_created_before_go_into_its_new_default_folders(desk: Desk) -> None:
    plan = apply(
        desk,
        create("tenant", {"DBID": -1, "name": "North"}),
        create("skill", {"name": "a", "tenantDBID": -1}),
        create("folder", {"DBID": -1, "name": "Team", "type": 3, "ownerID": {"DBID": -1, "type": 7}}),
        create("person", {"userName": "x", "employeeID": "x", "tenantDBID": -1}, folder=-1),
    )
    north, english, team, joe = (plan.changes[place].dbid for place in plan.answers)
    assert desk.cache.path_of(13, english) == ["Skills"]
    assert desk.cache.path_of(3, joe) == ["Persons", "Team"]
    assert desk.get("folder", team)["ownerID"] == {"DBID": north, "type": 7}


def test_a_name_is_free_again_when_its_object_was_renamed_or_deleted_before(desk: Desk) -> None:
    old, other = desk.skill("old"), desk.skill("other")
    apply(desk, update("skill", old, {"name": "older"}), skill("old"), delete("skill", other), skill("other"))
    names = sorted(desk.get("skill", dbid)["name"] for dbid in desk.cache.dbids(13))
    assert names == ["old", "older", "other"]


def test_two_objects_can_exchange_their_names_by_way_of_a_third(desk: Desk) -> None:
    a, b = desk.skill("a"), desk.skill("b")
    apply(desk, update("skill", a, {"name": "c"}), update("skill", b, {"name": "a"}), update("skill", a, {"name": "b"}))
    assert (desk.get("skill", a)["name"], desk.get("skill", b)["name"]) == ("b", "a")


def test_a_deletion_sees_the_links_made_and_removed_before(desk: Desk) -> None:
    english, french = desk.skill("english"), desk.skill("french")
    joe = desk.person("joe", agentInfo={"skillLevels": [{"skillDBID": english, "level": 1}]})
    plan = apply(
        desk,
        update("person", joe, {"agentInfo": {"skillLevels": {"added": [{"skillDBID": french, "level": 2}]}}}),
        delete("skill", french),
        update("person", joe, {"agentInfo": {"skillLevels": {"deleted": [{"skillDBID": english}]}}}),
        delete("skill", english),
    )
    assert [(change.action, change.type) for change in plan.changes] == [
        (Action.UPDATED, 3),
        (Action.UPDATED, 3),
        (Action.DELETED, 13),
        (Action.UPDATED, 3),
        (Action.DELETED, 13),
    ]
    assert desk.get("person", joe)["agentInfo"] == {}


def test_a_new_link_protects_its_target_and_one_that_goes_no_longer_does(desk: Desk) -> None:
    office = desk.create("physicalSwitch", {"name": "o", "type": 3})
    switch = create("switch", {"DBID": -1, "name": "s", "tenantDBID": 1, "physSwitchDBID": office})
    error = refused(desk, switch, delete("physicalSwitch", office))
    assert error.code is ErrorCode.DEPENDENT_OBJECTS
    assert "change 1: " in str(error)
    assert "switch 101 's' (physSwitchDBID)" in str(error)
    plan = apply(desk, switch, delete("switch", -1), delete("physicalSwitch", office))
    assert not desk.has("physicalSwitch", office)
    assert plan.changes[-1].former is not None


def test_a_folder_takes_along_what_was_put_into_it_before(desk: Desk) -> None:
    team = desk.create("folder", {"name": "Team"}, folder=3)
    joe, jim = desk.person("joe"), desk.create("person", {"userName": "jim", "employeeID": "2"}, folder=team)
    apply(
        desk,
        update("folder", 3, {"objectIDs": {"added": [{"DBID": jim, "type": 3}]}}),
        update("folder", team, {"objectIDs": {"added": [{"DBID": joe, "type": 3}]}}),
        delete("folder", team),
    )
    assert desk.has("person", jim)
    assert not desk.has("person", joe)


def test_a_state_reaches_what_was_created_before_it(desk: Desk) -> None:
    switch = desk.switch()
    plan = apply(
        desk,
        create("dn", {"switchDBID": switch, "number": "1", "type": 1}),
        update("switch", switch, {"state": 2}),
    )
    assert desk.get("dn", plan.changes[0].dbid)["state"] == 2


def test_passwords_belong_to_the_objects_that_are_there_in_the_end(desk: Desk) -> None:
    plan = apply(
        desk,
        person("a", DBID=-1, password="one"),
        person("b", DBID=-2, password="two"),
        update("person", -2, {"password": "three"}),
        delete("person", -1),
    )
    assert dict(plan.passwords) == {(3, plan.changes[1].dbid): "three"}
    assert all(b"three" not in change.payload for change in plan.changes)
