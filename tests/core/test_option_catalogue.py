"""All options in one place: found by name, with their sources, and the page that is made from them."""

from __future__ import annotations

from csproxy.core.auth_options import AUTH_OPTIONS
from csproxy.core.option_catalogue import CATALOGUE, TRANSPORT, default_text, find_options, similar_options, sources
from csproxy.core.option_values import value_text
from csproxy.core.options import OPTIONS
from csproxy.core.security_options import RULE_OPTIONS
from csproxy.core.transport_parameters import TRANSPORT_PARAMETERS
from scripts.generate_options_reference import SEE, TARGET, reference


def test_every_option_has_one_row() -> None:
    assert {*OPTIONS, *AUTH_OPTIONS, *RULE_OPTIONS} == {each for each in CATALOGUE if each.section != TRANSPORT}
    assert len({(option.section, option.name) for option in CATALOGUE}) == len(CATALOGUE)
    assert {each.of for each in CATALOGUE if each.section != TRANSPORT} == {"both", "master", "proxy"}


def test_every_transport_parameter_has_one_row() -> None:
    rows = {each.name: each for each in CATALOGUE if each.section == TRANSPORT}
    assert list(rows) == [parameter.name for parameter in TRANSPORT_PARAMETERS]
    assert [rows[name].of for name in ("tls", "upgrade", "backup-port")] == ["port, connection", "port", "connection"]
    assert rows["address"].effect.value == "new connections; at a port: restart"
    assert rows["tls"].effect.value == "new connections"


def test_an_option_is_found_by_its_name_in_any_case_or_with_its_section() -> None:
    assert [option.section for option in find_options("Verbose")] == ["log", "gauth_ldap"]
    assert [option.section for option in find_options("log/verbose")] == ["log"]
    assert [option.name for option in find_options("gauth_kerberos/spn")] == ["SPN"]
    assert [option.section for option in find_options("gauth_ldap_2/verbose")] == ["gauth_ldap"]
    assert [option.name for option in find_options("level-reassign-04504")] == ["level-reassign-04504"]
    assert find_options("log/level-reassign-04504") == []
    assert find_options("csproxy/verbose") == []
    assert find_options("nothing") == []


def test_a_name_that_is_nearly_one_finds_it() -> None:
    assert similar_options("csproxy/packt-size")[0] == "packet-size"
    assert similar_options("qqqqqq") == []


def test_the_places_of_an_option_stand_in_the_order_in_which_they_win() -> None:
    def of(name: str) -> list[str]:
        (option,) = find_options(name)
        return sources(option)

    assert of("log/verbose") == [
        "section [log] of the Application object's options",
        "parameter -log-verbose",
        "environment variable CSPROXY_LOG__VERBOSE",
        "section [log] of confserv.conf",
    ]
    assert of("csproxy/packet-size") == [
        "environment variable CSPROXY_CSPROXY__PACKET_SIZE",
        "section [csproxy] of the Application object's options",
        "section [csproxy] of confserv.conf",
    ]
    assert of("cs-persistent-failover-tmout") == [
        "parameter -cs-persistent-failover-tmout",
        "environment variable CSPROXY_CSPROXY__CS_PERSISTENT_FAILOVER_TMOUT",
        "section [csproxy] of confserv.conf",
    ]
    assert of("dbname") == ["environment variable CSPROXY_DATABASE__DBNAME", "section [dbserver] of confserv.conf"]
    assert of("no-default-access") == ["section [security] of the Application object's options"]
    assert of("gauth_ldap/ldap-url") == [
        "environment variable CSPROXY_GAUTH_LDAP__LDAP_URL",
        "section [gauth_ldap] of the Application object's options",
        "section [gauth_ldap] of confserv.conf",
    ]
    assert of("password-no-repeats") == [
        "section [security-authentication-rules] of the annex of a Person, of its Tenant, and of the tenants above"
    ]


def test_a_transport_parameter_of_port_and_connection_has_a_line_of_places_for_each() -> None:
    def of(name: str) -> list[str]:
        (parameter,) = find_options(f"transport/{name}")
        return sources(parameter)

    port, connection = of("tls")
    assert port.endswith("transportParams of the Port, section [security] of the Application, of the Host")
    assert connection.startswith("of a connection: parameter -transport-tls, master-transport of [csproxy], ")
    assert connection.endswith(", of the Host, transportParams of the Port that it goes to")
    assert [place.rpartition(", ")[2] for place in of("address")] == ["transportParams of the Port", "of the Host"]
    assert of("user") == [
        "of a port: transport of [confserv] (port default of a master), transportParams of the Port",
    ]


def test_a_default_is_written_as_the_option_takes_it() -> None:
    shown = {option.name: default_text(option) for option in CATALOGUE}
    assert (shown["proxy-snapshot"], shown["proxy-writable"], shown["token-authentication-mode"]) == (
        "on",
        "false",
        "disable",
    )
    assert (shown["app-password"], shown["all"], shown["packet-size"]) == ("empty", "stdout", "65536")


def test_values_are_shown_as_an_operator_would_write_them() -> None:
    assert [value_text(value) for value in (True, ("a", "b"), 3)] == ["true", "a, b", "3"]


def test_the_reference_is_made_from_the_tables() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run scripts/generate_options_reference.py"
    assert {option.name for option in CATALOGUE} >= SEE.keys()
