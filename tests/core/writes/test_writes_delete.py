"""Deletions: what goes along, what is released, what prevents them."""

from __future__ import annotations

import msgspec
import pytest
from desk import Desk
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.changes import Action
from csproxy.core.model import SCHEMA
from csproxy.core.model.enumerations import CfgResourceType
from csproxy.core.model.links import RESOURCE_TARGETS, references
from csproxy.core.ownership import LinkKind, link_kind, owned_closure, without_link
from csproxy.core.rules import MAX_CHANGES
from csproxy.core.wellknown import PERMANENT
from csproxy.errors import ErrorCode, ModelError

SWITCH, DN = 1, 2

SWITCH, DN = 1, 2


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(desk: Desk, word: str, dbid: int) -> ModelError:
    position = desk.cache.position
    with pytest.raises(ModelError) as caught:
        desk.delete(word, dbid)
    assert desk.cache.position == position
    return caught.value


def test_a_deletion_carries_the_former_object(desk: Desk) -> None:
    skill = desk.skill("english")
    stored = desk.cache.get(13, skill)
    (change,) = desk.delete("skill", skill).changes
    payload = msgspec.msgpack.decode(change.payload)
    assert change.former == stored
    assert payload["former"] == msgspec.msgpack.decode(stored or b"")
    assert (payload["user"], payload["application"]) == ("jane", "sce")
    assert not desk.has("skill", skill)


def test_what_is_not_there_cannot_be_deleted(desk: Desk) -> None:
    assert refusal(desk, "skill", 5).code is ErrorCode.OBJECT_NOT_FOUND


def test_memberships_are_released_by_updates_before_the_deletion(desk: Desk) -> None:
    skill = desk.skill()
    person = desk.person("joe", agentInfo={"skillLevels": [{"skillDBID": skill, "level": 3}]})
    group = desk.group("g", person)
    desk.update("accessGroup", 95, {"memberIDs": {"added": [{"DBID": person, "type": 3}]}})
    plan = desk.delete("person", person)
    assert [(change.action, change.type, change.dbid) for change in plan.changes] == [
        (Action.UPDATED, 5, group),
        (Action.UPDATED, 21, 95),
        (Action.DELETED, 3, person),
    ]
    assert plan.changes[0].delta == {"agentDBIDs": {"deleted": [person]}}
    assert plan.changes[1].delta == {"memberIDs": {"deleted": [{"DBID": person, "type": 3}]}}


def test_a_deleted_skill_leaves_the_agents_that_had_it(desk: Desk) -> None:
    english, french = desk.skill("english"), desk.skill("french")
    levels = [{"skillDBID": english, "level": 3}, {"skillDBID": french, "level": 4}]
    person = desk.person("joe", agentInfo={"skillLevels": levels})
    desk.delete("skill", english)
    assert desk.get("person", person)["agentInfo"] == {"skillLevels": [{"skillDBID": french, "level": 4}]}


def test_one_holder_of_several_deleted_objects_changes_once(desk: Desk) -> None:
    switch = desk.switch()
    dns = [desk.dn(switch, str(n)) for n in range(3)]
    place = desk.create("place", {"name": "p", "tenantDBID": 1, "DNDBIDs": dns})
    plan = desk.delete("switch", switch)
    assert [change.dbid for change in plan.changes if change.action is Action.UPDATED] == [place]
    assert "DNDBIDs" not in desk.get("place", place)


def test_a_scalar_link_prevents_a_deletion_and_is_named(desk: Desk) -> None:
    place = desk.create("place", {"name": "p", "tenantDBID": 1})
    desk.person("joe", agentInfo={"placeDBID": place})
    error = refusal(desk, "place", place)
    assert error.code is ErrorCode.DEPENDENT_OBJECTS
    assert "person 101 'joe' (agentInfo.placeDBID)" in str(error)


def test_a_refusal_names_twenty_dependants_and_counts_the_rest(desk: Desk) -> None:
    place = desk.create("place", {"name": "p", "tenantDBID": 1})
    for n in range(23):
        desk.person(f"p{n}", agentInfo={"placeDBID": place})
    text = str(refusal(desk, "place", place))
    assert text.count("person") == 20
    assert text.endswith("and 3 more")


def test_a_switch_takes_its_dns_logins_and_folders_along(desk: Desk) -> None:
    switch = desk.switch()
    dn = desk.dn(switch, "1")
    login = desk.create("agentLogin", {"switchDBID": switch, "loginCode": "7"})
    person = desk.person("joe", agentInfo={"agentLogins": [{"agentLoginDBID": login}]})
    plan = desk.delete("switch", switch)
    order = [(change.type, change.dbid) for change in plan.changes]
    assert order[0] == (3, person)
    assert order[-1] == (1, switch)
    assert order.index((2, dn)) < order.index((22, 101))
    assert set(order) == {(3, person), (2, dn), (15, login), (22, 101), (22, 102), (1, switch)}


def test_a_dependant_from_outside_keeps_a_whole_container(desk: Desk) -> None:
    switch = desk.switch()
    dn = desk.dn(switch, "1")
    desk.create("treatment", {"name": "t", "tenantDBID": 1, "destDNDBID": dn})
    assert refusal(desk, "switch", switch).code is ErrorCode.DEPENDENT_OBJECTS
    assert desk.has("dn", dn)


def test_a_tenant_takes_everything_in_it_along(desk: Desk) -> None:
    counts = desk.cache.counts()
    tenant = desk.create("tenant", {"name": "North"})
    switch = desk.switch("north", tenant=tenant)
    desk.dn(switch, "1")
    person = desk.person("joe", tenantDBID=tenant)
    desk.create("agentGroup", {"groupInfo": {"name": "g", "tenantDBID": tenant}, "agentDBIDs": [person]})
    desk.create("application", {"name": "a", "appPrototypeDBID": 100, "tenantDBIDs": [1, tenant]})
    desk.delete("tenant", tenant)
    assert desk.get("application", 101)["tenantDBIDs"] == [1]
    desk.delete("application", 101)
    desk.delete("physicalSwitch", 101)
    assert desk.cache.counts() == counts


def test_a_tenant_with_tenants_below_it_stays(desk: Desk) -> None:
    north = desk.create("tenant", {"name": "North"})
    desk.create("tenant", {"name": "Arctic", "parentTenantDBID": north})
    assert refusal(desk, "tenant", north).code is ErrorCode.DEPENDENT_OBJECTS


def test_a_folder_takes_its_content_along(desk: Desk) -> None:
    folder = desk.create("folder", {"name": "Team"}, folder=3)
    inner = desk.create("folder", {"name": "Night"}, folder=folder)
    persons = [
        desk.create("person", {"userName": f"p{n}", "employeeID": f"p{n}"}, folder=where)
        for n, where in enumerate([folder, inner])
    ]
    plan = desk.delete("folder", folder)
    order = [(change.type, change.dbid) for change in plan.changes]
    assert order == [(3, persons[0]), (3, persons[1]), (22, inner), (22, folder)]


def test_a_default_folder_goes_only_with_its_owner(desk: Desk) -> None:
    assert refusal(desk, "folder", 3).code is ErrorCode.UNCHANGEABLE_INFO


@pytest.mark.parametrize(("number", "dbid"), sorted(PERMANENT))
def test_permanent_objects_cannot_be_deleted(desk: Desk, number: int, dbid: int) -> None:
    error = refusal(desk, SCHEMA.types[number].name, dbid)
    assert error.code is ErrorCode.UNCHANGEABLE_INFO
    assert "cannot be deleted" in str(error)


def test_a_person_takes_its_last_login_along_and_an_application_is_cleared_from_it(desk: Desk) -> None:
    person = desk.person("joe")
    application = desk.create("application", {"name": "a", "appPrototypeDBID": 100})
    record = desk.create("personLastLogin", {"personDBID": person, "applicationDBID": application})
    desk.delete("application", application)
    assert "applicationDBID" not in desk.get("personLastLogin", record)
    desk.delete("person", person)
    assert not desk.has("personLastLogin", record)


def test_too_many_owned_objects_are_refused(desk: Desk) -> None:
    switch = desk.switch()
    dns = [{"switchDBID": switch, "tenantDBID": 1, "number": str(n), "type": 1, "state": 1} for n in range(MAX_CHANGES)]
    desk.plant_many("dn", dns)
    assert refusal(desk, "switch", switch).code is ErrorCode.WRONG_API_PARAMETERS


def test_an_owner_with_very_many_referrers_is_refused_without_looking_at_all(desk: Desk) -> None:
    skills = [{"name": str(n), "tenantDBID": 1, "state": 1} for n in range(5 * MAX_CHANGES)]
    desk.plant_many("skill", skills)
    with pytest.raises(ModelError, match="tenant 1 'Environment' has too much that depends on it"):
        desk.update("tenant", 1, {"state": 2})


def test_too_many_memberships_are_refused(desk: Desk) -> None:
    skill = desk.skill()
    agents = [
        {
            "userName": f"u{n}",
            "employeeID": f"u{n}",
            "tenantDBID": 1,
            "agentInfo": {"skillLevels": [{"skillDBID": skill}]},
        }
        for n in range(MAX_CHANGES)
    ]
    desk.plant_many("person", agents)
    error = refusal(desk, "skill", skill)
    assert error.code is ErrorCode.WRONG_API_PARAMETERS
    assert "more than 1000 objects" in str(error)


def test_every_link_of_the_model_has_a_kind_and_can_be_released() -> None:
    """A synthetic object with each link in turn: what releasing leaves has no reference to the target."""
    from csproxy.core.indexes import link_paths

    seen = dict.fromkeys(LinkKind, 0)
    for kind in SCHEMA.types.values():
        for path, target in link_paths(kind):
            what = link_kind(kind, path)
            seen[what] += 1
            number = SCHEMA.object_type(target).number if target else 3
            if "resourceType" in path:
                number = SCHEMA.object_type(RESOURCE_TARGETS[CfgResourceType.CFGRTScript]).number
            obj = _with_link(dict(kind.attributes), path, number)
            assert any((r.target, r.dbid) == (number, 7) for r in references(kind, obj)), (kind, path, obj)
            if what is LinkKind.MEMBERSHIP:
                released = without_link(kind, obj, path, (number, 7))
                assert not any(r.dbid == 7 for r in references(kind, released))
                assert any(r.dbid == 8 for r in references(kind, released)) or path == "applicationDBID"
    assert min(seen.values()) > 10


def _with_link(attributes: dict[str, object], path: str, number: int) -> dict[str, object]:
    from csproxy.core.model import Attribute, AttributeKind

    prefix, _, pair = path.partition("(")
    step, _, rest = prefix.partition(".")
    if not step:
        dbid, kind = reversed(pair.rstrip(")").split(","))
        return {dbid: 7, kind: int(CfgResourceType.CFGRTScript) if kind == "resourceType" else number}
    attribute = attributes[step]
    assert isinstance(attribute, Attribute)
    if attribute.kind is AttributeKind.LINK:
        return {step: 7}
    if attribute.kind is AttributeKind.LINK_LIST:
        return {step: [7, 8]}
    inner = _with_link(dict(SCHEMA.structures[str(attribute.target)].attributes), rest + path[len(prefix) :], number)
    if attribute.kind is AttributeKind.STRUCT:
        return {step: inner}
    return {step: [inner, {name: 8 if value == 7 else value for name, value in inner.items()}]}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25), st.integers(1, 12))
def test_a_closure_lists_owned_objects_before_their_owners(edges: list[tuple[int, int]], limit: int) -> None:
    """Edges owner → owned as folder memberships, cycles included."""
    owned: dict[int, list[tuple[int, int]]] = {}
    for owner, part in edges:
        owned.setdefault(owner, []).append((22, part))
    reachable, todo = {0}, [0]
    while todo:
        for _, part in owned.get(todo.pop(), ()):
            if part not in reachable:
                reachable.add(part)
                todo.append(part)
    order = owned_closure(
        (22, 0), referrers=lambda number, dbid: [], members=lambda dbid: owned.get(dbid, []), limit=limit
    )
    if len(reachable) > limit:
        assert len(order) > limit
        return
    assert sorted(order) == sorted((22, dbid) for dbid in reachable)
    assert order[-1] == (22, 0)
    acyclic = all(owner < part for owner, part in edges)
    if acyclic:
        place = {id: n for n, id in enumerate(order)}
        assert all(place[(22, part)] < place[(22, owner)] for owner, part in edges if owner in reachable)


def test_lists_go_with_their_objects_and_count_as_changes_of_the_transaction() -> None:
    desk = Desk()
    switch = desk.switch()
    desk.plant_many("dn", [{"switchDBID": switch, "number": str(n), "type": 1} for n in range(600)])
    dns = list(desk.cache.dbids(DN))
    for dbid in dns[:3]:
        desk.give((DN, dbid), ())
    assert [each.type for each in desk.planner.delete(SWITCH, switch).changes][:3] == [1000 + DN] * 3
    for dbid in dns[3:]:
        desk.give((DN, dbid), ())
    with pytest.raises(ModelError, match="1203 changes with the access control lists that go along, more than 1000"):
        desk.planner.delete(SWITCH, switch)
