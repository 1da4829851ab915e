"""`csproxy lb-config`: pools as the configuration describes them, and the texts for HAProxy and F5."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest

from csproxy.daemon.balancer_f5 import f5_config
from csproxy.daemon.balancer_haproxy import haproxy_config
from csproxy.daemon.balancers import Sizing
from csproxy.daemon.pools import Pool, PoolServer, pool_of
from csproxy.daemon.tool import main
from csproxy.errors import ConfigurationError

HOSTS = {
    201: {"DBID": 201, "name": "balancer.example", "IPaddress": "10.0.0.1"},
    202: {"DBID": 202, "name": "first.example", "IPaddress": "10.0.1.1"},
    203: {"DBID": 203, "name": "second.example", "IPaddress": "2001:db8::2"},
    204: {"DBID": 204, "name": "unnumbered.example"},
}


def proxy(name: str, host: int, port: int, *, cluster: str = "", **more: Any) -> dict[str, Any]:
    options = {"csproxy": {"proxy-cluster-name": cluster}} if cluster else {}
    info = {"hostDBID": host, "port": str(port)}
    return {"name": name, "type": 21, "state": 1, "serverInfo": info, "options": options, **more}


def applications() -> list[dict[str, Any]]:
    """A pool with two members on one host and one on another, and a proxy that stands alone."""
    return [
        proxy("Desktop Pool", 201, 9070),
        proxy("member2", 202, 9075, cluster="Desktop Pool"),
        proxy("member1", 202, 9070, cluster="Desktop Pool"),
        proxy("member3", 203, 9070, cluster="Desktop Pool"),
        proxy("alone", 203, 9071),
        proxy("retired", 203, 9072, cluster="Desktop Pool") | {"state": 2},
    ]


def sizing(**values: Any) -> Sizing:
    return Sizing(**{"clients": 10_000, "idle_timeout_s": 600, "check_interval_s": 5, **values})


def desktop_pool() -> Pool:
    return pool_of(None, applications(), HOSTS)


# the pool


def test_a_pool_is_what_names_it_in_proxy_cluster_name() -> None:
    assert desktop_pool() == pool_of("Desktop Pool", applications(), HOSTS)
    assert desktop_pool().balancer == PoolServer("Desktop Pool", "10.0.0.1", {"default": 9070})
    assert [(each.name, each.address, each.ports["default"]) for each in desktop_pool().members] == [
        ("member1", "10.0.1.1", 9070),
        ("member2", "10.0.1.1", 9075),
        ("member3", "2001:db8::2", 9070),
    ]


def test_ports_belong_together_by_their_ids() -> None:
    changed = applications()
    for number, each in enumerate(changed):
        each["portInfos"] = [{"id": "desktops", "port": str(9100 + number)}]
    assert {each.name: each.ports["desktops"] for each in pool_of(None, changed, HOSTS).members} == {
        "member1": 9102,
        "member2": 9101,
        "member3": 9103,
    }
    del changed[3]["portInfos"]
    with pytest.raises(ConfigurationError, match="'member3' has no port 'desktops', to which the port 'desktops' of"):
        pool_of(None, changed, HOSTS)


def edited(index: int, **values: Any) -> list[dict[str, Any]]:
    changed = copy.deepcopy(applications())
    changed[index] |= values
    return changed


@pytest.mark.parametrize(
    ("name", "those", "sentence"),
    [
        ("Other", applications(), "no Application has the option proxy-cluster-name = Other .* there is Desktop Pool"),
        (None, [], "there is no pool"),
        (None, [*applications(), proxy("x", 202, 1, cluster="Other")], "name one of Desktop Pool, Other"),
        (None, applications()[1:], "there is no Application 'Desktop Pool', which the option .* of 'member2' names"),
        (None, edited(1, type=1), "'member2' is not of type ConfigurationServer"),
        (None, edited(1, serverInfo={"port": "9075"}), "'member2' has no host"),
        (None, edited(1, serverInfo={"port": "9075", "hostDBID": 204}), "Host 'unnumbered.example' .* IPaddress ''"),
        (None, edited(1, serverInfo={"port": "no", "hostDBID": 202}), "port 'default' is 'no'"),
        (None, edited(1, serverInfo={"port": "9070", "hostDBID": 202}), "are both at 10.0.1.1 port 9070"),
        (
            None,
            edited(1, serverInfo={"port": "9075", "hostDBID": 202, "backupServerDBID": 7}),
            "'member2' has a backup server",
        ),
    ],
)
def test_what_makes_no_pool_is_named(name: str | None, those: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        pool_of(name, those, HOSTS)


# sizes


@pytest.mark.parametrize(("clients", "needed"), [(1, 1), (65_535, 1), (65_536, 2), (200_000, 4)])
def test_so_many_source_addresses_are_needed_as_one_member_would_take(clients: int, needed: int) -> None:
    sources = tuple(f"10.0.2.{number}" for number in range(1, needed + 1))
    assert sizing(clients=clients, sources=sources).sources_needed == needed


def test_too_few_source_addresses_and_such_as_are_none_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"65536 clients need 2 source addresses .* none given"):
        sizing(clients=65_536)
    with pytest.raises(ConfigurationError, match=r"131071 clients need 3 source addresses .* 2 given"):
        sizing(clients=131_071, sources=("10.0.2.1", "10.0.2.2"))
    with pytest.raises(ConfigurationError, match="'host' is no IPv4 or IPv6 address"):
        sizing(sources=("host",))


def test_wrong_sizes_are_wrong_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSPROXY_PASSWORD", "x")
    assert main(["lb-config", "haproxy", "--clients", "70000"]) == 2
    assert "70000 clients need 2 source addresses" in capsys.readouterr().err
    assert main(["lb-config", "f5", "--proxy-protocol"]) == 2
    assert "--proxy-protocol is for haproxy" in capsys.readouterr().err


# HAProxy


def secure_pool(parameters: str) -> Pool:
    """The pool with ports that take TLS only, except that of member3."""
    those = applications()
    for each in those[1:3]:
        port = each["serverInfo"]["port"]
        each["portInfos"] = [{"id": "default", "port": port, "transportParams": f"tls=1;certificate=c;{parameters}"}]
    return pool_of(None, those, HOSTS)


@pytest.mark.parametrize(
    ("parameters", "more", "options"),
    [
        (None, {}, {}),
        ("", {}, {"proxy_protocol": True}),
        ("tls-mutual=1;trusted-ca=a", {}, {}),
        (None, {"clients": 30_000}, {"proxy_protocol": True}),
        ("", {"clients": 100_000, "sources": ("10.0.2.1", "10.0.2.2")}, {}),
    ],
)
def test_haproxy_takes_its_configuration(
    tmp_path: Path, parameters: str | None, more: dict[str, Any], options: dict[str, Any]
) -> None:
    path = tmp_path / "haproxy.cfg"
    pool = desktop_pool() if parameters is None else secure_pool(parameters)
    path.write_text(haproxy_config(pool, sizing(**more), **options))
    done = subprocess.run(["haproxy", "-c", "-V", "-f", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "Configuration file is valid" in done.stdout
    assert "[WARNING]" not in done.stderr


def test_haproxy_has_a_line_for_each_member_and_source() -> None:
    text = haproxy_config(desktop_pool(), sizing(clients=100_000, sources=("10.0.2.1", "10.0.2.2")))
    assert "    server member3 [2001:db8::2]:9070 source 10.0.2.1\n" in text
    assert "    server member3_2 [2001:db8::2]:9070 source 10.0.2.2\n" in text
    assert "100000 clients / 65535 ports = 1.53, so 2 source addresses; 2 given." in text
    assert "ip_local_port_range" in text
    assert "ip_local_port_range" not in haproxy_config(desktop_pool(), sizing())


def test_haproxy_tries_every_line_of_two_dead_members_and_then_another() -> None:
    assert "    retries 3\n" in haproxy_config(desktop_pool(), sizing())
    sources = tuple(f"10.0.2.{number}" for number in range(1, 4))
    assert "    retries 6\n" in haproxy_config(desktop_pool(), sizing(sources=sources))


def test_haproxy_checks_over_tls_what_takes_nothing_else() -> None:
    text = haproxy_config(secure_pool(""), sizing(sources=("10.0.2.1",)))
    assert "    server member1 10.0.1.1:9070 source 10.0.2.1 check-ssl verify none\n" in text
    assert "    server member3 [2001:db8::2]:9070 source 10.0.2.1\n" in text
    assert "tcp-check expect" in text


def test_haproxy_only_connects_where_a_certificate_is_demanded() -> None:
    text = haproxy_config(secure_pool("tls-mutual=1;trusted-ca=a"), sizing())
    assert "    server member1 10.0.1.1:9070\n" in text
    assert "tcp-check" not in text


# F5


def parsed(text: str) -> dict[str, Any]:
    """The braces of the form as nested dictionaries: the heads of blocks, and lines without a block as None."""
    stack: list[dict[str, Any]] = [{}]
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].strip()
        if words.endswith("{}"):
            stack[-1][words[:-2].strip()] = {}
        elif words.endswith("{"):
            head = words[:-1].strip()
            assert head not in stack[-1], f"line {number}: {head!r} stands twice"
            stack[-1][head] = {}
            stack.append(stack[-1][head])
        elif words == "}":
            stack.pop()
            assert stack, f"line {number}: a brace too many"
        elif words:
            stack[-1][words] = None
    assert len(stack) == 1, "a brace is missing"
    return stack[0]


def test_the_sample_of_the_reference_chapter_is_of_the_form_that_is_parsed() -> None:
    found = parsed("monitor TCP-1 {\n    defaults from tcp\n}\nvirtual v {\n    profiles tcp-idle600 {}\n}\n")
    assert found == {"monitor TCP-1": {"defaults from tcp": None}, "virtual v": {"profiles tcp-idle600": {}}}


def test_f5_checks_each_port_and_leads_to_all_members() -> None:
    found = parsed(f5_config(desktop_pool(), sizing()))
    assert found["monitor TCP-9075"] == {
        "defaults from tcp": None,
        "dest *:9075": None,
        "interval 5": None,
        "timeout 16": None,
    }
    assert found["profile tcp tcp-idle600"] == {"defaults from tcp": None, "idle timeout 600": None}
    assert found["node 10.0.1.1"] == {"monitor icmp": None, "screen member1-member2": None}
    assert found["pool Desktop_Pool_default"]["members"] == {
        "10.0.1.1:9070": {"monitor TCP-9070": None},
        "10.0.1.1:9075": {"monitor TCP-9075": None},
        "[2001:db8::2]:9070": {"monitor TCP-9070": None},
    }
    assert found["virtual vs_Desktop_Pool_default"] == {
        "snat automap": None,
        "pool Desktop_Pool_default": None,
        "destination 10.0.0.1:9070": None,
        "ip protocol tcp": None,
        "profiles tcp-idle600": {},
    }


def test_f5_names_nothing_that_it_does_not_define() -> None:
    sources = ("10.0.2.1", "10.0.2.2")
    found = parsed(f5_config(desktop_pool(), sizing(clients=100_000, sources=sources)))
    assert found["snatpool Desktop_Pool"] == {"members": dict.fromkeys(sources)}
    virtual = found["virtual vs_Desktop_Pool_default"]
    for line in virtual:
        kind, _, name = line.partition(" ")
        if kind in ("pool", "snatpool"):
            assert f"{kind} {name}" in found
    assert "profile tcp tcp-idle600" in found
    for member, body in found["pool Desktop_Pool_default"]["members"].items():
        assert all(monitor in found for monitor in body), member
