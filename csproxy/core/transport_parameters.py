"""Transport parameters of ports and connections: ``name=value;name=value``.

`TRANSPORT_PARAMETERS` says what each one means; the reference page is made from it. Parameters stand in several
places, and each is looked up on its own (`look_up`):

- at a server: its Port, its Application, its Host;
- at a client: the Connection, its own Application, its own Host, and for ``tls`` alone the Port it connects to.

In a Port and a Connection they are ``transportParams``. In Application and Host they are options of the section
``security`` (of the Application's options, or of either object's annex), one by one or as the value of
its option ``transport``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from csproxy.core.option_values import Effect
from csproxy.errors import ConfigurationError

__all__ = [
    "OF_ONE_PORT",
    "TRANSPORT_PARAMETERS",
    "ListeningMode",
    "TransportParameter",
    "listening_mode",
    "look_up",
    "object_parameters",
    "places",
    "switch",
    "transport_parameters",
    "unknown_parameters",
]


class TransportParameter(NamedTuple):
    """One row of the reference: ``place`` is port, connection or both; ``origin`` D (documented) or O (ours).

    ``effect`` says when a change of an object counts; the command line and confserv.conf are read at the start.
    """

    name: str
    place: str
    default: str
    valid: str
    meaning: str
    origin: str
    effect: Effect = Effect.CONNECTION


_SWITCH: Final = "0, 1 (also no, yes, off, on, false, true)"
_FILES: Final = "PEM files, separated by commas"

TRANSPORT_PARAMETERS: Final = tuple(
    TransportParameter(*row)
    for row in (
        ("tls", "both", "0", _SWITCH, "A port with it is secure: only TLS. A connection with it uses TLS.", "D"),
        ("upgrade", "port", "0", _SWITCH, "Auto-detect: the port takes TLS and plain connections alike.", "O"),
        (
            "certificate",
            "both",
            "",
            _FILES,
            "The own certificate, then the intermediate ones in order. A TLS port needs it; a connection shows it to "
            "a server that asks.",
            "D",
        ),
        (
            "certificate-key",
            "both",
            "",
            "a PEM file, not encrypted",
            "The private key. Empty: it stands in the first file of certificate.",
            "D",
        ),
        (
            "trusted-ca",
            "both",
            "",
            _FILES,
            "Authorities that the other side's certificate may come from. A connection without it trusts those of the "
            "system.",
            "D",
        ),
        ("tls-mutual", "both", "0", _SWITCH, "The client must show a certificate of a trusted authority.", "D"),
        (
            "tls-crl",
            "both",
            "",
            _FILES,
            "Revocation lists. That of the authority which issued the other side's certificate must be there.",
            "D",
        ),
        ("cipher-list", "both", "", "an OpenSSL cipher list", "Ciphers of TLS 1.2; empty: OpenSSL's choice.", "D"),
        (
            "sec-protocol",
            "both",
            "",
            "empty, TLSv12, TLSv13",
            "Empty: the best version that both sides know, TLS 1.2 at least. Else this version only.",
            "D",
        ),
        (
            "tls-target-name-check",
            "connection",
            "host",
            "host, no",
            "Whether the server's certificate must be for the host that the connection goes to.",
            "D",
        ),
        (
            "address",
            "both",
            "",
            "an address of this machine",
            "Where a port listens (empty: everywhere), and where a connection comes from.",
            "D",
            Effect.CONNECTION_OR_RESTART,
        ),
        ("port", "connection", "", "a port, 1 to 65535", "The local port that a connection comes from.", "D"),
        (
            "backup-port",
            "connection",
            "",
            "a port, 1 to 65535",
            "The local port of a connection to the backup of the server.",
            "D",
        ),
        (
            "user",
            "port",
            "0",
            _SWITCH,
            "Only applications with a user interface may register at this port. Not on an HA-sync port, better not on "
            "the port `default`.",
            "O",
        ),
    )
)

OF_ONE_PORT: Final = ("address", "port", "user")
"""What concerns one port: in Application and Host these names are for connections."""

_NAMES: Final = tuple(parameter.name for parameter in TRANSPORT_PARAMETERS)
_ON: Final = ("1", "yes", "on", "true")
_OFF: Final = ("", "0", "no", "off", "false")
_SECTION: Final = "security"


class ListeningMode(Enum):
    """What a port takes."""

    UNSECURED = "unsecured"
    SECURE = "secure"
    AUTO_DETECT = "auto-detect"


def transport_parameters(text: str) -> dict[str, str]:
    """``name=value;name=value`` as a dictionary with lower-case names; the last of two equal names counts."""
    parameters: dict[str, str] = {}
    for part in text.split(";"):
        name, separator, value = part.partition("=")
        if separator and name.strip():
            parameters[name.strip().lower()] = value.strip()
    return parameters


def object_parameters(plain: Mapping[str, Any] | None) -> dict[str, str]:
    """The parameters that an Application or Host in plain form has; options come before the annex.

    Other options of the section are left out: it has other purposes, too.
    """
    found: dict[str, str] = {}
    for section in _sections(plain or {}):
        single = {name.lower(): str(value) for name, value in section.items() if name.lower() in _NAMES}
        found = {**transport_parameters(str(section.get("transport", ""))), **single, **found}
    return found


def _sections(plain: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for attribute in ("options", "userProperties"):
        section = (plain.get(attribute) or {}).get(_SECTION)
        if isinstance(section, Mapping):
            yield section


def look_up(*places: Mapping[str, str]) -> dict[str, str]:
    """Each parameter from the first of ``places`` that names it, be it with an empty value."""
    return {name: value for place in reversed(places) for name, value in place.items()}


def switch(parameters: Mapping[str, str], name: str, where: str) -> bool:
    """A parameter that is on or off; absent is off. Raises `ConfigurationError` that begins with ``where``."""
    value = parameters.get(name, "").lower()
    if value in _ON:
        return True
    if value in _OFF:
        return False
    raise ConfigurationError(f"{where}: {name} is {value!r}; {_SWITCH} are valid")


def places(parameter: TransportParameter) -> list[str]:
    """Where a parameter may stand, in the order in which the places win: of a port, and of a connection."""
    name = parameter.name
    objects = "section [security] of the Application, of the Host"
    port = "of a port: transport of [confserv] (port default of a master), transportParams of the Port"
    connection = (
        f"of a connection: parameter -transport-{name}, master-transport of [csproxy], transportParams of the "
        f"Connection, {objects}"
    )
    if name not in OF_ONE_PORT:
        port += f", {objects}"
    if name == "tls":
        connection += ", transportParams of the Port that it goes to"
    return {"port": [port], "connection": [connection], "both": [port, connection]}[parameter.place]


def listening_mode(parameters: Mapping[str, str], where: str) -> ListeningMode:
    """What ``tls`` and ``upgrade`` of a port say together; ``upgrade`` wins, since TLS is part of it."""
    if switch(parameters, "upgrade", where):
        return ListeningMode.AUTO_DETECT
    return ListeningMode.SECURE if switch(parameters, "tls", where) else ListeningMode.UNSECURED


def unknown_parameters(parameters: Mapping[str, str]) -> list[str]:
    """A sentence for each parameter that is not known, with the name that may be meant."""
    sentences = []
    for name in parameters:
        if name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, 1)
            hint = f"; is {close[0]} meant?" if close else ""
            sentences.append(f"transport parameter {name} is not known and ignored{hint}")
    return sentences
