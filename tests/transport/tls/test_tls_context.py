"""Files of TLS: every mistake in them is told by name before anything listens, and changes are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from csproxy.core.tls_settings import TlsSettings
from csproxy.errors import ConfigurationError
from csproxy.transport.certificates import read_certificates
from csproxy.transport.tls_context import TlsFiles, load_context
from tests.tls_files import Authority, Issued


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "root")


@pytest.fixture
def issued(authority: Authority) -> Issued:
    return authority.issue("server.example", "10.1.2.3", common_name="Server", days=40)


def refusal(settings: TlsSettings, *, server_side: bool = True) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_context(settings, server_side=server_side)
    return str(caught.value)


def test_the_own_certificate_is_described(issued: Issued) -> None:
    tls = load_context(issued.settings(), server_side=True)
    (facts,) = tls.certificates
    assert facts.names == ("server.example", "10.1.2.3")
    assert "CN=Server" in facts.subject
    assert facts.days_left(facts.not_after_s - 3 * 86400 - 1) == 3
    assert facts.days_left(facts.not_after_s + 1) == -1
    assert tls.own == f"the certificate {facts.subject} in {issued.path}"
    assert load_context(TlsSettings(), server_side=False).own == "this side, which has no certificate"


def test_a_key_may_stand_in_the_file_of_its_certificate(issued: Issued, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(Path(issued.key).read_text() + Path(issued.path).read_text())
    assert load_context(TlsSettings(certificate=(str(both),)), server_side=True).certificates


def test_a_missing_file_is_named(issued: Issued, authority: Authority) -> None:
    for name, settings in (
        ("certificate", TlsSettings(certificate=("/no/c.pem",), certificate_key=issued.key)),
        ("certificate-key", TlsSettings(certificate=(issued.path,), certificate_key="/no/c.pem")),
        ("trusted-ca", TlsSettings(trusted_ca=("/no/c.pem",))),
        ("tls-crl", TlsSettings(trusted_ca=(authority.path,), crl=("/no/c.pem",))),
    ):
        assert refusal(settings) == f"{name} /no/c.pem cannot be read: No such file or directory"


def test_a_directory_is_no_file(issued: Issued, tmp_path: Path) -> None:
    assert "Is a directory" in refusal(TlsSettings(certificate=(str(tmp_path),), certificate_key=issued.key))


def test_what_is_not_pem_is_told(issued: Issued, authority: Authority, tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_bytes(b"\x30\x82\xff junk")
    path = str(junk)
    assert f"certificate {path} holds no readable certificate" in refusal(TlsSettings(certificate=(path,)))
    assert f"certificate-key {path} holds no private key" in refusal(
        TlsSettings(certificate=(issued.path,), certificate_key=path)
    )
    assert f"trusted-ca {path} holds no readable certificate" in refusal(TlsSettings(trusted_ca=(path,)))
    assert f"tls-crl {path} holds no readable revocation list" in refusal(TlsSettings(crl=(path,)))


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_a_key_of_another_certificate_is_told(authority: Authority, issued: Issued, kind: trustme.KeyType) -> None:
    other = authority.issue("other.example", key_type=kind)
    said = refusal(TlsSettings(certificate=(issued.path,), certificate_key=other.key))
    assert said.startswith(f"certificate-key {other.key} does not fit the certificate ")
    assert "CN=Server" in said


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(issued: Issued) -> None:
    key = serialization.load_pem_private_key(Path(issued.key).read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    Path(issued.key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    )
    assert refusal(issued.settings()) == (
        f"certificate-key {issued.key} is encrypted: a server cannot ask for its password"
    )


def test_a_chain_in_the_wrong_order_is_told(authority: Authority, tmp_path: Path) -> None:
    issued = Authority(tmp_path, "middle", parent=authority).issue("server.example")
    own, middle = issued.parts
    assert len(load_context(issued.settings(), server_side=True).certificates) == 2
    said = refusal(TlsSettings(certificate=(own, own), certificate_key=issued.key))
    assert said.startswith("the certificates are not in order: ")
    assert "first comes the own certificate, then that of its issuer" in said
    assert "does not fit the certificate" in refusal(
        TlsSettings(certificate=(middle, authority.path), certificate_key=issued.key)
    )


def test_a_list_of_ciphers_that_do_not_exist_is_told(issued: Issued) -> None:
    assert refusal(issued.settings(ciphers="ROT13")) == "cipher-list 'ROT13' names no cipher that OpenSSL has"


def test_certificates_in_a_revocation_list_would_be_trusted_and_are_refused(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    mixed = tmp_path / "mixed.pem"
    mixed.write_text(Path(stranger.path).read_text() + Path(authority.revocation_list()).read_text())
    said = refusal(TlsSettings(trusted_ca=(authority.path,), crl=(str(mixed),)))
    assert f"tls-crl {mixed} holds a certificate, which would be trusted" in said


def test_every_certificate_of_every_file_is_read_in_order(authority: Authority, issued: Issued) -> None:
    found = read_certificates([issued.path, authority.path], "trusted-ca")
    assert [each.path for each in found] == [issued.path, authority.path]
    assert found[1].names == ()


@pytest.mark.anyio
async def test_files_are_read_again_when_they_have_changed(authority: Authority, issued: Issued) -> None:
    files = TlsFiles(issued.settings(), server_side=True)
    assert await files.refresh()
    first = files.current
    assert not await files.refresh()
    assert files.current is first
    other = authority.issue("other.example")
    os.replace(other.path, issued.path)
    os.replace(other.key, issued.key)
    assert await files.refresh()
    assert files.current is not None
    assert files.current.certificates[0].names == ("other.example",)


@pytest.mark.anyio
async def test_bad_new_files_leave_the_former_in_use(authority: Authority, issued: Issued) -> None:
    files = TlsFiles(issued.settings(), server_side=True)
    first = await files.latest()
    other = authority.issue("other.example")
    os.replace(other.path, issued.path)  # the certificate is there, its key not yet
    with pytest.raises(ConfigurationError, match="does not fit"):
        await files.refresh()
    assert files.current is first
    assert not await files.refresh()  # said once, not at every look
    assert await files.latest() is first
    os.replace(other.key, issued.key)
    assert (await files.latest()).certificates[0].names == ("other.example",)


@pytest.mark.anyio
async def test_without_any_good_files_each_look_says_why(tmp_path: Path) -> None:
    files = TlsFiles(TlsSettings(trusted_ca=(str(tmp_path / "ca.pem"),)), server_side=False)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"trusted-ca .* cannot be read"):
            await files.latest()
    Authority(tmp_path, "ca")
    assert (await files.latest()).certificates == ()


@pytest.mark.anyio
async def test_those_who_come_at_the_same_time_load_once(issued: Issued) -> None:
    files = TlsFiles(issued.settings(), server_side=True)
    found = []

    async def load() -> None:
        found.append(await files.latest())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(load)
    assert len(found) == 5
    assert all(each is found[0] for each in found)


@pytest.mark.anyio
async def test_who_stops_waiting_for_files_leaves_them_to_be_loaded(issued: Issued) -> None:
    files = TlsFiles(issued.settings(), server_side=True)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await files.latest()
    assert (await files.latest()).certificates
