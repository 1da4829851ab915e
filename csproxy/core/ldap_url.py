"""LDAP URLs (RFC 4516) whose filter has a placeholder for the user's External ID.

    ldaps://directory.example.com/ou=people,dc=example,dc=com??sub?(mail=X)

``X``, as a word of its own in a value of the filter, stands for the External ID. The filter is taken apart
when the URL is read, and the External ID goes into values only, with every character escaped that
is not a letter or digit of ASCII: no External ID can change what the filter asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote

__all__ = ["LdapUrl", "parse_ldap_url", "parse_referral"]

_DEFAULT_PORTS: Final = {"ldap": 389, "ldaps": 636}
_SCOPES: Final = ("base", "one", "sub")
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-f:.]+\]|[^\[\]/?#:@]+)(?::(?P<port>[0-9]{1,5}))?(?:/(?P<rest>[^#]*))?",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(r"(?<![0-9A-Za-z])X(?![0-9A-Za-z])")
_ATTRIBUTE: Final = re.compile(r"[0-9A-Za-z.;:-]+(?:=|~=|>=|<=)")
_VALUE: Final = re.compile(r"(?:[^()\\\0]|\\[0-9A-Fa-f]{2})*")
_MAX_DEPTH: Final = 20


@dataclass(frozen=True)
class LdapUrl:
    """Where to look for a user. ``scope`` is ``base``, ``one`` or ``sub``; ``is_secure`` says ldaps://.

    ``filter`` is in pieces: those at odd places are values, in which the placeholder counts.
    """

    text: str
    host: str
    port: int
    is_secure: bool
    base: str
    scope: str
    filter: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    def filter_for(self, external_id: str) -> str:
        """The filter that finds the user with this External ID, which must not be empty."""
        escaped = _escape(external_id)
        return "".join(
            _PLACEHOLDER.sub(lambda _: escaped, piece) if place % 2 else piece
            for place, piece in enumerate(self.filter)
        )


def parse_ldap_url(text: str) -> LdapUrl:
    """Read an URL of a search. Raises ValueError with a sentence that says what is wrong."""
    parts = _split(text)
    return parts.url(scope=parts.scope or "base", base=parts.base, filter=_parse_filter(parts.filter))


def parse_referral(text: str, origin: LdapUrl) -> LdapUrl:
    """Read where a directory says to go on; what the URL leaves out is as in ``origin``, the filter always.

    Raises ValueError for an URL that is wrong, and for one that would leave TLS.
    """
    parts = _split(text)
    if origin.is_secure and not parts.is_secure:
        raise ValueError("it leaves TLS")
    return parts.url(scope=parts.scope or origin.scope, base=parts.base or origin.base, filter=origin.filter)


class _Parts(NamedTuple):
    text: str
    host: str
    port: int
    is_secure: bool
    base: str
    scope: str
    filter: str

    def url(self, *, scope: str, base: str, filter: tuple[str, ...]) -> LdapUrl:
        return LdapUrl(self.text, self.host, self.port, self.is_secure, base, scope, filter)


def _split(text: str) -> _Parts:
    match = _URL.fullmatch(text.strip())
    scheme = "" if match is None else match["scheme"].lower()
    if match is None or scheme not in _DEFAULT_PORTS:
        raise ValueError("it must begin with ldap://host or ldaps://host, with a port where it is not the usual one")
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} is not between 1 and 65535")
    parts: list[str] = (match["rest"] or "").split("?")
    base, _attributes, scope, filter_text, extensions, *more = [*parts, *[""] * 5]
    if any(more):
        raise ValueError("it has more than five parts after the host: base?attributes?scope?filter?extensions")
    if any(extension.startswith("!") for extension in extensions.split(",")):
        raise ValueError(f"the critical extension {extensions!r} is not known")
    if scope and scope.lower() not in _SCOPES:
        raise ValueError(f"the scope {scope!r} is not one of {', '.join(_SCOPES)}")
    return _Parts(
        text.strip(),
        match["host"].strip("[]"),
        port,
        scheme == "ldaps",
        _unquote(base),
        scope.lower(),
        _unquote(filter_text),
    )


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("its percent escapes are not UTF-8") from None


def _parse_filter(text: str) -> tuple[str, ...]:
    if not text:
        raise ValueError("it has no filter; the filter finds the user, for example ??sub?(uid=X)")
    reader = _FilterReader(text)
    reader.read(0)
    if reader.place != len(text):
        raise reader.wrong("the end")
    if not any(_PLACEHOLDER.search(piece) for piece in reader.pieces[1::2]):
        raise ValueError(f"the filter {text!r} does not hold X, which stands for the External ID")
    return tuple(reader.pieces)


class _FilterReader:
    """Takes a filter (RFC 4515) apart into structure and values, in turn."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.pieces = [""]

    def wrong(self, expected: str) -> ValueError:
        return ValueError(f"the filter {self.text!r} is wrong at character {self.place + 1}: {expected} is expected")

    def read(self, depth: int) -> None:
        """One filter in parentheses."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"the filter {self.text!r} is nested more than {_MAX_DEPTH} deep")
        self._take("(")
        operator = self.text[self.place : self.place + 1]
        if operator in ("&", "|", "!"):
            self._take(operator)
            self.read(depth + 1)
            while operator != "!" and self.text.startswith("(", self.place):
                self.read(depth + 1)
        else:
            self._item()
        self._take(")")

    def _item(self) -> None:
        attribute = _ATTRIBUTE.match(self.text, self.place)
        if attribute is None:
            raise self.wrong("attribute=value")
        self._take(attribute.group())
        value = _VALUE.match(self.text, self.place)
        assert value is not None
        self.place = value.end()
        self.pieces += [value.group(), ""]

    def _take(self, wanted: str) -> None:
        if not self.text.startswith(wanted, self.place):
            raise self.wrong(repr(wanted))
        self.place += len(wanted)
        self.pieces[-1] += wanted


def _escape(value: str) -> str:
    return "".join(
        character
        if character.isascii() and character.isalnum()
        else "".join(f"\\{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in value
    )
