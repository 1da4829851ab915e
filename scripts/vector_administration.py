"""The examples of `generate_vectors.py` for what is not about objects and their changes.

Permissions, accounts, operational mode, brief info, schema, locale, passwords: one example per message.
"""

from __future__ import annotations

from typing import Final

from vector_examples import Example, answer, ask, raw, unasked

from csproxy.transport.wire import administration as a
from csproxy.transport.wire.messages import MessageId
from csproxy.transport.wire.reads import ReadObjects

__all__ = ["ADMINISTRATION"]

ENTRIES: Final = [a.AccessEntry(type=3, dbid=101, mask=1), a.AccessEntry(type=21, dbid=96, mask=127 + 128)]
ACCOUNT: Final = a.Account(dbid=101, account_type=3, account_dbid=100)

ADMINISTRATION: Final[dict[str, Example]] = {
    "ReadPermissions": ask(MessageId.READ_PERMISSIONS, a.ReadPermissions(type=3, dbid=101)),
    "PermissionsRead, inherited from a folder": answer(
        MessageId.PERMISSIONS_READ,
        a.PermissionsRead(type=3, dbid=101, entries=ENTRIES[:1], source_type=22, source_dbid=103),
    ),
    "UpdatePermissions": ask(
        MessageId.UPDATE_PERMISSIONS, a.UpdatePermissions(type=22, dbid=103, entries=ENTRIES, recursive=True)
    ),
    "UpdatePermissions, inherit again": ask(
        MessageId.UPDATE_PERMISSIONS, a.UpdatePermissions(type=22, dbid=103, inherit=True)
    ),
    "PermissionsUpdated": answer(MessageId.PERMISSIONS_UPDATED, a.PermissionsUpdated(type=22, dbid=103, removed=4)),
    "PermissionsChanged": unasked(
        MessageId.PERMISSIONS_CHANGED,
        a.PermissionsChanged(type=22, dbid=103, recursive=True, user="default", application="default"),
        uen=4711,
        flags=0,
    ),
    "ReadObjectPermissions": ask(
        MessageId.READ_OBJECT_PERMISSIONS,
        a.ReadObjectPermissions(type=3, dbid=101, account_type=21, account_dbid=94),
    ),
    "ObjectPermissionsRead": answer(MessageId.OBJECT_PERMISSIONS_READ, a.ObjectPermissionsRead(mask=9)),
    "RegisterPermissionsNotification": ask(MessageId.REGISTER_PERMISSIONS_NOTIFICATION),
    "PermissionsNotificationRegistered": answer(MessageId.PERMISSIONS_NOTIFICATION_REGISTERED),
    "UnregisterPermissionsNotification": ask(MessageId.UNREGISTER_PERMISSIONS_NOTIFICATION),
    "PermissionsNotificationUnregistered": answer(MessageId.PERMISSIONS_NOTIFICATION_UNREGISTERED),
    "ReadAccount": ask(MessageId.READ_ACCOUNT, a.ReadAccount(dbid=101)),
    "AccountRead": answer(MessageId.ACCOUNT_READ, a.Account(dbid=101, account_type=21, account_dbid=98)),
    "UpdateAccount": ask(MessageId.UPDATE_ACCOUNT, ACCOUNT),
    "AccountUpdated": answer(MessageId.ACCOUNT_UPDATED, ACCOUNT),
    "ChangeOperationalMode": ask(MessageId.CHANGE_OPERATIONAL_MODE, a.OperationalMode(mode=2)),
    "OperationalModeChanged": answer(MessageId.OPERATIONAL_MODE_CHANGED, a.OperationalMode(mode=2)),
    "ReadOperationalMode": ask(MessageId.READ_OPERATIONAL_MODE),
    "OperationalModeRead": answer(MessageId.OPERATIONAL_MODE_READ, a.OperationalMode(mode=1)),
    "GetBriefInfo": ask(MessageId.GET_BRIEF_INFO, ReadObjects(type=3, filter={"tenant_dbid": 1})),
    "BriefInfo": answer(
        MessageId.BRIEF_INFO,
        a.BriefInfo(
            type=3,
            total=1,
            objects=[raw({"ID": {"DBID": 100, "type": 3}, "userName": "default", "firstName": "default"})],
        ),
        end=False,
    ),
    "ReadSchemaInfo": ask(MessageId.READ_SCHEMA_INFO),
    "SchemaInfo": answer(
        MessageId.SCHEMA_INFO, a.SchemaInfo(version="8.5.1", digest="00112233445566778899aabbccddeeff" * 2, size=123456)
    ),
    "SchemaFile": ask(MessageId.SCHEMA_FILE),
    "SchemaFileSent": answer(MessageId.SCHEMA_FILE_SENT, a.SchemaFileSent(version="8.5.1", content=b'{"objects":{}}')),
    "ReadLocale": ask(MessageId.READ_LOCALE, a.ReadLocale(set=1033, items=["object.3"])),
    "LocaleRead": answer(MessageId.LOCALE_READ, a.LocaleRead(set=1033, items={"object.3": "Person"})),
    "GetLocaleSets": ask(MessageId.GET_LOCALE_SETS),
    "LocaleSets": answer(MessageId.LOCALE_SETS, a.LocaleSets(sets=[a.LocaleSet(id=1033, name="English", items=130)])),
    "ChangePassword": ask(
        MessageId.CHANGE_PASSWORD, a.ChangePassword(user="agent1001", old_password="secret", new_password="Zürich")
    ),
    "PasswordChanged": answer(MessageId.PASSWORD_CHANGED),
}
"""At least one example of each."""
