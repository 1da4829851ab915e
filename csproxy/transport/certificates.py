"""Certificates and keys in PEM files: what stands in them, and whether they fit together.

Needs the package `cryptography` (extra ``tls``), which is imported when a file is read: a client that only
verifies its server can do without.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["CertificateFacts", "check_chain", "read_certificates", "read_text"]


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """One certificate of a file; ``names`` as in `csproxy.transport.channel.PeerCertificate`, times in s since 1970."""

    path: str
    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before_s: float
    not_after_s: float

    def __str__(self) -> str:
        return f"{self.subject} in {self.path}"

    def days_left(self, now_s: float) -> int:
        """Whole days until it expires; negative once it has."""
        return int((self.not_after_s - now_s) // 86400)


def read_text(path: str, what: str) -> str:
    """A PEM file's text, less what is not ASCII.

    Raises `ConfigurationError` that says ``what`` it was to be, and why it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="ascii", errors="ignore")
    except OSError as e:
        raise ConfigurationError(f"{what} {path} cannot be read: {e.strerror}") from e


def read_certificates(paths: Iterable[str], what: str) -> list[CertificateFacts]:
    """Every certificate of the files, in order.

    Raises `ConfigurationError` for a file that cannot be read, or holds no certificate.
    """
    try:
        from cryptography import x509
    except ImportError as e:
        raise ConfigurationError(
            "reading certificates needs the package cryptography: pip install 'csproxy[tls]'"
        ) from e
    found = []
    for path in paths:
        text = read_text(path, what)
        try:
            certificates = x509.load_pem_x509_certificates(text.encode())
        except ValueError as e:
            raise ConfigurationError(f"{what} {path} holds no readable certificate in PEM: {e}") from e
        found += [_facts(path, certificate) for certificate in certificates]
    return found


def check_chain(certificates: Sequence[CertificateFacts]) -> None:
    """Raise `ConfigurationError` unless each certificate was issued by the subject of the next."""
    for below, above in itertools.pairwise(certificates):
        if below.issuer != above.subject:
            raise ConfigurationError(
                f"the certificates are not in order: {below} was issued by {below.issuer}, but {above} follows; "
                "first comes the own certificate, then that of its issuer, and so on"
            )


def _facts(path: str, certificate: x509.Certificate) -> CertificateFacts:
    from cryptography import x509

    names: Iterable[x509.GeneralName] = ()
    with suppress(x509.ExtensionNotFound, ValueError):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return CertificateFacts(
        path=path,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=tuple(str(name.value) for name in names),
        not_before_s=certificate.not_valid_before_utc.timestamp(),
        not_after_s=certificate.not_valid_after_utc.timestamp(),
    )
