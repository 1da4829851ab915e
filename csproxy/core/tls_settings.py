"""What TLS is to do on a port or a connection: files, versions, who must show a certificate.

`TlsSettings` is what programs give to a client or a server; `tls_settings` makes one of transport
parameters (`csproxy.core.transport_parameters`). No file is read here: paths are texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from csproxy.core.transport_parameters import switch
from csproxy.errors import ConfigurationError

__all__ = ["PROTOCOLS", "TlsSettings", "tls_settings"]

PROTOCOLS: Final = ("", "TLSv12", "TLSv13")
"""Valid values of ``sec-protocol``: the best that both sides know (TLS 1.2 at least), or one version only."""
_OLD_PROTOCOLS: Final = ("SSLv2", "SSLv3", "TLSv1", "TLSv11")


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """How one side does TLS; all files are PEM.

    - ``certificate``: files with the own certificate, then its chain in order; ``certificate_key``: the
      private key (empty: it stands in the first certificate file), not encrypted
    - ``trusted_ca``: files with the certificate authorities that the peer's certificate may come
      from; a client without them uses the system's
    - ``crl``: files with revocation lists; one of the authority that issued the peer's certificate must be there
    - ``ciphers``: an OpenSSL cipher list for TLS 1.2; empty: OpenSSL's default
    - ``protocol``: one of `PROTOCOLS`
    - ``mutual``: a server demands a certificate of each client; a client must have one to show
    - ``check_name``: a client compares the certificate with ``server_name``, or if that is empty, with the host it
      connects to

    Raises `ConfigurationError` when the values do not fit together.
    """

    certificate: tuple[str, ...] = ()
    certificate_key: str = ""
    trusted_ca: tuple[str, ...] = ()
    crl: tuple[str, ...] = ()
    ciphers: str = ""
    protocol: str = ""
    mutual: bool = False
    check_name: bool = True
    server_name: str = ""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            if self.protocol in _OLD_PROTOCOLS:
                why = "is broken and not offered"
            elif self.protocol == "SSLv23":
                why = "allows versions that are broken: leave it empty for the best version that both sides know"
            else:
                why = "is not known"
            raise ConfigurationError(f"sec-protocol {self.protocol!r} {why}; empty, TLSv12 and TLSv13 are valid")
        if self.certificate_key and not self.certificate:
            raise ConfigurationError(f"certificate-key {self.certificate_key} is given without a certificate")

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is read."""
        key = (self.certificate_key,) if self.certificate_key else ()
        return (*self.certificate, *key, *self.trusted_ca, *self.crl)

    def check_server(self, where: str) -> None:
        """Raise `ConfigurationError`, naming ``where``, for what a server cannot be without."""
        if not self.certificate:
            raise ConfigurationError(f"{where}: TLS needs the parameter certificate, a PEM file")
        if self.mutual and not self.trusted_ca:
            raise ConfigurationError(
                f"{where}: tls-mutual needs trusted-ca, the authorities that certificates of clients come from"
            )

    def check_client(self, where: str) -> None:
        """Raise `ConfigurationError`, naming ``where``, for what a client cannot be without."""
        if self.mutual and not self.certificate:
            raise ConfigurationError(f"{where}: tls-mutual needs a certificate to show to the server")


def tls_settings(parameters: Mapping[str, str], where: str) -> TlsSettings:
    """The settings in looked-up transport parameters; whether TLS is wanted at all is not asked here.

    Several files are separated by commas. Raises `ConfigurationError` that begins with ``where``.
    """
    check = parameters.get("tls-target-name-check", "host").lower() or "host"
    if check not in ("host", "no"):
        raise ConfigurationError(f"{where}: tls-target-name-check is {check!r}; host and no are valid")
    mutual = switch(parameters, "tls-mutual", where)
    try:
        return TlsSettings(
            certificate=_files(parameters.get("certificate", "")),
            certificate_key=parameters.get("certificate-key", ""),
            trusted_ca=_files(parameters.get("trusted-ca", "")),
            crl=_files(parameters.get("tls-crl", "")),
            ciphers=parameters.get("cipher-list", ""),
            protocol=parameters.get("sec-protocol", ""),
            mutual=mutual,
            check_name=check == "host",
        )
    except ConfigurationError as e:
        raise ConfigurationError(f"{where}: {e}") from None


def _files(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
