"""`csproxy init`: what it writes, and what it refuses."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from csproxy.core import codec
from csproxy.daemon.settings import load_settings
from csproxy.daemon.tool import main
from tests.postgresql import PostgresServer


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def applications(path: Path) -> dict[str, dict[str, object]]:
    with sqlite3.connect(path) as database:
        rows = database.execute("select body from objects where type = 9").fetchall()
    database.close()
    found = [codec.decode_map(body) for (body,) in rows]
    return {str(each["name"]): each for each in found}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_complete_and_private(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "d", "--master-port", "2121", "--proxy", "CSProxy_1=2122", "--proxy", "B=2123"]) == 0
    folder = Path("d")
    assert sorted(path.name for path in folder.iterdir()) == ["config.db", "confserv.conf", "password"]
    assert (mode(folder / "config.db"), mode(folder / "password")) == (0o600, 0o600)
    assert mode(folder / "confserv.conf") & 0o007 == 0
    assert len((folder / "password").read_text().strip()) >= 12
    settings = load_settings(["-c", "d/confserv.conf"])
    assert (settings.port, settings.address, settings.warnings) == (2121, "127.0.0.1", ())
    assert settings.database is not None
    assert Path(settings.database.shown).resolve() == (folder / "config.db").resolve()
    found = applications(folder / "config.db")
    assert {"confserv", "default", "CSProxy_1", "B"} == set(found)
    proxy = found["CSProxy_1"]
    assert proxy["serverInfo"]["port"] == "2122"  # type: ignore[index]
    assert proxy["appServerDBIDs"][0]["appServerDBID"] == 99  # type: ignore[index]
    assert proxy.get("redundancyType", 0) == 0
    printed = capsys.readouterr().out
    assert "confserv -c d/confserv.conf" in printed
    assert "confserv -host 127.0.0.1 -port 2121 -app CSProxy_1" in printed
    assert "csproxy read person --port 2122 --password-file d/password" in printed


def test_a_given_password_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "d", "--password", "geheim"]) == 0
    assert not Path("d/password").exists()
    assert b"geheim" not in Path("d/config.db").read_bytes()
    assert "geheim" not in capsys.readouterr().out


def test_a_site_is_the_same_for_the_same_seed() -> None:
    def content(folder: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"{folder}/config.db") as database:
            rows = database.execute("select type, dbid, folder, body from objects order by type, dbid").fetchall()
        database.close()
        return rows

    for folder, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert main(["init", folder, "--site", "10", "--seed", seed, "--password", "x"]) == 0
    assert content("a") == content("b")
    assert content("a") != content("c")
    assert sum(row[0] == 3 for row in content("a")) == 11


def test_the_database_may_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert main(["init", "d", "--password", "x", "--db", f"sqlite:///{tmp_path}/data/my.db"]) == 0
    assert (tmp_path / "data/my.db").is_file()
    settings = load_settings(["-c", "d/confserv.conf"])
    assert settings.database is not None
    assert settings.database.shown == str(tmp_path / "data/my.db")


def test_a_folder_with_something_in_it_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d").mkdir()
    Path("d/mine").write_text("precious")
    assert main(["init", "d"]) == 1
    assert "d is not empty (mine is there): choose another folder" in capsys.readouterr().err
    assert [path.name for path in Path("d").iterdir()] == ["mine"]


def test_a_failure_leaves_no_half_written_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken.db").write_bytes(b"")
    assert main(["init", "d", "--db", f"sqlite:///{tmp_path}/taken.db"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert list(Path("d").iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--db", "db2://h/d"], "sqlite:///FILE is valid"),
        (["--backup-master", "2020"], "the port belongs to the master already"),
        (["--db", "sqlite:///"], "sqlite:///FILE is valid"),
        (["--proxy", "A=2020"], "the port belongs to the master already"),
        (["--proxy", "A=1", "--proxy", "A=2"], "there is an Application object 'A' already"),
        (["--proxy", "default=1"], "there is an Application object 'default' already"),
    ],
)
def test_wrong_usage_ends_with_2_and_writes_nothing(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "d", *argv]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("d").exists()


@pytest.mark.parametrize(
    "argv", [["--proxy", "A"], ["--proxy", "=1"], ["--proxy", "A=0"], ["--site", "0"], ["--site", "x"]]
)
def test_arguments_that_cannot_be_read_are_wrong_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["init", "d", *argv])
    assert caught.value.code == 2


def test_a_backup_master_has_its_own_file_below() -> None:
    assert main(["init", "d", "--password", "x", "--master-port", "2120", "--backup-master", "2121"]) == 0
    first = load_settings(["-c", "d/confserv.conf"])
    second = load_settings(["-c", "d/backup/confserv.conf", "-app", "confserv_backup"])
    assert (first.port, second.port) == (2120, 2121)
    assert first.database is not None
    assert second.database is not None
    assert Path(first.database.shown).resolve() == Path(second.database.shown).resolve()


def test_a_database_server_is_written_into_a_file_that_others_cannot_read(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    url = postgres.tcp_url(database)
    assert main(["init", "d", "--password", "x", "--db", url, "--backup-master", "2121"]) == 0
    for conf in (Path("d/confserv.conf"), Path("d/backup/confserv.conf")):
        assert mode(conf) == 0o600
        assert "password = secret" in conf.read_text()
        settings = load_settings(
            ["-c", str(conf), "-app", "confserv" if conf.parent.name == "d" else "confserv_backup"]
        )
        assert settings.database is not None
        assert settings.database.url == url.replace("postgresql:", "postgresql+psycopg:")
    assert postgres.execute(database, "SELECT count(*) FROM objects WHERE type = 9") == [(3,)]
    assert main(["init", "e", "--db", url]) == 1
    socket = postgres.url(postgres.new_database())
    assert main(["init", "f", "--password", "x", "--db", socket]) == 0
    settings = load_settings(["-c", "f/confserv.conf"])
    assert settings.database is not None
    assert postgres.folder.name in settings.database.url


def test_a_site_with_tls_has_an_authority_a_certificate_and_secure_ports(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "d", "--tls", "--proxy", "CSProxy_1=2122", "--backup-master", "2021"]) == 0
    tls = Path("d", "tls").absolute()
    assert sorted(path.name for path in tls.iterdir()) == ["ca-key.pem", "ca.pem", "server-key.pem", "server.pem"]
    assert (mode(tls / "ca-key.pem"), mode(tls / "server-key.pem")) == (0o600, 0o600)
    for conf in (Path("d", "confserv.conf"), Path("d", "backup", "confserv.conf")):
        assert "transport = tls=1\n" in conf.read_text()
    (proxy,) = applications(Path("d", "config.db"))["CSProxy_1"]["portInfos"]  # type: ignore[misc, attr-defined]
    assert proxy["transportParams"] == "address=127.0.0.1;tls=1"
    said = capsys.readouterr().out
    assert f"-transport-tls 1 -transport-trusted-ca {tls / 'ca.pem'}" in said
    assert f"--tls-ca {tls / 'ca.pem'}" in said
