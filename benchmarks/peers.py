"""What is measured: csproxy, Redis, etcd; started, filled, stopped, and how each is asked for the same work."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests_csp
import requests_etcd
import requests_redis
from generator import template
from processes import Process, free_port, running
from requests_redis import VALUE_BYTES
from site_data import FIRST, Site, SiteSize, user_of

__all__ = ["Request", "Server", "csproxy_server", "etcd_server", "redis_server", "versions"]


@dataclass(frozen=True)
class Request:
    """A template, and what the generator has to know of it."""

    template: Path
    options: Sequence[object] = ()

    @property
    def words(self) -> list[object]:
        return ["--req", self.template, *self.options]


@dataclass(frozen=True)
class Server:
    """A running server; ``requests`` are by name, the same names for each that can do this work.

    ``hello`` is what every client sends first. Changes are published at ``publish_port``. ``filled_bytes`` is
    what the process grew by when it was filled.
    """

    name: str
    process: Process
    port: int
    proto: str
    requests: Mapping[str, Request]
    hello: Path | None = None
    subscribe: Path | None = None
    publish_port: int = 0
    words: Sequence[object] = ()
    filled_bytes: int = 0
    extra: Mapping[str, Path] = field(default_factory=dict)

    @property
    def connect_words(self) -> list[object]:
        """What every generator of clients of this server is told."""
        answers = ["--hello-answers", 2] if self.proto == "csp" else []
        return ["--proto", self.proto, *self.words, *(["--hello", self.hello, *answers] if self.hello else [])]

    def over_tls(self, port: int = 0) -> Server:
        """The same server for clients that use TLS."""
        port = port or self.port
        return replace(self, name=f"{self.name} TLS", port=port, publish_port=port, words=[*self.words, "--tls"])


def csproxy_server(process: Process, site: Site, *, publish_port: int = 0) -> Server:
    """A proxy or master that serves ``site``."""
    size = site.size
    persons = ["--key-u32", "--key-first", FIRST, "--nkeys", size.persons]
    csp = requests_csp
    requests = {
        "point": Request(template("csp_point", csp.read_person()), persons),
        "indexed": Request(
            template("csp_indexed", csp.read(csp.PERSON, user_name="agent########")), ["--nkeys", size.persons]
        ),
        "relation": Request(
            template("csp_relation", csp.read(csp.PERSON, group_dbid=csp.PLACEHOLDER)),
            ["--key-u32", "--key-first", FIRST, "--nkeys", size.groups],
        ),
        "bulk": Request(template("csp_bulk", csp.read(csp.PERSON))),
        "one site": Request(template("csp_bulk", csp.read(csp.PERSON)), ["--hello-first", 0]),
        "publish": Request(template("csp_publish", csp.update_person()), persons),
        "write": Request(template("csp_publish", csp.update_person()), persons),
        "own application": Request(template("csp_own", csp.read(csp.APPLICATION, dbid=100))),
        "restore": Request(template("csp_restore", csp.restore()), ["--hello-answers", 1]),
    }
    return Server(
        "csproxy",
        process,
        process.port,
        "csp",
        requests,
        hello=template("csp_hello", csp.hello()),
        subscribe=template("csp_subscribe", csp.hello(subscribe=csp.PERSON)),
        publish_port=publish_port or process.port,
        extra={"reader": template("csp_reader", csp.hello(user=user_of(0).replace("0" * 8, "#" * 8)))},
    )


@contextmanager
def redis_server(size: SiteSize, *, tls: Path | None = None, durable: bool = False) -> Iterator[Server]:
    """Redis, filled; ``tls``: a folder with a certificate, then with a second port; ``durable``: each write synced."""
    port, tls_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--dir", folder, "--maxclients", "15000"]
        command += ["--tcp-backlog", "4096", "--appendonly", "yes" if durable else "no", "--appendfsync", "always"]
        if tls is not None:
            command += ["--tls-port", str(tls_port), "--tls-cert-file", str(tls / "cert.pem"), "--tls-key-file"]
            command += [str(tls / "key.pem"), "--tls-ca-cert-file", str(tls / "ca.pem"), "--tls-auth-clients", "no"]
        with running(command, port=port) as process:
            empty = process.memory_bytes()
            requests_redis.fill(port, size)
            filled = process.memory_bytes() - empty
            requests_redis.fill_indexes(port, size)
            yield Server(
                "redis",
                process,
                port,
                "resp",
                _redis_requests(size),
                subscribe=template("redis_subscribe", requests_redis.SUBSCRIBE),
                publish_port=port,
                filled_bytes=filled,
                extra={"tls": Path(str(tls_port))},
            )


def _redis_requests(size: SiteSize) -> dict[str, Request]:
    redis = requests_redis
    keys = ["--nkeys", size.persons]
    fixed = ["--proto", f"fixed:{len(b'$500') + VALUE_BYTES + 2 * len(b'..')}"]
    return {
        "point": Request(template("redis_point", redis.GET), [*keys, *fixed]),
        "indexed": Request(template("redis_indexed", redis.BY_USER), keys),
        "relation": Request(template("redis_relation", redis.BY_GROUP), ["--nkeys", size.groups]),
        "bulk": Request(template("redis_bulk", redis.read_all(size.persons))),
        "one site": Request(template("redis_site", redis.BY_SITE), ["--nkeys", size.sites]),
        "publish": Request(template("redis_publish", redis.PUBLISH)),
        "write": Request(template("redis_write", redis.SET), keys),
        "own application": Request(template("redis_point", redis.GET), [*keys, *fixed]),
    }


@contextmanager
def etcd_server(size: SiteSize) -> Iterator[Server]:
    """A single etcd member, filled."""
    port, peer_port = free_port(), free_port()
    here, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command = [
            "etcd",
            "--data-dir",
            f"{folder}/data",
            "--listen-client-urls",
            here,
            "--advertise-client-urls",
            here,
        ]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", f"default={peer}", "--quota-backend-bytes", str(4 << 30)]
        process = stack.enter_context(running([*command, "--log-level", "error", "--logger", "zap"], port=port))
        empty = process.memory_bytes()
        requests_etcd.fill(port, size)
        keys = ["--nkeys", size.persons]
        yield Server(
            "etcd",
            process,
            port,
            "h2",
            {
                "point": Request(template("etcd_point", requests_etcd.GET), keys),
                "bulk": Request(template("etcd_bulk", requests_etcd.READ_ALL)),
                "publish": Request(template("etcd_publish", requests_etcd.PUBLISH)),
                "write": Request(template("etcd_write", requests_etcd.PUT), keys),
            },
            hello=template("etcd_hello", requests_etcd.HELLO),
            subscribe=template("etcd_subscribe", requests_etcd.SUBSCRIBE),
            publish_port=port,
            filled_bytes=process.memory_bytes() - empty,
        )


def versions() -> dict[str, str]:
    """The peers that are installed, and their versions."""
    found = {}
    for name, program, word in (("redis", "redis-server", 2), ("etcd", "etcd", 2)):
        if shutil.which(program):
            text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
            found[name] = text[word].removeprefix("v=")
    return found
