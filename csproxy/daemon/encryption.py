"""Encrypted passwords of confserv.conf, and `csproxy encrypt-password`, which makes them.

A password is encrypted with the key of a file of its own (AES and HMAC, the Fernet form of the package cryptography).
That keeps it out of backups, tickets and version control where confserv.conf goes; who may read both files has it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Any, Final

from csproxy.daemon.private_files import loose_permissions
from csproxy.daemon.usage import DONE, UsageError
from csproxy.errors import ConfigurationError

__all__ = ["KEY_FILE", "decrypt", "encrypt", "make_key", "read_key", "run_encrypt_password"]

KEY_FILE: Final = "confserv.key"
"""Where the key is unless somebody says otherwise: beside confserv.conf."""
_MAX_KEY_BYTES: Final = 1024


def run_encrypt_password(arguments: argparse.Namespace) -> int:
    """Print the encrypted form of a password; the key file is made if there is none."""
    path: Path = arguments.key_file
    password = _password(arguments)
    if not path.exists():
        make_key(path)
        print(
            f"Wrote {path}: keep it away from confserv.conf's copies, and readable by the server only.", file=sys.stderr
        )
    warning = loose_permissions(path, is_secret=True)
    if warning is not None:
        print(f"warning: {warning}", file=sys.stderr)
    print(encrypt(password, read_key(path)))
    return DONE


def make_key(path: Path) -> None:
    """Write a new key, readable by its owner only. Raises `ConfigurationError`, also if the file is there already."""
    key = _fernet().generate_key()
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(key + b"\n")
    except OSError as e:
        raise ConfigurationError(f"key file {path} cannot be written: {e.strerror}") from e


def read_key(path: Path) -> Any:
    """The key of a file, for `encrypt` and `decrypt`. Raises `ConfigurationError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_BYTES)
    except OSError as e:
        raise ConfigurationError(
            f"key file {path} cannot be read: {e.strerror}; csproxy encrypt-password --key-file makes one"
        ) from e
    try:
        return _fernet()(content.strip())
    except ValueError:
        raise ConfigurationError(f"key file {path} holds no key of csproxy encrypt-password") from None


def encrypt(password: str, key: Any) -> str:
    """The encrypted form, printable ASCII; another one each time."""
    encrypted: bytes = key.encrypt(password.encode())
    return encrypted.decode("ascii")


def decrypt(text: str, key: Any) -> str:
    """The password. Raises ValueError for a text that was not encrypted with this key."""
    from cryptography.fernet import InvalidToken

    try:
        password: bytes = key.decrypt(text.encode())
    except InvalidToken:
        raise ValueError("not encrypted with this key") from None
    return password.decode()


def _fernet() -> Any:
    try:
        from cryptography.fernet import Fernet
    except ImportError as e:
        raise ConfigurationError("encrypted passwords need the package cryptography: install csproxy[daemon]") from e
    return Fernet


def _password(arguments: argparse.Namespace) -> str:
    if arguments.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise UsageError("the two passwords differ")
    else:
        raise UsageError("no terminal to ask for the password on: use --password-stdin")
    if not password:
        raise UsageError("an empty password needs no encryption")
    return password
