"""Real processes for tests: `confserv` and `csproxy` as an operator starts them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import csproxy
from tests.own_ports import free_ports

PASSWORD = "x"
DEADLINE_S = 30.0

_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CSPROXY_")} | {
    "PYTHONPATH": str(Path(csproxy.__file__).parents[1]),
    "PYTHONUNBUFFERED": "1",
}


def tool_environment() -> dict[str, str]:
    """That of an operator who has set nothing of csproxy's."""
    return dict(_ENVIRONMENT)


def tool(
    *words: str, port: int | None = None, password: str | None = PASSWORD, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `csproxy` to its end."""
    environment = dict(_ENVIRONMENT)
    if password is not None:
        environment["CSPROXY_PASSWORD"] = password
    if port is not None:
        words = (*words, "--port", str(port))
    return subprocess.run(
        [sys.executable, "-m", "csproxy.daemon.tool", *words],
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def answer(*words: str, port: int, stdin: str = "") -> Any:
    """The JSON document that a command prints; it must have succeeded."""
    done = tool(*words, "--output", "json", port=port, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A process that runs beside the test; killed at the end whatever happened.

    ``environment``: what it has beside that of every server; None takes a variable away.
    """

    def __init__(
        self,
        module: str,
        *words: str,
        cwd: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
        program: Sequence[str] = (),
    ) -> None:
        wanted = _ENVIRONMENT | {"CSPROXY_PASSWORD": PASSWORD} | dict(environment or {})
        self.process = subprocess.Popen(
            [*(program or (sys.executable, "-m", f"csproxy.daemon.{module}")), *words],
            cwd=cwd,
            env={name: value for name, value in wanted.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if module == "confserv" else subprocess.PIPE,
            # a shell that runs the tests in the background has SIGINT ignored, and that is inherited
            preexec_fn=_heed_interrupts,
        )
        self.seen: list[str] = []
        self._rest = b""
        self._poll = select.poll()  # select takes no descriptor above 1023
        self._poll.register(self.process.stdout, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def line(self, *, containing: str = "", timeout_s: float = DEADLINE_S) -> str:
        """The next line of standard output that has ``containing`` in it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while True:
            while b"\n" in self._rest:
                raw, self._rest = self._rest.split(b"\n", 1)
                text = raw.decode()
                self.seen.append(text)
                if containing in text:
                    return text
            ready = self._poll.poll(max(deadline - time.monotonic(), 0) * 1000)
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            assert data, f"no line with {containing!r}; there was:\n" + "\n".join(self.seen)
            self._rest += data

    def told(self, *, containing: str) -> None:
        """Wait for a line of standard error."""
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            if containing in raw.decode():
                return
        raise AssertionError(f"{containing!r} was not told")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End it without asking."""
        self.process.kill()
        self.process.wait(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Site:
    """A folder made by `csproxy init`, with ``more`` arguments, and how its servers are started."""

    def __init__(
        self,
        folder: Path,
        *,
        agents: int | None = None,
        proxies: Sequence[str] = ("CSProxy_1",),
        more: Sequence[str] = (),
    ) -> None:
        self.folder = folder / "d"
        self.port, *others = free_ports(1 + len(proxies))
        self.proxy_ports = dict(zip(proxies, others, strict=True))
        words = ["init", str(self.folder), "--password", PASSWORD, "--master-port", str(self.port), *more]
        if agents is not None:
            words += ["--site", str(agents)]
        for name, port in self.proxy_ports.items():
            words += ["--proxy", f"{name}={port}"]
        done = tool(*words)
        assert done.returncode == 0, done.stderr

    def master(self, *words: str) -> Running:
        """Start the master and wait until it is ready."""
        running = Running("confserv", "-c", str(self.folder / "confserv.conf"), *words)
        return _until_ready(running)

    def proxy(self, name: str = "CSProxy_1", *words: str, wait: bool = True) -> Running:
        """Start a proxy and wait until it is ready."""
        words = ("-host", "127.0.0.1", "-port", str(self.port), "-app", name, *words)
        running = Running("confserv", *words, cwd=self.folder)
        return _until_ready(running) if wait else running


def _until_ready(running: Running) -> Running:
    try:
        running.line(containing="ready on")
    except BaseException:
        running.kill()
        raise
    return running
