"""A person at a screen: their own display, the login window on it, their mouse and keyboard."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from cli_fakes import RealHome
from rig import wait_for

from gwctl.sandbox.ibkr import serve_in_thread
from gwctl.sandbox.settings import Account, Mode, PageOptions, StandInConfig

WINDOW_S = 120
HANDS_TIMEOUT_S = 20
SENT_S = 8
LOADED_S = 15.0
TRIES = 4


class Screen:
    """One X display without a window manager, and the person in front of it."""

    def __init__(self, display: str) -> None:
        self.display = display

    def hands(self, *argv: str) -> str:
        """Do something with mouse or keyboard, and return xdotool's output."""
        done = subprocess.run(
            ["xdotool", *argv],
            env={**os.environ, "DISPLAY": self.display},
            capture_output=True,
            text=True,
            timeout=HANDS_TIMEOUT_S,
            check=False,
        )
        return done.stdout.strip()

    def browsers(self) -> list[psutil.Process]:
        """Return the processes of browsers on this display, and of their drivers, the oldest first.

        Their working directory may be anywhere: it is in the system's temporary folder if the home's path is long.
        """
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                drives = "chrom" in process.name() or "gwctl.login.worker" in process.cmdline()
                if drives and process.environ().get("DISPLAY") == self.display:
                    found.append(process)
        return sorted(found, key=lambda one: one.create_time())

    def login_window(self) -> str:
        """Return the window with the login page as soon as it is visible; reload a page that takes too long."""
        search = ("search", "--onlyvisible", "--name", "Login - sandbox")
        patience_s, patient_until_s = LOADED_S, math.inf

        def found() -> str:
            nonlocal patience_s, patient_until_s
            if patient_until_s == math.inf and self.browsers():
                patient_until_s = time.monotonic() + patience_s
            if time.monotonic() > patient_until_s:  # twice as patient each time: a reload begins from nothing
                patience_s *= 2
                patient_until_s = time.monotonic() + patience_s
                self.hands("key", "F5")
            return self.hands(*search).partition("\n")[0]

        return wait_for(found, WINDOW_S, "the login window is there")

    def log_in(self, home: RealHome) -> None:
        """Type username and password into the page and send them, as a person would: again if nothing happens.

        A window has its name before it accepts a click or a key; if the fields stay empty, reload the page.
        """
        before = home.submits()
        for _ in range(TRIES):
            window = self.login_window()
            # Into an empty part of the page, low in the window: the next Tab goes to the first field.
            self.hands("mousemove", "--window", window, "700", "800", "click", "1")
            self.hands("key", "Tab")
            self.hands("type", "--delay", "4", home.account.username)
            self.hands("key", "Tab")
            self.hands("type", "--delay", "4", home.account.password)
            self.hands("key", "Return")
            with contextlib.suppress(AssertionError):
                wait_for(lambda: home.submits() > before, SENT_S, "something is sent")
                return
            self.hands("key", "F5")
        raise AssertionError(f"nothing was sent after {TRIES} tries at the keyboard")

    def close_window(self) -> None:
        """Close the window's one tab, like a person who has changed their mind."""
        window = self.login_window()
        self.hands("mousemove", "--window", window, "700", "800", "click", "1")
        self.hands("key", "ctrl+w")


@contextmanager
def a_screen() -> Iterator[Screen]:
    """Run an X server on a free display, for the length of a ``with``."""
    reading, writing = os.pipe()
    argv = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x1100x24", "-nolisten", "tcp"]
    server = subprocess.Popen(argv, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            # The number arrives as soon as the socket listens; nothing arrives if the server has ended.
            number = pipe.readline().strip()
        assert number, f"Xvfb ended with {server.wait()}"
        yield Screen(f":{number}")
    finally:
        server.terminate()
        server.wait()


@contextmanager
def a_live_home(folder: Path, release_zip: Path, *, mode: Mode = "live") -> Iterator[RealHome]:
    """Yield a home with a live account and a profile without a password; its login page is the simplest."""
    account = Account(username="reader01", password=f"canary{secrets.token_hex(4)}", mode="live")
    page = PageOptions(toggle=False, form_delay_ms=0, cookie_dialog=False)
    with serve_in_thread(StandInConfig(admin_token=secrets.token_hex(8), account=account, page=page)) as stand_in:
        home = RealHome(folder, account, stand_in)
        home.variables.pop("GWCTL_USERNAME")
        home.variables |= {"GWCTL_MODE": mode}
        home.gwctl("release", "install", str(release_zip)).check(0)
        try:
            yield home
        finally:
            home.end_started()
            home.gwctl("down", "--quiet")
        assert home.left() == []


def kinds(home: RealHome) -> set[str]:
    """Return what runs in a home: supervisor, gateway, its front, or otherwise its words."""
    found = set()
    for process in home.processes():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            known = {"--handed-over": "supervisor", "root/conf.yaml": "gateway", "isolation import front": "front"}
            found.add(next((kind for mark, kind in known.items() if mark in words), words[:200]))
    return found
