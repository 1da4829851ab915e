"""The ports on which a server listens, from its Application object.

``serverInfo.port`` is the port with the id ``default``; ``portInfos`` may describe it and name
further ones. The local address is the transport parameter ``address`` of the port; without it the
port listens on all addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from csproxy.core.transport_parameters import transport_parameters
from csproxy.errors import ConfigurationError

__all__ = ["ALL_ADDRESSES", "ListeningPort", "application_ports"]

ALL_ADDRESSES = "0.0.0.0"
_DEFAULT = "default"
_YES = ("1", "yes", "on", "true")


class ListeningPort(NamedTuple):
    """One port: its id, the local address and the number."""

    id: str
    address: str
    port: int


def application_ports(application: Mapping[str, Any]) -> tuple[list[ListeningPort], list[str]]:
    """The ports of a plain Application object, ``default`` first, and warnings to log.

    Raises `ConfigurationError` naming object and field: no port at all, a text that is no port, two
    ids on one port, or a port that asks for TLS, which this release does not have.
    """
    name = str(application.get("name", ""))
    described = {str(info.get("id", "")): info for info in application.get("portInfos", ())}
    own = str(application.get("serverInfo", {}).get("port", "")).strip()
    warnings: list[str] = []
    numbers = {id_: str(info.get("port", "")).strip() for id_, info in described.items()}
    if own:
        if numbers.get(_DEFAULT) not in (None, "", own):
            warnings.append(
                f"Application {name!r}: serverInfo.port is {own} but portInfos gives {numbers[_DEFAULT]} to the port "
                f"'default'; {own} is used"
            )
        numbers[_DEFAULT] = own
    if not numbers:
        raise ConfigurationError(f"Application {name!r} has no listening port: set serverInfo.port")
    ports: dict[int, ListeningPort] = {}
    for id_ in sorted(numbers, key=lambda id_: (id_ != _DEFAULT, id_)):
        number = _number(name, id_, numbers[id_])
        if number in ports:
            raise ConfigurationError(
                f"Application {name!r}: the ports {ports[number].id!r} and {id_!r} both have the number {number}"
            )
        parameters = transport_parameters(str(described.get(id_, {}).get("transportParams", "")))
        if parameters.get("tls", "0").lower() in _YES:
            raise ConfigurationError(
                f"Application {name!r}: port {id_!r} asks for TLS (transportParams tls={parameters['tls']}), "
                "which is not available in this release"
            )
        ports[number] = ListeningPort(id_, parameters.get("address") or ALL_ADDRESSES, number)
    return list(ports.values()), warnings


def _number(name: str, id_: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigurationError(f"Application {name!r}: port {id_!r} is {text!r}; 1 to 65535 is valid")
    return int(text)
