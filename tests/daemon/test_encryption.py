"""Encrypted passwords of confserv.conf, and warnings of files that others may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import make_url

from csproxy.daemon.encryption import decrypt, encrypt, make_key, read_key
from csproxy.daemon.settings import DaemonSettings, load_settings
from csproxy.errors import ConfigurationError
from tests.daemon.servers import tool

SECRET = "s3cr&t ü"
CONF = """\
[confserv]
encryption = true
key-file = keys/confserv.key
[dbserver]
dbengine = postgre
dbname = config
username = u
password = {password}
[csproxy]
app-password = {app_password}
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CSPROXY_"):
            monkeypatch.delenv(name)


def encrypted(folder: Path, password: str) -> str:
    """What the tool prints."""
    (folder / "keys").mkdir(exist_ok=True)
    key_file = folder / "keys" / "confserv.key"
    done = tool("encrypt-password", "--key-file", str(key_file), "--password-stdin", stdin=password + "\n")
    assert done.returncode == 0, done.stderr
    assert key_file.stat().st_mode & 0o777 == 0o600
    return done.stdout.strip()


def write(folder: Path, text: str, mode: int = 0o600) -> None:
    path = folder / "confserv.conf"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def load(folder: Path, *argv: str) -> DaemonSettings:
    return load_settings(argv, directory=folder)


def test_a_master_takes_encrypted_passwords(tmp_path: Path) -> None:
    write(tmp_path, CONF.format(password=encrypted(tmp_path, SECRET), app_password=encrypted(tmp_path, "app")))
    settings = load(tmp_path)
    assert settings.database is not None
    assert make_url(settings.database.url).password == SECRET
    assert not settings.warnings
    assert "s3cr" not in repr(settings)


def test_secrets_of_log_ins_are_encrypted_too(tmp_path: Path) -> None:
    section = "[gauth_radius_1]\nhost = h\nshared-secret = {secret}\n"
    conf = CONF.format(password=encrypted(tmp_path, SECRET), app_password="")
    write(tmp_path, conf + section.format(secret=encrypted(tmp_path, "r4d")))
    assert load(tmp_path).options.log_in_options({})["gauth_radius_1"] == {"host": "h", "shared-secret": "r4d"}
    write(tmp_path, conf + section.format(secret="plain"))
    with pytest.raises(ConfigurationError, match=r"option shared-secret of \[gauth_radius_1\]: encryption=true, but"):
        load(tmp_path)


def test_a_proxy_takes_its_encrypted_password(tmp_path: Path) -> None:
    write(tmp_path, CONF.format(password="", app_password=encrypted(tmp_path, "app secret")))
    settings = load(tmp_path, "-host", "h", "-port", "1", "-app", "p", "-c", "confserv.conf")
    assert settings.upstream is not None
    assert settings.upstream.app_password == "app secret"
    assert "app secret" not in repr(settings)


def test_a_password_of_the_environment_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_DATABASE__PASSWORD", "plain")
    write(tmp_path, CONF.format(password=encrypted(tmp_path, SECRET), app_password=""))
    settings = load(tmp_path)
    assert settings.database is not None
    assert ":plain@" in settings.database.url


def test_the_environment_may_name_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, CONF.format(password=encrypted(tmp_path, SECRET), app_password=""))
    (tmp_path / "keys" / "confserv.key").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("CSPROXY_CONFSERV__KEY_FILE", str(tmp_path / "elsewhere"))
    assert load(tmp_path).database is not None
    monkeypatch.setenv("CSPROXY_CONFSERV__ENCRYPTION", "perhaps")
    with pytest.raises(ConfigurationError, match="CSPROXY_CONFSERV__ENCRYPTION: 'perhaps' is not valid"):
        load(tmp_path)


@pytest.mark.parametrize("password", ["plain", "gAAAAABnot-of-this-key"])
def test_a_password_that_is_not_encrypted_is_refused_and_not_shown(tmp_path: Path, password: str) -> None:
    encrypted(tmp_path, SECRET)
    write(tmp_path, CONF.format(password=password, app_password=""))
    with pytest.raises(ConfigurationError, match=r"line 8, option password of \[dbserver\]: .* encrypt-password") as e:
        load(tmp_path)
    assert password not in str(e.value)


def test_a_key_file_is_made_once_and_must_hold_a_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key(path)
    text = encrypt(SECRET, read_key(path))
    assert decrypt(text, read_key(path)) == SECRET
    with pytest.raises(ConfigurationError, match="cannot be written: File exists"):
        make_key(path)
    path.write_text("no key")
    with pytest.raises(ConfigurationError, match="holds no key of csproxy encrypt-password"):
        read_key(path)


@pytest.mark.parametrize(
    ("stdin", "words", "said"),
    [
        ("\n", ("--password-stdin",), "an empty password"),
        ("", (), "no terminal to ask for the password on"),
        ("x\n", ("--password-stdin", "--key-file", "nowhere/key"), "nowhere/key cannot be written"),
    ],
)
def test_what_cannot_be_encrypted_is_said(tmp_path: Path, stdin: str, words: tuple[str, ...], said: str) -> None:
    words = words if "--key-file" in words else (*words, "--key-file", str(tmp_path / "k"))
    done = tool("encrypt-password", *words, stdin=stdin)
    assert done.returncode in (1, 2)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("conf_mode", "key_mode", "said"),
    [
        (0o600, 0o600, []),
        (0o640, 0o600, []),
        (0o660, 0o600, ["confserv.conf has mode 0660: others can change it"]),
        (0o600, 0o640, ["confserv.key holds a secret and has mode 0640"]),
    ],
)
def test_files_that_others_may_use_are_warned_of(
    tmp_path: Path, conf_mode: int, key_mode: int, said: list[str]
) -> None:
    write(tmp_path, CONF.format(password=encrypted(tmp_path, SECRET), app_password=""), conf_mode)
    (tmp_path / "keys" / "confserv.key").chmod(key_mode)
    warnings = load(tmp_path).warnings
    assert len(warnings) == len(said)
    assert all(part in warning for part, warning in zip(said, warnings, strict=True))


def test_a_plain_password_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, "[confserv]\n[dbserver]\ndbengine = postgre\ndbname = x\npassword = plain\n", 0o644)
    (warning,) = load(tmp_path).warnings
    assert "confserv.conf holds a secret and has mode 0644" in warning
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o644)
    done = tool("status", "--password-file", str(tmp_path / "password"), port=1)
    assert "password holds a secret and has mode 0644" in done.stderr


def test_a_line_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, "[confserv]\n[dbserver]\npassword: plain\n")
    with pytest.raises(ConfigurationError, match="line 3 is neither") as e:
        load(tmp_path)
    assert "plain" not in str(e.value)


@pytest.mark.parametrize("value", ["hidden", '"hidden"', '{"password": "hidden"'])
def test_an_environment_variable_that_cannot_be_read_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CSPROXY_DATABASE", value)
    write(tmp_path, "[confserv]\n[dbserver]\ndbengine = postgre\ndbname = x\n")
    with pytest.raises(ConfigurationError, match="environment variable") as e:
        load(tmp_path)
    assert "hidden" not in str(e.value)
