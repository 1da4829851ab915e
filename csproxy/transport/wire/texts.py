"""Text on the wire is UTF-8: the encodings that a peer may announce, and the errors (41) for bytes that are none."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from csproxy.core import codec
from csproxy.core.model.misencoded import text_error
from csproxy.errors import ErrorCode, ModelError, RemoteProtocolError
from csproxy.transport.wire.exchanges import message_name
from csproxy.transport.wire.frames import Frame

__all__ = ["check_texts", "encoding_error", "is_utf8", "wrong_text"]


def is_utf8(encoding: str) -> bool:
    """Whether a name announces UTF-8."""
    return encoding.upper().replace("_", "-") in ("UTF-8", "UTF8")


def encoding_error(who: str, encoding: str) -> RemoteProtocolError:
    """The refusal of a peer that announces another encoding."""
    return RemoteProtocolError(
        f"{who} announces encoding {encoding!r}, which is not supported: use UTF-8",
        code=ErrorCode.UNSUPPORTED_ENCODING,
    )


def wrong_text(frame: Frame, error: UnicodeDecodeError) -> ModelError:
    """What is wrong with a frame whose decoding failed with ``error``: message, attribute and byte."""
    return text_error(message_name(frame.message), frame.payload, error)


def check_texts(frame: Frame) -> None:
    """Look at every text of a payload, those inside of encoded objects too; half a microsecond an object.

    Raises `ModelError` (41). A payload that cannot be read for another reason is the reader's matter.
    """
    with suppress(msgspec.MsgspecError, RecursionError):
        try:
            codec.decode(frame.payload or b"\x80")
        except UnicodeDecodeError as e:
            raise wrong_text(frame, e) from e
