"""Log-ins checked by the master, over the proxy's upstream connection.

While the master is away, a log-in that it accepted before is accepted again, as long as the Person
is unchanged and enabled; everybody else gets a retryable error that says why.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

from csproxy.core.model.enumerations import CfgObjectState, CfgObjectType
from csproxy.core.replica import ReplicaSink
from csproxy.core.sessions import Account
from csproxy.errors import (
    AccessDeniedError,
    ConnectionLostError,
    ErrorCode,
    LoginIncorrectError,
    RetryableError,
    TimedOutError,
)
from csproxy.transport.upstream import UpstreamSource
from csproxy.transport.wire.messages import MessageId, decode_payload
from csproxy.transport.wire.registration import Authenticate, Authenticated

__all__ = ["MAX_REMEMBERED", "UpstreamAuthenticator"]

MAX_REMEMBERED: Final = 10_000
"""Log-ins remembered; beyond it the one longest unused is forgotten."""
_RETRY_S: Final = 5.0


class _Accepted(NamedTuple):
    """A log-in that the master accepted: a hash that only this process can make, and the Person as it was."""

    digest: bytes
    person_dbid: int
    person: bytes


class UpstreamAuthenticator:
    """Asks the master with Authenticate; implements the server's Authenticator.

    ``sink`` shows the Persons as replicated. Passwords are kept only as HMAC-SHA256 under a random
    key of this process: fast, worthless elsewhere, and gone with the process.
    """

    def __init__(self, source: UpstreamSource, sink: ReplicaSink, *, timeout_s: float = 30.0) -> None:
        self._source = source
        self._sink = sink
        self._timeout_s = timeout_s
        self._key = secrets.token_bytes(32)
        self._accepted: OrderedDict[str, _Accepted] = OrderedDict()

    def __repr__(self) -> str:
        return f"<UpstreamAuthenticator {len(self._accepted)} remembered>"

    async def authenticate(self, user: str, password: str) -> Account:
        """The account of ``user``.

        Raises `LoginIncorrectError` and the master's other refusals, and `RetryableError` when the
        master is away and this log-in is not remembered.
        """
        try:
            frame = await self._source.request(
                MessageId.AUTHENTICATE, Authenticate(user=user, password=password), timeout_s=self._timeout_s
            )
        except (ConnectionLostError, TimedOutError) as e:
            return self._remembered(user, password, str(e))
        except RetryableError as e:
            if e.code is not ErrorCode.SERVER_NOT_FOUND:
                raise
            return self._remembered(user, password, e.description)
        except (LoginIncorrectError, AccessDeniedError):
            self._accepted.pop(user, None)
            raise
        answer = decode_payload(Authenticated, frame.payload)
        self._remember(user, password, answer.person_dbid)
        return Account(answer.person_dbid, user, answer.must_change)

    def _remember(self, user: str, password: str, person_dbid: int) -> None:
        person = self._sink.cache.get(CfgObjectType.CFGPerson, person_dbid)
        if person is None:
            return  # the Person has not arrived here yet
        self._accepted[user] = _Accepted(self._digest(user, password), person_dbid, person)
        self._accepted.move_to_end(user)
        if len(self._accepted) > MAX_REMEMBERED:
            self._accepted.popitem(last=False)

    def _remembered(self, user: str, password: str, why: str) -> Account:
        known = self._accepted.get(user)
        if (
            known is not None
            and self._is_current(known)
            and hmac.compare_digest(known.digest, self._digest(user, password))
        ):
            self._accepted.move_to_end(user)
            return Account(known.person_dbid, user)
        raise RetryableError(
            ErrorCode.SERVER_NOT_FOUND,
            f"the master, which checks passwords, cannot be asked now: {why}; try again later",
            retry_after_s=_RETRY_S,
        )

    def _is_current(self, known: _Accepted) -> bool:
        """A Person that changed in any way since then may have another password."""
        cache = self._sink.cache
        if cache.get(CfgObjectType.CFGPerson, known.person_dbid) != known.person:
            return False
        person = cache.stored(CfgObjectType.CFGPerson, known.person_dbid)
        return person is not None and person.get("state", 0) == CfgObjectState.CFGEnabled

    def _digest(self, user: str, password: str) -> bytes:
        text = f"{len(user)}:{user}{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, "sha256")
