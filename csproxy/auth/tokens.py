"""Tokens in the password field: another system vouches for a user until a given time.

A token is the preamble, then base64url(payload), a full stop and base64url(signature), both without
padding. The payload is the expiry (seconds since 1970, decimal), a colon and the user name in
UTF-8; the signature is HMAC-SHA256 over the payload under a key that is derived from the shared
``token-uuid``. Whoever knows the token-uuid can make tokens for everybody: it is a secret.

A token is accepted from ``ttl`` before its own expiry to its expiry, and ``tolerance`` earlier and
later, for clocks that differ. It may be used any number of times meanwhile.

Source: the vendor's token options ([system] token-…) for preamble, ttl and tolerance; the bytes are ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from typing import Final

from csproxy.errors import ConfigurationError, ErrorCode, ServerError

__all__ = ["TokenSettings", "check_token", "is_token", "make_token"]

_KEY_LABEL: Final = b"csproxy token 1"
"""Names form and version of what is signed, so that a key derived from the same uuid elsewhere is another one."""
REFUSAL: Final = "the token is not valid for this user"


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """What both sides must agree on. ``uuid`` is the shared secret; times are in seconds."""

    preamble: str = "{PXZ}"
    uuid: str = field(repr=False)
    ttl_s: float = 1440 * 60.0
    tolerance_s: float = 60.0

    def __post_init__(self) -> None:
        if not self.preamble or not self.uuid:
            raise ConfigurationError("tokens need token-preamble and token-uuid: neither may be empty")


def make_token(user: str, *, expires: int, settings: TokenSettings) -> str:
    """A token for ``user`` until ``expires`` (seconds since 1970), to be sent as the password."""
    payload = f"{expires}:{user}".encode()
    return f"{settings.preamble}{_b64(payload)}.{_b64(_sign(payload, settings))}"


def is_token(password: str, settings: TokenSettings) -> bool:
    """Whether the password begins with the preamble; any other is an ordinary password."""
    return password.startswith(settings.preamble)


def check_token(password: str, user: str, *, now: float, settings: TokenSettings) -> None:
    """Return if ``password`` is a token of ``user`` that is accepted at ``now`` (seconds since 1970).

    Raises `ServerError` LOGIN_INCORRECT. A reason is named only after the signature was found right.
    """
    signed, _, signature = password.removeprefix(settings.preamble).partition(".")
    payload, presented = _unb64(signed), _unb64(signature)
    # the signature first: nothing of the payload is looked at, or told, before it is known to be genuine
    if not hmac.compare_digest(presented, _sign(payload, settings)):
        raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, REFUSAL)
    expires_text, _, token_user = payload.decode().partition(":")
    if not hmac.compare_digest(token_user.encode(), user.encode("utf-8", "surrogatepass")):
        raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, REFUSAL)
    expires = int(expires_text)
    if now > expires + settings.tolerance_s:
        raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, "the token has expired: get a new one")
    if now < expires - settings.ttl_s - settings.tolerance_s:
        raise ServerError.from_code(
            ErrorCode.LOGIN_INCORRECT,
            "the token is not valid yet: its expiry is further away than token-ttl allows, or a clock is wrong",
        )


def _sign(payload: bytes, settings: TokenSettings) -> bytes:
    key = hmac.digest(settings.uuid.encode(), _KEY_LABEL, "sha256")
    return hmac.digest(key, payload, "sha256")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    """The bytes; nothing for a text that is not base64url, which no signature fits."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
