"""Which level of options a directory, an account and a time come from."""

from __future__ import annotations

from csproxy.auth.ldap_settings import LdapSettings, ldap_settings
from csproxy.core.auth_options import OptionValues, read_options

SERVER = {
    "gauth_ldap": {
        "ldap-url": "ldap://server/dc=s??sub?(uid=X)",
        "app-user": "cn=app",
        "password": "secret",
        "connect-timeout": "7",
        "retry-attempts": "5",
    },
    "gauth_ldap_1": {"ldap-url": "ldaps://spare/dc=s??sub?(uid=X)", "chase-referrals": "1", "verbose": "1"},
    "gauth_ldap_2": {"app-user": "cn=no url, no server"},
}


def values(sections: dict[str, dict[str, str]]) -> OptionValues:
    found, complaints = read_options(sections)
    assert complaints == []
    return found


def settings(*levels: dict[str, dict[str, str]]) -> LdapSettings:
    return ldap_settings([values(level) for level in levels], cache_time_s=1.0, negative_cache_time_s=2.0)


def test_the_servers_sections_are_the_directories_in_their_order() -> None:
    found = settings({}, {}, SERVER)
    assert [str(server) for server in found.servers] == ["server:389", "spare:636"]
    first, spare = found.servers
    assert (first.app_user, first.password, first.connect_timeout_s, first.is_encrypted) == (
        "cn=app",
        "secret",
        7,
        False,
    )
    assert (spare.app_user, spare.connect_timeout_s, spare.is_encrypted) == ("", 10, True)
    assert (spare.chase_referrals, spare.verbose, first.verbose) == (True, True, False)
    assert (found.retry_attempts, found.retry_interval_s) == (5, 10.0)
    assert (found.cache_time_s, found.negative_cache_time_s) == (1.0, 2.0)


def test_a_level_that_names_a_directory_names_all_and_is_not_lent_the_account_of_another_level() -> None:
    tenant = {"gauth_ldap": {"ldap-url": "ldap://tenant/dc=t??sub?(uid=X)"}}
    found = settings({}, tenant, SERVER)
    (server,) = found.servers
    assert (str(server), server.app_user, server.password) == ("tenant:389", "", "")
    assert (server.connect_timeout_s, found.retry_attempts) == (7, 5), "times are inherited"


def test_a_nearer_level_adds_to_the_directory_that_another_names() -> None:
    person = {"gauth_ldap": {"app-user": "cn=person", "connect-timeout": "1"}}
    tenant = {"gauth_ldap": {"ldap-url": "ldap://tenant/dc=t??sub?(uid=X)", "app-user": "cn=tenant", "password": "t"}}
    (server,) = settings(person, tenant, SERVER).servers
    assert (str(server), server.app_user, server.password, server.connect_timeout_s) == (
        "tenant:389",
        "cn=person",
        "t",
        1,
    )


def test_without_an_url_there_is_no_directory() -> None:
    assert settings({}, {}, {"gauth_ldap": {"app-user": "cn=a"}}).servers == ()
