"""The chain of all ways of logging in: who is checked where, by options of server, Tenant and Person."""

from __future__ import annotations

import time
from typing import Any

import pytest

from csproxy.auth.chain import AuthenticationChain, build_authenticator
from csproxy.auth.internal import InternalAuthenticator
from csproxy.auth.passwords import Cost, hash_password
from csproxy.auth.tokens import TokenSettings, make_token
from csproxy.core.cache import ConfigurationCache
from csproxy.core.changes import Action, Change, Position
from csproxy.core.credentials import CredentialBook
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import encode_object
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.log_ins import LogIns
from tests.auth.directory import APP_PASSWORD, APP_USER, Directory
from tests.auth.radius_server import RadiusPorts

pytestmark = pytest.mark.anyio

WRONG = "user name or password is wrong"
UUID = "00112233-4455-6677-8899-aabbccddeeff"
CHEAP = Cost(ln=4, r=1)


class Site:
    """Tenants and Persons; each has the internal password ``internal``, and ``master`` at the master."""

    def __init__(self) -> None:
        self.cache = ConfigurationCache()
        self.passwords = {"internal": CredentialBook(), "master": CredentialBook()}
        self.internal, self.master = (
            InternalAuthenticator(lambda: self.cache, LogIns(book, lambda: self.cache))
            for book in self.passwords.values()
        )
        self.tenant(1, "Environment")
        self.person(100, "default")
        self.person(101, "jane", external_id="jane@example.com")
        self.person(102, "joe")

    def change(self, action: Action, type: int, dbid: int, **more: Any) -> None:
        position = Position(1, self.cache.position.uen + 1)
        self.cache.apply([Change(action=action, type=type, dbid=dbid, position=position, frame=b"", **more)])

    def tenant(self, dbid: int, name: str, annex: dict[str, Any] | None = None) -> None:
        obj = {"DBID": dbid, "name": name, "state": 1, "userProperties": annex or {}}
        self.change(Action.CREATED, 7, dbid, object=encode_object(SCHEMA.types[7], obj))

    def person(
        self, dbid: int, name: str, *, external_id: str = "", tenant: int = 1, annex: dict[str, Any] | None = None
    ) -> None:
        obj = {"DBID": dbid, "userName": name, "employeeID": name, "tenantDBID": tenant, "state": 1}
        obj |= {"externalID": external_id, "userProperties": annex or {}}
        self.change(Action.CREATED, 3, dbid, object=encode_object(SCHEMA.types[3], obj))
        for password, book in self.passwords.items():
            book.set_hash((3, dbid), hash_password(password, cost=CHEAP))

    def chain(self, options: dict[str, Any], *, proxy: bool = False) -> AuthenticationChain:
        return build_authenticator(
            options, cache=lambda: self.cache, internal=self.internal, upstream=self.master if proxy else None
        )


async def refusal(chain: AuthenticationChain, user: str, password: str) -> ServerError:
    with pytest.raises(ServerError) as caught:
        await chain.authenticate(user, password)
    return caught.value


def ldap_section(directory: Directory, **more: str) -> dict[str, str]:
    url = f"ldap://127.0.0.1:{directory.port}/dc=example,dc=com??sub?(|(mail=X)(uid=X))"
    return {"ldap-url": url, "app-user": APP_USER, "password": APP_PASSWORD, "retry-attempts": "1", **more}


def radius_section(radius: RadiusPorts) -> dict[str, str]:
    return {"host": "127.0.0.1", "port": str(radius.signed), "shared-secret": "shared", "retries": "0", "timeout": "1"}


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def ldap_options(directory: Directory) -> dict[str, Any]:
    return {"authentication": {"library": "gauth_ldap"}, "gauth_ldap": ldap_section(directory)}


async def test_without_a_library_everybody_is_checked_internally(site: Site) -> None:
    async with site.chain({}) as chain:
        for user, dbid in (("jane", 101), ("joe", 102)):
            assert await chain.authenticate(user, "internal") == Account(dbid, user)
        assert str(await refusal(chain, "nobody", "internal")) == WRONG
        assert repr(chain) == "<AuthenticationChain internal>"


async def test_with_ldap_only_who_has_an_external_id_is_checked_there(site: Site, ldap_options: dict[str, Any]) -> None:
    async with site.chain(ldap_options) as chain:
        assert await chain.authenticate("jane", "secret") == Account(101, "jane")
        assert str(await refusal(chain, "jane", "internal")) == WRONG
        assert await chain.authenticate("joe", "internal") == Account(102, "joe")
        assert str(await refusal(chain, "nobody", "secret")) == WRONG
        assert repr(chain) == "<AuthenticationChain gauth_ldap>"


async def test_enforced_all_are_checked_there_by_their_user_names(site: Site, ldap_options: dict[str, Any]) -> None:
    site.person(103, "zoe")
    ldap_options["authentication"]["enforce-external-auth"] = "true"
    async with site.chain(ldap_options) as chain:
        assert await chain.authenticate("zoe", "gehäim") == Account(103, "zoe")
        assert str(await refusal(chain, "joe", "internal")) == WRONG


async def test_who_is_disabled_stays_out_whatever_the_directory_says(site: Site, ldap_options: dict[str, Any]) -> None:
    async with site.chain(ldap_options) as chain:
        site.change(Action.UPDATED, 3, 101, delta={"state": 2})
        error = await refusal(chain, "jane", "secret")
        assert (error.code, str(error)) == (ErrorCode.LOGIN_INCORRECT, WRONG)


async def test_a_kept_verdict_ends_when_the_person_or_an_option_changes(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    ldap_options["authentication"]["ldap-cache-time"] = "60"
    dead = {**ldap_options, "gauth_ldap": {**ldap_options["gauth_ldap"], "ldap-url": "ldap://127.0.0.1:1/???(uid=X)"}}
    async with site.chain(ldap_options) as chain:
        await chain.authenticate("jane", "secret")
        chain.apply(dead)
        assert (await refusal(chain, "jane", "secret")).code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
        chain.apply(ldap_options)
        await chain.authenticate("jane", "secret")
        site.change(Action.UPDATED, 3, 101, delta={"externalID": "nobody@example.com"})
        assert str(await refusal(chain, "jane", "secret")) == WRONG


@pytest.mark.parametrize("library", ["gauth_ldap,gauth_radius", "gauth_radius,gauth_ldap"])
async def test_of_two_systems_one_that_accepts_is_enough(
    site: Site, ldap_options: dict[str, Any], radius: RadiusPorts, library: str
) -> None:
    site.person(103, "zoë", external_id="nobody@example.com")
    site.person(104, "twin", external_id="zoe@example.com")
    options = {**ldap_options, "authentication": {"library": library}, "gauth_radius": radius_section(radius)}
    async with site.chain(options) as chain:
        assert await chain.authenticate("zoë", "gehäim") == Account(103, "zoë"), "at RADIUS only"
        assert await chain.authenticate("twin", "gehäim") == Account(104, "twin"), "at LDAP only"
        assert str(await refusal(chain, "jane", "internal")) == WRONG


async def test_that_a_password_is_wrong_is_told_before_that_a_system_is_away(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    away = {"host": "127.0.0.1", "port": "9", "shared-secret": "s", "retries": "0", "timeout": "1"}
    for library in ("gauth_ldap,gauth_radius", "gauth_radius,gauth_ldap"):
        options = {**ldap_options, "authentication": {"library": library}, "gauth_radius": away}
        async with site.chain(options) as chain:
            assert (await refusal(chain, "jane", "wrong")).code is ErrorCode.LOGIN_INCORRECT
            await chain.authenticate("jane", "secret")


async def test_the_library_of_person_goes_before_that_of_tenant_and_server(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    def library(name: str) -> dict[str, Any]:
        return {"authentication": {"library": name}}

    site.tenant(102, "Inside", library("internal"))
    site.person(110, "ann", external_id="jane@example.com", tenant=102)
    site.person(111, "bob", external_id="jane@example.com", tenant=102, annex=library("gauth_ldap"))
    site.person(112, "eve", external_id="jane@example.com", annex=library("internal"))
    site.person(113, "bad", external_id="jane@example.com", annex=library("gauth_kerberos"))
    async with site.chain(ldap_options) as chain:
        for user, password in (("ann", "internal"), ("bob", "secret"), ("eve", "internal"), ("bad", "secret")):
            assert (await chain.authenticate(user, password)).user == user
        for user, password in (("ann", "secret"), ("bob", "internal"), ("eve", "secret")):
            assert str(await refusal(chain, user, password)) == WRONG


async def test_a_tenants_directory_takes_the_place_of_the_servers(site: Site, directory: Directory) -> None:
    site.tenant(102, "Own", {"gauth_ldap": ldap_section(directory)})
    site.person(110, "ann", external_id="jane@example.com", tenant=102)
    options = {"authentication": {"library": "gauth_ldap"}, "gauth_ldap": {"ldap-url": "ldap://127.0.0.1:1/???(uid=X)"}}
    async with site.chain(options) as chain:
        assert await chain.authenticate("ann", "secret") == Account(110, "ann")


async def test_what_a_proxy_is_not_configured_for_is_left_to_the_master(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    site.person(110, "ann", external_id="ann", annex={"authentication": {"library": "gauth_radius"}})
    async with site.chain(ldap_options, proxy=True) as chain:
        assert await chain.authenticate("jane", "secret") == Account(101, "jane")
        assert await chain.authenticate("ann", "master") == Account(110, "ann")
        assert await chain.authenticate("joe", "internal") == Account(102, "joe")
    async with site.chain({}, proxy=True) as chain:
        assert await chain.authenticate("jane", "master") == Account(101, "jane")
        assert await chain.authenticate("joe", "internal") == Account(102, "joe")


async def test_what_a_master_is_not_configured_for_is_refused(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with site.chain({"authentication": {"library": "gauth_radius"}}) as chain:
        assert (await refusal(chain, "jane", "internal")).code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
    assert "gauth_radius is not configured here" in caplog.text


async def test_empty_passwords_are_not_sent_outside_if_an_option_says_so(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    async with site.chain(ldap_options) as chain:
        assert (await refusal(chain, "jane", "")).code is ErrorCode.LOGIN_INCORRECT
        chain.apply({**ldap_options, "csproxy": {"allow-external-empty-password": "false"}})
        assert (await refusal(chain, "jane", "")).code is ErrorCode.EMPTY_PASSWORD_DENIED
        assert (await refusal(chain, "joe", "")).code is ErrorCode.LOGIN_INCORRECT


async def test_a_token_goes_before_everything_and_needs_an_enabled_person(
    site: Site, ldap_options: dict[str, Any]
) -> None:
    system = {"token-authentication-mode": "enable", "token-uuid": UUID}
    settings = TokenSettings(uuid=UUID)
    async with site.chain({**ldap_options, "system": system}) as chain:
        for user, dbid in (("jane", 101), ("joe", 102)):
            token = make_token(user, expires=int(time.time()) + 60, settings=settings)
            assert await chain.authenticate(user, token) == Account(dbid, user)
        old = make_token("joe", expires=int(time.time()) - 3600, settings=settings)
        assert "has expired" in str(await refusal(chain, "joe", old))
        nobody = make_token("nobody", expires=int(time.time()) + 60, settings=settings)
        assert str(await refusal(chain, "nobody", nobody)) == WRONG
        site.change(Action.UPDATED, 3, 102, delta={"state": 2})
        assert str(await refusal(chain, "joe", token)) == WRONG
        chain.apply(ldap_options)
        site.change(Action.UPDATED, 3, 102, delta={"state": 1})
        assert str(await refusal(chain, "joe", token)) == WRONG, "an ordinary password now"


async def test_tickets_are_refused_where_kerberos_is_not_in_the_library(site: Site) -> None:
    async with site.chain({}) as chain:
        with pytest.raises(ServerError, match="does not accept Kerberos tickets"):
            await chain.authenticate_ticket(b"ticket", "")


# options


async def test_a_changed_library_waits_for_a_restart(
    site: Site, ldap_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with site.chain({}) as chain:
        chain.apply(ldap_options)
        assert await chain.authenticate("jane", "internal") == Account(101, "jane")
        assert "the change of option library of [authentication] takes effect at a restart" in caplog.text
    async with site.chain(ldap_options) as chain:
        chain.apply({"gauth_ldap": ldap_options["gauth_ldap"]})
        assert await chain.authenticate("jane", "secret") == Account(101, "jane")


async def test_options_in_force_are_logged_without_secrets(
    site: Site, ldap_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with site.chain(ldap_options) as chain:
        chain.apply({**ldap_options, "gauth_ldap": {**ldap_options["gauth_ldap"], "password": "another secret"}})
        chain.apply({"authentication": {"library": "gauth_ldap"}})
    assert "option library of [authentication] is now gauth_ldap" in caplog.text
    assert "option password of [gauth_ldap] is now another value" in caplog.text
    assert "option app-user of [gauth_ldap] is now the default" in caplog.text
    assert APP_PASSWORD not in caplog.text
    assert "another secret" not in caplog.text


async def test_what_cannot_work_is_said_and_the_rest_goes_on(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    options = {
        "authentication": {"library": "gauth_radius,gauth_kerberos", "ldap-cache-time": "long"},
        "gauth_radius": {"host": "somewhere"},
        "gauth_kerberos": {"SPN": "host/localhost"},
        "system": {"token-authentication-mode": "enable"},
    }
    async with site.chain(options) as chain:
        assert await chain.authenticate("joe", "internal") == Account(102, "joe")
    for sentence in (
        "option ldap-cache-time of [authentication]: 'long' is not valid; valid: 0 (off) to 65536 seconds",
        "[gauth_radius] is not used: it needs host and shared-secret",
        "Kerberos tickets are not accepted: [gauth_kerberos] needs realm, keytab",
        "tokens are not accepted: tokens need token-preamble and token-uuid",
    ):
        assert sentence in caplog.text


async def test_an_external_id_of_the_default_user_is_warned_of(
    site: Site, ldap_options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    site.change(Action.UPDATED, 3, 100, delta={"externalID": "default@example.com"})
    site.chain({})
    assert caplog.text == ""
    site.chain(ldap_options)
    assert "the default user ('default', DBID 100) has an External ID" in caplog.text
