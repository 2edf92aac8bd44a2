"""Pages that the fake IBKR does not serve: the legacy one, and every panel after the password."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import login_rig as rig
import pytest
from msgspec.structs import replace

from gwctl.login.browser import Browser
from gwctl.login.outcome import LoginOutcome, LoginReport
from gwctl.login.page_state import Patience
from gwctl.login.worker_client import LoginWorker

pytestmark = pytest.mark.browser

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
PATIENCE = Patience(form_s=3.0, answer_s=5.0, swallowed_s=1.0, action_s=3.0, banner_s=0.5)

# A page in the legacy form, which posts its form as a document and is a new document afterwards.
LEGACY = """<body><form method="post" action="/sso/Authenticator">
<input name="user_name"><input name="password" type="password">
<input type="checkbox" id="paperSwitch"><label for="paperSwitch">Paper</label>
<button id="submitForm">Login</button></form>
<div class="alert alert-danger margin-top-10" hidden></div></body>"""

# A page in the current form that shows the panel named in the answer to its POST.
CURRENT = """<body><div class="xyzblock-error" hidden><p class="xyz-errormessage"></p></div>
<form id="first"><input id="xyz-field-username" name="username"><input id="xyz-field-password" type="password">
<button class="xyz-button-login">Login</button></form>
<div id="where"></div>
%s
<form class="xyzform-silver" data-panel="silver" hidden><input id="xyz-field-silver-response">
<button class="xyz-button-login">Login</button></form>
<script>
const panels = document.querySelectorAll("[data-panel]");
const show = (name) => panels.forEach((p) => { p.hidden = p.dataset.panel !== name; });
async function send(event, text) {
  if (event) event.preventDefault();
  const answer = await (await fetch("/sso/Authenticator", {method: "POST", body: text})).json();
  document.getElementById("first").hidden = !!answer.panel;
  if (answer.panel) show(answer.panel);
  if (answer.text) document.getElementById("where").insertAdjacentHTML("beforeend", answer.text);
  if (answer.banner) document.querySelector(".gstat").hidden = false;
  if (answer.done) location.href = "/sso/Dispatcher";
}
document.getElementById("first").addEventListener("submit", (e) => send(e, "password"));
document.querySelector(".xyzform-silver").addEventListener("submit",
  (e) => send(e, "code " + document.getElementById("xyz-field-silver-response").value));
const select = document.querySelector("select");
if (select) select.addEventListener("change", () => send(null, "device " + select.value));
</script></body>"""


class Front:
    """One server for the pages of all tests: it ends after the browser, which keeps its connections."""

    def __init__(self) -> None:
        self.page: Any = rig.PageServer("")
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.page(scope, receive, send)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> rig.Key:
    return rig.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def front(key: rig.Key) -> Iterator[Front]:
    front = Front()
    with rig.serve(lambda _port: front, key) as front.url:
        yield front


@pytest.fixture(scope="module")
def chromium(front: Front, key: rig.Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.OneBrowser]:
    """Yield the browser for all logins: only the pages differ."""
    with rig.one_browser(key.pin, tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def log_in(chromium: rig.OneBrowser, front: Front) -> Callable[..., rig.Login]:
    def do(page: Any, **changes: Any) -> rig.Login:
        front.page = page
        values: dict[str, Any] = {
            "base_url": front.url,
            "username": rig.USERNAME,
            "password": rig.PASSWORD,
            "deadline_s": 40.0,
            "patience": PATIENCE,
        }
        return chromium.log_in(rig.job(**values | changes))

    return do


LogIn = Callable[..., rig.Login]


def test_the_legacy_page_is_logged_in(log_in: LogIn) -> None:
    """The page from before March 2023 works too: its switch, its fields, its submit."""
    page = rig.PageServer(LEGACY, [(200, '<body><script>location.href = "/sso/Dispatcher"</script></body>')])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.page_version, login.report.submits) == ("legacy", 1)
    assert "mode switched to paper" in [step.name for step in login.steps]
    assert rig.PASSWORD in page.posts[0]


def test_the_legacy_form_again_is_a_refusal(log_in: LogIn) -> None:
    """The "redirect loop": the whole page again without a text counts as refused, and is not sent twice."""
    page = rig.PageServer(LEGACY, [(200, LEGACY)] * 3)
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.FORM_AGAIN
    assert (login.report.submits, len(page.posts)) == (1, 1)


def test_an_answer_of_503_is_ibkrs_illness(log_in: LogIn) -> None:
    """A 503 document after the submit is no refusal."""
    login = log_in(rig.PageServer(LEGACY, [(503, "<body>Service down</body>")]))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL
    assert login.report.submits == 1


def test_a_banner_after_the_submit_is_ibkrs_illness(log_in: LogIn) -> None:
    """Maintenance that begins during the login is no refusal."""
    html = CURRENT % '<div class="gstat" hidden>System maintenance</div>'
    login = log_in(rig.PageServer(html, [(200, '{"banner": true}')]))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL


@pytest.mark.parametrize(
    ("panel", "word"),
    [
        ('<form class="xyzform-fido" data-panel="x" hidden><button>Passkey</button></form>', "passkey"),
        ('<div class="xyzblock-notification" data-panel="x" hidden>Sent</div>', "notification"),
        ('<div data-panel="x" hidden><input id="xyz-field-temp-response"></div>', "temporary"),
        ('<div data-panel="x" hidden><input id="xyz-field-bronze-response"></div>', "card"),
        ('<div data-panel="x" hidden><p class="xyz-goldchallenge">123 456</p></div>', "challenge"),
        ('<div class="xyzblock-enablepush" data-panel="x" hidden>Offer</div>', "offer"),
    ],
    ids=["passkey", "push", "temporary", "card", "challenge", "offer"],
)
def test_what_only_a_person_can_answer_ends_the_login(log_in: LogIn, panel: str, word: str) -> None:
    """Each panel for a person ends the login at once and says what IBKR asks for."""
    page = rig.PageServer(CURRENT % panel, [(200, '{"panel": "x"}')])
    login = log_in(page, totp_secret=TOTP_SECRET)
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert word in login.report.text
    assert page.posts == ["password"]


def test_the_authenticator_app_is_chosen_from_the_devices(log_in: LogIn) -> None:
    """From several devices, the app is chosen by its value, and its code is sent."""
    choice = """<div class="xyzblock-multiplesf" data-panel="choice" hidden><select class="xyz-multipleselect">
    <option value="">Select</option><option value="5.2a">IB Key</option><option value="4.2">SMS</option>
    <option value="4">mobile authenticator APP</option></select></div>"""
    answers = [(200, '{"panel": "choice"}'), (200, '{"panel": "silver"}'), (200, '{"done": true}')]
    page = rig.PageServer(CURRENT % choice, answers)
    login = log_in(page, totp_secret=TOTP_SECRET)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts[:2] == ["password", "device 4"]
    assert page.posts[2].startswith("code ")
    assert login.report.submits == 1


def test_a_page_nobody_knows_names_what_was_looked_for(log_in: LogIn) -> None:
    """A page with other fields is unknown, not missing, and nothing is typed into it."""
    page = rig.PageServer('<body><input name="login"><input name="pin" type="password"></body>')
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert "#xyz-field-username" in login.report.text
    assert (login.permits, page.posts) == (0, [])


def test_a_profile_can_teach_gwctl_a_new_page(log_in: LogIn) -> None:
    """On the same page, the profile's own selectors make the login succeed."""
    html = CURRENT.replace("xyz-field-username", "who").replace('name="username"', "").replace("xyz-button-login", "go")
    page = rig.PageServer(html % "", [(200, '{"done": true}')])
    login = log_in(page, pages={"username": ["#who"], "submit": ["#first .go"]})
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert login.report.page_version == "custom"


def test_a_cookie_cover_without_a_button_is_taken_away(log_in: LogIn) -> None:
    """A dialog without any known button does not stop the submit."""
    cover = '<div id="cookie-modal" style="position:fixed;inset:0">Cookies!</div>'
    login = log_in(rig.PageServer(CURRENT % cover, [(200, '{"done": true}')]))
    assert login.report.outcome is LoginOutcome.SUCCESS


def test_a_form_sent_after_all_is_not_sent_again(log_in: LogIn) -> None:
    """A page that posts while it is being left did not ignore the form: it counts and is not sent again (law 2)."""
    late = """<script>document.getElementById("first").addEventListener("submit", (e) => {
      e.preventDefault(); e.stopImmediatePropagation();
      setTimeout(() => fetch("/sso/Authenticator", {method: "POST", body: "late"}), 1500);
    }, true);</script>"""
    page = rig.PageServer(CURRENT % late, demo_delay_s=4.0)
    login = log_in(page, patience=replace(PATIENCE, swallowed_s=0.5, demo_s=6.0))
    assert login.report.outcome is LoginOutcome.UNCLEAR
    assert login.report.outcome.counts_as_refusal
    assert (login.report.submits, login.permits, page.posts) == (1, 1, ["late"])


COMPUTES = """<script>document.getElementById("%s").addEventListener("%s", () => {
  const until = performance.now() + %d;
  while (performance.now() < until);
}, true);</script>"""


@pytest.mark.parametrize("busy_ms", [700, 2000, 4000])
def test_a_page_that_computes_what_it_sends_is_clicked_once(log_in: LogIn, busy_ms: int) -> None:
    """IBKR's page computes for long on a small machine, and does not answer: one click, one submit (law 2)."""
    page = rig.PageServer(CURRENT % COMPUTES % ("first", "submit", busy_ms), [(200, '{"done": true}')])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, login.permits, page.posts) == (1, 1, ["password"])
    assert not login.report.workaround_used


def test_a_click_that_is_confirmed_late_is_not_done_again(log_in: LogIn) -> None:
    """The page keeps the form and its button while IBKR works: a second click would send it again."""
    late = CURRENT.replace('first").hidden = !!answer.panel', 'first").hidden = false')
    answers = [(200, '{"panel": "silver"}'), (200, '{"done": true}')]
    page = rig.PageServer(late % COMPUTES % ("first", "click", 1500), answers)
    login = log_in(page, totp_secret=TOTP_SECRET)
    assert (page.posts[:1], login.permits) == (["password"], 1)
    assert [one for one in page.posts if one == "password"] == ["password"]


def test_a_page_that_begins_to_compute_late_is_waited_for(log_in: LogIn) -> None:
    """A form that is sent after a long silence without any answer from the page was not ignored."""
    late = """<script>document.getElementById("first").addEventListener("submit", (e) => {
      e.preventDefault(); e.stopImmediatePropagation();
      setTimeout(() => {
        const until = performance.now() + 2500;
        while (performance.now() < until);
        setTimeout(() => send(null, "password"), 200);
      }, 300);
    }, true);</script>"""
    page = rig.PageServer(CURRENT % late, [(200, '{"done": true}')])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, login.permits, page.posts) == (1, 1, ["password"])
    assert not login.report.workaround_used


@pytest.mark.parametrize("computes_ms", [0, 1500, 3500])
def test_a_login_that_is_taken_is_not_called_refused(log_in: LogIn, computes_ms: int) -> None:
    """An empty form is visible again until the page has computed the meaning of IBKR's answer."""
    html = (CURRENT % "").replace(
        "if (answer.done)",
        f"""document.getElementById("xyz-field-password").value = "";
  await new Promise((go) => setTimeout(() => {{
    const until = performance.now() + {computes_ms};
    while (performance.now() < until);
    setTimeout(go, 50);
  }}, 150));
  if (answer.done)""",
    )
    page = rig.PageServer(html, [(200, '{"done": true}')])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.report.submits, login.permits, page.posts) == (1, 1, ["password"])


def test_a_login_page_of_503_spends_nothing(log_in: LogIn) -> None:
    """A login page with an error status ends the login before anything is typed."""
    page = rig.PageServer("<body>down</body>", status=503)
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL
    assert login.permits == 0


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_page_that_turns_the_browser_away_is_ibkrs(log_in: LogIn, status: int) -> None:
    """The same with an HTML page: the login ends at once, without waiting for a form."""
    login = log_in(rig.PageServer("<body>Access Denied</body>", status=status))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL
    assert str(status) in login.report.text


@pytest.mark.parametrize(
    ("target", "outcome", "text"),
    [
        ("https://nowhere.invalid/", LoginOutcome.UPSTREAM_ILL, "does not resolve (DNS)"),
        ("/", LoginOutcome.UPSTREAM_ILL, "ERR_TOO_MANY_REDIRECTS"),
        ("https://localhost:22/", LoginOutcome.PORT_FORBIDDEN, "ERR_UNSAFE_PORT"),
        ("gopher://localhost/", LoginOutcome.UPSTREAM_ILL, "without a page"),
        (None, LoginOutcome.UPSTREAM_ILL, "without a page"),
    ],
)
def test_where_a_redirect_leads_is_not_the_browsers_fault(
    log_in: LogIn, target: str | None, outcome: LoginOutcome, text: str
) -> None:
    """Each failure to reach a page is attributed to the party at fault; None: 204, no page at all."""

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        assert scope["path"] == "/"
        headers = [] if target is None else [(b"location", target.encode())]
        await send({"type": "http.response.start", "status": 302 if target else 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    login = log_in(app)
    assert login.report.outcome is outcome
    assert text in login.report.text
    assert login.permits == 0


def test_a_port_where_nobody_answers_is_a_page_that_never_came(key: rig.Key, chromium: rig.OneBrowser) -> None:
    """A gateway that has ended is distinguished from a failed browser."""
    with rig.serve(lambda _port: rig.PageServer(""), key) as url:
        pass
    login = chromium.log_in(rig.job(url, rig.USERNAME, rig.PASSWORD, patience=PATIENCE))
    assert login.report.outcome is LoginOutcome.PAGE_NEVER_CAME
    assert "ERR_CONNECTION_REFUSED" in login.report.text


def test_a_browser_that_does_not_start_is_said(tmp_path: Path) -> None:
    """A program that is no browser ends in a separate outcome, and leaves nothing behind."""

    async def run() -> LoginReport:
        browser = Browser("chrome", Path("/bin/false"), "setting")
        async with LoginWorker.start(browser, "x", tmp_path, environ=os.environ) as worker:
            job = rig.job("https://localhost:1", rig.USERNAME, rig.PASSWORD)
            return await worker.run(job, lambda _step: None, lambda: asyncio.sleep(0, result=True))

    report = asyncio.run(run())
    assert report.outcome is LoginOutcome.BROWSER_FAILED
    assert "does not start" in report.text
    assert json.dumps(report.to_json())
