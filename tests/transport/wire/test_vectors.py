"""The published vectors: every frame both ways, byte by byte, and regenerated."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from wire_vectors import ROOT, VECTORS, client_in, load, plain, server_in

from csproxy.core import codec
from csproxy.core.changes import Position
from csproxy.core.model import SCHEMA
from csproxy.core.model.delta import apply_delta, canonical, compute_delta
from csproxy.errors import ModelError, RemoteProtocolError
from csproxy.transport.wire.client_protocol import ClientProtocol, ClientState
from csproxy.transport.wire.exchanges import ANSWERS
from csproxy.transport.wire.frames import MAGIC, Frame, FrameReader, encode_frame
from csproxy.transport.wire.messages import PAYLOADS, MessageId, decode_payload
from csproxy.transport.wire.notifications import NOTIFICATIONS, decode_change
from csproxy.transport.wire.server_protocol import ServerProtocol, ServerState

DELTAS = load("deltas.json")
FRAMES = load("frames.json")
MESSAGES = load("messages.json")
BROKEN = load("broken.json")
SESSION = load("session.json")
ALL_MESSAGES = MESSAGES + SESSION["steps"]


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector.get("name") or vector["what"]) for vector in vectors]


def expected_frame(vector: dict[str, Any], payload: bytes) -> Frame:
    return Frame(
        vector["message"], vector["flags"], vector["request"], int(vector["epoch"]), int(vector["uen"]), payload
    )


def test_regenerating_the_vectors_changes_nothing(tmp_path: Any) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "generate_vectors.py", tmp_path], check=True, cwd=ROOT)
    written = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_text("utf-8") for path in VECTORS.glob("*.json")}


@pytest.mark.parametrize("vector", named(FRAMES))
def test_a_frame_vector_reads_and_writes(vector: dict[str, Any]) -> None:
    data, payload = bytes.fromhex(vector["hex"]), bytes.fromhex(vector["payload"])
    frame = expected_frame(vector, payload)
    assert FrameReader().receive_data(data) == [frame]
    header = {key: getattr(frame, key) for key in ("request", "epoch", "uen", "flags")}
    assert encode_frame(frame.message, payload, **header) == data


@pytest.mark.parametrize("vector", named(FRAMES + ALL_MESSAGES))
def test_a_frame_is_read_byte_by_byte(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    reader = FrameReader()
    for index in range(len(data) - 1):
        assert reader.receive_data(data[index : index + 1]) == []
        assert reader.buffered_bytes == index + 1
    assert reader.receive_data(data[-1:]) == [expected_frame(vector, data[28:])]
    assert reader.buffered_bytes == 0


@pytest.mark.parametrize("vector", named(ALL_MESSAGES))
def test_the_fields_of_a_message_encode_to_its_bytes(vector: dict[str, Any]) -> None:
    fields = plain(vector["fields"])
    payload = codec.encode(fields) if fields else b""
    assert (
        encode_frame(
            vector["message"],
            payload,
            request=vector["request"],
            epoch=int(vector["epoch"]),
            uen=int(vector["uen"]),
            flags=vector["flags"],
        ).hex()
        == vector["hex"]
    )


@pytest.mark.parametrize("vector", named(ALL_MESSAGES))
def test_the_bytes_of_a_message_decode_to_its_fields_and_back(vector: dict[str, Any]) -> None:
    [frame] = FrameReader().receive_data(bytes.fromhex(vector["hex"]))
    if frame.payload:
        assert codec.decode(frame.payload) == plain(vector["fields"])
    if frame.message not in NOTIFICATIONS:
        payload = decode_payload(PAYLOADS[frame.message], frame.payload)
        assert codec.encode(payload) == (frame.payload or b"\x80")


@pytest.mark.parametrize("vector", named([v for v in ALL_MESSAGES if v["message"] in NOTIFICATIONS]))
def test_a_change_keeps_every_field_of_its_notification(vector: dict[str, Any]) -> None:
    [frame] = FrameReader().receive_data(bytes.fromhex(vector["hex"]))
    change, fields = decode_change(frame), plain(vector["fields"])
    assert (change.type, change.user, change.time_ms) == (
        fields["type"],
        fields.get("user", ""),
        fields.get("time_ms", 0),
    )
    assert change.dbid == fields.get("dbid", fields.get("object", {}).get("DBID"))
    assert change.delta == fields.get("delta")
    for attribute, stored in (("object", change.object), ("former", change.former)):
        assert (None if stored is None else codec.decode(stored)) == fields.get(attribute)
    [again] = FrameReader().receive_data(change.frame)
    assert again == frame._replace(request=0, flags=frame.flags & 1)


def test_every_implemented_message_has_a_vector() -> None:
    assert {vector["message"] for vector in MESSAGES} == {int(message) for message in PAYLOADS}


def receive_in_steps(protocol: ServerProtocol | ClientProtocol, data: bytes, step: int) -> None:
    for index in range(0, len(data), step):
        protocol.receive_data(data[index : index + step])
    if isinstance(protocol, ServerProtocol) and protocol.state is ServerState.NEGOTIATING:
        [frame] = FrameReader().receive_data(data)
        protocol.version_chosen(frame)


@pytest.mark.parametrize("step", [1, 1000], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("vector", named(BROKEN))
def test_broken_input_is_refused_with_its_error(vector: dict[str, Any], step: int) -> None:
    data = bytes.fromhex(vector["hex"])
    protocol: ServerProtocol | ClientProtocol
    if vector["side"] == "server":
        protocol = server_in(ServerState[vector["state"]])
    else:
        protocol = client_in(ClientState[vector["state"]])
        if vector["open_request"] is not None:
            request, _ = protocol.request(MessageId(vector["open_request"]), b"")
            assert request == 3
    with pytest.raises(RemoteProtocolError) as caught:
        receive_in_steps(protocol, data, step)
    assert caught.value.code == vector["code"]
    assert vector["says"] in str(caught.value)
    assert protocol.state in (ServerState.FAILED, ClientState.CLOSED)
    assert protocol.receive_data(data) == []


def play(server: ServerProtocol, frame: Frame) -> None:
    """What a server does on a request of the transcript."""
    if frame.message == MessageId.PROTOCOL_VERSION:
        server.version_chosen(frame)
    if frame.message == MessageId.REGISTER_CLIENT:
        server.registered()


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
def test_both_sides_accept_the_session_and_build_the_same_bytes(chunk: int) -> None:
    client, server = ClientProtocol(), ServerProtocol(release="1.0.0")
    for step in SESSION["steps"]:
        data = bytes.fromhex(step["hex"])
        wanted = expected_frame(step, data[28:])
        if step["sender"] == "client":
            if step["message"] == MessageId.PROTOCOL_VERSION:
                sent = client.connect("example", "1.0.0")
                data = bytes.fromhex(SESSION["magic"]) + data
                assert data.startswith(MAGIC)
            else:
                minimum = Position(wanted.epoch, wanted.uen)
                _, sent = client.request(MessageId(wanted.message), wanted.payload, minimum=minimum)
            assert sent == data
            received = [f for i in range(0, len(data), chunk) for f in server.receive_data(data[i : i + chunk])]
            play(server, wanted)
        else:
            received = [f for i in range(0, len(data), chunk) for f in client.receive_data(data[i : i + chunk])]
        assert received == [wanted]
        if step["sender"] == "client":
            assert wanted.message in ANSWERS
    assert client.state is ClientState.CLOSED
    assert client.disconnect_reason is not None
    assert client.disconnect_reason.code == 28
    assert client.open_requests == 0


@pytest.mark.parametrize("vector", named(DELTAS["deltas"]))
def test_a_delta_leads_from_before_to_after_and_is_what_compute_gives(vector: dict[str, Any]) -> None:
    kind = SCHEMA.object_type(vector["type"])
    before, delta, after = (plain(vector[key]) for key in ("before", "delta", "after"))
    assert canonical(kind, apply_delta(kind, before, delta)) == after
    assert compute_delta(kind, before, after) == delta


@pytest.mark.parametrize("vector", named(DELTAS["refused"]))
def test_a_delta_that_does_not_fit_is_refused_with_its_error(vector: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        apply_delta(SCHEMA.object_type(vector["type"]), plain(vector["before"]), plain(vector["delta"]))
    assert caught.value.code == vector["code"]
