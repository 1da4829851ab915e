"""The configuration that is measured: persons of about 500 bytes, their groups, and sites whose members see their own.

Numbers without gaps, so that the generator can draw them; written into the database that ``csproxy init`` has made.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cache_memory import person
from processes import CONFSERV, TOOL
from requests_csp import PASSWORD

from csproxy.auth.passwords import hash_password
from csproxy.core import codec
from csproxy.core.model import SCHEMA
from csproxy.core.model.canonical import encode_object
from csproxy.core.persistence.tables import UEN_COUNTER
from csproxy.core.security_records import RECORDS, AclEntry, encode_acl
from csproxy.core.wellknown import DEFAULT_APPLICATION, EVERYONE, SUPER_ADMINISTRATORS, SYSTEM

__all__ = ["FIRST", "MEMBERS", "PROXY", "Site", "SiteSize", "make_site", "user_of"]

FIRST = 1001
"""The first DBID of each type, and the number of the first user."""
MEMBERS = 10
"""Agents of a group."""
PROXY = "CSProxy_1"
_PERSON, _AGENT_GROUP, _ACCESS_GROUP, _FOLDER, _TENANT = 3, 5, 21, 22, 7
_APPLICATION = 9
_EVERYTHING, _READ_AND_EXECUTE = 127, 9
_FOR_ADMINISTRATORS = tuple(AclEntry(_ACCESS_GROUP, dbid, _EVERYTHING) for dbid in (SUPER_ADMINISTRATORS, SYSTEM))
_FOR_EVERYBODY = tuple(sorted((*_FOR_ADMINISTRATORS, AclEntry(_ACCESS_GROUP, EVERYONE, _READ_AND_EXECUTE))))


@dataclass(frozen=True)
class SiteSize:
    """``persons``, in groups of `MEMBERS`; each is in the folder of one of ``sites``, which has one reader."""

    persons: int
    sites: int

    @property
    def groups(self) -> int:
        return max(1, self.persons // MEMBERS)


@dataclass(frozen=True)
class Site:
    """A folder of ``csproxy init``, and the commands that start its servers."""

    folder: Path
    size: SiteSize
    master_port: int
    proxy_port: int

    @property
    def master(self) -> list[str]:
        return [*CONFSERV, "-c", str(self.folder / "confserv.conf"), "-log-verbose", "alarm"]

    @property
    def proxy(self) -> list[str]:
        words = ["-host", "127.0.0.1", "-port", str(self.master_port), "-app", PROXY, "-log-verbose", "alarm"]
        return [*CONFSERV, *words]

    @property
    def readers_first(self) -> int:
        """DBID of the first site's reader."""
        return FIRST + self.size.persons


def user_of(site: int) -> str:
    """The user name of a site's reader."""
    return f"reader{site:08d}"


def make_site(folder: Path, size: SiteSize, *, master_port: int, proxy_port: int) -> Site:
    """Make the folder; the master's port takes TLS as well as plain connections (certificate ``ca.pem``)."""
    words = ["--password", PASSWORD, "--master-port", str(master_port), "--proxy", f"{PROXY}={proxy_port}"]
    subprocess.run([*TOOL, "init", str(folder), *words], check=True, stdout=subprocess.DEVNULL)
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    conf = folder / "confserv.conf"
    transport = f"transport = upgrade=1;certificate={folder / 'cert.pem'};certificate-key={folder / 'key.pem'}"
    conf.write_text(conf.read_text().replace("server = dbserver", f"{transport}\nserver = dbserver", 1))
    site = Site(folder, size, master_port, proxy_port)
    if size.persons:
        _fill(folder / "config.db", site)
    return site


def _fill(database: Path, site: Site) -> None:
    readers = range(site.readers_first, site.readers_first + site.size.sites)
    last = {_PERSON: readers[-1], _ACCESS_GROUP: FIRST + site.size.sites, _FOLDER: FIRST + site.size.sites}
    last[_AGENT_GROUP] = FIRST + site.size.groups
    hash = hash_password(PASSWORD)
    with sqlite3.connect(database) as connection:
        connection.executemany("INSERT INTO objects (type, dbid, folder, body) VALUES (?, ?, ?, ?)", _rows(site))
        connection.executemany("INSERT OR REPLACE INTO counters (type, value) VALUES (?, ?)", last.items())
        connection.executemany(
            "INSERT INTO credentials (type, dbid, hash, updated_ms) VALUES (?, ?, ?, 1)",
            [(_PERSON, dbid, hash) for dbid in readers],
        )
        assert UEN_COUNTER not in last
    connection.close()


def _rows(site: Site) -> Iterator[tuple[int, int, int, bytes]]:
    size = site.size
    yield RECORDS + _APPLICATION, DEFAULT_APPLICATION, 0, encode_acl(DEFAULT_APPLICATION, _FOR_EVERYBODY)
    for n in range(size.sites):
        dbid = FIRST + n
        yield from _site_rows(dbid, reader=site.readers_first + n, user=user_of(n))
    for n in range(size.groups):
        dbid = FIRST + n
        members = [{"DBID": FIRST + n * MEMBERS + place} for place in range(MEMBERS)]
        group = {"DBID": dbid, "groupInfo": _info(dbid, f"group {n}"), "agentDBIDs": [each["DBID"] for each in members]}
        yield _AGENT_GROUP, dbid, 0, _encoded(_AGENT_GROUP, group)
    for n in range(size.persons):
        # a number of its own, and the user name by which the generator finds it
        body = codec.decode_map(person(FIRST + n)) | {"userName": f"agent{n:08d}", "employeeID": f"E{n:08d}"}
        yield _PERSON, FIRST + n, FIRST + n % size.sites, _encoded(_PERSON, body)


def _site_rows(dbid: int, *, reader: int, user: str) -> Iterator[tuple[int, int, int, bytes]]:
    folder = {
        "DBID": dbid,
        "name": f"site {dbid}",
        "type": _PERSON,
        "ownerID": {"DBID": 1, "type": _TENANT},
        "state": 1,
    }
    group = {"DBID": dbid, "groupInfo": _info(dbid, f"site {dbid}"), "memberIDs": [{"DBID": reader, "type": _PERSON}]}
    who = {"DBID": reader, "tenantDBID": 1, "userName": user, "employeeID": user, "isAgent": 1, "state": 1}
    acl = (*_FOR_ADMINISTRATORS, AclEntry(_ACCESS_GROUP, dbid, _READ_AND_EXECUTE))
    yield _FOLDER, dbid, 0, _encoded(_FOLDER, folder)
    yield _ACCESS_GROUP, dbid, 0, _encoded(_ACCESS_GROUP, {**group, "type": 1})
    yield _PERSON, reader, 0, _encoded(_PERSON, who)
    yield RECORDS + _FOLDER, dbid, 0, encode_acl(dbid, acl)


def _info(dbid: int, name: str) -> dict[str, Any]:
    return {"DBID": dbid, "tenantDBID": 1, "name": name, "state": 1}


def _encoded(kind: int, obj: dict[str, Any]) -> bytes:
    return encode_object(SCHEMA.types[kind], obj)
