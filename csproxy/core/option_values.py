"""One row of the option tables, and the functions that read texts into values.

The tables are in `csproxy.core.options` and `csproxy.core.auth_options`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from csproxy.core.collation import collation
from csproxy.core.files.xml_format import text_encoding
from csproxy.core.peer_limits import parse_networks
from csproxy.errors import ModelError

__all__ = [
    "Effect",
    "Option",
    "OptionValue",
    "address",
    "boolean",
    "choice",
    "encoding",
    "integer",
    "limit",
    "locale",
    "networks",
    "required_text",
    "value_text",
]

OptionValue = int | float | bool | str | tuple[str, ...]


class Effect(Enum):
    """When a changed value counts."""

    IMMEDIATELY = "immediately"
    RECONNECT = "next reconnect to the master"
    RESTART = "restart"
    CONNECTION = "new connections"
    CONNECTION_OR_RESTART = "new connections; at a port: restart"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One row: ``valid`` is the sentence that a refusal and the reference page print.

    ``parse`` raises ValueError for a text that is not valid, with the text itself or the reason. ``from_application``
    says whether the Application object may set the option, ``from_file`` whether file and environment may; ``origin``
    is D (documented by the vendor) or O (ours). ``of`` says whose option it is: master, proxy, or both; of a transport
    parameter: port, connection, or both of these.
    """

    section: str
    name: str
    default: OptionValue
    valid: str
    parse: Callable[[str], OptionValue]
    effect: Effect
    origin: str
    meaning: str
    from_application: bool = True
    from_file: bool = True
    of: str = "both"


def value_text(value: OptionValue) -> str:
    """A value as an operator would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def integer(low: int, high: int) -> Callable[[str], OptionValue]:
    """A parser of whole numbers from ``low`` to ``high``."""

    def parse(text: str) -> OptionValue:
        value = text.strip()
        if not value.isascii() or not value.isdigit():
            raise ValueError(text)
        number = int(value)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return parse


def boolean(text: str) -> OptionValue:
    """true, false and the other words for them."""
    value = text.strip().lower()
    if value in ("true", "yes", "on", "1"):
        return True
    if value in ("false", "no", "off", "0"):
        return False
    raise ValueError(text)


def limit(text: str) -> OptionValue:
    """A number, or a word that means 0: no limit."""
    if text.strip().lower() in ("false", "no", "off"):
        return 0
    return integer(0, 2147483647)(text)


def choice(*choices: str) -> Callable[[str], OptionValue]:
    """A parser of one of a few words, in any case."""

    def parse(text: str) -> OptionValue:
        value = text.strip().lower()
        if value not in choices:
            raise ValueError(text)
        return value

    return parse


def address(text: str) -> OptionValue:
    """An IP address."""
    return str(ip_address(text.strip()))


def required_text(text: str) -> OptionValue:
    """A text that is not empty, without the white space around it."""
    if not text.strip():
        raise ValueError(text)
    return text.strip()


def locale(text: str) -> OptionValue:
    """The name of a collation."""
    return collation(text.strip()).name


def encoding(text: str) -> OptionValue:
    """The name of a text encoding."""
    try:
        text_encoding(text.strip())
    except ModelError as e:
        raise ValueError(str(e)) from e
    return text.strip()


def networks(text: str) -> OptionValue:
    """Addresses and networks, comma-separated, as texts."""
    return tuple(str(network) for network in parse_networks(text))
