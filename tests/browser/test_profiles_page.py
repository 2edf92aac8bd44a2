"""The page of all profiles: real supervisors and sandboxes, a real browser, and what another user gets of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cli_fakes import Home, a_home, free_port, wait_for
from other_user import as_user
from page_fixtures import chromium, complaints, context, shown
from page_rig import ShownPage
from playwright.sync_api import Browser, BrowserContext, Page, expect
from processes import children_with, words_of
from test_status_page_looks import BROKEN, WIDTHS, violations

__all__ = ["chromium", "complaints", "context", "shown"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

CONFIG = """
[profiles.first]
port = {}
[profiles.second]
mode = "live"
username = "trader1"
port = {}
[profiles.third]
username = "hiddenuser"
show_username = false
port = {}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home with three profiles, of which the first runs."""
    with a_home(tmp_path_factory.mktemp("profiles")) as home:
        del home.variables["GWCTL_PORT"]
        home.write_config(CONFIG.format(free_port(), free_port(), free_port()))
        home.gwctl("--profile", "first", "up", "--sandbox").check(0)
        yield home
        home.gwctl("down", "--all", "--quiet")


@pytest.fixture(scope="module")
def url(home: Home) -> str:
    """Return the page's address, as `status --web --all` prints it."""
    return home.gwctl("status", "--web", "--all", DISPLAY=None, BROWSER=None).check(0).stdout.strip()


@pytest.fixture
def window(chromium: Browser, url: str) -> Iterator[Page]:
    """Yield a window with the page, all profiles shown."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(url)
    expect(page.locator("#profiles > li")).to_have_count(3)
    yield page
    context.close()


def card(page: Page, name: str) -> Any:
    """Return where a profile is shown."""
    return page.locator("#profiles > li", has=page.get_by_role("heading", name=name, exact=True))


def lister(home: Home) -> list[int]:
    """Return the processes that list all profiles."""
    record = json.loads((home.home / "state" / "profiles" / "first" / "supervisor.json").read_text())
    return [one.pid for one in psutil.Process(record["pid"]).children() if "status --all" in words_of(one)]


def test_each_profile_is_there_with_its_state_kind_and_user(window: Page, url: str) -> None:
    """What runs is ready, has what comes next and a link to its own page; what is stopped says how to start it."""
    assert url.endswith("/profiles")
    expect(window.locator("#count")).to_have_text("1 of 3 ready")
    expect(window).to_have_title("1 of 3 ready · gwctl")
    first, second, third = (card(window, name) for name in ("first", "second", "third"))
    expect(first.locator(".word")).to_have_text("Ready")
    expect(first).to_contain_text("SANDBOX")
    expect(first).to_contain_text("since")
    expect(first).to_contain_text("Next:")
    expect(second.locator(".word")).to_have_text("Stopped")
    expect(second.locator("code")).to_have_text("gwctl --profile second up")
    assert second.get_by_role("link").count() == 0
    expect(third).to_contain_text("PAPER")
    first.get_by_role("link").click()
    expect(window.locator("#profile")).to_have_text("first")


def test_live_is_loud_and_a_hidden_username_is_nowhere(window: Page) -> None:
    """A live profile has the red band, a paper one does not; a profile whose user is hidden has none."""
    account = card(window, "second").locator(".account")
    expect(account).to_have_text("LIVE, real money · trader1")
    expect(account).to_have_css("background-color", "rgb(179, 20, 30)")
    expect(card(window, "third").locator(".account")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
    assert "hiddenuser" not in window.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(window: Page, scheme: Any) -> None:
    """Axe finds nothing at each width; nothing is cut off, no word is broken."""
    window.emulate_media(color_scheme=scheme)
    for width in WIDTHS:
        window.set_viewport_size({"width": width, "height": 844})
        assert violations(window) == [], width
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        assert window.evaluate(BROKEN) == []


def test_it_follows_changes(window: Page, home: Home) -> None:
    """A profile that starts elsewhere becomes ready on the page, and stopped again, without a reload."""
    second = card(window, "second")
    icon = window.locator("#icon").get_attribute("href")
    home.gwctl("--profile", "second", "up", "--sandbox").check(0)
    expect(second.locator(".word")).to_have_text("Ready", timeout=10_000)
    expect(second.get_by_role("link")).to_have_attribute("href", f"{_health_url(home, 'second')}/")
    expect(window.locator("#count")).to_have_text("2 of 3 ready")
    home.gwctl("--profile", "second", "down").check(0)
    expect(second.locator(".word")).to_have_text("Stopped", timeout=10_000)
    expect(second.get_by_role("link")).to_have_count(0)
    assert window.locator("#icon").get_attribute("href") == icon


def _health_url(home: Home, name: str) -> str:
    data = home.gwctl("--profile", name, "status", "--json").check(0).envelope["data"]
    return str(data["supervisor"]["health_url"])


def test_one_process_reads_for_all_windows_and_ends(window: Page, chromium: Browser, url: str, home: Home) -> None:
    """Two windows share one process, which has no secret; it ends soon after the last window, with nothing left."""
    other = chromium.new_context()
    page = other.new_page()
    page.goto(url)
    expect(page.locator("#profiles > li")).to_have_count(3)
    (pid,) = lister(home)
    assert {name for name in psutil.Process(pid).environ() if name.startswith("GWCTL_")} == {"GWCTL_HOME"}
    other.close()
    window.close()
    wait_for(lambda: not lister(home), 20, "nobody looks, and nothing reads")


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user is root's to do")
def test_another_user_learns_nothing_of_the_profiles(home: Home, url: str) -> None:
    """Another user gets phase, reason and ready of the one profile, as at `/status`; no process is started for it."""
    wait_for(lambda: not lister(home), 20, "nobody looks")
    said = as_user(lambda: _first_lines(url))
    assert '"phase": "ready"' in said
    for secret in ("second", "third", "trader1", "hiddenuser", str(home.folder)):
        assert secret not in said
    assert lister(home) == []


def _first_lines(url: str) -> str:
    from gwctl.http_requests import exchange

    with exchange("GET", f"{url}/live", timeout_s=10.0) as answer:
        lines = answer.lines(idle_s=5.0)
        return "".join(next(lines).decode() for _ in range(6))


def test_a_list_that_fails_is_said_and_comes_back(
    context: BrowserContext, shown: ShownPage, tmp_path: Path, complaints: list[str]
) -> None:
    """If the process cannot run or is killed, the page says what to type and the list is there again soon."""
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{shown.url}/profiles")
    expect(page.locator("#profiles > li")).to_have_count(1)
    (pid,) = [one.pid for one in children_with("status --all")]
    psutil.Process(pid).kill()
    expect(page.get_by_role("alert")).to_contain_text("gwctl status --all")
    expect(page.get_by_role("alert")).to_have_count(0, timeout=15_000)
    began_s = time.monotonic()
    shown.end()
    assert time.monotonic() - began_s < 5.0
    assert children_with("status --all") == []
    assert complaints == []
