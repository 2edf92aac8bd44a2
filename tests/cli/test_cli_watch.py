"""`gwctl status --watch` and `--web`: the live screen, the lines, the page."""

from __future__ import annotations

import copy
import http.client
import json
import os
import re
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import page_rig
import pexpect
import pyte
import pytest
from cli_fakes import PROGRAM, Home, wait_for

from gwctl.cli.history_views import worst_by_cell
from gwctl.cli.live import screen
from gwctl.history.journal import read_entries
from gwctl.history.report import LastSign, Lately, look_back
from gwctl.paths import Paths
from gwctl.session_status import Status

NOW_S = 1_790_000_000.0
ROWS, COLUMNS = 32, 80


@pytest.fixture
def day(tmp_path: Path) -> Lately:
    """Return a day with two outages."""
    paths = Paths.for_profile("trader", tmp_path)
    page_rig.write_journal(paths.journal_file, NOW_S)
    return look_back(read_entries(paths), NOW_S, LastSign(NOW_S))


def _plain(status: dict[str, Any], day: Lately | None, width: int = COLUMNS, *, blocks: bool = True) -> list[str]:
    return [line.plain.rstrip() for line in screen(cast("Status", status), day, width, blocks=blocks)]


def test_the_screen_says_everything(day: Lately) -> None:
    """Phase, timeline, latency, budget and next action are there, in words that need no color."""
    text = "\n".join(_plain(page_rig.READY, day))
    for said in (
        "● trader: ready · PAPER · paper123",
        "authenticated 41 s ago",
        "2 outages · 2 logins · 1 restart",
        "42 ms · median 40 ms · worst 210 ms",
        "0 of 3 refusals in 24 h",
        "reauthenticate 1/30 · resume 0/20 · login 0/20 · restart 0/12",
        "next        tickle in 12 s",
        "█ ready  ",
        "x down",
        "the gateway ended",
    ):
        assert said in text, text


def test_the_screen_shows_changed_settings(day: Lately) -> None:
    """The screen shows a setting that changed after the gateway's start, and the command that applies it."""
    drift = {"setting": "allow_ips", "text": "allow_ips was changed", "remedy": "gwctl restart"}
    text = "\n".join(_plain({**page_rig.READY, "drift": [drift]}, day))
    assert "settings: allow_ips was changed" in text
    assert "to apply it: gwctl restart" in text
    another = {"setting": "java_options", "text": "java_options was changed", "remedy": "gwctl restart"}
    text = "\n".join(_plain({**page_rig.READY, "drift": [drift, another]}, day))
    assert "settings: java_options was changed" in text
    assert text.count("gwctl restart") == 1, "one command applies both"
    assert "settings:" not in "\n".join(_plain(page_rig.READY, day))


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_line_is_longer_than_the_terminal(day: Lately, width: int, *, blocks: bool) -> None:
    """At any width nothing wraps, whatever the reason; without UTF-8 every sign of ours is ASCII."""
    long = {**page_rig.READY, "reason": "a reason " * 30, "profile": "p" * 64, "phase": "awaiting_second_factor",
            "ready": False, "question": {"id": 1, "what": "code", "challenge": "1234", "text": "x" * 200},
            "drift": [{"setting": "allow_ips", "text": "t" * 200, "remedy": "gwctl restart" * 20}]}  # fmt: skip
    for status in (page_rig.READY, page_rig.STOPPED, long):
        lines = _plain(status, day, width, blocks=blocks)
        assert max(map(len, lines)) <= width
        if not blocks:
            assert "\n".join(lines).replace("·", "").isascii()


def test_a_stopped_profile_and_an_unreadable_journal_have_a_screen() -> None:
    """Missing parts are left out; nothing of that is an error."""
    lines = _plain(page_rig.STOPPED, None)
    assert lines[0].startswith("○ trader: stopped")
    assert "unreadable" in "\n".join(lines)
    assert not any(line.lstrip().startswith("next") for line in lines)


def test_the_bar_shows_the_worst_of_each_part(day: Lately) -> None:
    """An outage of two seconds is visible in a day's bar, stopped time as such; time before the journal is empty."""
    bar = next(line for line in _plain(page_rig.READY, day) if line.startswith("  last day"))[14:]
    assert bar.startswith(".")
    assert bar.count("x") == 2
    assert set(bar) <= {".", "█", "x", "▒"}
    assert worst_by_cell(day.history.stretches, day.began_s - 86_400, day.ended_s, 2)[0] is None


class Terminal:
    """A terminal in which `gwctl status --watch` runs."""

    def __init__(self, home: Home, **variables: str) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        environment = {**home.environment(NO_COLOR=None), "TERM": "xterm-256color", "LANG": "C.UTF-8", **variables}
        environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
        self.child: pexpect.spawn[bytes] = pexpect.spawn(
            PROGRAM[0], [*PROGRAM[1:], "status", "--watch"], env=environment, dimensions=(ROWS, COLUMNS)
        )
        self.raw = b""

    def read(self) -> str:
        """Return what the screen shows now."""
        try:
            seen = self.child.read_nonblocking(65_536, timeout=0.2)
            self.raw += seen
            self._stream.feed(seen)
        except pexpect.TIMEOUT:
            pass
        return "\n".join(self.screen.display)

    def close(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.child.sendintr()
        self.child.expect(pexpect.EOF, timeout=20)
        self.child.close()
        return int(self.child.exitstatus if self.child.exitstatus is not None else -1)


class Shell:
    """A person's bash, with job control, in which `gwctl` is the program under test."""

    PROMPT = "next> "

    def __init__(self, home: Home) -> None:
        environment = {**home.environment(NO_COLOR=None), "TERM": "xterm", "LANG": "C.UTF-8", "PS1": self.PROMPT}
        self.child: pexpect.spawn[str] = pexpect.spawn(
            "bash", ["--norc", "--noprofile", "-i"], env=environment, dimensions=(ROWS, COLUMNS), encoding="utf-8"
        )
        self.prompt()
        self.type(f'gwctl() {{ {shlex.join(PROGRAM)} "$@"; }}')
        self.prompt()
        self.settings = self.ask("$(stty -g)")

    def prompt(self) -> None:
        """Wait for the shell's prompt."""
        self.child.expect_exact(self.PROMPT, timeout=30)

    def type(self, line: str) -> None:
        """Type a line."""
        self.child.sendline(line)

    def ask(self, expression: str) -> str:
        """Return what an expression of the shell's expands to."""
        self.type(f'echo "<{expression}>"')
        self.child.expect("[\r\n]<([^<>]*)>\r", timeout=30)
        answer = self.child.match.group(1) if isinstance(self.child.match, re.Match) else ""
        self.prompt()
        return str(answer)

    def is_sound(self) -> bool:
        """Say whether the terminal's settings are the shell's own."""
        return self.ask("$(stty -g)") == self.settings


@pytest.fixture
def terminal(sandbox: Home) -> Iterator[Terminal]:
    """Yield a terminal that watches the sandbox."""
    opened = Terminal(sandbox)
    yield opened
    opened.child.close(force=True)


def test_it_is_drawn_live_in_a_terminal(sandbox: Home, terminal: Terminal) -> None:
    """The screen is redrawn in place, in color, with a running clock; Ctrl-C exits with 130; the session continues."""
    wait_for(lambda: "default: ready" in terminal.read(), 30, "the screen")
    first = terminal.read()
    wait_for(lambda: terminal.read().splitlines()[0] != first.splitlines()[0], 30, "the next second")
    shown = terminal.read()
    assert shown.count("default: ready") == 1, shown
    assert "last day" in shown
    assert b"\x1b[1;32mready" in terminal.raw
    assert terminal.close() == 130
    assert sandbox.status()["ready"]


def test_without_colour_it_is_drawn_without_colour(sandbox: Home) -> None:
    """NO_COLOR keeps the words and removes the color."""
    terminal = Terminal(sandbox, NO_COLOR="1")
    wait_for(lambda: "default: ready" in terminal.read(), 30, "the screen")
    assert terminal.close() == 130
    assert b"\x1b[1;32m" not in terminal.raw
    assert b"\x1b[32m" not in terminal.raw


@pytest.mark.parametrize("argv", [["--watch"], ["--watch", "--all"]])
def test_q_leaves_it_and_the_key_is_shown(home: Home, argv: list[str]) -> None:
    """The last line names the key; q exits with 0 at once, without Enter, and is not echoed."""
    shell = Shell(home)
    shell.type(f"gwctl status {' '.join(argv)}")
    shell.child.expect("q quit", timeout=30)
    shell.child.send("q")
    shell.prompt()
    assert shell.ask("$?") == "0"
    assert shell.is_sound()


def test_every_other_way_out_leaves_the_terminal_as_it_was(home: Home) -> None:
    """Ctrl-Z and fg, Ctrl-C, SIGTERM and a job in the background neither lose the keys nor spoil the shell."""
    shell = Shell(home)
    for end, code in (("\x03", "130"), ("kill -TERM", "143"), ("q", "0")):
        shell.type("gwctl status --watch")
        shell.child.expect("q quit", timeout=30)
        shell.child.send("\x1a")
        shell.prompt()
        assert shell.is_sound()
        if end.startswith("kill"):
            shell.type("kill -TERM %1; fg")
        else:
            shell.type("fg")
            shell.child.expect("q quit", timeout=30)
            shell.child.send(end)
        shell.prompt()
        assert shell.ask("$?") == code
        assert shell.is_sound()
    shell.type("gwctl status --watch &")
    shell.child.expect("stopped", timeout=30)
    shell.type("kill %1; wait %1")
    shell.prompt()
    assert shell.is_sound()


def test_without_a_terminal_as_stdin_no_key_is_read(home: Home) -> None:
    """What is piped into it is nobody's key; the screen shows none."""
    shell = Shell(home)
    shell.type("yes q | gwctl status --watch")
    shell.child.expect("last day", timeout=30)
    with pytest.raises(pexpect.TIMEOUT):
        shell.child.expect([shell.PROMPT, "q quit"], timeout=2.5)
    shell.child.sendintr()
    shell.prompt()


def test_without_a_terminal_it_is_a_line_a_change(home: Home) -> None:
    """A log of it has one plain line per phase, not one per second, until the reader closes."""
    call = home.start("status", "--watch")
    assert call.stdout is not None
    try:
        first = call.stdout.readline()
        assert first.endswith(" default: stopped · PAPER - not running\n")
        home.gwctl("up", "--sandbox").check(0)
        lines = [call.stdout.readline()]
        while "default: ready" not in lines[-1]:
            lines.append(call.stdout.readline())
        began_s = time.monotonic()
        home.gwctl("status").check(0)
        os.set_blocking(call.stdout.fileno(), False)
        while time.monotonic() - began_s < 2.5:
            time.sleep(0.1)  # long enough for two more looks without a change
        assert call.stdout.readline() == ""
        assert len({line.split(" default: ")[1] for line in lines}) == len(lines)
    finally:
        call.terminate()
        assert call.wait(20) == 143
        call.communicate()


def test_web_opens_the_page_in_the_users_browser(sandbox: Home, tmp_path: Path) -> None:
    """The configured browser gets the URL, the page is there, and no secret of ours is passed on (law 8)."""
    seen = tmp_path / "seen"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\n{{ echo "$1"; env; }} >{seen}.new\nmv {seen}.new {seen}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    done = sandbox.gwctl("status", "--web", "--json", BROWSER=str(program), GWCTL_PASSWORD="canary-of-the-page")
    answer = done.check(0).envelope["data"]
    wait_for(seen.exists, 20, "the browser")
    assert seen.read_text().splitlines()[0] == answer["url"]
    assert answer["opened"] is True
    assert "canary-of-the-page" not in seen.read_text()
    address = answer["url"].removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", "/")
    page = connection.getresponse()
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"<h1>" in page.read()
    connection.close()


def test_the_stream_has_the_status_and_the_day_of_the_real_supervisor(sandbox: Home) -> None:
    """The page gets the contract's status and the journal's last day."""
    url = sandbox.status()["supervisor"]["health_url"]
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/live")
    stream = connection.getresponse()
    assert stream.headers["content-type"] == "text/event-stream"
    events: dict[str, dict[str, Any]] = {}
    while {"status", "day"} - set(events):
        name = stream.readline().decode().removeprefix("event: ").strip()
        events[name] = json.loads(stream.readline().decode().removeprefix("data: "))
        assert stream.readline() == b"\n"
    connection.close()
    assert events["status"]["phase"] == "ready"
    assert events["status"]["tickles"]["last_s"] > 0
    assert events["status"]["budget"]["login"]["hour"] >= 1
    assert events["day"]["stretches"][-1]["state"] == "ready"
    assert events["day"]["outages"] == 0


def test_web_without_a_browser_prints_the_address_and_the_way_from_elsewhere(sandbox: Home) -> None:
    """On a server the URL is on stdout, and the command for one's own machine is on stderr."""
    done = sandbox.gwctl("status", "--web", DISPLAY=None, WAYLAND_DISPLAY=None, BROWSER=None).check(0)
    assert done.stdout == sandbox.status()["supervisor"]["health_url"] + "/\n"
    assert "ssh -L" in done.stderr


def test_web_of_a_stopped_profile_says_what_to_type(home: Home) -> None:
    """Without a supervisor there is no page."""
    done = home.gwctl("status", "--web")
    assert done.exit_code == 75
    assert "try: gwctl up" in done.stderr
    done = home.gwctl("status", "--web", "--all")
    assert done.exit_code == 75
    assert "no profile is running" in done.stderr
    assert "try: gwctl up --all" in done.stderr


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("", 200)])
def test_streams_are_for_the_pages_themselves(tmp_path: Path, site: str, status: int) -> None:
    """Another site's page can neither take up the places of viewers nor start the process that lists all profiles."""
    with page_rig.a_page(tmp_path) as shown:
        for path in ("/live", "/profiles/live"):
            connection = http.client.HTTPConnection(shown.url.removeprefix("http://"), timeout=20)
            connection.request("GET", path, headers={"Sec-Fetch-Site": site} if site else {})
            assert connection.getresponse().status == status
            connection.close()


def test_the_page_has_room_for_so_many(tmp_path: Path) -> None:
    """The seventeenth viewer is asked to come back, so that forgotten pages do not slow the loop down."""
    with page_rig.a_page(tmp_path) as shown:
        host = shown.url.removeprefix("http://")
        viewers = [http.client.HTTPConnection(host, timeout=20) for _ in range(17)]
        firsts = []
        for viewer in viewers:
            viewer.request("GET", "/live")
            firsts.append(viewer.getresponse().readline())
        assert firsts == [b"event: status\n"] * 16 + [b"retry: 15000\n"]
        for viewer in viewers:
            viewer.close()


def test_the_rigs_status_is_like_the_real_one(sandbox: Home) -> None:
    """The test data for screen and page has exactly the keys of the supervisor's status."""
    real = sandbox.status()

    def shape(value: Any) -> Any:
        return {key: shape(part) for key, part in value.items()} if isinstance(value, dict) else None

    assert shape(copy.deepcopy(page_rig.READY)) == shape(real)
