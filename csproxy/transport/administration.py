"""Who answers requests about permissions, accounts of applications and the operational mode.

The master's answers are in `csproxy.transport.master_administration`. A proxy asks its master and
changes nothing. Wire messages come in and go out as payloads; sending them is the matter of
`csproxy.transport.permission_requests`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from csproxy.core.cache import ConfigurationCache
from csproxy.core.sessions import Author
from csproxy.errors import ConnectionLostError, ErrorCode, RetryableError, ServerError, TimedOutError
from csproxy.transport.permission_answers import PermissionAnswers
from csproxy.transport.wire.messages import PAYLOADS, MessageId, decode_payload

if TYPE_CHECKING:
    from csproxy.transport.upstream import UpstreamSource

__all__ = ["Administration", "NoAdministration", "ReplicaAdministration", "UpstreamAdministration"]

_RETRY_S: Final = 5.0
_CHANGES: Final = frozenset({MessageId.UPDATE_PERMISSIONS, MessageId.UPDATE_ACCOUNT, MessageId.CHANGE_OPERATIONAL_MODE})


class Administration(Protocol):
    """Answers the seven requests 24, 26, 30, 32, 36, 38 and 47."""

    async def answer(self, message: MessageId, request: Any, author: Author) -> msgspec.Struct:
        """Carry out one request, given as its payload; returns the payload of the answer.

        Raises `ModelError`, `ServerError` or `StoreError` when it is refused; then nothing has changed.
        """


class NoAdministration:
    """For servers that keep no permissions: every request is refused with error 8."""

    async def answer(self, message: MessageId, request: Any, author: Author) -> msgspec.Struct:
        """Raise `ServerError` ACCESS_DENIED."""
        raise ServerError.from_code(
            ErrorCode.ACCESS_DENIED, f"this server keeps no permissions, accounts or modes: {message.name} is refused"
        )


class ReplicaAdministration:
    """Reads permissions and accounts from the replica, and leaves everything else to ``other``."""

    def __init__(self, cache: Callable[[], ConfigurationCache], other: Administration) -> None:
        reader = PermissionAnswers(cache)
        self._other = other
        self._answers: dict[MessageId, Callable[[Any, Author], Awaitable[msgspec.Struct]]] = {
            MessageId.READ_PERMISSIONS: reader.read_permissions,
            MessageId.READ_OBJECT_PERMISSIONS: reader.read_mask,
            MessageId.READ_ACCOUNT: reader.read_account,
        }

    def __repr__(self) -> str:
        return f"<ReplicaAdministration before {self._other!r}>"

    async def answer(self, message: MessageId, request: Any, author: Author) -> msgspec.Struct:
        """Answer a read from memory; the rest as ``other`` does."""
        reader = self._answers.get(message)
        if reader is not None:
            return await reader(request, author)
        return await self._other.answer(message, request, author)


class UpstreamAdministration:
    """Asks the master, over the proxy's upstream connection, and passes on its answer and its refusals.

    While the master is away the answer is a retryable error. Changes are not its matter: a proxy that takes any has a
    `csproxy.transport.writers.Forwarder`, and else they are refused.
    """

    def __init__(self, source: UpstreamSource, *, timeout_s: float = 30.0) -> None:
        self._source = source
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<UpstreamAdministration over {self._source!r}>"

    async def answer(self, message: MessageId, request: Any, author: Author) -> msgspec.Struct:
        """Forward a read. Raises `ServerError` ACCESS_DENIED for a change, and a retryable one without the master."""
        if message in _CHANGES:
            raise ServerError.from_code(
                ErrorCode.ACCESS_DENIED,
                f"this Configuration Server Proxy is read-only: send {message.name} to the master",
            )
        try:
            frame = await self._source.request(message, request, timeout_s=self._timeout_s)
        except (ConnectionLostError, TimedOutError) as e:
            raise RetryableError(
                ErrorCode.SERVER_NOT_FOUND,
                f"the master, which keeps permissions and modes, cannot be asked now: {e}; try again later",
                retry_after_s=_RETRY_S,
            ) from e
        return decode_payload(PAYLOADS[frame.message], frame.payload)
