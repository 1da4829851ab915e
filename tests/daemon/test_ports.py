"""The ports of an Application object."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.tls_settings import TlsSettings
from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.ports import ListeningPort, OwnPort, application_ports
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
        (application("1", {"id": "s", "port": "2", "transportParams": "TLS=Yes"}), "port 's': TLS needs the parameter"),
        (application("1", {"id": "s", "port": "2", "transportParams": "tls=2"}), "port 's': tls is '2'"),
        (
            application("1", {"id": "u", "port": "2", "transportParams": "user=1", "appParams": "ha-sync=1"}),
            "port 'u' is for HA synchronisation .* cannot be for user interfaces only",
        ),
    ],
)
def test_a_port_that_cannot_be_is_an_error_that_names_object_and_field(object_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        application_ports(object_)


def test_parameters_of_tls_are_looked_up_in_port_application_and_host() -> None:
    object_ = application("1", {"id": "s", "port": "2", "transportParams": "tls=1;certificate=port.pem"})
    object_["options"] = {
        "security": {"certificate": "app.pem", "certificate-key": "app-key.pem", "address": "10.0.0.9"}
    }
    host = {"userProperties": {"security": {"trusted-ca": "ca.pem", "tls-mutual": "1", "port": "7"}}}
    (default, secure), warnings = application_ports(object_, host)
    assert (default.mode, default.tls, default.address) == (ListeningMode.UNSECURED, None, "0.0.0.0")
    assert secure.mode is ListeningMode.SECURE
    assert secure.tls == TlsSettings(
        certificate=("port.pem",), certificate_key="app-key.pem", trusted_ca=("ca.pem",), mutual=True
    )
    assert warnings == []


def test_auto_detect_is_upgrade() -> None:
    object_ = application("1", {"id": "default", "transportParams": "upgrade=1;certificate=c.pem"})
    (port,), _ = application_ports(object_)
    assert (port.mode, port.port) == (ListeningMode.AUTO_DETECT, 1)


def test_ports_for_users_and_for_the_pair_are_told() -> None:
    infos = [
        {"id": "gui", "port": "2", "transportParams": "user=1"},
        {"id": "sync", "port": "3", "appParams": "ha-sync=1"},
    ]
    ports, warnings = application_ports(application("1", *infos))
    assert [(port.for_users, port.ha_sync) for port in ports] == [(False, False), (True, False), (False, True)]
    assert warnings == []


def test_a_default_port_for_users_only_gets_a_loud_warning() -> None:
    _, warnings = application_ports(application("1", {"id": "default", "transportParams": "user=1"}))
    assert warnings[0].startswith(
        "Application 'CSProxy_1': port 'default' takes applications with a user interface only"
    )


def test_a_parameter_that_nobody_knows_is_told() -> None:
    _, warnings = application_ports(application("1", {"id": "default", "transportParams": "certficate=c"}))
    assert warnings == [
        "Application 'CSProxy_1': port 'default': transport parameter certficate is not known and ignored; "
        "is certificate meant?"
    ]


def test_the_default_port_of_a_master_is_that_of_its_file_and_others_come_from_its_application() -> None:
    own = OwnPort("127.0.0.1", 2020, {"tls": "1", "certificate": "file.pem"})
    infos = [
        {
            "id": "default",
            "port": "9",
            "transportParams": "certificate=port.pem;certificate-key=k.pem;address=10.0.0.1",
        },
        {"id": "more", "port": "2021"},
    ]
    ports, warnings = application_ports(application("8", *infos), own=own)
    assert [(port.id, port.address, port.port) for port in ports] == [
        ("default", "127.0.0.1", 2020),
        ("more", "0.0.0.0", 2021),
    ]
    assert ports[0].tls == TlsSettings(certificate=("file.pem",), certificate_key="k.pem")
    assert warnings == []
    assert application_ports({"name": "m"}, own=OwnPort("", 7))[0] == [ListeningPort("default", "0.0.0.0", 7)]
