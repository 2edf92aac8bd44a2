"""Pages unlike every version of IBKR's: errors in other places, covers, switches, unknown steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import login_rig as rig
import pytest
from msgspec.structs import replace
from test_login_served_pages import CURRENT, PATIENCE, TOTP_SECRET, Front

from gwctl.login.codes import Kind, Method, Question
from gwctl.login.outcome import LoginOutcome

pytestmark = [pytest.mark.browser, pytest.mark.waits]

QUICK = replace(PATIENCE, words_s=1.5, blank_s=1.0, answer_s=8.0)
REFUSED = "Invalid username password combination"

LogIn = Callable[..., rig.Login]
Reply = Callable[[Question], str | None]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, rig.OneBrowser]]:
    """Yield the server of the pages and the browser for all logins."""
    key = rig.make_key(tmp_path_factory.mktemp("key"))
    front = Front()
    with (
        rig.serve(lambda _port: front, key) as front.url,
        rig.one_browser(key.pin, tmp_path_factory.mktemp("browser")) as chromium,
    ):
        yield front, chromium


@pytest.fixture
def log_in(places: tuple[Front, rig.OneBrowser]) -> LogIn:
    front, chromium = places

    def do(page: rig.PageServer, *, answer: Reply | None = None, **changes: Any) -> rig.Login:
        front.page = page
        values: dict[str, Any] = {
            "base_url": front.url,
            "username": rig.USERNAME,
            "password": rig.PASSWORD,
            "deadline_s": 40.0,
            "patience": QUICK,
        }
        return chromium.log_in(rig.job(**values | changes), answer=answer)

    return do


def says(**answer: str | bool) -> tuple[int, str]:
    """Return an answer to the form's POST, for the page's script."""
    return 200, json.dumps(answer)


# What the page says after the submit.


@pytest.mark.each_value
@pytest.mark.parametrize(
    "place",
    [
        '<div><input class="is-invalid"><div class="invalid-feedback">%s</div></div>',
        '<div role="alert" class="alert alert-danger">%s</div>',
        '<div role="alert">%s</div>',
        "<div class='nobody-knows'><b>%s</b></div>",
        "<label class='error'>%s</label>",
        '<div role="alert">We will be closed on Friday.</div><div role="alert">%s</div>',
    ],
    ids=["feedback", "alert-danger", "alert", "plain", "label", "second alert"],
)
@pytest.mark.parametrize("panel", [None, "gone"])
def test_a_refusal_in_any_place_is_one_at_once(log_in: LogIn, place: str, panel: str | None) -> None:
    """With the words in any place, with or without the form, the password was refused: at once, counted, sent once."""
    page = rig.PageServer(CURRENT % "", [says(text=place % REFUSED, **({"panel": panel} if panel else {}))])
    login = log_in(page, patience=replace(QUICK, words_s=30.0, answer_s=35.0))
    assert login.report.outcome is LoginOutcome.REFUSED
    assert REFUSED in login.report.text
    assert (login.report.submits, login.permits, page.posts) == (1, 1, ["password"])
    assert login.report.durations_ms["answer"] < 30_000, "only after the wait for words that may still change"


@pytest.mark.parametrize(
    "place", ['<div class="is-invalid"></div><p class="invalid-feedback">%s</p>', "<p role=alert>%s</p>", "<p>%s</p>"]
)
def test_a_refused_code_that_stays_in_its_field_is_seen(log_in: LogIn, place: str) -> None:
    """Words of refusal next to the typed code: one more code is requested, and no third one."""
    wrong = says(text=place % "Incorrect security code", panel="silver")
    page = rig.PageServer(CURRENT % "", [says(panel="silver"), wrong, wrong])
    codes = iter(["111111", "222222", "333333"])
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: next(codes))
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_REFUSED
    assert page.posts == ["password", "code 111111", "code 222222"]


@pytest.mark.parametrize(
    "words",
    [
        "Your account needs attention. Please contact client services.",
        "Annual review: confirm that your information is correct.",
        "You have been logged out.",
        "Please read and sign the new agreement.",
    ],
)
def test_a_page_that_nobody_knows_is_read_out(log_in: LogIn, words: str) -> None:
    """A settled page with words is a verdict: the words are reported, it counts, and a person must read them."""
    page = rig.PageServer(CURRENT % "", [says(text=f"<p>{words}</p><button>Continue</button>", panel="gone")])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.UNKNOWN_TEXT
    assert words in login.report.text
    assert login.report.outcome.counts_as_refusal
    assert (login.report.submits, page.posts) == (1, ["password"])


def test_an_offer_that_nobody_knows_is_skipped(log_in: LogIn) -> None:
    """A page that can be skipped is skipped, and its words are in the step."""
    offer = """<section id=offer><p>Keep your details up to date.</p>
    <button onclick="send(null, 'skipped')">Remind me later</button></section>"""
    page = rig.PageServer(CURRENT % "", [says(text=offer, panel="gone"), says(done=True)])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert "page skipped: Keep your details up to date." in [step.name for step in login.steps]


def test_a_page_that_asks_for_patience_is_waited_for(log_in: LogIn) -> None:
    """Words that ask to wait are no verdict; the login continues when the page does."""
    wait = (
        "<p>Loading your account</p><img src=x onerror='setTimeout(() => location.href = \"/sso/Dispatcher\", 4000)'>"
    )
    login = log_in(rig.PageServer(CURRENT % "", [says(text=wait, panel="gone")]))
    assert login.report.outcome is LoginOutcome.SUCCESS


def test_words_with_a_clock_settle_all_the_same(log_in: LogIn) -> None:
    """A running clock on the page does not stop it from being read."""
    clock = """<p id=c>Your session ends in 99 s</p>
    <img src=x onerror="setInterval(() => { c.textContent = `Your session ends in ${performance.now()} s` }, 200)">"""
    login = log_in(rig.PageServer(CURRENT % "", [says(text=clock, panel="gone")]))
    assert login.report.outcome is LoginOutcome.UNKNOWN_TEXT
    assert login.report.durations_ms["answer"] < 5000


# What appears after the click but is not its answer.

LATER = """<script>addEventListener("submit", () => setTimeout(() => {
  document.getElementById("where").insertAdjacentHTML("beforeend", %s);
}, 300), true);</script>"""
SLOW = """<script>const real = window.fetch;
window.fetch = async (...all) => { await new Promise((go) => setTimeout(go, 2500)); return real(...all); }</script>"""


@pytest.mark.each_value
@pytest.mark.parametrize(
    "announcement",
    [
        "<div class=gstat>Scheduled maintenance on Saturday</div>",
        "<div role=alert>Scheduled maintenance on Saturday</div>",
        "<div role=alert>The office is closed on Friday.</div>",
        "<p>The office is closed on Friday.</p>",
    ],
)
@pytest.mark.parametrize("slow", ["", SLOW], ids=["before", "meanwhile"])
def test_an_announcement_does_not_end_a_login(log_in: LogIn, announcement: str, slow: str) -> None:
    """Content that the page loads later is not the answer: neither before the form is sent nor while IBKR works."""
    html = CURRENT % (slow + LATER % json.dumps(announcement))
    page = rig.PageServer(html, [says(done=True)])
    login = log_in(page, patience=replace(QUICK, swallowed_s=3.5))
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.permits, page.posts) == (1, ["password"])


@pytest.mark.parametrize(
    "announcement", ["<div class=gstat>Maintenance</div>", "<div role=alert>Closed on Friday.</div>"]
)
def test_an_announcement_does_not_end_a_push(log_in: LogIn, announcement: str) -> None:
    """A notification that waits on the phone is awaited, whatever the page announces."""
    push = f"""<div class="xyzblock-notification" data-panel="x" hidden>Sent</div>{LATER % json.dumps(announcement)}
    <script>addEventListener("submit", () => {{
      setTimeout(() => location.href = "/sso/Dispatcher", 4000);
    }}, true);</script>"""
    login = log_in(rig.PageServer(CURRENT % push, [says(panel="x")]), method=Method.PUSH)
    assert login.report.outcome is LoginOutcome.SUCCESS


def test_telemetry_beside_a_swallowed_form_is_no_submit(log_in: LogIn) -> None:
    """The path decides what a POST means: the page ignored the form, and the password never left the browser."""
    telemetry = """<script>document.getElementById("first").addEventListener("submit", (e) => {
      e.preventDefault(); e.stopImmediatePropagation();
      fetch("/sso/telemetry", {method: "POST", body: "clicked"});
    }, true);</script>"""
    page = rig.PageServer(CURRENT % telemetry)
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SWALLOWED
    assert login.report.submits == 0
    assert login.report.workaround_used


def test_a_form_that_goes_elsewhere_has_gone(log_in: LogIn) -> None:
    """A POST that carries the username is the form's, on any path: it is not sent twice (law 2)."""
    elsewhere = """<script>document.getElementById("first").addEventListener("submit", (e) => {
      e.preventDefault(); e.stopImmediatePropagation();
      fetch("/v2/session", {method: "POST", body: JSON.stringify({user: e.target[0].value})});
      e.target[1].value = "";
    }, true);</script>"""
    login = log_in(rig.PageServer(CURRENT % elsewhere))
    assert login.report.outcome is LoginOutcome.FORM_AGAIN
    assert (login.report.submits, login.permits) == (1, 1)


_ELSEWHERE = """<script>document.getElementById("first").addEventListener("submit", async (e) => {
  e.preventDefault(); e.stopImmediatePropagation();
  %s
}, true);</script>"""


@pytest.mark.parametrize(
    "sends",
    [
        'fetch("/v2/session", {method: "POST", body: e.target[0].value.toUpperCase()}); e.target[1].value = "";',
        'fetch("/v2/session", {method: "PUT", body: e.target[0].value}); e.target[1].value = "";',
        'location.href = "/?user=" + e.target[0].value;',
        """const socket = new WebSocket("wss://" + location.host + "/v2/socket"), user = e.target[0].value;
        socket.onerror = () => 0; e.target[1].value = "";""",
    ],
    ids=["upper case", "PUT", "GET", "socket that is refused"],
)
def test_a_form_that_goes_in_another_way_is_not_sent_twice(log_in: LogIn, sends: str) -> None:
    """Sent in any way, a request that carries the username is the form (law 2)."""
    login = log_in(rig.PageServer(CURRENT % _ELSEWHERE % sends))
    if "socket" in sends:  # nothing was sent over it
        assert login.report.outcome is LoginOutcome.SWALLOWED
    else:
        assert login.report.outcome is LoginOutcome.FORM_AGAIN
        assert (login.report.submits, login.permits) == (1, 1)


def test_a_success_was_sent_whatever_carried_it(log_in: LogIn) -> None:
    """An unknown way to send hides the form in the traffic; the page shows that it was sent (law 2)."""
    sends = """fetch("/v2/session", {method: "POST", body: btoa(e.target[0].value)})
      .finally(() => { location.href = "/sso/Dispatcher"; });"""
    login = log_in(rig.PageServer(CURRENT % _ELSEWHERE % sends))
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert login.report.submits == 1


def test_a_form_without_an_answer_may_have_been_sent(log_in: LogIn) -> None:
    """The form was sent in an unknown way: its ledger entry stays (law 2)."""
    sends = """fetch("/v2/session", {method: "POST", body: btoa(e.target[0].value)}); e.target.hidden = true;"""
    login = log_in(rig.PageServer(CURRENT % _ELSEWHERE % sends))
    assert login.report.outcome is LoginOutcome.TIMED_OUT
    assert login.report.submits == 1


def test_a_refusal_is_not_taken_back_by_a_second_try_without_an_answer(log_in: LogIn) -> None:
    """First the form came back without a word, then the page ignored it: the first answer stands (law 2)."""
    sends = """if (sessionStorage.sent) return;
    sessionStorage.sent = 1; await send(null, "password"); document.getElementById("xyz-field-password").value = "";"""
    page = rig.PageServer(CURRENT % _ELSEWHERE % sends)
    login = log_in(page, first_after_start=True, has_worked=True)
    assert login.report.outcome is LoginOutcome.FORM_AGAIN
    assert page.posts == ["password"]


def test_nothing_goes_out_while_a_swallowed_form_is_kept(log_in: LogIn, tmp_path: Path) -> None:
    """A page that wakes up during its screenshot sends no password that is missing from the ledger (law 2)."""
    sends = """const wake = new MutationObserver(() => { wake.disconnect(); send(null, "password"); });
    wake.observe(document.documentElement, {childList: true, subtree: true});"""
    page = rig.PageServer(CURRENT % _ELSEWHERE % sends)
    login = log_in(page, evidence_dir=tmp_path / "evidence")
    assert login.report.outcome is LoginOutcome.SWALLOWED
    assert (login.report.submits, page.posts) == (0, [])
    assert (Path(login.report.evidence or "") / "page.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        "Your account needs attention: maintenance margin call",
        "An account maintenance fee is due.",
        "Trading permissions are currently unavailable.",
    ],
)
def test_what_a_page_asks_of_a_client_is_no_outage(log_in: LogIn, words: str) -> None:
    """A page about maintenance of a margin is reported and counted; it is no outage."""
    page = rig.PageServer(CURRENT % "", [says(text=f"<p>{words}</p>", panel="gone")])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.UNKNOWN_TEXT
    assert words in login.report.text


def test_a_warning_beside_a_question_is_no_refusal(log_in: LogIn) -> None:
    """Next to the field for a code, a page may warn about refusals; the code is sent all the same."""
    warning = "<p>Too many failed attempts: your account is locked by them.</p><p>Cookies must be enabled.</p>"
    page = rig.PageServer(CURRENT % "", [says(text=warning, panel="silver"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS


_ENCODED = 'fetch("%s", {method: "POST", body: btoa(e.target[0].value + e.target[1].value)});%s'


@pytest.mark.parametrize("after", ['e.target[1].value = "";', ""], ids=["cleared", "stays"])
@pytest.mark.parametrize("worked", [False, True])
def test_a_form_that_nobody_can_read_on_the_wire_may_have_been_sent(log_in: LogIn, after: str, *, worked: bool) -> None:
    """A POST to an unknown path with an encoded body may be the form: it is counted, and not sent twice (law 2).

    One that has worked before is sent twice after a start of the gateway, like any form without a result.
    """
    login = log_in(rig.PageServer(CURRENT % _ELSEWHERE % _ENCODED % ("/v2/session", after)), first_after_start=True,
                   has_worked=worked, patience=replace(QUICK, idle_s=2.0))  # fmt: skip
    assert login.report.outcome is (LoginOutcome.FORM_AGAIN if after else LoginOutcome.TIMED_OUT)
    assert (login.report.submits, login.permits) == ((2, 2) if worked else (1, 1))
    assert login.report.workaround_used is worked


def test_a_form_that_is_a_document_of_its_own_path_may_have_been_sent(log_in: LogIn) -> None:
    """The same holds for a form that the browser itself sends, to any address."""
    sends = """const form = document.createElement("form"); form.method = "post"; form.action = "/";
      const one = document.createElement("input"); one.name = "d";
      one.value = btoa(e.target[0].value + e.target[1].value);
      form.append(one); document.body.append(form); form.submit();"""
    login = log_in(rig.PageServer(CURRENT % _ELSEWHERE % sends))
    assert login.report.outcome is LoginOutcome.FORM_AGAIN
    assert (login.report.submits, login.permits) == (1, 1)


@pytest.mark.parametrize("path", ["/sso/metrics", "/api/v1/events", "/sso/own"])
def test_what_a_page_tells_of_itself_is_no_form(log_in: LogIn, path: str) -> None:
    """Telemetry is known by its path, or by requests before the click: the page ignored the form next to it."""
    tells = f'fetch("{path}", {{method: "POST", body: "a".repeat(99)}});'
    page = rig.PageServer(CURRENT % (f"<script>{tells}</script>" + _ELSEWHERE % tells))
    login = log_in(page)
    assert (login.report.outcome, login.report.submits) == (LoginOutcome.SWALLOWED, 0)


@pytest.mark.parametrize("worked", [False, True])
def test_an_announcement_beside_a_form_without_an_answer_is_none(log_in: LogIn, *, worked: bool) -> None:
    """Words next to a form that stays filled do not count before an answer came; they are reported."""
    sends = """fetch("/sso/Authenticator", {method: "POST", body: "password", signal: AbortSignal.timeout(300)})
      .catch(() => setTimeout(() => document.body.insertAdjacentHTML("beforeend", "<p>Closed on Friday.</p>"), 300));"""
    page = rig.PageServer(CURRENT % _ELSEWHERE % sends, delay_s=1.0)
    login = log_in(page, first_after_start=True, has_worked=worked, patience=replace(QUICK, idle_s=2.0, answer_s=4.0))
    assert login.report.outcome is LoginOutcome.TIMED_OUT
    assert "Closed on Friday." in login.report.text
    assert login.report.workaround_used is worked
    assert login.report.submits == 1 + worked


def test_a_page_that_is_busy_again_and_again_has_not_lost_count(log_in: LogIn) -> None:
    """Busy times do not count, and do not undo the count: a form without a result is sent once more in the end."""
    busy = "setInterval(() => { const at = Date.now(); while (Date.now() - at < 900) {} }, 2000);"
    sends = f'fetch("/sso/Authenticator", {{method: "POST", body: "password"}}); {busy}'
    page = rig.PageServer(CURRENT % _ELSEWHERE % sends)
    patience = replace(QUICK, idle_s=2.0, answer_s=14.0)
    login = log_in(page, first_after_start=True, has_worked=True, patience=patience)
    assert (login.report.workaround_used, login.report.submits) == (True, 2)


# Steps after the password.

OTP = """<div class="xyzblock-otpselector" data-panel="otp" hidden><p>How do you want your code?</p>
<button type=button class="xyz-otp-select-text" onclick="send(null, 'text')">SMS</button>
<button type=button class="xyz-otp-select-voice" onclick="send(null, 'voice')">Call me</button>
<button type=button class="xyz-otp-select-email" onclick="send(null, 'email')">E-mail</button></div>"""


@pytest.mark.parametrize(
    ("device", "channel", "kind"),
    [(None, "text", Kind.SMS), ("voice", "voice", Kind.VOICE), ("e-mail", "email", Kind.EMAIL)],
)
def test_the_channel_of_the_code_is_chosen(log_in: LogIn, device: str | None, channel: str, kind: Kind) -> None:
    """The code is requested by SMS, or as the profile says, and the person who enters it learns which it is."""
    page = rig.PageServer(CURRENT % OTP, [says(panel="otp"), says(panel="silver"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, device=device, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["password", channel, "code 123456"]
    assert [question.kind for question in login.questions] == [kind]


def test_a_code_that_nobody_could_give_is_not_sent_for(log_in: LogIn) -> None:
    """If codes come from a secret, a choice of channel ends the login and says so; no SMS is sent."""
    page = rig.PageServer(CURRENT % OTP, [says(panel="otp")])
    login = log_in(page, totp_secret=TOTP_SECRET, method=Method.TOTP)
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert "SMS" in login.report.text
    assert page.posts == ["password"]


RESEND = """<section data-panel="sms" hidden>%s<form onsubmit="send(event, 'code ' + k.value)">
<input id="k" inputmode="numeric">
<button type="button" class="xyz-resend-sms-button" onclick="send(null, 'resend')">Resend</button>
<button>Continue</button></form></section>"""


@pytest.mark.parametrize(
    ("codes", "posts", "asked"),
    [
        (["123456"], ["password", "code 123456"], [False]),
        ([None, "123456"], ["password", "resend", "code 123456"], [False, True]),
        ([None, None], ["password", "resend"], [False, True]),
    ],
    ids=["given", "given the second time", "not given"],
)
def test_a_code_by_sms_that_nobody_gives_is_sent_again_once(
    log_in: LogIn, codes: list[str | None], posts: list[str], asked: list[bool]
) -> None:
    """If no code came, the page's button sends it once more, and never a third time."""
    answers = [says(panel="sms"), *([says(panel="sms")] if "resend" in posts else []), says(done=True)]
    page = rig.PageServer(CURRENT % (RESEND % "<p>A code was sent by SMS.</p>"), answers)
    given = iter(codes)
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: next(given))
    succeeds = codes[-1] is not None
    assert login.report.outcome is (LoginOutcome.SUCCESS if succeeds else LoginOutcome.SECOND_FACTOR_NEEDED)
    assert page.posts == posts
    assert [question.again for question in login.questions] == asked


def test_a_code_that_the_page_says_was_not_sent_is_asked_for(log_in: LogIn) -> None:
    """If the page says that no code was sent, it is requested again, before anybody waits for it."""
    html = CURRENT % (RESEND % "<p>The code could not be sent by SMS.</p>")
    page = rig.PageServer(html, [says(panel="sms"), says(panel="sms"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["password", "resend", "code 123456"]


@pytest.mark.parametrize("method", [Method.AUTO, Method.NONE])
def test_no_code_is_sent_again_for_nobody(log_in: LogIn, method: Method) -> None:
    """Without a person to enter a code, no second SMS is sent."""
    page = rig.PageServer(CURRENT % (RESEND % "<p>The code could not be sent by SMS.</p>"), [says(panel="sms")])
    login = log_in(page, method=method)
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert page.posts == ["password"]


DEVICES = """<div class="xyzblock-multiplesf" data-panel="choice" hidden>
<select class="xyz-multipleselect" style="display: none"><option value="">Select</option>%s</select>
<ul>%s</ul></div>"""


def devices(*names: tuple[str, str]) -> str:
    """Return a list of devices that is drawn next to its hidden native one."""
    options = "".join(f'<option value="{value}">{label}</option>' for value, label in names)
    entries = "".join(
        f"<li onclick=\"send(null, 'device {value}')\"><span>{label}</span></li>" for value, label in names
    )
    return DEVICES % (options, entries)


@pytest.mark.parametrize("device", [None, "4.2"])
def test_a_device_is_chosen_from_a_list_that_is_drawn(log_in: LogIn, device: str | None) -> None:
    """A list made of other elements is used as by a person, by value and by label; a passkey is left alone."""
    html = CURRENT % devices(("9", "Passkey"), ("5.2a", "IB Key"), ("4.2", "SMS"), ("4", "Mobile Authenticator App"))
    page = rig.PageServer(html, [says(panel="choice"), says(panel="silver"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, device=device, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["password", f"device {device or '4'}", "code 123456"]


@pytest.mark.parametrize(
    ("button", "sent"),
    [
        ("<button class='xyz-button-login' onclick=\"send(event, 'device 4')\">Continue</button>", ["device 4"]),
        ("", []),
    ],
    ids=["with a button", "without"],
)
def test_a_form_that_stays_is_not_sent_again_for_a_device(log_in: LogIn, button: str, sent: list[str]) -> None:
    """The list is below the form, which stays visible: its button is not the form's (law 2)."""
    below = f"""<div data-panel="choice" hidden><select class="xyz-multipleselect"><option value="">Select</option>
    <option value="4">Mobile Authenticator App</option><option value="4.2">SMS</option></select>{button}</div>"""
    stays = (CURRENT % below).replace('first").hidden = !!answer.panel', 'first").hidden = false')
    stays = stays.replace('if (select) select.addEventListener("change"', 'if (0) select.addEventListener("change"')
    answers = [says(panel="choice"), says(panel="silver"), says(done=True)]
    page = rig.PageServer(stays, answers)
    log_in(page, method=Method.COMMAND, answer=lambda _question: "123456")
    assert page.posts[:2] == ["password", *sent]
    assert page.posts.count("password") == 1


@pytest.mark.parametrize(
    "panel",
    [
        devices(("9", "Passkey")).replace('data-panel="choice"', 'data-panel="x"'),
        '<form class="xyzform-fido" data-panel="x" hidden><button>Use a passkey</button></form>',
        '<div data-panel="x" hidden><p>Verify that it is you with your passkey</p></div>',
    ],
    ids=["list", "known form", "words"],
)
def test_nothing_but_a_passkey_is_said(log_in: LogIn, panel: str) -> None:
    """For a page that offers only a passkey, the report says what a person can do, in seconds."""
    login = log_in(rig.PageServer(CURRENT % panel, [says(panel="x")]))
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert "passkey" in login.report.text
    assert "Add another second factor".lower() in login.report.text.lower()
    assert login.report.durations_ms["answer"] < 4000


def test_a_passkey_is_left_for_another_way(log_in: LogIn) -> None:
    """If the panel for a passkey leads to another second factor, that is chosen."""
    fido = """<form class="xyzform-fido" data-panel="x" hidden><p>Use your passkey</p>
    <a href="#" onclick="send(null, 'other')">Try another way</a></form>"""
    page = rig.PageServer(CURRENT % fido, [says(panel="x"), says(panel="silver"), says(done=True)])
    login = log_in(page, totp_secret=TOTP_SECRET)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts[1] == "other"


@pytest.mark.each_value
@pytest.mark.parametrize("known", ['placeholder="Enter code"', "inputmode=numeric", "autocomplete=one-time-code"])
@pytest.mark.parametrize(
    ("words", "kind"), [("Enter the code", Kind.APP), ("We sent a text message", Kind.SMS), ("By e-mail", Kind.EMAIL)]
)
def test_a_field_that_is_for_a_code_by_what_it_has(log_in: LogIn, known: str, words: str, kind: Kind) -> None:
    """A field without a known name is recognized as a code's by generic features, its kind by the words."""
    field = f"""<form data-panel="x" hidden onsubmit="send(event, 'code ' + this[0].value)">
    <p>{words}</p><input {known}><button>Verify</button></form>"""
    page = rig.PageServer(CURRENT % field, [says(panel="x"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["password", "code 123456"]
    assert [question.kind for question in login.questions] == [kind]


def test_a_qr_code_is_for_a_person(log_in: LogIn) -> None:
    """A QR code is reported at once."""
    login = log_in(
        rig.PageServer(CURRENT % '<div class="xyzblock-qrcode" data-panel="x" hidden>Scan</div>', [says(panel="x")])
    )
    assert login.report.outcome is LoginOutcome.SECOND_FACTOR_NEEDED
    assert "QR code" in login.report.text


# Present, but not operable.

BOX = '<input type="checkbox" id="toggle1" name="paperSwitch" %s>'
MODE = """<script>document.getElementById("first").addEventListener("submit", (e) => {
  e.preventDefault(); e.stopImmediatePropagation();
  send(null, document.querySelector("[name=paperSwitch]").checked ? "paper" : "live");
}, true);</script>"""
HIDE = 'style="display: none"'


@pytest.mark.parametrize(
    "switch",
    [
        f'{BOX % HIDE}<label for="toggle1">Paper</label>',
        f"<label>{BOX % HIDE}<span>Paper</span></label>",
        f"{BOX % HIDE}<span onclick='toggle1.click()'>Paper</span>",
        f"<span onclick='toggle1.click()'>Paper</span>{BOX % HIDE}",
        f"<div {HIDE}>{BOX % ''}</div>",
        BOX % "",
    ],
    ids=["label for", "label around", "drawn after", "drawn before", "hidden panel", "plain"],
)
@pytest.mark.parametrize("mode", ["paper", "live"])
def test_the_form_is_sent_in_the_profiles_mode(log_in: LogIn, switch: str, mode: str) -> None:
    """With any drawn or hidden switch, a paper profile never submits in live mode."""
    page = rig.PageServer(CURRENT % (switch + MODE), [says(done=True)])
    login = log_in(page, mode=mode)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == [mode]


def test_a_switch_that_does_not_move_sends_nothing(log_in: LogIn) -> None:
    """A paper profile on a page whose switch stays live ends before the submit."""
    stuck = (BOX % HIDE) + "<script>toggle1.addEventListener('click', (e) => e.preventDefault())</script>" + MODE
    page = rig.PageServer(CURRENT % stuck)
    login = log_in(page, patience=replace(QUICK, action_s=1.0))
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert (login.permits, page.posts) == (0, [])


@pytest.mark.parametrize("switch", [f"<label for=toggle1 style='display: inline-block'>{BOX % HIDE}Paper</label>", ""])
def test_a_cover_that_nobody_knows_is_taken_away(log_in: LogIn, switch: str) -> None:
    """A banner over the form is hidden locally, as a person closes it, and the step has its words."""
    cover = "<div style='position: fixed; inset: 0; background: white'><p>Our new app is here!</p></div>"
    page = rig.PageServer(CURRENT % (switch + cover), [says(done=True)])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert any(step.name.endswith("Our new app is here!") for step in login.steps)
    assert (login.permits, page.posts) == (1, ["password"])


@pytest.mark.parametrize("how", ["disabled", "ariaDisabled"])
def test_a_button_that_is_disabled_for_a_while_is_waited_for(log_in: LogIn, how: str) -> None:
    """After eight seconds it still waits, and it requests no permit before the button is ready."""
    late = f"""<script>const b = document.querySelector(".xyz-button-login"); b.{how} = true;
    setTimeout(() => {{ b.{how} = {"false" if how == "disabled" else "'false'"}; }}, 8000);</script>"""
    page = rig.PageServer(CURRENT % late, [says(done=True)])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.permits, page.posts) == (1, ["password"])


def test_a_button_that_stays_disabled_costs_no_permit(log_in: LogIn) -> None:
    """The report says what stays unusable; nothing is written to the ledger."""
    html = (CURRENT % "").replace('class="xyz-button-login"', 'class="xyz-button-login" disabled')
    login = log_in(rig.PageServer(html), patience=replace(QUICK, operable_s=1.0))
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert "stays disabled" in login.report.text
    assert login.permits == 0


def test_fields_that_are_emptied_while_the_button_is_disabled_are_filled_again(log_in: LogIn) -> None:
    """If a page empties its fields late, and enables its button only for full ones, they are filled again first."""
    late = """<script>const b = document.querySelector(".xyz-button-login"), f = document.getElementById("first");
    const full = () => f[0].value && f[1].value && performance.now() > 2500;
    setInterval(() => { b.disabled = !full(); }, 50); b.disabled = true;
    setTimeout(() => { f[0].value = f[1].value = ""; }, 1500);</script>"""
    page = rig.PageServer(CURRENT % late, [says(done=True)])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert (login.permits, page.posts) == (1, ["password"])


@pytest.mark.parametrize("beside", ["", LATER % json.dumps("<p>The office is closed on Friday.</p>")])
def test_a_code_that_enter_does_not_send_is_sent_by_its_button(log_in: LogIn, beside: str) -> None:
    """A field that ignores Enter is sent by the button next to it, once."""
    field = f"""<div data-panel="x" hidden><p>Enter your code</p><div><input placeholder="Code" id=k></div>
    <button onclick="send(null, 'code ' + k.value)">Verify</button></div>{beside}"""
    page = rig.PageServer(CURRENT % field, [says(panel="x"), says(done=True)])
    login = log_in(page, method=Method.COMMAND, answer=lambda _question: "123456")
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["password", "code 123456"]


def test_telemetry_does_not_keep_a_page_from_being_read(log_in: LogIn) -> None:
    """A page that constantly reports something still counts as quiet, and its words are judged."""
    ticks = """<script>setInterval(() => fetch("/sso/telemetry", {method: "POST", body: "tick"}), 200)</script>"""
    page = rig.PageServer(CURRENT % ticks, [says(text="<p>You have been logged out.</p>", panel="gone")])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.UNKNOWN_TEXT
    assert login.report.durations_ms["answer"] < 5000


def test_illness_beside_a_new_form_is_no_refusal(log_in: LogIn) -> None:
    """If an error comes together with the form, its text decides."""
    html = (CURRENT % "").replace(
        "if (answer.banner)", "document.getElementById('xyz-field-password').value = ''; if (answer.banner)"
    )
    text = "<p role=alert>An error occurred while communicating with the server</p>"
    login = log_in(rig.PageServer(html, [says(text=text)]))
    assert login.report.outcome is LoginOutcome.UPSTREAM_ILL


# A page that is blank at first.


def test_a_blank_page_is_reloaded_soon(log_in: LogIn) -> None:
    """A loaded document without content is not awaited for the form's whole time."""

    class BlankAtFirst(rig.PageServer):
        def _answer(self, method: str, path: str, body: str) -> tuple[int, str, str]:
            status, text, kind = super()._answer(method, path, body)
            return (status, "<body></body>", kind) if path == "/" and self.opened == 1 else (status, text, kind)

    page = BlankAtFirst(CURRENT % "", [says(done=True)])
    login = log_in(page, patience=replace(QUICK, form_s=30.0))
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.opened == 2
    assert login.report.durations_ms["form"] < 5000


@dataclass
class Unanswered(rig.PageServer):
    """The first request for ``hangs`` gets no answer, like those that a gateway took while IBKR was away."""

    hangs: str = "/"
    hung: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == self.hangs and not self.hung:
            self.hung += 1
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await super().__call__(scope, receive, send)

    def _answer(self, method: str, path: str, body: str) -> tuple[int, str, str]:
        return (200, "", "text/javascript") if path == self.hangs != "/" else super()._answer(method, path, body)


@pytest.mark.parametrize("hangs", ["/", "/sso/page.js"], ids=["page", "script"])
def test_what_is_never_answered_is_asked_for_again(log_in: LogIn, hangs: str) -> None:
    """IBKR returns a moment after the page was requested: the login does not wait for the whole time limit."""
    html = (CURRENT % "").replace("<body>", f"<head><script src={hangs}></script></head><body hidden>", 1)
    html += "<script>document.body.hidden = false</script>"
    page = Unanswered(CURRENT % "" if hangs == "/" else html, [says(done=True)], hangs=hangs)
    login = log_in(page, patience=replace(QUICK, form_s=20.0, unanswered_s=2.0))
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert page.hung == 1
    assert login.report.durations_ms["form"] < 8000


def test_a_page_whose_script_comes_late_is_not_blank(log_in: LogIn) -> None:
    """A pending request may be the form."""
    late = "<body><script>setTimeout(async () => { document.body.innerHTML = `%s`; }, 0)</script></body>"
    html = late % "<p>Loading</p>"
    login = log_in(rig.PageServer(html), patience=replace(QUICK, form_s=2.5))
    assert login.report.outcome is LoginOutcome.PAGE_NEVER_CAME
    assert "page blank" not in [step.name for step in login.steps]


@pytest.mark.parametrize("style", ["", HIDE], ids=["box", "label"])
def test_the_switch_that_is_seen_is_the_forms(log_in: LogIn, style: str) -> None:
    """Another layout's switch, hidden and set to paper, does not make a paper profile submit in live mode."""
    other = f"<div hidden>{BOX % 'checked'}</div>"
    seen = f"<input type=checkbox id=t2 name=paperSwitch {style}><label for=t2>Paper</label>"
    page = rig.PageServer(CURRENT % (other + seen + MODE.replace("[name=paperSwitch]", "#t2")), [says(done=True)])
    assert log_in(page).report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["paper"]


def test_two_hidden_switches_that_disagree_stop_a_login(log_in: LogIn) -> None:
    """If the form's switch cannot be identified, nothing is sent, in either mode."""
    first = f"<div hidden>{BOX % 'checked'}</div>"
    second = "<div hidden><input type=checkbox id=t2 name=paperSwitch></div>"
    page = rig.PageServer(CURRENT % (first + second + MODE.replace("[name=paperSwitch]", "#t2")), [says(done=True)])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert "paper switches" in login.report.text
    assert (login.report.submits, login.permits, page.posts) == (0, 0, [])


def test_two_hidden_switches_that_agree_are_one(log_in: LogIn) -> None:
    """On a page that keeps its layouts' switches in step, the login succeeds."""
    boxes = f"<div hidden>{BOX % 'checked'}<input type=checkbox id=t2 name=paperSwitch checked></div>"
    page = rig.PageServer(CURRENT % (boxes + MODE), [says(done=True)])
    assert log_in(page).report.outcome is LoginOutcome.SUCCESS
    assert page.posts == ["paper"]
