"""The simulated processes: what can be stopped, killed, frozen and started again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
from anyio.abc import TaskGroup

from csproxy.core.changes import Position
from csproxy.core.sessions import Account
from csproxy.errors import CsproxyError, ErrorCode, LocalProtocolError, ServerError
from csproxy.testing.memory import MemoryNetwork
from csproxy.testing.programs import Program
from csproxy.testing.simulation import Simulation
from csproxy.transport.server import ConfigurationServer, ReadOnlyWriter, ServerSettings
from tests.simulation.disks import Disk, use_disk
from tests.simulation.plan import RunPlan
from tests.simulation.template import PERSON

PORT = 2020
MAX_OUTPUT_BYTES = 64 * 1024


own_host: ContextVar[str] = ContextVar("own_host", default="")
"""The host of the process that runs."""


class Process:
    """A process on a host of the network: `start`, `stop` (graceful), `crash` (its host answers with resets)
    and `power_off` (silence), `freeze` and `thaw` (SIGSTOP, SIGCONT). ``commit_errors`` is that of its disk.

    ``is_wanted``: whoever watches over it starts it again when it ends by itself. ``is_barred``: nobody may now.
    """

    def __init__(self, host: str, sim: Simulation, network: MemoryNetwork, tasks: TaskGroup, plan: RunPlan) -> None:
        self.host = host
        self.sim = sim
        self.network = network
        self.plan = plan
        self.rng = random.Random(f"{sim.seed} {host}")
        self.server: ConfigurationServer | None = None
        self.starts = 0
        self.parked = 0
        self.waits = 0
        """How many requests waited for a position that the server had not reached."""
        self.disk_errors = 0
        self.failures: list[str] = []
        self.is_wanted = False
        self.is_barred = False
        self.disk = Disk(self.rng, commit_errors=0.0)
        self._program = Program()
        self._tasks = tasks
        self._stop = anyio.Event()
        self._scope = anyio.CancelScope()
        self._ended: anyio.Event | None = None
        self._commands: dict[anyio.CancelScope, None] = {}

    @property
    def is_running(self) -> bool:
        return self._ended is not None

    @property
    def is_frozen(self) -> bool:
        return self._program.is_frozen

    def start(self) -> None:
        """Start it in the background, unless it runs."""
        self.is_wanted = True
        if self._ended is None and not self.is_barred:
            self.starts += 1
            self._stop, self._scope, self._ended = anyio.Event(), anyio.CancelScope(), anyio.Event()
            self.disk = Disk(self.rng, commit_errors=self.commit_errors)
            with Program() as self._program:
                self._tasks.start_soon(self._main, self._scope, self._stop, self._ended, self.disk)

    async def stop(self) -> None:
        """Stop it as its administrator would, and wait for that; one that takes long is killed."""
        self.is_wanted = False
        if self._ended is not None:
            ended = self._ended
            self._stop.set()
            with anyio.move_on_after(15.0):
                await ended.wait()
            await self._kill()

    async def crash(self) -> None:
        """Kill it: the kernel resets its connections."""
        self.network.cut(self.host)
        await self._kill()

    async def power_off(self) -> None:
        """Pull the plug: nobody is told anything."""
        self.network.half_open(self.host)
        await self._kill()

    def order(self, command: Callable[[], Awaitable[object]]) -> None:
        """Let it carry out a command of its operator, in the background; what it refuses is noted in `failures`."""

        scope = anyio.CancelScope()
        self._commands[scope] = None

        async def carry_out() -> None:
            try:
                with scope:
                    await command()
            except LocalProtocolError as e:
                self.failures.append(f"{self.sim.now():.3f} refused: {e}")
            finally:
                self._commands.pop(scope, None)

        with self._program:
            self._tasks.start_soon(carry_out)

    def freeze(self) -> None:
        """Let nothing of it run until `thaw`."""
        self._program.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._program.thaw()

    async def _kill(self) -> None:
        self.is_wanted = False
        if self._ended is not None:
            ended = self._ended
            self.disk.die()
            for scope in [self._scope, *self._commands]:
                scope.cancel()
            self._program.thaw()  # for its clean-up, of which nothing gets out
            await ended.wait()

    async def _main(self, scope: anyio.CancelScope, stop: anyio.Event, ended: anyio.Event, disk: Disk) -> None:
        use_disk(disk)
        own_host.set(self.host)
        try:
            with scope:
                await self.run(stop)
        except (CsproxyError, ExceptionGroup) as e:
            causes = e.exceptions if isinstance(e, ExceptionGroup) else [e]
            self.failures.append(f"{self.sim.now():.3f} {'; '.join(map(repr, causes))}")
        finally:
            if self.server is not None:
                self.parked += self.server.fan_out.statistics().parked
            self.disk_errors += disk.errors
            self.server = None
            self._ended = None
            ended.set()

    async def run(self, stop: anyio.Event) -> None:
        raise NotImplementedError

    @property
    def commit_errors(self) -> float:
        """The share of commits that fail without any other trouble."""
        return 0.0

    def make_server(self, role: str, name: str) -> ConfigurationServer:
        plan = self.plan
        settings = ServerSettings(
            packet_bytes=plan.packet_bytes,
            max_client_output_bytes=MAX_OUTPUT_BYTES,
            mark_interval_s=plan.mark_interval_s,
            session_keep_s=60.0,
            max_detached_sessions=plan.max_detached,
            client_response_timeout_s=30.0,
            registration_timeout_s=5.0,
            history=plan.history,
        )
        self.server = ConfigurationServer(
            role=role,
            name=name,
            authenticator=OpenDoor(lambda: self.server),
            writer=ReadOnlyWriter("this is a proxy"),
            random=self.rng.random,
            random_bytes=self.rng.randbytes,
            settings=settings,
        )
        self.server.fan_out._clients_per_turn = plan.clients_per_turn
        self._count_waits(self.server)
        return self.server

    def _count_waits(self, server: ConfigurationServer) -> None:
        usual = server.wait_until_reached

        async def counted(position: Position) -> None:
            self.waits += 1
            await usual(position)

        server.wait_until_reached = counted  # type: ignore[method-assign]

    @asynccontextmanager
    async def listening(self, server: ConfigurationServer) -> AsyncIterator[None]:
        listener = self.network.listen(self.host, PORT, server.connect)
        try:
            yield
        finally:
            listener.close()


class OpenDoor:
    """Persons log in with any password."""

    def __init__(self, server: Callable[[], ConfigurationServer | None]) -> None:
        self._server = server

    async def authenticate(self, user: str, password: str) -> Account:
        server = self._server()
        dbid = server and server.cache.find(PERSON, userName=user)
        if not dbid:
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, f"there is no user {user!r}")
        return Account(dbid, user)
