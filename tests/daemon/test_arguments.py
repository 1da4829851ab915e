"""confserv's command line: one dash or two, and a sentence for everything that is refused."""

from __future__ import annotations

import pytest

from csproxy import __version__
from csproxy.daemon.arguments import normalise, parse_arguments
from csproxy.daemon.usage import UsageError


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        (["-host", "h", "-port", "1"], ["--host", "h", "--port", "1"]),
        (["--host", "h"], ["--host", "h"]),
        (["-host=h"], ["--host=h"]),
        (["-c", "f", "-l", "7260@lic", "-V"], ["-c", "f", "-l", "7260@lic", "-V"]),
        (["-log-all", "x"], ["--log-all", "x"]),
        (["-app", "-odd-name"], ["--app", "-odd-name"]),
        (["-log-all", "-host"], ["--log-all", "-host"]),
        (["--", "-host"], ["--", "-host"]),
        (["-app"], ["--app"]),
        (["-", "word"], ["-", "word"]),
    ],
)
def test_a_single_dash_becomes_two_and_values_stay(given: list[str], normal: list[str]) -> None:
    assert normalise(given) == normal


@pytest.mark.parametrize("dash", ["-", "--"])
def test_the_documented_line_of_a_proxy_is_understood(dash: str) -> None:
    found = parse_arguments(
        f"{dash}host master {dash}port 2020 {dash}app CSProxy_1 -l 7260@lic "
        f"{dash}log-verbose debug {dash}log-all=/var/log/x".split()
    )
    assert (found.host, found.port, found.application, found.licence) == ("master", 2020, "CSProxy_1", "7260@lic")
    assert found.log == {"verbose": "debug", "all": "/var/log/x"}


def test_a_log_option_is_never_read_as_the_licence() -> None:
    found = parse_arguments(["-log-all", "x"])
    assert (found.licence, found.log) == (None, {"all": "x"})


def test_s_is_another_name_of_app_at_a_master() -> None:
    assert parse_arguments(["-s", "confserv_2"]).application == "confserv_2"
    with pytest.raises(UsageError, match="disagree"):
        parse_arguments(["-s", "one", "-app", "two"])


@pytest.mark.parametrize(
    "argv",
    [
        ["-nco"],
        ["--nco"],
        ["-lmspath", "x"],
    ],
)
def test_functions_of_later_releases_are_refused_by_name(argv: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^-(nco|lmspath) is not available in this release"):
        parse_arguments(argv)


def test_persistent_mode_has_two_times() -> None:
    proxy = ["-host", "h", "-port", "1", "-app", "a"]
    assert not parse_arguments(proxy).persistent
    found = parse_arguments([*proxy, "-proxy-persistent-mode", "-db-persistent-failover-tmout", "5"])
    assert (found.persistent, found.csproxy) == (True, {"db-persistent-failover-tmout": "5"})
    found = parse_arguments([*proxy, "--proxy-persistent-mode", "-cs-persistent-failover-tmout=7"])
    assert found.csproxy == {"cs-persistent-failover-tmout": "7"}


def test_the_export_of_the_history_log_takes_a_file_and_days() -> None:
    found = parse_arguments(["-c", "x.conf", "-dumpauditxml", "out.xml", "-last", "5"])
    assert (found.conf_file, found.audit_file, found.audit_days) == ("x.conf", "out.xml", 5)


def test_a_value_that_looks_like_a_refused_parameter_is_a_value() -> None:
    assert parse_arguments(["-log-all", "--dumpauditxml"]).log == {"all": "--dumpauditxml"}


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["-frob"], "unrecognized arguments: -frob"),
        (["-last", "5"], "give both"),
        (["-proxy-persistent-mode"], "-proxy-persistent-mode is for a proxy"),
        (["-cs-persistent-failover-tmout", "5"], "give both"),
        (["-dumpauditxml", "f", "-last", "0"], "1 to 36500 is valid"),
        (["-dumpauditxml", "f", "-last", "x"], "1 to 36500 is valid"),
        (["-host", "h", "-port", "1", "-app", "a", "-dumpauditxml", "f"], "leave out -host"),
        (["-host", "h"], "-port and -app not given"),
        (["-host", "h", "-port", "1"], "-app not given"),
        (["-port", "2020"], "-port is the master's port and needs -host"),
        (["-host", "h", "-port", "0", "-app", "a"], "'0' is no port: 1 to 65535"),
        (["-host", "h", "-port", "65536", "-app", "a"], "1 to 65535"),
        (["-host"], "-host: expected one argument"),
        (["-log-verbose"], "-log-verbose needs a value"),
        (["-log-", "x"], "names no log option"),
        (["-ho", "h"], "unrecognized"),
    ],
)
def test_wrong_usage_is_one_sentence(argv: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(argv)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argv", [["-V"], ["--V"]])
def test_v_prints_the_release(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(argv)
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["-help"], ["--help"], ["-h"]])
def test_help_names_every_parameter(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(argv)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("-host", "-port", "-app", "-c FILE", "-l LICENCE", "-V", "-log-"))


_PROXY = ["-host", "h", "-port", "1", "-app", "p"]


def test_transport_parameters_of_the_connection_to_the_master() -> None:
    found = parse_arguments(
        [*_PROXY, "-transport-tls", "1", "--transport-trusted-ca=ca.pem", "-transport-cipher-list", "-ALL"]
    )
    assert found.transport == {"tls": "1", "trusted-ca": "ca.pem", "cipher-list": "-ALL"}
    assert (found.host, found.port) == ("h", 1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-transport-tsl", "1"], "-transport-tsl is no transport parameter"),
        (["-transport-tls"], "-transport-tls needs a value"),
    ],
)
def test_wrong_transport_parameters_are_wrong_usage(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_arguments([*_PROXY, *words])


def test_a_master_has_no_connection_to_a_master() -> None:
    with pytest.raises(UsageError, match=r"needs -host; a master has the option transport"):
        parse_arguments(["-transport-tls", "1"])
