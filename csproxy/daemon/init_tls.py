"""`csproxy init --tls`: an authority of the site's own, and a certificate for this machine.

For trying out, and for sites without an authority: DIR/tls/ca-key.pem can sign more certificates (`openssl x509`).
"""

from __future__ import annotations

import datetime
import ipaddress
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from csproxy.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["TlsPlace", "make_certificates"]

_AUTHORITY_DAYS: Final = 3650
_SERVER_DAYS: Final = 825


class TlsPlace(NamedTuple):
    """The files that servers and clients read; the paths are absolute."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def security(self) -> dict[str, str]:
        """The section ``security`` of the Host's annex."""
        return {
            "certificate": str(self.certificate),
            "certificate-key": str(self.key),
            "trusted-ca": str(self.authority),
        }


def make_certificates(directory: Path) -> TlsPlace:
    """Make ``directory`` with an authority and a certificate for this machine, signed by it; keys have mode 0600.

    Raises `ConfigurationError` when a file cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    place = TlsPlace(*(directory.absolute() / name for name in ("ca.pem", "server.pem", "server-key.pem")))
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name(f"csproxy authority of {platform.node()}")
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
    )
    hosts = dict.fromkeys(("localhost", platform.node()))
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    server = (
        _builder(_name(platform.node()), issuer, key.public_key(), _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    try:
        directory.mkdir(mode=0o750)
        _write(directory / "ca-key.pem", _key_pem(authority_key), mode=0o600)
        _write(place.authority, _signed(authority, authority_key), mode=0o644)
        _write(place.key, _key_pem(key), mode=0o600)
        _write(place.certificate, _signed(server, authority_key), mode=0o644)
    except OSError as e:
        raise ConfigurationError(f"{e.filename} cannot be written: {e.strerror}") from e
    return place


def _name(text: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _signed(builder: x509.CertificateBuilder, key: Any) -> bytes:
    from cryptography.hazmat.primitives import hashes, serialization

    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def _write(path: Path, data: bytes, *, mode: int) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(data)
