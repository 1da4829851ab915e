"""Transport parameters: their text, where they are looked up, and what TLS is to do by them."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.tls_settings import TlsSettings, tls_settings
from csproxy.core.transport_parameters import (
    TRANSPORT_PARAMETERS,
    ListeningMode,
    listening_mode,
    look_up,
    object_parameters,
    switch,
    transport_parameters,
    unknown_parameters,
)
from csproxy.errors import ConfigurationError
from scripts.generate_transport_reference import TARGET, reference


def test_the_text_is_name_value_pairs() -> None:
    assert transport_parameters("a=1;B = x=y ;;junk;=z") == {"a": "1", "b": "x=y"}
    assert transport_parameters("") == {}


def test_each_parameter_comes_from_the_first_place_that_names_it() -> None:
    port = {"tls": "1", "cipher-list": ""}
    application = {"certificate": "app.pem", "cipher-list": "HIGH"}
    host = {"certificate": "host.pem", "trusted-ca": "ca.pem", "tls": "0"}
    assert look_up(port, application, host) == {
        "tls": "1",
        "cipher-list": "",
        "certificate": "app.pem",
        "trusted-ca": "ca.pem",
    }


@pytest.mark.parametrize(
    ("plain", "found"),
    [
        (None, {}),
        ({"options": {"security": "no section"}, "userProperties": None}, {}),
        ({"options": {"security": {"TLS": "1", "no-default-access": "1"}}}, {"tls": "1"}),
        ({"userProperties": {"security": {"transport": "tls=1;certificate=a"}}}, {"tls": "1", "certificate": "a"}),
        (
            {
                "options": {"security": {"certificate": "options"}},
                "userProperties": {"security": {"certificate": "annex", "trusted-ca": "annex"}},
            },
            {"certificate": "options", "trusted-ca": "annex"},
        ),
        (
            {"options": {"security": {"transport": "certificate=text;sec-protocol=TLSv12", "certificate": "option"}}},
            {"certificate": "option", "sec-protocol": "TLSv12"},
        ),
    ],
)
def test_an_object_has_parameters_in_its_section_security(plain: dict[str, Any] | None, found: dict[str, str]) -> None:
    assert object_parameters(plain) == found


@pytest.mark.parametrize("text", ["1", "yes", "ON", "true"])
def test_what_is_on(text: str) -> None:
    assert switch({"tls": text}, "tls", "port 'a'")


@pytest.mark.parametrize("text", ["0", "no", "Off", "false", ""])
def test_what_is_off(text: str) -> None:
    assert not switch({"tls": text}, "tls", "port 'a'")
    assert not switch({}, "tls", "port 'a'")


def test_what_is_neither_is_refused_with_the_place() -> None:
    with pytest.raises(ConfigurationError, match=r"^port 'a': tls is 'maybe'; 0, 1 .* are valid"):
        switch({"tls": "Maybe"}, "tls", "port 'a'")


def test_listening_modes() -> None:
    assert listening_mode({}, "p") is ListeningMode.UNSECURED
    assert listening_mode({"tls": "1"}, "p") is ListeningMode.SECURE
    assert listening_mode({"upgrade": "1"}, "p") is ListeningMode.AUTO_DETECT
    assert listening_mode({"tls": "1", "upgrade": "1"}, "p") is ListeningMode.AUTO_DETECT


def test_unknown_names_are_told_with_what_may_be_meant() -> None:
    assert unknown_parameters({"tls": "1", "certficate": "x", "zzz": "1"}) == [
        "transport parameter certficate is not known and ignored; is certificate meant?",
        "transport parameter zzz is not known and ignored",
    ]


def test_the_rows_are_in_order() -> None:
    assert len({row.name for row in TRANSPORT_PARAMETERS}) == len(TRANSPORT_PARAMETERS)
    assert {row.place for row in TRANSPORT_PARAMETERS} == {"port", "connection", "both"}
    assert {row.origin for row in TRANSPORT_PARAMETERS} == {"D", "O"}


def test_all_parameters_become_settings() -> None:
    text = (
        "certificate=leaf.pem, inter.pem;certificate-key=key.pem;trusted-ca=a.pem,b.pem;tls-crl=crl.pem;"
        "cipher-list=HIGH;sec-protocol=TLSv13;tls-mutual=on;tls-target-name-check=no"
    )
    settings = tls_settings(transport_parameters(text), "port 's'")
    assert settings == TlsSettings(
        certificate=("leaf.pem", "inter.pem"),
        certificate_key="key.pem",
        trusted_ca=("a.pem", "b.pem"),
        crl=("crl.pem",),
        ciphers="HIGH",
        protocol="TLSv13",
        mutual=True,
        check_name=False,
    )
    assert settings.files == ("leaf.pem", "inter.pem", "key.pem", "a.pem", "b.pem", "crl.pem")


def test_nothing_given_is_the_default() -> None:
    assert tls_settings({"tls-target-name-check": ""}, "x") == TlsSettings()
    assert TlsSettings().files == ()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"sec-protocol": "TLSv11"}, "sec-protocol 'TLSv11' is broken and not offered; empty, TLSv12 and TLSv13"),
        ({"sec-protocol": "SSLv23"}, "sec-protocol 'SSLv23' allows versions that are broken: leave it empty"),
        ({"sec-protocol": "best"}, "sec-protocol 'best' is not known"),
        ({"certificate-key": "k.pem"}, "certificate-key k.pem is given without a certificate"),
        ({"tls-mutual": "2"}, "tls-mutual is '2'"),
        ({"tls-target-name-check": "dns"}, "tls-target-name-check is 'dns'; host and no are valid"),
    ],
)
def test_wrong_values_are_refused_with_the_place(parameters: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^port 's': {sentence}"):
        tls_settings(parameters, "port 's'")


def test_a_server_needs_a_certificate_and_for_mutual_tls_authorities() -> None:
    TlsSettings(certificate=("a",)).check_server("port 's'")
    TlsSettings(certificate=("a",), mutual=True, trusted_ca=("b",)).check_server("port 's'")
    with pytest.raises(ConfigurationError, match="port 's': TLS needs the parameter certificate"):
        TlsSettings().check_server("port 's'")
    with pytest.raises(ConfigurationError, match="port 's': tls-mutual needs trusted-ca"):
        TlsSettings(certificate=("a",), mutual=True).check_server("port 's'")


def test_a_client_needs_a_certificate_for_mutual_tls_only() -> None:
    TlsSettings().check_client("the connection")
    TlsSettings(certificate=("a",), mutual=True).check_client("the connection")
    with pytest.raises(ConfigurationError, match="the connection: tls-mutual needs a certificate"):
        TlsSettings(mutual=True).check_client("the connection")


def test_the_reference_is_made_from_the_table() -> None:
    assert TARGET.read_text(encoding="utf-8") == reference(), "run scripts/generate_transport_reference.py"
