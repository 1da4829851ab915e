"""Every error that csproxy raises, in one tree.

    CsproxyError
    ├── ConfigurationError        an option, file or argument is wrong; nothing was started
    ├── ModelError                an object, delta or filter does not fit the object model
    ├── ProtocolError             the rules of the wire protocol were broken
    │   ├── LocalProtocolError    by this side: a mistake in the calling code
    │   └── RemoteProtocolError   by the peer; this connection cannot be used any more
    ├── ConnectionLostError       the connection ended before the answer arrived
    │   ├── NothingListensError   nobody listens at that address: there is no such process now
    │   ├── SilentPeerError       keep-alive has heard nothing of the peer for too long
    │   └── TlsError              there is no secure connection: the message says which certificate, and why
    ├── TimedOutError             the peer did not answer within the deadline
    ├── StoreError                the database could not be read or written
    │   └── FencedError           another master has taken it: this one must not write any more
    ├── LocalCopyError            the local copy on disk is damaged, foreign, or cannot be read
    └── ServerError               an Error answer: ``code``, ``object_type``, ``property_name``
        ├── LoginIncorrectError, AccessDeniedError, ObjectNotFoundError,
        ├── UniquenessViolationError, DependentObjectsError, IncompleteObjectError,
        ├── IncorrectReferencesError, UnchangeableError, ValueOutOfRangeError,
        ├── HistoryExpiredError, RetryableError, ...
        └── OutcomeUnknownError   a write that may have been carried out all the same

Errors of libraries are mapped into this tree once, where the library is called, with ``raise … from``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ErrorCode(IntEnum):
    """The published error numbers, as they stand in an Error answer."""

    NO_ERROR = 0
    SERVER_NOT_FOUND = 1
    WRONG_PROTOCOL = 2
    UNKNOWN_MESSAGE = 3
    LOGIN_INCORRECT = 4
    NO_DB_ACCESS = 5
    DB_ERROR = 6
    APP_SECURITY_VIOLATION = 7
    ACCESS_DENIED = 8
    NO_PERMISSION = 9
    OBJECT_NOT_FOUND = 10
    LIST_ITEM_NOT_FOUND = 11
    UNIQUENESS_VIOLATION = 12
    DEPENDENT_OBJECTS = 13
    INCOMPLETE_OBJECT_DATA = 14
    INCORRECT_REFERENCES = 15
    UNCHANGEABLE_INFO = 16
    VALUE_OUT_OF_RANGE = 17
    UNSPECIFIED_MODIFICATION = 18
    DB_RESPONSE_TIMED_OUT = 19
    WRONG_API_PARAMETERS = 20
    CONN_WRITE_ERROR = 21
    CONN_READ_ERROR = 22
    CONFIG_FILE_NOT_READ = 23
    CONFIG_FILE_INCORRECT = 24
    OBJECT_PACKING_ERROR = 25
    UNDEFINED_ERROR = 26
    HISTORY_LOG_EXPIRED = 27
    FORCED_DISCONNECT = 28
    READ_ONLY_OPERATIONAL_MODE_ACTIVATED = 29
    SET_OPERATIONAL_MODE_FAILED = 30
    UNSUPPORTED_PROPERTY = 31
    UNSUPPORTED_OBJECT = 32
    EXTERNAL_AUTHENTICATION_ERROR = 33
    LOCALE_ITEM_NOT_CHANGED = 34
    LOCALE_ITEM_NOT_FOUND = 35
    XML_PARSE_ERROR = 36
    CHANGE_PASSWORD_DENIED = 37
    UNSECURE_CONNECTION_DENIED = 38
    EMPTY_PASSWORD_DENIED = 39
    USER_MUST_CHANGE_PASSWORD = 40
    UNSUPPORTED_ENCODING = 41


class CsproxyError(Exception):
    """The root of the tree: catching it catches everything that csproxy raises on purpose."""


class ConfigurationError(CsproxyError):
    """An option, a file or an argument is wrong; the message names it and says what is valid."""


class ModelError(CsproxyError):
    """An object, delta or filter does not fit the object model.

    ``code`` is the published error number that a server answers with; ``object_type`` is the
    type's number (0 if no type is concerned) and ``property_name`` the attribute or filter key.
    """

    def __init__(self, code: ErrorCode, message: str, *, object_type: int = 0, property_name: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.object_type = object_type
        self.property_name = property_name


class ProtocolError(CsproxyError):
    """The rules of the wire protocol were broken; ``code`` is what a disconnect notice says."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.WRONG_PROTOCOL) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(ProtocolError):
    """This side tried something that its state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol does not allow; the connection is dead."""


class ConnectionLostError(CsproxyError):
    """The connection ended; ``reason`` is the peer's disconnect notice if it gave one.

    A request that was under way has an unknown outcome: a read may be repeated, a write must not
    be repeated blindly.
    """

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.CONN_READ_ERROR) -> None:
        super().__init__(message)
        self.code = code


class TlsError(ConnectionLostError):
    """A TLS handshake failed, or a secure connection broke the rules of TLS; the message says what is wrong and where.

    ``verify_code`` is OpenSSL's number when a certificate could not be verified, else 0.
    """

    def __init__(self, message: str, *, verify_code: int = 0) -> None:
        super().__init__(message)
        self.verify_code = verify_code


class NothingListensError(ConnectionLostError):
    """The machine answered that nobody listens at this address."""


class SilentPeerError(ConnectionLostError):
    """Keep-alive has heard nothing of the peer for too long: it is frozen, or cannot be reached."""


class TimedOutError(CsproxyError):
    """The peer did not answer within the deadline; the outcome of the request is unknown."""


class StoreError(CsproxyError):
    """The database could not be read or written; ``code`` is 5 (no access) or 6 (database error)."""

    def __init__(self, message: str, *, code: ErrorCode = ErrorCode.DB_ERROR) -> None:
        super().__init__(message)
        self.code = code


class FencedError(StoreError):
    """Another master has taken the database: nothing that this one writes is accepted any more."""


class LocalCopyError(CsproxyError):
    """The local copy on disk is damaged, another's, or cannot be read; it must not be served."""


class ServerError(CsproxyError):
    """A server refused a request: the Error answer (message 2) as an exception.

    ``retry_after_s`` is above 0 when the same request may succeed later; it is the least time to
    wait, jitter already included by the server.
    """

    _by_code: ClassVar[dict[ErrorCode, type[ServerError]]] = {}

    def __init__(
        self,
        code: ErrorCode,
        description: str,
        *,
        object_type: int = 0,
        property_name: str = "",
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.object_type = object_type
        self.property_name = property_name
        self.retry_after_s = retry_after_s

    def __init_subclass__(cls, *, codes: tuple[ErrorCode, ...] = (), **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        for code in codes:
            ServerError._by_code[code] = cls

    @staticmethod
    def from_code(
        code: int,
        description: str,
        *,
        object_type: int = 0,
        property_name: str = "",
        retry_after_s: float = 0.0,
        outcome_unknown: bool = False,
    ) -> ServerError:
        """Build the subclass that belongs to ``code``; an unknown number becomes UNDEFINED_ERROR."""
        known = ErrorCode(code) if code in ErrorCode._value2member_map_ else ErrorCode.UNDEFINED_ERROR
        cls = ServerError._by_code.get(known, ServerError)
        if outcome_unknown:
            cls = OutcomeUnknownError
        elif cls is ServerError and retry_after_s > 0:
            cls = RetryableError
        return cls(
            known,
            description,
            object_type=object_type,
            property_name=property_name,
            retry_after_s=retry_after_s,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild_server_error,
            (type(self), self.code, self.description, self.object_type, self.property_name, self.retry_after_s),
        )


def _rebuild_server_error(
    cls: type[ServerError],
    code: ErrorCode,
    description: str,
    object_type: int,
    property_name: str,
    retry_after_s: float,
) -> ServerError:
    return cls(code, description, object_type=object_type, property_name=property_name, retry_after_s=retry_after_s)


class LoginIncorrectError(ServerError, codes=(ErrorCode.LOGIN_INCORRECT,)):
    """User name or password is wrong; which of the two is never said."""


class AccessDeniedError(
    ServerError, codes=(ErrorCode.ACCESS_DENIED, ErrorCode.NO_PERMISSION, ErrorCode.APP_SECURITY_VIOLATION)
):
    """The account or the application may not do this."""


class UnknownMessageError(ServerError, codes=(ErrorCode.UNKNOWN_MESSAGE,)):
    """The server does not know, or not yet implement, this request."""


class ObjectNotFoundError(ServerError, codes=(ErrorCode.OBJECT_NOT_FOUND,)):
    """No object with this DBID or key is there, or the account may not read it."""


class UniquenessViolationError(ServerError, codes=(ErrorCode.UNIQUENESS_VIOLATION,)):
    """Another object already has this key."""


class DependentObjectsError(ServerError, codes=(ErrorCode.DEPENDENT_OBJECTS,)):
    """Other objects refer to this one; the description lists them."""


class IncompleteObjectError(ServerError, codes=(ErrorCode.INCOMPLETE_OBJECT_DATA,)):
    """A mandatory attribute is missing."""


class IncorrectReferencesError(ServerError, codes=(ErrorCode.INCORRECT_REFERENCES,)):
    """An attribute refers to an object that does not exist, or is of another type or tenant."""


class UnchangeableError(ServerError, codes=(ErrorCode.UNCHANGEABLE_INFO,)):
    """The attribute may not change once the object exists."""


class ValueOutOfRangeError(ServerError, codes=(ErrorCode.VALUE_OUT_OF_RANGE,)):
    """A value is outside of what the attribute can hold."""


class WrongParametersError(ServerError, codes=(ErrorCode.WRONG_API_PARAMETERS,)):
    """The request itself is malformed: an unknown type, filter key or field."""


class HistoryExpiredError(ServerError, codes=(ErrorCode.HISTORY_LOG_EXPIRED,)):
    """The changes since the given position are no longer there: register anew and read everything."""


class ForcedDisconnectError(ServerError, codes=(ErrorCode.FORCED_DISCONNECT,)):
    """The server ended the session; it may be restored unless the description says otherwise."""


class RetryableError(ServerError):
    """The server cannot do this now; the same request may succeed after ``retry_after_s`` seconds."""


class OutcomeUnknownError(ServerError):
    """The server does not know whether a write was carried out: ask for the outcome of its key, do not repeat it."""
