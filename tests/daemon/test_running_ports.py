"""The ports of a running server: what is taken up, and what is refused."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from csproxy.core.transport_parameters import ListeningMode
from csproxy.daemon.ports import ListeningPort
from csproxy.daemon.secure_ports import SecurePorts
from csproxy.errors import ConfigurationError
from tests.tls_files import Authority, Issued

pytestmark = pytest.mark.anyio


class Objects:
    """What the objects say of the ports, and the time."""

    def __init__(self, *ports: ListeningPort) -> None:
        self.ports = list(ports)
        self.warnings: list[str] = []
        self.error = ""
        self.now_s = time.time()
        self.watched = SecurePorts(self.wanted, clock=lambda: self.now_s)

    def wanted(self) -> tuple[list[ListeningPort], list[str]]:
        if self.error:
            raise ConfigurationError(self.error)
        return self.ports, self.warnings


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "root")


def secure(issued: Issued, **more: object) -> ListeningPort:
    settings = issued.settings()
    return ListeningPort("s", "127.0.0.1", 2, ListeningMode.SECURE, settings, **more)  # type: ignore[arg-type]


PLAIN = ListeningPort("default", "127.0.0.1", 1)


async def test_ports_are_opened_with_what_they_demand(authority: Authority) -> None:
    objects = Objects(PLAIN, secure(authority.issue("a.example"), for_users=True))
    default, port = await objects.watched.open()
    assert default.security is not None
    assert port.security is not None
    assert (default.port_id, default.security.mode, default.security.tls) == ("default", ListeningMode.UNSECURED, None)
    assert port.security.mode is ListeningMode.SECURE
    assert port.security.tls is not None
    assert objects.watched.restricted("s")
    assert not objects.watched.restricted("default")
    assert not objects.watched.restricted("unknown")
    status = objects.watched.status()
    assert status[0] == {
        "id": "default",
        "address": "127.0.0.1",
        "port": 1,
        "mode": "unsecured",
        "user": False,
        "ha_sync": False,
    }
    assert status[1]["certificate"]["names"] == ["a.example"]


async def test_a_server_does_not_start_with_a_bad_certificate(authority: Authority) -> None:
    issued = authority.issue("a.example")
    os.remove(issued.key)
    with pytest.raises(ConfigurationError, match=r"certificate-key .* cannot be read"):
        await Objects(PLAIN, secure(issued)).watched.open()


async def test_a_bad_certificate_is_told_once_and_the_one_before_stays(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    good, other = authority.issue("a.example"), authority.issue("b.example", file="other")
    objects = Objects(secure(good))
    (port,) = await objects.watched.open()
    assert port.security is not None
    before = port.security.tls
    os.replace(other.path, good.path)
    for _ in range(3):
        await objects.watched.look()
    assert caplog.text.count("does not fit the certificate") == 1
    assert "new connections go on with what was in use before" in caplog.text
    assert port.security.tls is before
    assert "does not fit" in objects.watched.status()[0]["problem"]

    caplog.clear()
    caplog.set_level(logging.INFO)
    os.replace(other.key, good.key)
    await objects.watched.look()
    assert port.security.tls is not before
    assert "problem" not in objects.watched.status()[0]
    assert objects.watched.status()[0]["certificate"]["names"] == ["b.example"]
    assert "port 's' is secure now, certificate " in caplog.text


async def test_a_wrong_object_is_told_once_and_changes_nothing(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    objects = Objects(secure(authority.issue("a.example")))
    (port,) = await objects.watched.open()
    objects.error = "port 's': tls is 'maybe'"
    for _ in range(3):
        await objects.watched.look()
    assert caplog.text.count("port 's': tls is 'maybe'; the ports stay as they are") == 1
    assert port.security is not None
    assert port.security.mode is ListeningMode.SECURE
    objects.error = ""
    await objects.watched.look()
    objects.error = "port 's': tls is 'maybe'"
    await objects.watched.look()
    assert caplog.text.count("the ports stay as they are") == 2  # it was right in between


async def test_mode_and_users_change_at_once_and_numbers_at_a_restart(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    issued = authority.issue("a.example")
    objects = Objects(PLAIN, secure(issued))
    _, port = await objects.watched.open()
    objects.ports = [
        PLAIN,
        ListeningPort("s", "127.0.0.1", 3, ListeningMode.UNSECURED, None, for_users=True),
        ListeningPort("new", "127.0.0.1", 4),
    ]
    for _ in range(2):
        await objects.watched.look()
    assert port.security is not None
    assert (port.security.mode, port.security.tls) == (ListeningMode.UNSECURED, None)
    assert objects.watched.restricted("s")
    assert objects.watched.status()[1]["port"] == 2
    for sentence in (
        "port 's' at 127.0.0.1:2 is there no more in the Application object: restart to take it up",
        "port 's' at 127.0.0.1:3 is new in the Application object: restart to take it up",
        "port 'new' at 127.0.0.1:4 is new in the Application object: restart to take it up",
    ):
        assert caplog.text.count(sentence) == 1


async def test_of_a_chain_the_first_to_expire_counts(authority: Authority, tmp_path: Path) -> None:
    issued = Authority(tmp_path, "middle", parent=authority).issue("a.example", days=1200 * 365)
    objects = Objects(secure(issued))
    (port,) = await objects.watched.open()
    assert port.security is not None
    assert port.security.tls is not None
    own, middle = port.security.tls.certificates
    assert middle.not_after_s < own.not_after_s
    assert objects.watched.status()[0]["certificate"]["days_left"] == middle.days_left(objects.now_s)


async def test_warnings_of_the_objects_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    objects = Objects(PLAIN)
    objects.warnings = ["port 'default' is strange"]
    await objects.watched.open()
    await objects.watched.look()
    assert caplog.text.count("port 'default' is strange") == 1


async def test_a_key_that_others_can_read_is_told(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    issued = authority.issue("a.example")
    for mode, told in ((0o640, False), (0o644, True)):
        os.chmod(issued.key, mode)
        await Objects(secure(issued)).watched.open()
        assert (f"port 's': {issued.key} holds a secret and has mode 0644" in caplog.text) is told
