"""The management port: one HTTP port beside those for clients, open before there is data to serve.

What it answers is in `csproxy.daemon.management_http`, which needs the extra ``admin`` and is imported only when the
port is asked for. Its HTTP server runs in the server's event loop, takes no signals and ends with the process.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from anyio.abc import TaskGroup

from csproxy.daemon.health import Readiness
from csproxy.errors import ConfigurationError
from csproxy.transport.sockets import notice_dead_peers

if TYPE_CHECKING:
    from csproxy.transport.server import ConfigurationServer

__all__ = ["Access", "Managed", "ManagementPort", "token_file"]

_log = logging.getLogger("csproxy.management")

_BACKLOG: Final = 100
_END_S: Final = 2.0
"""How long requests under way may take when the process ends."""


@dataclass(frozen=True)
class Managed:
    """What the management port shows and does: the server as far as it knows it."""

    readiness: Callable[[], Readiness]
    status: Callable[[], Awaitable[dict[str, Any]]]
    server: Callable[[], ConfigurationServer | None]
    """None before it has been put together."""
    stop: Callable[[], object]
    promote: Callable[[], Awaitable[object]]
    """Let this proxy of a pair serve. Raises `LocalProtocolError` when it cannot."""
    hand_over: Callable[[], Awaitable[object]]
    """Let the other proxy of the pair serve. Raises `LocalProtocolError` when it cannot."""


class Access:
    """Who may do what. With ``is_open`` GET needs no token, if it is addressed to this machine itself."""

    def __init__(self, token: str, *, is_open: bool) -> None:
        self.is_open = is_open
        self._expected = f"Bearer {token}".encode()

    def __repr__(self) -> str:
        return f"<Access {'to read without a token' if self.is_open else 'with the token only'}>"

    def allows(self, method: str, authorization: bytes, host: bytes = b"") -> bool:
        """Whether a request with these headers ``Authorization`` and ``Host`` may be answered."""
        reads = self.is_open and method in ("GET", "HEAD") and _is_here(host)
        return reads or hmac.compare_digest(authorization, self._expected)


def _is_here(host: bytes) -> bool:
    """Whether a header ``Host`` names this machine by a loopback address, or is missing.

    A page from elsewhere can have its own name lead to 127.0.0.1 (DNS rebinding): the browser of somebody who works
    here would read for it what needs no token.
    """
    name = host.decode("latin-1").strip()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    try:
        return not name or name.lower() == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def token_file(folder: Path, port: int) -> Path:
    """Where a server with this management port, started in ``folder``, writes its token."""
    return folder / f"management-{port}.token"


class ManagementPort:
    """Async context manager; while it is entered the port can be opened. Leaving ends all connections.

    ``folder`` is where the token is written; leaving removes it.
    """

    def __init__(self, managed: Managed, *, folder: Path) -> None:
        self._managed = managed
        self._folder = folder
        self._file: Path | None = None
        self._ending = anyio.Event()
        self._group: TaskGroup

    def __repr__(self) -> str:
        return f"<ManagementPort {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """It has been opened."""
        return self._file is not None

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._ending.set()
        # a client that never ends its request must not hold up the process
        self._group.cancel_scope.deadline = anyio.current_time() + _END_S
        try:
            return await self._group.__aexit__(kind, error, traceback)
        finally:
            if self._file is not None:
                with suppress(OSError):
                    self._file.unlink()

    def open(self, address: str, port: int) -> None:
        """Listen from now on.

        Raises `ConfigurationError`: the extra ``admin`` is missing, the port cannot be opened, or the token cannot be
        written.
        """
        try:
            from csproxy.daemon.management_http import application, serve
        except ImportError as e:
            raise ConfigurationError(
                f"management-port needs the package {e.name}: pip install 'csproxy[admin]', or leave the option out"
            ) from e
        listening = _listen(address, port)
        path = token_file(self._folder, port)
        try:
            token = _write_token(path)
        except BaseException:
            listening.close()
            raise
        self._file = path
        access = Access(token, is_open=ipaddress.ip_address(address).is_loopback)
        self._group.start_soon(
            serve, application(self._managed, access, self._ending.wait), listening, self._ending.wait
        )
        _log.info("management at %s:%d; the token is in %s", address, port, path)


def _listen(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        notice_dead_peers(sock)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as e:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on {address}:{port} for management: {e.strerror}; "
            "management-port and management-address say where"
        ) from e
    return sock


def _write_token(path: Path) -> str:
    """A new secret; the file of a process that was killed is replaced."""
    token = secrets.token_urlsafe(32)
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write(token + "\n")
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be written, the token of the management port: {e.strerror}") from e
    return token
