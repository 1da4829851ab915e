"""TLS without I/O: bytes of the network in, bytes of the program out, and the other way round.

One `TlsEngine` is one side of one connection. It stands on `ssl.MemoryBIO` instead of the event loop's
own TLS because that costs a connection 284 KB with asyncio and 47 KB with uvloop. OpenSSL frees its record buffers
between records, but a memory BIO keeps the size it once had: so both are fed 16 KB at a time.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final

from csproxy.errors import LocalProtocolError, TlsError
from csproxy.transport.channel import PeerCertificate
from csproxy.transport.tls_errors import explain

__all__ = ["TlsEngine", "TlsState"]

_PIECE_BYTES: Final = 16 * 1024
"""The payload of the longest record: one read empties one record, one write fills one."""


class TlsState(Enum):
    """Where one side of a connection stands."""

    HANDSHAKE = auto()
    OPEN = auto()
    ENDED = auto()
    """The peer has said that it sends no more (close_notify); this side may still send."""
    CLOSED = auto()
    """This side has said that it sends no more; what still arrives is ignored."""
    FAILED = auto()
    """TLS was broken or refused; the alert that says so to the peer is in `TlsEngine.data_to_send`."""


_RECEIVING: Final = (TlsState.OPEN, TlsState.HANDSHAKE)
_SENDING: Final = (TlsState.OPEN, TlsState.ENDED)


class TlsEngine:
    """One side of a TLS connection.

    ``context`` is of `csproxy.transport.tls_context`. A client gives the ``name`` of the server, which is sent
    to it and compared with its certificate if the context checks names. ``own`` is this side's certificate in words,
    for errors.
    """

    __slots__ = ("_incoming", "_name", "_outgoing", "_own", "_ssl", "state")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        name: str | None = None,
        own: str = "the certificate of this side",
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._name = name or ""
        self._own = own
        self.state = TlsState.HANDSHAKE
        self._ssl = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=None if server_side else name
        )

    def __repr__(self) -> str:
        return f"<TlsEngine {'server' if self._ssl.server_side else 'client'} {self.state.name} {self.version}>"

    # receiving

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes of the network; return the program's bytes in them, often none.

        A client calls it once without bytes to begin. What TLS itself has to say to the peer is in `data_to_send`
        afterwards, also when `TlsError` is raised: the state is FAILED then. In ENDED, CLOSED and FAILED bytes are
        ignored.
        """
        if len(data) <= _PIECE_BYTES:
            return self._receive_piece(data)
        view = memoryview(data)
        pieces = range(0, len(data), _PIECE_BYTES)
        return b"".join([self._receive_piece(view[start : start + _PIECE_BYTES]) for start in pieces])

    def _receive_piece(self, data: bytes | memoryview) -> bytes:
        if self.state not in _RECEIVING:
            return b""
        incoming = self._incoming
        incoming.write(data)
        try:
            if self.state is TlsState.HANDSHAKE:
                self._ssl.do_handshake()
                self.state = TlsState.OPEN
            return self._read_records()
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as e:
            raise self._failed(e) from e

    def _read_records(self) -> bytes:
        parts = []
        try:
            while self._incoming.pending:
                part = self._ssl.read(_PIECE_BYTES)
                if not part:
                    self.state = TlsState.ENDED
                    break
                parts.append(part)
        except ssl.SSLWantReadError:  # the rest of a record is on its way
            pass
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # sending

    def encrypt(self, data: bytes) -> bytes:
        """The bytes to send for the program's ``data``. Raises `LocalProtocolError` unless OPEN or ENDED."""
        if self.state not in _SENDING:
            raise LocalProtocolError(f"{self!r} cannot send")
        if len(data) <= _PIECE_BYTES:
            self._ssl.write(data)
            return self._outgoing.read()
        view = memoryview(data)
        parts = []
        for start in range(0, len(data), _PIECE_BYTES):
            self._ssl.write(view[start : start + _PIECE_BYTES])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def close(self) -> None:
        """Say that this side sends no more: close_notify, in `data_to_send`; without effect in other states."""
        if self.state in _SENDING:
            self.state = TlsState.CLOSED
            with suppress(ssl.SSLError):  # it waits for the peer's, which is not needed
                self._ssl.unwrap()

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would give anything."""
        return bool(self._outgoing.pending)

    def data_to_send(self) -> bytes:
        """What TLS itself has to say to the peer: handshake, alerts, close_notify, answers to key updates."""
        return self._outgoing.read()

    # facts

    @property
    def version(self) -> str:
        """``"TLSv1.3"``, or empty before the versions were agreed."""
        return self._ssl.version() or ""

    def peer_certificate(self) -> PeerCertificate | None:
        """The peer's verified certificate; None if it has shown none."""
        if self.state is TlsState.HANDSHAKE or self.state is TlsState.FAILED:
            return None
        found: Any = self._ssl.getpeercert()
        if not found:
            return None
        return PeerCertificate(
            subject=_distinguished_name(found["subject"]),
            issuer=_distinguished_name(found["issuer"]),
            common_name=next((value for part in found["subject"] for key, value in part if key == "commonName"), ""),
            names=tuple(value for _, value in found.get("subjectAltName", ())),
            serial=found["serialNumber"],
            not_after_s=float(ssl.cert_time_to_seconds(found["notAfter"])),
        )

    # inside

    def _failed(self, error: ssl.SSLError) -> TlsError:
        self.state = TlsState.FAILED
        return explain(
            error,
            peer="client" if self._ssl.server_side else "server",
            shown=self._shown(),
            name=self._name,
            own=self._own,
        )

    def _shown(self) -> str:
        """The subject of the certificate that the server has shown, though it could not be verified.

        OpenSSL forgets that of a client. Python has a public name for it from 3.13 on.
        """
        chain = getattr(getattr(self._ssl, "_sslobj", None), "get_unverified_chain", None)
        try:
            found = chain()[0].get_info() if chain is not None else {"subject": ()}
        except (TypeError, ValueError, IndexError, ssl.SSLError):
            return ""
        return _distinguished_name(found["subject"])


_SHORT: Final = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
}


def _distinguished_name(name: Any) -> str:
    """The most particular part first, as RFC 4514 writes it."""
    return ",".join(f"{_SHORT.get(key, key)}={value}" for part in reversed(name) for key, value in part)
