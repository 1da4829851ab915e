"""The states of a client, their table, and who is told of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import count

import anyio
import pytest
from scripted import ScriptedServer

from csproxy import ClientState, ConfigClient
from csproxy.core.keepalive import KeepAlive
from csproxy.errors import ConnectionLostError, ErrorCode, LocalProtocolError, ServerError
from csproxy.transport.client_states import (
    KEPT_EVENTS,
    TRANSITIONS,
    ClientEvent,
    ClientEvents,
    ClientStates,
    Step,
    diagram,
)
from csproxy.transport.wire.messages import MessageId

pytestmark = pytest.mark.anyio


@pytest.fixture
def states() -> ClientStates:
    ages: Iterator[int] = count()
    return ClientStates(lambda state: ClientEvent(state, "a:1", next(ages), None))


async def test_every_state_but_the_new_one_is_reached_and_the_ends_lead_nowhere_else(states: ClientStates) -> None:
    assert {*TRANSITIONS.values(), ClientState.NEW} == set(ClientState)
    assert {step for state, step in TRANSITIONS if state is ClientState.LOST} == {Step.CLOSE}
    assert not [step for state, step in TRANSITIONS if state is ClientState.CLOSED]
    assert diagram().count("-->") == 1 + len([1 for _, step in TRANSITIONS if step is not Step.CLOSE])
    assert "    connected --> connected: switch\n" in diagram()


async def test_a_step_that_the_table_does_not_have_is_refused(states: ClientStates) -> None:
    with pytest.raises(LocalProtocolError, match="a client that is new cannot lose"):
        states.take(Step.LOSE)
    assert states.present is ClientState.NEW


async def test_observers_are_told_at_once_until_they_stop(states: ClientStates) -> None:
    seen: list[ClientState] = []
    stop = states.observe(seen.append)
    states.take(Step.CONNECT)
    assert seen == [ClientState.CONNECTED]
    stop()
    stop()
    states.take(Step.LOSE)
    assert seen == [ClientState.CONNECTED]


async def test_events_begin_with_the_present_state_and_end_with_the_client(states: ClientStates) -> None:
    states.take(Step.CONNECT)
    events = states.events()
    states.take(Step.LOSE)
    states.take(Step.GIVE_UP)
    assert [event.state.value async for event in events] == ["connected", "suspended", "lost"]
    assert [event async for event in events] == []
    states.take(Step.CLOSE)
    assert [event.state.value async for event in states.events()] == ["closed"]


async def test_a_consumer_waits_for_the_next_event_and_may_be_cancelled(states: ClientStates) -> None:
    events = states.events()
    assert (await anext(events)).state is ClientState.NEW
    with anyio.move_on_after(0.01):
        await anext(events)
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            assert (await anext(events)).state is ClientState.CONNECTED

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        states.take(Step.CONNECT)


async def test_a_consumer_that_falls_behind_loses_the_oldest_events(states: ClientStates) -> None:
    states.take(Step.CONNECT)
    events = states.events()
    for _ in range(KEPT_EVENTS):
        states.take(Step.LOSE)
        states.take(Step.CONNECT)
    assert repr(events) == f"<ClientEvents {KEPT_EVENTS} waiting>"
    states.take(Step.CLOSE)
    ages = [event.age_s async for event in events]
    assert ages == sorted(ages)
    assert len(ages) == KEPT_EVENTS


async def test_a_consumer_that_is_gone_costs_nothing(states: ClientStates) -> None:
    events: ClientEvents | None = states.events()
    assert events is not None
    assert len(states._consumers) == 1
    del events
    gc.collect()
    assert len(states._consumers) == 0


async def test_a_client_tells_of_a_loss_with_server_age_and_reason_and_of_giving_up() -> None:
    server = ScriptedServer()
    now = 100.0
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            nonlocal now
            first = await server.next_connection()
            await first.accept_client()
            await connected.wait()
            now = 107.0
            first.notice(ErrorCode.FORCED_DISCONNECT, "come again")
            second = await server.next_connection()
            await second.accept_version()
            second.refuse(await second.next_request(MessageId.RESTORE_SESSION), ErrorCode.HISTORY_LOG_EXPIRED)
            now = 110.0
            second.refuse(await second.next_request(MessageId.REGISTER_CLIENT), ErrorCode.LOGIN_INCORRECT, "no more")

        connected = anyio.Event()
        tasks.start_soon(serve)
        async with ConfigClient(
            "primary",
            2020,
            user="u",
            connector=server.connect,
            keep_alive=KeepAlive(),
            random=lambda: 0.0,
            clock=lambda: now,
        ) as client:
            connected.set()
            with anyio.fail_after(5):
                seen = [event async for event in client.events()]
    assert [(event.state.value, event.endpoint) for event in seen] == [
        ("connected", "primary:2020"),
        ("suspended", "primary:2020"),
        ("lost", "primary:2020"),
    ]
    assert [event.age_s for event in seen] == [0.0, 0.0, 3.0]
    assert isinstance(seen[1].reason, ConnectionLostError)
    assert "come again" in str(seen[1].reason)
    assert isinstance(seen[2].reason, ServerError)
    assert seen[2].reason.code is ErrorCode.LOGIN_INCORRECT
