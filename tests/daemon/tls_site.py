"""A site whose servers speak TLS: certificates, files, and how its processes are started and asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.daemon.servers import PASSWORD, Running, Site, tool
from tests.own_ports import free_ports
from tests.tls_files import Authority, Issued


class TlsSite(Site):
    """A master whose port is as ``transport`` says, and a proxy CSProxy_1 with a second port ``more``."""

    def __init__(
        self, folder: Path, *, transport: str = "", mutual: bool = False, proxies: Sequence[str] = ("CSProxy_1",)
    ) -> None:
        super().__init__(folder, proxies=proxies)
        self.authority = Authority(folder / "tls", "root")
        self.server = self.authority.issue("localhost", "127.0.0.1", file="server", common_name="server")
        self.client = self.authority.issue("proxy.example", file="client", common_name="proxy")
        self.more_port = free_ports(1)[0]
        parameters = transport or self.secure() + (f";tls-mutual=1;trusted-ca={self.authority.path}" if mutual else "")
        self.set_master(parameters)

    def secure(self, mode: str = "tls=1", server: Issued | None = None) -> str:
        """Transport parameters of a port with TLS."""
        shown = server or self.server
        return f"{mode};certificate={shown.path};certificate-key={shown.key}"

    def set_master(self, parameters: str) -> None:
        """Write the parameters of the master's port into confserv.conf."""
        conf = self.folder / "confserv.conf"
        text = conf.read_text()
        lines = [line for line in text.splitlines() if not line.startswith("transport =")]
        lines.insert(lines.index(f"port = {self.port}") + 1, f"transport = {parameters}")
        conf.write_text("\n".join(lines) + "\n")

    def to_master(self, *more: str, mutual: bool = False) -> list[str]:
        """Parameters of a proxy's command line for a connection to the secure master."""
        words = ["-transport-tls", "1", "-transport-trusted-ca", self.authority.path, *more]
        if mutual:
            words += ["-transport-certificate", self.client.path, "-transport-certificate-key", self.client.key]
        return words

    @property
    def tls_flags(self) -> list[str]:
        """Flags of the tool for a connection with TLS."""
        return ["--tls-ca", self.authority.path]

    @property
    def mutual_flags(self) -> list[str]:
        """The same, with a certificate to show."""
        return [*self.tls_flags, "--tls-cert", self.client.path, "--tls-key", self.client.key]

    def set_ports(self, default: str, more: str | None = None, *flags: str, app_params: str = "") -> None:
        """Give the proxy's Application these transport parameters, at the master."""
        infos = [{"id": "default", "port": str(self.proxy_ports["CSProxy_1"]), "transportParams": default}]
        if more is not None:
            infos.append({"id": "more", "port": str(self.more_port), "transportParams": more, "appParams": app_params})
        self.change("application", 101, *flags, portInfos=infos)

    def change(self, kind: str, dbid: int, *flags: str, **attributes: Any) -> None:
        """Change an object at the master."""
        words = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in attributes.items()
        ]
        done = tool("update", kind, str(dbid), *words, *flags, port=self.port)
        assert done.returncode == 0, done.stderr

    def status(self, port: int, *flags: str) -> dict[str, Any]:
        """The Status answer of a server."""
        done = tool("status", "--output", "json", *flags, port=port)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def s_client(port: int, *words: str, stdin: bytes = b"", timeout_s: float = 20) -> tuple[int, str]:
    """`openssl s_client`: its exit status and everything that it says."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


__all__ = ["PASSWORD", "Running", "TlsSite", "s_client"]
