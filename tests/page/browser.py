"""The status page in Chromium: what every test of it wants."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.daemon.servers import DEADLINE_S

PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=DEADLINE_S * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own Chromium: none is downloaded."""
    program = shutil.which("chromium")
    assert program is not None, "the tests of the status page need the Debian package chromium (make test installs it)"
    with sync_playwright() as playwright:
        # root may not use Chromium's sandbox, and /dev/shm is small in containers
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class StatusPage:
    """One visit of the page, with everything that the browser complained of and asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self) -> None:
        """Load the page, and wait until it shows a status."""
        self.page.goto(self.url)
        expect(self.fact("Release")).not_to_be_empty()

    @property
    def state(self) -> Locator:
        """The line that says role and state."""
        return self.page.locator("#state")

    def fact(self, name: str) -> Locator:
        """The value of one of the facts."""
        return self.page.locator("#facts div").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    def lit(self, machine: str) -> Locator:
        """The lit state of a machine."""
        return self.page.locator(f"[data-machine={machine}] .node.lit")

    def rows(self, table: str) -> Locator:
        """The rows of a table's body."""
        return self.page.locator(f"#{table}-table tbody tr")

    def script(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.page.evaluate(expression)

    def flaws(self) -> list[str]:
        """What axe-core finds against accessibility."""
        found = Axe().run(self.page)
        return [f"{each['id']}: {each['help']}: {each['nodes'][0]['html']}" for each in found.response["violations"]]

    def picture(self, folder: Path, name: str) -> None:
        """A picture for whoever looks into a failed run."""
        self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@contextmanager
def visit(browser: Browser, url: str, *, complains: bool = False, **options: Any) -> Iterator[StatusPage]:
    """A page of a browser profile of its own, opened; ``options`` are those of the profile.

    In the end nothing may have been asked of another place, and nothing complained of unless ``complains``.
    """
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    try:
        visited = StatusPage(context.new_page(), url)
        yield visited
        assert [asked for asked in visited.asked if not asked.startswith(url)] == []
        assert complains or visited.complaints == []
    finally:
        context.close()
