"""Web pages of another site that act on the real gateway, in real browsers: as isolated, and as it is without.

The browser trusts the gateway's certificate, or does not; it is asked for nothing, and refuses nothing by itself.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import RealHome, a_real_home
from playwright.sync_api import Browser, Error, Page, sync_playwright

from gwctl.gateway.keystore import kept_leaf
from gwctl.paths import Paths

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(240)]
SITE, REBOUND = "evil.example", "rebound.example"
BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-headless-shell"]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    f"--host-resolver-rules=MAP {SITE} 127.0.0.1, MAP {REBOUND} 127.0.0.1",
    # Newer browsers ask a person before a page may reach this machine. Here the person said yes.
    "--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessSendPreflights",
]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A site whose every page is empty."""

    def do_GET(self) -> None:
        """Answer with an empty page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the address of another site."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True).start()
        yield f"http://{SITE}:{server.server_port}/"
        server.shutdown()


def a_session(folder: Path, release_zip: Path, isolation: str) -> contextlib.AbstractContextManager[RealHome]:
    """Return a home with a session."""

    @contextlib.contextmanager
    def made() -> Iterator[RealHome]:
        with a_real_home(folder, release_zip) as home:
            home.variables |= {"GWCTL_PASSWORD": home.account.password, "GWCTL_ISOLATION": isolation}
            home.gwctl("up").check(0)
            yield home

    return made()


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[RealHome]:
    """Return a home with a session in a gateway that is isolated."""
    with a_session(tmp_path_factory.mktemp("isolated"), real_release_zip, "required") as home:
        yield home


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, real_release_zip: Path) -> Iterator[RealHome]:
    """Return a home with a session in a gateway that is not isolated, for contrast."""
    with a_session(tmp_path_factory.mktemp("open"), real_release_zip, "off") as home:
        yield home


@contextlib.contextmanager
def a_browser(home: RealHome, program: str, *, trusts: bool) -> Iterator[Browser]:
    """Yield a browser that trusts the gateway's certificate, as after a person's click, or does not."""
    leaf = kept_leaf(Paths.for_profile("default", home.home))
    assert leaf is not None
    pin = [f"--ignore-certificate-errors-spki-list={leaf.spki_pin_base64}"] if trusts else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *pin])
        yield browser
        browser.close()


WEBSOCKET = """port => new Promise(done => {
    const socket = new WebSocket(`wss://localhost:${port}/v1/api/ws`);
    socket.onmessage = () => done('read');
    socket.onerror = () => done('refused');
})"""
IMAGE = """address => new Promise(done => {
    const image = new Image();
    image.onload = image.onerror = () => done('sent');
    image.src = address;
})"""
FORM = """address => new Promise(done => {
    document.body.innerHTML = '<iframe name=hidden></iframe><form method=post target=hidden></form>';
    document.querySelector('form').action = address;
    document.querySelector('iframe').onload = () => done('sent');
    document.querySelector('form').submit();
})"""
FETCH = """address => fetch(address, {mode: 'no-cors', credentials: 'include'}).then(() => 'sent', () => 'refused')"""
FRAME = """address => new Promise(done => {
    document.body.innerHTML = '<iframe></iframe>';
    document.querySelector('iframe').onload = () => done('sent');
    document.querySelector('iframe').src = address;
})"""
LINK = """address => { const link = document.createElement('a'); link.href = address; document.body.append(link);
    link.click(); }"""


@pytest.mark.parametrize("program", BROWSERS)
def test_a_page_of_another_site_gets_nothing_and_changes_nothing(isolated: RealHome, site: str, program: str) -> None:
    """By image, form, frame, fetch, link and WebSocket: nothing is read, and the session stays."""
    pid, entries = isolated.status()["gateway"]["pid"], len(isolated.journal())
    base = f"https://localhost:{isolated.port}"
    with a_browser(isolated, program, trusts=True) as browser:
        page = browser.new_page()
        page.goto(site)
        assert page.evaluate(WEBSOCKET, isolated.port) == "refused"
        for path in ("/clear", "/v1/api/logout", "/sso/Logout", "/v1/api/portfolio/accounts"):
            for attack in (IMAGE, FORM, FRAME, FETCH):
                page.evaluate(attack, base + path)
                page.goto(site)
            page.evaluate(LINK, base + path)
            page.wait_for_url(base + path)
            assert "another site" in page.inner_text("body")
            page.goto(site)
    assert isolated.gwctl("tickle").exit_code == 0
    assert isolated.status()["gateway"]["pid"] == pid
    assert isolated.journal()[entries:] == []  # a session that was lost, even for a moment, would be noted


@pytest.mark.parametrize("program", BROWSERS)
def test_a_person_and_the_gateways_own_pages_get_through(isolated: RealHome, site: str, program: str) -> None:
    """An address that a person types, a link to the login page, the demo's WebSocket."""
    base = f"https://localhost:{isolated.port}"
    with a_browser(isolated, program, trusts=True) as browser:
        page = browser.new_page()
        assert '"authenticated":true' in text_of(page, f"{base}/v1/api/tickle").replace(" ", "")
        page.goto(site)
        page.evaluate(LINK, f"{base}/demo")
        page.wait_for_url(f"{base}/demo")
        assert page.evaluate(WEBSOCKET, isolated.port) == "read"
        assert page.evaluate("() => fetch('/v1/api/tickle').then(answer => answer.status)") == 200


def text_of(page: Page, address: str) -> str:
    """Return what a page shows whose address was typed."""
    page.goto(address)
    return page.inner_text("body")


@pytest.mark.parametrize("program", BROWSERS)
def test_a_name_that_is_rebound_to_this_machine(isolated: RealHome, opened: RealHome, program: str) -> None:
    """A page under another name than the gateway's is of its own origin then, and is refused; without, it is served."""
    for home, served in ((isolated, False), (opened, True)):
        with a_browser(home, program, trusts=True) as browser:
            page = browser.new_page()
            said = text_of(page, f"https://{REBOUND}:{home.port}/v1/api/tickle")
            assert ("authenticated" in said) is served
            assert ("another name" in said) is not served


def test_a_browser_that_does_not_trust_the_certificate_is_refused_by_itself(isolated: RealHome, site: str) -> None:
    """Nothing is sent."""
    with a_browser(isolated, BROWSERS[0], trusts=False) as browser:
        page = browser.new_page()
        page.goto(site)
        assert page.evaluate(WEBSOCKET, isolated.port) == "refused"
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            page.goto(f"https://localhost:{isolated.port}/v1/api/tickle")


def test_the_same_page_on_a_gateway_that_is_not_isolated(opened: RealHome, site: str) -> None:
    """The contrast: the page reads the WebSocket, and its image ends the session."""
    with a_browser(opened, BROWSERS[0], trusts=True) as browser:
        page = browser.new_page()
        page.goto(site)
        assert page.evaluate(WEBSOCKET, opened.port) == "read"
        entries = len(opened.journal())
        page.evaluate(IMAGE, f"https://localhost:{opened.port}/clear")
    opened.gwctl("wait").check(0)
    assert opened.gwctl("tickle").exit_code != 0 or len(opened.journal()) > entries
