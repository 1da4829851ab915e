"""Which proxies a master believes: by the password of their Application, by their channel, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from csproxy.auth.proxies import MAX_WAITING, ProxyAuthenticator
from csproxy.core.changes import Position
from csproxy.core.codec import decode_map
from csproxy.core.loading import CacheBuilder
from csproxy.core.model import SCHEMA, CfgApplication, CfgAppType
from csproxy.core.model.canonical import encode_object
from csproxy.core.model.structures import CfgServer
from csproxy.core.persistence.engine import sqlite_url
from csproxy.core.persistence.initial import create_configuration
from csproxy.core.wellknown import well_known_objects
from csproxy.errors import ErrorCode, LoginIncorrectError, ServerError
from csproxy.transport.channel import PeerCertificate
from csproxy.transport.trust import LOOPBACK, MUTUAL_TLS, PASSWORD, is_loopback, names_of
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import RegisterClient, RestoreSession
from tests.transport.manual import ManualChannel
from tests.transport.test_message_set import APPLICATION, PERSON, Listening, Site, cheap_hash, master_site

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = sqlite_url(tmp_path / "config.db")
    objects = [*well_known_objects(proxies=[("proxy1", 2021), ("proxy2", 2022)])]
    (dbid,) = [obj["DBID"] for kind, obj, _ in objects if kind == APPLICATION and obj["name"] == "proxy1"]
    hashes = {(PERSON, 100): cheap_hash("secret"), (APPLICATION, dbid): cheap_hash("of proxy1")}
    create_configuration(url, objects, release="1", password_hashes=hashes)
    return url


class From(ManualChannel):
    """A channel whose other end is somewhere, and may have shown a certificate."""

    def __init__(self, peer: str, *, certificate_for: str = "") -> None:
        super().__init__()
        self._peer = peer
        self._certificate_for = certificate_for

    @property
    def peer(self) -> str:
        return self._peer

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        name = self._certificate_for
        if not name:
            return None
        return PeerCertificate(
            subject=f"CN={name}", issuer="CN=authority", common_name="", names=(name,), serial="01", not_after_s=2e9
        )


async def register(site: Site, name: str = "proxy1", *, session: str = "", **fields: Any) -> dict[str, Any]:
    """What the master answers to a registration, with the number of the answer."""
    site.server.trust = ProxyAuthenticator(site.database.credentials)
    client = Listening()
    client.channel = await site.network.connector("client")("master", 2020)
    client.channel.start(client)
    client.channel.write(client.protocol.connect("listening", "1"))
    await client.next(MessageId.PROTOCOL_VERSION_READ)
    who = {"type": int(CfgAppType.CFGConfigServer), "name": name, **fields}
    if session:
        frame = await client.ask(MessageId.RESTORE_SESSION, RestoreSession(**who, session=session))
    else:
        frame = await client.ask(MessageId.REGISTER_CLIENT, RegisterClient(**who))
    return {"message": frame.message, **decode_map(frame.payload)}


async def test_the_password_of_its_application_makes_a_proxy_trusted(url: str) -> None:
    async with master_site(url) as site:
        answer = await register(site, app_password="of proxy1")
        assert answer["message"] == MessageId.CLIENT_REGISTERED
        (session,) = site.server.sessions
        assert (session.trusted, session.trusted_by) == (True, PASSWORD)


async def test_a_proxy_without_a_password_is_served_but_not_trusted(url: str) -> None:
    async with master_site(url) as site:
        assert (await register(site))["message"] == MessageId.CLIENT_REGISTERED
        (session,) = site.server.sessions
        assert not session.trusted


async def test_a_user_who_registers_as_a_proxy_needs_its_password_too(url: str) -> None:
    async with master_site(url) as site:
        await register(site, user="default", password="secret")
        await register(site, "proxy2", user="default", password="secret")
        assert [session.trusted for session in site.server.sessions] == [False, False]


@pytest.mark.parametrize(("name", "password"), [("proxy1", "of proxy2"), ("proxy2", "of proxy1")])
async def test_a_wrong_password_is_refused_in_the_same_words_as_one_that_nobody_set(
    url: str, name: str, password: str
) -> None:
    async with master_site(url) as site:
        answer = await register(site, name, app_password=password)
        assert (answer["message"], answer["code"]) == (MessageId.ERROR, ErrorCode.LOGIN_INCORRECT)
        assert "the Application's password is wrong, or the Application has none" in answer["description"]
        assert not len(site.server.sessions)


async def test_the_password_of_an_ordinary_application_makes_nobody_trusted(url: str) -> None:
    async with master_site(url) as site:
        fields = {"type": int(CfgAppType.CFGSCE), "user": "default", "password": "secret", "app_password": "any"}
        await register(site, "default", **fields)
        (session,) = site.server.sessions
        assert not session.trusted


async def test_a_restored_session_is_not_trusted_for_a_password_it_was_opened_with(url: str) -> None:
    async with master_site(url) as site:
        opened = await register(site, app_password="of proxy1")
        assert (await register(site, session=opened["session"]))["message"] == MessageId.CLIENT_REGISTERED
        (session,) = site.server.sessions
        assert not session.trusted


def test_a_channel_is_trusted_for_its_certificate_or_its_place() -> None:
    is_exempt = True
    trust = ProxyAuthenticator({}, loopback_is_trusted=lambda: is_exempt)
    names = frozenset({"proxy1", "host1.example"})
    assert trust.by_channel(From("127.0.0.1:50123"), names) == LOOPBACK
    assert trust.by_channel(From("10.0.0.7:50123"), names) == ""
    assert trust.by_channel(From("10.0.0.7:50123", certificate_for="Host1.example"), names) == MUTUAL_TLS
    is_exempt = False
    assert trust.by_channel(From("127.0.0.1:50123"), names) == ""


def test_a_certificate_of_somebody_else_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    trust = ProxyAuthenticator({}, loopback_is_trusted=lambda: False)
    assert trust.by_channel(From("10.0.0.7:50123", certificate_for="desktop7.example"), frozenset({"proxy1"})) == ""
    assert "(CN=desktop7.example) names none of proxy1" in caplog.text


def test_an_application_may_be_named_by_its_own_name_and_by_its_hosts() -> None:
    host = {"DBID": 101, "name": "Host1.example", "IPaddress": "10.0.0.7", "type": 1, "state": 1, "LCAPort": "0"}
    builder = CacheBuilder(None)
    builder.add(10, [encode_object(SCHEMA.types[10], host)], [0])
    cache = builder.finish(Position(1, 1))
    application = CfgApplication(DBID=102, name="Proxy1", serverInfo=CfgServer(hostDBID=101))
    assert names_of(cache, application) == {"proxy1", "host1.example", "10.0.0.7"}
    assert names_of(cache, CfgApplication(DBID=103, name="alone")) == {"alone"}


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("::1:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("[fe80::1%lo]:1", False),
        ("128.0.0.1:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("localhost:1", False),
        ("by hand", False),
        ("", False),
    ],
)
def test_only_an_address_of_loopback_counts_as_one(peer: str, expected: bool) -> None:
    assert is_loopback(peer) is expected


async def test_a_password_that_is_taken_away_during_the_check_is_wrong() -> None:
    credentials = {(APPLICATION, 7): cheap_hash("right")}
    trust = ProxyAuthenticator(credentials)
    assert await trust.by_password(7, "right") == PASSWORD

    async def guess() -> None:
        with pytest.raises(LoginIncorrectError):
            await trust.by_password(7, "right")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guess)
        await anyio.lowlevel.checkpoint()
        credentials[APPLICATION, 7] = cheap_hash("another")


async def test_guesses_beyond_the_bound_are_told_to_come_back() -> None:
    trust = ProxyAuthenticator({(APPLICATION, 7): cheap_hash("right")})
    codes: list[ErrorCode] = []

    async def guess() -> None:
        try:
            await trust.by_password(7, "x")
        except ServerError as e:
            codes.append(e.code)

    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_WAITING + 3):
            tasks.start_soon(guess)
    assert codes.count(ErrorCode.FORCED_DISCONNECT) == 3
    assert codes.count(ErrorCode.LOGIN_INCORRECT) == MAX_WAITING
