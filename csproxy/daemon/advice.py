"""What to do next, for a person at a terminal: sentences that the programs put behind an error's own.

They are notes of the exception (`BaseException.add_note`), so that the library's errors, and documents in JSON, stay
what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from csproxy.errors import ConnectionLostError, CsproxyError, ErrorCode, ServerError, TimedOutError, TlsError

if TYPE_CHECKING:
    from csproxy.core.failover import Endpoint
    from csproxy.daemon.connection_flags import ConnectionFlags

__all__ = ["advise_client", "advise_proxy", "told"]


def told(error: BaseException) -> str:
    """The error in words, and the advice that it has been given."""
    return "; ".join((str(error), *getattr(error, "__notes__", ())))


def advise_client(error: CsproxyError, flags: ConnectionFlags) -> None:
    """Advise on why a command could not connect and log in."""
    if isinstance(error, TlsError):
        return  # says itself what is wrong with which certificate
    if isinstance(error, ServerError):
        if error.code is ErrorCode.LOGIN_INCORRECT and not flags.spn:
            error.add_note(
                f"user {flags.user!r} (--user) with {flags.password_source} was tried at {flags.host}:{flags.port}; "
                "csproxy init has a generated password in DIR/password: --password-file DIR/password"
            )
        elif error.code is ErrorCode.APP_SECURITY_VIOLATION:
            error.add_note("--app (CSPROXY_APP) takes an Application of type CFGSCE, such as 'default'")
    elif isinstance(error, ConnectionLostError) and error.code is ErrorCode.SERVER_NOT_FOUND:
        error.add_note("is the server started (confserv), and are --host and --port, or CSPROXY_HOST and _PORT, right?")
    elif isinstance(error, TimedOutError) or type(error) is ConnectionLostError:
        error.add_note("is that the port of a Configuration Server (--port, CSPROXY_PORT)?")


def advise_proxy(error: CsproxyError, master: Endpoint) -> None:
    """Advise on why ``master`` refused a proxy."""
    refusal = error.__cause__
    if isinstance(refusal, ServerError) and refusal.code is ErrorCode.APP_SECURITY_VIOLATION:
        error.add_note(
            f"csproxy read application app_type=CFGConfigServer --host {master.host} --port {master.port} shows which "
            "names -app can have; docs/howto/first-proxy.md has the command that makes another one, and csproxy init "
            "--proxy NAME=PORT makes it in a new site"
        )
