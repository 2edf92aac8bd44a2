"""`gwctl login --manual` with the real gateway: a person at a window, or in their own browser."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.worlds import plain_release
from cli_fakes import Done, RealHome, one_line_with_hint, wait_for
from hand_fakes import Screen, a_live_home, a_screen, kinds

pytestmark = [pytest.mark.browser, pytest.mark.needs("Xvfb"), pytest.mark.needs("xdotool"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    """Yield a display."""
    with a_screen() as one:
        yield one


@pytest.fixture
def real(tmp_path: Path, real_release_zip: Path) -> Iterator[RealHome]:
    """Yield a stopped home with the real Standard Release, a live account and no password anywhere."""
    with a_live_home(tmp_path, real_release_zip) as home:
        yield home


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[RealHome]:
    """Yield such a home with the fake release, which needs no Java, for tests of the window only."""
    with a_live_home(tmp_path, plain_release(tmp_path / "plain.zip")) as home:
        yield home


def ended(call: subprocess.Popen[str], screen: Screen) -> Done:
    """Return how a call has ended, its window gone."""
    stdout, stderr = call.communicate(timeout=90)
    # Law 7. A supervisor that warmed up a browser for its own login closes it in the background.
    wait_for(lambda: not screen.browsers(), 10, "no browser outlives its login")
    return Done(call.returncode, stdout, stderr)


def own_submits(home: RealHome) -> list[object]:
    """Return the submits in gwctl's own ledger."""
    ledgers = (home.home / "state" / "ledgers").glob("*.json")
    return [submit for ledger in ledgers for submit in json.loads(ledger.read_text())["submits"]]


@pytest.mark.real_gateway
def test_a_person_logs_in_at_the_window(real: RealHome, screen: Screen) -> None:
    """The input goes only to IBKR; the session continues, and the window's cookies resume it."""
    call = real.start("login", "--manual", "--json", DISPLAY=screen.display)
    screen.log_in(real)
    done = ended(call, screen).check(0)
    assert done.envelope["data"]["ready"]
    status = real.status()
    assert (status["phase"], status["session"]["authenticated"]) == ("ready", True)
    assert kinds(real) == {"supervisor", "gateway", "front"}
    assert (real.submits(), own_submits(real)) == (1, [])
    typed = real.account.password.encode()
    assert [str(file) for file in real.home.rglob("*") if file.is_file() and typed in file.read_bytes()] == []

    entries = len(real.journal())
    os.kill(status["gateway"]["pid"], signal.SIGKILL)
    wait_for(lambda: [one for one in real.journal()[entries:] if one.get("phase") == "ready"], 40, "ready again")
    recoveries = [one["rung"] for one in real.journal()[entries:] if one["kind"] == "cure" and one["ok"]]
    assert recoveries == ["resume"]
    assert (real.submits(), own_submits(real)) == (1, [])
    again = real.gwctl("login", "--manual", DISPLAY="").check(0)
    assert again.stdout == "already logged in\n"


@pytest.mark.wide
def test_the_person_closes_the_window(quick: RealHome, screen: Screen) -> None:
    """Closing the window before the login is through exits with 77 and one line, and stops what was started."""
    call = quick.start("login", "--manual", DISPLAY=screen.display)
    screen.close_window()
    done = ended(call, screen).check(77)
    assert one_line_with_hint(done) == "the window was closed before the login finished\ngwctl login --manual"
    assert quick.left() == []
    assert (quick.submits(), own_submits(quick)) == (0, [])


def test_interrupted_while_the_window_is_open(quick: RealHome, screen: Screen) -> None:
    """Ctrl-C before the person has finished: 130, no window, no gateway, no supervisor."""
    call = quick.start("login", "--manual", DISPLAY=screen.display)
    screen.login_window()
    call.send_signal(signal.SIGINT)
    done = ended(call, screen).check(130)
    assert done.stderr.splitlines()[-1] == "gwctl: interrupted; stopped what this command had started"
    assert quick.left() == []


def test_a_supervisor_that_is_locked_out_is_brought_back(quick: RealHome, screen: Screen) -> None:
    """A person's login needs no new supervisor; a failed one leaves it locked out as before."""
    password = quick.folder / "password"
    password.write_text(quick.account.password)
    settings = {"GWCTL_USERNAME": quick.account.username, "GWCTL_PASSWORD_FILE": str(password)}
    ibkr = quick.stand_in.state
    supervisor = (
        quick.gwctl("up", "--json", **settings, GWCTL_REJECTED_LIMIT="1").check(0).envelope["data"]["supervisor"]
    )
    ibkr.set_scenario("wrong_password", on=True, parameters={})
    ibkr.act("drop_session", {})
    wait_for(lambda: quick.status()["phase"] == "locked_out", 60, "locked out")
    ibkr.set_scenario("wrong_password", on=False, parameters={})
    before = quick.submits(), own_submits(quick)

    nowhere = quick.gwctl("login", "--manual", DISPLAY=":4242").check(69)
    assert "cannot open the window" in one_line_with_hint(nowhere)
    status = quick.status()
    assert (status["phase"], status["supervisor"]["pid"]) == ("locked_out", supervisor["pid"])
    assert (quick.submits(), own_submits(quick)) == before
    assert kinds(quick) == {"supervisor", "gateway", "front"}

    call = quick.start("login", "--manual", DISPLAY=screen.display)
    screen.log_in(quick)
    assert ended(call, screen).check(0).stdout == "logged in\n"
    status = quick.status()
    assert (status["phase"], status["supervisor"]["pid"]) == ("ready", supervisor["pid"])
    assert quick.submits() == before[0] + 1
    assert own_submits(quick) == before[1]


def test_no_browser_that_can_show_a_window(quick: RealHome) -> None:
    """Without such a browser it exits with 69 and the command that installs one, before anything starts."""
    bare = {"PATH": "/nowhere", "PLAYWRIGHT_BROWSERS_PATH": "/nowhere"}
    text = one_line_with_hint(quick.gwctl("login", "--manual", DISPLAY=":4242", **bare).check(69))
    assert text.endswith("\ngwctl browser install --window")
    assert not (quick.profile_dir / "journal.jsonl").exists()
    assert quick.left() == []
