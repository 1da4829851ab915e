"""Planning on what is not in the cache yet comes to the same as planning one transaction after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from desk import NOW_MS, Desk
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.overlay import Overlay, StateBefore, may_be_followed
from csproxy.core.writes import Plan, WritePlanner
from csproxy.errors import ModelError

PERSON, AGENT_GROUP, SKILL, APPLICATION, ACCESS_GROUP, FOLDER = 3, 5, 13, 9, 21, 22
NAMES = ["a", "b", "c", "d"]


def desk() -> Desk:
    """Three skills, three agents that have some of them, and a group of the agents."""
    made = Desk()
    skills = [made.create("skill", {"name": name, "tenantDBID": 1}) for name in NAMES[:3]]
    agents = [
        made.create(
            "person",
            {
                "tenantDBID": 1,
                "userName": name,
                "employeeID": name,
                "isAgent": 2,
                "agentInfo": {"skillLevels": [{"skillDBID": skill, "level": 1}]},
            },
        )
        for name, skill in zip(NAMES, skills, strict=False)
    ]
    made.create("agentGroup", {"groupInfo": {"tenantDBID": 1, "name": "g"}, "agentDBIDs": agents})
    return made


def person_dbids(made: Desk) -> list[int]:
    return [dbid for dbid in made.cache.dbids(PERSON) if dbid > 100]


Request = Callable[[WritePlanner], Plan]
place = st.integers(0, 2)
name = st.sampled_from(NAMES)


def update(number: int, first: int) -> Any:
    def request(which: int, delta: Mapping[str, Any]) -> Request:
        return lambda planner: planner.update(number, first + which, delta)

    return request


def skill_levels(skill: int, action: str) -> Mapping[str, Any]:
    if action == "added":
        return {"agentInfo": {"skillLevels": {"added": [{"skillDBID": 101 + skill, "level": 2}]}}}
    return {"agentInfo": {"skillLevels": {"deleted": [{"skillDBID": 101 + skill}]}}}


requests = st.one_of(
    st.builds(update(SKILL, 101), place, st.builds(lambda text: {"name": text}, name)),
    st.builds(update(PERSON, 101), place, st.builds(lambda text: {"userName": text}, name)),
    st.builds(update(PERSON, 101), place, st.builds(lambda text: {"emailAddress": text}, name)),
    st.builds(update(PERSON, 101), place, st.builds(skill_levels, place, st.sampled_from(["added", "deleted"]))),
    st.builds(lambda which: lambda planner: planner.delete(SKILL, 101 + which), place),
    st.builds(lambda which: lambda planner: planner.delete(PERSON, 101 + which), place),
    st.builds(lambda text: lambda planner: planner.create(SKILL, {"name": text, "tenantDBID": 1}), name),
)


def planned(made: Desk, request: Request, overlay: Overlay | None = None) -> Plan | str:
    planner = WritePlanner(
        made.cache, counters=made.counters, user="jane", application="sce", time_ms=NOW_MS, overlay=overlay
    )
    try:
        return request(planner)
    except ModelError as e:
        return str(e)


def in_any_order(plan: Plan) -> Plan:
    """The plan with what goes along with the requested change in an order of its own: those do not depend on it."""
    *along, last = plan.changes
    return plan._replace(changes=(*sorted(along, key=lambda change: (change.type, change.dbid)), last))


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, max_size=12))
def test_a_group_of_transactions_is_planned_as_if_each_were_published(asked: list[Request]) -> None:
    one_by_one, together = desk(), desk()
    waiting: list[Plan] = []
    overlay = Overlay()
    for request in asked:
        expected = planned(one_by_one, request)
        found = planned(together, request, overlay)
        if isinstance(found, str) or isinstance(expected, str):
            assert found == expected
            continue
        assert in_any_order(found) == in_any_order(expected)
        one_by_one.apply(expected)
        waiting.append(found)
        if may_be_followed(found):
            overlay.add(found)
            continue
        for plan in waiting:
            together.apply(plan)
        waiting, overlay = [], Overlay()


def test_the_state_before_is_the_cache_with_the_overlay() -> None:
    made, overlay = desk(), Overlay()
    first, second, _ = person_dbids(made)
    plan = made.planner.update(PERSON, first, {"emailAddress": "new"})
    assert (PERSON, first) not in overlay
    overlay.add(plan)
    before = StateBefore(made.cache, overlay)
    assert list(overlay) == [(PERSON, first)]
    assert before.get(PERSON, first) == plan.changes[0].stored != made.cache.get(PERSON, first)
    assert before.get(PERSON, second) == made.cache.get(PERSON, second)
    assert before.folder_of(PERSON, first) == made.folder_of("person", first)


@pytest.mark.parametrize(
    "request_",
    [
        lambda planner: planner.update(PERSON, 101, {"state": 2}),
        lambda planner: planner.update(PERSON, 101, {"password": "new"}),
        lambda planner: planner.update(APPLICATION, 100, {"version": "9"}),
        lambda planner: planner.update(ACCESS_GROUP, 97, {"groupInfo": {"contractDBID": 0}}),
        lambda planner: planner.update(SKILL, 101, {"name": "z"}),
        lambda planner: planner.delete(AGENT_GROUP, 101),
        lambda planner: planner.create(SKILL, {"name": "z", "tenantDBID": 1}),
    ],
    ids=["state", "password", "application", "access group", "skill", "deletion", "creation"],
)
def test_only_plain_updates_may_be_followed(request_: Request, request: pytest.FixtureRequest) -> None:
    assert may_be_followed(request_(desk().planner)) is (request.node.callspec.id == "skill")


def test_keys_links_and_values_of_changed_objects_are_those_of_the_overlay() -> None:
    made, overlay = desk(), Overlay()
    first, second, third = person_dbids(made)

    def update(dbid: int, delta: Mapping[str, Any]) -> Plan | str:
        return planned(made, lambda planner: planner.update(PERSON, dbid, delta), overlay)

    levels = {"agentInfo": {"skillLevels": {"deleted": [{"skillDBID": 101}]}}}
    for delta in ({"userName": "x"}, {"userName": "y"}, levels):
        plan = update(first, delta)
        assert isinstance(plan, Plan)
        overlay.add(plan)
    assert isinstance(update(second, {"userName": "y"}), str)
    for dbid, name in ((third, "x"), (third, "a"), (first, "y")):
        assert isinstance(update(dbid, {"userName": name}), Plan)
    gone = planned(made, lambda planner: planner.delete(SKILL, 101), overlay)
    assert isinstance(gone, Plan)
    assert [change.dbid for change in gone.changes] == [101]  # nobody has the skill any more
