"""`csproxy demo`: a master, two proxies and clients on this machine, each step checked as it runs.

The servers are real `confserv` processes in a temporary folder; the clients are `ConfigClient`s of
this process. Every step says what it proves, and one that does not hold ends the demo with exit
status 1.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from rich.console import Console

from csproxy.core.changes import Action
from csproxy.core.model import CfgAppType, CfgPerson, CfgSkill
from csproxy.daemon.process import single_error
from csproxy.errors import AccessDeniedError, CsproxyError
from csproxy.transport.client import ConfigClient
from csproxy.transport.client_subscriptions import ChangeStream
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.replication import Digest, ReadDigest

__all__ = ["free_ports", "main"]

AGENTS: Final = 2000
PROXIES: Final = ("CSProxy_1", "CSProxy_2")
PASSWORD: Final = "demo"
READY_S: Final = 30.0
AT_ONCE_S: Final = 1.0
"""A change counts as delivered at once within this time, on a machine that runs everything itself."""
OUTAGE_S: Final = 3.0


class DemoError(CsproxyError):
    """A step of the demo did not hold."""


def main() -> int:
    """Run all steps; 0 if every one holds."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="csproxy-demo-") as folder:
        demo = Demo(console, Path(folder))
        failed = False
        try:
            anyio.run(demo.run)
        except* CsproxyError as group:
            console.print(f"[bold red]The demo failed:[/] {single_error(group)}")
            console.print(demo.log_tail(), style="dim")
            failed = True
        finally:
            demo.kill_all()
    if failed:
        return 1
    console.print(f"\n[bold green]All {demo.steps} steps held.[/] Next: README.md, 'Your own site'.")
    return 0


class Server:
    """One confserv process; its output goes to a file."""

    def __init__(self, name: str, folder: Path, port: int, arguments: list[str]) -> None:
        self.name = name
        self.port = port
        self.log_path = folder / f"{name}.log"
        self._arguments = [sys.executable, "-m", "csproxy.daemon.confserv", *arguments]
        self._folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it writes behind what an earlier one wrote."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self._arguments, cwd=self._folder, stdout=log, stderr=log)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(10)

    def check_alive(self) -> None:
        """Raise `DemoError` with the process's last words if it has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise DemoError(f"{self.name} ended with exit status {self.process.returncode}")


class Step:
    """One step on the screen: what is done, then how long it took and what it proves."""

    def __init__(self, console: Console, number: int, title: str) -> None:
        self._console = console
        self._started_s = time.perf_counter()
        console.print(f"\n[bold]{number}. {title}[/]")

    def say(self, text: str) -> None:
        """A finding, as it is made."""
        self._console.print(f"   {text}")

    def proves(self, text: str) -> None:
        """The end of the step."""
        elapsed_s = time.perf_counter() - self._started_s
        self._console.print(f"   [green]✓[/] {text} [dim]({elapsed_s:.1f} s)[/]")


class Demo:
    """All steps, in order."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.steps = 0
        self._console = console
        self._folder = folder
        ports = free_ports(1 + len(PROXIES))
        self._master = Server("confserv", folder, ports[0], ["-c", "site/confserv.conf"])
        self._proxies = [
            Server(name, folder, port, ["-host", "127.0.0.1", "-port", str(ports[0]), "-app", name])
            for name, port in zip(PROXIES, ports[1:], strict=True)
        ]

    async def run(self) -> None:
        """The demo."""
        with anyio.fail_after(180):
            self._make_site()
            await self._start_servers()
            async with AsyncExitStack() as stack:
                master = await stack.enter_async_context(self._client(self._master))
                proxies = [await stack.enter_async_context(self._client(server)) for server in self._proxies]
                await self._compare(master, proxies)
                await self._read(proxies[0])
                streams = [await stack.enter_async_context(client.subscribe(CfgPerson)) for client in proxies]
                await self._change(master, proxies, streams)
                await self._refuse_write(proxies[0])
                await self._lose_master(proxies[0])
                await self._bring_master_back(master, proxies, streams)
                await self._compare(master, proxies, after="after the outage")
            self._stop()

    # steps

    def _step(self, title: str) -> Step:
        self.steps += 1
        return Step(self._console, self.steps, title)

    def _make_site(self) -> None:
        step = self._step(f"A configuration database with a contact centre of {AGENTS:,} agents")
        command = [sys.executable, "-m", "csproxy.daemon.tool", "init", "site", "--site", str(AGENTS)]
        command += ["--password", PASSWORD, "--master-port", str(self._master.port)]
        for server in self._proxies:
            command += ["--proxy", f"{server.name}={server.port}"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise DemoError(f"csproxy init failed: {done.stderr.strip()}")
        size_mb = (self._folder / "site" / "config.db").stat().st_size / 1e6
        step.say(f"csproxy init wrote {size_mb:.1f} MB of SQLite in {self._folder / 'site'}")
        step.proves("a master needs one folder and no other software")

    async def _start_servers(self) -> None:
        step = self._step("A master, and two proxies of it")
        for server in (self._master, *self._proxies):
            began_s = time.perf_counter()
            server.start()
            status = await self._until_ready(server)
            what = "the master" if server is self._master else "the proxy"
            step.say(
                f"{what} {server.name} serves {status['objects']:,} objects on port {server.port} "
                f"after {time.perf_counter() - began_s:.2f} s"
            )
        step.proves("a proxy loads the whole configuration over the network and serves it from memory")

    async def _compare(self, master: ConfigClient, proxies: list[ConfigClient], *, after: str = "") -> None:
        step = self._step(f"Is it the same configuration{' ' + after if after else ''}?")
        expected = await digests(master)
        for server, client in zip(self._proxies, proxies, strict=True):
            differing = [number for number, digest in (await digests(client)).items() if digest != expected[number]]
            if differing:
                raise DemoError(f"{server.name} differs from the master in object types {differing}")
        step.proves("content digests of all objects and permissions, type by type, are equal at master and proxies")

    async def _read(self, client: ConfigClient) -> None:
        step = self._step("Reads are answered by the proxy")
        began_s = time.perf_counter()
        agents = await client.read(CfgPerson, is_agent=True)
        step.say(f"{len(agents):,} agents read and decoded in {(time.perf_counter() - began_s) * 1e3:.0f} ms")
        if len(agents) != AGENTS:
            raise DemoError(f"{len(agents)} agents were read, the site has {AGENTS}")
        skill = (await client.read(CfgSkill))[0]
        skilled = await client.read(CfgPerson, skill_dbid=skill.DBID)
        step.say(f"{len(skilled):,} of them have the skill {skill.name!r}")
        wanted = agents[len(agents) // 2]
        began_s = time.perf_counter()
        for _ in range(1000):
            await client.get(CfgPerson, wanted.DBID)
        each_us = (time.perf_counter() - began_s) * 1e3
        found = await client.get(CfgPerson, userName=wanted.userName)
        if found.DBID != wanted.DBID:
            raise DemoError(f"user name {wanted.userName!r} found DBID {found.DBID}, not {wanted.DBID}")
        step.say(f"one person by DBID, one after the other: {each_us:.0f} µs each")
        step.proves(f"typed reads by DBID, unique key and relationship, as of UEN {agents.position.uen}")

    async def _change(self, master: ConfigClient, proxies: list[ConfigClient], streams: list[ChangeStream]) -> None:
        step = self._step("A change at the master reaches the subscribers of each proxy")
        person = (await proxies[0].read(CfgPerson, is_agent=True))[0]
        began_s = time.perf_counter()
        position = await self._rename(master, person.DBID, "Demo")
        for server, stream in zip(self._proxies, streams, strict=True):
            change = await next_change(stream, server.name)
            elapsed_s = time.perf_counter() - began_s
            if change.dbid != person.DBID or change.position.uen != position or change.user != "default":
                raise DemoError(f"{server.name} delivered {change}, not UEN {position} of person {person.DBID}")
            if elapsed_s > AT_ONCE_S:
                raise DemoError(f"{server.name} delivered the change after {elapsed_s:.2f} s")
            step.say(f"subscriber of {server.name}: UEN {position}, {elapsed_s * 1e3:.1f} ms after the request")
        for server, client in zip(self._proxies, proxies, strict=True):
            if (await client.get(CfgPerson, person.DBID)).firstName != "Demo":
                raise DemoError(f"{server.name} delivered the change but does not show it")
        step.proves("there is no polling: a change is passed on at once, with its author, and reads show it")

    async def _refuse_write(self, client: ConfigClient) -> None:
        step = self._step("A proxy is read-only")
        person = (await client.read(CfgPerson, is_agent=True))[0]
        try:
            await client.update(person, msgspec.structs.replace(person, firstName="Nobody"))
        except AccessDeniedError as e:
            step.say(f"refused: {e}")
        else:
            raise DemoError("a proxy accepted a write")
        step.proves("a write at a proxy gets a refusal that says what to do")

    async def _lose_master(self, client: ConfigClient) -> None:
        step = self._step(f"The master is killed (SIGKILL); for {OUTAGE_S:g} s clients go on reading")
        self._master.kill()
        began_s = time.perf_counter()
        reads, slowest_s = 0, 0.0
        while (now_s := time.perf_counter()) < began_s + OUTAGE_S:
            await client.get(CfgPerson, 100)
            slowest_s = max(slowest_s, time.perf_counter() - now_s)
            reads += 1
        step.say(f"{reads:,} reads without an error, the slowest took {slowest_s * 1e3:.1f} ms")
        step.proves("a site behind a proxy keeps working while the master is away")

    async def _bring_master_back(
        self, master: ConfigClient, proxies: list[ConfigClient], streams: list[ChangeStream]
    ) -> None:
        step = self._step("The master is back, and changes something before the proxies have found it")
        self._master.start()
        await self._until_ready(self._master)
        position = await self._rename(master, 100, "Back")
        for server, stream in zip(self._proxies, streams, strict=True):
            change = await next_change(stream, server.name)
            if change.action is not Action.UPDATED or change.dbid != 100 or change.position.uen != position:
                raise DemoError(f"{server.name} delivered {change}, not UEN {position} of person 100")
        second = await self._rename(master, 100, "default")
        for server, stream in zip(self._proxies, streams, strict=True):
            change = await next_change(stream, server.name)
            if change.position.uen != second:
                raise DemoError(f"{server.name} delivered UEN {change.position.uen} after {position}, not {second}")
            step.say(f"subscriber of {server.name}: UEN {position} once, then UEN {second}")
        if any(client.statistics().reconnects for client in proxies):
            raise DemoError("a client of a proxy lost its connection")
        step.proves("missed changes are delivered exactly once; the proxies' clients were never disconnected")

    def _stop(self) -> None:
        step = self._step("Everything stops in an orderly way (SIGTERM)")
        for server in (*self._proxies, self._master):
            status = server.kill(signal.SIGTERM)
            if status:
                raise DemoError(f"{server.name} ended with exit status {status}")
        step.proves("every server told its clients and ended with exit status 0")

    # helpers

    @asynccontextmanager
    async def _client(self, server: Server) -> AsyncIterator[ConfigClient]:
        async with ConfigClient(
            "127.0.0.1",
            server.port,
            application="default",
            application_type=CfgAppType.CFGSCE,
            user="default",
            password=PASSWORD,
        ) as client:
            yield client

    async def _until_ready(self, server: Server) -> dict[str, Any]:
        deadline_s = time.perf_counter() + READY_S
        while True:
            server.check_alive()
            try:
                async with self._client(server) as client:
                    status = await client.status()
                if status["ready"]:
                    return status
            except CsproxyError as e:
                if time.perf_counter() > deadline_s:
                    raise DemoError(f"{server.name} was not ready within {READY_S:g} s: {e}") from e
            await anyio.sleep(0.05)

    async def _rename(self, client: ConfigClient, dbid: int, first_name: str) -> int:
        """Change a person's first name; returns the change's UEN."""
        person = await client.get(CfgPerson, dbid)
        return (await client.update(person, msgspec.structs.replace(person, firstName=first_name))).uen

    def kill_all(self) -> None:
        """Leave no process behind, whatever happened."""
        for server in (self._master, *self._proxies):
            if server.process is not None and server.process.poll() is None:
                server.kill()

    def log_tail(self) -> str:
        """The last lines of each server, for a demo that failed."""
        tails = []
        for server in (self._master, *self._proxies):
            if server.log_path.exists():
                lines = server.log_path.read_text(errors="replace").splitlines()[-8:]
                tails.append("\n".join([f"--- {server.name}", *lines]))
        return "\n".join(tails)


async def digests(client: ConfigClient) -> dict[int, str]:
    """Content digest per object type."""
    connection = await client.connection()
    frame = await connection.request(MessageId.READ_DIGEST, ReadDigest())
    return decode_payload(Digest, frame.payload).digests


async def next_change(stream: ChangeStream, name: str) -> Any:
    """The next change of a subscription, which must come soon."""
    with anyio.move_on_after(READY_S):
        return await anext(aiter(stream))
    raise DemoError(f"{name} delivered nothing for {READY_S:g} s")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
