"""LDAP log-ins at a real slapd: who gets in, over which connections, from which server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ldap3.operation.search import MATCH_EQUAL, NOT, parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending

from csproxy.auth.ldap import LdapAuthenticator, LdapUser
from csproxy.auth.ldap_connection import LdapConnection
from csproxy.auth.ldap_settings import LdapSettings
from csproxy.core.ldap_url import parse_ldap_url
from csproxy.errors import ErrorCode, RetryableError, ServerError
from csproxy.testing import FaultProxy
from tests.auth.directory import APP_PASSWORD, Directory

pytestmark = pytest.mark.anyio

JANE = LdapUser(101, "jane@example.com", b"person")
WRONG = "user name or password is wrong"


async def refusal(
    ldap: LdapAuthenticator, settings: LdapSettings, password: str = "secret", user: LdapUser = JANE
) -> ServerError:
    with pytest.raises(ServerError) as caught:
        await ldap.check(user, password, settings)
    return caught.value


def named(external_id: str) -> LdapUser:
    return LdapUser(101, external_id, b"person")


async def test_the_right_password_is_accepted_and_another_is_not(directory: Directory) -> None:
    async with LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", directory.settings())
        error = await refusal(ldap, directory.settings(), "Secret")
        assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, WRONG)
        await ldap.check(JANE, "secret", directory.settings())


async def test_a_name_and_password_beyond_ascii_reach_the_directory_as_they_are(directory: Directory) -> None:
    settings = directory.settings(directory.server(filter="(cn=X)"))
    async with LdapAuthenticator() as ldap:
        await ldap.check(named("Zoë (*)\\"), "gehäim", settings)
        assert str(await refusal(ldap, settings, "gehäim", named("Zoë"))) == WRONG


@pytest.mark.parametrize(
    "external_id",
    [
        "nobody@example.com",
        "*",
        "jane*",
        "jane@example.com)(mail=*",
        "x)(|(mail=jane@example.com",
        "\0",
        "twin@example.com",
    ],
)
async def test_a_user_who_is_not_found_or_not_one_is_refused_like_a_wrong_password(
    directory: Directory, external_id: str
) -> None:
    async with LdapAuthenticator() as ldap:
        error = await refusal(ldap, directory.settings(), user=named(external_id))
        assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, WRONG)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
@example("*)(uid=*")
@example("\\2a")
def test_an_independent_reader_finds_the_external_id_as_one_value_of_the_filter(external_id: str) -> None:
    url = parse_ldap_url("ldap://h/dc=x??sub?(&(uid=X)(!(mail=X)))")
    parsed = parse_filter(url.filter_for(external_id), None, False, False, None, False)
    both = parsed.elements[0].elements
    assert [node.tag for node in both] == [MATCH_EQUAL, NOT]
    matches = [both[0].assertion, both[1].elements[0].assertion]
    assert [(match["attr"], bytes(prepare_filter_for_sending(match["value"]))) for match in matches] == [
        ("uid", external_id.encode()),
        ("mail", external_id.encode()),
    ]


@pytest.mark.parametrize("password", ["", "\u00ad"])
async def test_a_bind_without_a_password_is_never_sent(directory: Directory, password: str) -> None:
    # this slapd accepts such a bind; a soft hyphen is nothing after the preparation that ldap3 does to a text
    async with LdapAuthenticator() as ldap:
        error = await refusal(ldap, directory.settings(), password)
        assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, WRONG)


@pytest.mark.parametrize(("name", "password"), [("", "secret"), ("uid=jane,ou=people,dc=example,dc=com", "")])
def test_a_connection_refuses_to_send_an_unauthenticated_bind(directory: Directory, name: str, password: str) -> None:
    with pytest.raises(ValueError, match="name and a password"):
        LdapConnection(directory.server(), "127.0.0.1").bind(name, password)


async def test_app_user_sees_who_is_hidden_from_others(directory: Directory) -> None:
    ghost = named("ghost@example.com")
    anonymous = directory.server(app_user="", password="")
    async with LdapAuthenticator() as ldap:
        await ldap.check(ghost, "secret", directory.settings())
        assert str(await refusal(ldap, directory.settings(anonymous), user=ghost)) == WRONG
        await ldap.check(JANE, "secret", directory.settings(anonymous))


async def test_a_wrong_app_user_is_the_administrators_matter(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    async with LdapAuthenticator() as ldap:
        error = await refusal(ldap, directory.settings(directory.server(password="wrong")))
    assert (error.code, str(error)) == (
        ErrorCode.EXTERNAL_AUTHENTICATION_ERROR,
        "the directory has refused the log-in",
    )
    assert "refuses app-user: code 49" in caplog.text


@pytest.mark.parametrize("base", ["dc=elsewhere", "no dn at all"])
async def test_a_base_that_is_not_there_is_the_administrators_matter(directory: Directory, base: str) -> None:
    async with LdapAuthenticator() as ldap:
        error = await refusal(ldap, directory.settings(directory.server(base=base)))
        assert error.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR


async def test_steps_are_logged_when_verbose_and_passwords_never(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = directory.settings(directory.server(verbose=True))
    async with LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", settings)
        await refusal(ldap, settings, "guessed-wrong")
    steps = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert any("search (mail=jane" in step for step in steps)
    assert any("code 49" in step for step in steps)
    for secret in (APP_PASSWORD, "guessed-wrong", "'secret'"):
        assert secret not in caplog.text
        assert secret not in repr(settings)


# TLS


def tls_settings(directory: Directory, files: Path, **more: Any) -> LdapSettings:
    given = {"scheme": "ldaps", "host": "localhost", "cacert_path": str(files / "ca.pem"), **more}
    return directory.settings(directory.server(**given))


@pytest.mark.parametrize("how", [{"scheme": "ldaps"}, {"scheme": "ldap", "start_tls": True}])
async def test_a_secure_directory_is_asked_if_its_certificate_is_right(
    directory: Directory, files: Path, how: dict[str, Any]
) -> None:
    async with LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", tls_settings(directory, files, **how))


@pytest.mark.parametrize("how", [{"scheme": "ldaps"}, {"scheme": "ldap", "start_tls": True}])
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cacert_path": "other-ca.pem"}, "certificate verify failed"),
        ({"cacert_path": ""}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, "certificate is not valid for '127.0.0.1'"),
        ({"cacert_path": "missing.pem"}, "cannot be loaded"),
        ({"cert_path": "client.pem", "key_path": "server.key"}, "cannot be loaded"),
    ],
)
async def test_nothing_is_sent_to_a_directory_that_cannot_prove_itself(
    directory: Directory,
    files: Path,
    caplog: pytest.LogCaptureFixture,
    how: dict[str, Any],
    wrong: dict[str, str],
    why: str,
) -> None:
    paths = {name: str(files / text) if text and name != "host" else text for name, text in wrong.items()}
    async with LdapAuthenticator() as ldap:
        error = await refusal(ldap, tls_settings(directory, files, **how, **paths))
    assert error.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
    assert why in caplog.text


async def test_a_client_certificate_is_shown_where_it_is_demanded(strict_directory: Directory) -> None:
    files = strict_directory.folder
    pair = {"cert_path": str(files / "client.pem"), "key_path": str(files / "client.key")}
    async with LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", tls_settings(strict_directory, files, **pair))
        error = await refusal(ldap, tls_settings(strict_directory, files))
        assert error.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR


# several servers


@asynccontextmanager
async def two_ways(directory: Directory) -> AsyncIterator[tuple[FaultProxy, FaultProxy, LdapSettings]]:
    """Two proxies before one directory, as first and second server."""
    async with FaultProxy("127.0.0.1", directory.port) as first, FaultProxy("127.0.0.1", directory.port) as second:
        servers = [directory.server(port=proxy.port, connect_timeout_s=1) for proxy in (first, second)]
        yield first, second, directory.settings(*servers)


async def test_the_server_that_answers_stays_in_use_until_it_stops_answering(directory: Directory) -> None:
    async with two_ways(directory) as (first, second, settings), LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", settings)
        assert (first.connections, second.connections) == (2, 0)
        first.refuse()
        first.cut()
        await ldap.check(JANE, "secret", settings)
        assert second.connections == 2
        first.restore()
        await ldap.check(JANE, "secret", settings)
        assert str(await refusal(ldap, settings, "wrong")) == WRONG
        assert (first.connections, second.connections) == (0, 2)
        second.refuse()
        second.cut()
        await ldap.check(JANE, "secret", settings)
        assert first.connections == 2


async def test_a_server_that_hangs_is_left_after_its_time(directory: Directory) -> None:
    async with two_ways(directory) as (first, second, settings), LdapAuthenticator() as ldap:
        first.deafen()
        await ldap.check(JANE, "secret", settings)
        second.deafen()
        error = await refusal(ldap, settings)
        assert isinstance(error, RetryableError)
        assert error.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
        assert str(error) == "the directory does not answer; try again"


async def test_an_unknown_host_counts_as_a_server_that_does_not_answer(directory: Directory) -> None:
    settings = directory.settings(directory.server(host="directory.invalid"), directory.server())
    async with LdapAuthenticator() as ldap:
        await ldap.check(JANE, "secret", settings)
        alone = directory.settings(directory.server(host="directory.invalid"))
        assert str(await refusal(ldap, alone)) == "the directory cannot be reached; try again"


# referrals


async def test_a_referral_is_followed_only_if_it_is_allowed(directory: Directory) -> None:
    base = "ou=moved,dc=example,dc=com"
    async with LdapAuthenticator() as ldap:
        assert str(await refusal(ldap, directory.settings(directory.server(base=base)))) == WRONG
        await ldap.check(JANE, "secret", directory.settings(directory.server(base=base, chase_referrals=True)))
        # as part of a search of everything
        settings = directory.settings(directory.server(chase_referrals=True))
        assert str(await refusal(ldap, settings, user=named("nobody@example.com"))) == WRONG


async def test_referrals_in_a_circle_end(directory: Directory) -> None:
    server = directory.server(base="ou=loop,dc=example,dc=com", chase_referrals=True)
    async with LdapAuthenticator() as ldap:
        assert str(await refusal(ldap, directory.settings(server))) == WRONG


async def test_a_referral_does_not_leave_tls(
    directory: Directory, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = tls_settings(directory, files, base="ou=moved,dc=example,dc=com", chase_referrals=True)
    async with LdapAuthenticator() as ldap:
        assert str(await refusal(ldap, settings)) == WRONG
    assert "which is not followed: it leaves TLS" in caplog.text


# connections


async def test_connections_are_kept_until_they_were_idle_for_too_long(directory: Directory) -> None:
    now_s = [0.0]
    async with LdapAuthenticator(clock=lambda: now_s[0], sweep_interval_s=0.01) as ldap:
        for _ in range(3):
            await ldap.check(JANE, "secret", directory.settings())
        assert ldap.statistics().idle_connections == 2
        now_s[0] += 301
        with anyio.fail_after(10):
            while ldap.statistics().idle_connections:
                await anyio.lowlevel.checkpoint()
        await ldap.check(JANE, "secret", directory.settings())


async def test_many_at_once_share_a_bounded_number_of_connections(directory: Directory) -> None:
    async with LdapAuthenticator(threads=3) as ldap:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ldap.check, JANE, "secret", directory.settings())
        assert ldap.statistics().waiting == 0
        assert 0 < ldap.statistics().idle_connections <= 6
