"""Connection flags: before or after the subcommand, environment, defaults, and where a password comes from."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from csproxy.core.tls_settings import TlsSettings
from csproxy.daemon.connection_flags import ConnectionFlags, add_connection_flags, connection_flags
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def parse(*argv: str, environment: dict[str, str] | None = None, stdin: io.StringIO | None = None) -> ConnectionFlags:
    parser = argparse.ArgumentParser()
    add_connection_flags(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    add_connection_flags(commands.add_parser("read"))
    found = parser.parse_args([*argv] if "read" in argv else [*argv, "read"])
    return connection_flags(
        found,
        environment={"CSPROXY_PASSWORD": "p"} if environment is None else environment,
        stdin=stdin or io.StringIO(),
    )


def test_the_defaults_are_documented_ones() -> None:
    found = parse()
    assert (found.host, found.port, found.user, found.password) == ("127.0.0.1", 2020, "default", "p")
    assert (found.application, found.timeout_s) == ("default", 30.0)


def test_flags_stand_before_or_after_the_command() -> None:
    before = parse("--host", "h", "--port", "1", "--user", "u", "--app", "a", "--timeout", "2.5", "read")
    after = parse("read", "--host", "h", "--port", "1", "--user", "u", "--app", "a", "--timeout", "2.5")
    assert before == after
    assert (after.host, after.port, after.user, after.application, after.timeout_s) == ("h", 1, "u", "a", 2.5)
    mixed = parse("--host", "h", "read", "--port", "7")
    assert (mixed.host, mixed.port) == ("h", 7)


def test_the_environment_stands_below_the_flags() -> None:
    environment = {
        "CSPROXY_HOST": "env",
        "CSPROXY_PORT": "3",
        "CSPROXY_USER": "eu",
        "CSPROXY_PASSWORD": "ep",
        "CSPROXY_APP": "ea",
    }
    found = parse("--host", "flag", environment=environment)
    assert (found.host, found.port, found.user, found.password, found.application) == ("flag", 3, "eu", "ep", "ea")


def test_a_password_comes_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("ge heim\nsecond line\n", encoding="utf-8")
    assert parse("--password-file", str(file), environment={}).password == "ge heim"
    stdin = io.StringIO("first\r\n{}")
    assert parse("--password-stdin", environment={}, stdin=stdin).password == "first"
    assert stdin.read() == "{}"


def test_a_password_that_cannot_be_had_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--password-file FILE .*DIR/password"):
        parse(environment={})
    with pytest.raises(ConfigurationError, match="nowhere cannot be read: No such file"):
        parse("--password-file", str(tmp_path / "nowhere"))
    latin = tmp_path / "latin"
    latin.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        parse("--password-file", str(latin))


def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: asked.append(prompt) or "typed")
    assert parse("--user", "u", environment={}, stdin=Terminal()).password == "typed"
    assert asked == ["Password of u@127.0.0.1:2020: "]


def test_a_password_does_not_show_in_the_repr() -> None:
    assert "p'" not in repr(parse(environment={"CSPROXY_PASSWORD": "secret-p"}))


@pytest.mark.parametrize("argv", [("--port", "0"), ("--port", "x"), ("--timeout", "0"), ("--timeout", "soon")])
def test_bad_flags_are_wrong_usage(argv: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*argv)
    assert caught.value.code == 2


def test_a_bad_port_of_the_environment_is_named() -> None:
    with pytest.raises(ConfigurationError, match="CSPROXY_PORT: 'x' is no port"):
        parse(environment={"CSPROXY_PORT": "x", "CSPROXY_PASSWORD": ""})


def test_without_a_word_of_tls_there_is_none() -> None:
    assert parse().tls is None
    assert parse(environment={"CSPROXY_PASSWORD": "p", "CSPROXY_TLS": "0"}).tls is None


def test_any_flag_or_variable_of_tls_means_tls() -> None:
    assert parse("--tls").tls == TlsSettings()
    assert parse("--tls-ca", "ca.pem").tls == TlsSettings(trusted_ca=("ca.pem",))
    assert parse("--tls-cert", "c", "read", "--tls-key", "k", "--tls-name", "n").tls == TlsSettings(
        certificate=("c",), certificate_key="k", server_name="n"
    )
    environment = {"CSPROXY_PASSWORD": "p", "CSPROXY_TLS_CA": "env", "CSPROXY_TLS_NAME": "n"}
    assert parse("--tls-ca", "flag", environment=environment).tls == TlsSettings(trusted_ca=("flag",), server_name="n")
    assert parse(environment={"CSPROXY_PASSWORD": "p", "CSPROXY_TLS": "yes"}).tls == TlsSettings()


def test_wrong_flags_of_tls_are_wrong_usage() -> None:
    with pytest.raises(UsageError, match="certificate-key k is given without a certificate"):
        parse("--tls-key", "k")
    with pytest.raises(UsageError, match="CSPROXY_TLS: tls is 'perhaps'"):
        parse(environment={"CSPROXY_PASSWORD": "p", "CSPROXY_TLS": "perhaps"})


def test_a_ticket_takes_the_place_of_the_password() -> None:
    flags = parse("--kerberos", "confserv/h", environment={})
    assert (flags.spn, flags.password, flags.tickets is not None) == ("confserv/h", "", True)
    flags = parse(environment={"CSPROXY_KERBEROS": "confserv/h", "CSPROXY_PASSWORD": "p"})
    assert (flags.spn, flags.password) == ("confserv/h", "")
    flags = parse("--password-stdin", environment={"CSPROXY_KERBEROS": "confserv/h"}, stdin=io.StringIO("p\n"))
    assert (flags.spn, flags.password, flags.tickets) == ("", "p", None)
