"""What OpenSSL says, as sentences a person can act on: which side's certificate, and what is wrong with it."""

from __future__ import annotations

import ssl
from typing import Final

from csproxy.errors import TlsError

__all__ = ["explain"]

_VERIFY: Final = {
    3: "no revocation list (tls-crl) of the authority that issued it is at hand",
    9: "it is not valid yet; check the clocks of both machines",
    10: "it has expired",
    12: "the revocation list (tls-crl) of its authority has expired: get a newer one",
    18: "it is self-signed and not among the trusted authorities (trusted-ca)",
    19: "its authority is not among the trusted ones (trusted-ca)",
    20: "its authority is not among the trusted ones (trusted-ca), or an intermediate certificate is missing",
    21: "its authority is not among the trusted ones (trusted-ca), or an intermediate certificate is missing",
    23: "it has been revoked",
    24: "a certificate of its chain is that of no authority",
    26: "it is not made for this purpose (extended key usage)",
    66: "its key is too short",
    67: "its authority's key is too short",
    68: "it is signed with a broken algorithm",
}
"""By OpenSSL's verify code; the names of hosts (62, 64) are written with what was compared."""

_ALERTS: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "its authority is not among those that the {peer} trusts",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired or is not valid yet",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it has been revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": "wrong name, purpose or signature",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is not made for this purpose",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it cannot be verified there",
    "TLSV1_ALERT_DECRYPT_ERROR": "its signature does not fit",
}
"""What the peer said of this side's certificate."""

_OTHERS: Final = {
    "WRONG_VERSION_NUMBER": "the {peer} does not speak TLS; is this a port without TLS?",
    "PACKET_LENGTH_TOO_LONG": "the {peer} does not speak TLS; is this a port without TLS?",
    "HTTP_REQUEST": "the {peer} sent an HTTP request instead of a TLS handshake",
    "RECORD_LAYER_FAILURE": "the {peer} does not speak TLS; is this a port without TLS?",
    "UNEXPECTED_MESSAGE": "the {peer} broke the rules of TLS",
    "UNSUPPORTED_PROTOCOL": "the {peer} offers no TLS version that is allowed here (sec-protocol)",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the {peer} allows no TLS version that is offered here (sec-protocol)",
    "NO_SHARED_CIPHER": "the {peer} offers no cipher that is allowed here (cipher-list, sec-protocol)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the {peer} found nothing in common: cipher-list, sec-protocol, "
    "or a certificate that it wants to see",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate, which this port demands (tls-mutual)",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server demands a certificate and none is set "
    "(certificate, certificate-key)",
    "UNEXPECTED_EOF_WHILE_READING": "the {peer} ended the connection in the middle",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "bytes of the {peer} were changed on the way",
}


def explain(error: ssl.SSLError, *, peer: str, shown: str, name: str, own: str) -> TlsError:
    """The error that ``error`` stands for.

    ``peer`` is the peer's role, server or client; ``shown`` the subject of the certificate that it has shown, as far
    as is known; ``name`` what that must be valid for; ``own`` this side's certificate in words.
    """
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        which = f"the certificate of the {peer}" + (f" ({shown})" if shown else "")
        code = error.verify_code
        if code in (62, 64):
            return TlsError(f"{which} is not valid for the name {name!r}", verify_code=code)
        why = _VERIFY.get(code, error.verify_message)
        return TlsError(f"{which} is refused: {why}", verify_code=code)
    if reason in _ALERTS:
        return TlsError(f"the {peer} refused {own}: {_ALERTS[reason].format(peer=peer)}")
    if reason in _OTHERS:
        return TlsError(_OTHERS[reason].format(peer=peer))
    return TlsError(f"TLS with the {peer} failed: {reason.replace('_', ' ').lower() or error}")
