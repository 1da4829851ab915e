"""A transaction comes to what its changes come to one by one, or is refused where the first of them would be."""

from __future__ import annotations

from collections import Counter
from typing import Any

from desk import Desk, change_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.core.writes import Plan
from csproxy.errors import ModelError

NAMES = st.sampled_from("abcd")
DBIDS = st.integers(99, 106)
SKILLS = st.lists(
    st.fixed_dictionaries({"skillDBID": DBIDS, "level": st.integers(0, 3)}),
    max_size=2,
    unique_by=lambda item: item["skillDBID"],
)


def _create(number: int, obj: dict[str, Any], folder: int = 0) -> RequestedChange:
    return RequestedChange(message=Verb.CREATE, type=number, object=obj, folder=folder)


def _update(number: int, dbid: int, delta: dict[str, Any]) -> RequestedChange:
    return RequestedChange(message=Verb.UPDATE, type=number, dbid=dbid, delta=delta)


def _person(name: str, skills: list[dict[str, int]], tenant: int, folder: int) -> RequestedChange:
    obj = {"userName": name, "employeeID": name, "tenantDBID": tenant, "agentInfo": {"skillLevels": skills}}
    return _create(3, obj, folder)


def _member(group: int, person: int, part: str) -> RequestedChange:
    return _update(5, group, {"agentDBIDs": {part: [person]}})


CHANGES = st.one_of(
    st.builds(lambda n, t: _create(13, {"name": n, "tenantDBID": t}), NAMES, st.sampled_from([1, 1, 101])),
    st.builds(lambda n: _create(7, {"name": n}), NAMES),
    st.builds(lambda n: _create(11, {"name": n, "type": 3}), NAMES),
    st.builds(lambda n, o: _create(1, {"name": n, "tenantDBID": 1, "physSwitchDBID": o}), NAMES, DBIDS),
    st.builds(lambda n, s: _create(2, {"number": n, "switchDBID": s, "type": 1}), NAMES, DBIDS),
    st.builds(_person, NAMES, SKILLS, st.sampled_from([1, 1, 101]), st.sampled_from([0, 0, 3, 101, 102])),
    st.builds(
        lambda n, p: _create(5, {"groupInfo": {"name": n, "tenantDBID": 1}, "agentDBIDs": p}),
        NAMES,
        st.lists(DBIDS, max_size=3, unique=True),
    ),
    st.builds(lambda n, f: _create(22, {"name": n}, f), NAMES, st.sampled_from([3, 13, 101, 102])),
    st.builds(
        lambda t, d, s: _update(t, d, {"state": s}), st.sampled_from([1, 3, 7, 13, 22]), DBIDS, st.sampled_from([1, 2])
    ),
    st.builds(lambda d, n: _update(3, d, {"userName": n, "employeeID": n}), DBIDS, NAMES),
    st.builds(lambda d, n: _update(13, d, {"name": n}), DBIDS, NAMES),
    st.builds(lambda d, s: _update(3, d, {"agentInfo": {"skillLevels": {"added": s}}}), DBIDS, SKILLS),
    st.builds(_member, DBIDS, DBIDS, st.sampled_from(["added", "deleted"])),
    st.builds(lambda d, o: _update(22, d, {"objectIDs": {"added": [{"DBID": o, "type": 3}]}}), DBIDS, DBIDS),
    st.builds(lambda d, p: _update(22, d, {"parentID": {"DBID": p}}), DBIDS, DBIDS),
    st.builds(
        lambda t, d: RequestedChange(message=Verb.DELETE, type=t, dbid=d),
        st.sampled_from([1, 2, 3, 5, 7, 11, 13, 22]),
        DBIDS,
    ),
)


def apply(desk: Desk, plan: Plan) -> None:
    first = desk.cache.position.uen + 1
    desk.cache.apply([change_of(change, Position(1, first + n)) for n, change in enumerate(plan.changes)])
    desk.counters.update(plan.counters)


def planned(desk: Desk, changes: list[RequestedChange]) -> Plan | ModelError:
    try:
        return desk.planner.transaction(changes)
    except ModelError as e:
        return e


def state(desk: Desk) -> Any:
    return dict(desk.counters), {number: desk.cache.digest(number) for number in SCHEMA.types}


def announced(plan: Plan) -> list[Any]:
    return [(change.action, change.type, change.dbid, change.payload) for change in plan.changes]


def test_a_transaction_is_its_changes_one_after_the_other() -> None:
    outcomes = Counter[str]()

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHANGES, max_size=6), st.lists(CHANGES, min_size=2, max_size=8))
    def check(before: list[RequestedChange], changes: list[RequestedChange]) -> None:
        single, whole = Desk(), Desk()
        for change in before:
            plan = planned(single, [change])
            if isinstance(plan, Plan):
                apply(single, plan)
                apply(whole, plan)
        accepted: list[RequestedChange] = []
        steps: list[Any] = []
        for change in changes:
            plan = planned(single, [change])
            if isinstance(plan, ModelError):
                outcomes["refused"] += 1
                start = state(whole)
                error = planned(whole, [*accepted, change])
                assert isinstance(error, ModelError), f"accepted after {accepted}: {change}; alone: {plan}"
                assert (error.code, error.object_type) == (plan.code, plan.object_type)
                assert str(error) == f"change {len(accepted)}: {str(plan).removeprefix('change 0: ')}"
                assert state(whole) == start
                continue
            apply(single, plan)
            steps += announced(plan)
            accepted.append(change)
        if not accepted:
            return
        outcomes["accepted"] += len(accepted)
        plan = whole.planner.transaction(accepted)
        assert sorted(announced(plan)) == sorted(steps)  # the order of released memberships is free
        apply(whole, plan)
        assert state(whole) == state(single)

    check()
    assert min(outcomes["accepted"], outcomes["refused"]) > 200, outcomes


INNER = sorted({name for structure in SCHEMA.structures.values() for name in structure.attributes})
SCALARS = st.none() | st.booleans() | st.integers(-5, 200) | st.integers() | st.floats() | st.text(max_size=3)
HOSTILE: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*INNER, "added", "changed", "deleted"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def hostile_content(number: int) -> st.SearchStrategy[tuple[int, dict[str, Any]]]:
    names = sorted(SCHEMA.types[number].attributes)
    return st.tuples(st.just(number), st.dictionaries(st.sampled_from(names), HOSTILE, max_size=4))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([7, 8, 8, 9]),
    st.sampled_from(sorted(SCHEMA.types)).flatmap(hostile_content),
    st.sampled_from([1, 3, 97, 99, 100, -1, 5000]),
    st.integers(-3, 110),
)
def test_whatever_a_change_holds_it_is_planned_or_refused(
    message: int, typed: tuple[int, dict[str, Any]], dbid: int, folder: int
) -> None:
    desk, (number, content) = Desk(), typed
    change = RequestedChange(message=message, type=number, dbid=dbid, object=content, delta=content, folder=folder)
    planned(desk, [_create(13, {"DBID": -1, "name": "a", "tenantDBID": 1}), change])
