"""LDAP when things go wrong: servers that hang, die, lie or are slow; queues, rounds and kept verdicts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from csproxy.auth.ldap import LdapAuthenticator, LdapUser
from csproxy.auth.ldap_cache import VerdictCache
from csproxy.auth.ldap_codes import ERROR_TABLE, Row, is_retried, user_text
from csproxy.auth.ldap_settings import LdapServer, LdapSettings
from csproxy.core.ldap_url import parse_ldap_url
from csproxy.errors import ErrorCode, RetryableError, ServerError
from csproxy.testing import FaultProxy
from tests.auth.directory import Directory

pytestmark = pytest.mark.anyio

JANE = LdapUser(101, "jane@example.com", b"person")
UNREACHABLE = "the directory cannot be reached; try again"
SILENT = "the directory does not answer; try again"
SEARCH = 0x63


async def refusal(
    ldap: LdapAuthenticator, settings: LdapSettings, password: str = "secret", user: LdapUser = JANE
) -> ServerError:
    with pytest.raises(ServerError) as caught:
        await ldap.check(user, password, settings)
    return caught.value


def settings_for(port: int, **more: Any) -> LdapSettings:
    url = parse_ldap_url(f"ldap://127.0.0.1:{port}/dc=x??sub?(uid=X)")
    server = LdapServer(section="gauth_ldap", url=url, connect_timeout_s=1)
    return LdapSettings(servers=(server,), **{"retry_attempts": 1, "retry_interval_s": 0.0, **more})


@contextmanager
def liar(answer: Callable[[bytes], bytes | None]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers each request as ``answer`` says; None closes. Gives its port and the requests."""
    requests: list[bytes] = []

    def serve(client: socket.socket) -> None:
        with client:
            while request := client.recv(65536):
                requests.append(request)
                response = answer(request)
                if response is None:
                    return
                client.sendall(response)

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=_quietly, args=(serve, client))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    listening = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listening.getsockname()[1], requests
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join(10)
        for thread in threads:
            thread.join(10)


def _quietly(serve: Callable[[socket.socket], None], client: socket.socket) -> None:
    with suppress(OSError):
        serve(client)


def message(number: bytes, tag: int, fields: bytes) -> bytes:
    """An LDAP message; ``number`` is that of the request as it was encoded there."""
    body = b"\x02" + bytes([len(number)]) + number + bytes([tag, len(fields)]) + fields
    return b"\x30" + bytes([len(body)]) + body


def result(number: bytes, tag: int, code: int, text: bytes = b"") -> bytes:
    """A message that holds nothing but a result."""
    return message(number, tag, b"\x0a\x01" + bytes([code]) + b"\x04\x00" + b"\x04" + bytes([len(text)]) + text)


def request_of(data: bytes) -> tuple[bytes, int]:
    """Number and tag of a request."""
    place = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    end = place + 2 + data[place + 1]
    return data[place + 2 : end], data[end]


def directory_of(bind: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Finds everybody, and answers binds as told."""

    def answer(request: bytes) -> bytes:
        number, tag = request_of(request)
        if tag == SEARCH:
            return message(number, 0x64, b"\x04\x05uid=x\x30\x00") + result(number, 0x65, 0)
        return bind(number)

    return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 64,
        b"\x30\x00",
        b"\x30\x84\xff\xff\xff\xff" + b"\x00" * 100,
        b"\x30\x05\x02\x01\x01\x61\x00",
        b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\xff",
        b"\xff" * 4096,
        result(b"\x7f\x7f\x7f\x7f", 0x65, 0),
    ],
)
async def test_garbage_is_a_refusal(garbage: bytes) -> None:
    with liar(lambda _request: garbage) as (port, _):
        async with LdapAuthenticator() as ldap:
            error = await refusal(ldap, settings_for(port))
    assert isinstance(error, RetryableError)
    assert str(error) in (UNREACHABLE, SILENT)


@pytest.mark.parametrize("tag", [0x65, 0x69, 0x6F, 0x78])
async def test_success_of_something_else_than_the_bind_lets_nobody_in(tag: int) -> None:
    with liar(directory_of(lambda number: result(number, tag, 0))) as (port, _):
        async with LdapAuthenticator() as ldap:
            assert str(await refusal(ldap, settings_for(port))) == UNREACHABLE


async def test_the_liar_itself_is_believed_when_it_says_success() -> None:
    with liar(directory_of(lambda number: result(number, 0x61, 0))) as (port, requests):
        async with LdapAuthenticator() as ldap:
            await ldap.check(JANE, "secret", settings_for(port))
        assert any(b"secret" in request for request in requests)


async def test_the_directorys_own_text_is_passed_on_without_the_code(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with liar(directory_of(lambda number: result(number, 0x61, 53, b"locked until\n noon"))) as (port, _):
        async with LdapAuthenticator() as ldap:
            error = await refusal(ldap, settings_for(port))
    assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, "locked until  noon")
    assert "code 53" in caplog.text


@pytest.mark.parametrize(("code", "attempts"), [(51, 3), (52, 3), (49, 1), (50, 1)])
async def test_a_code_marked_for_retry_is_tried_again_and_no_other(code: int, attempts: int) -> None:
    with liar(directory_of(lambda number: result(number, 0x61, code))) as (port, requests):
        async with LdapAuthenticator() as ldap:
            error = await refusal(ldap, settings_for(port, retry_attempts=3))
            assert isinstance(error, RetryableError) == (attempts > 1)
        assert sum(b"secret" in request for request in requests) == attempts


async def test_the_round_over_all_servers_is_repeated() -> None:
    with (
        liar(lambda _request: None) as (first, at_first),
        liar(lambda _request: None) as (second, at_second),
    ):
        servers = settings_for(first).servers + settings_for(second).servers
        async with LdapAuthenticator() as ldap:
            settings = LdapSettings(servers=servers, retry_attempts=3, retry_interval_s=0.01)
            assert str(await refusal(ldap, settings)) == UNREACHABLE
        assert (len(at_first), len(at_second)) == (3, 3)


async def test_a_server_that_sends_a_byte_now_and_then_has_no_more_time_than_one_that_is_silent(
    directory: Directory,
) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        proxy.throttle(30)
        settings = directory.settings(directory.server(port=proxy.port, connect_timeout_s=1))
        assert str(await refusal(ldap, settings)) == SILENT
        assert ldap.statistics().idle_connections == 0


async def test_a_server_that_is_slow_but_in_time_is_waited_for(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        proxy.delay(0.1)
        await ldap.check(JANE, "secret", directory.settings(directory.server(port=proxy.port)))


async def test_a_tls_handshake_that_hangs_ends_in_time(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.secure_port) as proxy, LdapAuthenticator() as ldap:
        proxy.deafen()
        server = directory.server(port=proxy.port, scheme="ldaps", host="localhost", connect_timeout_s=1)
        assert str(await refusal(ldap, directory.settings(server))) == SILENT


async def test_a_server_that_dies_in_mid_search_is_a_refusal() -> None:
    def answer(request: bytes) -> bytes | None:
        number, tag = request_of(request)
        return None if tag == SEARCH else result(number, 0x61, 0)

    with liar(answer) as (port, _):
        async with LdapAuthenticator() as ldap:
            assert str(await refusal(ldap, settings_for(port))) == UNREACHABLE


async def test_connections_that_died_while_nobody_used_them_are_replaced(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        settings = directory.settings(directory.server(port=proxy.port))
        await ldap.check(JANE, "secret", settings)
        assert proxy.cut() == 2
        await ldap.check(JANE, "secret", settings)
        assert proxy.connections == 2


async def test_bytes_changed_on_the_way_let_nobody_in_by_a_wrong_password(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        settings = directory.settings(directory.server(port=proxy.port, connect_timeout_s=1))
        for pieces in range(1, 6):
            proxy.corrupt(pieces)
            await refusal(ldap, settings, "wrong")


async def test_a_cancelled_log_in_leaves_nothing_behind(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        proxy.deafen()
        settings = directory.settings(directory.server(port=proxy.port, connect_timeout_s=60))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ldap.check, JANE, "secret", settings)
            with anyio.fail_after(10):
                while not proxy.connections:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert ldap.statistics() == (0, 0)


async def test_beyond_the_threshold_log_ins_are_sent_away_until_ten_percent_fewer_wait(directory: Directory) -> None:
    async with (
        FaultProxy("127.0.0.1", directory.port) as proxy,
        LdapAuthenticator(queue_threshold=20, threads=1) as ldap,
    ):
        proxy.deafen()
        settings = directory.settings(directory.server(port=proxy.port, connect_timeout_s=60))
        scopes: list[anyio.CancelScope] = []

        async def wait() -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await ldap.check(JANE, "secret", settings)

        async def until_waiting(count: int) -> None:
            with anyio.fail_after(10):
                while ldap.statistics().waiting != count:
                    await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(wait)
            await until_waiting(20)
            error = await refusal(ldap, settings)
            assert (error.code, error.retry_after_s) == (ErrorCode.FORCED_DISCONNECT, 1.0)
            assert str(error) == f"LDAP server 127.0.0.1:{proxy.port}: 20 log-ins wait for it already; try again"
            scopes[5].cancel()
            await until_waiting(19)
            assert (await refusal(ldap, settings)).code is ErrorCode.FORCED_DISCONNECT
            scopes[6].cancel()
            await until_waiting(18)
            tasks.start_soon(wait)
            await until_waiting(19)
            ldap.queue_threshold = 0
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await until_waiting(21)
            tasks.cancel_scope.cancel()


# kept verdicts


async def test_a_right_password_is_kept_for_its_time_and_as_long_as_nothing_changes(directory: Directory) -> None:
    now_s = [0.0]
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator(clock=lambda: now_s[0]) as ldap:
        server = directory.server(port=proxy.port)
        settings = directory.settings(server, cache_time_s=60.0)
        await ldap.check(JANE, "secret", settings)
        proxy.refuse()
        proxy.cut()
        now_s[0] = 59.0
        await ldap.check(JANE, "secret", settings)
        assert str(await refusal(ldap, settings, "other")) == UNREACHABLE
        assert str(await refusal(ldap, settings, user=LdapUser(102, JANE.external_id, JANE.basis))) == UNREACHABLE
        await ldap.check(JANE, "secret", settings)
        changed = directory.settings(server, cache_time_s=61.0)
        assert str(await refusal(ldap, changed)) == UNREACHABLE
        assert str(await refusal(ldap, settings)) == UNREACHABLE, "a change drops what was kept"
        proxy.restore()
        await ldap.check(JANE, "secret", settings)
        proxy.refuse()
        proxy.cut()
        assert str(await refusal(ldap, settings, user=JANE._replace(basis=b"changed"))) == UNREACHABLE
        proxy.restore()
        await ldap.check(JANE, "secret", settings)
        proxy.refuse()
        proxy.cut()
        now_s[0] += 60.0
        assert str(await refusal(ldap, settings)) == UNREACHABLE


async def test_the_last_wrong_password_is_refused_from_memory(directory: Directory) -> None:
    async with FaultProxy("127.0.0.1", directory.port) as proxy, LdapAuthenticator() as ldap:
        settings = directory.settings(directory.server(port=proxy.port), negative_cache_time_s=60.0)
        first = await refusal(ldap, settings, "one")
        await refusal(ldap, settings, "two")
        await ldap.check(JANE, "secret", settings)
        proxy.refuse()
        proxy.cut()
        again = await refusal(ldap, settings, "two")
        assert (again.code, str(again)) == (first.code, str(first))
        assert str(await refusal(ldap, settings, "one")) == UNREACHABLE


def test_an_answer_replaces_what_was_kept_of_the_same_password() -> None:
    cache = VerdictCache(lambda: 0.0, max_remembered=2)
    cache.accepted(1, "a", b"", keep_s=10)
    cache.refused(1, "b", b"", "no", keep_s=10)
    assert (cache.find(1, "a", b""), cache.find(1, "b", b""), cache.find(1, "c", b"")) == ("", "no", None)
    cache.refused(1, "a", b"", "no more", keep_s=0)
    cache.accepted(1, "b", b"", keep_s=0)
    assert (cache.find(1, "a", b""), cache.find(1, "b", b"")) == (None, None)
    for dbid in (1, 2, 3):
        cache.accepted(dbid, "a", b"", keep_s=10)
    assert [cache.find(dbid, "a", b"") for dbid in (1, 2, 3)] == [None, "", ""]
    assert repr(cache) == "<VerdictCache 2 right, 0 wrong>"


# texts


@pytest.mark.parametrize(
    ("code", "own", "text"),
    [
        (49, "data 52e\x00\x1b[31m", "data 52e  [31m"),
        (49, " \n ", "user name or password is wrong"),
        (48, "", "inappropriate authentication"),
        (4711, "", "the directory has refused the log-in"),
        (49, "x" * 1000, "x" * 300),
    ],
)
def test_the_text_is_the_servers_own_else_the_tables_else_the_standard_one(code: int, own: str, text: str) -> None:
    assert user_text(code, own) == text


def test_a_table_of_ones_own_has_its_own_texts_and_retries() -> None:
    table = {**ERROR_TABLE, 49: Row("call 123", retry=True)}
    assert user_text(49, "", table) == "call 123"
    assert is_retried(49, table)
    assert not is_retried(49)
    assert not is_retried(4711)
