"""Exceptions that become an Error answer, and what that says; anything else is a mistake in this program."""

from __future__ import annotations

from typing import Final

import msgspec

from csproxy.errors import ErrorCode, ModelError, OutcomeUnknownError, ServerError, StoreError
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.payload import Error

__all__ = ["REFUSALS", "error_payload", "unknown_message"]

REFUSALS: Final = (ModelError, ServerError, StoreError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def error_payload(error: Exception) -> Error:
    """The Error answer that says what ``error`` says."""
    if isinstance(error, ModelError):
        return Error(
            code=error.code, object_type=error.object_type, property=error.property_name, description=str(error)
        )
    if isinstance(error, ServerError):
        return Error(
            code=error.code,
            object_type=error.object_type,
            property=error.property_name,
            description=error.description,
            retry_after_ms=round(error.retry_after_s * 1000),
            outcome_unknown=isinstance(error, OutcomeUnknownError),
        )
    if isinstance(error, StoreError):
        return Error(code=error.code, description=str(error))
    return Error(code=ErrorCode.WRONG_API_PARAMETERS, description=f"the request's payload cannot be read: {error}")


def unknown_message(message: int) -> ServerError:
    """The refusal of a message that this server does not serve."""
    if message in MessageId._value2member_map_:
        text = f"{MessageId(message).name} ({message}) is not implemented by this server"
    else:
        text = f"message {message} is not known to this server"
    return ServerError.from_code(ErrorCode.UNKNOWN_MESSAGE, text)
