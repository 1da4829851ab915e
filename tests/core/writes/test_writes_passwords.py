"""Passwords in plans: the rules of the annexes are asked when one is set."""

from __future__ import annotations

import pytest
from desk import Desk

from csproxy.core.security_options import RULES
from csproxy.core.transactions import RequestedChange, Verb
from csproxy.errors import ErrorCode, ModelError

DEFAULT = (3, 100)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def set_rules(desk: Desk, word: str, dbid: int, **rules: object) -> None:
    section = {name.replace("_", "-"): str(value) for name, value in rules.items()}
    desk.update(word, dbid, {"userProperties": {"added": {RULES: section}}})


def test_a_password_that_breaks_a_rule_of_the_tenant_or_the_person_is_refused(desk: Desk) -> None:
    set_rules(desk, "tenant", 1, password_min_length=6)
    with pytest.raises(ModelError) as caught:
        desk.planner.update(3, 100, {"password": "short"})
    error = caught.value
    assert (error.code, error.property_name, error.object_type) == (ErrorCode.VALUE_OUT_OF_RANGE, "password", 3)
    assert str(error) == "the new password is refused, it needs at least 6 characters (password-min-length)"
    set_rules(desk, "person", 100, password_min_length=5)
    assert desk.planner.update(3, 100, {"password": "short"}).passwords == {DEFAULT: "short"}
    desk.update("person", 100, {"firstName": "rules are asked for passwords only"})


def test_the_rules_of_a_new_person_are_those_of_its_tenant(desk: Desk) -> None:
    set_rules(desk, "tenant", 1, password_req_numeric="true")
    person = {"userName": "joe", "employeeID": "1", "tenantDBID": 1, "password": "letters"}
    with pytest.raises(ModelError, match=r"a digit \(password-req-numeric\)"):
        desk.planner.create(3, person)
    plan = desk.planner.update(9, 100, {"password": "letters"})
    assert plan.passwords == {(9, 100): "letters"}, "Applications have no rules"


def test_a_plan_says_which_passwords_must_not_be_repeated_as_they_are_in_the_end(desk: Desk) -> None:
    assert desk.planner.update(3, 100, {"password": "x"}).no_repeats == {}
    set_rules(desk, "tenant", 1, password_no_repeats=4)
    assert desk.planner.update(3, 100, {"password": "x"}).no_repeats == {DEFAULT: 4}
    off = {"userProperties": {"added": {RULES: {"password-no-repeats": "0"}}}}
    steps = [
        RequestedChange(message=Verb.UPDATE, type=3, dbid=100, delta={"password": "x"}),
        RequestedChange(message=Verb.UPDATE, type=3, dbid=100, delta=off),
        RequestedChange(message=Verb.UPDATE, type=3, dbid=100, delta={"password": "y"}),
    ]
    assert desk.planner.transaction(steps[:1]).no_repeats == {DEFAULT: 4}
    plan = desk.planner.transaction(steps)
    assert (plan.passwords, plan.no_repeats) == ({DEFAULT: "y"}, {})


def test_a_person_that_goes_needs_no_password(desk: Desk) -> None:
    set_rules(desk, "tenant", 1, password_no_repeats=4)
    joe = desk.create("person", {"userName": "joe", "employeeID": "1", "tenantDBID": 1})
    steps = [
        RequestedChange(message=Verb.UPDATE, type=3, dbid=joe, delta={"password": "x"}),
        RequestedChange(message=Verb.DELETE, type=3, dbid=joe),
    ]
    plan = desk.planner.transaction(steps)
    assert (plan.passwords, plan.no_repeats) == ({}, {})
