"""The daemon obeys the options of authentication in its Application object, as master and as proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import k5test
import pytest

from csproxy.auth.kerberos_client import kerberos_tickets
from csproxy.auth.tokens import TokenSettings, make_token
from csproxy.errors import ErrorCode, LoginIncorrectError, RetryableError, ServerError
from csproxy.transport.client import ConfigClient
from tests.auth.directory import APP_PASSWORD, APP_USER, Directory, directory_server
from tests.daemon import servers
from tests.daemon.servers import PASSWORD, Site, answer, tool

UUID = "00112233-4455-6677-8899-aabbccddeeff"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The servers are other processes; one event loop is enough here."""
    return "asyncio"


async def log_in(port: int, password: str) -> None:
    async with ConfigClient("127.0.0.1", port, user="default", password=password) as client:
        await client.status()


async def test_tokens_are_accepted_once_the_application_object_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    token = make_token("default", expires=int(time.time()) + 600, settings=TokenSettings(uuid=UUID))
    options = [f"options.system.token-{name}" for name in ("authentication-mode=enable", f"uuid={UUID}")]
    with site.master(), site.proxy("CSProxy_1", "-log-verbose", "all") as proxy:
        (proxy_port,) = site.proxy_ports.values()
        for port in (site.port, proxy_port):
            with pytest.raises(LoginIncorrectError):
                await log_in(port, token)
        for name in ("confserv", "CSProxy_1"):
            (application,) = answer("read", "application", f"name={name}", port=site.port)
            answer("update", "application", str(application["DBID"]), *options, port=site.port)
        proxy.line(containing="option token-authentication-mode of [system] is now true")
        for port in (site.port, proxy_port):
            await log_in(port, token)
            await log_in(port, PASSWORD)
            with pytest.raises(LoginIncorrectError):
                await log_in(port, token[:-2])


def create_person(site: Site, user: str, **more: str) -> None:
    names = {"userName": user, "employeeID": user, "firstName": user, "lastName": user}
    person = {"tenantDBID": 1, "isAgent": 1, **names, **more}
    answer("create", "person", port=site.port, stdin=json.dumps(person))


async def test_tokens_are_accepted_because_the_file_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path)
    token = make_token("default", expires=int(time.time()) + 600, settings=TokenSettings(uuid=UUID))
    with (site.folder / "confserv.conf").open("a") as file:
        file.write(f"\n[system]\ntoken-authentication-mode = enable\ntoken-uuid = {UUID}\n")
    with site.master():
        await log_in(site.port, token)
        set_options(site, "confserv", {"system.token-authentication-mode": "disable"})
        with pytest.raises(LoginIncorrectError):
            await log_in(site.port, token)


def set_options(site: Site, name: str, options: dict[str, str]) -> None:
    (application,) = answer("read", "application", f"name={name}", port=site.port)
    assignments = [f"options.{option}={value}" for option, value in options.items()]
    answer("update", "application", str(application["DBID"]), *assignments, port=site.port)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Directory]:
    with directory_server(tmp_path_factory.mktemp("slapd")) as server:
        yield server


async def test_a_proxy_leaves_what_it_is_not_configured_for_to_its_master(tmp_path: Path, directory: Directory) -> None:
    site = Site(tmp_path)
    ldap = {
        "gauth_ldap.ldap-url": f"ldap://127.0.0.1:{directory.port}/dc=example,dc=com??sub?(mail=X)",
        "gauth_ldap.app-user": APP_USER,
        "gauth_ldap.password": APP_PASSWORD,
    }
    with site.master() as master:
        create_person(site, "jane", externalID="jane@example.com")
        set_options(site, "confserv", {"authentication.library": "gauth_ldap", **ldap})
        set_options(site, "CSProxy_1", {"authentication.library": "gauth_ldap"})
        master.stop()
    with site.master() as master, site.proxy() as proxy:
        (proxy_port,) = site.proxy_ports.values()
        for port in (site.port, proxy_port):
            async with ConfigClient("127.0.0.1", port, user="jane", password="secret") as client:
                assert (await client.status())["clients"] >= 1
            with pytest.raises(LoginIncorrectError):
                async with ConfigClient("127.0.0.1", port, user="jane", password="guessed"):
                    pass
        master.stop()
        with pytest.raises(RetryableError, match="the master, which checks passwords, cannot be asked now"):
            async with ConfigClient("127.0.0.1", proxy_port, user="jane", password="guessed"):
                pass
    with site.master("-log-verbose", "all") as master, site.proxy("CSProxy_1", "-log-verbose", "all") as proxy:
        set_options(site, "CSProxy_1", ldap)  # now it has what it needs: no restart
        proxy.line(containing="option ldap-url of [gauth_ldap] is now")
        master.stop()
        async with ConfigClient("127.0.0.1", proxy_port, user="jane", password="secret") as client:
            assert (await client.status())["clients"] == 1


@pytest.fixture
def realm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A KDC, and a user with a ticket, known to this process and to those that it starts."""
    made = k5test.K5Realm(krb5_conf={"libdefaults": {"rdns": "false"}})
    try:
        for name, text in made.env.items():
            if name.startswith("KRB5"):
                monkeypatch.setenv(name, text)
                monkeypatch.setitem(servers._ENVIRONMENT, name, text)
        yield made
    finally:
        made.stop()


async def test_a_user_with_a_ticket_needs_no_password(tmp_path: Path, realm: Any) -> None:
    site = Site(tmp_path)
    spn = f"host/localhost@{realm.realm}"
    kerberos = {"SPN": "host/localhost", "realm": realm.realm, "keytab": realm.keytab}
    with site.master() as master:
        create_person(site, "user")
        options = {f"gauth_kerberos.{name}": text for name, text in kerberos.items()}
        set_options(site, "confserv", {"authentication.library": "gauth_kerberos", **options})
        master.stop()
    with site.master("-log-verbose", "all") as master:
        done = tool("status", "--output", "json", "--kerberos", spn, port=site.port, password=None)
        assert done.returncode == 0, done.stderr
        done = tool("read", "tenant", "--output", "json", "--kerberos", spn, port=site.port, password=None)
        assert done.returncode == 0, done.stderr
        master.line(containing="client authorised: 'default', type CFGSCE, user 'user'")
        async with ConfigClient("127.0.0.1", site.port, tickets=kerberos_tickets(spn)) as client:
            await client.administration.operational_mode()
            first = client.session_id
            master.stop()
            with site.master():  # it knows no sessions: the client registers anew, with another ticket
                await client.status()
                assert client.session_id != first
                for user in ("jane", ""):
                    done = tool(
                        "status", "--kerberos", "nobody/localhost", "--user", user, port=site.port, password=None
                    )
                    assert done.returncode == 1
                    assert "Kerberos: no ticket for 'nobody/localhost'" in done.stderr
                realm.run(["kdestroy"])
                with pytest.raises(ServerError, match=r"no ticket for .*; log in with kinit") as caught:
                    async with ConfigClient("127.0.0.1", site.port, tickets=kerberos_tickets(spn)):
                        pass
                assert caught.value.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
