"""Frames: cutting a stream at any place, limits, and the cost of long frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csproxy.errors import ErrorCode, RemoteProtocolError
from csproxy.transport.wire.frames import (
    FLAG_END,
    FLAG_HISTORY,
    HEADER_SIZE,
    Frame,
    FrameReader,
    encode_frame,
    with_flags,
)

frames = st.builds(
    Frame,
    message=st.integers(0, 0xFFFF),
    flags=st.integers(0, 255),
    request=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 2**64 - 1),
    uen=st.integers(0, 2**64 - 1),
    payload=st.binary(max_size=100),
)


def encoded(frame: Frame) -> bytes:
    return encode_frame(
        frame.message, frame.payload, request=frame.request, epoch=frame.epoch, uen=frame.uen, flags=frame.flags
    )


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 60), max_size=40))
def test_frames_are_the_same_however_the_stream_is_cut(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encoded, sent))
    reader = FrameReader()
    received = []
    for size in cuts:
        received += reader.receive_data(stream[:size])
        stream = stream[size:]
    assert received + reader.receive_data(stream) == sent
    assert reader.buffered_bytes == 0


def test_no_bytes_give_no_frames() -> None:
    assert FrameReader().receive_data(b"") == []


@pytest.mark.parametrize("length", [0, 1, 23])
def test_a_length_below_a_header_is_refused(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"frame length {length} is too short") as caught:
        FrameReader().receive_data(length.to_bytes(4, "big"))
    assert caught.value.code == ErrorCode.WRONG_PROTOCOL


def test_a_frame_of_the_limit_passes_and_one_byte_more_is_refused_at_its_first_four_bytes() -> None:
    limit = 1000
    longest = encode_frame(10, bytes(limit - HEADER_SIZE + 4))
    assert len(FrameReader(max_frame=limit).receive_data(longest)) == 1
    with pytest.raises(RemoteProtocolError, match="above the limit of 1000 bytes") as caught:
        FrameReader(max_frame=limit).receive_data((limit + 1).to_bytes(4, "big"))
    assert caught.value.code == ErrorCode.OBJECT_PACKING_ERROR


def test_a_limit_also_holds_for_a_header_that_comes_in_pieces() -> None:
    reader = FrameReader(max_frame=1000)
    header = encode_frame(10, bytes(5000))[:HEADER_SIZE]
    assert reader.receive_data(header[:3]) == []
    with pytest.raises(RemoteProtocolError, match="above the limit"):
        reader.receive_data(header[3:])


def test_a_raised_limit_applies_to_the_next_frame() -> None:
    reader = FrameReader(max_frame=100)
    reader.max_frame = 10_000
    assert len(reader.receive_data(encode_frame(10, bytes(5000)))) == 1


def test_a_long_frame_in_many_pieces_is_moved_only_once() -> None:
    frame = encode_frame(10, bytes(16 * 1024 * 1024))
    reader = FrameReader()
    received: list[Frame] = []
    for start in range(0, len(frame), 64 * 1024):
        buffer = reader._buffer
        received += reader.receive_data(frame[start : start + 64 * 1024])
        assert reader._buffer is buffer
    [whole] = received
    assert len(whole.payload) == 16 * 1024 * 1024


def test_other_flags_leave_the_rest_of_a_frame_alone() -> None:
    frame = encode_frame(75, b"\x80", epoch=7, uen=9, flags=FLAG_END)
    [changed] = FrameReader().receive_data(with_flags(frame, FLAG_END | FLAG_HISTORY))
    assert changed == Frame(75, 3, 0, 7, 9, b"\x80")
