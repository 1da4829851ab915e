"""The options of authentication: rows, values, and what is said of bad ones."""

from __future__ import annotations

import pytest

from csproxy.core.auth_options import (
    ANNEX_OPTIONS,
    AUTH_OPTIONS,
    SECRETS,
    find_auth_option,
    is_log_in_section,
    read_options,
    sections_of,
)
from csproxy.core.options import close_options, find_option

URL = "ldap://h/dc=x??sub?(uid=X)"


def test_every_row_is_complete_and_a_default_that_may_be_given_is_valid() -> None:
    for option in (*AUTH_OPTIONS, *ANNEX_OPTIONS):
        assert option.valid
        assert option.meaning.endswith(".")
        assert option.origin in ("D", "O")
        assert find_option(option.section, option.name) is None, "a row stands in one table"
        if option.default not in ("", ()):
            assert option.parse(str(option.default)) == option.default


def test_each_option_is_read_into_its_value() -> None:
    values, complaints = read_options(
        {
            "authentication": {"library": "gauth_radius, gauth_ldap,gauth_kerberos", "ldap-cache-time": 30},
            "gauth_ldap": {"ldap-url": f" {URL} ", "app-user": " cn=a ", "password": " p ", "unknown": "1"},
            "gauth_ldap_2": {"start-tls": "true"},
            "system": {"token-authentication-mode": "Enable", "proxy-load-max": "bad but not ours"},
            "other": {"ldap-url": "x"},
            "gauth_radius": "not a section",
        }
    )
    assert complaints == []
    assert values == {
        ("authentication", "library"): ("gauth_radius", "gauth_ldap", "gauth_kerberos"),
        ("authentication", "ldap-cache-time"): 30,
        ("gauth_ldap", "ldap-url"): URL,
        ("gauth_ldap", "app-user"): "cn=a",
        ("gauth_ldap", "password"): " p ",
        ("gauth_ldap_2", "start-tls"): True,
        ("system", "token-authentication-mode"): True,
    }


@pytest.mark.parametrize("library", ["", "gauth_ldap", "gauth_ldap,gauth_radius", "gauth_kerberos"])
def test_a_server_has_external_systems_in_any_order_and_kerberos_last(library: str) -> None:
    values, complaints = read_options({"authentication": {"library": library}})
    assert complaints == []
    assert values["authentication", "library"] == tuple(filter(None, library.split(",")))


@pytest.mark.parametrize(
    "library", ["internal", "gauth_kerberos,gauth_ldap", "gauth_ldap,gauth_ldap", "ldap", "gauth_ldap_1"]
)
def test_any_other_library_is_refused_at_a_server(library: str) -> None:
    values, complaints = read_options({"authentication": {"library": library}})
    assert values == {}
    assert complaints[0].startswith(f"option library of [authentication]: {library!r} is not valid; valid: gauth_ldap")


@pytest.mark.parametrize(
    ("library", "is_valid"),
    [
        ("internal", True),
        ("gauth_ldap", True),
        ("gauth_radius,gauth_ldap", True),
        ("", False),
        ("gauth_kerberos", False),
        ("gauth_ldap,gauth_kerberos", False),
        ("internal,gauth_ldap", False),
    ],
)
def test_a_tenant_or_person_may_be_internal_and_has_no_kerberos(library: str, is_valid: bool) -> None:
    values, complaints = read_options({"authentication": {"library": library}}, rows=ANNEX_OPTIONS)
    assert (bool(values), not complaints) == (is_valid, is_valid)


def test_a_bad_value_keeps_the_former_one_and_is_named_with_its_reason() -> None:
    before, _ = read_options({"gauth_ldap": {"ldap-url": URL}})
    values, complaints = read_options({"gauth_ldap": {"ldap-url": "ldap://h"}}, before=before)
    assert values == before
    assert "option ldap-url of [gauth_ldap]: 'ldap://h' is not valid: it has no filter" in complaints[0]
    assert "the former value stays; valid: ldap://" in complaints[0]
    values, complaints = read_options({"gauth_ldap": {"connect-timeout": 0}}, before=before)
    assert values == {}
    assert "stays" not in complaints[0]


def test_a_secret_is_never_named() -> None:
    assert {option.name for option in AUTH_OPTIONS} >= SECRETS
    values, complaints = read_options({"system": {"token-uuid": "  ", "token-authentication-mode": "perhaps"}})
    assert values == {}
    assert complaints == [
        "option token-uuid of [system]: the value is not valid; valid: a text",
        "option token-authentication-mode of [system]: 'perhaps' is not valid; valid: enable, disable",
    ]


def test_servers_stand_in_the_order_of_their_numbers() -> None:
    sections = {f"gauth_ldap{n}": {"ldap-url": URL} for n in ("_10", "_2", "", "_1", "_0", "_x")}
    values, _ = read_options({**sections, "gauth_radius": {"host": "h"}})
    assert sections_of(values, "gauth_ldap") == ["gauth_ldap", "gauth_ldap_1", "gauth_ldap_2", "gauth_ldap_10"]
    assert sections_of(values, "gauth_radius") == ["gauth_radius"]


def test_the_row_of_an_option_is_found_for_numbered_sections_and_names_in_any_case() -> None:
    found = find_auth_option("gauth_ldap_7", "LDAP-URL")
    assert found is not None
    assert (found.section, found.name) == ("gauth_ldap", "ldap-url")
    kerberos = find_auth_option("gauth_kerberos", "spn")
    assert kerberos is not None
    assert kerberos.name == "SPN"
    assert find_auth_option("gauth_ldap_0", "ldap-url") is None
    assert find_auth_option("log", "verbose") is None


def test_sections_of_log_ins_are_known() -> None:
    mine = ("authentication", "gauth_ldap", "gauth_radius_12", "gauth_kerberos")
    assert all(map(is_log_in_section, mine))
    assert not any(map(is_log_in_section, ("system", "csproxy", "gauth_ldap_x", "gauth_kerberos_1")))
    assert close_options("gauth_ldap_3", "ldap-ulr") == ["ldap-url"]
