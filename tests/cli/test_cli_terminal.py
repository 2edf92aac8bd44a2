"""On a real (pseudo) terminal: live phases, colors only where wanted, Ctrl-C from the keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import pexpect
import pytest
from cli_fakes import Home, a_real_home
from terminal import interrupt_question, on_terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[[0-9;]*9[0-9]m")


def test_phases_are_shown_as_they_pass(home: Home) -> None:
    """Each phase has its own line with a mark, and the answer comes last; a second call is short."""
    child = on_terminal(home, "up", "--sandbox")
    for phase in ("starting the gateway", "gateway answers on port", "logging in", "form filled", "authenticated"):
        child.expect(f"✓.{{0,20}}{phase}")
    child.expect(rf"ready · SANDBOX · https://localhost:{home.port}/v1/api")
    child.expect_exact('next: eval "$(gwctl env)" in your shell')
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    again = on_terminal(home, "up", "--sandbox")
    again.expect(pexpect.EOF)
    assert "already ready" in (again.before or "")
    assert "✓" not in (again.before or "")
    again.close()
    assert again.exitstatus == 0


@pytest.mark.real_gateway
@pytest.mark.browser
@pytest.mark.timeout(150)
def test_trouble_has_no_tick_and_an_end(tmp_path: Path, real_release_zip: Path) -> None:
    """IBKR out of reach: its own mark, until when it tries, what to type; a line has one time; a push counts down."""
    with a_real_home(tmp_path, real_release_zip) as real:
        real.variables["GWCTL_PASSWORD"] = real.account.password
        real.stand_in.state.set_scenario("http_503", on=True, parameters={})
        child = on_terminal(real, "up", "--timeout", "20")
        child.expect(r"IBKR [^\r]*; trying until \d\d:\d\d; gwctl doctor")
        child.expect("gwctl: not ready after 20 s")
        child.expect(pexpect.EOF)
        said = child.before or ""
        assert not re.search("✓.{0,20}IBKR answers with an error", said)
        real.stand_in.state.set_scenario("http_503", on=False, parameters={})
        real.gwctl("down").check(0)
        real.stand_in.state.set_scenario("second_factor", on=True, parameters={"kind": "push", "approve": "never"})
        child = on_terminal(real, "up")
        child.expect(r"✓.{0,20}gateway answers on port [^\r]*?\(([^)]*)\)")
        assert isinstance(child.match, re.Match)
        assert re.fullmatch(r"pid \d+", re.sub(r"\x1b\[[0-9;]*m", "", child.match[1]))
        child.expect(r"1[67]\d s left")
        child.sendintr()
        child.expect(pexpect.EOF)


@pytest.mark.real_gateway
def test_a_name_without_an_address_is_said(tmp_path: Path, real_release_zip: Path) -> None:
    """Without DNS, the reason names the host."""
    with a_real_home(tmp_path, real_release_zip) as real:
        real.variables |= {"GWCTL_PASSWORD": real.account.password, "GWCTL_UPSTREAM": "https://ibkr.invalid"}
        child = on_terminal(real, "up", "--timeout", "60")
        child.expect(r"IBKR cannot be reached: ibkr\.invalid has no address; trying until \d\d:\d\d; gwctl\s+doctor")
        child.sendintr()
        child.expect(pexpect.EOF)


def test_a_sandbox_out_of_reach_is_not_a_name_without_an_address(home: Home) -> None:
    """A sandbox does not use the upstream's name, which may well have no address."""
    home.variables["GWCTL_UPSTREAM"] = "https://ibkr.invalid"
    home.gwctl("up", "--sandbox", "--fast").check(0)
    home.gwctl("sandbox", "do", "refuse", "for_s=60").check(0)
    assert "IBKR cannot be reached; trying until" in home.gwctl("restart", "--timeout", "25").check(75).stderr


def test_ctrl_c_on_the_keyboard(home: Home) -> None:
    """Ctrl-C in the middle: the interrupted phase is marked, what was started is stopped, exit 130, nothing left."""
    child = on_terminal(home, "up", "--sandbox")
    child.expect("gateway answers on port")
    child.sendintr()
    child.expect("stopping what this command started")
    child.expect("gwctl: interrupted; stopped what this command had started")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert home.left() == []
    # What a person stopped is no outage: before the first ready session nothing counts, and after it no Ctrl-C.
    home.gwctl("up", "--sandbox").check(0)
    home.gwctl("down").check(0)
    child = on_terminal(home, "up", "--sandbox")
    child.expect("gateway answers on port")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert home.gwctl("history", "--json").check(0).envelope["data"]["outages"] == []


@pytest.mark.parametrize(
    ("argv", "variables", "coloured"),
    [
        ([], {}, True),
        (["--no-color"], {}, False),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--json"], {}, False),
    ],
)
def test_colours_only_where_wanted(home: Home, argv: list[str], variables: dict[str, str], coloured: bool) -> None:  # noqa: FBT001 - a parameter of the table
    """An error is colored on a terminal, but not with --no-color, NO_COLOR, a dumb terminal or --json."""
    child = on_terminal(home, *argv, "tickle", **variables)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 75
    assert bool(COLOUR.search(child.before or "")) is coloured


def test_phases_without_colour(home: Home) -> None:
    """`up --no-color` shows the same phases without color, also on failure."""
    child = on_terminal(home, "up", "--sandbox", "--no-color", GWCTL_BROWSER="/nowhere/chromium")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 69
    assert "`gwctl profile show`" in (child.before or "")
    assert COLOUR.search(child.before or "") is None


def test_a_password_is_asked_for_and_not_echoed(home: Home) -> None:
    """Without a source a person is asked on the terminal; --no-input never asks. Ctrl-C there exits with 130."""
    child = on_terminal(home, "up", GWCTL_USERNAME="reader01")
    child.expect("password for reader01")
    child.waitnoecho(timeout=30)
    with pytest.raises(pexpect.TIMEOUT):
        child.expect("starting", timeout=0.5)  # nothing is drawn over the question
    interrupt_question(child)
    child = on_terminal(home, "up", "--no-input", GWCTL_USERNAME="reader01")
    child.expect("no source has a password for reader01")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 78
