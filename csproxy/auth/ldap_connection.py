"""One blocking connection to a directory: the only module that knows ldap3.

Everything here runs in worker threads, except `LdapConnection.abort`, which ends what a thread
waits for. Whatever ldap3 raises becomes `ConnectionLostError`; a directory's answers are results, good or bad.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from csproxy.auth.ldap_settings import LdapServer
from csproxy.errors import ConfigurationError, ConnectionLostError, ErrorCode

if TYPE_CHECKING:
    from ldap3 import Connection

__all__ = ["Found", "LdapConnection", "LdapResult"]

T = TypeVar("T")

_SCOPES: Final = {"base": "BASE", "one": "LEVEL", "sub": "SUBTREE"}
_NO_ATTRIBUTES: Final = "1.1"
"""Asks for entries without attributes (RFC 4511, section 4.5.1.8)."""
_MORE_THAN_ONE: Final = 2


class LdapResult(NamedTuple):
    """A directory's answer: code and its own text, which may be empty."""

    code: int
    text: str = ""


class Found(NamedTuple):
    """What a search found: names of entries (two stand for several), and URLs of other directories."""

    result: LdapResult
    names: tuple[str, ...] = ()
    referrals: tuple[str, ...] = ()


class LdapConnection:
    """A connection to ``server`` at ``address``, one of the addresses of its host. Not open yet."""

    def __init__(self, server: LdapServer, address: str) -> None:
        self._server = server
        self._address = address
        self._aborted = False
        self._is_open = False
        self._ldap: Connection | None = None

    def __repr__(self) -> str:
        return f"<LdapConnection to {self._server} at {self._address}>"

    def open(self) -> None:
        """Connect, and secure the connection as configured.

        Raises `ConnectionLostError` when nothing answers or TLS fails, `ConfigurationError` when ldap3
        or a certificate file cannot be loaded.
        """
        try:
            import ldap3
        except ImportError as e:
            raise ConfigurationError("LDAP needs the package ldap3: install csproxy[ldap]") from e

        server = self._server
        tls = _tls(server) if server.is_encrypted else None
        # `abort` is what ends a step in time; these are for a thread that nobody watches any more
        timeout_s = server.connect_timeout_s + 1
        self._ldap = ldap3.Connection(
            ldap3.Server(
                self._address,
                port=server.url.port,
                use_ssl=server.url.is_secure,
                tls=tls,
                get_info=ldap3.NONE,
                connect_timeout=timeout_s,
            ),
            client_strategy=ldap3.SYNC,
            auto_referrals=False,
            auto_range=False,
            check_names=False,
            auto_escape=False,
            receive_timeout=timeout_s,
        )
        self._call(lambda ldap: ldap.open(read_server_info=False))
        self._is_open = True
        if server.start_tls and not server.url.is_secure:
            self._call(lambda ldap: ldap.start_tls(read_server_info=False))

    def bind(self, name: str, password: str) -> LdapResult:
        """Log in as ``name``, a distinguished name.

        Name and password must not be empty: RFC 4513 (5.1.2) makes an anonymous log-in, which
        succeeds, of a bind without a password. Raises ValueError then, before anything is sent.
        """
        if not name or not password:
            raise ValueError("a simple bind needs a name and a password")

        # As bytes: ldap3 would prepare a text (RFC 4013), which can leave nothing of it.
        secret = password.encode("utf-8", "surrogatepass")

        def bind(ldap: Connection) -> LdapResult:
            ldap.user, ldap.password, ldap.authentication = name, secret, "SIMPLE"
            try:
                ldap.bind(read_server_info=False)
            finally:
                ldap.password = None
            return _result(ldap, "bindResponse")

        return self._call(bind)

    def search(self, base: str, scope: str, filter_text: str) -> Found:
        """Look for entries; at most two are named."""

        def search(ldap: Connection) -> Found:
            ldap.search(
                base,
                filter_text,
                _SCOPES[scope],
                attributes=_NO_ATTRIBUTES,
                size_limit=_MORE_THAN_ONE,
                time_limit=self._server.connect_timeout_s,
            )
            entries = ldap.response or []
            names = tuple(str(entry["dn"]) for entry in entries if entry["type"] == "searchResEntry")
            links = [uri for entry in entries if entry["type"] == "searchResRef" for uri in entry["uri"]]
            return Found(_result(ldap, "searchResDone"), names, (*links, *(ldap.result.get("referrals") or ())))

        return self._call(search)

    def close(self) -> None:
        """Say good-bye and close; never raises."""
        ldap = self._ldap
        if ldap is not None:
            sock = ldap.socket
            with suppress(Exception):  # whatever is wrong with a connection that is given up
                ldap.unbind()
            if sock is not None:
                sock.close()  # ldap3 forgets it when TLS fails

    def abort(self) -> None:
        """End the connection at once; a thread that waits for the directory gets an error. From any thread."""
        self._aborted = True
        ldap = self._ldap
        sock = None if ldap is None else ldap.socket
        if sock is not None:
            with suppress(OSError):  # not connected yet, or closed already
                # not SSLSocket.shutdown: that would take the TLS state away from under the thread
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _call(self, fn: Callable[[Connection], T]) -> T:
        ldap = self._ldap
        assert ldap is not None
        if self._aborted or (self._is_open and ldap.closed):
            # ldap3 would connect anew, and go on without StartTLS
            raise self._lost("closed")
        try:
            return fn(ldap)
        except ConnectionLostError:
            raise
        except Exception as e:  # ldap3 lets errors of many kinds out when a server sends garbage
            raise self._lost(_reason(ldap, e)) from e

    def _lost(self, reason: str) -> ConnectionLostError:
        return ConnectionLostError(
            f"LDAP server {self._server} ({self._address}): {reason}", code=ErrorCode.SERVER_NOT_FOUND
        )


def _result(ldap: Connection, expected: str) -> LdapResult:
    result = ldap.result or {}
    if result.get("type") != expected:
        raise ConnectionLostError(f"expected {expected}, received {result.get('type')!r}")
    return LdapResult(int(result["result"]), str(result.get("message") or ""))


def _reason(ldap: Connection, error: Exception) -> str:
    """ldap3 keeps the cause of a failed connection apart from the error."""
    return str(ldap.last_error or error) or type(error).__name__


def _tls(server: LdapServer) -> Any:
    """ldap3's own TLS checks names only after the handshake and takes TLS 1.0: a context of ours instead.

    It is made for each connection, so that renewed certificate files count at once.
    """
    from ldap3 import Tls

    try:
        context = ssl.create_default_context(cafile=server.cacert_path or None)
        if server.cert_path:
            # an encrypted key is an error, not a question on the terminal
            context.load_cert_chain(server.cert_path, server.key_path or None, password=lambda: "")
    except (OSError, ValueError) as e:
        raise ConfigurationError(f"[{server.section}]: cacert-path, cert-path or key-path cannot be loaded: {e}") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    class ContextTls(Tls):  # type: ignore[misc]
        def wrap_socket(self, connection: Connection, do_handshake: bool = False) -> None:
            connection.socket = context.wrap_socket(
                connection.socket, server_hostname=server.url.host, do_handshake_on_connect=False
            )
            connection.socket.do_handshake()  # the connection has the socket already, so that abort() reaches it

    return ContextTls()
