"""What all client programs of a simulated run share: a `ConfigClient` kept alive, and the record of its streams."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import anyio

from csproxy.core.keepalive import KeepAlive
from csproxy.errors import CsproxyError
from csproxy.testing.histories import Arrived, Reached, Restarted, StreamHistory
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_subscriptions import ChangeStream
from tests.simulation.template import CLIENT_TYPE
from tests.simulation.two_sites import way_to


@dataclass
class Counters:
    """What happened, so that a dead simulation cannot pass."""

    expired: int = 0
    overflows: int = 0
    unknown: int = 0
    repeated: int = 0


class SimulatedClient:
    """One client program: a `ConfigClient` kept alive, and tasks that use it.

    ``world`` is the run (see run.py). Everything random comes from the client's own source.
    """

    def __init__(self, world: Any, number: int, endpoints: list[tuple[str, int]], *, tenant: int) -> None:
        self.world = world
        self.name = f"client{number}"
        self.number = number
        self.endpoints = endpoints
        self.tenant = tenant
        self.user = ""
        self.rng = random.Random(f"{world.sim.seed} {self.name}")
        self.counters = Counters()
        self.reconnects = 0
        self.restores = 0
        self.switches = 0
        self.forgets = 0
        self.epoch_changes = 0
        # an attempt may take longer than a server holds a resume from an epoch that it does not know
        self.attempt_timeout_s, self.request_timeout_s = 5.0, 8.0
        self._link: Any = None
        self._told: tuple[Any, int] = (None, 0)
        self.pace = 1.0
        """Its pauses are so many times longer."""
        self.live: dict[ChangeStream, StreamHistory] = {}
        self.starting = 0
        self.is_writing = False
        """Whether a write is under way, which may wait for a connection."""

    async def run(self) -> None:
        """Work until cancelled; a client that gave up is made anew."""
        while True:
            client = self._make()
            try:
                async with client:
                    try:
                        await self.work(client)
                    finally:
                        done = client.statistics()
                        self.reconnects += done.reconnects
                        self.restores += done.restores
                        self.switches += done.switches
            except (CsproxyError, ExceptionGroup) as e:
                if isinstance(e, ExceptionGroup) and e.split(CsproxyError)[1] is not None:
                    raise
                self.world.note(f"{self.name}: starts again after {e!r}")
                self.world.history.restarts.append(Restarted(self.world.sim.now(), self.name))
                await anyio.sleep(self.rng.uniform(0.2, 1.0))

    async def work(self, client: ConfigClient) -> None:
        raise NotImplementedError

    def _make(self) -> ConfigClient:
        client = ConfigClient(
            **self._way(),
            application=self.name,
            application_type=CLIENT_TYPE,
            user=self.user,
            password=self.user,
            connector=self.world.connector(self.name, self.sample),
            connect_wait_s=1000.0,
            attempt_timeout_s=self.attempt_timeout_s,
            request_timeout_s=self.request_timeout_s,
            keep_alive=KeepAlive(
                timeout_s=self.world.plan.ping_interval_s, remote_timeout_s=self.world.plan.ping_interval_s
            ),
            random=self.rng.random,
            random_bytes=self.rng.randbytes,
        )
        self._link = client._link
        forget = client._link.forget_position

        def forget_and_count() -> None:
            self.forgets += 1
            forget()

        client._link.forget_position = forget_and_count  # type: ignore[method-assign]
        return client

    def _way(self) -> dict[str, Any]:
        if self.world.plan.together:  # to one of them as to the other
            return {"endpoints": self.endpoints}
        return way_to(self.endpoints, seed=self.world.sim.seed, name=self.name)

    async def pause(self, seconds: float) -> None:
        """Wait, in a run that goes in steps until the next of them."""
        seconds *= self.pace
        step_s = self.world.plan.step_s
        if step_s:
            now = self.world.sim.now()
            seconds = (math.floor((now + seconds) / step_s) + 1) * step_s - now
        await anyio.sleep(seconds)

    def sample(self) -> None:
        """Note how far the streams have come; called after everything that arrived or was taken."""
        link = self._link
        if link is not None and link.connection is not None:
            connection, epoch = self._told
            if link.connection is connection and link.connection.position.epoch != epoch:
                self.epoch_changes += 1
            self._told = (link.connection, link.connection.position.epoch)
        for stream, history in self.live.items():
            position = stream.position
            last = history.events[-1]
            before = last.end if isinstance(last, Arrived) else last.position
            if position != before and position != (0, 0):
                history.events.append(Reached(self.world.sim.now(), position))
