"""`csproxy init`: a folder from which a master, and proxies of it, can be started.

Writes DIR/confserv.conf, DIR/config.db with the well-known objects (and a synthetic contact centre
on request), and DIR/password when the password is generated. Everything listens on 127.0.0.1 until
somebody changes that: the data is protected by one password only.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from csproxy import __version__
from csproxy.daemon.connection_flags import port_number
from csproxy.daemon.init_conf import BACKUP, LOOPBACK, DatabasePlace, conf_text, database_place
from csproxy.daemon.init_tls import TlsPlace, make_certificates
from csproxy.daemon.usage import UsageError
from csproxy.errors import ConfigurationError

__all__ = ["add_init_arguments", "run_init"]

_PERSON = 3
_APPLICATION = 9
_HOST = 10
_OBJECTS_PER_AGENT = 5.2
_PROGRESS_STEP = 500

_InitialObject = tuple[int, Mapping[str, Any], int]


def add_init_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments after ``csproxy init``."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder to write; must be empty or not exist")
    parser.add_argument("--master-port", type=port_number, default=2020, help="port of the master (2020)")
    parser.add_argument(
        "--proxy",
        metavar="NAME=PORT",
        type=_proxy,
        action="append",
        default=[],
        help="create the Application object of a proxy (repeatable)",
    )
    parser.add_argument("--site", metavar="AGENTS", type=_agents, help="add a synthetic contact centre of this size")
    parser.add_argument("--seed", type=int, default=1, help="of the contact centre: same seed, same content (1)")
    parser.add_argument("--password", help="of user default; generated and written to DIR/password unless given")
    parser.add_argument(
        "--db",
        metavar="URL",
        help="the database: sqlite:///FILE (default: DIR/config.db) or postgresql://USER:PASSWORD@HOST:PORT/NAME",
    )
    parser.add_argument(
        "--backup-master",
        metavar="PORT",
        type=port_number,
        help=f"also make {BACKUP}, the backup of a pair of masters, and DIR/backup/confserv.conf",
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        dest="with_tls",
        help="make an authority and a certificate in DIR/tls, and every port secure",
    )


def _proxy(text: str) -> tuple[str, int]:
    name, separator, port = text.rpartition("=")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=PORT, such as CSProxy_1=2021")
    return name.strip(), port_number(port)


def _agents(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of agents: 1 and above are valid")
    return int(text)


def run_init(arguments: argparse.Namespace) -> int:
    """Write the folder and print how to go on; returns the exit status.

    Raises `ConfigurationError` (folder not empty, wrong combination of arguments, a file that
    cannot be written) or `StoreError`; then no database is left behind.
    """
    directory: Path = arguments.directory
    proxies: list[tuple[str, int]] = arguments.proxy
    backup: int | None = arguments.backup_master
    place = database_place(arguments.db, directory)
    _check_ports(arguments.master_port, backup, proxies)
    _make_directory(directory)
    tls = make_certificates(directory / "tls") if arguments.with_tls else None
    password = arguments.password
    if password is None:
        password = secrets.token_urlsafe(12)
    _create_database(arguments, place, password, proxies, tls)
    if arguments.password is None:
        _write(directory / "password", password + "\n", mode=0o600)
    mode = 0o600 if place.has_password else 0o640
    text = conf_text(place, application="confserv", port=arguments.master_port, is_secure=tls is not None)
    _write(directory / "confserv.conf", text, mode=mode)
    if backup is not None:
        (directory / "backup").mkdir(mode=0o750)
        text = conf_text(place, application=BACKUP, port=backup, is_secure=tls is not None, is_below=True)
        _write(directory / "backup" / "confserv.conf", text, mode=mode)
    _print_next_steps(arguments, directory, proxies, tls)
    return 0


def _check_ports(master: int, backup: int | None, proxies: list[tuple[str, int]]) -> None:
    taken = {master: "the master"}
    names = {"confserv", "default"}
    if backup is not None:
        if backup == master:
            raise UsageError(f"--backup-master {backup}: the port belongs to the master already")
        taken[backup] = "the backup master"
        names.add(BACKUP)
    for name, port in proxies:
        if port in taken:
            raise UsageError(f"--proxy {name}={port}: the port belongs to {taken[port]} already")
        if name in names:
            raise UsageError(f"--proxy {name}={port}: there is an Application object {name!r} already")
        taken[port] = name
        names.add(name)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        content = next(directory.iterdir(), None)
    except OSError as e:
        raise ConfigurationError(f"{directory} cannot be used: {e.strerror}") from e
    if content is not None:
        raise ConfigurationError(
            f"{directory} is not empty ({content.name} is there): choose another folder, or remove this one"
        )


def _write(path: Path, text: str, *, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as e:
        raise ConfigurationError(f"{path} cannot be written: {e.strerror}") from e


def _create_database(
    arguments: argparse.Namespace,
    place: DatabasePlace,
    password: str,
    proxies: list[tuple[str, int]],
    tls: TlsPlace | None,
) -> None:
    from csproxy.auth.passwords import hash_password
    from csproxy.core.persistence.initial import create_configuration
    from csproxy.core.wellknown import DEFAULT_PERSON, well_known_objects
    from csproxy.daemon.output import progress

    made = well_known_objects(
        arguments.master_port,
        version=__version__,
        proxies=proxies,
        backup=None if arguments.backup_master is None else (BACKUP, arguments.backup_master),
    )
    for each in made:
        if each.type == _APPLICATION and "portInfos" in each.object:
            each.object["portInfos"][0]["transportParams"] = f"address={LOOPBACK}" + (";tls=1" if tls else "")
        elif each.type == _HOST and tls is not None:
            each.object["userProperties"] = {"security": tls.security}
    base: list[_InitialObject] = [*made]
    hashes = {(_PERSON, DEFAULT_PERSON): hash_password(password)}
    with progress("writing objects") as report:
        objects: Iterable[_InitialObject] = base
        if arguments.site is not None:
            objects = _with_site(base, arguments.site, arguments.seed, report)
        create_configuration(
            place.url,
            objects,
            release=__version__,
            password_hashes=hashes,
            time_ms=int(time.time() * 1000),
        )


def _with_site(
    base: list[_InitialObject], agents: int, seed: int, report: Callable[[int, int], None]
) -> Iterator[_InitialObject]:
    from csproxy.testing.sites import generate_site

    yield from base
    expected = int(agents * _OBJECTS_PER_AGENT)
    for count, made in enumerate(generate_site(agents, seed=seed, base=base), start=1):
        yield made
        if count % _PROGRESS_STEP == 0:
            report(count, max(expected, count))


def _print_next_steps(
    arguments: argparse.Namespace, directory: Path, proxies: list[tuple[str, int]], tls: TlsPlace | None
) -> None:
    authority = "" if tls is None else shlex.quote(str(tls.authority))
    to_master = f" -transport-tls 1 -transport-trusted-ca {authority}" if authority else ""
    to_server = f" --tls-ca {authority}" if authority else ""
    conf = shlex.quote(str(directory / "confserv.conf"))
    master_port: int = arguments.master_port
    has_file = arguments.password is None
    secret = f" --password-file {shlex.quote(str(directory / 'password'))}" if has_file else ""
    print(
        f"Wrote {directory}: confserv.conf, the database"
        + (", password" if has_file else "")
        + (", tls" if tls else "")
        + "."
    )
    print("\nStart the master:")
    print(f"  confserv -c {conf}")
    if arguments.backup_master is not None:
        print("\nStart its backup:")
        print(f"  confserv -c {shlex.quote(str(directory / 'backup' / 'confserv.conf'))} -app {BACKUP}")
    if proxies:
        print("\nStart a proxy in a folder of its own, where it keeps its local copy:")
        for name, _ in proxies:
            print(f"  confserv -host {LOOPBACK} -port {master_port} -app {shlex.quote(name)}{to_master}")
    else:
        print("\nA proxy needs an Application object: csproxy init --proxy NAME=PORT makes one, or later")
        print("csproxy create application (docs/howto/first-proxy.md).")
    print("\nRead:" if has_file else "\nRead (it asks for the password, unless CSPROXY_PASSWORD has it):")
    port = proxies[0][1] if proxies else master_port
    print(f"  csproxy read person --port {port}{secret}{to_server}")
