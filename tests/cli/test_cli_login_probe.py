"""`gwctl login --probe`: inspects the current login page, submits nothing and touches no session."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Done, Home, free_port, one_line_with_hint

from gwctl.cli import login_verbs as login_probe
from gwctl.cli.call import Call
from gwctl.cli.main import run
from gwctl.errors import GwctlError
from gwctl.login.outcome import LoginOutcome, LoginReport
from gwctl.sandbox import ibkr as sso_routes
from gwctl.sandbox.ibkr import RunningStandIn, serve_in_thread
from gwctl.sandbox.settings import PageOptions, StandInConfig

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ibkr() -> Iterator[RunningStandIn]:
    """Yield a fake IBKR at which nothing is ever submitted and nobody ever logs in."""
    page = PageOptions(form_delay_ms=0)
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), page=page)) as stand_in:
        yield stand_in
        assert stand_in.state.desk.submits == []
        assert stand_in.state.sessions.summary()["sso"] == []


@pytest.fixture
def home(tmp_path: Path, ibkr: RunningStandIn) -> Iterator[Home]:
    """Yield a home without username and password, whose upstream is the fake IBKR.

    Nothing is stopped at its end: a probe leaves nothing running.
    """
    ibkr.state.act("reset", {})
    home = Home(tmp_path, GWCTL_UPSTREAM=ibkr.url)
    yield home
    assert home.left() == []


def evidence(home: Home) -> list[str]:
    """Return the names of the files kept of a failure."""
    return sorted(file.name for file in home.profile_dir.glob("evidence/*/*"))


def started_nothing(home: Home) -> bool:
    """Return whether a probe left no process and no files of a gateway or a browser."""
    login = home.profile_dir / "login"
    files = ("gateway", "gateway.json", "supervisor.json", "journal.jsonl", "ledger.json")
    return (
        home.left() == [] and not any((home.profile_dir / name).exists() for name in files) and not any(login.iterdir())
    )


@pytest.mark.parametrize(
    ("page", "version", "visible"),
    [
        ({}, "current", {"username", "password", "submit", "paper_label"}),
        ({"two_step": True}, "two_step", {"username", "username_submit", "paper_label"}),
        ({"toggle": False}, "current", {"username", "password", "submit"}),
        ({"variant": "legacy"}, "legacy", {"username", "password", "submit", "paper_switch", "paper_label"}),
    ],
    ids=["current", "two_step", "no_switch", "legacy"],
)
def test_a_page_that_is_known(
    home: Home, ibkr: RunningStandIn, page: dict[str, Any], version: str, visible: set[str]
) -> None:
    """Each known page is named with its elements; nothing is kept and nothing was started."""
    ibkr.state.set_scenario("login_page", on=True, parameters=page)
    done = home.gwctl("login", "--probe", "--json").check(0)
    assert done.stderr == ""
    data = done.envelope["data"]
    assert (data["outcome"], data["version"]) == ("known", version)
    assert data["url"].startswith(f"{ibkr.url}/sso/Login?")
    assert {name for name, how in data["elements"].items() if how.startswith("visible ")} == visible
    assert [step["name"] for step in data["steps"]][-1] == f"form visible ({version})"
    assert evidence(home) == []
    assert started_nothing(home)
    assert not any("Authenticator" in path for path in ibkr.state.requests)


@pytest.mark.parametrize(
    ("scenario", "parameters", "said"),
    [
        (
            "maintenance_banner",
            {"text": "Closed for the night."},
            "IBKR's login is not available: Closed for the night;",
        ),
        ("html_503", {}, "IBKR's login is not available: the login page answered 503;"),
    ],
)
def test_ibkr_is_ill(home: Home, ibkr: RunningStandIn, scenario: str, parameters: dict[str, str], said: str) -> None:
    """A page on which IBKR says that it is unavailable exits with 75, with its text and the evidence."""
    ibkr.state.set_scenario(scenario, on=True, parameters=parameters)
    text = one_line_with_hint(home.gwctl("login", "--probe").check(75))
    assert text.startswith(said)
    assert text.endswith("\ngwctl login --probe, later")
    assert evidence(home) == ["browser.json", "page.png", "page.txt", "steps.json"]
    assert started_nothing(home)


def test_nobody_is_there(home: Home) -> None:
    """An IBKR that refuses connections is 75 `upstream_unreachable`, not a browser failure."""
    done = home.gwctl("login", "--probe", "--json", GWCTL_UPSTREAM=f"http://127.0.0.1:{free_port()}").check(75)
    error = done.envelope["error"]
    assert error["code"] == "upstream_unreachable"
    assert error["message"].startswith("cannot reach IBKR's login page: net::ERR_CONNECTION_REFUSED at http://")
    assert "steps.json" in evidence(home)
    assert started_nothing(home)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[Home], Done]:
    """Return a function that probes in this process, and waits for a form for a short time only.

    The rest of the deadline is for the start of the browser, which takes seconds on a busy machine.
    """

    def probe(home: Home) -> Done:
        monkeypatch.setattr(login_probe, "DEADLINE_S", 60.0)
        monkeypatch.setattr(login_probe, "LOAD_SHARE", 0.05)
        for name, value in home.variables.items():
            monkeypatch.setenv(name, value)
        return Done(run(["login", "--probe"]), *capfd.readouterr())

    return probe


UNKNOWN = '[profiles.default.page]\nusername = ["#nowhere"]\n'


@pytest.mark.parametrize(
    "case",
    [
        ("", "the login form did not appear: no form within twice 3 s;", "login --probe, later"),
        (UNKNOWN, "unknown login page: what was seen: two fields for a password", ".page]"),
    ],
    ids=["form_never", "unknown"],
)
def test_a_page_that_is_not_known(
    home: Home,
    ibkr: RunningStandIn,
    impatient: Callable[[Home], Done],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, str],
) -> None:
    """A form that never appears, and a page that matches nothing, exit with 75 and what was seen."""
    config, begins, ends = case
    served, field = sso_routes._with_script, '<input id="xyz-field-password"'
    if config:
        twice = served("current").replace(field, f'<input type="password">{field}')
        monkeypatch.setattr(sso_routes, "_with_script", lambda _name: twice)
    home.write_config(config)
    ibkr.state.set_scenario("login_page", on=True, parameters={"form_never": not config})
    done = impatient(home)
    text = one_line_with_hint(done.check(75))
    assert text.startswith(begins)
    assert text.endswith(ends)
    assert ("visible #xyz-field-password" in done.stderr) is bool(config), "what there is of an unknown page is shown"
    assert evidence(home) == ["browser.json", "page.png", "page.txt", "steps.json"]
    assert started_nothing(home)


@pytest.mark.parametrize(
    ("outcome", "text", "code", "exit_code"),
    [
        (LoginOutcome.PAGE_NEVER_CAME, "net::ERR_CERT_AUTHORITY_INVALID at https://x/", "upstream_unreachable", 75),
        (LoginOutcome.PAGE_NEVER_CAME, "not finished within 90 s", "login_failed", 75),
        (LoginOutcome.BROWSER_FAILED, "the browser does not start: crash", "browser_missing", 69),
        (LoginOutcome.TIMED_OUT, "the login's worker did not end in time", "login_failed", 75),
        (LoginOutcome.COOKIES_DISABLED, "Cookies must be enabled", "login_failed", 75),
    ],
)
def test_every_end_has_its_code(outcome: LoginOutcome, text: str, code: str, exit_code: int) -> None:
    """The exit code says whether IBKR, the page or the browser failed, and the text is complete."""
    with pytest.raises(GwctlError) as raised:
        login_probe._complain(Call(profile="live"), LoginReport(outcome, text=text))
    assert (raised.value.code, raised.value.exit_code) == (code, exit_code)
    assert text in raised.value.message
    assert (raised.value.hint or "").startswith("gwctl ")


def test_no_browser(home: Home) -> None:
    """Without a browser it exits with 69, and IBKR got no request."""
    assert "the setting browser: `gwctl profile show`" in one_line_with_hint(
        home.gwctl("login", "--probe", GWCTL_BROWSER="/nowhere/chromium").check(69)
    )
    assert home.left() == []


def test_a_running_session_is_not_touched(sandbox: Home) -> None:
    """During a session a probe opens the same IBKR without the gateway: same gateway, same session, no submit."""

    def seen() -> tuple[Any, ...]:
        ibkr = sandbox.gwctl("sandbox", "show", "--json").check(0).envelope["data"]
        sessions = [one["id"] for one in ibkr["sessions"]["sso"]], ibkr["sessions"]["brokerage"]
        status = sandbox.status()
        return status["ready"], status["gateway"]["pid"], status["gateway"]["restarts"], ibkr["login"], sessions

    before, entries = seen(), len(sandbox.journal())
    done = sandbox.gwctl("login", "--probe").check(0)
    first, *rest = done.stdout.splitlines()
    assert first == "login page: version current; nothing was submitted"
    assert re.fullmatch(r"  username +visible #xyz-field-username", rest[0])
    assert all(re.fullmatch(r"  \w+ +(visible|hidden) \S.*", line) for line in rest)
    assert "page opened" in done.stderr
    assert "ended" not in done.stderr, "a probe that went well does not sound like a failure"
    assert seen() == before
    assert sandbox.journal()[entries:] == []
