"""A client library and a server over TLS, and ports that are for user interfaces only."""

from __future__ import annotations

from pathlib import Path

import pytest

from csproxy import ConfigClient, NearCache, TlsSettings
from csproxy.core.model import CfgAppType, CfgPerson
from csproxy.core.transport_parameters import ListeningMode
from csproxy.errors import AccessDeniedError, ConnectionLostError, ErrorCode, TlsError
from csproxy.transport.client import ClientState
from csproxy.transport.listener import Listener, ListenPort
from csproxy.transport.port_security import PortSecurity
from csproxy.transport.tls_context import load_context
from tests.tls_files import Authority, trusting
from tests.transport.test_trust import master_site, register, url

pytestmark = pytest.mark.anyio

__all__ = ["url"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls", "root")


async def test_a_client_and_its_near_cache_work_over_tls(url: str, authority: Authority) -> None:
    tls = load_context(authority.issue("127.0.0.1").settings(authority, mutual=True), server_side=True)
    port = ListenPort("default", "127.0.0.1", 0, PortSecurity(ListeningMode.SECURE, tls))
    mine = authority.issue("desktop.example").settings(authority)
    async with master_site(url) as site, Listener([port], site.server.connect) as listener:
        number = listener.addresses()["default"][1]
        async with ConfigClient("127.0.0.1", number, user="default", password="secret", tls=mine) as client:
            persons = await client.read(CfgPerson)
            assert [person.userName for person in persons] == ["default"]
            async with NearCache(client, [CfgPerson]) as near:
                assert near.get(CfgPerson, persons[0].DBID) == persons[0]
            (session,) = site.server.sessions
            shown = session.connection.channel.peer_certificate
            assert shown.names == ("desktop.example",)


async def test_a_client_is_told_by_its_error_what_is_wrong(url: str, authority: Authority) -> None:
    tls = load_context(authority.issue("127.0.0.1").settings(), server_side=True)
    port = ListenPort("default", "127.0.0.1", 0, PortSecurity(ListeningMode.SECURE, tls))
    async with master_site(url) as site, Listener([port], site.server.connect) as listener:
        number = listener.addresses()["default"][1]

        async def fails(tls: TlsSettings | None) -> ConnectionLostError:
            client = ConfigClient("127.0.0.1", number, user="default", password="secret", tls=tls)
            with pytest.raises(ConnectionLostError) as refused:
                await client.__aenter__()
            assert client.state is not ClientState.CONNECTED
            return refused.value

        plain = await fails(None)
        assert plain.code is ErrorCode.UNSECURE_CONNECTION_DENIED
        assert isinstance(await fails(trusting(authority, server_name="other.example")), TlsError)


async def test_a_plain_client_does_not_try_a_secure_port_again(url: str, authority: Authority) -> None:
    tls = load_context(authority.issue("127.0.0.1").settings(), server_side=True)
    port = ListenPort("default", "127.0.0.1", 0, PortSecurity(ListeningMode.SECURE, tls))
    async with master_site(url) as site, Listener([port], site.server.connect) as listener:
        number = listener.addresses()["default"][1]
        with pytest.raises(ConnectionLostError, match=r"\(error 38\)"):
            async with ConfigClient("127.0.0.1", number, user="default", password="secret", connect_wait_s=60):
                pass
        assert listener.statistics().unsecured == 1


async def test_a_port_for_users_takes_user_interfaces_only(url: str) -> None:
    async with master_site(url) as site:
        site.server.is_for_users = lambda port_id: port_id == "default"
        refused = await register(site)  # a proxy
        assert refused["code"] == ErrorCode.APP_SECURITY_VIOLATION
        assert "port 'default' of 'confserv' takes applications with a user interface only" in refused["description"]
        assert "'proxy1' is of type CFGConfigServer" in refused["description"]
        async with ConfigClient(
            "master", user="default", password="secret", connector=site.network.connector("client")
        ) as client:
            assert client.state is ClientState.CONNECTED
        with pytest.raises(AccessDeniedError, match="user interface only"):
            async with ConfigClient(
                "master",
                application="confserv",
                application_type=CfgAppType.CFGConfigServer,
                connector=site.network.connector("client"),
            ):
                pass
