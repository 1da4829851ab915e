"""The SSLContext of `TlsSettings`: the one place that configures OpenSSL, and where mistakes in files are told.

TLS 1.2 at least, no renegotiation, no compression. A server gives no tickets for TLS 1.3: clients connect
once and stay, so that the two tickets of each handshake would be made for nothing.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import anyio

from csproxy.core.tls_settings import TlsSettings
from csproxy.errors import ConfigurationError
from csproxy.transport.blocking import run_blocking
from csproxy.transport.certificates import CertificateFacts, check_chain, read_certificates, read_text

__all__ = ["TlsContext", "TlsFiles", "load_context"]

_log = logging.getLogger("csproxy.tls")

_VERSIONS: Final = {
    "": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED),
    "TLSv12": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    "TLSv13": (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
}

_ANOTHERS_KEY: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class TlsContext(NamedTuple):
    """A context that is ready, and the facts of the own certificates in it, the own first; none for most clients."""

    context: ssl.SSLContext
    certificates: tuple[CertificateFacts, ...]

    @property
    def own(self) -> str:
        """This side's certificate in words."""
        return f"the certificate {self.certificates[0]}" if self.certificates else "this side, which has no certificate"


class TlsFiles:
    """The context of ``settings``, loaded anew when one of its files has changed; old connections keep theirs.

    A file counts as changed when its time, size or inode is another; a link is followed.
    """

    def __init__(self, settings: TlsSettings, *, server_side: bool) -> None:
        self.settings = settings
        self.current: TlsContext | None = None
        """The context to use for the next handshake; None before the first `refresh`."""
        self._server_side = server_side
        self._seen: object = None
        self._lock = anyio.Lock()

    def __repr__(self) -> str:
        return f"<TlsFiles {', '.join(self.settings.files) or 'of the system'}>"

    async def refresh(self) -> bool:
        """Load if a file has changed since the last call; says whether it did.

        Raises `ConfigurationError` that names the file and what is wrong; `current` is as before then, and the same
        files are not tried again.
        """
        async with self._lock:  # who comes second waits for what the first one loads
            seen = await run_blocking(_signature, self.settings.files)
            if seen == self._seen:
                return False
            try:
                self.current = await run_blocking(lambda: load_context(self.settings, server_side=self._server_side))
            except ConfigurationError:
                self._seen = seen  # but not when cancelled: then they are loaded the next time
                raise
            self._seen = seen
            return True

    async def latest(self) -> TlsContext:
        """The newest context that could be loaded. Raises `ConfigurationError` if there has been none yet."""
        try:
            await self.refresh()
        except ConfigurationError as e:
            if self.current is None:
                self._seen = None
                raise
            _log.warning("%s; the former files stay in use", e, extra={"event": 31030})
        assert self.current is not None
        return self.current


def _signature(files: Sequence[str]) -> object:
    def look(path: str) -> object:
        try:
            status = os.stat(path)
        except OSError as e:
            return e.errno
        return status.st_mtime_ns, status.st_size, status.st_ino

    return tuple(look(path) for path in files)


def load_context(settings: TlsSettings, *, server_side: bool) -> TlsContext:
    """Read all files and configure OpenSSL; blocks.

    Raises `ConfigurationError` that names the file and what is wrong with it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = _VERSIONS[settings.protocol]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if server_side:
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED if settings.mutual else ssl.CERT_NONE
    else:
        context.check_hostname = settings.check_name
    if settings.ciphers:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError as e:
            raise ConfigurationError(f"cipher-list {settings.ciphers!r} names no cipher that OpenSSL has") from e
    certificates: Sequence[CertificateFacts] = ()
    if settings.certificate:
        certificates = read_certificates(settings.certificate, "certificate")
        check_chain(certificates)
        _load_own(context, settings, certificates[0])
    _load_trusted(context, settings, server_side=server_side)
    return TlsContext(context, tuple(certificates))


def _load_own(context: ssl.SSLContext, settings: TlsSettings, first: CertificateFacts) -> None:
    key = settings.certificate_key or settings.certificate[0]
    if "PRIVATE KEY-----" not in read_text(key, "certificate-key"):
        raise ConfigurationError(f"certificate-key {key} holds no private key in PEM")

    def refuse_password() -> str:
        raise ConfigurationError(f"certificate-key {key} is encrypted: a server cannot ask for its password")

    with _one_file(settings.certificate) as path:
        try:
            context.load_cert_chain(path, key, refuse_password)
        except ssl.SSLError as e:
            if e.reason in _ANOTHERS_KEY:
                raise ConfigurationError(
                    f"certificate-key {key} does not fit the certificate {first}: it is another's key"
                ) from e
            reason = (e.reason or str(e)).replace("_", " ").lower()
            raise ConfigurationError(f"certificate {first} with certificate-key {key} is refused: {reason}") from e
        except OSError as e:
            raise ConfigurationError(f"certificate-key {key} cannot be read: {e.strerror}") from e


@contextmanager
def _one_file(paths: Sequence[str]) -> Iterator[str]:
    """OpenSSL reads a chain from one file only: several are put together, without private keys."""
    if len(paths) == 1:
        yield paths[0]
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as together:
        for path in paths:
            together.write(_certificates_only(read_text(path, "certificate")))
        together.flush()
        yield together.name


def _certificates_only(text: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return "".join(f"{begin}{part.partition(end)[0]}{end}\n" for part in text.split(begin)[1:])


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings, *, server_side: bool) -> None:
    if settings.trusted_ca:
        # an issuing authority is enough; its root need not be listed
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    elif not server_side:
        context.load_default_certs()
    for path in settings.trusted_ca:
        try:
            context.load_verify_locations(cadata=read_text(path, "trusted-ca"))
        except (ssl.SSLError, ValueError) as e:
            raise ConfigurationError(f"trusted-ca {path} holds no readable certificate in PEM") from e
    for path in settings.crl:
        _load_crl(context, path)


def _load_crl(context: ssl.SSLContext, path: str) -> None:
    before = context.cert_store_stats()
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as e:
        raise ConfigurationError(f"tls-crl {path} holds no readable revocation list in PEM") from e
    except OSError as e:
        raise ConfigurationError(f"tls-crl {path} cannot be read: {e.strerror}") from e
    after = context.cert_store_stats()
    if after["x509"] != before["x509"]:
        raise ConfigurationError(
            f"tls-crl {path} holds a certificate, which would be trusted: leave nothing but revocation lists in it"
        )
    if after["crl"] == before["crl"]:
        raise ConfigurationError(f"tls-crl {path} holds no revocation list")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
