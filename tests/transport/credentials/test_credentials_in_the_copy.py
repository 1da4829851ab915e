"""A trusted proxy's local copy has the passwords, too: it lets users log in when it starts without its master."""

from __future__ import annotations

import stat
from pathlib import Path

import anyio
import pytest
from password_site import PasswordSite, assert_equal, run_site

from csproxy.core.credentials import CredentialBook, PersonEntry
from csproxy.core.persistence.copy_format import pack_credentials, unpack_credentials
from csproxy.errors import ErrorCode, LocalCopyError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.db"


def copy_of(name: str, folder: Path) -> list[bytes]:
    """The content of the files of a copy, which nobody else may read."""
    files = [file for file in folder.iterdir() if file.name.startswith(f"{name}.")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    return [file.read_bytes() for file in files]


def test_a_proxy_that_starts_without_its_master_lets_users_log_in(path: Path, tmp_path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master():
            await site.set_rules(account_lockout_threshold=3, account_lockout_duration=60)
            jane = await site.create_person("jane", "first")
            joe = await site.create_person("joe", "of joe")
            gone = await site.create_person("gone", "of gone")
            async with site.running_proxy(folder=tmp_path) as proxy:
                await anyio.sleep(3)  # the snapshot
                await site.set_password(jane, "second")
                await site.delete_person(gone)
                for _ in range(3):
                    await site.refusal(proxy, "joe", "guess")
                await anyio.sleep(3)  # the journal
                at_the_end = proxy.book.digests()
        async with site.running_proxy(folder=tmp_path) as proxy:
            assert proxy.book.digests() == at_the_end
            assert proxy.book.state(joe).locked_ms
            await site.log_in(proxy, "jane", "second")
            for user, password in (("jane", "first"), ("gone", "of gone"), ("joe", "of joe")):
                assert (await site.refusal(proxy, user, password)).code is ErrorCode.LOGIN_INCORRECT

    run_site(path, scenario)


def test_the_copy_of_a_proxy_that_is_not_trusted_has_no_passwords(path: Path, tmp_path: Path) -> None:
    async def scenario(site: PasswordSite) -> None:
        async with site.running_master() as master:
            hash = master.book.hashes[3, 100].encode()
            async with site.running_proxy(folder=tmp_path) as proxy:
                await anyio.sleep(3)
                assert_equal(master, proxy)
            assert any(hash in content for content in copy_of("proxy1", tmp_path))
            async with site.running_proxy(folder=tmp_path, app_password="") as proxy:
                await anyio.sleep(10)
                assert proxy.book.is_empty
            assert not any(hash in content for content in copy_of("proxy1", tmp_path))
        async with site.running_proxy(folder=tmp_path) as proxy:
            assert (await site.refusal(proxy, "default", "secret")).code is ErrorCode.SERVER_NOT_FOUND

    run_site(path, scenario)


def test_a_record_holds_entries_and_what_is_gone() -> None:
    book = CredentialBook()
    book.put(PersonEntry(101, "a", 5))
    other = CredentialBook()
    other.put(PersonEntry(102, "b", 6))
    unpack_credentials(pack_credentials(book, [101, 102]), other)
    assert other.digests() == book.digests()
    with pytest.raises(LocalCopyError, match="a record of credentials cannot be read"):
        unpack_credentials(b"\x93\x01", other)
