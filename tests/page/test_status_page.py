"""The status page in a real browser, at real servers: what it shows, when it changes, and for whom."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, expect

from csproxy.core.model import CfgObjectType
from csproxy.core.replication import State
from csproxy.core.standby import Role
from tests.daemon.servers import DEADLINE_S, Site, answer, tool
from tests.daemon.test_management import Port, managed_master, managed_proxy
from tests.page.browser import PHONE, chromium, visit
from tests.page.visitors import Visitors
from tests.pools.pairs import NAMES, running_pair

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"document.title='taken'\"><b>bold</b></td><script>document.title='taken'</script>"
PERSON, PLACE = int(CfgObjectType.CFGPerson), int(CfgObjectType.CFGPlace)
Landmark = Literal["banner", "main", "navigation", "contentinfo", "search"]
CROWD = 1_000


class Served(NamedTuple):
    """A proxy with its master."""

    site: Site
    port: Port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port.number}/"

    @property
    def clients_port(self) -> int:
        return self.site.proxy_ports["CSProxy_1"]

    def change(self) -> int:
        """Change a person at the master; returns the UEN."""
        done = tool("update", "person", "100", f"employeeID={time.time_ns()}", port=self.site.port)
        assert done.returncode == 0, done.stderr
        uen: int = answer("status", port=self.site.port)["uen"]
        return uen


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests that leave it as it was but for more changes."""
    site = Site(tmp_path_factory.mktemp("page"))
    port = Port(site.folder)
    with site.master(), managed_proxy(site, port) as proxy:
        proxy.line(containing="ready on")
        yield Served(site, port)


def create_application(site: Site, name: str) -> None:
    words = ("create", "application")
    done = tool(*words, port=site.port, stdin=json.dumps({"name": name, "appPrototypeDBID": 100}))
    assert done.returncode == 0, done.stderr


def test_it_shows_role_state_and_position_and_follows_a_change(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    with visit(browser, served.url) as shown:
        shown.open()
        expect(shown.state).to_have_text("proxy: ready; link to the master: live")
        expect(shown.page).to_have_title("CSProxy_1: proxy")
        expect(shown.fact("UEN")).to_have_text(str(served.port.status()["uen"]))
        nodes = shown.page.locator("[data-machine=replication] .node text")
        assert set(nodes.all_text_contents()) == {state.value for state in State} - {"stopped"}
        expect(shown.lit("replication")).to_have_text("live")
        expect(shown.page.locator("[data-machine=pair]")).to_be_hidden()
        opened = shown.script("performance.timeOrigin")

        uen = served.change()
        expect(shown.fact("UEN")).to_have_text(str(uen))
        expect(shown.fact("Master's UEN")).to_have_text(str(uen))
        expect(shown.fact("Behind the master")).to_have_text("0 changes")
        cells = shown.rows("changes").first.locator("td")
        expect(cells.nth(0)).to_have_text(str(uen))
        expect(cells.nth(2)).to_have_text("CfgPerson 100")
        expect(cells.nth(3)).to_have_text("changed")
        expect(cells.nth(4)).to_have_text("default with default")
        expect(shown.page.locator(".chart polyline").first).to_have_attribute("points", re.compile(r"\d .*\d"))
        expect(shown.page.locator(".chart", has_text="Requests")).to_contain_text(re.compile(r"\d.* per s"))
        assert shown.script("performance.timeOrigin") == opened, "the page was not loaded again"
        assert shown.script("document.cookie + JSON.stringify(localStorage) + sessionStorage.length") == "{}0"
        shown.picture(tmp_path, "wide")


def test_a_client_is_found_by_its_address_and_by_what_it_follows(browser: Browser, served: Served) -> None:
    with Visitors(served.clients_port) as visitors, visit(browser, served.url) as shown:
        addresses = [visitors.come(subscribed_to=[PERSON]) for _ in range(3)]
        planner = visitors.come(subscribed_to=[PERSON, PLACE])
        shown.open()
        expect(shown.rows("clients")).to_have_count(4)
        shown.page.get_by_label("Application, user, address").fill(addresses[1])
        expect(shown.rows("clients")).to_have_count(1)
        expect(shown.page.locator("#clients-found")).to_have_text("1 to 1 of 1 found among 4 clients")
        cells = shown.rows("clients").first.locator("td")
        assert cells.all_text_contents()[:5] == ["default", "default", addresses[1], "default", "connected"]
        expect(cells.last).to_have_text("1: CfgPerson")
        shown.page.get_by_label("Application, user, address").fill("cfgPLACE")
        expect(shown.rows("clients")).to_have_count(1)
        expect(shown.rows("clients").first.locator("td").nth(2)).to_have_text(planner)
        expect(shown.rows("clients").first.locator("td").last).to_have_text("2: CfgPerson, CfgPlace")
        shown.page.get_by_label("Application, user, address").fill("nobody")
        expect(shown.rows("clients")).to_have_text(["No client is like that."])


def test_a_name_with_markup_is_shown_as_text(browser: Browser, served: Served) -> None:
    create_application(served.site, HOSTILE)
    until_as_new_as_the_master(served)
    with Visitors(served.clients_port) as visitors, visit(browser, served.url) as shown:
        visitors.come(HOSTILE)
        shown.open()
        expect(shown.rows("clients").first.locator("td").first).to_have_text(HOSTILE)
        assert shown.page.locator("main img, main b, td script").count() == 0
        assert shown.page.title() == "CSProxy_1: proxy"
        # and if somebody forgot: the browser refuses markup made of strings
        refusal = shown.script("(() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } })()")
        assert refusal == "TypeError"
        shown.complaints.clear()


def until_as_new_as_the_master(served: Served) -> None:
    uen = answer("status", port=served.site.port)["uen"]
    until = time.monotonic() + DEADLINE_S
    while served.port.status()["uen"] < uen:
        assert time.monotonic() < until, "the proxy has not followed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1200, "height": 900}], ids=["phone", "wide"])
def test_it_is_accessible_and_never_wider_than_the_screen(
    browser: Browser, served: Served, scheme: str, viewport: dict[str, int], tmp_path: Path
) -> None:
    with (
        Visitors(served.clients_port) as visitors,
        visit(browser, served.url, color_scheme=scheme, viewport=viewport) as shown,
    ):
        visitors.come(subscribed_to=[PERSON, PLACE])
        served.change()
        shown.open()
        expect(shown.rows("clients").first.locator("td")).to_have_count(7)
        expect(shown.lit("replication")).to_have_count(1)
        assert shown.script("document.documentElement.scrollWidth") <= viewport["width"]
        red, green, blue = shown.script("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (red + green + blue < 200) == (scheme == "dark")
        shown.picture(tmp_path, f"{scheme}-{viewport['width']}")
        assert shown.flaws() == []


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(browser: Browser, served: Served) -> None:
    with visit(browser, served.url, reduced_motion="reduce") as shown:
        shown.open()
        reached = []
        for _ in range(40):
            shown.page.keyboard.press("Tab")
            focused = shown.script(
                "(() => { const e = document.activeElement; const s = getComputedStyle(e);"
                "return [e.id || e.getAttribute('href') || e.getAttribute('aria-labelledby') || e.tagName,"
                " s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
            )
            if focused[0] == "BODY":
                break
            reached.append(focused)
        names = [name for name, _, _ in reached]
        assert names[0] == "#content"
        assert {"#overview", "#problems", "search", "clients-caption", "changes-caption", "/metrics"} <= set(names)
        assert [(style, width >= 2) for _, style, width in reached] == [("solid", True)] * len(reached)
        assert shown.script("getComputedStyle(document.documentElement).scrollBehavior") == "auto"

        shown.page.get_by_role("searchbox").focus()
        shown.page.keyboard.type("nobody")
        expect(shown.rows("clients")).to_have_text(["No client is like that."])


def test_landmarks_headings_and_captions_are_there_for_a_screen_reader(browser: Browser, served: Served) -> None:
    with visit(browser, served.url) as shown:
        shown.open()
        page = shown.page
        roles: tuple[Landmark, ...] = ("banner", "main", "navigation", "contentinfo", "search")
        for role in roles:
            expect(page.get_by_role(role)).to_have_count(1)
        expect(page.get_by_role("heading", level=1)).to_have_text("CSProxy_1")
        assert page.get_by_role("heading", level=2).count() == 6
        assert page.locator("table").count() == page.locator("table > caption").count() == 4
        expect(shown.state).to_have_attribute("aria-live", "polite")
        expect(page.get_by_role("img", name="Link to the master: live")).to_be_visible()


def test_a_thousand_clients_are_all_there_and_the_page_goes_on(browser: Browser, served: Served) -> None:
    with Visitors(served.clients_port) as visitors, visit(browser, served.url) as shown:
        expected = {visitors.come(subscribed_to=[PERSON]) for _ in range(CROWD)}
        shown.open()
        expect(shown.fact("Clients")).to_have_text(str(CROWD))
        seen: set[str] = set()
        for first in range(1, CROWD, 50):
            expect(shown.page.locator("#clients-found")).to_have_text(f"{first} to {first + 49} of {CROWD} clients")
            seen |= set(shown.page.locator("#clients-table tbody td:nth-child(3)").all_text_contents())
            if first + 50 < CROWD:
                shown.page.get_by_role("button", name="Later").click()
        assert seen == expected
        expect(shown.page.get_by_role("button", name="Later")).to_be_disabled()
        uen = served.change()
        expect(shown.fact("UEN")).to_have_text(str(uen))
        some = sorted(expected)[CROWD // 2]
        shown.page.get_by_role("searchbox").fill(some)
        expect(shown.rows("clients")).to_have_count(1)
        expect(shown.rows("clients").locator("td").nth(2)).to_have_text(some)


def test_when_the_server_ends_the_page_says_so_and_comes_back_with_it(browser: Browser, tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder)
    with visit(browser, f"http://127.0.0.1:{port.number}/", complains=True) as shown:
        with managed_master(site, port) as master:
            shown.open()
            expect(shown.state).to_have_text("master: ready")
            expect(shown.page.locator(".machine:visible")).to_have_count(0)
            assert master.stop() == 0
        expect(shown.state).to_contain_text("No connection to the server")
        with managed_master(site, port):
            expect(shown.state).to_have_text("master: ready")


def test_elsewhere_than_on_loopback_the_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    site = Site(tmp_path)
    port = Port(site.folder, "0.0.0.0")
    with (
        managed_master(site, port),
        visit(browser, f"http://127.0.0.1:{port.number}/", complains=True, viewport=PHONE) as shown,
    ):
        shown.page.goto(shown.url)
        expect(shown.page.locator("input#token")).to_be_focused()
        expect(shown.state).to_have_text("A token is needed")
        assert shown.flaws() == []
        shown.page.keyboard.type("wrong")
        shown.page.keyboard.press("Enter")
        expect(shown.page.get_by_role("alert")).to_have_text("The server refuses this token.")
        shown.page.locator("input#token").fill(port.token)
        shown.page.keyboard.press("Enter")
        expect(shown.state).to_have_text("master: ready")
        expect(shown.page.locator("#clients-found")).to_have_text("0 clients")
        shown.page.reload()
        expect(shown.state).to_have_text("master: ready")
        assert not any(port.token in url for url in shown.asked)
        assert shown.script("Object.values(sessionStorage)") == [port.token]
        assert shown.script("localStorage.length + document.cookie") == "0"
        assert port.token not in shown.page.content()


def test_the_lit_state_of_a_standby_changes_when_it_takes_over(browser: Browser, tmp_path: Path) -> None:
    first, second = NAMES
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_pair(tmp_path)) as pair,
        visit(browser, f"http://127.0.0.1:{pair.management[second]}/") as shown,
    ):
        shown.open()
        expect(shown.state).to_have_text("backup, standby of its pair: not ready; link to the master: live")
        expect(shown.lit("pair")).to_have_text("standby")
        nodes = shown.page.locator("[data-machine=pair] .node text")
        assert set(nodes.all_text_contents()) == {role.value for role in Role} - {"stopped"}
        pair.running[first].kill()
        expect(shown.lit("pair")).to_have_text("primary")
        expect(shown.state).to_have_text("proxy, primary of its pair: ready; link to the master: live")
        expect(shown.fact("Other of the pair")).to_have_text(f"{first}: not linked")
        shown.picture(tmp_path, "taken-over")
