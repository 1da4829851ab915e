"""What stands for authenticator and writer of a server that has none yet, as its source of data does not exist."""

from __future__ import annotations

from typing import NoReturn

from csproxy.errors import ErrorCode, RetryableError

__all__ = ["Starting"]


class Starting:
    """Refuses log-ins and changes with a retryable error, until whoever composes the server sets what takes them."""

    async def authenticate(self, user: str, password: str) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def write(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def apply(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def outcome(self, request: object, author: object) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RetryableError(ErrorCode.SERVER_NOT_FOUND, "this server is starting", retry_after_s=1.0)
