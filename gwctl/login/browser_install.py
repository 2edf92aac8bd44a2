"""Install Playwright's Chromium with our interpreter, and say what to do where that fails."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping

from gwctl.errors import BrowserMissing, DownloadFailed, TimedOut
from gwctl.login.browser import HEADLESS, INSTALL_HINT, Browser, driver_program, find_browser, missing_library
from gwctl.login.start_failures import lacking_of_node, remedy_of_library
from gwctl.process import Child, Completed, environment_of, run
from gwctl.system_packages import browser_install

_ERROR = "Error: "
_DRIVER_TIMEOUT_S = 20.0


def install_chromium(environ: Mapping[str, str], *, window: bool = False, timeout_s: float = 900.0) -> Browser:
    """Run Playwright's installer and return what it installed.

    The headless shell is enough to log in; ``window`` also installs the browser that can show a window. Raises
    DownloadFailed with the installer's reason; the installer cleans up its own downloads.
    """
    package = "chromium" if window else HEADLESS
    argv = [sys.executable, "-m", "playwright", "install", package]
    try:
        done = run(argv, timeout_s=timeout_s, env=environment_of(Child.ONLINE, environ))
    except OSError as error:
        raise DownloadFailed(f"Playwright's installer does not start: {error.strerror}", hint=INSTALL_HINT) from error
    if done.exit_code != 0:
        library = missing_library(done.stderr)
        hint = remedy_of_library(library) if library else browser_install(package)
        raise DownloadFailed(f"Playwright's installer failed: {library or _reason(done)}", hint=hint)
    return find_browser("playwright", environ)


def look_at_driver(environ: Mapping[str, str]) -> BrowserMissing | None:
    """Return what Playwright's Node.js lacks on this machine, None if it starts: it starts and installs the browser."""
    node = driver_program()
    if node is None:
        return None
    with contextlib.suppress(OSError, TimedOut):  # a login says what else is wrong with it
        env = environment_of(Child.OURS, environ)
        library = missing_library(run([str(node), "--version"], timeout_s=_DRIVER_TIMEOUT_S, env=env).stderr)
        return None if library is None else lacking_of_node(library)
    return None


def _reason(done: Completed) -> str:
    """Return the first error of the installer, which it repeats for each attempt; else its last line."""
    lines = [line.strip() for line in f"{done.text}\n{done.stderr}".splitlines() if line.strip()]
    errors = (line.strip() for line in done.stderr.splitlines() if line.strip().startswith(_ERROR))
    return next(errors, lines[-1] if lines else f"exit code {done.exit_code}").removeprefix(_ERROR)
