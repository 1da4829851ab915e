"""A directory for tests: OpenLDAP's slapd with a few people, TLS, and a certificate for localhost only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from csproxy.auth.ldap_settings import LdapServer, LdapSettings
from csproxy.core.ldap_url import parse_ldap_url
from tests.auth.real_servers import accepts_tcp, running
from tests.own_ports import free_ports

__all__ = ["APP_PASSWORD", "APP_USER", "Directory", "directory_server"]

APP_USER = "cn=csproxy,dc=example,dc=com"
APP_PASSWORD = "app secret"

# bind_anon_cred: like some products, it takes a bind without a password for a success
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
allow bind_anon_cred
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
TLSVerifyClient {verify_client}
database mdb
suffix "dc=example,dc=com"
directory {folder}/data
maxsize 4194304
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=hidden,dc=example,dc=com" by dn="cn=csproxy,dc=example,dc=com" read by * none
access to * by * read
"""

_ENTRIES = """
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=csproxy,dc=example,dc=com
objectClass: inetOrgPerson
cn: csproxy
sn: csproxy
userPassword: app secret

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=jane,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Jane
sn: Doe
uid: jane
mail: jane@example.com
userPassword: secret

dn: uid=zoe,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn:: Wm/DqyAoKilc
sn: Zoe
uid: zoe
mail: zoe@example.com
userPassword:: Z2Vow6RpbQ==

dn: uid=twin1,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Twin
sn: One
mail: twin@example.com
userPassword: secret

dn: uid=twin2,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
cn: Twin
sn: Two
mail: twin@example.com
userPassword: secret

dn: ou=hidden,dc=example,dc=com
objectClass: organizationalUnit
ou: hidden

dn: uid=ghost,ou=hidden,dc=example,dc=com
objectClass: inetOrgPerson
cn: Ghost
sn: Ghost
mail: ghost@example.com
userPassword: secret

dn: ou=moved,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: moved
ref: ldap://127.0.0.1:{port}/ou=people,dc=example,dc=com

dn: ou=loop,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: loop
ref: ldap://127.0.0.1:{port}/ou=loop,dc=example,dc=com
"""


@dataclass(frozen=True)
class Directory:
    """A running slapd and the files that belong to it."""

    folder: Path
    port: int
    secure_port: int

    def server(self, *, port: int = 0, scheme: str = "ldap", host: str = "127.0.0.1", **more: Any) -> LdapServer:
        """Settings that reach it, perhaps through another port."""
        base = more.pop("base", "dc=example,dc=com")
        filter_text = more.pop("filter", "(mail=X)")
        port = port or (self.secure_port if scheme == "ldaps" else self.port)
        url = parse_ldap_url(f"{scheme}://{host}:{port}/{base}??sub?{filter_text}")
        given = {"section": "gauth_ldap", "app_user": APP_USER, "password": APP_PASSWORD, "connect_timeout_s": 5}
        return LdapServer(url=url, **{**given, **more})

    def settings(self, *servers: LdapServer, **more: Any) -> LdapSettings:
        """Settings with one attempt, so that nothing waits."""
        return LdapSettings(
            servers=servers or (self.server(),), **{"retry_attempts": 1, "retry_interval_s": 0.0, **more}
        )


@contextmanager
def directory_server(folder: Path, *, verify_client: str = "never") -> Iterator[Directory]:
    """Start slapd with its files in ``folder``; ca.pem signs its certificate, other-ca.pem does not."""
    port, secure_port = free_ports(2)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    for name, issued in (("server", ca.issue_cert("localhost")), ("client", ca.issue_cert("proxy.example.com"))):
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for place, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(folder / f"{name}.pem", append=place > 0)
    (folder / "data").mkdir()
    (folder / "slapd.conf").write_text(_CONFIG.format(folder=folder, verify_client=verify_client))
    (folder / "entries.ldif").write_text(_ENTRIES.format(port=port))
    add = ["/usr/sbin/slapadd", "-f", f"{folder}/slapd.conf", "-l", f"{folder}/entries.ldif"]
    subprocess.run(add, check=True, timeout=60, capture_output=True)
    urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{secure_port}/"
    command = ["/usr/sbin/slapd", "-f", f"{folder}/slapd.conf", "-h", urls, "-d", "0"]
    with running(command, folder, is_ready=accepts_tcp(secure_port)):
        yield Directory(folder, port, secure_port)
