"""Certificates for tests: authorities, what they issue and revoke, and the files that servers and clients read."""

from __future__ import annotations

import datetime
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from csproxy.core.tls_settings import TlsSettings

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority whose files stand in ``folder``, all under ``name``."""

    def __init__(self, folder: Path, name: str, *, parent: Authority | None = None) -> None:
        self.name = name
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA(organization_name=name) if parent is None else parent._ca.create_child_ca()
        self.path = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.path)

    def issue(
        self,
        *names: str,
        file: str = "",
        days: float = 90,
        since_days: float = -1,
        common_name: str | None = None,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> Issued:
        """A certificate for ``names``, valid until ``days`` from now, with its chain but without the root."""
        leaf = self._ca.issue_cert(
            *names,
            common_name=common_name,
            not_before=NOW + since_days * DAY,
            not_after=NOW + days * DAY,
            key_type=key_type,
        )
        return Issued(self._folder / f"{self.name}-{file or names[0]}", leaf)

    def revocation_list(self, *revoked: Issued, days: float = 30, file: str = "crl") -> str:
        """A file with the list of what is revoked, valid for ``days``."""
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(NOW - 60 * DAY)
            .next_update(NOW + days * DAY)
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(NOW - DAY).build()
            )
        path = self._folder / f"{self.name}-{file}.pem"
        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return str(path)


class Issued:
    """A certificate with its key, in files: ``path`` has the chain, ``parts`` the same in a file each."""

    def __init__(self, place: Path, leaf: trustme.LeafCert) -> None:
        self.path = f"{place}.pem"
        self.key = f"{place}-key.pem"
        blobs = [blob.bytes() for blob in leaf.cert_chain_pems]
        Path(self.path).write_bytes(b"".join(blobs))
        Path(self.key).write_bytes(leaf.private_key_pem.bytes())
        Path(self.key).chmod(0o600)
        self.parts = tuple(f"{place}-{number}.pem" for number in range(len(blobs)))
        for part, blob in zip(self.parts, blobs, strict=True):
            Path(part).write_bytes(blob)
        self.serial = x509.load_pem_x509_certificate(blobs[0]).serial_number

    def settings(self, trusted: Authority | None = None, **more: object) -> TlsSettings:
        """The settings of who shows this certificate and trusts ``trusted``."""
        authorities = () if trusted is None else (trusted.path,)
        return TlsSettings(
            certificate=(self.path,),
            certificate_key=self.key,
            trusted_ca=authorities,
            **more,  # type: ignore[arg-type]
        )


def trusting(authority: Authority, **more: object) -> TlsSettings:
    """The settings of a client without a certificate."""
    return TlsSettings(trusted_ca=(authority.path,), **more)  # type: ignore[arg-type]
