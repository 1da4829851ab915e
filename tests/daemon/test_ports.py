"""The ports of an Application object."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.daemon.ports import ListeningPort, application_ports
from csproxy.errors import ConfigurationError


def application(port: str = "2021", *infos: dict[str, Any]) -> dict[str, Any]:
    return {"name": "CSProxy_1", "serverInfo": {"port": port}, "portInfos": list(infos)}


def test_the_server_port_is_the_default_port() -> None:
    assert application_ports(application()) == ([ListeningPort("default", "0.0.0.0", 2021)], [])


def test_further_ports_follow_in_the_order_of_their_ids() -> None:
    ports, warnings = application_ports(
        application(
            "2021",
            {"id": "b", "port": "2023"},
            {"id": "default", "port": "2021", "transportParams": "tls=0; Address = 127.0.0.1"},
            {"id": "a", "port": "2022"},
        )
    )
    assert [port.id for port in ports] == ["default", "a", "b"]
    assert [port.address for port in ports] == ["127.0.0.1", "0.0.0.0", "0.0.0.0"]
    assert warnings == []


def test_port_infos_alone_are_enough() -> None:
    ports, _ = application_ports({"name": "p", "portInfos": [{"id": "default", "port": "7"}]})
    assert ports == [ListeningPort("default", "0.0.0.0", 7)]


def test_the_server_port_wins_and_the_difference_is_told() -> None:
    ports, warnings = application_ports(application("2021", {"id": "default", "port": "2020"}))
    assert [port.port for port in ports] == [2021]
    assert "serverInfo.port is 2021 but portInfos gives 2020" in warnings[0]


@pytest.mark.parametrize(
    ("object_", "sentence"),
    [
        ({"name": "p"}, "'p' has no listening port: set serverInfo.port"),
        (application("many"), "'CSProxy_1': port 'default' is 'many'; 1 to 65535"),
        (application("70000"), "1 to 65535"),
        (application("1", {"id": "x", "port": ""}), "port 'x' is ''"),
        (application("1", {"id": "x", "port": "1"}), "'default' and 'x' both have the number 1"),
        (application("1", {"id": "default", "transportParams": "tls=1"}), "asks for TLS .* not available"),
        (application("1", {"id": "s", "port": "2", "transportParams": "TLS=Yes"}), "port 's' asks for TLS"),
    ],
)
def test_a_port_that_cannot_be_is_an_error_that_names_object_and_field(object_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        application_ports(object_)
