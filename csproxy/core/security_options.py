"""The options of log-ins: those of the server, and the rules in the annexes of Tenants and Persons.

Rules stand in the section [security-authentication-rules] of an annex; what they mean together:
`csproxy.core.password_rules`.

Source of the rows: the vendor's options where ``origin`` is D (names; some defaults and all limits are ours).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from csproxy.core.option_values import Effect, Option, OptionValue, boolean, choice, integer

__all__ = ["RULES", "RULE_OPTIONS", "SECURITY_OPTIONS"]

RULES: Final = "security-authentication-rules"
"""The section of an annex that holds the rules."""

_Row = tuple[str, OptionValue, str, Callable[[str], OptionValue], str]

_BOOLEAN: Final = ("true, false", boolean)
_DAYS: Final = ("0 (never) to 3650 days", integer(0, 3650))
_MINUTES: Final = integer(0, 525_600)


def _option(section: str, row: _Row, effect: Effect) -> Option:
    name, default, valid, parse, meaning = row
    return Option(
        section=section,
        name=name,
        default=default,
        valid=valid,
        parse=parse,
        effect=effect,
        origin="D",
        meaning=meaning,
    )


SECURITY_OPTIONS: Final = (
    *(
        _option("csproxy", row, Effect.RESTART)
        for row in (
            (
                "last-login",
                False,
                *_BOOLEAN,
                "Whether the last log-in of each user is kept and told to the client; account-expiration needs it.",
            ),
            (
                "last-login-synchronization",
                False,
                *_BOOLEAN,
                "Whether a proxy reports last log-ins to the master. Needs last-login, there and here.",
            ),
        )
    ),
    Option(
        section="security",
        name="no-default-access",
        default="0",
        valid="0, 1",
        parse=choice("0", "1"),
        effect=Effect.IMMEDIATELY,
        origin="D",
        of="master",
        from_file=False,
        meaning="1: a Person whom no access group holds has not the permissions of Users. What the Application "
        "confserv (DBID 99) says counts at every server.",
    ),
    *(
        _option("security", row, Effect.IMMEDIATELY)
        for row in (
            (
                "failure-alarm-period",
                0,
                "0 (off) to 1440 minutes",
                integer(0, 1440),
                "Failed log-ins are counted over so long, for an Alarm event.",
            ),
            (
                "failure-alarm-count",
                0,
                "0 (off) to 1000000",
                integer(0, 1_000_000),
                "The Alarm event comes when so many log-ins have failed within the period.",
            ),
            (
                "failure-alarm-percent",
                0,
                "0 (off) to 100",
                integer(0, 100),
                "The Alarm event comes when so many of 100 log-ins have failed within the period, 10 log-ins at least.",
            ),
        )
    ),
)
"""Rows of the server: Application object, file, environment, command line."""

RULE_OPTIONS: Final = tuple(
    _option(RULES, row, Effect.IMMEDIATELY)
    for row in (
        (
            "account-expiration",
            0,
            *_DAYS,
            "A user who has neither logged in nor got a password for so long is refused. Not the default user. Needs "
            "last-login.",
        ),
        (
            "account-lockout-threshold",
            0,
            "0 (never) to 100",
            integer(0, 100),
            "So many wrong passwords one after the other lock the account.",
        ),
        (
            "account-lockout-attempts-period",
            0,
            "0 (no limit) to 525600 minutes",
            _MINUTES,
            "A wrong password counts with those before it if the last of them was at most so long ago.",
        ),
        (
            "account-lockout-duration",
            30,
            "0 (until a new password is set) to 525600 minutes",
            _MINUTES,
            "How long the account stays locked. A new password, set by somebody who may, unlocks it at once.",
        ),
        ("password-min-length", 0, "0 to 64", integer(0, 64), "The least number of characters."),
        ("password-req-alpha", False, *_BOOLEAN, "Whether a password needs a letter."),
        ("password-req-numeric", False, *_BOOLEAN, "Whether a password needs a digit."),
        ("password-req-punctuation", False, *_BOOLEAN, "Whether a password needs a punctuation mark or symbol."),
        ("password-req-mixed-case", False, *_BOOLEAN, "Whether a password needs a capital and a small letter."),
        (
            "password-expiration",
            0,
            *_DAYS,
            "A password that is older must be changed at the next log-in (error 40).",
        ),
        (
            "password-no-repeats",
            0,
            "0 to 30",
            integer(0, 30),
            "A new password must be none of the user's last so many, the present one included.",
        ),
    )
)
"""Rows of the annex of a Tenant or a Person."""
