"""Log-ins with a ticket instead of a password: what a server asks of whoever checks tickets, a client of its source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError

__all__ = ["NoTickets", "TicketAuthenticator", "TicketSource"]

TicketSource = Callable[[], tuple[str, bytes]]
"""Gives a user's name and a new ticket of this user, for a client; it may block, and raises `ServerError`."""


class TicketAuthenticator(Protocol):
    """Checks the Kerberos tickets that come with registrations."""

    async def authenticate_ticket(self, ticket: bytes, user: str) -> Account:
        """The account that the ticket proves; ``user``, if the client gave one, must be the same.

        Raises `ServerError` (LOGIN_INCORRECT, EXTERNAL_AUTHENTICATION_ERROR, or retryable).
        """


class NoTickets:
    """Accepts none."""

    async def authenticate_ticket(self, ticket: bytes, user: str) -> Account:
        """Raise `ServerError` EXTERNAL_AUTHENTICATION_ERROR."""
        raise ServerError.from_code(
            ErrorCode.EXTERNAL_AUTHENTICATION_ERROR,
            "this server does not accept Kerberos tickets: log in with user name and password",
        )
