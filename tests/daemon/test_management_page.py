"""What the status page is made of, without a browser: files, headers, parts of the list of clients, the stream."""

from __future__ import annotations

import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from csproxy.core import codec
from csproxy.core.changelog import ChangeLog, LogRecord
from csproxy.core.changes import Action, ObjectUpdated, Position
from csproxy.core.replication import TRANSITIONS, State
from csproxy.core.sessions import Account, SessionRegistry
from csproxy.core.subscriptions import Interest
from csproxy.daemon import management_http
from csproxy.daemon.client_list import list_clients
from csproxy.daemon.event_stream import EventStream
from csproxy.daemon.management import Access
from csproxy.daemon.management_page import state_machines
from csproxy.daemon.page import page_files
from csproxy.daemon.recent_changes import SHOWN, recent_changes
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter
from csproxy.transport.wire.notifications import encode_notification
from tests.daemon.servers import DEADLINE_S, Site
from tests.daemon.test_management import Port, managed_master

PERSON = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Port]]:
    site = Site(tmp_path_factory.mktemp("page"))
    port = Port(site.folder)
    with managed_master(site, port):
        yield site, port


def request(
    port: Port, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port.number, timeout=DEADLINE_S)
    try:
        connection.request(method, path, headers=headers or {})
        found = connection.getresponse()
        return found.status, {name.lower(): value for name, value in found.getheaders()}, found.read().decode()
    finally:
        connection.close()


def test_every_answer_forbids_what_comes_from_elsewhere(place: tuple[Site, Port]) -> None:
    for path in ("/", "/page/page.js", "/status.json", "/clients.json", "/nothing", "/metrics"):
        _, headers, _ = request(place[1], path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert request(place[1], "/status.json", headers={"Host": "evil.example"})[1]["x-content-type-options"] == "nosniff"


def test_only_the_pages_own_files_are_sent(place: tuple[Site, Port]) -> None:
    for name, (content, kind) in page_files().items():
        if name != "index.html":
            code, headers, found = request(place[1], f"/page/{name}")
            assert (code, headers["content-type"], found.encode()) == (200, kind, content)
    for path in ("/page/", "/page/__init__.py", "/page/../management.py", "/page/%2e%2e/management.py", "/page/x.js"):
        assert request(place[1], path)[0] == 404
    assert request(place[1], "/", method="HEAD")[0::2] == (200, "")
    assert request(place[1], "/", method="POST")[0] == 401


def test_the_files_name_nothing_from_elsewhere_and_make_no_markup_of_text() -> None:
    for name, (content, _) in page_files().items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick"):
            assert word not in text, (name, word)


def test_what_needs_no_token_is_for_those_who_call_this_machine_by_a_loopback_address() -> None:
    access = Access("secret", is_open=True)
    for host in (b"", b"127.0.0.1:9090", b"localhost:9090", b"LOCALHOST", b"[::1]:9090", b"127.8.9.1"):
        assert access.allows("GET", b"", host), host
    for host in (
        b"evil.example:9090",
        b"10.0.0.1",
        b"localhost.evil.example",
        b"[::2]:9090",
        b"\xff",
        b"127.0.0.1.nip",
    ):
        assert not access.allows("GET", b"", host), host
        assert access.allows("GET", b"Bearer secret", host), host


def test_the_page_is_there_before_it_has_a_token_and_its_data_are_not(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder, "0.0.0.0")
    with managed_master(site, port):
        assert request(port, "/")[0] == request(port, "/page/page.js")[0] == 200
        for path in ("/events", "/clients.json", "/states.json", "/metrics"):
            assert request(port, path)[0] == 401
        token = {"Authorization": f"Bearer {port.token}"}
        assert json.loads(request(port, "/clients.json", headers=token)[2])["total"] == 0


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("limit=201", "limit is '201'; 1 to 200 is valid"),
        ("limit=0", "limit is '0'; 1 to 200 is valid"),
        ("offset=-1", "offset is '-1'; 0 to 10000000 is valid"),
        ("offset=1e3", "offset is '1e3'; 0 to 10000000 is valid"),
        ("offset=%D9%A3", "offset is '٣'; 0 to 10000000 is valid"),
        ("search=" + "x" * 101, "search has 101 characters; 100 are the most"),
    ],
)
def test_a_wrong_part_of_the_list_is_refused_with_what_is_valid(
    place: tuple[Site, Port], query: str, problem: str
) -> None:
    code, _, text = request(place[1], f"/clients.json?{query}")
    assert (code, text) == (400, problem + "\n")


class Follower:
    """A listener of /events over a socket of its own."""

    def __init__(self, port: Port) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port.number, timeout=DEADLINE_S)
        self._connection.request("GET", "/events")
        self.answer = self._connection.getresponse()

    def event(self) -> tuple[str, dict[str, Any]]:
        name = self.answer.readline().decode().removeprefix("event: ").strip()
        data = self.answer.readline().decode().removeprefix("data: ")
        assert self.answer.readline() == b"\n"
        return name, json.loads(data)

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def test_listeners_are_bounded_and_the_end_of_the_server_ends_them(tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder)
    with managed_master(site, port) as master, ExitStack() as stack:
        listeners = [stack.enter_context(closing(Follower(port))) for _ in range(32)]
        for listener in listeners:
            assert listener.answer.getheader("content-type") == "text/event-stream; charset=utf-8"
            name, document = listener.event()
            assert (name, document["status"]["role"], document["changes"]) == ("status", "master", [])
        with closing(Follower(port)) as refused:
            assert (refused.answer.status, refused.answer.getheader("retry-after")) == (503, "10")
            assert refused.answer.read().startswith(b"32 listeners follow the events already")
        listeners.pop().close()
        listeners.append(stack.enter_context(closing(_admitted(port))))
        assert request(port, "/readyz")[0] == 200
        assert master.stop() == 0
        for listener in listeners:
            names = []
            while not names or names[-1] == "status":
                names.append(listener.event()[0])
            assert names[-1] == "end"
            assert listener.answer.read() == b""


def _admitted(port: Port) -> Follower:
    """A new listener: that another has gone is noticed when the kernel says so, so it is tried again."""
    for _ in range(200):
        again = Follower(port)
        if again.answer.status == 200:
            return again
        again.close()
    raise AssertionError("the place of a listener that has gone is never given to another")


@pytest.mark.anyio
async def test_a_listener_that_takes_nothing_is_dropped_and_a_slow_one_gets_the_newest() -> None:
    made = 0
    taken: list[bytes] = []

    async def document() -> bytes:
        nonlocal made
        made += 1
        return b"%d" % made

    async def never() -> Any:
        await anyio.sleep_forever()

    stream = EventStream(document, never, every_s=0.01, send_s=0.2)

    async def send_slowly(message: Any) -> None:
        taken.append(message["body"])
        if len(taken) == 2:
            await anyio.sleep(0.1)  # others have had events meanwhile
        elif len(taken) == 3:
            await anyio.sleep_forever()

    async def send(message: Any) -> None:
        pass

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.feed, never, send)
            await stream.feed(never, send_slowly)
            assert stream.listeners == 1
            tasks.cancel_scope.cancel()
    assert stream.listeners == 0
    numbers = [int(event.split(b"data: ")[1]) for event in taken]
    assert numbers[2] > numbers[1] + 1, "what a slow listener missed is not kept for it"


@pytest.mark.anyio
async def test_a_listener_that_has_gone_is_noticed_at_once() -> None:
    gone = anyio.Event()

    async def document() -> bytes:
        return b"{}"

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        gone.set()

    stream = EventStream(document, anyio.sleep_forever, every_s=3600)
    with anyio.fail_after(DEADLINE_S):
        await stream.feed(receive, send)
    assert stream.listeners == 0


class _Connection:
    """What the list shows of a connection."""

    congested_since_s = None
    live = True
    port_id = "default"

    def __init__(self, number: int) -> None:
        self.channel = _Channel(f"10.0.{number // 250}.{number % 250}:4000")


class _Channel:
    is_secure = False

    def __init__(self, peer: str) -> None:
        self.peer = peer


def crowded(count: int) -> ConfigurationServer:
    """A server with sessions, without their connections' bytes."""
    server = ConfigurationServer(role="proxy", name="p", authenticator=Nobody(), writer=ReadOnlyWriter(lambda: ""))
    assert isinstance(server.sessions, SessionRegistry)
    for number in range(count):
        session = server.sessions.open(
            account=Account(100, f"user{number}"),
            application="desk",
            application_type=19,
            application_dbid=100,
            daemon=False,
            connection=_Connection(number),
            now_s=server.clock(),
        )
        session.interests = frozenset({Interest(PERSON), Interest(PERSON, 1), Interest(2, 0, number % 3)})
    return server


class Nobody:
    async def authenticate(self, user: str, password: str) -> Account:
        raise AssertionError


@pytest.mark.anyio
async def test_ten_thousand_clients_are_searched_while_others_are_served() -> None:
    server = crowded(10_000)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        found = await list_clients(server, "USER99", offset=100, limit=200)
        tasks.cancel_scope.cancel()
    assert turns > 40, "the event loop turns while ten thousand are searched"
    assert (found["total"], found["found"], len(found["clients"])) == (10_000, 111, 11)
    assert found["clients"][-1]["user"] == "user9999"
    assert found["clients"][-1]["subscribed_to"] == "CfgDN, CfgPerson, CfgPerson of tenant 1"
    some = await list_clients(server, "", offset=9_900, limit=200)
    assert (some["found"], len(some["clients"]), some["clients"][0]["address"]) == (10_000, 100, "10.0.39.150:4000")
    assert (await list_clients(server, "10.0.3.7:", offset=0, limit=5))["found"] == 1
    assert (await list_clients(server, "cfgdn 2", offset=0, limit=5))["found"] == 3_333


@pytest.mark.anyio
async def test_without_a_server_there_are_no_clients() -> None:
    assert await list_clients(None, "x", offset=0, limit=5) == {"total": 0, "found": 0, "offset": 0, "clients": []}


def test_the_state_machines_are_the_tables_of_the_code() -> None:
    machine = state_machines()["replication"]
    assert machine["states"] == [state.value for state in State if state is not State.STOPPED]
    drawn = {(move["from"], move["event"]): move["to"] for move in machine["transitions"]}
    table = {(before.value, event.value): after.value for (before, event), after in TRANSITIONS.items()}
    assert drawn == {key: after for key, after in table.items() if after != "stopped"}


def log_of(count: int) -> ChangeLog:
    log = ChangeLog()
    log.begin(Position(1, 0))
    for uen in range(1, count + 1):
        update = ObjectUpdated(
            type=PERSON,
            dbid=uen,
            delta={"deltaPerson": {"firstName": "s"}},
            user="kim",
            application="desk",
            time_ms=1000 * uen,
        )
        position = Position(1, uen)
        frame = encode_notification(Action.UPDATED, codec.encode(update), position=position, last=True)
        record = LogRecord(position, PERSON, uen, (1,), None, None, frame, True, 0.0)
        log.append([record], now_s=0.0)
    return log


def test_recent_changes_name_the_object_and_the_author_and_no_attribute() -> None:
    found = recent_changes(log_of(50))
    assert len(found) == SHOWN
    assert found[0] == {
        "uen": 50,
        "type": "CfgPerson",
        "dbid": 50,
        "action": "changed",
        "user": "kim",
        "application": "desk",
        "time": "1970-01-01T00:00:50Z",
    }
    assert [change["uen"] for change in found] == list(range(50, 30, -1))
    assert recent_changes(log_of(0)) == []


def test_a_change_that_cannot_be_read_is_shown_without_its_author() -> None:
    log = log_of(1)
    for payload in (b"", random.Random(1).randbytes(40), b"\x81\xa4user\xa1\xff", bytes(300_000)):
        frame = encode_notification(Action.DELETED, payload, position=Position(1, 2), last=True)
        log.append([LogRecord(Position(1, 2), PERSON, 7, (1,), None, None, frame, True, 0.0)], now_s=0.0)
        newest = recent_changes(log)[0]
        assert (newest["action"], newest["dbid"], newest["user"], newest["time"]) == ("deleted", 7, "", "")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stream_outlives_the_time_for_a_request_and_half_a_request_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(management_http, "_IDLE_S", 0.2)
    ending = anyio.Event()

    async def document() -> bytes:
        return b"{}"

    stream = EventStream(document, ending.wait, every_s=0.1)

    async def events(request: Any) -> Response:
        return stream.response()

    listening = socket.create_server(("127.0.0.1", 0))
    number = listening.getsockname()[1]
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(management_http.serve, Starlette(routes=[Route("/", events)]), listening, ending.wait)
            async with await anyio.connect_tcp("127.0.0.1", number) as half:
                await half.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
                async with await anyio.connect_tcp("127.0.0.1", number) as whole:
                    await whole.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    received = b""
                    while received.count(b"event: status") < 10:  # it takes five times as long as a request may
                        received += await whole.receive()
                with pytest.raises(anyio.EndOfStream):
                    await half.receive()
            ending.set()
