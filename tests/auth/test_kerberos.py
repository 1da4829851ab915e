"""Kerberos log-ins with tickets of a real KDC: whom they prove, and why some are refused."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gssapi
import k5test
import pytest

from csproxy.auth.kerberos import KerberosAuthenticator, KerberosSettings
from csproxy.core.changes import Action
from csproxy.core.sessions import Account
from csproxy.errors import ConfigurationError, ErrorCode, ServerError
from tests.auth.test_chain import Site

pytestmark = pytest.mark.anyio

ACCEPT = """
import json, sys, anyio
from csproxy.auth.kerberos import KerberosAuthenticator, KerberosSettings
from csproxy.errors import ServerError

async def main(settings, tokens):
    for token in tokens:
        try:
            print(await KerberosAuthenticator(KerberosSettings(**settings)).user_of(bytes.fromhex(token)))
        except ServerError as e:
            print(e)

anyio.run(main, *json.load(sys.stdin))
"""


class Realm:
    """A KDC of our own, a service with a keytab, and users with tickets."""

    def __init__(self, realm: Any) -> None:
        self._realm = realm
        self.name: str = realm.realm
        self.settings = KerberosSettings(spn="host/localhost", realm=self.name, keytab=realm.keytab)
        realm.addprinc("host/other.example.com")
        realm.extract_keytab("host/other.example.com", realm.keytab)
        realm.addprinc("HTTP/elsewhere.example.com")
        realm.addprinc("jane/admin", "secret")
        realm.addprinc("moved/localhost")
        realm.extract_keytab("moved/localhost", realm.keytab)
        realm.run_kadminl(["cpw", "-randkey", "moved/localhost"])

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **{name: text for name, text in self._realm.env.items() if name.startswith("KRB5")}}

    def token(self, *, service: str = "host/localhost", user: str = "", flags: int = 0, mechanism: Any = None) -> bytes:
        """What a client sends."""
        if user:
            self._realm.kinit(user, "secret")
        name = gssapi.Name(f"{service}@{self.name}", gssapi.NameType.kerberos_principal)
        try:
            context = gssapi.SecurityContext(
                name=name,
                usage="initiate",
                flags=flags,
                mech=mechanism or gssapi.MechType.kerberos,
                creds=gssapi.Credentials(usage="initiate", store={"ccache": self._realm.ccache}),
            )
            return bytes(context.step())
        finally:
            if user:
                self._realm.kinit(self._realm.user_princ, self._realm.password("user"))

    def accept(self, *tokens: bytes, clock: str = "", **environment: str) -> list[str]:
        """What another process makes of the tokens, perhaps with a clock that is wrong."""
        settings = {"spn": self.settings.spn, "realm": self.settings.realm, "keytab": self.settings.keytab}
        done = subprocess.run(
            [*(["faketime", "-f", clock] if clock else []), sys.executable, "-c", ACCEPT],
            input=json.dumps([settings, [token.hex() for token in tokens]]),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    with pytest.MonkeyPatch.context() as patch:
        made = k5test.K5Realm(krb5_conf={"libdefaults": {"rdns": "false"}})
        try:
            for name, text in made.env.items():
                if name.startswith("KRB5"):
                    patch.setenv(name, text)
            yield Realm(made)
        finally:
            made.stop()


async def refusal(of: Realm, token: bytes, **settings: str) -> str:
    with pytest.raises(ServerError) as caught:
        await KerberosAuthenticator(dataclasses.replace(of.settings, **settings)).user_of(token)
    assert caught.value.code is ErrorCode.LOGIN_INCORRECT
    return str(caught.value)


async def test_a_ticket_proves_the_user_with_and_without_the_frame_of_gssapi(realm: Realm) -> None:
    authenticator = KerberosAuthenticator(realm.settings)
    assert await authenticator.user_of(realm.token()) == "user"
    token = realm.token()
    assert await authenticator.user_of(token[token.index(b"\x6e\x82") :]) == "user"
    assert repr(authenticator) == "<KerberosAuthenticator 'host/localhost'>"


@pytest.mark.parametrize("flags", [0, int(gssapi.RequirementFlag.mutual_authentication)])
async def test_a_ticket_works_once(realm: Realm, flags: int) -> None:
    token = realm.token(flags=flags)
    assert await KerberosAuthenticator(realm.settings).user_of(token) == "user"
    assert "was used already" in await refusal(realm, token)
    # the bit that asks for mutual authentication is not protected
    place = token.index(b"\xa2\x07\x03\x05\x00") + 5
    changed = token[:place] + bytes([token[place] ^ 0x20]) + token[place + 1 :]
    assert "was used already" in await refusal(realm, changed)
    assert "was used already" in realm.accept(token)[0]


def test_without_a_replay_cache_a_ticket_works_again(realm: Realm) -> None:
    token = realm.token()
    assert realm.accept(token, token, KRB5RCACHETYPE="none") == ["user", "user"]


@pytest.mark.parametrize("token", [b"", b"\x60", b"garbage", b"\x6e\x82\x00\x00", b"\x60" * 70_000])
async def test_what_is_no_ticket_is_refused(realm: Realm, token: bytes) -> None:
    assert await refusal(realm, token) == "the Kerberos ticket was not accepted"


async def test_a_ticket_that_was_changed_is_refused(realm: Realm) -> None:
    token = realm.token()
    assert await refusal(realm, token[:-1] + bytes([token[-1] ^ 1]))
    assert await KerberosAuthenticator(realm.settings).user_of(token) == "user"


async def test_a_ticket_for_another_service_is_refused(realm: Realm) -> None:
    assert "another service" in await refusal(realm, realm.token(service="host/other.example.com"))
    assert "another service" in await refusal(realm, realm.token(service="HTTP/elsewhere.example.com"))


async def test_a_keytab_that_is_out_of_date_is_named(realm: Realm) -> None:
    assert "out of date" in await refusal(realm, realm.token(service="moved/localhost"), spn="moved/localhost")


@pytest.mark.parametrize(
    ("clock", "said"), [("-20m", "differ"), ("+20m", "differ by more than Kerberos allows"), ("+48h", "has expired")]
)
def test_clocks_that_differ_and_expired_tickets_are_named(realm: Realm, clock: str, said: str) -> None:
    (answer,) = realm.accept(realm.token(), clock=clock)
    assert said in answer


async def test_only_users_of_the_realm_may_log_in(realm: Realm) -> None:
    assert "'jane/admin' is not the principal of a user" in await refusal(realm, realm.token(user="jane/admin"))
    token = realm.token()
    refused = await refusal(realm, token, realm="ELSEWHERE.COM", spn=f"host/localhost@{realm.name}")
    assert refused == f"the Kerberos ticket is from realm {realm.name}: users of ELSEWHERE.COM may log in"


async def test_a_keytab_that_cannot_be_used_is_the_administrators_matter(
    realm: Realm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = KerberosSettings(spn="host/localhost", realm=realm.name, keytab=str(tmp_path / "missing"))
    with pytest.raises(ServerError) as caught:
        await KerberosAuthenticator(settings).user_of(realm.token())
    assert caught.value.code is ErrorCode.EXTERNAL_AUTHENTICATION_ERROR
    assert "SPN 'host/localhost' in keytab" in caplog.text


def test_all_three_settings_are_needed() -> None:
    with pytest.raises(ConfigurationError, match=r"\[gauth_kerberos\] needs realm, keytab"):
        KerberosSettings(spn="host/localhost", realm="", keytab="")


async def test_a_chain_takes_the_user_from_the_ticket_whatever_checks_passwords(realm: Realm) -> None:
    site = Site()
    site.person(120, "user", annex={"authentication": {"library": "internal"}})
    options = {
        "authentication": {"library": "gauth_kerberos"},
        "gauth_kerberos": {"SPN": realm.settings.spn, "realm": realm.name, "keytab": realm.settings.keytab},
    }
    async with site.chain(options) as chain:
        assert await chain.authenticate_ticket(realm.token(), "") == Account(120, "user")
        assert await chain.authenticate_ticket(realm.token(), "user") == Account(120, "user")
        assert await chain.authenticate("user", "internal") == Account(120, "user")
        with pytest.raises(ServerError, match="the Kerberos ticket is that of 'user'"):
            await chain.authenticate_ticket(realm.token(), "joe")
        site.change(Action.DELETED, 3, 120)
        with pytest.raises(ServerError, match="user name or password is wrong"):
            await chain.authenticate_ticket(realm.token(), "")
