"""Settings: the order of the sources, and what each refusal names."""

from __future__ import annotations

from pathlib import Path

import pytest

from csproxy.daemon.conf_file import parse_conf
from csproxy.daemon.settings import DaemonSettings, load_settings
from csproxy.errors import ConfigurationError

CONF = """\
# a comment
[confserv]
port = 2021
server = dbserver
; another comment
[dbserver]
dbengine = sqlite
dbname = data/config.db
[csproxy]
packet-size = 4096
[log]
verbose = trace
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("CSPROXY_"):
            monkeypatch.delenv(name)


def load(tmp_path: Path, conf: str | bytes, *argv: str) -> DaemonSettings:
    content = conf.encode() if isinstance(conf, str) else conf
    (tmp_path / "confserv.conf").write_bytes(content)
    return load_settings(argv, directory=tmp_path)


def refusal(tmp_path: Path, conf: str | bytes, *argv: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, conf, *argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_master_takes_its_settings_from_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, CONF)
    assert (settings.application, settings.upstream, settings.port, settings.address) == (
        "confserv",
        None,
        2021,
        "0.0.0.0",
    )
    assert settings.database is not None
    assert settings.database.shown == str(tmp_path / "data/config.db")
    assert settings.options.file == {("csproxy", "packet-size"): 4096, ("log", "verbose"): "trace"}
    assert settings.options.fixed == {}
    assert settings.warnings == ()


def test_an_absolute_database_path_stays(tmp_path: Path) -> None:
    settings = load(tmp_path, CONF.replace("data/config.db", "/srv/x.db"))
    assert settings.database is not None
    assert settings.database.url == "sqlite:////srv/x.db"


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSPROXY_CONFSERV__PORT", "3000")
    monkeypatch.setenv("CSPROXY_CSPROXY__PACKET_SIZE", "8192")
    monkeypatch.setenv("CSPROXY_LOG__VERBOSE", "debug")
    settings = load(tmp_path, CONF, "-log-verbose", "all")
    assert settings.port == 3000
    assert settings.options.fixed == {("csproxy", "packet-size"): 8192, ("log", "verbose"): "all"}
    assert settings.options.file == {}


def test_variables_of_the_tool_do_not_turn_a_master_into_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOST", "elsewhere"), ("PORT", "1"), ("APP", "default"), ("USER", "u"), ("PASSWORD", "p")):
        monkeypatch.setenv(f"CSPROXY_{name}", value)
    settings = load(tmp_path, CONF)
    assert (settings.upstream, settings.port, settings.application) == (None, 2021, "confserv")


def test_the_section_may_have_the_application_s_name(tmp_path: Path) -> None:
    assert load(tmp_path, CONF.replace("[confserv]", "[cs_east]"), "-app", "cs_east").port == 2021
    assert "[confserv]; it has [cs_east], [dbserver]" in refusal(tmp_path, CONF.replace("[confserv]", "[cs_east]"))
    assert "has no section [nobody]" in refusal(tmp_path, CONF, "-app", "nobody")


def test_the_database_section_is_the_one_that_server_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = CONF.replace("server = dbserver", "server = east").replace("[dbserver]", "[east]")
    settings = load(tmp_path, conf)
    assert settings.database is not None
    assert settings.database.shown.endswith("/config.db")
    assert "line 4: there is no section [east]" in refusal(tmp_path, conf.replace("[east]", "[west]"))
    monkeypatch.setenv("CSPROXY_CONFSERV__SERVER", "west")
    assert load(tmp_path, conf.replace("[east]", "[west]")).database == settings.database


def test_a_proxy_needs_no_file_and_reads_one_only_when_it_is_named(tmp_path: Path) -> None:
    proxy = ("-host", "master", "-port", "2020", "-app", "CSProxy_1")
    settings = load(tmp_path, "this is no conf file", *proxy)
    assert settings.upstream is not None
    assert (settings.upstream.host, settings.upstream.port, settings.database) == ("master", 2020, None)
    named = load(tmp_path, CONF, *proxy, "-c", "confserv.conf")
    assert named.options.file[("csproxy", "packet-size")] == 4096
    assert named.database is None


def test_cfg_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "confserv.cfg").write_text(CONF)
    assert load_settings([], directory=tmp_path).port == 2021


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no confserv\.conf in .*csproxy init"):
        load_settings([], directory=tmp_path)
    with pytest.raises(ConfigurationError, match=r"other\.conf cannot be read: No such file"):
        load_settings(["-c", "other.conf"], directory=tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ("port = 2021", "port = many", ("line 3", "option port of [confserv]", "'many'", "1 to 65535")),
        ("packet-size = 4096", "packet-size = 1", ("line 10", "packet-size", "1024 to 16777216")),
        ("verbose = trace", "verbose = loud", ("line 12", "verbose", "all, debug, trace")),
        ("verbose = trace", "segment = 1 KB", ("line 12", "100 KB to 100000 MB")),
        ("dbengine = sqlite", "dbengine = db2", ("line 7", "DB2 is not supported", "valid: sqlite, postgre")),
        ("dbengine = sqlite", "dbengine = dbase", ("line 7", "'dbase'", "valid: sqlite")),
        ("dbname = data/config.db", "dbname =", ("line 8", "dbname")),
        ("server = dbserver", "encryption = perhaps", ("line 4", "'perhaps'", "true, false")),
        (
            "server = dbserver",
            "encryption = true",
            ("confserv.key cannot be read", "encrypt-password --key-file makes"),
        ),
        ("port = 2021", "port = 2021\nport = 2022", ("line 4", "option port of [confserv] stands there twice")),
        ("[log]", "[csproxy]", ("line 11", "section [csproxy] stands there twice")),
        ("# a comment", "port = 1", ("line 1", "before any [section]")),
        ("packet-size = 4096", "packet-size 4096", ("line 10", "neither a [section], nor option=value")),
    ],
)
def test_a_bad_value_names_file_line_option_and_what_is_valid(
    tmp_path: Path, old: str, new: str, sentences: tuple[str, ...]
) -> None:
    sentence = refusal(tmp_path, CONF.replace(old, new))
    assert str(tmp_path / "confserv.conf") in sentence
    assert all(part in sentence for part in sentences), sentence


def test_a_bad_value_of_the_environment_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_CSPROXY__PACKET_SIZE", "huge")
    assert "environment variable CSPROXY_CSPROXY__PACKET_SIZE: 'huge'" in refusal(tmp_path, CONF)
    monkeypatch.delenv("CSPROXY_CSPROXY__PACKET_SIZE")
    monkeypatch.setenv("CSPROXY_LOG__VERBOS", "all")
    assert "there is no option verbos in [log]; is verbose meant?" in refusal(tmp_path, CONF)
    monkeypatch.delenv("CSPROXY_LOG__VERBOS")
    monkeypatch.setenv("CSPROXY_LOG", "no-json")
    assert "CSPROXY_LOG__VERBOSE=debug" in refusal(tmp_path, CONF)


def test_a_bad_log_parameter_is_named(tmp_path: Path) -> None:
    assert "parameter -log-verbose: 'loud'" in refusal(tmp_path, CONF, "-log-verbose", "loud")
    assert "parameter -log-vebose: there is no option vebose" in refusal(tmp_path, CONF, "-log-vebose", "all")


def test_an_option_of_another_release_is_a_warning_not_silence(tmp_path: Path) -> None:
    settings = load(tmp_path, CONF + "messagefile = x.lms\nverbos = all\n[hca]\nx = 1\n")
    assert len(settings.warnings) == 3
    assert any("line 13, option messagefile of [log]" in warning for warning in settings.warnings)
    assert any("is verbose meant?" in warning for warning in settings.warnings)
    assert any("section [hca] is not read" in warning for warning in settings.warnings)


def test_what_counts_in_the_application_object_only_is_refused_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(tmp_path, CONF + "[security]\nno-default-access = 1\n")
    (warning,) = settings.warnings
    assert "line 14, option no-default-access of [security]: it counts in the Application object only" in warning
    assert settings.options.file.keys() == {("csproxy", "packet-size"), ("log", "verbose")}
    monkeypatch.setenv("CSPROXY_SECURITY__NO_DEFAULT_ACCESS", "1")
    assert "CSPROXY_SECURITY__NO_DEFAULT_ACCESS: no-default-access of [security] counts" in refusal(tmp_path, CONF)


def test_a_wrong_byte_is_named_with_its_position(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, b"[confserv]\nport=2020\nx=caf\xe9\n")
    assert "line 3, byte 6: 0xe9 is not UTF-8" in sentence
    assert "line 1, byte 2" in refusal(tmp_path, b"\xef\xbb\xbf[\xff\n")


def test_a_byte_order_mark_and_indented_options_are_read(tmp_path: Path) -> None:
    conf = parse_conf(b"\xef\xbb\xbf[a]\r\none=1\r\n   two = 2 = 3\r\n\r\nTwo=\r\n", Path("f"))
    assert conf.sections == {"a": {"one": "1", "two": "2 = 3", "Two": ""}}
    assert conf.where("a", "two") == "f line 3"


def test_the_history_log_and_load_control_have_sections_of_the_file_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSPROXY_HISTORY_LOG__AUDIT_EXPIRATION", "90")
    conf = CONF + "[history-log]\nactive = false\naudit-expiration = 20\n[system]\nproxy-load-max = 3\n"
    settings = load(tmp_path, conf)
    assert settings.options.file[("history-log", "active")] is False
    assert settings.options.fixed == {("history-log", "audit-expiration"): 90}
    assert settings.options.file[("system", "proxy-load-max")] == 3
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("audit-expiration = 20", ("line 14", "audit-expiration=20 of [history-log] must exceed expiration=30")),
        ("max-records=9\naudit-max-records = 9", ("line 15", "audit-max-records=9", "exceed max-records=9")),
        ("expiration = 31", ("line 14", "'31' is not valid; valid: 1 to 30 days")),
        ("active = maybe", ("line 14", "option active of [history-log]", "valid: true, false")),
    ],
)
def test_a_bad_value_of_the_history_log_is_refused_with_its_place(
    tmp_path: Path, lines: str, words: tuple[str, ...]
) -> None:
    sentence = refusal(tmp_path, f"{CONF}[history-log]\n{lines}\n")
    assert all(word in sentence for word in words), sentence


def test_the_option_that_is_set_is_the_one_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_HISTORY_LOG__AUDIT_EXPIRATION", "30")
    assert "AUDIT_EXPIRATION: audit-expiration=30 of [history-log] must exceed expiration=30" in refusal(tmp_path, CONF)
    monkeypatch.setenv("CSPROXY_HISTORY_LOG__AUDIT_EXPIRATION", "31")
    assert load(tmp_path, f"{CONF}[history-log]\nexpiration = 29\n").options.file[("history-log", "expiration")] == 29


@pytest.mark.parametrize("engine", ["postgre", "postgresql"])
def test_a_database_server_is_named_by_its_options(tmp_path: Path, engine: str) -> None:
    server = f"dbengine = {engine}\ndbserver = h\ndbport = 5433\nusername = u\npassword = p@ss:w/rd"
    settings = load(tmp_path, CONF.replace("dbengine = sqlite", server + "\nreconnect-timeout = 3"))
    assert settings.database is not None
    assert settings.database.url == "postgresql+psycopg://u:p%40ss%3Aw%2Frd@h:5433/data/config.db"
    assert "p@ss" not in settings.database.shown
    assert "p%40ss" not in settings.database.shown
    assert settings.database.reconnect_s == 3.0


@pytest.mark.parametrize(
    ("engine", "url"),
    [
        ("oracle", "oracle+oracledb://localhost:1521?service_name=data%2Fconfig.db"),
        ("mssql", "mssql+pymssql://localhost:1433/data/config.db"),
        ("postgre\ndbserver = /run/pg", "postgresql+psycopg:///data/config.db?host=%2Frun%2Fpg"),
    ],
)
def test_each_kind_has_its_driver_and_usual_port(tmp_path: Path, engine: str, url: str) -> None:
    settings = load(tmp_path, CONF.replace("dbengine = sqlite", f"dbengine = {engine}"))
    assert settings.database is not None
    assert settings.database.url == url


def test_a_database_server_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="dbengine=postgre needs dbname"):
        load(tmp_path, "[confserv]\n[dbserver]\ndbengine = postgre\n")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("locale = xx_YY", "'xx_YY' is not valid: the language 'xx' is not known; valid: UTF-8 (order of code points)"),
        ("locale = german", "it has not the form of a locale; valid: UTF-8"),
        ("encoding = klingon", "there is no text encoding 'klingon'"),
    ],
)
def test_an_order_or_encoding_that_cannot_be_had_is_refused_at_the_start(
    tmp_path: Path, option: str, reason: str
) -> None:
    sentence = refusal(tmp_path, CONF.replace("packet-size = 4096", option))
    assert f"line 10, option {option.partition(' ')[0]} of [csproxy]: " in sentence
    assert reason in sentence


def test_locale_and_encoding_are_taken_as_they_are_written(tmp_path: Path) -> None:
    settings = load(tmp_path, CONF.replace("packet-size = 4096", "locale = zh_CN.UTF-8\nencoding = GB18030"))
    assert settings.options.file[("csproxy", "locale")] == "zh_CN.UTF-8"
    assert settings.options.file[("csproxy", "encoding")] == "GB18030"


LOG_INS = """\
[authentication]
library = gauth_ldap
ldap-cache-time = 60
[gauth_ldap]
ldap-url = ldap://one/dc=x??sub?(uid=X)
password = p
[gauth_ldap_2]
ldap-url = ldap://two/dc=x??sub?(uid=X)
[system]
token-ttl = 5
serialize-write-transactions = true
[gauth_kerberos]
spn = HTTP/host
"""


def test_options_of_log_ins_stand_in_file_and_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_GAUTH_LDAP_2__LDAP_URL", "ldap://env/dc=x??sub?(uid=X)")
    monkeypatch.setenv("CSPROXY_GAUTH_LDAP_10__CONNECT_TIMEOUT", "7")
    monkeypatch.setenv("CSPROXY_GAUTH_KERBEROS__REALM", "EXAMPLE.ORG")
    settings = load(tmp_path, CONF + LOG_INS)
    (warning,) = settings.warnings
    assert "confserv.conf holds a secret and has mode 0644" in warning
    assert settings.options.file["system", "serialize-write-transactions"] is True
    assert ("system", "token-ttl") not in settings.options.file
    application = {
        "authentication": {"library": "gauth_radius", "ldap-cache-time": 30},
        "gauth_ldap_2": {"ldap-url": "ldap://application/dc=x??sub?(uid=X)", "connect-timeout": 9},
        "csproxy": {"packet-size": "2048"},
        "odd": "no section",
    }
    assert settings.options.log_in_options(application) == {
        "authentication": {"library": "gauth_radius", "ldap-cache-time": 30},
        "gauth_ldap": {"ldap-url": "ldap://one/dc=x??sub?(uid=X)", "password": "p"},
        "gauth_ldap_2": {"ldap-url": "ldap://env/dc=x??sub?(uid=X)", "connect-timeout": 9},
        "gauth_ldap_10": {"connect-timeout": "7"},
        "gauth_kerberos": {"SPN": "HTTP/host", "realm": "EXAMPLE.ORG"},
        "system": {"token-ttl": "5"},
        "csproxy": {"packet-size": "2048"},
    }
    assert "password" not in repr(settings)


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        ("ldap-cache-time = 60", "ldap-cache-time = 99999", ("line 15", "'99999'", "0 (off) to 65536 seconds")),
        ("ldap://two/dc=x??sub?(uid=X)", "ldap://two", ("line 20", "ldap-url", "it has no filter")),
        ("token-ttl = 5", "token-uuid =", ("line 22", "token-uuid", "the value is not valid")),
    ],
)
def test_a_bad_option_of_log_ins_names_its_place(
    tmp_path: Path, old: str, new: str, sentences: tuple[str, ...]
) -> None:
    sentence = refusal(tmp_path, CONF + LOG_INS.replace(old, new))
    for part in sentences:
        assert part in sentence


def test_a_name_that_is_no_option_of_log_ins_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(tmp_path, CONF + LOG_INS.replace("password = p", "passwrd = p"))
    (warning,) = settings.warnings
    assert "option passwrd of [gauth_ldap]: this release does not have the option" in warning
    assert "is password meant?" in warning
    monkeypatch.setenv("CSPROXY_GAUTH_RADIUS_3__HOTS", "h")
    assert "GAUTH_RADIUS_3__HOTS: there is no option hots in [gauth_radius_3]; is host meant?" in refusal(
        tmp_path, CONF
    )


def test_what_a_new_master_stores_is_what_the_file_has_for_its_application_but_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = CONF + (
        "[system]\ntoken-authentication-mode = enable\ntoken-uuid = 4711\n"
        "[gauth_radius]\nhost = r\nshared-secret = hush\n[log-extended]\nlevel-reassign-04504 = alarm\n"
    )
    monkeypatch.setenv("CSPROXY_SYSTEM__PROXY_LOAD_MAX", "3")
    expected = {
        "csproxy": {"packet-size": "4096"},
        "log": {"verbose": "trace"},
        "system": {"token-authentication-mode": "enable"},
        "gauth_radius": {"host": "r"},
        "log-extended": {"level-reassign-04504": "alarm"},
    }
    assert load(tmp_path, conf, "-log-verbose", "debug").first_options == expected
    proxy = load(tmp_path, conf, "-c", "confserv.conf", "-host", "h", "-port", "2020", "-app", "P")
    assert proxy.first_options == {}


def test_a_value_of_the_file_that_would_be_stored_must_be_valid_even_if_the_environment_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSPROXY_CSPROXY__PACKET_SIZE", "8192")
    with pytest.raises(ConfigurationError, match=r"packet-size of \[csproxy\]: 'x' is not valid"):
        load(tmp_path, CONF.replace("4096", "x"))
