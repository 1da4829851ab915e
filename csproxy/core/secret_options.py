"""Options whose values are secrets: the password of a directory's account, a shared secret.

They stand in objects as other options do, and whoever may read the object reads them. Where they would outlive or leave
that, in the history log and in exported files, `MASK` stands in their place. An imported file that has the mask keeps
the value that is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from csproxy.core import codec

__all__ = ["MASK", "is_secret_option", "masked", "masked_object", "shown", "with_secrets"]

MASK: Final = "***"
_NAME: Final = re.compile(r"(?!allow-)(?:.*[-_.])?(?:password|passwd|passphrase|secret|token-uuid)", re.IGNORECASE)
_TRACE: Final = re.compile(rb"password|passwd|passphrase|secret|token-uuid", re.IGNORECASE)
"""Encoded objects without it need not be decoded."""
_OPTIONS: Final = ("options", "userProperties", "flexibleProperties")


def is_secret_option(name: str) -> bool:
    """Whether an option of this name holds a secret: password, shared-secret, db-password; not allow-empty-password."""
    return _NAME.fullmatch(name) is not None


def masked(value: Any) -> Any:
    """A copy of an object or a delta, in plain form, without the values of secret options."""
    if isinstance(value, dict):
        return {
            name: MASK if _is_given(item) and isinstance(name, str) and is_secret_option(name) else masked(item)
            for name, item in value.items()
        }
    return [masked(item) for item in value] if isinstance(value, list) else value


def masked_object(encoded: bytes) -> bytes:
    """An encoded object without the values of secret options."""
    if _TRACE.search(encoded) is None:
        return encoded
    plain = codec.decode_map(encoded)
    hidden = masked(plain)
    return encoded if hidden == plain else codec.encode(hidden)


def with_secrets(values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes from a file with the secrets of the object as it is; a mask that stands for none is left out."""
    result = dict(values)
    for name in _OPTIONS:
        if isinstance(result.get(name), dict):
            result[name] = {
                section: _restored(options, (before.get(name) or {}).get(section) or {})
                for section, options in result[name].items()
            }
    return result


def shown(struct: msgspec.Struct, *, secret: frozenset[str] = frozenset({"password"})) -> str:
    """The ``repr`` of a struct with `MASK` for fields that are ``secret`` and for the values of secret options."""
    hidden: dict[str, Any] = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if name in secret and value:
            hidden[name] = MASK
        elif isinstance(value, dict) and (without := masked(value)) != value:
            hidden[name] = without
    return msgspec.Struct.__repr__(msgspec.structs.replace(struct, **hidden) if hidden else struct)


def _restored(options: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    restored = {name: before.get(name) if _is_mask(name, value) else value for name, value in options.items()}
    return {name: value for name, value in restored.items() if value is not None}


def _is_mask(name: str, value: Any) -> bool:
    return value == MASK and is_secret_option(name)


def _is_given(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""
