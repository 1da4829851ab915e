"""Real programs are given secrets that nothing else resembles, and everything that they write is searched for them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from csproxy.auth.tokens import TokenSettings, make_token
from csproxy.errors import LoginIncorrectError, ServerError
from csproxy.transport.client import ConfigClient
from tests.auth.directory import APP_PASSWORD, APP_USER, Directory, directory_server
from tests.daemon.servers import PASSWORD, Running, Site, answer, tool
from tests.own_ports import free_ports
from tests.postgresql import PostgresServer

DEFAULT = "hush-default-Qz7"
PERSON = "hush-person-Qz7"
WRONG = "hush-wrong-Qz7"
APPLICATION = "hush-application-Qz7"
UUID = "hush-uuid-Qz7"
RADIUS = "hush-radius-Qz7"
DATABASE = "hush-database-Qz7"
OPTIONS = (APP_PASSWORD, UUID, RADIUS)
"""Values of options: whoever may read the objects reads them, and so does the copy on disk."""
PASSWORDS = (DEFAULT, PERSON, WRONG, APPLICATION)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The servers are other processes; one event loop is enough here."""
    return "asyncio"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    with directory_server(tmp_path_factory.mktemp("slapd")) as server:
        yield server


def everything(running: Running) -> str:
    """Stop a server; all lines that it has written."""
    running.stop()
    assert running.process.stdout is not None
    return "\n".join(running.seen) + running._rest.decode() + running.process.stdout.read().decode()


def assert_none(where: str, text: str | bytes, secrets: tuple[str, ...]) -> None:
    """No secret stands in the text."""
    for secret in secrets:
        needle = secret.encode() if isinstance(text, bytes) else secret
        assert needle not in text, f"{secret} in {where}"  # type: ignore[operator]


def options_for(directory: Directory) -> list[str]:
    url = f"ldap://127.0.0.1:{directory.port}/dc=example,dc=com??sub?(mail=X)"
    options = {
        "authentication.library": "gauth_ldap,gauth_radius",
        "gauth_ldap.ldap-url": url,
        "gauth_ldap.app-user": APP_USER,
        "gauth_ldap.password": APP_PASSWORD,
        "gauth_ldap.verbose": "1",
        "gauth_ldap.retry-attempts": "1",
        "gauth_radius.host": "127.0.0.1",
        "gauth_radius.port": str(free_ports(1)[0]),
        "gauth_radius.shared-secret": RADIUS,
        "gauth_radius.timeout": "1",
        "gauth_radius.retries": "0",
        "system.token-authentication-mode": "enable",
        "system.token-uuid": UUID,
    }
    return [f"options.{name}={value}" for name, value in options.items()]


def set_up(site: Site, directory: Directory) -> list[subprocess.CompletedProcess[str]]:
    """Put the secrets into the configuration, with the tool; what it said."""
    done = []
    for name in ("confserv", "CSProxy_1"):
        (application,) = answer("read", "application", f"name={name}", port=site.port)
        words = ["update", "application", str(application["DBID"]), *options_for(directory)]
        if name == "CSProxy_1":
            words.append(f"password={APPLICATION}")
        done.append(tool(*words, port=site.port))
    person = {"tenantDBID": 1, "userName": "jane", "employeeID": "jane", "externalID": "jane@example.com"}
    text = json.dumps({**person, "firstName": "Jane", "lastName": "Doe", "isAgent": 1, "password": PERSON})
    done.append(tool("create", "person", port=site.port, stdin=text))
    assert [each.returncode for each in done] == [0, 0, 0], done
    return done


async def use(port: int, token: str) -> list[str]:
    """Log in in every way, rightly and wrongly; the ids of sessions, and what the client says of itself."""
    seen = []
    async with ConfigClient("127.0.0.1", port, user="default", password=DEFAULT) as client:
        assert await client.authenticate("default", DEFAULT) == 100
        for user, password in (("default", WRONG), ("jane", WRONG), ("nobody", WRONG), ("default", token[:-1])):
            with pytest.raises(ServerError) as caught:
                await client.authenticate(user, password)
            assert_none("a refusal", repr(caught.value) + str(caught.value), (*OPTIONS, *PASSWORDS, token))
        seen += [client.session_id, repr(client)]
    async with ConfigClient("127.0.0.1", port, user="default", password=token) as client:
        seen += [client.session_id, repr(client)]
    with pytest.raises(LoginIncorrectError):
        async with ConfigClient("127.0.0.1", port, user="default", password=WRONG):
            pass
    return seen


@pytest.mark.slow
async def test_programs_write_no_secret_anywhere(tmp_path: Path, directory: Directory) -> None:
    site = Site(tmp_path)
    token = make_token("default", expires=int(time.time()) + 600, settings=TokenSettings(uuid=UUID))
    written: dict[str, str] = {}
    loud = ("-log-verbose", "all")
    with site.master(*loud) as master:
        async with ConfigClient("127.0.0.1", site.port, user="default", password=PASSWORD) as client:
            await client.administration.change_password("default", PASSWORD, DEFAULT)
            await client.administration.change_password("default", DEFAULT, PASSWORD)
        for number, done in enumerate(set_up(site, directory)):
            written[f"command {number}, errors"] = done.stderr
        async with ConfigClient("127.0.0.1", site.port, user="default", password=PASSWORD) as client:
            await client.administration.change_password("default", PASSWORD, DEFAULT)
        written["first master"] = everything(master)
    conf = site.folder / "proxy.conf"
    conf.write_text(f"[csproxy]\napp-password = {APPLICATION}\n")
    conf.chmod(0o600)
    with site.master(*loud) as master, site.proxy("CSProxy_1", "-c", str(conf), *loud) as proxy:
        (proxy_port,) = site.proxy_ports.values()
        sessions = [text for port in (site.port, proxy_port) for text in await use(port, token)]
        ids = tuple(text for text in sessions if not text.startswith("<"))
        assert len(ids) == 4
        written["a client's repr"] = " ".join(text for text in sessions if text.startswith("<"))
        for words in (
            ("status", "--output", "json"),
            ("verify", "--output", "json"),
            ("history", "--output", "json"),
            ("read", "person", "--output", "json"),
            *(("config", "export", "--format", form) for form in ("json", "raw", "xml")),
        ):
            for port in (site.port, proxy_port):
                done = tool(*words, port=port, password=DEFAULT)
                assert done.returncode == 0, done.stderr
                written[f"{' '.join(words)} at {port}"] = done.stdout + done.stderr
        done = tool("read", "application", "--output", "json", port=proxy_port, password=DEFAULT)
        assert_none("the Applications", done.stdout, PASSWORDS)
        assert UUID in done.stdout  # as documented: whoever may read the object
        written["proxy"], written["master"] = everything(proxy), everything(master)
    audit = Running("confserv", "-c", str(site.folder / "confserv.conf"), "-dumpauditxml", str(tmp_path / "a.xml"))
    with audit:
        assert audit.process.wait(30) == 0
    written["audit"] = (tmp_path / "a.xml").read_text(encoding="utf-8")
    assert "gauth_ldap" in written["audit"]
    for where, text in written.items():
        assert text or "errors" in where or "verify" in where, where
        assert_none(where, text, (*OPTIONS, *PASSWORDS, *ids, token))
    assert "failed authorisation" in written["master"]
    assert "bind of 'uid=jane" in written["proxy"]
    copies = 0
    for path in sorted(site.folder.rglob("*")):
        if path.is_file() and path != conf:
            assert_none(str(path), path.read_bytes(), (*PASSWORDS, *ids, token))
            if path.name.startswith("CSProxy_1."):
                copies += 1
                assert path.stat().st_mode & 0o077 == 0, path
    assert copies


def test_the_password_of_a_database_is_not_shown(tmp_path: Path, postgres: PostgresServer) -> None:
    url = postgres.tcp_url(postgres.new_database()).replace(":secret@", f":{DATABASE}@")
    (port, closed) = free_ports(2)
    folder = tmp_path / "d"
    made = tool("init", str(folder), "--password", PASSWORD, "--master-port", str(port), "--db", url)
    assert made.returncode == 0, made.stderr
    conf = folder / "confserv.conf"
    assert DATABASE in conf.read_text()
    assert conf.stat().st_mode & 0o777 == 0o600
    with Running("confserv", "-c", str(conf), "-log-verbose", "all") as master:
        master.line(containing="ready on")
        written = tool("status", "--output", "json", port=port).stdout + everything(master)
    conf.write_text(conf.read_text().replace(f"dbport = {postgres.port}", f"dbport = {closed}"))
    with Running("confserv", "-c", str(conf), "-log-verbose", "all") as master:
        assert master.process.wait(60) == 1
        assert master.process.stdout is not None
        refused = master.process.stdout.read().decode()
    assert str(closed) in refused
    again = tool("init", str(tmp_path / "e"), "--db", url.replace(str(postgres.port), str(closed)))
    wrong = tool("init", str(tmp_path / "f"), "--db", url.replace("postgresql:", "nonsense:"))
    assert (again.returncode, wrong.returncode) == (1, 2)
    for where, text in (("a run", written), ("a refusal", refused), ("init", made.stdout + made.stderr)):
        assert_none(where, text, (DATABASE,))
    for done in (again, wrong):
        assert_none("a refusal of init", done.stdout + done.stderr, (DATABASE,))
