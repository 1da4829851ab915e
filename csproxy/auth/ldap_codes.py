"""What LDAP result codes mean for a log-in: texts for the user, and which are worth another try.

The user is told, in this order: the directory's own text, the sentence of `ERROR_TABLE`, the standard
name of the code (RFC 4511). The code itself goes to the log only. Codes from 81 up are those of the
published C interface for what the client side notices.

Source: the rule of the vendor's documentation; sentences and the choice of codes to retry are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from csproxy.auth.texts import WRONG_PASSWORD, shown

__all__ = ["ERROR_TABLE", "INVALID_CREDENTIALS", "SERVER_DOWN", "SUCCESS", "TIMEOUT", "Row", "is_retried", "user_text"]

SUCCESS: Final = 0
REFERRAL: Final = 10
NO_SUCH_OBJECT: Final = 32
INVALID_CREDENTIALS: Final = 49
SERVER_DOWN: Final = 81
TIMEOUT: Final = 85


class Row(NamedTuple):
    """What the user is told, and whether the next server, or another attempt, may do better."""

    text: str
    retry: bool = False


ERROR_TABLE: Final[Mapping[int, Row]] = {
    3: Row("the directory took too long; try again", retry=True),
    8: Row("the directory demands a stronger way of logging in than is configured"),
    13: Row("the directory demands a secure connection, which is not configured"),
    INVALID_CREDENTIALS: Row(WRONG_PASSWORD),
    50: Row("the directory does not let this account log in"),
    51: Row("the directory is busy; try again", retry=True),
    52: Row("the directory is not available; try again", retry=True),
    53: Row("the directory does not let this account log in now"),
    80: Row("the directory has failed; try again", retry=True),
    SERVER_DOWN: Row("the directory cannot be reached; try again", retry=True),
    TIMEOUT: Row("the directory does not answer; try again", retry=True),
}

_STANDARD: Final[Mapping[int, str]] = {
    1: "operations error",
    2: "protocol error",
    4: "size limit exceeded",
    5: "compare false",
    6: "compare true",
    7: "authentication method not supported",
    REFERRAL: "referral",
    11: "administrative limit exceeded",
    12: "unavailable critical extension",
    14: "SASL bind in progress",
    16: "no such attribute",
    17: "undefined attribute type",
    18: "inappropriate matching",
    19: "constraint violation",
    20: "attribute or value exists",
    21: "invalid attribute syntax",
    NO_SUCH_OBJECT: "no such object",
    33: "alias problem",
    34: "invalid DN syntax",
    36: "alias dereferencing problem",
    48: "inappropriate authentication",
    54: "loop detected",
    64: "naming violation",
    65: "object class violation",
    66: "not allowed on non-leaf",
    67: "not allowed on RDN",
    68: "entry already exists",
    69: "object class modifications prohibited",
    71: "affects multiple servers",
}


def is_retried(code: int, table: Mapping[int, Row] = ERROR_TABLE) -> bool:
    """Whether the table marks the code for another try."""
    return code in table and table[code].retry


def user_text(code: int, own_text: str, table: Mapping[int, Row] = ERROR_TABLE) -> str:
    """The sentence for the user. ``own_text`` is what the directory said."""
    own = shown(own_text)
    if own:
        return own
    return table[code].text if code in table else _STANDARD.get(code, "the directory has refused the log-in")
