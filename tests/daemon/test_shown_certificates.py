"""The certificates that a server shows: all are known in one place, and the end of each is told in time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.connectors import ObjectConnector
from csproxy.daemon.ports import ListeningPort
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.daemon.shown_certificates import ShownCertificates
from csproxy.transport.port_security import PortSecurity
from csproxy.transport.tls_context import load_context
from tests.daemon.test_connectors import server
from tests.tls_files import Authority, Issued

pytestmark = pytest.mark.anyio

DAY_S = 86400.0


class Shown:
    """A server that shows ``port`` at its port s, and ``connection`` to its master; the time is settable."""

    def __init__(self, authority: Authority, *, port: Issued | None = None, connection: Issued | None = None) -> None:
        self.now_s = time.time()
        self.authority = authority
        self.certificates = ShownCertificates(clock=lambda: self.now_s)
        self.connector: ObjectConnector | None = None
        if port is not None:
            wanted = [ListeningPort("s", "127.0.0.1", 2, ListeningMode.SECURE, port.settings())]
            self.certificates.ports = SecurePorts(lambda: (wanted, []))
        if connection is not None:
            self.connector = ObjectConnector("the connection", lambda host, port: self.parameters(connection))
            self.certificates.connections["connection to the master"] = self.connector

    def parameters(self, issued: Issued) -> dict[str, str]:
        return {
            "tls": "1",
            "certificate": issued.path,
            "certificate-key": issued.key,
            "trusted-ca": self.authority.path,
        }

    async def open(self) -> None:
        """Read the port's certificate, connect, and warn as a server does at its start."""
        if self.certificates.ports is not None:
            await self.certificates.ports.open()
        if self.connector is not None:
            settings = self.authority.issue("127.0.0.1", file="master").settings()
            security = PortSecurity(ListeningMode.SECURE, load_context(settings, server_side=True))
            async with server(security) as (number, _):
                (await self.connector("127.0.0.1", number)).close(flush=False)
        self.certificates.warn()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "root")


@pytest.mark.parametrize(("where", "place"), [("port", "port 's'"), ("connection", "the connection to the master")])
async def test_an_end_within_30_days_is_told_once_a_day(
    authority: Authority, caplog: pytest.LogCaptureFixture, where: str, place: str
) -> None:
    shown = Shown(authority, **{where: authority.issue("a.example", days=31.5, common_name="Server")})
    await shown.open()
    assert "expires" not in caplog.text
    for days in (30, 29, 28):
        caplog.clear()
        shown.now_s += DAY_S
        for _ in range(3):
            shown.certificates.warn()
        assert caplog.text.count(f"expires in {days} days, on 2") == caplog.text.count("expires") == 1
        assert {record.event for record in caplog.records} == {31030}  # type: ignore[attr-defined]
    caplog.clear()
    shown.now_s += 40 * DAY_S
    shown.certificates.warn()
    assert f"{place}: the certificate CN=Server" in caplog.text
    assert "has expired on" in caplog.text
    assert shown.certificates.rows()[0]["days_left"] < 0


async def test_a_certificate_of_several_places_is_told_once_with_all_of_them(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    issued = authority.issue("a.example", days=5.5, common_name="Both")
    shown = Shown(authority, port=issued, connection=issued)
    await shown.open()
    assert "port 's', the connection to the master: the certificate CN=Both" in caplog.text
    assert caplog.text.count("expires in 5 days") == 1
    assert [row["port"] for row in shown.certificates.rows()] == ["s", "connection to the master"]


async def test_a_connections_new_file_counts_before_it_connects_again(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    issued = authority.issue("a.example", days=5.5, common_name="Old")
    shown = Shown(authority, connection=issued)
    await shown.open()
    assert shown.connector is not None
    caplog.clear()
    fresh = authority.issue("a.example", file="fresh", days=60, common_name="Fresh")
    os.replace(fresh.key, issued.key)
    await shown.connector.refresh()
    assert "the former files stay in use" in caplog.text
    assert [row["days_left"] for row in shown.certificates.rows()] == [5]
    os.replace(fresh.path, issued.path)
    await shown.connector.refresh()
    shown.now_s += DAY_S
    shown.certificates.warn()
    assert "expires" not in caplog.text
    assert shown.certificates.rows()[0]["subject"].startswith("CN=Fresh")


async def test_a_new_certificate_is_told_the_same_day(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    issued = authority.issue("a.example", days=5.5)
    shown = Shown(authority, port=issued)
    await shown.open()
    other = authority.issue("a.example", file="other", days=9.5)
    os.replace(other.path, issued.path)
    os.replace(other.key, issued.key)
    assert shown.certificates.ports is not None
    await shown.certificates.ports.look()
    shown.certificates.warn()
    assert caplog.text.count("expires in 9 days") == 1


async def test_nothing_is_known_before_the_first_secure_connection(authority: Authority) -> None:
    shown = Shown(authority, connection=authority.issue("a.example"))
    assert shown.connector is not None
    await shown.connector.refresh()
    assert shown.certificates.rows() == []
