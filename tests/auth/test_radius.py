"""RADIUS log-ins at a real FreeRADIUS, and what is believed of answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pyrad.packet import AccessAccept, AccountingResponse, AuthPacket

from csproxy.auth.radius import RadiusAuthenticator, RadiusServer, radius_servers
from csproxy.core.auth_options import read_options
from csproxy.errors import ErrorCode, RetryableError, ServerError
from tests.auth.radius_server import RadiusPorts

pytestmark = pytest.mark.anyio

WRONG = "user name or password is wrong"


async def refusal(servers: tuple[RadiusServer, ...], user: str = "jane", password: str = "secret") -> ServerError:
    with pytest.raises(ServerError) as caught:
        await RadiusAuthenticator().check(user, password, servers)
    return caught.value


@pytest.mark.parametrize(("user", "password"), [("jane", "secret"), ("zoë", "gehäim")], ids=["ascii", "unicode"])
async def test_the_right_password_is_accepted(radius: RadiusPorts, user: str, password: str) -> None:
    await RadiusAuthenticator().check(user, password, (radius.server(),))


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("jane", "wrong"),
        ("jane", ""),
        ("nobody", "secret"),
        ("jane", "secret\0"),
        ("jane", "x" * 129),
        ("", "secret"),
        ("j" * 254, "secret"),
    ],
)
async def test_any_other_is_refused_in_the_same_words(radius: RadiusPorts, user: str, password: str) -> None:
    error = await refusal((radius.server(),), user, password)
    assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, WRONG)


async def test_the_servers_text_is_passed_on(radius: RadiusPorts) -> None:
    error = await refusal((radius.server(),), "locked", "x")
    assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, "locked until noon")


async def test_a_challenge_is_a_refusal_that_says_what_is_wanted(radius: RadiusPorts) -> None:
    error = await refusal((radius.server(),), "carol", "x")
    assert (error.code, str(error)) == (ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, "Enter the next code")


async def test_the_nas_identifier_is_sent(radius: RadiusPorts) -> None:
    assert str(await refusal((radius.server(nas_identifier="another"),))) == WRONG


async def test_an_answer_without_message_authenticator_counts_only_if_that_is_allowed(
    radius: RadiusPorts, caplog: pytest.LogCaptureFixture
) -> None:
    server = radius.server(port=radius.unsigned)
    assert isinstance(await refusal((server,)), RetryableError)
    assert "without Message-Authenticator is ignored; let the server send one" in caplog.text
    await RadiusAuthenticator().check(
        "jane", "secret", (radius.server(port=radius.unsigned, message_authenticator=False),)
    )


async def test_a_wrong_secret_is_told_to_nobody_and_its_cause_is_logged(
    radius: RadiusPorts, caplog: pytest.LogCaptureFixture
) -> None:
    error = await refusal((radius.server(secret="another"),))
    assert str(error) == "the RADIUS server does not answer; try again"
    assert "no answer to 1 requests" in caplog.text
    assert "another" not in caplog.text
    assert "another" not in repr(radius.server(secret="another"))


async def test_the_server_that_answered_is_asked_first_next_time(radius: RadiusPorts) -> None:
    with silent() as (port, received):
        servers = (radius.server(port=port, timeout_s=0.05, retries=2), radius.server())
        authenticator = RadiusAuthenticator()
        await authenticator.check("jane", "secret", servers)
        assert len(received) == 3
        assert len(set(received)) == 1, "a repeated request is the same request"
        await authenticator.check("jane", "secret", servers)
        assert len(received) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "radius.invalid"])
async def test_no_server_at_all_is_a_refusal(host: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    error = await refusal((RadiusServer(host=host, port=port, secret="s", timeout_s=0.2, retries=1),))
    assert isinstance(error, RetryableError)
    assert error.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR


# forged answers


@contextmanager
def liar(answer: Callable[[bytes], list[bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers each request with datagrams; gives its port and the requests."""
    received: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

        def serve() -> None:
            while True:
                data, address = sock.recvfrom(4096)
                if data == b"stop":
                    return
                received.append(data)
                for datagram in answer(data):
                    sock.sendto(datagram, address)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port, received
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopping:
                stopping.sendto(b"stop", ("127.0.0.1", port))
            thread.join(10)


def silent() -> object:
    return liar(lambda _data: [])


def accept(data: bytes, *, secret: bytes = b"shared", code: int = AccessAccept, number: int = 0) -> bytes:
    """What a server with the secret would answer."""
    request = AuthPacket(packet=data, secret=secret)
    reply = request.CreateReply()
    reply.code = code
    reply.id = (reply.id + number) % 256
    return bytes(reply.ReplyPacket())


def unsigned(data: bytes) -> bytes:
    reply = AuthPacket(packet=data, secret=b"shared").CreateReply(message_authenticator=False)
    return bytes(reply.ReplyPacket())


def spoilt(data: bytes, place: int) -> bytes:
    changed = bytearray(accept(data))
    changed[place] ^= 1
    return bytes(changed)


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "another secret": lambda data: accept(data, secret=b"guess"),
    "another request": lambda data: accept(data, number=1),
    "another kind": lambda data: accept(data, code=AccountingResponse),
    "no Message-Authenticator": unsigned,
    "wrong response authenticator": lambda data: spoilt(data, 5),
    "wrong Message-Authenticator": lambda data: spoilt(data, -1),
    "echo": lambda data: data,
    "empty": lambda _data: b"",
    "short": lambda data: accept(data)[:19],
    "cut": lambda data: accept(data)[:-1],
    "noise": lambda _data: b"\x02" * 64,
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_acceptance_lets_nobody_in(forgery: Callable[[bytes], bytes]) -> None:
    with liar(lambda data: [forgery(data)]) as (port, _):
        server = RadiusServer(host="127.0.0.1", port=port, secret="shared", timeout_s=0.2, retries=0)
        assert isinstance(await refusal((server,)), RetryableError)


async def test_a_genuine_answer_counts_after_forged_ones() -> None:
    with liar(lambda data: [*(forge(data) for forge in FORGERIES.values()), accept(data)]) as (port, _):
        server = RadiusServer(host="127.0.0.1", port=port, secret="shared", retries=0)
        await RadiusAuthenticator().check("jane", "secret", (server,))


# options


def test_servers_come_from_their_sections() -> None:
    values, _ = read_options(
        {
            "gauth_radius": {"host": "a", "shared-secret": "s", "retries": "1"},
            "gauth_radius_1": {"host": "b"},
            "gauth_radius_2": {"host": "c", "shared-secret": "t", "port": "1645", "message-authenticator": "false"},
        }
    )
    servers, complaints = radius_servers(values)
    assert [str(server) for server in servers] == ["a:1812", "c:1645"]
    assert (servers[0].retries, servers[0].timeout_s, servers[0].message_authenticator) == (1, 5.0, True)
    assert not servers[1].message_authenticator
    assert complaints == ["[gauth_radius_1] is not used: it needs host and shared-secret"]
