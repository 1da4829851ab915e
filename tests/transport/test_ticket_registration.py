"""Registrations with a Kerberos ticket instead of a password: which field counts, and for what."""

from __future__ import annotations

from typing import Any

import pytest

from csproxy.core.codec import decode_map
from csproxy.core.model import CfgAppType
from csproxy.core.sessions import Account
from csproxy.errors import ErrorCode, ServerError
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import Authenticate, RegisterClient
from tests.transport import test_message_set as message_set
from tests.transport.test_message_set import Listening, Site, master_site

pytestmark = pytest.mark.anyio
url = message_set.url


class OneTicket:
    """Knows one ticket, that of the user who must change the password."""

    async def authenticate_ticket(self, ticket: bytes, user: str) -> Account:
        if ticket != b"ticket" or user not in ("", "new"):
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, f"{ticket!r} is not accepted")
        return Account(102, "new")


async def answer(
    site: Site, message: MessageId = MessageId.REGISTER_CLIENT, **fields: Any
) -> tuple[int, dict[str, Any]]:
    client = Listening()
    client.channel = await site.network.connector("client")("master", 2020)
    client.channel.start(client)
    client.channel.write(client.protocol.connect("listening", "1"))
    await client.next(MessageId.PROTOCOL_VERSION_READ)
    frame = await client.ask(message, RegisterClient(type=int(CfgAppType.CFGSCE), name="default", **fields))
    client.channel.close()
    return frame.message, decode_map(frame.payload)


@pytest.mark.parametrize(
    "fields",
    [
        {"ticket": b"ticket"},
        {"gss_token": b"ticket", "ticket": b"other"},
        {"ticket": b"ticket", "user": "new", "password": "not looked at"},
    ],
)
async def test_a_ticket_registers_its_user_without_a_password(url: str, fields: dict[str, Any]) -> None:
    async with master_site(url) as site:
        site.server.tickets = OneTicket()
        message, _ = await answer(site, **fields)
        assert message == MessageId.CLIENT_REGISTERED
        assert [session.account for session in site.server.sessions] == [Account(102, "new")]


async def test_a_ticket_that_is_not_accepted_is_refused_whatever_the_password(url: str) -> None:
    async with master_site(url) as site:
        site.server.tickets = OneTicket()
        message, payload = await answer(site, ticket=b"forged", user="default", password="secret")
        assert (message, payload["code"]) == (MessageId.ERROR, ErrorCode.LOGIN_INCORRECT)


async def test_a_server_that_takes_no_tickets_says_so(url: str) -> None:
    async with master_site(url) as site:
        message, payload = await answer(site, ticket=b"ticket")
        assert (message, payload["code"]) == (MessageId.ERROR, ErrorCode.EXTERNAL_AUTHENTICATION_ERROR)
        assert "does not accept Kerberos tickets" in payload["description"]


async def test_a_password_is_not_changed_by_a_ticket(url: str) -> None:
    async with master_site(url) as site:
        site.server.tickets = OneTicket()
        message, payload = await answer(
            site, MessageId.REGISTER_CLIENT_2, ticket=b"ticket", user="new", new_password="other"
        )
        assert (message, payload["code"]) == (MessageId.ERROR, ErrorCode.WRONG_API_PARAMETERS)
        assert "old one" in payload["description"]


async def test_authenticate_checks_a_ticket_too(url: str) -> None:
    async with master_site(url) as site:
        site.server.tickets = OneTicket()
        client = Listening()
        await client.register(site)
        frame = await client.ask(MessageId.AUTHENTICATE, Authenticate(user="new", ticket=b"ticket"))
        assert (frame.message, decode_map(frame.payload)) == (MessageId.AUTHENTICATED, {"person_dbid": 102})
