"""Passwords checked by RADIUS servers (RFC 2865, PAP); pyrad encodes and verifies packets, the sockets are ours.

Every request carries a Message-Authenticator, and an answer without one is not believed unless the server's settings
say so: without it an attacker on the way can turn a refusal into an acceptance (CVE-2024-3596). An answer that does
not belong to the request, or was not made with the shared secret, is ignored as if it had not come.

The server that answered last is asked first. A challenge (Access-Challenge) is a refusal with the
server's text, for example that a new code is wanted: the user sends it as the password of the next log-in.
"""

from __future__ import annotations

import logging
import secrets
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from csproxy.auth.texts import WRONG_PASSWORD, shown
from csproxy.core.auth_options import AUTH_OPTIONS, OptionValues, sections_of
from csproxy.errors import ConfigurationError, ErrorCode, RetryableError, ServerError

if TYPE_CHECKING:
    from pyrad.packet import AuthPacket

__all__ = ["RadiusAuthenticator", "RadiusServer", "radius_servers"]

log = logging.getLogger("csproxy.auth.radius")

_USER_NAME: Final = 1
_USER_PASSWORD: Final = 2
_REPLY_MESSAGE: Final = 18
_NAS_IDENTIFIER: Final = 32
_MESSAGE_AUTHENTICATOR: Final = 80
_ACCEPT: Final = 2
_REJECT: Final = 3
_CHALLENGE: Final = 11
_MAX_NAME_BYTES: Final = 253
_MAX_PASSWORD_BYTES: Final = 128
_RETRY_S: Final = 5.0
_MAX_ORDERS: Final = 100
_DEFAULTS: Final[Mapping[str, Any]] = {
    option.name: option.default for option in AUTH_OPTIONS if option.section == "gauth_radius"
}


@dataclass(frozen=True, kw_only=True)
class RadiusServer:
    """One server; ``timeout_s`` is for one sending, of which there are ``retries`` more."""

    host: str
    port: int = 1812
    secret: str = field(repr=False)
    timeout_s: float = 5.0
    retries: int = 3
    nas_identifier: str = "csproxy"
    message_authenticator: bool = True

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def radius_servers(values: OptionValues) -> tuple[tuple[RadiusServer, ...], list[str]]:
    """The servers of the sections [gauth_radius], [gauth_radius_1] and so on; complaints about incomplete ones."""
    servers: list[RadiusServer] = []
    complaints: list[str] = []
    for section in sections_of(values, "gauth_radius"):
        given: dict[str, Any] = {name: values.get((section, name), default) for name, default in _DEFAULTS.items()}
        if not given["host"] or not given["shared-secret"]:
            complaints.append(f"[{section}] is not used: it needs host and shared-secret")
            continue
        servers.append(
            RadiusServer(
                host=given["host"],
                port=given["port"],
                secret=given["shared-secret"],
                timeout_s=float(given["timeout"]),
                retries=given["retries"],
                nas_identifier=given["nas-identifier"],
                message_authenticator=given["message-authenticator"],
            )
        )
    return tuple(servers), complaints


class RadiusAuthenticator:
    """Checks passwords with RADIUS servers."""

    def __init__(self) -> None:
        self._current: OrderedDict[tuple[RadiusServer, ...], int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<RadiusAuthenticator of {len(self._current)} lists of servers>"

    async def check(self, user: str, password: str, servers: tuple[RadiusServer, ...]) -> None:
        """Return if a server accepts the password.

        Raises `ServerError`: LOGIN_INCORRECT when a server rejects, EXTERNAL_AUTHENTICATION_ERROR with its text when
        it asks for something else, `RetryableError` of this code when none answers; `ConfigurationError`
        without the package pyrad.
        """
        name, secret = (text.encode("utf-8", "surrogatepass") for text in (user, password))
        if not 0 < len(name) <= _MAX_NAME_BYTES or len(secret) > _MAX_PASSWORD_BYTES or b"\0" in secret:
            # PAP pads with NUL: a password that ends so would be the same as one that does not
            raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, WRONG_PASSWORD)
        first = self._current.get(servers, 0)
        for place in (*range(first, len(servers)), *range(first)):
            answer = await self._ask(servers[place], name, secret)
            if answer is not None:
                self._stay(servers, place)
                _judge(servers[place], user, answer)
                return
        raise RetryableError(
            ErrorCode.EXTERNAL_AUTHENTICATION_ERROR,
            "the RADIUS server does not answer; try again",
            retry_after_s=_RETRY_S,
        )

    def _stay(self, servers: tuple[RadiusServer, ...], place: int) -> None:
        self._current[servers] = place
        self._current.move_to_end(servers)
        if len(self._current) > _MAX_ORDERS:
            self._current.popitem(last=False)

    async def _ask(self, server: RadiusServer, name: bytes, password: bytes) -> AuthPacket | None:
        request = _request(server, name, password)
        data = request.RequestPacket()
        try:
            # of its own for each log-in: a port that nobody can guess, and no answers of former requests
            with anyio.fail_after(server.timeout_s):
                sock = await anyio.create_connected_udp_socket(server.host, server.port)
        except (OSError, UnicodeError) as e:
            log.warning(
                "RADIUS server %s: %s", server, str(e) or "no answer from the name service", extra={"event": 31040}
            )
            return None
        async with sock:
            for _ in range(1 + server.retries):
                with anyio.move_on_after(server.timeout_s):
                    try:
                        await sock.send(data)
                        while True:
                            answer = _verified(server, request, await sock.receive())
                            if answer is not None:
                                return answer
                    except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as e:
                        log.warning("RADIUS server %s: %s", server, e, extra={"event": 31040})
                        return None
        log.warning("RADIUS server %s: no answer to %d requests", server, 1 + server.retries, extra={"event": 31040})
        return None


def _request(server: RadiusServer, name: bytes, password: bytes) -> AuthPacket:
    try:
        from pyrad.packet import AccessRequest, AuthPacket
    except ImportError as e:
        raise ConfigurationError("RADIUS needs the package pyrad: install csproxy[radius]") from e
    packet = AuthPacket(
        code=AccessRequest,
        id=secrets.randbelow(256),
        secret=server.secret.encode(),
        authenticator=secrets.token_bytes(16),
    )
    packet.add_message_authenticator()
    packet[_USER_NAME] = [name]
    packet[_USER_PASSWORD] = [packet.PwCrypt(password)]
    packet[_NAS_IDENTIFIER] = [server.nas_identifier.encode()[:_MAX_NAME_BYTES]]
    return packet


def _verified(server: RadiusServer, request: AuthPacket, data: bytes) -> AuthPacket | None:
    """The answer, if it belongs to the request and was made with the shared secret."""
    from pyrad.packet import PacketError

    try:
        answer = request.CreateReply(packet=data)
        genuine = answer.code in (_ACCEPT, _REJECT, _CHALLENGE) and request.VerifyReply(answer, data)
    except (PacketError, ValueError, IndexError, struct.error) as e:
        log.warning(
            "RADIUS server %s: an answer that is no RADIUS packet is ignored: %s", server, e, extra={"event": 31040}
        )
        return None
    if not genuine:
        log.warning(
            "RADIUS server %s: an answer is ignored: it is forged, or the shared secrets differ",
            server,
            extra={"event": 31041},
        )
        return None
    if server.message_authenticator and _MESSAGE_AUTHENTICATOR not in answer:
        log.error(
            "RADIUS server %s: an answer without Message-Authenticator is ignored; let the server send one, or set "
            "message-authenticator = false and accept that answers can be forged (CVE-2024-3596)",
            server,
            extra={"event": 31041},
        )
        return None
    return answer


def _judge(server: RadiusServer, user: str, answer: AuthPacket) -> None:
    if answer.code == _ACCEPT:
        return
    parts: list[bytes] = answer.get(_REPLY_MESSAGE, [])
    text = shown(b"".join(parts).decode(errors="replace"))
    log.info("RADIUS server %s: log-in of %r refused, packet code %d", server, user, answer.code)
    if answer.code == _CHALLENGE:
        raise ServerError.from_code(
            ErrorCode.EXTERNAL_AUTHENTICATION_ERROR, text or "the RADIUS server asks for something else"
        )
    raise ServerError.from_code(ErrorCode.LOGIN_INCORRECT, text or WRONG_PASSWORD)
