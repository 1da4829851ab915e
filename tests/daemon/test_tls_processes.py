"""Real servers with TLS: the tool, OpenSSL's own client, a proxy and its master, certificates that come and go."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.servers import DEADLINE_S, Running, Site, tool
from tests.daemon.tls_site import TlsSite, s_client
from tests.tls_files import Authority

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def eventually(condition: Callable[[], Any]) -> Any:
    """Ask until the answer is true."""
    until = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < until, "the condition did not come true"
        time.sleep(0.2)
    return found


def said(server: Running, words: str) -> str:
    """The line with ``words``, whether it came before that of readiness or comes after it."""
    return next((line for line in server.seen if words in line), "") or server.line(containing=words)


def test_a_secure_master_and_its_clients(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    site = TlsSite(folder)
    with site.master() as master:
        (port,) = site.status(site.port, *site.tls_flags)["ports"]
        assert (port["mode"], port["certificate"]["names"]) == ("secure", ["localhost", "127.0.0.1"])
        assert port["certificate"]["days_left"] in (89, 90)
        assert tool("read", "person", *site.tls_flags, port=site.port).returncode == 0

        plain = tool("read", "person", port=site.port)
        assert plain.returncode == 1
        assert "this port takes secure connections only: connect with TLS, or to another port" in plain.stderr
        assert "(error 38)" in plain.stderr
        master.line(containing="wants no TLS on a secure port; it is refused")

        stranger = Authority(tmp_path_factory.mktemp("stranger"), "stranger")
        untrusted = tool("read", "person", "--tls-ca", stranger.path, port=site.port)
        assert untrusted.returncode == 1
        assert "the certificate of the server (" in untrusted.stderr
        assert "its authority is not among the trusted ones" in untrusted.stderr
        master.line(containing="the client refused the certificate CN=server")

        misnamed = tool("read", "person", *site.tls_flags, "--tls-name", "balancer.example", port=site.port)
        assert "is not valid for the name 'balancer.example'" in misnamed.stderr
        assert tool("read", "person", *site.tls_flags, "--tls-name", "localhost", port=site.port).returncode == 0
        missing = tool("read", "person", "--tls-ca", "/no/such.pem", port=site.port)
        assert "trusted-ca /no/such.pem cannot be read: No such file or directory" in missing.stderr


def test_openssls_client_agrees_on_versions_and_ciphers(folder: Path) -> None:
    site = TlsSite(folder)
    site.set_master(f"{site.secure()};cipher-list=ECDHE-ECDSA-AES256-GCM-SHA384")
    trusting = ["-CAfile", site.authority.path, "-verify_return_error", "-verify_hostname", "localhost"]
    with site.master() as master:
        for version in ("1_2", "1_3"):
            status, said = s_client(site.port, *trusting, f"-tls{version}")
            assert f"TLSv{version.replace('_', '.')}" in said
            assert "Verify return code: 0 (ok)" in said
            assert status == 0
        _, said = s_client(site.port, "-tls1_2")
        assert "ECDHE-ECDSA-AES256-GCM-SHA384" in said
        assert "Secure Renegotiation IS supported" in said

        status, said = s_client(site.port, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        assert status == 1
        assert "handshake failure" in said
        master.line(containing="the client offers no cipher that is allowed here (cipher-list, sec-protocol)")

        status, said = s_client(site.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert status == 1
        master.line(containing="the client offers no TLS version that is allowed here (sec-protocol)")

        _, said = s_client(site.port, "-tls1_2", stdin=b"R\n")
        assert "RENEGOTIATING" in said
        assert "no renegotiation" in said or "unexpected message" in said or "handshake failure" in said
        assert site.status(site.port, *site.tls_flags)["ready"]


def test_mutual_tls_with_openssls_client(folder: Path) -> None:
    site = TlsSite(folder)
    revoked = site.authority.issue("revoked.example", file="revoked")
    expired = site.authority.issue("expired.example", file="expired", days=-1, since_days=-9)
    stranger = Authority(folder / "stranger", "stranger").issue("stranger.example")
    lists = f"tls-mutual=1;trusted-ca={site.authority.path};tls-crl={site.authority.revocation_list(revoked)}"
    site.set_master(f"{site.secure()};{lists}")
    with site.master() as master:
        status, said = s_client(
            site.port, "-CAfile", site.authority.path, "-cert", site.client.path, "-key", site.client.key
        )
        assert status == 0
        assert "Verify return code: 0 (ok)" in said
        for version in ("-tls1_2", "-tls1_3"):
            for issued, why in (
                (revoked, "it has been revoked"),
                (expired, "it has expired"),
                (stranger, "its authority is not among the trusted ones"),
            ):
                # TLS 1.3 tells a client only after its handshake: wait for the alert
                s_client(site.port, version, "-ign_eof", "-cert", issued.path, "-key", issued.key)
                master.line(containing=f"the certificate of the client is refused: {why}")
            s_client(site.port, version, "-ign_eof")
            master.line(containing="the client showed no certificate, which this port demands (tls-mutual)")

        told = tool("read", "person", *site.tls_flags, port=site.port)
        assert told.returncode == 1
        assert "the server demands a certificate and none is set (certificate, certificate-key)" in told.stderr
        bad = ["--tls-cert", revoked.path, "--tls-key", revoked.key]
        told = tool("read", "person", *site.tls_flags, *bad, port=site.port)
        assert "the server refused the certificate " in told.stderr
        assert revoked.path in told.stderr
        assert "it has been revoked" in told.stderr
        assert tool("read", "person", *site.mutual_flags, port=site.port).returncode == 0


def test_a_proxy_follows_its_master_over_mutual_tls(folder: Path) -> None:
    site = TlsSite(folder, mutual=True)
    with site.master() as master, site.proxy("CSProxy_1", *site.to_master(mutual=True)):
        master.line(containing="trusted by")
        done = tool("update", "person", "100", "firstName=Ada", *site.mutual_flags, port=site.port)
        assert done.returncode == 0, done.stderr
        port = site.proxy_ports["CSProxy_1"]
        eventually(lambda: "Ada" in tool("read", "person", port=port).stdout)
        assert site.status(port)["upstream"]["state"] == "live"
        assert site.status(site.port, *site.mutual_flags)["handshakes"]["failed"] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "takes secure connections only"),
        (["-transport-tls", "1"], "the certificate of the server (CN=server"),
        (["-transport-tls", "1", "-transport-trusted-ca", "/no.pem"], "trusted-ca /no.pem cannot be read"),
    ],
)
def test_a_proxy_that_cannot_connect_securely_says_why(folder: Path, words: list[str], sentence: str) -> None:
    site = TlsSite(folder)
    with site.master(), site.proxy("CSProxy_1", *words, wait=False) as proxy:
        proxy.line(containing=sentence)


def test_ports_of_a_proxy_change_while_it_runs(folder: Path) -> None:
    site = TlsSite(folder, transport="tls=0")
    with site.master():
        site.set_ports("address=127.0.0.1", f"address=127.0.0.1;{site.secure('upgrade=1')}")
        with site.proxy() as proxy:
            default = site.proxy_ports["CSProxy_1"]
            # auto-detect: both kinds of clients on one port
            assert tool("read", "person", port=site.more_port).returncode == 0
            assert tool("read", "person", *site.tls_flags, port=site.more_port).returncode == 0

            # a client with TLS at a port without
            wrong = tool("read", "person", *site.tls_flags, port=default)
            assert wrong.returncode == 1
            assert "the server does not speak TLS; is this a port without TLS?" in wrong.stderr
            proxy.line(containing="a TLS handshake on a port without TLS")

            # a new certificate in the same files: new connections see it
            other = site.authority.issue("localhost", "127.0.0.1", file="other", common_name="other", days=10)
            os.replace(other.path, site.server.path)
            proxy.line(containing="does not fit the certificate CN=other")
            assert tool("read", "person", *site.tls_flags, port=site.more_port).returncode == 0
            os.replace(other.key, site.server.key)
            proxy.line(containing="port 'more' is auto-detect now, certificate CN=other")
            proxy.line(containing="expires in 9 days")
            more = site.status(default)["ports"][1]
            assert more["certificate"]["days_left"] == 9
            assert "problem" not in more
            _, said = s_client(site.more_port, "-CAfile", site.authority.path)
            assert "CN = other" in said

            # another mode, by the Application object; numbers need a restart
            site.set_ports(f"address=127.0.0.1;{site.secure()}", "address=127.0.0.1;user=1")
            proxy.line(containing="port 'default' is secure now, certificate CN=other")
            proxy.line(containing="port 'more' is unsecured now")
            assert "(error 38)" in tool("read", "person", port=default).stderr
            assert tool("read", "person", *site.tls_flags, port=default).returncode == 0
            assert tool("read", "person", port=site.more_port).returncode == 0
            site.more_port += 1
            site.set_ports("address=127.0.0.1", "address=127.0.0.1")
            proxy.line(
                containing=f"port 'more' at 127.0.0.1:{site.more_port} is new in the Application object: restart"
            )


def test_certificates_that_do_not_fit_end_the_start_with_a_sentence(folder: Path) -> None:
    site = TlsSite(folder)
    site.set_master(f"tls=1;certificate={site.server.path};certificate-key={site.client.key}")
    with Running("confserv", "-c", str(site.folder / "confserv.conf")) as master:
        master.line(containing="does not fit the certificate CN=server")
        assert master.process.wait(DEADLINE_S) == 1


def test_a_certificate_that_expires_soon_is_told_at_the_start(folder: Path) -> None:
    site = TlsSite(folder)
    soon = site.authority.issue("localhost", "127.0.0.1", file="soon", common_name="soon", days=20.5)
    site.set_master(site.secure(server=soon))
    with site.master() as master:
        assert "port 'default': the certificate CN=soon" in said(master, "expires in 20 days")


def test_a_proxys_certificate_that_expires_soon_is_told_and_its_successor_ends_that(folder: Path) -> None:
    site = TlsSite(folder, mutual=True)
    site.client = site.authority.issue("proxy.example", file="soon", common_name="soon", days=20.5)
    with site.master(), site.proxy("CSProxy_1", *site.to_master(mutual=True)) as proxy:
        told = said(proxy, "expires in 20 days")
        assert "the connection to the master: the certificate CN=soon" in told
        assert site.client.path in told
        # without a new connection the new file counts, and it expires soon, too
        next_one = site.authority.issue("proxy.example", file="next", common_name="next", days=10.5)
        os.replace(next_one.key, site.client.key)
        os.replace(next_one.path, site.client.path)
        assert "the connection to the master: the certificate CN=next" in proxy.line(containing="expires in 10 days")
        assert sum("CN=soon" in line and "expires" in line for line in proxy.seen) == 1


def test_peers_that_stop_flood_or_lie_do_not_hold_up_others(folder: Path) -> None:
    site = TlsSite(folder)
    with site.master():
        sockets = []
        for first in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16" * 50_000, os.urandom(50_000)):
            for _ in range(20):
                sock = socket.create_connection(("127.0.0.1", site.port))
                sock.settimeout(1)
                with suppress(OSError):  # the server may have seen enough
                    sock.sendall(first)
                sockets.append(sock)
        assert tool("read", "person", *site.tls_flags, port=site.port).returncode == 0
        for sock in sockets:
            sock.close()
        assert site.status(site.port, *site.tls_flags)["ready"]


def test_two_proxies_of_a_pair_are_linked_over_tls(folder: Path) -> None:
    site = TlsSite(folder, transport="tls=0", proxies=("CSProxy_1", "CSProxy_2"))
    security = {"trusted-ca": site.authority.path, "certificate": site.server.path, "certificate-key": site.server.key}
    with site.master():
        site.change("host", 1, userProperties={"security": security})
        for dbid, (name, port) in enumerate(site.proxy_ports.items(), 101):
            backup = {"backupServerDBID": 102} if name == "CSProxy_1" else {}
            site.change(
                "application",
                dbid,
                redundancyType="CFGHTWarmStanby",
                serverInfo={"hostDBID": 1, "port": str(port), "timeout": 10, "attempts": 1, **backup},
                portInfos=[{"id": "default", "port": str(port), "transportParams": "address=127.0.0.1;tls=1"}],
            )
        with site.proxy("CSProxy_1") as first, site.proxy("CSProxy_2", wait=False) as second:
            second.line(containing="the connection to the other server of the pair 127.0.0.1:")
            second.line(containing="standing by")
            port = site.proxy_ports["CSProxy_1"]
            eventually(lambda: site.status(port, *site.tls_flags)["pair"]["other_role"] == "standby")
            assert site.status(port, *site.tls_flags)["pair"]["role"] == "primary"
            assert first.process.poll() is None


def test_the_site_that_init_makes_with_tls_works_as_it_says(folder: Path) -> None:
    site = Site(folder, more=["--tls"])
    authority = str(site.folder / "tls" / "ca.pem")
    with site.master(), site.proxy("CSProxy_1", "-transport-tls", "1", "-transport-trusted-ca", authority):
        for port in (site.port, site.proxy_ports["CSProxy_1"]):
            assert tool("read", "person", "--tls-ca", authority, port=port).returncode == 0
            assert "(error 38)" in tool("read", "person", port=port).stderr
            _, said = s_client(port, "-CAfile", authority, "-verify_hostname", "localhost", "-verify_return_error")
            assert "Verify return code: 0 (ok)" in said
