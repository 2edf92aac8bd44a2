"""Unknown pages, built in many ways: recognized where a person would understand them, and left alone elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import login_rig as rig
import pytest

from gwctl.login.codes import Method, Question
from gwctl.login.outcome import LoginOutcome
from gwctl.login.page_state import Patience

pytestmark = [pytest.mark.browser, pytest.mark.waits]

PATIENCE = Patience(form_s=4.0, answer_s=8.0, swallowed_s=1.5, action_s=3.0, banner_s=2.0)
INVALID = "Invalid username password combination"

# Sends the content of the fields, and shows what the answer says: another step, an error, or the end.
SEND = """<script>
const every = (root, s) => [...root.querySelectorAll("*")].flatMap((e) =>
  [...(e.matches(s) ? [e] : []), ...(e.shadowRoot ? every(e.shadowRoot, s) : [])]);
async function send(event) {
  if (event) event.preventDefault();
  const fields = every(document, "input, select").map((e) => e.type === "checkbox" || e.type === "radio"
    ? (e.checked ? "on:" + (e.value || "") : "off") : e.value);
  const on = every(document, "[aria-checked=true], [aria-selected=true], [aria-pressed=true]").map((e) => e.innerText);
  const answer = await (await fetch("/sso/Authenticator",
    {method: "POST", body: JSON.stringify({fields, on})})).json();
  if (answer.step) document.getElementById("app").innerHTML = answer.step;
  if (answer.error) every(document, "#error")[0].textContent = answer.error;
  if (answer.done) top.location.href = "/sso/Dispatcher";
}
document.addEventListener("submit", send);
document.addEventListener("click", (e) => { if (e.composedPath()[0].closest("[data-send]")) send(e); });
const press = (e) => [...e.parentElement.children].forEach((x) =>
  ["aria-selected", "aria-checked", "aria-pressed"].forEach((a) => x.hasAttribute(a) && x.setAttribute(a, x === e)));
const flip = (e) => e.setAttribute("aria-checked", e.getAttribute("aria-checked") !== "true");
</script>"""
DONE = (200, '{"done": true}')
USER = '<label for=":r1:">Username</label><input id=":r1:">'
SECRET = '<label for=":r2:">Password</label><input id=":r2:" type="password">'
BUTTON = "<button>Log In</button>"
FORM = f"<form>{USER}{SECRET}{BUTTON}</form>"


def radios(live: str, paper: str, *, chosen: bool = True) -> str:
    """Return two radios, the live one chosen if any."""
    checked = "checked" if chosen else ""
    return (
        f"<label><input type=radio name=m value=l {checked}>{live}</label>"
        f"<label><input type=radio name=m value=p>{paper}</label>"
    )


def app(html: str) -> str:
    return f'<!doctype html><meta charset=utf-8><body><div id="app">{html}</div>{SEND}</body>'


def step(html: str) -> tuple[int, str]:
    return 200, json.dumps({"step": html})


@dataclass
class Pages(rig.PageServer):
    """A server with further pages next to the first one."""

    more: dict[str, str] = field(default_factory=dict)

    def _answer(self, method: str, path: str, body: str) -> tuple[int, str, str]:
        if method == "GET" and path in self.more:
            return 200, self.more[path], "text/html"
        return super()._answer(method, path, body)


class Front:
    """One server for the pages of all tests: it ends after the browser, which keeps its connections."""

    def __init__(self) -> None:
        self.page: Any = None
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


LogIn = Callable[..., rig.Login]


@pytest.fixture
def log_in(chromium: rig.OneBrowser, front: Front) -> LogIn:
    def do(page: rig.PageServer, answer: Callable[[Question], str | None] | None = None, **changes: Any) -> rig.Login:
        front.page = page
        values: dict[str, Any] = {
            "base_url": front.url,
            "username": rig.USERNAME,
            "password": rig.PASSWORD,
            "deadline_s": 40.0,
            "patience": PATIENCE,
        }
        return chromium.log_in(rig.job(**values | changes), answer=answer)

    return do


def names(login: rig.Login) -> list[str]:
    return [step.name for step in login.steps]


SHADOW = """<acme-login></acme-login><script>
customElements.define("acme-login", class extends HTMLElement { connectedCallback() {
  this.attachShadow({mode: "open"}).innerHTML = `%s`; } });
document.querySelector("acme-login").shadowRoot.addEventListener("submit", (e) => send(e));
</script>"""
SHADOW_FIELDS = """<acme-field label="User name"></acme-field><acme-field label="Password" kind="password"></acme-field>
<button data-send>Sign in</button><script>
customElements.define("acme-field", class extends HTMLElement { connectedCallback() {
  this.attachShadow({mode: "open"}).innerHTML = `<input type=${this.getAttribute("kind") || "text"}>`; } });
</script>"""
REBUILT = f"""{FORM}<script>
let times = 0;
const timer = setInterval(() => {{ if (times++ < 3) document.getElementById("app").innerHTML = `{FORM}`; }}, 700);
</script>"""
TWO_STEPS = """<form onsubmit="event.preventDefault(); event.stopPropagation(); next()">
<label>Benutzername <input autocomplete="username"></label><button>Weiter</button></form><script>
const next = () => setTimeout(() => { document.getElementById("app").innerHTML =
  `<form><input value="${document.querySelector("input").value}" readonly><input type="password"
   autocomplete="current-password"><button>Anmelden</button></form>`; }, 300);
</script>"""

UNDERSTOOD = {
    "ids of a framework, labels": FORM,
    "labels around": f"<form><label>User ID <input></label><label>Kennwort<input type=password></label>{BUTTON}</form>",
    "placeholders only": f"<form><input placeholder=Username><input type=password placeholder=Password>{BUTTON}</form>",
    "nothing but the fields": "<form><input><input type=password><input type=submit></form>",
    "autocomplete": """<form><input name=a><input name=b autocomplete="section-x username"><input name=c type=password
        autocomplete=current-password><button>→</button></form>""",
    "no form at all": f"<div><div>{USER}</div><div>{SECRET}</div><div data-send role=button>Sign in</div></div>",
    "text beside, no label": f"<form><div>Username</div><div><input></div><input type=password>{BUTTON}</form>",
    "an e-mail or a username": f"<form><input aria-label='E-mail or user'><input type=password>{BUTTON}</form>",
    "a masked text field": """<form><input aria-label=User><input aria-label=Password autocomplete=current-password
        style="-webkit-text-security: disc"><button>Log in</button></form>""",
    "in a shadow root": SHADOW % FORM,
    "each field in a shadow root": SHADOW_FIELDS,
    "rebuilt, empty": REBUILT,
    "two steps": TWO_STEPS,
    "comes late": f"""<script>setTimeout(() => {{
        document.getElementById("app").innerHTML = `{FORM}`; }}, 1500)</script>""",
    "a button that is disabled until both are typed": f"""<form oninput="this.querySelector('button').disabled =
        [...this.querySelectorAll('input')].some((e) => !e.value)">{USER}{SECRET}
        <button disabled>Log In</button></form>""",
    "several buttons": f"""<form>{USER}{SECRET}<button type=button>Show password</button><button>Log In</button>
        <button>Forgot password?</button><button type=button>Log in with a passkey</button></form>""",
    "loses what is typed first": """<div id=r></div><script>
        const kept = {u: "", p: ""}; let typed = 0;
        const render = () => { document.getElementById("r").innerHTML = `<form><input aria-label=Username
          value="${kept.u}"><input type=password aria-label=Password value="${kept.p}"><button>Go</button></form>`; };
        render();
        document.addEventListener("input", (e) => { if (typed++ < 1) setTimeout(render, 150);
          else kept[e.target.type === "password" ? "p" : "u"] = e.target.value; }, true);</script>""",
    "a button beside the form": f"<form id=f>{USER}{SECRET}</form><button form=f>Log In</button>",
    "disabled at first": f"""<form><fieldset disabled>{USER}{SECRET}{BUTTON}</fieldset></form><script>
        setTimeout(() => {{ document.querySelector("fieldset").disabled = false; }}, 1500)</script>""",
    "decoys": f"""<form role=search><input type=search placeholder=Search><button>Go</button></form>
        <form><input placeholder="Your e-mail for our newsletter"><button>Subscribe</button></form>
        <form><input name=website style="position:absolute;left:-9999px"><input name=url aria-hidden=true>
        <input style="opacity:0" placeholder=Username><input type=password style="display:none">
        <input type=password style="position:absolute;top:-500px" tabindex=-1>
        {USER}{SECRET}<label><input type=checkbox> Remember me</label>{BUTTON}</form>""",
    "known names, an unknown button": """<form><input name=username><input name=password type=password>
        <button class=acme-go>Sign in</button></form>""",
    "Japanese": "<form><label>ユーザー名<input></label><label>パスワード<input type=password></label>"
    "<button>ログイン</button><button type=button>検索</button></form>",
    "Hebrew": "<form dir=rtl><label>שם משתמש<input></label><label>סיסמה<input type=password></label>"
    "<button>שכחת סיסמה</button><button>התחברות</button></form>",
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_page_is_understood_by_what_every_page_has(log_in: LogIn, name: str) -> None:
    """A person could log in on it, so the login succeeds, with one submit of the right values."""
    page = Pages(app(UNDERSTOOD[name]), [DONE])
    login = log_in(page)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.SUCCESS, "")
    assert (login.report.page_version, login.report.submits, len(page.posts)) == ("recognized", 1, 1)
    sent = json.loads(page.posts[0])["fields"]
    assert [sent.count(rig.USERNAME), sent.count(rig.PASSWORD)] == [1, 1]
    assert set(sent) - {rig.USERNAME, rig.PASSWORD} <= {"", "off"}
    assert any(name.startswith("understood by what it has: ") for name in names(login))


def test_a_form_in_a_frame_of_the_same_origin_is_understood(log_in: LogIn) -> None:
    """A frame of the gateway's origin is part of the page, and the login's end is seen there too."""
    inner = app(FORM).replace("top.location", "location")
    page = Pages(
        '<body><iframe src="/sso/inner" width=400 height=300></iframe></body>', [DONE], more={"/sso/inner": inner}
    )
    login = log_in(page)
    assert (login.report.outcome, login.report.submits) == (LoginOutcome.SUCCESS, 1)


SWITCHES = {
    "checkbox": ("<label><input type=checkbox value=p>Paper trading</label>", "on:p"),
    "checkbox for live": ("<label><input type=checkbox value=l checked>Live trading</label>", "off"),
    "radio": (radios("Live", "Paper"), "on:p"),
    "radio, none chosen": (radios("Echtgeldkonto", "Simuliertes Konto", chosen=False), "on:p"),
    "radio, one of an unknown word": (radios("Hauptkonto", "Demokonto"), "on:p"),
    "radio in Chinese": (radios("真实交易", "模拟交易"), "on:p"),
    "radio in Russian": (radios("Реальный счёт", "Демо-счёт"), "on:p"),
    "radio in Arabic": (radios("حساب حقيقي", "حساب تجريبي"), "on:p"),
    "radio in Hungarian": (radios("Éles", "Papír"), "on:p"),
    "select": ("<select aria-label=Account><option value=l>Live<option value=p>Paper</select>", "p"),
    "select in French": ("<select><option value=l>Compte réel<option value=p>Compte simulé</select>", "p"),
    "hidden box of a drawn switch": (
        """<input type=checkbox id=s value=p style="position:absolute;opacity:0;width:1px;height:1px">
        <label for=s style="display:inline-block;width:60px;height:20px">Simulated</label>""",
        "on:p",
    ),
}


@pytest.mark.each_value
@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("mode", ["paper", "live"])
def test_the_kind_of_account_is_chosen(log_in: LogIn, name: str, mode: str) -> None:
    """With any kind and name of choice, the form is sent in the profile's mode."""
    html, value = SWITCHES[name]
    page = Pages(app(f"<form>{html}{USER}{SECRET}{BUTTON}</form>"), [DONE])
    login = log_in(page, mode=mode)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.SUCCESS, "")
    sent = json.loads(page.posts[0])["fields"]
    assert (value in sent) == (mode == "paper")


BUTTONS = {
    "tabs": ('role=tab aria-selected=true onclick="press(this)"', 'role=tab aria-selected=false onclick="press(this)"'),
    "radios of one's own": (
        'role=radio aria-checked=true tabindex=0 onclick="press(this)"',
        'role=radio aria-checked=false tabindex=0 onclick="press(this)"',
    ),
    "pressed buttons": ('aria-pressed=true onclick="press(this)"', 'aria-pressed=false onclick="press(this)"'),
}


@pytest.mark.parametrize("name", BUTTONS)
def test_the_kind_of_account_is_chosen_by_buttons(log_in: LogIn, name: str) -> None:
    """Tabs, radios and pressed buttons show which is chosen, and are clicked to choose the other."""
    live, paper = BUTTONS[name]
    html = f"<div><button type=button {live}>Live</button><button type=button {paper}>Paper</button></div>{FORM}"
    page = Pages(app(html), [DONE])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert json.loads(page.posts[0])["on"] == ["Paper"]


def test_a_switch_that_rebuilds_the_form_is_followed(log_in: LogIn) -> None:
    """The switch brings new, empty fields: they are filled after it, in its mode."""
    switch = '<button type=button role=switch aria-checked=%s aria-label="Paper trading" onclick="again()">x</button>'
    html = f"""{switch % "false"}{FORM}<script>
    const again = () => {{ document.getElementById("app").innerHTML = ""; setTimeout(() => {{
      document.getElementById("app").innerHTML = `{switch % "true"}{FORM}`; }}, 400); }};</script>"""
    page = Pages(app(html), [DONE])
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert json.loads(page.posts[0])["on"] == ["x"]


def tabs(first: str, second: str) -> str:
    """Return two tabs, the first of them chosen."""
    both = ((first, "true"), (second, "false"))
    made = (f"<button type=button role=tab aria-selected={on}>{name}</button>" for name, on in both)
    return f"<div role=tablist>{''.join(made)}</div>"


NAMELESS = "<div role=switch aria-checked=false tabindex=0 style='width:40px;height:20px'></div>"
SHOW = "<button type=button role=switch aria-checked=false>Show password</button>"

STOPPED = {
    "two passwords": (f"<form>{USER}{SECRET}<input type=password>{BUTTON}</form>", "two fields for a password"),
    "two forms with a password": (f"{FORM}<form><input type=password><button>Join</button></form>", "two fields"),
    "a new password": (f"<form>{USER}<input type=password autocomplete=new-password>{BUTTON}</form>", "a new password"),
    "another origin": (
        f"<form action='https://example.org/x' method=post>{USER}{SECRET}{BUTTON}</form>",
        "another origin",
    ),
    "another origin by the button": (
        f"<form>{USER}{SECRET}<button formaction='https://example.org/'>Log In</button></form>",
        "another origin",
    ),
    "two usernames": (
        f"<form><input aria-label='Username'><input aria-label='User name of the adviser'>{SECRET}{BUTTON}</form>",
        "2 fields for a username",
    ),
    "two fields without a name": (f"<form><input><input>{SECRET}{BUTTON}</form>", "2 fields before"),
    "a third field": (f"<form>{USER}<input aria-label='Branch' required>{SECRET}{BUTTON}</form>", '"Branch"'),
    "two buttons": (
        f"<form>{USER}{SECRET}<button>Log in to Portal</button><button>Log in to Mobile</button></form>",
        "2 buttons",
    ),
    "a switch for both": (f"<label><input type=checkbox>Live / Paper</label>{FORM}", "does not say which of them"),
    "buttons that do not say": (
        f"<div><button type=button>Live</button><button type=button>Paper</button></div>{FORM}",
        "does not say which is chosen",
    ),
    "two switches": (
        f"<label><input type=checkbox>Paper</label><label><input type=checkbox checked>Live</label>{FORM}",
        "more than one choice",
    ),
    "a switch of no known name": (
        f"<button type=button role=switch aria-checked=true>Konto B</button>{FORM}",
        'may be the one for paper or live, "Konto B',
    ),
    "a switch without a name behind the fields": (
        f"<form>{USER}{SECRET}{NAMELESS}{BUTTON}</form>",
        "may be the one for paper or live",
    ),
    "a box of no known name above the fields": (
        f"<form><label><input type=checkbox>Trainingsmodus</label>{USER}{SECRET}{BUTTON}</form>",
        '"Trainingsmodus"',
    ),
    "radios of no known names": (f"<form>{radios('Konto A', 'Konto B')}{USER}{SECRET}{BUTTON}</form>", '"Konto A"'),
    "tabs of no known names": (
        tabs("Konto A", "Konto B") + FORM,
        '"Konto A", "Konto B"',
    ),
    "no field before": (f"<form>{SECRET}{USER}{BUTTON}</form>", "none for a username before it"),
    "a picture to read": (f"<form>{USER}{SECRET}<input aria-label=Captcha>{BUTTON}</form>", '"Captcha"'),
    "no button": (f"<form>{USER}{SECRET}</form>", "no button"),
}


@pytest.mark.parametrize("name", STOPPED)
def test_where_two_readings_are_possible_nothing_is_sent(log_in: LogIn, name: str) -> None:
    """It stops before the submit, and reports what it saw."""
    html, seen = STOPPED[name]
    page = Pages(app(html), [DONE] * 3)
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert (login.report.submits, login.permits, page.posts) == (0, 0, [])
    assert seen in login.report.text


OTHER_CHOICES = {
    "remember me": f"<form>{USER}{SECRET}<label><input type=checkbox>Angemeldet bleiben</label>{BUTTON}</form>",
    "a box of any name at the end": f"<form>{USER}{SECRET}<label><input type=checkbox>Acme+</label>{BUTTON}</form>",
    "show the password": f"<form>{USER}{SHOW}{SECRET}{BUTTON}</form>",
    "languages": tabs("EN", "DE") + FORM,
    "ways to log in": tabs("Password", "QR code") + FORM,
    "the page's head": f"<header><button role=switch aria-checked=false>Acme+</button></header>{FORM}",
    "another form": "<form role=search><label><input type=checkbox>Acme+</label><input type=search></form>" + FORM,
}


@pytest.mark.parametrize("name", OTHER_CHOICES)
def test_another_choice_does_not_stop_a_login(log_in: LogIn, name: str) -> None:
    """A choice that is not the kind of account is left alone, and the form is sent."""
    page = Pages(app(OTHER_CHOICES[name]), [DONE])
    login = log_in(page)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.SUCCESS, "")
    assert json.loads(page.posts[0])["on"] in ([], ["EN"], ["Password"])


def test_a_page_of_another_origin_is_left_alone(log_in: LogIn, front: Front) -> None:
    """If the gateway's script sends the browser to another page, no password is typed there."""
    elsewhere = front.url.replace("localhost", "127.0.0.1")
    page = Pages(f"<script>location.href = '{elsewhere}/form'</script>", [DONE], more={"/form": app(FORM)})
    login = log_in(page)
    assert login.report.outcome is LoginOutcome.PAGE_UNKNOWN
    assert "not on the gateway's origin" in login.report.text
    assert page.posts == []


ERRORS = {
    "role alert": '<div id=error role=alert style="min-height:1em"></div>',
    "assertive": '<p id=error aria-live=assertive style="min-height:1em"></p>',
    "described": "<input aria-label=Username aria-invalid=true aria-describedby=error><div id=error></div>",
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_seen_where_a_screen_reader_hears_it(log_in: LogIn, name: str) -> None:
    """A refusal ends the login at once, and is not sent twice."""
    user = "" if "Username" in ERRORS[name] else USER
    html = f"<form>{ERRORS[name]}{user}{SECRET}{BUTTON}</form>"
    page = Pages(app(html), [(200, json.dumps({"error": INVALID}))] * 2)
    login = log_in(page)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.REFUSED, INVALID)
    assert len(page.posts) == 1


def test_an_announcement_before_the_submit_is_no_answer(log_in: LogIn) -> None:
    """An alert from before the submit is not how the login ends."""
    html = f"<div role=alert>Scheduled maintenance on Saturday</div><div id=error role=alert></div>{FORM}"
    assert log_in(Pages(app(html), [DONE])).report.outcome is LoginOutcome.SUCCESS
    login = log_in(Pages(app(html), [(200, json.dumps({"error": INVALID}))]))
    assert login.report.outcome is LoginOutcome.REFUSED


DIGIT = "<input maxlength=1 inputmode=numeric aria-label=Digit>"
BOXES = f"<form><p>Enter the code of your authenticator app</p>{DIGIT * 6}<button>Verify</button></form>"
MOVING = f"""<form oninput="const b = [...this.querySelectorAll('input')]; const at = b.indexOf(event.target);
  if (at < 5) b[at + 1].focus(); else send();">{DIGIT * 6}</form>"""
CODES = {
    "label": "<form><label>Security code<input></label><button>Verify</button></form>",
    "German": "<form><label>Sicherheitscode<input></label><button>Bestätigen</button></form>",
    "autocomplete": "<div><input autocomplete=one-time-code><button data-send>OK</button></div>",
    "masked": "<form><label>One-time passcode<input type=password maxlength=6></label><button>Go</button></form>",
    "six boxes and a button": BOXES,
    "six boxes that send themselves": MOVING,
    "digits and no name": "<form><input inputmode=numeric maxlength=6><button>→</button></form>",
}


@pytest.mark.parametrize("name", CODES)
def test_a_code_is_typed_where_it_is_asked_for(log_in: LogIn, name: str) -> None:
    """A code's field is recognized by its name, its kind, or its boxes; the code is sent once."""
    page = Pages(app(FORM), [step(CODES[name]), DONE])
    login = log_in(page, lambda _question: "135790", method=Method.COMMAND)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.SUCCESS, "")
    assert len(page.posts) == 2
    assert "".join(json.loads(page.posts[1])["fields"]) == "135790"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("We sent a code by SMS to ***12", "sms"), ("Look into your e-mail", "email"), ("From your authenticator", "app")],
)
def test_the_page_says_which_code_it_asks_for(log_in: LogIn, text: str, kind: str) -> None:
    """A code by SMS is not computed from the app's secret."""
    html = f"<p>{text}</p>{CODES['label']}"
    login = log_in(Pages(app(FORM), [step(html), DONE]), lambda _question: "135790", method=Method.COMMAND)
    assert login.report.outcome is LoginOutcome.SUCCESS
    assert [question.kind.value for question in login.questions] == [kind]


DEVICES = {
    "cards": """<ul><li onclick="pick('ibkey')"><b>IB Key</b></li><li onclick="pick('sms')">SMS to ***12</li>
        <li onclick="pick('app')">Mobile Authenticator App</li></ul>""",
    "buttons": """<button onclick="pick('sms')">Text message (SMS)</button>
        <button onclick="pick('app')">Authenticator app</button>""",
    "options": """<div role=listbox><div role=option tabindex=0 onclick="pick('sms')">SMS</div>
        <div role=option tabindex=0 onclick="pick('app')">Mobile Authenticator</div></div>""",
    "clickable boxes": """<div style="cursor:pointer" onclick="pick('sms')"><h4>SMS</h4><p>to ***12</p></div>
        <div style="cursor:pointer" onclick="pick('app')"><h4>Authenticator App</h4><p>of your telephone</p></div>""",
    "radios and a button": """<form onsubmit="event.stopPropagation(); event.preventDefault();
        pick(this.querySelector(':checked').value)"><label><input type=radio name=d value=sms checked>SMS</label>
        <label><input type=radio name=d value=app>Authenticator App</label><button>Continue</button></form>""",
    "a list": """<select onchange="pick(this.value)"><option value="">Choose<option value=sms>SMS
        <option value=app>Authenticator App</select>""",
}


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_is_chosen(log_in: LogIn, name: str) -> None:
    """Cards, buttons, options or a list: the device for the profile is clicked."""
    script = f"""<script>async function pick(device) {{
      await fetch("/sso/Authenticator", {{method: "POST", body: "device " + device}});
      document.getElementById("app").innerHTML = `{CODES["label"]}`; }}</script>"""
    page = Pages(app(FORM).replace("</body>", f"{script}</body>"), [step(DEVICES[name]), (200, "{}"), DONE])
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    login = log_in(page, method=Method.TOTP, totp_secret=secret)
    assert (login.report.outcome, login.report.text) == (LoginOutcome.SUCCESS, "")
    assert page.posts[1] == "device app"


def test_the_form_again_is_a_refusal(log_in: LogIn) -> None:
    """A form that comes back empty after the submit is not sent twice."""
    page = Pages(app(FORM), [step(FORM)] * 2)
    login = log_in(page)
    assert (login.report.outcome, len(page.posts)) == (LoginOutcome.FORM_AGAIN, 1)


def test_a_known_page_is_never_read_in_another_way(log_in: LogIn) -> None:
    """A known form that is built piece by piece is awaited: its own button is the one that is clicked."""
    html = """<input id=xyz-field-username name=username><input id=xyz-field-password type=password>
    <button data-wrong onclick="document.title = 'wrong'">Log in</button><script>
    setTimeout(() => document.querySelector("[data-wrong]").outerHTML =
      "<button class=xyz-button-login data-send>Login</button>", 700);</script>"""
    login = log_in(Pages(app(html), [DONE]))
    assert (login.report.outcome, login.report.page_version) == (LoginOutcome.SUCCESS, "current")


def test_a_probe_says_what_it_understood(log_in: LogIn) -> None:
    """Elements without a version are listed with how they were found."""
    login = log_in(Pages(app(FORM)), visit="probe")
    assert (login.report.outcome, login.report.page_version) == (LoginOutcome.CANCELLED, "recognized")
    assert login.report.elements["username"] == 'recognized by its name "Username"'
    assert login.report.elements["submit"] == "recognized by the form's button"
