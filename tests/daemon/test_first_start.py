"""What a new master does with the options of its confserv.conf, as a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.daemon.servers import Site, answer


def options_of(site: Site, name: str) -> Any:
    (application,) = answer("read", "application", f"name={name}", port=site.port)
    return application.get("options", {})


def test_the_first_start_stores_the_options_of_the_file_and_later_ones_only_read_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    conf = site.folder / "confserv.conf"
    first = conf.read_text()
    options = "\n[csproxy]\npacket-size = {size}\n[gauth_radius]\nhost = r.example\nshared-secret = hush\n"
    conf.write_text(first + options.format(size=4096))
    with site.master() as master:
        assert any("first start on this database: options of confserv.conf are in" in line for line in master.seen)
        assert master.seen[-1].endswith(" at UEN 0")
        stored = {"csproxy": {"packet-size": "4096"}, "gauth_radius": {"host": "r.example"}}
        assert options_of(site, "confserv") == stored
        assert options_of(site, "CSProxy_1") == {}
    conf.write_text(first + options.format(size=8192))
    with site.master() as master:
        assert options_of(site, "confserv") == stored
        hidden = "packet-size of [csproxy] is 8192 in confserv.conf and 4096 in the Application object, which counts"
        assert any(line.endswith(hidden) for line in master.seen)
        assert not any("first start" in line for line in master.seen)


def test_a_site_as_it_is_made_stores_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.master() as master:
        assert options_of(site, "confserv") == {}
        assert not any("first start" in line for line in master.seen)
