"""The options of authentication: their rows, and reading them from sections of options.

They stand in the Application object of the server; some of them also in the annex of a Tenant or a
Person, where they count for its users (`ANNEX_OPTIONS`). [gauth_ldap] and [gauth_radius] describe one
server each; further servers have sections of their own, [gauth_ldap_1] and so on, with the same options.

Source of the rows: the vendor's options where ``origin`` is D; O is our own choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from csproxy.core.ldap_url import parse_ldap_url
from csproxy.core.option_values import Effect, Option, OptionValue, boolean, integer, required_text

__all__ = [
    "ANNEX_OPTIONS",
    "AUTH_OPTIONS",
    "SECRETS",
    "OptionValues",
    "find_auth_option",
    "is_log_in_section",
    "log_in_kind",
    "read_options",
    "sections_of",
]

OptionValues = Mapping[tuple[str, str], OptionValue]
"""The options that were given, by section and name."""

_EXTERNAL: Final = ("gauth_ldap", "gauth_radius")
_KERBEROS: Final = "gauth_kerberos"
_NUMBERED: Final = re.compile(r"(gauth_ldap|gauth_radius)_([1-9][0-9]{0,3})")
_Parse = Callable[[str], OptionValue]
_Row = tuple[str, OptionValue, str, _Parse, str, str]


def _text(text: str) -> OptionValue:
    return text.strip()


def _secret(text: str) -> OptionValue:
    return text  # spaces may belong to it


def _mode(text: str) -> OptionValue:
    return boolean({"enable": "true", "disable": "false"}.get(text.strip().lower(), text))


def _ldap_url(text: str) -> OptionValue:
    parse_ldap_url(text)
    return text.strip()


def _library(text: str) -> OptionValue:
    """What a server may have: external systems in their order, Kerberos last."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    checked = names[:-1] if names[-1:] == (_KERBEROS,) else names
    if len(set(checked)) != len(checked) or not set(checked) <= set(_EXTERNAL):
        raise ValueError(text)
    return names


def _annex_library(text: str) -> OptionValue:
    """What a Tenant or Person may have: ``internal``, or external systems in their order."""
    names = cast("tuple[str, ...]", ("internal",) if text.strip() == "internal" else _library(text))
    if not names or names[-1] == _KERBEROS:
        raise ValueError(text)
    return names


def _rows(section: str, rows: tuple[_Row, ...], effect: Effect = Effect.IMMEDIATELY) -> tuple[Option, ...]:
    return tuple(
        Option(
            section=section,
            name=name,
            default=default,
            valid=valid,
            parse=parse,
            effect=effect,
            origin=origin,
            meaning=meaning,
        )
        for name, default, valid, parse, origin, meaning in rows
    )


_SECONDS: Final = "1 to 3600 seconds"
_LIBRARY = _rows(
    "authentication",
    (
        (
            "library",
            (),
            "gauth_ldap, gauth_radius, both in either order, gauth_kerberos appended; empty for internal passwords",
            _library,
            "D",
            "The external systems that check log-ins, in the order in which they are asked.",
        ),
    ),
    Effect.RESTART,
)
_ANNEX_LIBRARY = _rows(
    "authentication",
    (
        (
            "library",
            (),
            "internal, gauth_ldap, gauth_radius, both in either order",
            _annex_library,
            "D",
            "Annex of a Tenant or Person: what checks the log-ins of its users instead.",
        ),
    ),
)
_AUTHENTICATION = _rows(
    "authentication",
    (
        (
            "enforce-external-auth",
            False,
            "true, false",
            boolean,
            "D",
            "False: only Persons with an External ID are checked outside. True: all; the user name stands in for a "
            "missing External ID.",
        ),
        (
            "authentication-queue-threshold",
            1000,
            "0 (unlimited) to 1000000",
            integer(0, 1_000_000),
            "D",
            "Log-ins that may wait for LDAP at once; further ones get error 28 until 10 % fewer wait.",
        ),
        (
            "ldap-cache-time",
            0,
            "0 (off) to 65536 seconds",
            integer(0, 65536),
            "D",
            "How long a password that LDAP has accepted is accepted again without asking.",
        ),
        (
            "ldap-negative-cache-time",
            0,
            "0 (off) to 65536 seconds",
            integer(0, 65536),
            "D",
            "How long the last wrong password of a user is refused again without asking.",
        ),
    ),
)
_LDAP = _rows(
    "gauth_ldap",
    (
        (
            "ldap-url",
            "",
            "ldap:// or ldaps://host[:port]/base?attributes?scope?filter with X for the External ID in the filter",
            _ldap_url,
            "D",
            "The directory and how a user is found in it (RFC 4516).",
        ),
        ("app-user", "", "a distinguished name; empty for an anonymous search", _text, "D", "Who searches for users."),
        ("password", "", "the password of app-user", _secret, "D", "The password of app-user."),
        ("start-tls", False, "true, false", boolean, "O", "Secure an ldap:// connection with StartTLS."),
        (
            "cacert-path",
            "",
            "a PEM file; empty for the authorities that the system trusts",
            _text,
            "D",
            "The authorities that vouch for the directory's certificate.",
        ),
        ("cert-path", "", "a PEM file", _text, "D", "The certificate that the server shows to the directory."),
        ("key-path", "", "a PEM file without a pass phrase", _text, "D", "The key of that certificate."),
        (
            "connect-timeout",
            10,
            _SECONDS,
            integer(1, 3600),
            "D",
            "How long the directory may take to be connected, and for each answer.",
        ),
        (
            "idle-timeout",
            300,
            _SECONDS,
            integer(1, 3600),
            "D",
            "How long an unused connection to the directory stays open.",
        ),
        (
            "retry-attempts",
            3,
            "1 to 100",
            integer(1, 100),
            "D",
            "How often all directories are tried before a log-in is refused; the first section counts.",
        ),
        (
            "retry-interval",
            10,
            "0 to 3600 seconds",
            integer(0, 3600),
            "D",
            "The time between two such attempts; the first section counts.",
        ),
        (
            "chase-referrals",
            0,
            "0 (no) or 1 (yes)",
            integer(0, 1),
            "D",
            "Whether referrals to other directories are followed in the search.",
        ),
        ("verbose", 0, "0 (no) or 1 (yes)", integer(0, 1), "D", "Whether each step is logged, without passwords."),
    ),
)
_RADIUS = _rows(
    "gauth_radius",
    (
        ("host", "", "a name or address", required_text, "O", "The RADIUS server."),
        ("port", 1812, "1 to 65535", integer(1, 65535), "O", "Its port for authentication."),
        ("shared-secret", "", "a text", _secret, "O", "The secret that both sides share."),
        ("timeout", 5, "1 to 60 seconds", integer(1, 60), "O", "How long to wait for an answer to one request."),
        ("retries", 3, "0 to 10", integer(0, 10), "O", "How often an unanswered request is sent again."),
        ("nas-identifier", "csproxy", "a text", required_text, "O", "The name by which this server presents itself."),
        (
            "message-authenticator",
            True,
            "true, false",
            boolean,
            "O",
            "Whether an answer without a Message-Authenticator is refused. False only for servers that cannot send "
            "one: their answers can be forged (CVE-2024-3596).",
        ),
    ),
)
_KERBEROS_ROWS = _rows(
    "gauth_kerberos",
    (
        ("SPN", "", "service/host", required_text, "D", "The name of this service, for which clients get tickets."),
        ("realm", "", "a Kerberos realm", required_text, "D", "The realm of the service and its users."),
        ("keytab", "", "a file", required_text, "D", "The keytab that holds the keys of the SPN."),
    ),
    Effect.RESTART,
)
_TOKEN = _rows(
    "system",
    (
        (
            "token-authentication-mode",
            False,
            "enable, disable",
            _mode,
            "D",
            "Whether tokens are accepted in the password field.",
        ),
        ("token-preamble", "{PXZ}", "a text", required_text, "D", "What a token begins with."),
        ("token-uuid", "", "a text", required_text, "D", "The secret that is shared with whoever makes tokens."),
        (
            "token-ttl",
            1440,
            "1 to 527040 minutes",
            integer(1, 527_040),
            "D",
            "A token counts from so long before its own expiry.",
        ),
        (
            "token-tolerance",
            60,
            "0 to 86400 seconds",
            integer(0, 86_400),
            "D",
            "How far clocks may differ, at both ends of a token's time.",
        ),
    ),
)
_EMPTY = _rows(
    "csproxy",
    (
        (
            "allow-external-empty-password",
            True,
            "true, false",
            boolean,
            "O",
            "False: an empty password that an external system would check is refused (error 39).",
        ),
    ),
)

AUTH_OPTIONS: Final = (*_TOKEN, *_EMPTY, *_LIBRARY, *_AUTHENTICATION, *_LDAP, *_RADIUS, *_KERBEROS_ROWS)
"""What the server may have. Rows of gauth_ldap and gauth_radius stand for the numbered sections too."""

_BY_KEY: Final = {(option.section, option.name.lower()): option for option in AUTH_OPTIONS}

ANNEX_OPTIONS: Final = (*_ANNEX_LIBRARY, *_LDAP)
"""What the annex of a Tenant or a Person may hold."""

SECRETS: Final = frozenset({"password", "shared-secret", "token-uuid"})
"""Options whose values are never shown."""


def sections_of(values: OptionValues, first: str) -> list[str]:
    """The sections of one kind that have options, ``first`` before the numbered ones, those by their numbers."""
    found = {section for section, _ in values if log_in_kind(section) == first}
    return sorted(found, key=lambda section: (len(section), section))


def is_log_in_section(section: str) -> bool:
    """Whether a section has options of log-ins alone: [authentication], [gauth_ldap], [gauth_ldap_1] and so on."""
    return log_in_kind(section) in ("authentication", *_EXTERNAL, _KERBEROS)


def find_auth_option(section: str, name: str) -> Option | None:
    """The row of an option that the server may have; the name in any case. None for another option."""
    return _BY_KEY.get((log_in_kind(section), name.lower()))


def read_options(
    sections: Mapping[str, Any], *, rows: tuple[Option, ...] = AUTH_OPTIONS, before: OptionValues | None = None
) -> tuple[dict[tuple[str, str], OptionValue], list[str]]:
    """Read what is given in ``sections`` ({section: {option: text or number}}); returns values and complaints.

    A bad value is left out, or keeps the value that it has in ``before``; a complaint names section,
    option, value (not that of a secret) and what is valid. Options that are not in ``rows`` are not looked at.
    """
    table = {(option.section, option.name): option for option in rows}
    values: dict[tuple[str, str], OptionValue] = {}
    complaints: list[str] = []
    for section, name, raw in _given(sections):
        option = table.get((log_in_kind(section), name))
        if option is None:
            continue
        key = section, name
        try:
            values[key] = option.parse(str(raw))
        except ValueError as e:
            shown = "the value" if name in SECRETS else repr(raw)
            reason = f": {e}" if name == "ldap-url" else ""
            stays = ""
            if before is not None and key in before:
                values[key] = before[key]
                stays = ", the former value stays"
            complaints.append(
                f"option {name} of [{section}]: {shown} is not valid{reason}{stays}; valid: {option.valid}"
            )
    return values, complaints


def _given(sections: Mapping[str, Any]) -> Iterator[tuple[str, str, object]]:
    for section, options in sections.items():
        if isinstance(options, Mapping):
            for name, raw in options.items():
                yield section, name, raw


def log_in_kind(section: str) -> str:
    """The section of the table: ``gauth_ldap`` for [gauth_ldap_1]; any other section is its own."""
    match = _NUMBERED.fullmatch(section)
    return section if match is None else match[1]
