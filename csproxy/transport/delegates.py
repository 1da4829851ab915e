"""The account named by the filter keys ``delegate_dbid`` and ``delegate_type``: reads show what that account may read.

Anybody who may read the account may ask, and sees of the answer what he may read himself: it says nothing that
ReadObjectPermissions would not. Source: the keys are published, who may use them is our decision.
"""

from __future__ import annotations

from typing import Any, Final

from csproxy.core.cache import ConfigurationCache
from csproxy.core.model.enumerations import CfgObjectType
from csproxy.core.ownership import ObjectId
from csproxy.errors import ErrorCode, ModelError

__all__ = ["delegated", "no_such_account"]

_TYPES: Final = {
    "CFGPerson": int(CfgObjectType.CFGPerson),
    "CFGAccessGroup": int(CfgObjectType.CFGAccessGroup),
}


def delegated(cache: ConfigurationCache, dbid: Any, kind: Any, *, object_type: int) -> ObjectId:
    """The account that a filter names. Raises `ModelError` WRONG_API_PARAMETERS or INCORRECT_REFERENCES."""
    number = _TYPES.get(kind, 0) if isinstance(kind, str) else kind
    if number not in _TYPES.values() or not isinstance(dbid, int):
        raise ModelError(
            ErrorCode.WRONG_API_PARAMETERS,
            "delegate_dbid and delegate_type go together; delegate_type is CFGPerson (3) or CFGAccessGroup (21)",
            object_type=object_type,
            property_name="delegate_type",
        )
    account = number, dbid
    if cache.get(*account) is None:
        raise no_such_account(account, object_type=object_type)
    return account


def no_such_account(account: ObjectId, *, object_type: int) -> ModelError:
    """What is said of an account that is not there or may not be read."""
    return ModelError(
        ErrorCode.INCORRECT_REFERENCES,
        f"there is no account {account[1]} of type {account[0]}",
        object_type=object_type,
        property_name="delegate_dbid",
    )
