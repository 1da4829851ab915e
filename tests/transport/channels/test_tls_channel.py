"""What TLS adds to the contract of channels (which tests/transport/channels checks for TLS channels as well)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from channel_pairs import PLAIN_KINDS, Recorder, channel_pair, listening, secure_pair, settle, tls_contexts

from csproxy.core.tls_settings import TlsSettings
from csproxy.errors import ConfigurationError, ConnectionLostError, TlsError
from csproxy.transport.channel import Channel
from csproxy.transport.tls_channel import TlsChannel, secure
from csproxy.transport.tls_context import load_context
from csproxy.transport.tls_dial import TlsConnector
from csproxy.transport.tls_engine import TlsEngine
from tests.tls_files import Authority, trusting

pytestmark = pytest.mark.anyio


def client_engine() -> TlsEngine:
    return TlsEngine(tls_contexts()[0].context, name="server.example")


def server_engine() -> TlsEngine:
    return TlsEngine(tls_contexts()[1].context, server_side=True)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_bytes_travel_encrypted_and_the_channel_says_so(kind: str) -> None:
    async with channel_pair(kind) as (plain_client, plain_server):
        assert not plain_client.is_secure
        assert plain_client.peer_certificate is None
        client, server = await secure_pair(plain_client, plain_server)
        assert client.is_secure
        assert client.peer_certificate is not None
        assert server.peer_certificate is None
        assert client.peer == plain_client.peer
        assert "TLSv1.3 open" in repr(client)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_what_comes_with_the_end_of_the_handshake_waits_for_the_receiver(kind: str) -> None:
    async with channel_pair(kind) as pair:
        client, server = await secure_pair(*pair)
        client.start(Recorder())
        client.write(b"early")
        await settle(50)
        at_server = Recorder()
        server.start(at_server)
        await at_server.reached(5)
        client.close()
        assert await at_server.ended() is None


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_a_connection_that_is_cut_is_no_orderly_end(kind: str) -> None:
    """An attacker can end the TCP connection, but cannot make it look as if the peer had."""
    async with channel_pair(kind) as (plain_client, plain_server):
        _, server = await secure_pair(plain_client, plain_server)
        at_server = Recorder()
        server.start(at_server)
        plain_client.close()  # beneath TLS: no close_notify
        error = await at_server.ended()
        assert isinstance(error, ConnectionAbortedError)
        assert "no close_notify" in str(error)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_garbage_on_an_open_connection_ends_it_and_the_receiver_hears_why(kind: str) -> None:
    async with channel_pair(kind) as (plain_client, plain_server):
        _, server = await secure_pair(plain_client, plain_server)
        at_server = Recorder()
        server.start(at_server)
        plain_client.write(b"\x17\x03\x03\x00\x20" + b"g" * 32)
        error = await at_server.ended()
        assert isinstance(error, TlsError)
        assert "bytes of the client were changed on the way" in str(error)
        assert at_server.data == b""


class Closer(Recorder):
    def __init__(self, channel: Channel) -> None:
        super().__init__()
        channel.start(self)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_a_peer_that_goes_during_the_handshake_is_told_of(kind: str) -> None:
    async with channel_pair(kind) as (client, server):
        Closer(client)
        client.write(b"\x16\x03\x01")
        client.close()
        with pytest.raises(TlsError, match=r": the connection ended during the TLS handshake$"):
            await secure(server, server_engine())


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_a_peer_that_says_nothing_is_given_up_after_the_deadline(kind: str) -> None:
    async with channel_pair(kind) as (client, server):
        at_client = Closer(client)
        with pytest.raises(TlsError, match=r"the TLS handshake was not finished within 0.05 s"):
            await secure(server, server_engine(), timeout_s=0.05)
        await at_client.ended()


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_a_cancelled_handshake_leaves_no_connection(kind: str) -> None:
    async with channel_pair(kind) as (client, server):
        at_client = Closer(client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(secure, server, server_engine())
            await settle(50)
            tasks.cancel_scope.cancel()
        await at_client.ended()


@pytest.mark.parametrize("kind", PLAIN_KINDS)
async def test_both_sides_hear_why_a_handshake_is_refused(kind: str, tmp_path: Path) -> None:
    stranger = load_context(trusting(Authority(tmp_path, "stranger")), server_side=False)
    said: list[str] = []

    async def accept(channel: Channel) -> None:
        with pytest.raises(TlsError) as refused:
            await secure(channel, server_engine())
        said.append(str(refused.value))

    async with channel_pair(kind) as (client, server), anyio.create_task_group() as tasks:
        tasks.start_soon(accept, server)
        with pytest.raises(
            TlsError, match=r"^.+: the certificate of the server \(.+\) is refused: its authority"
        ) as at:
            await secure(client, TlsEngine(stranger.context, name="server.example"))
        assert at.value.verify_code == 20
    assert "the client refused" in said[0]


async def test_a_receiver_that_fails_on_held_bytes_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def receive(self, data: bytes) -> None:
            raise ValueError("a mistake")

    async with channel_pair("default") as pair:
        client, server = await secure_pair(*pair)
        server.pause()
        failing = Failing()
        client.start(Recorder())
        client.write(b"early")
        await settle(50)
        server.start(failing)
        server.resume()
        assert isinstance(await failing.ended(), ValueError)
    assert "the receiver failed; the connection is closed" in caplog.text


# connecting


async def test_the_connector_gives_a_secure_channel(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "root")
    server_side = load_context(authority.issue("localhost").settings(), server_side=True)
    at_server = Recorder()
    async with anyio.create_task_group() as tasks:

        async def accept(channel: Channel) -> None:
            with suppress(TlsError):  # the clients that refuse the certificate
                (await secure(channel, TlsEngine(server_side.context, server_side=True))).start(at_server)

        async with listening(lambda channel: tasks.start_soon(accept, channel)) as port:
            connect = TlsConnector(trusting(authority))
            channel = await connect("localhost", port)
            assert isinstance(channel, TlsChannel)
            channel.start(Recorder())
            channel.write(b"hello")
            await at_server.reached(5)
            channel.close()
            assert await at_server.ended() is None

            with pytest.raises(TlsError, match=r"127.0.0.1:\d+: the certificate .* is not valid for the name '127"):
                await connect("127.0.0.1", port)
            by_name = TlsConnector(trusting(authority, server_name="localhost"))
            (await by_name("127.0.0.1", port)).close(flush=False)
            unchecked = TlsConnector(trusting(authority, check_name=False))
            (await unchecked("127.0.0.1", port)).close(flush=False)


async def test_the_connector_tells_of_a_server_without_tls() -> None:
    class Plain(Recorder):
        def __init__(self, channel: Channel) -> None:
            super().__init__()
            channel.start(self)
            self._channel = channel

        def receive(self, data: bytes) -> None:
            self._channel.write(b"what is this? I speak another protocol\r\n")
            self._channel.close()

    async with listening(Plain) as port:
        connect = TlsConnector(TlsSettings())
        with pytest.raises(TlsError, match=r"the server does not speak TLS; is this a port without TLS\?"):
            await connect("127.0.0.1", port)


async def test_the_connector_tells_of_files_and_of_servers_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="tls-mutual needs a certificate"):
        TlsConnector(TlsSettings(mutual=True))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await TlsConnector(TlsSettings(trusted_ca=(str(tmp_path / "none.pem"),)))("127.0.0.1", 1)
    with pytest.raises(ConnectionLostError, match="cannot connect to 127"):
        await TlsConnector(trusting(Authority(tmp_path, "root")))("127.0.0.1", 1)
