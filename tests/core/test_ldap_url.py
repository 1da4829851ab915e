"""LDAP URLs: what they say, which are refused, and where the External ID goes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.core.ldap_url import parse_ldap_url, parse_referral


def filter_of(text: str, external_id: str) -> str:
    return parse_ldap_url(f"ldap://h/dc=x??sub?{text}").filter_for(external_id)


def test_an_url_says_where_to_look() -> None:
    url = parse_ldap_url(" LDAPS://Directory.Example.com:1636/ou=R%26D,o=x%20y?cn,mail?one?(mail=X)?x-note=1 ")
    assert (url.host, url.port, url.is_secure) == ("Directory.Example.com", 1636, True)
    assert (url.base, url.scope) == ("ou=R&D,o=x y", "one")
    assert str(url).startswith("LDAPS://Directory")


@pytest.mark.parametrize(
    ("text", "host", "port", "is_secure", "base", "scope"),
    [
        ("ldap://h/dc=x??sub?(uid=X)", "h", 389, False, "dc=x", "sub"),
        ("ldaps://10.0.0.1/???(uid=X)", "10.0.0.1", 636, True, "", "base"),
        ("ldap://[2001:db8::1]:3389/dc=x???(uid=X)", "2001:db8::1", 3389, False, "dc=x", "base"),
    ],
)
def test_what_is_left_out_takes_its_default(
    text: str, host: str, port: int, is_secure: bool, base: str, scope: str
) -> None:
    url = parse_ldap_url(text)
    assert (url.host, url.port, url.is_secure, url.base, url.scope) == (host, port, is_secure, base, scope)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must begin with"),
        ("http://h/???(uid=X)", "must begin with"),
        ("ldap:///dc=x???(uid=X)", "must begin with"),
        ("ldap://user@h/dc=x???(uid=X)", "must begin with"),
        ("ldap://h:0/dc=x???(uid=X)", "port 0"),
        ("ldap://h:65536/dc=x???(uid=X)", "port 65536"),
        ("ldap://h", "no filter"),
        ("ldap://h/dc=x??sub", "no filter"),
        ("ldap://h/dc=x??tree?(uid=X)", "scope 'tree'"),
        ("ldap://h/dc=x??sub?(uid=X)?!1.2.3", "critical extension"),
        ("ldap://h/dc=x??sub?(uid=X)??more", "more than five parts"),
        ("ldap://h/dc=%ff???(uid=X)", "not UTF-8"),
        ("ldap://h/???(uid=jane)", "does not hold X"),
        (r"ldap://h/???(uid=\2aX)", "does not hold X"),
        ("ldap://h/???(X=jane)", "does not hold X"),
        ("ldap://h/???(objectClass=XPerson)", "does not hold X"),
        ("ldap://h/???uid=X", "character 1: '(' is expected"),
        ("ldap://h/???(uid=X", "character 7: ')' is expected"),
        ("ldap://h/???(uid=X))", "the end is expected"),
        ("ldap://h/???()", "attribute=value is expected"),
        ("ldap://h/???(&)", "'(' is expected"),
        ("ldap://h/???(!(uid=X)(uid=X))", "')' is expected"),
        (r"ldap://h/???(uid=\zzX)", "')' is expected"),
        ("ldap://h/???" + "(!" * 30 + "(uid=X)" + ")" * 30, "nested more than 20 deep"),
    ],
)
def test_any_other_text_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_ldap_url(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("(mail=X)", "(mail=a1)"),
        (
            "(&(objectClass=XP)(|(uid=X)(mail=X@x.com))(!(X=EXIT)))",
            "(&(objectClass=XP)(|(uid=a1)(mail=a1@x.com))(!(X=EXIT)))",
        ),
        (r"(uid=\2a-X)", r"(uid=\2a-a1)"),
        ("(cn:caseExactMatch:=X*)", "(cn:caseExactMatch:=a1*)"),
        ("(uidNumber>=X)", "(uidNumber>=a1)"),
    ],
)
def test_the_external_id_takes_the_place_of_x_in_values(filter_text: str, expected: str) -> None:
    assert filter_of(filter_text, "a1") == expected


@given(st.text(min_size=1))
def test_no_external_id_brings_structure_into_a_filter(external_id: str) -> None:
    built = filter_of("(&(uid=X)(mail=X@x))", external_id)
    match = re.fullmatch(r"\(&\(uid=((?:[0-9A-Za-z]|\\[0-9a-f]{2})+)\)\(mail=\1@x\)\)", built)
    assert match is not None
    unescaped = re.sub(rb"\\([0-9a-f]{2})", lambda hit: bytes.fromhex(hit[1].decode()), match[1].encode())
    assert unescaped == external_id.encode()


def test_a_referral_keeps_the_filter_and_what_it_leaves_out() -> None:
    origin = parse_ldap_url("ldap://h/dc=x??sub?(uid=X)")
    there = parse_referral("ldaps://other/ou=y,dc=x??one?(uid=evil)", origin)
    assert (there.host, there.port, there.is_secure, there.base, there.scope) == (
        "other",
        636,
        True,
        "ou=y,dc=x",
        "one",
    )
    assert there.filter_for("a1") == "(uid=a1)"
    there = parse_referral("ldap://other:3389", origin)
    assert (there.host, there.port, there.base, there.scope) == ("other", 3389, "dc=x", "sub")


@pytest.mark.parametrize(("text", "reason"), [("ldap://other/dc=x", "leaves TLS"), ("http://other", "must begin with")])
def test_a_referral_that_is_wrong_or_less_secure_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_referral(text, parse_ldap_url("ldaps://h/dc=x??sub?(uid=X)"))
