"""Kerberos tickets for clients: from the credentials that the user has (kinit, or the log-in to the computer)."""

from __future__ import annotations

from functools import partial

from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.tickets import TicketSource

__all__ = ["kerberos_tickets"]

_RETRY_S = 5.0
"""A client that keeps connecting tries again: the user may have got new credentials meanwhile."""


def kerberos_tickets(spn: str) -> TicketSource:
    """Where a client gets tickets for the service ``spn``, for example ``confserv/proxy1.example.com``.

    To be called in a worker thread, because it may ask the KDC. Gives the user's name and a ticket that works once.
    Raises `ServerError` EXTERNAL_AUTHENTICATION_ERROR that says why there is none.
    """
    return partial(_ticket, spn)


def _ticket(spn: str) -> tuple[str, bytes]:
    try:
        import gssapi
    except (ImportError, OSError) as e:  # OSError: the Kerberos library of the system is missing
        raise _none(f"the package gssapi is needed: install csproxy[kerberos] ({e})", retry_after_s=0.0) from e
    try:
        credentials = gssapi.Credentials(usage="initiate", mechs=[gssapi.MechType.kerberos])
        # no flags: for a client that asks for mutual authentication MIT's server does not look for replays
        context = gssapi.SecurityContext(
            name=gssapi.Name(spn, gssapi.NameType.kerberos_principal),
            creds=credentials,
            usage="initiate",
            mech=gssapi.MechType.kerberos,
            flags=0,
        )
        token = context.step()
        user = str(credentials.name).rpartition("@")[0]
    except gssapi.exceptions.GSSError as e:
        said = str(e).replace("\n", " ")
        raise _none(f"no ticket for {spn!r}: {said}; log in with kinit", retry_after_s=_RETRY_S) from e
    return user, bytes(token or b"")


def _none(reason: str, *, retry_after_s: float) -> ServerError:
    return ServerError.from_code(
        ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, f"Kerberos: {reason}", retry_after_s=retry_after_s
    )
