"""The bases of payloads, and those that belong to no subject: nothing, a refusal, a farewell."""

from __future__ import annotations

from typing import Final

import msgspec

from csproxy.core.secret_options import shown

__all__ = ["Disconnected", "Empty", "Error", "Forwardable", "OnBehalfOf", "Payload"]


_SECRET: Final = frozenset(
    {"app_password", "gss_token", "new_password", "old_password", "password", "session", "ticket"}
)


class Payload(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Base of all payloads: absent fields take their defaults. Their ``repr`` shows no secret."""

    def __repr__(self) -> str:
        return shown(self, secret=_SECRET)


class Empty(Payload, kw_only=True):
    """A payload without fields."""


class OnBehalfOf(Payload, kw_only=True):
    """For whom a trusted proxy asks: its client's Application, and the user with his Person.

    ``person_dbid`` 0: the Application runs without a user, and acts as its account.
    """

    application: str = ""
    user: str = ""
    person_dbid: int = 0


class Forwardable(Payload, kw_only=True):
    """Base of the requests that a proxy forwards for its clients; clients leave ``on_behalf_of`` out."""

    on_behalf_of: OnBehalfOf | None = None


class Error(Payload, kw_only=True):
    """2, event: a request was refused. ``retry_after_ms`` > 0: the same request may succeed later.

    ``outcome_unknown``: it may have been carried out all the same.
    """

    code: int
    object_type: int = 0
    property: str = ""
    description: str = ""
    retry_after_ms: int = 0
    outcome_unknown: bool = False


class Disconnected(Payload, kw_only=True):
    """4, event: the last frame before the sender closes the connection, with the reason."""

    code: int
    description: str = ""
    retry_after_ms: int = 0
