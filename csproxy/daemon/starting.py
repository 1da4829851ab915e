"""What stands for authenticator and writer of a server whose source of data does not exist yet."""

from __future__ import annotations

from typing import NoReturn

from csproxy.errors import ErrorCode, RetryableError

__all__ = ["Starting"]


class Starting:
    """Stands for authenticator and writer until the source of data exists; no port is open that long."""

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
