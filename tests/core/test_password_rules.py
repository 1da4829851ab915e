"""The rules for passwords: which of them hold for a user, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.password_rules import DAY_MS, PasswordRules, broken_rules, password_rules
from csproxy.core.security_options import RULE_OPTIONS, RULES, SECURITY_OPTIONS


def annex(**rules: object) -> dict[str, Any]:
    return {"userProperties": {RULES: {name.replace("_", "-"): str(value) for name, value in rules.items()}}}


TENANTS: dict[int, dict[str, Any]] = {
    1: {"name": "Environment", **annex(password_min_length=4, password_expiration=90, password_no_repeats=2)},
    101: {"name": "Bank", **annex(password_min_length=8, password_req_alpha="yes")},
    102: {"name": "Branch", "parentTenantDBID": 101, **annex(password_expiration=30)},
    103: {"name": "Round", "parentTenantDBID": 104},
    104: {"name": "About", "parentTenantDBID": 103},
}


def rules(tenant: int, **own: object) -> PasswordRules:
    person = {"userName": "jane", "tenantDBID": tenant, **(annex(**own) if own else {})}
    found, complaints = password_rules(person, TENANTS.get)
    assert complaints == []
    return found


def test_every_row_is_complete_and_its_default_is_valid() -> None:
    for option in (*RULE_OPTIONS, *SECURITY_OPTIONS):
        assert option.parse(str(option.default)) == option.default
        assert option.meaning.endswith(".")
    fields = PasswordRules()
    assert {option.name: option.default for option in RULE_OPTIONS} == {
        name.replace("_", "-"): getattr(fields, name) for name in PasswordRules.__struct_fields__
    }


def test_each_rule_comes_from_the_nearest_level_that_has_it() -> None:
    branch = rules(102)
    assert (branch.password_expiration, branch.password_min_length) == (30, 8)
    assert (branch.password_req_alpha, branch.password_no_repeats) == (True, 2)
    assert rules(102, password_min_length=0).password_min_length == 0
    assert rules(1).password_min_length == 4


def test_a_tenant_that_is_not_there_or_above_itself_ends_the_search() -> None:
    assert rules(999).password_min_length == 4
    assert rules(103) == PasswordRules()


def test_a_rule_that_cannot_be_read_is_named_and_the_next_level_counts() -> None:
    person = {"userName": "jane", "tenantDBID": 101, **annex(password_min_length="long", password_req_numeric="true")}
    found, complaints = password_rules(person, TENANTS.get)
    assert (found.password_min_length, found.password_req_numeric) == (8, True)
    assert complaints == [
        "annex of Person 'jane': option password-min-length of [security-authentication-rules]: 'long' is not valid; "
        "valid: 0 to 64"
    ]


def test_a_section_that_is_none_holds_no_rules() -> None:
    assert password_rules({"tenantDBID": 5, "userProperties": {RULES: "x"}}, lambda _: None) == (PasswordRules(), [])


def test_a_refusal_names_every_broken_rule_and_what_it_asks_for() -> None:
    strict = PasswordRules(
        password_min_length=8,
        password_req_alpha=True,
        password_req_numeric=True,
        password_req_punctuation=True,
        password_req_mixed_case=True,
    )
    assert broken_rules("", strict) == (
        "at least 8 characters (password-min-length), a letter (password-req-alpha), a digit (password-req-numeric), "
        "a punctuation mark or symbol (password-req-punctuation), a capital and a small letter "
        "(password-req-mixed-case)"
    )
    assert broken_rules("Passw0rd!", strict) == ""
    assert broken_rules("passw0rd€", strict) == "a capital and a small letter (password-req-mixed-case)"


@given(
    password=st.text(st.sampled_from("aZ9!ß٣中 €"), max_size=6),
    length=st.integers(0, 6),
    flags=st.tuples(*[st.booleans()] * 4),
)
def test_rules_refuse_what_a_plain_reading_of_them_refuses(
    password: str, length: int, flags: tuple[bool, bool, bool, bool]
) -> None:
    alpha, numeric, punctuation, mixed = flags
    found = PasswordRules(
        password_min_length=length,
        password_req_alpha=alpha,
        password_req_numeric=numeric,
        password_req_punctuation=punctuation,
        password_req_mixed_case=mixed,
    )
    letters, digits, marks = set("aZß中"), set("9٣"), set("!€")
    is_right = (
        len(password) >= length
        and (not alpha or bool(letters & set(password)))
        and (not numeric or bool(digits & set(password)))
        and (not punctuation or bool(marks & set(password)))
        and (not mixed or ("Z" in password and bool({"a", "ß"} & set(password))))
    )
    sentence = broken_rules(password, found)
    assert (sentence == "") == is_right
    assert len(password) < 4 or password not in sentence


@pytest.mark.parametrize(("days", "age_days", "is_old"), [(0, 9999, False), (30, 30, False), (30, 30.001, True)])
def test_passwords_and_accounts_grow_old(days: int, age_days: float, is_old: bool) -> None:
    now_ms = 2_000_000_000_000
    since = now_ms - round(age_days * DAY_MS)
    found = PasswordRules(password_expiration=days, account_expiration=days)
    assert found.is_password_old(changed_ms=since, now_ms=now_ms) is is_old
    assert found.is_account_old(used_ms=since, now_ms=now_ms) is is_old
    assert not found.is_account_old(used_ms=0, now_ms=now_ms)
