"""Permission to change: what a write needs, for itself and for everything that it takes along."""

from __future__ import annotations

from typing import Any

import pytest
from desk import Desk, change_of
from hypothesis import given, settings
from hypothesis import strategies as st

from csproxy.core.authority import Authority
from csproxy.core.changes import Position
from csproxy.core.draft import Step
from csproxy.core.history import HistorySettings, history_batch
from csproxy.core.model.enumerations import CfgAppType
from csproxy.core.permissions import Permission, mask_of
from csproxy.core.security_records import Acl, AclEntry
from csproxy.core.sessions import SYSTEM_ACCOUNT, Session
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.core.writes import Plan, WritePlanner
from csproxy.errors import ErrorCode, ModelError

SWITCH, DN, PERSON, AGENT_GROUP, TENANT, SKILL, ACCESS_GROUP, FOLDER = 1, 2, 3, 5, 7, 13, 21, 22
ENVIRONMENT = (TENANT, 1)
PHYSICAL_SWITCH = 11
REFUSALS = (ErrorCode.NO_PERMISSION, ErrorCode.OBJECT_NOT_FOUND, ErrorCode.INCORRECT_REFERENCES)
READ, CREATE, CHANGE, DELETE = Permission.READ, Permission.CREATE, Permission.CHANGE, Permission.DELETE


class GuardedDesk(Desk):
    """A desk at which ``ada``, who belongs to no group, plans; she may do what the test grants."""

    def __init__(self) -> None:
        super().__init__()
        self.ada = self.person("ada")

    def grant(self, id: tuple[int, int], mask: int) -> None:
        self.give(id, (AclEntry(PERSON, self.ada, int(mask)),))

    @property
    def guarded(self) -> WritePlanner:
        authority = Authority(self.cache, (PERSON, self.ada))
        return WritePlanner(self.cache, counters=self.counters, authority=authority)


@pytest.fixture
def desk() -> GuardedDesk:
    return GuardedDesk()


def forbidden(call: Any, *arguments: Any, code: ErrorCode | None = None, **options: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        call(*arguments, **options)
    assert caught.value.code in ((code,) if code else REFUSALS)
    return caught.value


def test_nothing_can_be_changed_without_a_grant(desk: GuardedDesk) -> None:
    skill = desk.skill()
    forbidden(desk.guarded.create, SKILL, {"name": "german", "tenantDBID": 1})
    forbidden(desk.guarded.update, SKILL, skill, {"name": "x"})
    error = forbidden(desk.guarded.delete, SKILL, skill)
    assert error.object_type == SKILL


def test_a_creation_needs_create_on_its_folder(desk: GuardedDesk) -> None:
    desk.grant((FOLDER, SKILL), CREATE)
    desk.guarded.create(SKILL, {"name": "german", "tenantDBID": 1})
    error = forbidden(desk.guarded.create, PERSON, {"userName": "b", "employeeID": "b", "tenantDBID": 1})
    assert "create objects in" in str(error)


def test_a_folder_at_the_top_needs_create_on_its_owner(desk: GuardedDesk) -> None:
    forbidden(desk.guarded.create, FOLDER, {"name": "mine"})
    desk.grant(ENVIRONMENT, CREATE)
    desk.guarded.create(FOLDER, {"name": "mine"})


def test_what_may_not_be_read_is_not_named(desk: GuardedDesk) -> None:
    skill = desk.skill("secret plan")
    desk.grant((SKILL, skill), CREATE)
    assert str(forbidden(desk.guarded.delete, SKILL, skill)) == f"there is no skill {skill}"
    assert str(forbidden(desk.guarded.delete, SKILL, 999)) == "there is no skill 999"
    desk.grant((SKILL, skill), READ)
    error = forbidden(desk.guarded.delete, SKILL, skill)
    assert error.code is ErrorCode.NO_PERMISSION
    assert "secret plan" in str(error)


def test_what_goes_along_and_may_not_be_read_is_not_named(desk: GuardedDesk) -> None:
    switch = desk.switch()
    desk.dn(switch, "7001")
    desk.grant((SWITCH, switch), READ | DELETE | Permission.NO_PROPAGATION)
    error = forbidden(desk.guarded.delete, SWITCH, switch)
    assert error.code is ErrorCode.NO_PERMISSION
    assert "7001" not in str(error)
    assert "that may not be read" in str(error)


def test_permission_comes_before_every_other_rule(desk: GuardedDesk) -> None:
    """Whether a name is taken is nothing to tell somebody who may not change the object."""
    desk.skill("english")
    german = desk.skill("german")
    forbidden(desk.guarded.update, SKILL, german, {"name": "english"})
    forbidden(desk.guarded.update, SKILL, german, {})
    forbidden(desk.guarded.delete, FOLDER, SKILL)


def test_a_change_of_state_needs_change_on_all_that_it_reaches(desk: GuardedDesk) -> None:
    switch = desk.switch()
    dn = desk.dn(switch, "7001")
    desk.grant((SWITCH, switch), CHANGE | Permission.NO_PROPAGATION)
    forbidden(desk.guarded.update, SWITCH, switch, {"state": 2})
    desk.guarded.update(SWITCH, switch, {"name": "west"})
    desk.grant((SWITCH, switch), CHANGE)
    assert (DN, dn) in {(each.type, each.dbid) for each in desk.guarded.update(SWITCH, switch, {"state": 2}).changes}


def test_dependants_that_may_not_be_read_are_not_named_nor_counted(desk: GuardedDesk) -> None:
    switch = desk.switch("east")
    office = desk.get("switch", switch)["physSwitchDBID"]
    desk.grant((PHYSICAL_SWITCH, office), READ | DELETE)
    desk.give((SWITCH, switch), ())
    error = forbidden(desk.guarded.delete, PHYSICAL_SWITCH, office, code=ErrorCode.DEPENDENT_OBJECTS)
    assert str(error).endswith("it is referred to by objects that may not be read")
    desk.grant((SWITCH, switch), READ)
    error = forbidden(desk.guarded.delete, PHYSICAL_SWITCH, office, code=ErrorCode.DEPENDENT_OBJECTS)
    assert "switch" in str(error)
    assert "may not be read" not in str(error)


def test_what_may_not_be_read_is_not_there_for_links_and_named_by_no_error(desk: GuardedDesk) -> None:
    skill = desk.skill("secret plan")
    desk.give((SKILL, skill), ())
    desk.grant((FOLDER, PERSON), CREATE)
    desk.grant((FOLDER, SKILL), CREATE)
    agent = {"userName": "z", "employeeID": "z", "tenantDBID": 1, "isAgent": 2}
    for dbid in (skill, 999):
        levels = {"agentInfo": {"skillLevels": [{"skillDBID": dbid, "level": 1}]}}
        error = forbidden(desk.guarded.create, PERSON, {**agent, **levels})
        assert f"skill {dbid}, which does not exist" in str(error)
    error = forbidden(
        desk.guarded.create, SKILL, {"name": "secret plan", "tenantDBID": 1}, code=ErrorCode.UNIQUENESS_VIOLATION
    )
    assert str(error).startswith("a skill that may not be read has the same key")
    folder = desk.create("folder", {"name": "hidden", "type": SKILL})
    desk.give((FOLDER, folder), ())
    for dbid in (folder, 9999):
        with pytest.raises(ModelError, match=f"folder {dbid} does not exist"):
            desk.guarded.create(SKILL, {"name": "new", "tenantDBID": 1}, folder=dbid)


def test_a_deletion_needs_delete_on_all_that_goes_and_change_on_who_loses_a_member(desk: GuardedDesk) -> None:
    person = desk.person("bob")
    group = desk.group("sales", person)
    desk.grant((PERSON, person), DELETE)
    forbidden(desk.guarded.delete, PERSON, person)
    desk.grant((AGENT_GROUP, group), CHANGE)
    desk.guarded.delete(PERSON, person)
    switch = desk.switch()
    desk.grant((SWITCH, switch), DELETE | Permission.NO_PROPAGATION)
    forbidden(desk.guarded.delete, SWITCH, switch)  # its default folders go along
    desk.grant((SWITCH, switch), DELETE)
    desk.guarded.delete(SWITCH, switch)


def test_a_move_needs_change_on_what_is_moved_and_create_where_it_goes(desk: GuardedDesk) -> None:
    skill = desk.skill()
    there = desk.create("folder", {"name": "there", "type": SKILL})
    moved = {"objectIDs": {"added": [{"DBID": skill, "type": SKILL}]}}
    desk.grant((FOLDER, there), CHANGE)
    forbidden(desk.guarded.update, FOLDER, there, moved)
    desk.grant((FOLDER, there), CHANGE | CREATE)
    desk.give((SKILL, skill), ())
    forbidden(desk.guarded.update, FOLDER, there, moved)
    desk.grant((SKILL, skill), CHANGE)
    desk.guarded.update(FOLDER, there, moved)
    below = desk.create("folder", {"name": "below", "type": SKILL})
    desk.grant((FOLDER, below), CHANGE)
    desk.grant((FOLDER, there), CHANGE)
    under = {"parentID": {"DBID": there, "type": FOLDER}}
    forbidden(desk.guarded.update, FOLDER, below, under)
    desk.grant((FOLDER, there), CREATE)
    desk.guarded.update(FOLDER, below, under)


def test_what_a_transaction_creates_it_may_change_and_fill_and_delete(desk: GuardedDesk) -> None:
    desk.grant((FOLDER, SKILL), CREATE)
    skill = desk.skill("old")
    desk.give((SKILL, skill), (AclEntry(PERSON, desk.ada, int(CHANGE)),))
    plan = desk.guarded.transaction(
        [
            RequestedChange(message=Verb.CREATE, type=FOLDER, object={"DBID": -1, "name": "new", "type": SKILL}),
            RequestedChange(
                message=Verb.CREATE, type=SKILL, object={"DBID": -2, "name": "a", "tenantDBID": 1}, folder=-1
            ),
            RequestedChange(message=Verb.UPDATE, type=SKILL, dbid=-2, delta={"name": "b"}),
            RequestedChange(
                message=Verb.UPDATE,
                type=FOLDER,
                dbid=-1,
                delta={"objectIDs": {"added": [{"DBID": skill, "type": SKILL}]}},
            ),
        ]
    )
    assert len(plan.changes) == 4
    error = forbidden(
        desk.guarded.transaction,
        [
            RequestedChange(message=Verb.CREATE, type=SKILL, object={"DBID": -2, "name": "a", "tenantDBID": 1}),
            RequestedChange(message=Verb.DELETE, type=SKILL, dbid=skill),
        ],
    )
    assert str(error).startswith("change 1:")


IDS = st.sampled_from(
    [
        ENVIRONMENT,
        *((FOLDER, n) for n in (SWITCH, PERSON, AGENT_GROUP, SKILL, ACCESS_GROUP)),
        (PERSON, 102),
        (SKILL, 101),
    ]
)
ACLS = st.dictionaries(IDS, st.integers(0, 255).map(lambda mask: (AclEntry(PERSON, 101, mask),)), max_size=6)


def needed(step: Step) -> list[tuple[int, tuple[int, int]]]:
    """What the table in the module says, written down once more without a thought of speed."""
    if step.before is None:
        return [(CREATE, (FOLDER, step.folder))]
    return [(DELETE if step.after is None else CHANGE, step.id)]


@settings(max_examples=150, deadline=None)
@given(acls=ACLS, request=st.sampled_from(["create", "update", "delete", "disable"]))
def test_a_plan_is_allowed_exactly_if_every_step_is(acls: dict[tuple[int, int], Acl], request: str) -> None:
    desk = GuardedDesk()
    skill = desk.skill()
    person = desk.person("bob", agentInfo={"skillLevels": [{"skillDBID": skill, "level": 3}]})
    desk.group("sales", person)
    for id, entries in acls.items():
        desk.give(id, entries)

    def carry_out(planner: WritePlanner) -> Plan:
        match request:
            case "create":
                return planner.create(SKILL, {"name": "new", "tenantDBID": 1})
            case "update":
                return planner.update(SKILL, skill, {"name": "new"})
            case "disable":
                return planner.update(PERSON, person, {"state": 2})
            case _:
                return planner.delete(SKILL, skill)

    def allowed(permission: int, id: tuple[int, int]) -> bool:
        return bool(mask_of(desk.cache, id, (PERSON, desk.ada)) & permission)

    planner = desk.planner
    carry_out(planner)
    expected = all(allowed(*need) for step in planner._draft.steps for need in needed(step))
    if expected:
        carry_out(desk.guarded)
    else:
        forbidden(carry_out, desk.guarded)


def test_lists_and_accounts_go_with_their_objects_before_them(
    desk: GuardedDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    skill = desk.skill()
    desk.give((SKILL, skill), ())
    desk.plant_many("skill", [{"name": f"s{n}", "tenantDBID": 1} for n in range(3)])
    plan = desk.planner.delete(SKILL, skill)
    assert [(each.type, each.dbid) for each in plan.changes] == [(1000 + SKILL, skill), (SKILL, skill)]
    assert plan.answers == (1,)
    batch = history_batch(
        HistorySettings(), desk.cache, plan.changes, [change_of(each, Position(1, 9)) for each in plan.changes]
    )
    assert batch is not None
    assert [record.type for record in batch.make()] == [SKILL]
    monkeypatch.setattr("csproxy.core.writes.MAX_CHANGES", 1)
    with pytest.raises(ModelError, match="access control lists that go along"):
        desk.planner.delete(SKILL, skill)


def test_a_session_knows_whether_it_is_a_proxy() -> None:
    for kind, is_proxy in ((int(CfgAppType.CFGConfigServer), True), (int(CfgAppType.CFGSCE), False)):
        session = Session(
            "s", account=SYSTEM_ACCOUNT, application="a", application_type=kind, application_dbid=1, now_s=0.0
        )
        assert session.is_proxy is is_proxy
