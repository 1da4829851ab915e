"""`csproxy options`: one option, all of them, and a name that is none."""

from __future__ import annotations

import json

from csproxy.core.option_catalogue import CATALOGUE
from tests.daemon.servers import tool


def test_an_option_is_explained() -> None:
    done = tool("options", "csproxy/packet-size")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "[csproxy] packet-size",
        "  Target size of one part of the answer to a read.",
        "  default:      65536",
        "  valid:        1024 to 16777216 bytes",
        "  takes effect: immediately",
        "  of:           master and proxy",
        "  origin:       ours",
        "  stands in:    environment variable CSPROXY_CSPROXY__PACKET_SIZE; section [csproxy] of the Application "
        "object's options; section [csproxy] of confserv.conf",
    ]


def test_a_transport_parameter_is_explained_beside_options_of_its_name() -> None:
    done = tool("options", "user")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("transport parameter user\n  Only applications with a user interface")
    assert "  takes effect: new connections\n  of:           port\n" in done.stdout
    titles = [line for line in tool("options", "port").stdout.splitlines() if line and line[0] != " "]
    assert titles == ["[confserv] port", "[gauth_radius] port", "transport parameter port"]


def test_all_options_are_listed() -> None:
    done = tool("options")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(CATALOGUE) + 1
    documents = json.loads(tool("options", "--output", "json").stdout)
    assert [(each["section"], each["option"]) for each in documents] == [
        (option.section, option.name) for option in CATALOGUE
    ]
    (one,) = tool("options", "proxy-writable", "--output", "jsonl").stdout.splitlines()
    assert json.loads(one)["of"] == "proxy"


def test_a_name_that_is_no_option_is_refused_with_those_that_look_like_it() -> None:
    done = tool("options", "packt-size")
    assert done.returncode == 1
    assert done.stderr.startswith("csproxy options: there is no option packt-size; similar: packet-size")
    assert "csproxy options lists all" in tool("options", "qqqqqq").stderr
