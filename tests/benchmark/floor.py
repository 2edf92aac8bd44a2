"""The floor: what the gateway, the page and authDelay take by themselves, with nothing of gwctl around them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from benchmark import client, memory
from benchmark.rows import FLOOR
from benchmark.sides import jvm_of, write_conf

ANSWERS_WITHIN_S = 60.0
SESSION_WITHIN_S = 30.0


@dataclass
class Floor:
    """The release as shipped, started by its own ``run.sh``, and a login by a bare script: nobody keeps the session."""

    folder: Path
    release_zip: Path
    port: int
    upstream_port: int
    username: str
    password: str
    auth_delay_ms: int
    browser: str
    name: str = FLOOR
    check_every_s: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the last start took, by the rows whose floor it is."""
    _running: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def up(self) -> float | None:
        """Start the gateway and log in; return the seconds of both, without the browser's start."""
        if not (self.folder / "bin").exists():
            with zipfile.ZipFile(self.release_zip) as archive:
                archive.extractall(self.folder)
        write_conf(self.folder / "root" / "conf.yaml", self.port, self.upstream_port, self.auth_delay_ms)
        jvm_s = self._start()
        page_s, session_s = self._log_in()
        self.parts = {
            "jvm": jvm_s,
            "page": page_s,
            "auth_delay": session_s,
            "first": jvm_s + page_s + session_s,
            "killed": jvm_s,
            "killed_often": jvm_s,
            "hung": jvm_s,
            "dropped": page_s + session_s,
            "polled": page_s + session_s,
        }
        return jvm_s + page_s + session_s

    def _start(self) -> float:
        began_s = time.monotonic()
        log = self.folder / "log"
        with log.open("ab") as out:
            self._running = subprocess.Popen(
                ["bash", "bin/run.sh", "root/conf.yaml"],
                cwd=self.folder,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        while not client.answers(self.port):
            if time.monotonic() - began_s > ANSWERS_WITHIN_S or self._running.poll() is not None:
                raise AssertionError(f"the gateway does not answer: {log}")
            time.sleep(0.01)  # the resolution of the figure
        return time.monotonic() - began_s

    def _log_in(self) -> tuple[float, float]:
        """Return the seconds of page, form and answer, and those until a client has a session after that."""
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-dev-shm-usage", "--ignore-certificate-errors"]
            chromium = playwright.chromium.launch(executable_path=self.browser, args=options)
            page = chromium.new_context(ignore_https_errors=True).new_page()
            began_s = time.monotonic()
            page.goto(f"https://localhost:{self.port}/", wait_until="commit")
            page.locator("label[for=toggle1]").click()
            page.locator("input[name=username]").first.fill(self.username)
            page.locator("input[name=password]").first.fill(self.password)
            page.locator("button[type=submit]").first.click()
            page.get_by_text("Client login succeeds").wait_for()
            answered_s = time.monotonic()
            waited_s = client.wait_ready(self.port, SESSION_WITHIN_S)
            chromium.close()
        if waited_s is None:
            raise AssertionError("the login succeeded, and a client has no session")
        return answered_s - began_s, waited_s

    def again(self) -> float | None:
        """Raise: nobody keeps this session."""
        raise LookupError("nothing keeps the floor's session")

    def down(self) -> None:
        """End the gateway."""
        if self._running is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._running.pid, 9)
        self._running.wait()
        self._running = None

    def processes(self) -> list[psutil.Process]:
        """Return the gateway, with the shell that started it."""
        return memory.below(self.folder)

    def gateway(self) -> psutil.Process:
        """Return the JVM."""
        return jvm_of(self.processes())

    def keeper(self) -> psutil.Process:
        """Raise: nobody keeps this session."""
        raise LookupError("nothing keeps the floor's session")
