"""`csproxy config` with a vendor's database, SQLite and a real PostgreSQL, against a running master."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.core.persistence.vendor_world import fill
from tests.daemon.servers import _ENVIRONMENT, Site, answer, tool
from tests.daemon.vendor_site import MAPPING, fill_site
from tests.postgresql import postgresql_server

SECRET = "swordfish"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgresql_server() as server:
        url = server.url(server.new_database())
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "postgresql":
        found: str = request.getfixturevalue("postgresql")
        return found
    return f"sqlite:///{tmp_path / 'vendor.db'}"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A master into which nothing is imported."""
    site = Site(tmp_path_factory.mktemp("untouched"), proxies=())
    with site.master():
        yield site.port


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    path = tmp_path / "site.toml"
    path.write_text(MAPPING, encoding="utf-8")
    return str(path)


def test_a_database_is_imported_into_a_running_master(url: str, mapping: str, tmp_path: Path) -> None:
    fill_site(url)
    site, source = Site(tmp_path, proxies=()), ("--db", url, "--mapping", mapping)
    with site.master():
        shown = tool("config", "diff", *source, port=site.port)
        assert shown.returncode == 0, shown.stderr
        assert '    agentInfo.placeDBID: "place [Environment/Desk 7]"' in shown.stdout.splitlines()
        made = answer("config", "import", *source, "--yes", port=site.port)
        assert (made["result"], made["created"], made["updated"]) == ("ok", 17, 0)
        assert {"action": "skip", "type": "tenant", "reference": "Environment"} in made["objects"]
        _check_what_arrived(site.port)
        again = answer("config", "import", *source, "--yes", port=site.port)
        assert (again["created"], again["updated"], again["skipped"]) == (0, 0, 20)
        report = again["report"]
    assert report["objects"]["CfgPerson"] == 3
    assert report["missing_required"] == ["CfgApplication.redundancyType"]
    assert not report["problems"]
    assert "CfgFolder" in report["unmapped_types"]
    assert report["ignored"]["cfg_locale"] == "texts of locales are no objects"


def _check_what_arrived(port: int) -> None:
    def one(kind: str, *key: str) -> dict[str, Any]:
        (found,) = answer("read", kind, *key, port=port)
        assert isinstance(found, dict)
        return found

    zoe, place, rule = one("person", "user_name=zoe"), one("place", "name=Desk 7"), one("script", "name=rule")
    dn, login, host = one("dn", "dn_number=5001"), one("agentLogin", "login_code=4711"), one("host", "name=alpha")
    assert (zoe["lastName"], zoe["firstName"], zoe["state"]) == ("Müller", "Zoë 日本", "CFGEnabled")
    assert zoe["agentInfo"]["placeDBID"] == place["DBID"]
    assert zoe["agentInfo"]["capacityRuleDBID"] == rule["DBID"]
    assert zoe["agentInfo"]["agentLogins"] == [{"agentLoginDBID": login["DBID"]}]
    assert zoe["userProperties"] == {"desktop": {"note": "one two"}, "empty": {}}
    assert place["DNDBIDs"] == [dn["DBID"]]
    assert (dn["routeType"], dn["switchDBID"]) == ("CFGDefault", login["switchDBID"])
    server = one("application", "name=tserver")
    assert server["serverInfo"]["hostDBID"] == host["DBID"]
    assert server["options"]["log"]["long"] == "0123456789" * 60
    client = one("application", "name=desktop")
    assert client["appServerDBIDs"] == [{"appServerDBID": server["DBID"], "appParams": "p"}]
    new = one("person", "user_name=new")
    assert (new["state"], new["isAgent"], new["agentInfo"]) == ("CFGDisabled", "CFGTrue", {})
    group = one("agentGroup", "name=Agents")
    assert group["agentDBIDs"] == sorted((zoe["DBID"], new["DBID"]))
    assert group["groupInfo"]["userProperties"] == {"VQ": {"target": "q1"}}


def test_the_shipped_mapping_alone_tells_what_is_missing_and_sends_nothing(url: str, port: int) -> None:
    fill(url)
    done = tool("config", "import", "--db", url, "--yes", "--output", "json", port=port)
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["result"] == "refused"
    assert document["missing_properties"]["agentlogin [#21]"] == ["switch"]
    assert document["missing_dependencies"]["application [confserv]"] == ["host [#71] (serverInfo.hostDBID)"]
    assert document["report"]["missing_required"]
    for sentence in (
        "agentlogin [#21] needs switch",
        "mandatory, and not in the database as mapped: CfgAgentLogin.switchDBID",
        "type not read: CfgHost (table cfg_host, of which the mapping names no columns)",
        "left out on purpose: cfg_locale (texts of locales are no objects)",
        "attribute without a column: CfgPerson.emailAddress",
        "column not in the mapping: cfg_host.name",
    ):
        assert sentence in done.stderr.splitlines(), sentence
    assert answer("read", "skill", "name=Deutsch", port=port) == []


def test_the_report_can_go_into_a_file(mapping: str, port: int, tmp_path: Path) -> None:
    url, report = f"sqlite:///{tmp_path / 'vendor.db'}", tmp_path / "report.txt"
    fill_site(url)
    done = tool("config", "validate", "--db", url, "--mapping", mapping, "--report", str(report), port=port)
    assert (done.returncode, done.stdout) == (0, "valid\n")
    lines = report.read_text("utf-8").splitlines()
    assert "read: CfgPerson: 3 objects" in lines
    assert done.stderr.splitlines() == [
        f"not everything mapped could be read: the report with {len(lines)} lines is in {report}"
    ]
    nowhere = tmp_path / "none" / "report"
    done = tool("config", "validate", "--db", url, "--mapping", mapping, "--report", str(nowhere), port=port)
    assert done.returncode == 1
    assert f"the report cannot be written to {nowhere}" in done.stderr


def test_without_a_terminal_and_without_yes_nothing_is_imported(mapping: str, tmp_path: Path) -> None:
    done = tool("config", "import", "--db", f"sqlite:///{tmp_path / 'none.db'}", "--mapping", mapping)
    assert done.returncode == 2
    assert "use --yes" in done.stderr


def refused(*words: str) -> str:
    """The one sentence with which a command is refused, which holds no password."""
    done = tool("config", "validate", *words)
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert SECRET not in sentence
    document = tool("config", "validate", *words, "--output", "json")
    assert document.returncode == 1
    assert json.loads(document.stdout)["error"]["message"] in sentence
    return sentence


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"no url {SECRET}", "the database URL cannot be read"),
        (f"postgresql://u:{SECRET}@h:port/x", "the database URL cannot be read"),
        (f"postgresql://u:p@{SECRET}@h/x", "more than one @"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/x", "the database failed while connecting"),
        (f"postgresql://u:{SECRET}@no.such.host.invalid/x", "the database failed while connecting"),
        (f"postgresql://u:{SECRET}@127.0.0.1/x?wombat=1", "the database failed while connecting"),
        (f"klingon://u:{SECRET}@h/x", "database kind 'klingon' is not usable"),
        ("sqlite:////none/vendor.db", "there is no database file /none/vendor.db"),
        ("sqlite://", "names no file"),
    ],
)
def test_a_database_that_cannot_be_read_is_refused_in_one_sentence(url: str, words: str) -> None:
    assert words in refused("--db", url)


def test_a_wrong_password_is_told_without_it(postgresql: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(postgresql)
    server = make_url(postgresql)
    access = Path(str(server.query["host"])) / "data" / "pg_hba.conf"
    access.write_text("local all guarded scram-sha-256\n" + access.read_text("utf-8"), encoding="utf-8")
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE ROLE guarded LOGIN PASSWORD 'right'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guarded"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    guarded = server.set(drivername="postgresql", username="guarded")
    sentence = refused("--db", guarded.set(password=SECRET).render_as_string(hide_password=False))
    assert 'password authentication failed for user "guarded"' in sentence
    monkeypatch.setitem(_ENVIRONMENT, "PGPASSWORD", "right")
    done = tool("config", "validate", "--db", str(guarded), port=port)
    assert "read: CfgPerson: 3 objects" in done.stderr.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[types", "is not valid TOML"),
        (b"\xff", "is not UTF-8: byte 0 is invalid"),
        (b"[types.CfgWombat]\n", "there is no object type 'CfgWombat'"),
        (b'[types.CfgSkill.attributes]\nnam = "x"\n', "CfgSkill has no attribute 'nam': did you mean name"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_mapping_is_refused_before_the_database_is_opened(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "site.toml"
    if content is not None:
        path.write_bytes(content)
    sentence = refused("--db", f"sqlite:///{tmp_path / 'none.db'}", "--mapping", str(path))
    assert words in sentence
    assert str(path) in sentence
