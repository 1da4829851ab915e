"""The published vectors, and protocol objects brought into a state; shared by the wire tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csproxy.core import codec
from csproxy.errors import ErrorCode, RemoteProtocolError
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.frames import FLAG_END, MAGIC, encode_frame
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.registration import ClientRegistered, ProtocolVersionRead, RegisterClient
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "docs" / "vectors"

OFFER = encode_frame(MessageId.PROTOCOL_VERSION, b"\x81\xa8versions\x91\x01", request=1)
REGISTER = RegisterClient(type=19, name="default")
REGISTERED = codec.encode(ClientRegistered(session="00" * 16, protocol_version=1))


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """What a value of a vector's ``fields`` stands for."""
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        if value.keys() == {"$map"}:
            return {key: plain(item) for key, item in value["$map"]}
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def server_in(state: ServerState) -> ServerProtocol:
    """A server's protocol object in ``state``, reached by the shortest way."""
    protocol = ServerProtocol(release="1.0.0")
    if state is ServerState.MAGIC:
        return protocol
    protocol.receive_data(MAGIC)
    if state is ServerState.FAILED:
        with pytest.raises(RemoteProtocolError):
            protocol.receive_data(bytes(4))
        return protocol
    if state is ServerState.CLOSED:
        protocol.disconnect(ErrorCode.FORCED_DISCONNECT, "closed")
    if state in (ServerState.VERSION, ServerState.CLOSED):
        return protocol
    [frame] = protocol.receive_data(OFFER)
    if state is ServerState.NEGOTIATING:
        return protocol
    protocol.version_chosen(frame)
    if state is ServerState.UNREGISTERED:
        return protocol
    protocol.receive_data(encode_frame(MessageId.REGISTER_CLIENT, codec.encode(REGISTER), request=2))
    if state is ServerState.REGISTERED:
        protocol.registered()
    return protocol


def client_in(state: ClientState) -> ClientProtocol:
    """A client's protocol object in ``state``; request ids 1 and 2 are used up once it is REGISTERED."""
    protocol = ClientProtocol()
    if state is ClientState.START:
        return protocol
    protocol.connect("test")
    if state is ClientState.VERSION:
        return protocol
    if state is ClientState.CLOSED:
        protocol.receive_data(encode_frame(MessageId.DISCONNECTED, b"\x81\xa4code\x1c", flags=FLAG_END))
        return protocol
    chosen = codec.encode(ProtocolVersionRead(version=1))
    protocol.receive_data(encode_frame(MessageId.PROTOCOL_VERSION_READ, chosen, request=1, flags=FLAG_END))
    if state is ClientState.UNREGISTERED:
        return protocol
    protocol.request(MessageId.REGISTER_CLIENT, REGISTER)
    if state is ClientState.REGISTERED:
        protocol.receive_data(encode_frame(MessageId.CLIENT_REGISTERED, REGISTERED, request=2, flags=FLAG_END))
    return protocol
