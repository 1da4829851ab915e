"""A client's session with whichever server is reachable: one attempt to get it, and what follows from a failure.

Waiting, retrying and telling others is `csproxy.transport.client`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import msgspec

from csproxy.core.changes import Epoch, Position
from csproxy.core.failover import Endpoint
from csproxy.errors import ConnectionLostError, ErrorCode, HistoryExpiredError, ServerError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.channel import Connector
from csproxy.transport.client_feed import TransactionFeed
from csproxy.transport.client_subscriptions import SubscriptionHub
from csproxy.transport.connection import Connection
from csproxy.transport.exchange import EpochOrder
from csproxy.transport.tickets import TicketSource
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import ClientRegistered, RegisterClient, RestoreSession
from csproxy.transport.wire.subscriptions import HistoryLog, ResumeFrom

__all__ = ["ClientSession", "is_final"]

log = logging.getLogger("csproxy.client")

_FINAL: Final = frozenset(
    {
        ErrorCode.LOGIN_INCORRECT,
        ErrorCode.APP_SECURITY_VIOLATION,
        ErrorCode.ACCESS_DENIED,
        ErrorCode.NO_PERMISSION,
        ErrorCode.UNSECURE_CONNECTION_DENIED,
        ErrorCode.EMPTY_PASSWORD_DENIED,
        ErrorCode.USER_MUST_CHANGE_PASSWORD,
        ErrorCode.UNSUPPORTED_ENCODING,
        ErrorCode.WRONG_PROTOCOL,
    }
)


def is_final(error: Exception) -> bool:
    """Whether a refused connection or registration will be refused again, however often and wherever it is tried."""
    if isinstance(error, ConnectionLostError):
        return error.code is ErrorCode.UNSECURE_CONNECTION_DENIED  # said before anything can be asked
    return isinstance(error, ServerError) and error.code in _FINAL and not error.retry_after_s


class ClientSession:
    """Who the client is, and the session it holds.

    ``request`` is the registration; a ``new_password`` in it is used once and becomes the password.
    With ``tickets`` each registration brings a ticket instead of a password. ``clock`` gives seconds.
    """

    def __init__(
        self,
        request: RegisterClient,
        *,
        connector: Connector,
        hub: SubscriptionHub,
        timeout_s: float,
        clock: Callable[[], float],
        tickets: TicketSource | None = None,
    ) -> None:
        self.request = request
        self.registered: ClientRegistered | None = None
        self.registrations = 0
        """How often the client logged in; restored sessions are not counted."""
        self.restores = 0
        self.is_restored = False
        """Whether the last connection took up the session of the one before."""
        # Whether the server's session holds every subscription. One that was lost before they were
        # resumed must not be restored: its history would be empty, and look as if nothing was missed.
        self._is_complete = False
        self._connector = connector
        self._hub = hub
        self._timeout_s = timeout_s
        self._clock = clock
        self._tickets = tickets

    def __repr__(self) -> str:
        return f"<ClientSession {self.request.name!r} user {self.request.user!r}>"

    @property
    def epochs(self) -> Sequence[Epoch]:
        """The server's epoch table as of the last registration or restore."""
        return [] if self.registered is None else [Epoch(*row) for row in self.registered.epochs]

    async def connect(self, endpoint: Endpoint) -> Connection:
        """One attempt: connect, restore or register, and resume what was subscribed.

        Raises `ConnectionLostError`, `TimedOutError`, `RemoteProtocolError` or `ServerError`. Streams
        that cannot be resumed are ended with `HistoryExpiredError`, and that fails nothing else.
        """
        connection = await self.open(endpoint)
        TransactionFeed(connection, self._hub.offer)
        try:
            self.is_restored = await self._restore(connection)
            if not self.is_restored:
                await self._register(connection)
        except BaseException:
            await connection.aclose(grace_s=0)
            raise
        return connection

    async def open(self, endpoint: Endpoint) -> Connection:
        """A connection that is not registered yet; errors as for `connect`."""
        channel = None
        with anyio.move_on_after(self._timeout_s):
            channel = await self._connector(endpoint.host, endpoint.port)
        if channel is None:
            raise ConnectionLostError(
                f"{endpoint} did not accept a connection within {self._timeout_s:g} s",
                code=ErrorCode.SERVER_NOT_FOUND,
            )
        return await Connection.open(channel, self.request.name, timeout_s=self._timeout_s, clock=self._clock)

    async def register_beside(self, connection: Connection) -> ClientRegistered:
        """A second session, while the present one goes on; `adopt` makes it the only one."""
        return await connection.register(await self._with_ticket(), timeout_s=self._timeout_s)

    def adopt(self, registered: ClientRegistered) -> None:
        """The client has moved, with all its subscriptions, to the session that `register_beside` made."""
        self.registered = registered
        self.registrations += 1
        self.is_restored = False
        self._is_complete = True

    async def _restore(self, connection: Connection) -> bool:
        """Take the earlier session up, if there is one that the server knows.

        It says how far its streams have come: a server that is behind that leaves the session where it is, and
        answers that it is to be tried again.
        """
        if self.registered is None or not self._is_complete:
            return False
        wanted, position = self._hub.resume_point(EpochOrder(self.registered.epochs))
        fields = {name: getattr(self.request, name) for name in RegisterClient.__struct_fields__}
        fields |= {"password": "", "new_password": "", "session": self.registered.session}
        fields["subscriptions"] = wanted
        try:
            request = RestoreSession(**fields)
            self.registered = await connection.restore(request, minimum=position, timeout_s=self._timeout_s)
        except ServerError as e:
            if e.retry_after_s:
                raise
            log.info("session not restored at %s: %s", connection.peer, e)
            self.registered = None
            return False
        self.restores += 1
        await self._resume(connection, restored=True)
        return True

    async def _register(self, connection: Connection) -> None:
        self._is_complete = False
        self.registered = await connection.register(await self._with_ticket(), timeout_s=self._timeout_s)
        self.registrations += 1
        if self.request.new_password:
            self.request = msgspec.structs.replace(self.request, password=self.request.new_password, new_password="")
        await self._resume(connection, restored=False)
        self._is_complete = True

    async def _with_ticket(self) -> RegisterClient:
        """The registration, with a new ticket if tickets are used: each works once. Whose it is stays known."""
        if self._tickets is None:
            return self.request
        user, ticket = await run_blocking(self._tickets)
        self.request = msgspec.structs.replace(self.request, user=user)
        return msgspec.structs.replace(self.request, gss_token=ticket)

    async def _resume(self, connection: Connection, *, restored: bool) -> None:
        """Get what the streams missed; those that stand before the server's history are ended."""
        assert self.registered is not None
        while True:
            find = self._hub.resume_point if restored else self._hub.newest_point
            wanted, position = find(connection.order)
            if not wanted:
                if restored:  # the session stays silent until it asks
                    await self._history_log(connection, connection.position)
                return
            try:
                if restored:
                    await self._history_log(connection, position)
                else:
                    await connection.request(
                        MessageId.RESUME_FROM,
                        ResumeFrom(subscriptions=wanted),
                        minimum=position,
                        timeout_s=self._timeout_s,
                    )
            except HistoryExpiredError as e:
                log.warning("subscriptions at UEN %d cannot be continued: %s", position.uen, e, extra={"event": 31100})
                self._hub.expire(position, e)
            else:
                return

    async def _history_log(self, connection: Connection, position: Position) -> None:
        assert self.registered is not None
        await connection.request(
            MessageId.HISTORY_LOG,
            HistoryLog(session=self.registered.session),
            minimum=position,
            timeout_s=self._timeout_s,
        )
