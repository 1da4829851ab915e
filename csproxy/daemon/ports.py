"""The ports on which a server listens, from its Application object and its Host.

``serverInfo.port`` is the port with the id ``default``; ``portInfos`` may describe it and name
further ones. The local address is the transport parameter ``address`` of the port; without it the
port listens on all addresses. Parameters of TLS are looked up in Port, Application and Host
(`csproxy.core.transport_parameters`). A port for HA synchronisation has ``ha-sync=1`` in its application
parameters (``appParams``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from csproxy.core.tls_settings import TlsSettings, tls_settings
from csproxy.core.transport_parameters import (
    OF_ONE_PORT,
    ListeningMode,
    listening_mode,
    look_up,
    object_parameters,
    switch,
    transport_parameters,
    unknown_parameters,
)
from csproxy.errors import ConfigurationError

__all__ = ["ALL_ADDRESSES", "ListeningPort", "OwnPort", "application_ports"]

ALL_ADDRESSES: Final = "0.0.0.0"
_DEFAULT: Final = "default"


@dataclass(frozen=True)
class ListeningPort:
    """One port: its id, the local address and the number; what it takes, and how.

    ``tls`` is None for a port that is unsecured. ``for_users``: only applications with a user interface may
    register there. ``ha_sync``: the two servers of a pair use it between them.
    """

    id: str
    address: str
    port: int
    mode: ListeningMode = ListeningMode.UNSECURED
    tls: TlsSettings | None = None
    for_users: bool = False
    ha_sync: bool = False


@dataclass(frozen=True)
class OwnPort:
    """The port ``default`` as a server knows it without its Application object: a master, by its confserv.conf."""

    address: str
    port: int
    parameters: Mapping[str, str] = field(default_factory=dict)


def application_ports(
    application: Mapping[str, Any], host: Mapping[str, Any] | None = None, *, own: OwnPort | None = None
) -> tuple[list[ListeningPort], list[str]]:
    """The ports of a plain Application object, ``default`` first, and warnings to log.

    ``host`` is its Host object. ``own`` comes before what the object says of the port ``default``.
    Raises `ConfigurationError` naming object and field: no port at all, a text that is no port, two
    ids on one port, parameters that are not valid or do not fit together.
    """
    name = str(application.get("name", ""))
    described = {str(info.get("id", "")): info for info in application.get("portInfos", ())}
    warnings: list[str] = []
    inherited = {
        parameter: value
        for parameter, value in look_up(object_parameters(application), object_parameters(host)).items()
        if parameter not in OF_ONE_PORT
    }
    ports: dict[int, ListeningPort] = {}
    for id_, text in _numbers(name, application, described, own, warnings).items():
        number = _number(name, id_, text)
        if number in ports:
            raise ConfigurationError(
                f"Application {name!r}: the ports {ports[number].id!r} and {id_!r} both have the number {number}"
            )
        where = f"Application {name!r}: port {id_!r}"
        parameters = transport_parameters(str(described.get(id_, {}).get("transportParams", "")))
        if own is not None and id_ == _DEFAULT:
            parameters = look_up(own.parameters, {"address": own.address}, parameters)
        warnings += [f"{where}: {sentence}" for sentence in unknown_parameters(parameters)]
        app_parameters = transport_parameters(str(described.get(id_, {}).get("appParams", "")))
        ports[number] = _port(where, id_, number, look_up(parameters, inherited), app_parameters)
        if ports[number].for_users and id_ == _DEFAULT:
            warnings.append(_ONLY_USERS_ON_DEFAULT.format(where=where))
    return list(ports.values()), warnings


_ONLY_USERS_ON_DEFAULT: Final = (
    "{where} takes applications with a user interface only (user=1): servers, proxies and the backup cannot connect to "
    "it, and many of them know no other port; give user=1 to a port of its own"
)


def _numbers(
    name: str, application: Mapping[str, Any], described: Mapping[str, Any], own: OwnPort | None, warnings: list[str]
) -> dict[str, str]:
    """The number of each port as a text, ``default`` first."""
    numbers = {id_: str(info.get("port", "")).strip() for id_, info in described.items()}
    stated = str((application.get("serverInfo") or {}).get("port", "")).strip()
    if own is not None:
        numbers[_DEFAULT] = str(own.port)
    elif stated:
        if numbers.get(_DEFAULT) not in (None, "", stated):
            warnings.append(
                f"Application {name!r}: serverInfo.port is {stated} but portInfos gives {numbers[_DEFAULT]} to the "
                f"port 'default'; {stated} is used"
            )
        numbers[_DEFAULT] = stated
    if not numbers:
        raise ConfigurationError(f"Application {name!r} has no listening port: set serverInfo.port")
    return {id_: numbers[id_] for id_ in sorted(numbers, key=lambda id_: (id_ != _DEFAULT, id_))}


def _port(
    where: str, id_: str, number: int, parameters: Mapping[str, str], app_parameters: Mapping[str, str]
) -> ListeningPort:
    mode = listening_mode(parameters, where)
    settings = None
    if mode is not ListeningMode.UNSECURED:
        settings = tls_settings(parameters, where)
        settings.check_server(where)
    for_users = switch(parameters, "user", where)
    ha_sync = switch(app_parameters, "ha-sync", where)
    if for_users and ha_sync:
        raise ConfigurationError(
            f"{where} is for HA synchronisation (ha-sync=1) and cannot be for user interfaces only (user=1)"
        )
    return ListeningPort(id_, parameters.get("address") or ALL_ADDRESSES, number, mode, settings, for_users, ha_sync)


def _number(name: str, id_: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ConfigurationError(f"Application {name!r}: port {id_!r} is {text!r}; 1 to 65535 is valid")
    return int(text)
