"""The option table: every row is complete, and every value is read or refused."""

from __future__ import annotations

import pytest

from csproxy.core.options import APPLICATION_OPTIONS, OPTIONS, OptionValue, close_options, find_option


def parse(section: str, name: str, text: str) -> OptionValue:
    option = find_option(section, name)
    assert option is not None
    return option.parse(text)


def test_every_row_is_complete_and_its_default_is_valid() -> None:
    assert len({(option.section, option.name) for option in OPTIONS}) == len(OPTIONS)
    for option in OPTIONS:
        assert option.valid
        assert option.meaning.endswith(".")
        assert option.origin in ("D", "O")
        if option.default != ():
            text = ",".join(option.default) if isinstance(option.default, tuple) else str(option.default)
            assert option.parse(text) == option.default


def test_only_running_options_may_stand_in_the_application_object() -> None:
    sections = {"csproxy", "system", "security", "log", "log-extended", "history-log"}
    assert {option.section for option in APPLICATION_OPTIONS} == sections


@pytest.mark.parametrize(
    ("section", "name", "text", "value"),
    [
        ("confserv", "port", " 2021 ", 2021),
        ("csproxy", "max-client-output-queue-size", "0", 0),
        ("csproxy", "allow-empty-password", "False", False),
        ("csproxy", "allow-empty-password", "on", True),
        ("system", "proxy-load-max", "false", 0),
        ("system", "proxy-load-max", "3", 3),
        ("log", "verbose", "ALL", "all"),
        ("security", "unlimited-addresses", " 10.1.2.3/16, ::1 ,", ("10.1.0.0/16", "::1/128")),
        ("csproxy", "locale", " de_DE ", "de_DE"),
        ("csproxy", "locale", "utf-8", "UTF-8"),
        ("csproxy", "encoding", " GB18030 ", "GB18030"),
        ("log", "standard", "stdout, /var/log/x ,", ("stdout", "/var/log/x")),
        ("dbserver", "dbname", " a b.db ", "a b.db"),
        ("csproxy", "management-port", "0", 0),
        ("confserv", "management-address", " ::1 ", "::1"),
    ],
)
def test_a_valid_text_becomes_the_value(section: str, name: str, text: str, value: OptionValue) -> None:
    assert parse(section, name, text) == value


@pytest.mark.parametrize(
    ("section", "name", "text"),
    [
        ("confserv", "port", "0"),
        ("confserv", "port", "65536"),
        ("confserv", "port", "-1"),
        ("confserv", "port", "²"),
        ("confserv", "port", ""),
        ("csproxy", "allow-empty-password", "maybe"),
        ("security", "unlimited-addresses", "balancer"),
        ("log", "verbose", "loud"),
        ("csproxy", "locale", "xx_YY"),
        ("csproxy", "encoding", "klingon"),
        ("log", "all", " , "),
        ("dbserver", "dbname", "  "),
        ("csproxy", "management-address", "localhost"),
    ],
)
def test_any_other_text_is_refused(section: str, name: str, text: str) -> None:
    with pytest.raises(ValueError):
        parse(section, name, text)


def test_a_misspelt_name_finds_its_neighbours() -> None:
    assert find_option("log", "verbos") is None
    assert close_options("log", "Verbos") == ["verbose"]
    assert close_options("log", "zzz") == []
