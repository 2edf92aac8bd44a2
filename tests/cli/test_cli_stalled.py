"""A stopped or closed terminal, a hanging reader or disk: the supervisor does not wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator

import pytest
from cli_fakes import PROGRAM, Home, wait_for

CTRL_S, CTRL_Q = b"\x13", b"\x11"
UP = [*PROGRAM, "up", "--sandbox", "--foreground"]
END_BOUND_S = 20.0


class Terminal:
    """A terminal with the supervisor in its foreground; a thread reads the output, as a window does."""

    def __init__(self, home: Home) -> None:
        self.shown = b""
        self._closing = threading.Event()
        self.master, slave = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.call = subprocess.Popen(
            UP,
            env=home.environment(),
            cwd=home.folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - only the child itself can set its terminal
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                if select.select([self.master], [], [], 0.02)[0]:
                    self.shown += os.read(self.master, 4096)

    def close(self) -> None:
        """Close the window, which sends SIGHUP to its foreground processes."""
        self._closing.set()
        self._reader.join()  # an open reader would keep it open
        if self.master >= 0:
            os.close(self.master)
        self.master = -1


@pytest.fixture
def terminal(home: Home) -> Iterator[Terminal]:
    """Yield a terminal in which a ready supervisor runs."""
    opened = Terminal(home)
    try:
        _wait_ready(home)
        yield opened
    finally:
        if opened.call.poll() is None:
            opened.call.send_signal(signal.SIGCONT)
            home.gwctl("down", "--quiet")
            opened.call.kill()
        opened.call.wait(10)
        opened.close()


def _wait_ready(home: Home) -> None:
    wait_for((home.profile_dir / "supervisor.json").exists, 30, "the supervisor has begun")
    home.gwctl("wait", "--timeout", "60").check(0)


def _recovers(home: Home) -> None:
    """Assert that a killed gateway is replaced and the supervisor answers meanwhile."""
    before = home.status()
    os.kill(before["gateway"]["pid"], signal.SIGKILL)
    wait_for(
        lambda: (now := home.status())["ready"] and now["gateway"]["pid"] != before["gateway"]["pid"],
        40,
        "another gateway is ready",
    )


def test_ctrl_s_stops_what_is_shown_and_nothing_else(home: Home, terminal: Terminal) -> None:
    """With the terminal stopped, a killed gateway is replaced as usual; Ctrl-Q then shows all output."""
    os.write(terminal.master, CTRL_S)
    time.sleep(0.2)  # nothing signals that a terminal has stopped
    shown = terminal.shown
    _recovers(home)
    assert terminal.shown == shown
    os.write(terminal.master, CTRL_Q)
    wait_for(lambda: terminal.shown.count(b"gateway answers on port") == 2, 10, "it is shown after all")


@pytest.mark.parametrize("way", ["down", *(pytest.param(name, marks=pytest.mark.wide) for name in ("TERM", "HUP"))])
def test_the_end_does_not_wait_for_a_stopped_terminal(home: Home, terminal: Terminal, way: str) -> None:
    """On `down` or a signal it logs out, stops everything and ends, even if its terminal stays stopped."""
    os.write(terminal.master, CTRL_S)
    time.sleep(0.2)  # nothing signals that a terminal has stopped
    began_s = time.monotonic()
    if way == "down":
        done = home.gwctl("down").check(0)
        assert done.stderr == ""
    else:
        terminal.call.send_signal(signal.Signals[f"SIG{way}"])
    assert terminal.call.wait(END_BOUND_S) == {"down": 0, "TERM": 143, "HUP": 129}[way]
    assert time.monotonic() - began_s < END_BOUND_S
    assert home.left() == []


def test_a_closed_terminal_is_an_orderly_stop(home: Home, terminal: Terminal) -> None:
    """When its window closes, the supervisor logs out and leaves no gateway behind: exit code 129."""
    terminal.close()
    assert terminal.call.wait(END_BOUND_S) == 129
    assert home.left() == []
    assert home.journal()[-1]["kind"] == "end"


def test_under_nohup_a_closed_terminal_is_nothing(home: Home) -> None:
    """A process that ignores SIGHUP from the start continues, as under nohup; INT, TERM and `down` still end it."""
    call = subprocess.Popen(
        ["nohup", *UP], env=home.environment(), cwd=home.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_ready(home)
        supervisor = home.status()["supervisor"]["pid"]
        os.kill(supervisor, signal.SIGHUP)
        _recovers(home)
        assert home.status()["supervisor"]["pid"] == supervisor
        home.gwctl("down").check(0)
        assert call.wait(END_BOUND_S) == 0
    finally:
        call.kill()
        call.wait(10)


def test_a_reader_that_does_not_read_holds_nothing_up(home: Home) -> None:
    """With a stalled log driver and full pipes, the supervisor recovers the session, answers and ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 4096)
    os.set_blocking(writer, True)
    call = subprocess.Popen([*UP, "--json"], env=home.environment(), cwd=home.folder, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        _wait_ready(home)
        _recovers(home)
        call.terminate()
        assert call.wait(END_BOUND_S) == 143
    finally:
        call.kill()
        call.wait(10)
        os.close(reader)
    assert home.left() == []


def test_a_journal_that_cannot_be_written_to_holds_nothing_up(home: Home) -> None:
    """With a hanging disk (a pipe in place of the journal), recovery continues and the end waits only briefly."""
    home.gwctl("up", "--sandbox").check(0)
    journal = home.profile_dir / "journal.jsonl"
    kept = journal.read_bytes()
    journal.unlink()
    os.mkfifo(journal, 0o600)
    full = os.open(journal, os.O_RDWR | os.O_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, b"\n" * 4096)
        _recovers(home)
        began_s = time.monotonic()
        home.gwctl("down").check(0)
        assert time.monotonic() - began_s < END_BOUND_S
    finally:
        os.close(full)
        journal.unlink()
        journal.write_bytes(kept)
    assert home.left() == []


def test_everything_is_in_the_journal_when_down_returns(home: Home) -> None:
    """Everything written outside the loop is on disk, in order, before the supervisor's lock is released."""
    home.gwctl("up", "--sandbox").check(0)
    home.gwctl("down").check(0)
    entries = [json.loads(line) for line in (home.profile_dir / "journal.jsonl").read_text().splitlines()]
    assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1]["kind"] == "end"
