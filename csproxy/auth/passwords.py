"""Password hashes: scrypt from the standard library, in a text form that carries its parameters.

The form follows the PHC string format::

    $scrypt$ln=14,r=8,p=1$<salt, base64 without padding>$<hash, base64 without padding>

so that a later release may raise the cost: old hashes go on being verified, and `needs_rehash`
says when one should be replaced. One verification takes about 50 ms and 16 MiB on purpose: never
call it in an event loop's thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from typing import Final, NamedTuple

from csproxy.errors import ConfigurationError

__all__ = ["DUMMY_HASH", "Cost", "hash_password", "needs_rehash", "verify_password"]

_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_FORM: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_MAX_MEMORY_BYTES: Final = 256 * 1024 * 1024


class Cost(NamedTuple):
    """Parameters of scrypt: memory is 128 * r * 2^ln bytes, time grows with all three."""

    ln: int = 14
    r: int = 8
    p: int = 1


class _Parsed(NamedTuple):
    cost: Cost
    salt: bytes
    digest: bytes


_DEFAULT: Final = Cost()


def hash_password(password: str, *, cost: Cost = _DEFAULT) -> str:
    """Hash with a fresh random salt; the result is at most 255 characters.

    Raises `ConfigurationError` for a NUL character: scrypt's HMAC pads with them, so that ``"a"``
    and ``"a\\0"`` would have the same hash.
    """
    if "\0" in password:
        raise ConfigurationError("a password must not contain the NUL character")
    salt = secrets.token_bytes(_SALT_BYTES)
    return _text(_Parsed(cost, salt, _scrypt(password, salt, cost, _HASH_BYTES)))


def verify_password(password: str, stored: str) -> bool:
    """Whether ``password`` belongs to the hash; compared in constant time.

    A text that is no hash of ours, or asks for more than 256 MiB, verifies nothing: False.
    """
    parsed = _parse(stored)
    if parsed is None:
        return False
    computed = _scrypt(password, parsed.salt, parsed.cost, len(parsed.digest))
    return hmac.compare_digest(computed, parsed.digest) and "\0" not in password


def needs_rehash(stored: str, *, cost: Cost = _DEFAULT) -> bool:
    """Whether the hash was made with other parameters than today's (or is no hash of ours)."""
    parsed = _parse(stored)
    return parsed is None or parsed.cost != cost or len(parsed.digest) != _HASH_BYTES


def _parse(stored: str) -> _Parsed | None:
    match = _FORM.fullmatch(stored)
    if match is None:
        return None
    cost = Cost(int(match[1]), int(match[2]), int(match[3]))
    if not 1 <= cost.ln <= 20 or cost.r < 1 or cost.p < 1 or _memory(cost) > _MAX_MEMORY_BYTES:
        return None
    try:
        return _Parsed(cost, _unb64(match[4]), _unb64(match[5]))
    except binascii.Error:
        return None


def _text(hash: _Parsed) -> str:
    cost = hash.cost
    return f"$scrypt$ln={cost.ln},r={cost.r},p={cost.p}${_b64(hash.salt)}${_b64(hash.digest)}"


def _scrypt(password: str, salt: bytes, cost: Cost, size: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=1 << cost.ln, r=cost.r, p=cost.p, dklen=size, maxmem=2 * _MAX_MEMORY_BYTES
    )


def _memory(cost: Cost) -> int:
    return 128 * cost.r * ((1 << cost.ln) + cost.p)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


DUMMY_HASH: Final = _text(_Parsed(_DEFAULT, bytes(_SALT_BYTES), bytes(_HASH_BYTES)))
"""Verified in place of an absent hash, so that an unknown user takes as long as a wrong password."""
