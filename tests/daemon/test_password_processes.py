"""Passwords on real processes: a proxy lets users log in without its master, and obeys what the master last said."""

from __future__ import annotations

from pathlib import Path

import pytest

from csproxy.errors import ErrorCode, LoginIncorrectError, ServerError
from csproxy.transport.client import ConfigClient
from csproxy.transport.connection import Connection
from csproxy.transport.dial import connect_tcp
from csproxy.transport.wire.administration import ChangePassword
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient
from tests.daemon.servers import PASSWORD, Running, Site, answer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The servers are other processes; one event loop is enough here."""
    return "asyncio"


async def log_in(port: int, user: str, password: str) -> None:
    async with ConfigClient("127.0.0.1", port, user=user, password=password) as client:
        await client.status()


async def change_password(port: int, user: str, old: str, new: str) -> None:
    channel = await connect_tcp("127.0.0.1", port)
    connection = await Connection.open(channel, "default")
    try:
        await connection.register(RegisterClient(type=19, name="default", user="default", password=PASSWORD))
        request = ChangePassword(user=user, old_password=old, new_password=new)
        await connection.request(MessageId.CHANGE_PASSWORD, request)
    finally:
        await connection.aclose()


def create_person(port: int, name: str, password: str) -> None:
    person = f'{{"tenantDBID": 1, "userName": "{name}", "employeeID": "{name}", "password": "{password}"}}'
    answer("create", "person", port=port, stdin=person)


def wait_for(running: Running, text: str) -> None:
    """A line that may have come before the server was ready."""
    if not any(text in line for line in running.seen):
        running.line(containing=text)


async def test_new_users_log_in_at_a_proxy_whose_master_was_killed_also_after_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (port,) = site.proxy_ports.values()
    with site.master("-log-verbose", "all") as master:
        create_person(site.port, "early", "of early")
        with site.proxy("CSProxy_1", "-log-verbose", "all") as proxy:
            wait_for(proxy, "passwords are checked here from now on: 2 of them")
            create_person(site.port, "jane", "of jane")
            await change_password(site.port, "early", "of early", "changed")
            with pytest.raises(LoginIncorrectError):
                await log_in(port, "early", "of early")
            master.kill()
            proxy.line(containing="the connection to")
            await log_in(port, "jane", "of jane")
            await log_in(port, "early", "changed")
            assert answer("status", port=port)["passwords"]["checked_here"] is True
            for user, password in (("jane", "of early"), ("early", "of early"), ("nobody", "")):
                with pytest.raises(LoginIncorrectError, match="user name or password is wrong"):
                    await log_in(port, user, password)
            proxy.stop()
        with site.proxy("CSProxy_1"):
            await log_in(port, "jane", "of jane")
            await log_in(port, "early", "changed")
            with pytest.raises(LoginIncorrectError):
                await log_in(port, "early", "of early")


async def test_rules_and_lockout_hold_at_the_master_and_at_a_proxy(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (port,) = site.proxy_ports.values()
    section = "userProperties.security-authentication-rules"
    rules = [f"{section}.{rule}" for rule in ("password-min-length=6", "account-lockout-threshold=2")]
    with site.master("-log-verbose", "all") as master, site.proxy("CSProxy_1", "-log-verbose", "all") as proxy:
        wait_for(proxy, "passwords are checked here from now on")
        answer("update", "tenant", "1", *rules, port=site.port)
        create_person(site.port, "jane", "long enough")
        with pytest.raises(ServerError, match=r"at least 6 characters \(password-min-length\)") as caught:
            await change_password(site.port, "jane", "long enough", "short")
        assert caught.value.code is ErrorCode.CHANGE_PASSWORD_DENIED
        await log_in(port, "jane", "long enough")
        for _ in range(2):
            with pytest.raises(LoginIncorrectError):
                await log_in(port, "jane", "guess")
        proxy.line(containing="is locked out after 2 wrong passwords")
        with pytest.raises(LoginIncorrectError):
            await log_in(port, "jane", "long enough")
        master.line(containing="is locked out after 2 wrong passwords")
        with pytest.raises(LoginIncorrectError):
            await log_in(site.port, "jane", "long enough")
        assert not any("long enough" in line or "guess" in line for line in (*master.seen, *proxy.seen))
