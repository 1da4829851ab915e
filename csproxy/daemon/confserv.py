"""`confserv`, the daemon: a master on its confserv.conf, or with ``-host`` a proxy.

With ``-dumpauditxml`` it exports the history log and ends.

Exit status: 0 after an orderly stop, 1 when it could not start or failed, 2 for a wrong command line.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from csproxy.daemon.advice import told
from csproxy.daemon.terminal import prepare_streams
from csproxy.daemon.usage import DONE, FAILED, INTERRUPTED, WRONG_USAGE, UsageError
from csproxy.errors import CsproxyError

if TYPE_CHECKING:
    from csproxy.daemon.composition import Daemon
    from csproxy.daemon.settings import DaemonSettings

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    prepare_streams()
    words = sys.argv[1:] if argv is None else argv
    try:
        from csproxy.daemon.arguments import parse_arguments

        # -help, -V and a wrong line are answered before anything heavy is imported
        arguments = parse_arguments(words)
        if arguments.audit_file is not None:
            from csproxy.daemon.audit import run_audit

            return run_audit(words, arguments)
        return _serve(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except UsageError as e:
        _say(e)
        return WRONG_USAGE
    except CsproxyError as e:
        _say(e)
        return FAILED


def _serve(words: Sequence[str]) -> int:
    from csproxy.daemon.process import quieten_collector, raise_descriptor_limit, run_event_loop
    from csproxy.daemon.settings import load_settings
    from csproxy.daemon.shutdown import Shutdown
    from csproxy.daemon.systemd import ServiceManager

    settings = load_settings(words)
    raise_descriptor_limit()

    manager = ServiceManager()

    async def run() -> int:
        shutdown = Shutdown()
        daemon = _daemon_of(settings)(settings, shutdown, announce=manager.ready)
        quieten_collector()
        async with shutdown.watching_signals(), manager.informed(shutdown.wait):
            await daemon.run()
        return DONE

    return run_event_loop(run)


def _daemon_of(settings: DaemonSettings) -> type[Daemon]:
    """The class of the role; the other one's modules are not loaded."""
    if settings.upstream is None:
        from csproxy.daemon.master_composition import MasterDaemon

        return MasterDaemon
    from csproxy.daemon.proxy_composition import ProxyDaemon

    return ProxyDaemon


def _say(error: CsproxyError) -> None:
    print(f"confserv: {told(error)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
