"""What `csproxy install` asks, as a table: the key of the answers file, the text, what is valid.

The order is that of the reference chapter ("Installing Configuration Server Proxy on UNIX"); the last ones are ours.
How an answer is got (a terminal, a file) is not known here.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["QUESTIONS", "Kind", "Question", "visible"]

Check = Callable[[str], str]
"""Returns the answer as it is used; raises ValueError with what is valid."""


class Kind(Enum):
    """How a question is asked."""

    TEXT = auto()
    SECRET = auto()
    PATH = auto()
    CHOICE = auto()
    NUMBER = auto()


class Question(NamedTuple):
    """One row. ``default`` None: it must be answered, unless the caller knows one. ``flag``: of the command line."""

    key: str
    text: str
    check: Check
    default: str | None = None
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    flag: str = ""


def visible(text: str) -> str:
    """A text without what would hide in a file or on a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("a text without line breaks and control characters is valid")
    return text


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("a name is valid, not an empty text")
    return _line(text.strip())


def _host(text: str) -> str:
    if not text.strip() or any(character.isspace() for character in text.strip()):
        raise ValueError("the name or address of a host is valid")
    return _line(text.strip())


def _port(text: str) -> str:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError("a port, 1 to 65535, is valid")
    return str(int(text))


def _path(text: str) -> str:
    _line(text)
    path = Path(text.strip()).expanduser()
    if not path.is_absolute() or not path.name or "\\" in text:
        raise ValueError("a full path is valid, such as /var/lib/csproxy/CSProxy_1, without backslashes")
    return str(path)


def _file(text: str) -> str:
    path = Path(_path(text))
    if not path.is_file():
        raise ValueError(f"the full path of a file is valid; {path} is none")
    return str(path)


def _user(text: str) -> str:
    try:
        return pwd.getpwnam(_name(text)).pw_name
    except KeyError:
        raise ValueError(f"a user of this machine is valid; there is no {visible(text)!r}") from None


def _password(text: str) -> str:
    _line(text)
    if text != text.strip():
        raise ValueError("a password that neither begins nor ends with a space is valid")
    return text


def _yes(text: str) -> str:
    word = text.strip().lower()
    if word not in ("y", "yes", "n", "no"):
        raise ValueError("y or n is valid")
    return word[0]


def _existing(text: str) -> str:
    if text not in _WAYS:
        raise ValueError(f"{', '.join(_WAYS[:-1])} or {_WAYS[-1]} is valid")
    return text


def _switch(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("true or false is valid")
    return text


_WAYS: Final = ("back-up", "overwrite", "erase")

QUESTIONS: Final = {
    question.key: question
    for question in (
        Question("this-host", "Host object of this machine", _name),
        Question("master-host", "Host of the master Configuration Server", _host, flag="host"),
        Question("master-port", "Its port", _port, "2020", Kind.NUMBER, flag="port"),
        Question("user", "User name", _name, "default", flag="user"),
        Question("password", "Password", _line, kind=Kind.SECRET),
        Question("application", "Application object of this Configuration Server Proxy", _line, kind=Kind.CHOICE),
        Question("app-password", "Password of that Application (option app-password; empty for none)", _password, "",
                 Kind.SECRET),
        Question("directory", "Destination directory", _path, kind=Kind.PATH),
        Question("existing", "The directory has files in it", _existing, kind=Kind.CHOICE, choices=_WAYS),
        Question("back-up-to", "Path to which all of them are moved", _path, kind=Kind.PATH),
        Question("confirm", "Are you sure (y/n)", _yes),
        Question("licence", "Licence file or server (kept and shown, not checked; empty for none)", _line, ""),
        Question("run-as", "User that the service runs as", _user),
        Question("tls", "TLS to the master, with the authorities of the system", _switch, "false", flag="tls"),
        Question("tls-ca", "Certificate authorities of the master, PEM", _file, "", Kind.PATH, flag="tls_ca"),
        Question("tls-cert", "Certificate of the proxy, PEM", _file, "", Kind.PATH, flag="tls_cert"),
        Question("tls-key", "Its private key, PEM", _file, "", Kind.PATH, flag="tls_key"),
    )
}  # fmt: skip
