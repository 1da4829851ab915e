"""What a server has for the proxies that it trusts: passwords and log-ins, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.wire.credentials import CredentialsRead, LogInRecords, ReadCredentials

if TYPE_CHECKING:
    from csproxy.transport.server_connection import ServerConnection

__all__ = ["CredentialSource", "NoCredentials"]


class CredentialSource(Protocol):
    """What a server has for the proxies that it trusts."""

    def read(self, connection: ServerConnection, request: ReadCredentials) -> CredentialsRead:
        """What differs, and pushes to this connection from now on. Raises `ServerError`."""

    def take(self, request: LogInRecords, *, server: str) -> None:
        """Let log-ins count that the proxy ``server`` reports. Raises `ServerError`."""


class NoCredentials:
    """For servers that have no proxies, proxies among them."""

    def read(self, connection: ServerConnection, request: ReadCredentials) -> NoReturn:
        """Refuse."""
        self._refuse()

    def take(self, request: LogInRecords, *, server: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ServerError.from_code(ErrorCode.ACCESS_DENIED, "this server has no credentials for proxies")
