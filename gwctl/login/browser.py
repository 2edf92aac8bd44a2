"""Find a Chromium, start it pinned to our gateway's key, say why it ended; the only user of Playwright."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gwctl.errors import BrowserMissing
from gwctl.known_words import nearest
from gwctl.login.browser_reports import CRASHED
from gwctl.login.outcome import LoginOutcome, LoginReport, tidy
from gwctl.system_packages import browser_package

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

INSTALL_HINT = "gwctl browser install"
_SETTING_HINT = "correct or remove the setting browser: `gwctl profile show` says where it comes from"
# Chromium's messages if the kernel or a container does not let it create its sandbox: no namespace at all, or one in
# which its zygote then fails.
_NO_SANDBOX_HERE = re.compile(r"sandbox|zygote|new namespace", re.IGNORECASE)
NO_SANDBOX = "browser runs without its sandbox"
"""The step of a login whose browser does."""
ROOT_NEEDS = "run gwctl as a user other than root"
HEADLESS = "chromium-headless-shell"

# Names on PATH and fixed paths, by the channel that a profile may name, in order of preference.
_NAMES: dict[str, tuple[str, ...]] = {
    "chromium-headless-shell": ("chromium-headless-shell", "chrome-headless-shell"),
    "chrome": ("google-chrome-stable", "google-chrome"),
    "chromium": ("chromium", "chromium-browser"),
    "msedge": ("microsoft-edge-stable", "microsoft-edge"),
}
_PLACES: dict[str, tuple[str, ...]] = {
    "chrome": ("/opt/google/chrome/chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    "chromium": ("/Applications/Chromium.app/Contents/MacOS/Chromium",),
    "msedge": ("/opt/microsoft/msedge/msedge", "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"),
}
# The path of an executable inside a folder of Playwright's downloads; the platform's folder differs by version.
_DOWNLOADED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("chromium-headless-shell", "chromium_headless_shell", ("*/chrome-headless-shell", "*/headless_shell")),
    ("chromium", "chromium", ("chrome-linux*/chrome", "chrome-mac*/*.app/Contents/MacOS/*")),
)


class Browser(Struct, frozen=True):
    """A Chromium of some kind on this machine; ``source`` tells a person where it was found."""

    kind: str
    executable: Path
    source: str


def find_browser(setting: str | None, environ: Mapping[str, str]) -> Browser:
    """Return the browser to log in with: the setting, Playwright's own, or the system's Chromium, Chrome or Edge.

    ``setting`` is a path or one of ``chrome``, ``chromium``, ``chromium-headless-shell``, ``msedge``, ``playwright``.
    It starts nothing, does not import Playwright and never looks for Firefox, in which the login was seen to fail.
    Raises BrowserMissing.
    """
    if setting:
        return _from_setting(setting, environ)
    found = next(_everything(environ), None)
    if found is None:
        what = "no Chromium, Chrome or Edge was found on this machine"
        raise BrowserMissing(what, hint=INSTALL_HINT, package=browser_package(HEADLESS))
    return found


def find_window_browser(setting: str | None, environ: Mapping[str, str]) -> Browser:
    """Return a browser that can show a window, the setting's if it can; raises BrowserMissing."""
    if setting:
        found = _from_setting(setting, environ)
        if found.kind != HEADLESS:
            return found
    window = next((one for one in _everything(environ) if one.kind != HEADLESS), None)
    if window is None:
        raise BrowserMissing(
            "no browser that can show a window was found on this machine", hint="gwctl browser install --window"
        )
    return window


def _from_setting(setting: str, environ: Mapping[str, str]) -> Browser:
    if "/" in setting:
        path = Path(setting).expanduser()
        if not path.exists():
            raise BrowserMissing(f"the browser {setting} does not exist", hint=_SETTING_HINT)
        if not _is_executable(path):
            raise BrowserMissing(f"the browser {setting} is not an executable file", hint=f"ls -l {path}")
        return Browser(_kind_of(path), path, "setting")
    if setting == "playwright":
        found = next(_of_playwright(environ), None)
    elif setting in _NAMES:
        found = next(_of_system(setting, environ, allow_snap=True), None)
    else:
        on_path = shutil.which(setting, path=environ.get("PATH", ""))
        found = Browser(_kind_of(Path(on_path)), Path(on_path), "setting") if on_path else None
    if found is None:
        near = None if setting in _NAMES else nearest(setting, [*_NAMES, "playwright"])
        meant = f"did you mean {near}?" if near not in {None, setting} else INSTALL_HINT
        raise BrowserMissing(f"the browser {setting!r} was not found", hint=meant)
    return Browser(found.kind, found.executable, "setting")


def _kind_of(path: Path) -> str:
    name = path.name.lower()
    if "headless" in name:
        return HEADLESS
    if "edge" in name:
        return "msedge"
    return "chromium" if "chromium" in name else "chrome"


def _everything(environ: Mapping[str, str]) -> Iterator[Browser]:
    yield from _of_playwright(environ)
    for channel in _NAMES:
        yield from _of_system(channel, environ, allow_snap=False)


def _of_system(channel: str, environ: Mapping[str, str], *, allow_snap: bool) -> Iterator[Browser]:
    on_path = (shutil.which(name, path=environ.get("PATH", "")) for name in _NAMES[channel])
    for candidate in (*on_path, *_PLACES.get(channel, ())):
        if candidate and _is_executable(Path(candidate)) and (allow_snap or not _is_snap(Path(candidate))):
            yield Browser(channel, Path(candidate), "system")


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _is_snap(path: Path) -> bool:
    """Say whether ``path`` leads to a snap: such a browser cannot write to our profile folder."""
    resolved = path.resolve()
    if resolved.name == "snap" or resolved.is_relative_to("/snap"):
        return True
    with resolved.open("rb") as file:
        start = file.read(4096)
    return start.startswith(b"#!") and b"/snap/bin/" in start


def _of_playwright(environ: Mapping[str, str]) -> Iterator[Browser]:
    """Yield the downloads of Playwright's installer, the installed Playwright's revision first."""
    package = _playwright_package()
    if package is None:
        return
    try:
        downloads = _downloads_folder(package, environ)
    except RuntimeError:
        return  # an account without a home, as in containers
    wanted = _wanted_revision(package)
    for kind, prefix, patterns in _DOWNLOADED:
        folders = sorted(
            (f for f in downloads.glob(f"{prefix}-*") if f.name.removeprefix(f"{prefix}-").isdecimal()),
            key=lambda folder: (folder.name.endswith(f"-{wanted}"), int(folder.name.rpartition("-")[2])),
            reverse=True,
        )
        for executable in (e for f in folders for pattern in patterns for e in sorted(f.glob(pattern))):
            if _is_executable(executable):
                yield Browser(kind, executable, "playwright")


def _playwright_package() -> Path | None:
    spec = importlib.util.find_spec("playwright")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "driver" / "package"


def driver_program() -> Path | None:
    """Return the Node.js that Playwright brings along; None without Playwright."""
    package = _playwright_package()
    return None if package is None else package.with_name("node")


def _downloads_folder(package: Path, environ: Mapping[str, str]) -> Path:
    setting = environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    if setting == "0":
        return package / ".local-browsers"
    if setting:
        return Path(setting)
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "ms-playwright"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "ms-playwright"


def _wanted_revision(package: Path) -> str:
    try:
        browsers = json.loads((package / "browsers.json").read_bytes())["browsers"]
        return next(str(b["revision"]) for b in browsers if b["name"] == "chromium-headless-shell")
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return ""


def arguments(spki_pin: str | None) -> list[str]:
    """Return our flags; Playwright adds its own (no first run, no sync, no crash reporter, mock key chain).

    The pin makes Chromium accept the gateway's key, and no other unknown key; it works only together with a separate
    profile folder.
    """
    flags = [
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-breakpad",
        "--disable-extensions",
        "--disable-domain-reliability",
        "--disable-save-password-bubble",
        "--no-first-run",
        "--no-pings",
        "--no-proxy-server",
        "--disable-gpu",
        "--mute-audio",
    ]
    if spki_pin:
        flags.append(f"--ignore-certificate-errors-spki-list={spki_pin}")
    return flags


def is_root() -> bool:
    """Say whether the browser runs as root, for whom Chromium has no sandbox."""
    return os.geteuid() == 0


@contextlib.asynccontextmanager
async def started(  # noqa: PLR0913 - what a browser starts with
    browser: Browser,
    spki_pin: str | None,
    user_data_dir: Path,
    *,
    deadline_s: float,
    headless: bool = True,
    on_no_sandbox: Callable[[], None] = lambda: None,
) -> AsyncIterator[BrowserContext]:
    """Run ``browser`` with ``user_data_dir`` as its profile for the length of the block; close it on every way out.

    ``on_no_sandbox`` is called if the browser runs without Chromium's own sandbox: for root, or where it is
    unavailable, as in most containers. Raises Playwright's Error if the browser does not start within ``deadline_s``.
    """
    from playwright.async_api import Error, async_playwright

    async with async_playwright() as playwright:
        launch = functools.partial(
            playwright.chromium.launch_persistent_context,
            user_data_dir,
            executable_path=browser.executable,
            headless=headless,
            args=arguments(spki_pin),
            timeout=deadline_s * 1000,
            handle_sigint=False,
            handle_sigterm=False,
            handle_sighup=False,
            bypass_csp=True,
            accept_downloads=False,
            service_workers="block",
            viewport={"width": 1280, "height": 900},
        )
        if is_root():
            on_no_sandbox()
        try:
            # Chromium's own sandbox does not work for root, or where the kernel forbids user namespaces.
            context = await launch(chromium_sandbox=not is_root())
        except Error as error:
            if is_root() or not _NO_SANDBOX_HERE.search(str(error)):
                raise
            on_no_sandbox()
            context = await launch(chromium_sandbox=False)
        try:
            yield context
        finally:
            with contextlib.suppress(Error):
                await context.close()


DRIVER = "pw:browser"
LOG_VARIABLES = {"DEBUG": DRIVER, "DEBUG_HIDE_DATE": "1", "DEBUG_COLORS": "0"}
"""Makes the driver write a log; it contains no protocol messages and nothing that is typed."""
LOOKED_AT_BYTES = 256 * 1024
_FATAL = re.compile(r"^.*?(?:\[err\] )?(?P<said>\[[^\]]*:FATAL:[^\]]*\].*)$", re.MULTILINE)
_LIBRARY = re.compile(
    r"^.*?(?P<said>(?:\S+: )?error while loading shared libraries: .*|Library not loaded: .*)$", re.MULTILINE
)
_ENDED = re.compile(r"<process did exit: exitCode=(?P<code>\S+), signal=(?P<signal>\w+)>")
_PRINTED = re.compile(r"\[pid=\d+\]\[(?:err|out)\] (?P<said>.*\S.*)$", re.MULTILINE)
_BY_PLAYWRIGHT = "<forcefully close>"
_CLOSED = re.compile(r": Target (page, context or browser has been closed|crashed)\Z")
_KILLED_CODE = 128 + signal.SIGKILL
"""The exit code of a shell whose browser was killed."""


def fatal_line(log: str) -> str | None:
    """Return the browser's own reason for its exit; None if it gave none."""
    # The last one: without a usable sandbox, the browser was started twice.
    found = [*_FATAL.finditer(log)][-1:]
    return found[0]["said"].strip() if found else missing_library(log)


def missing_library(log: str) -> str | None:
    """Return what the system's loader said about a library that a program needs; None if it said nothing."""
    found = [*_LIBRARY.finditer(log)][-1:]
    return found[0]["said"].strip() if found else None


def was_killed(log: str) -> bool:
    """Say whether something killed the browser, as the system does when memory runs out (SIGKILL)."""
    ends = [*_ENDED.finditer(log)][-1:]
    killed = any(one["signal"] == "SIGKILL" or one["code"] == str(_KILLED_CODE) for one in ends)
    return killed and _BY_PLAYWRIGHT not in log


def has_ended(log: str) -> bool:
    """Say whether the log shows that the browser's process has ended."""
    return _ENDED.search(log) is not None


def explained(report: LoginReport, log: str, secrets: tuple[str, ...] = ()) -> LoginReport:
    """Add the browser's own output to the report of a login with a failed browser; return it."""
    if report.outcome is not LoginOutcome.BROWSER_FAILED:
        return report
    reason = fatal_line(log)
    if reason is None and was_killed(log):
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED, text="SIGKILL")
    if reason is None and report.text == CRASHED:
        # The system ends a page's process before the browser's, and Chromium logs nothing about it.
        return replace(report, outcome=LoginOutcome.BROWSER_KILLED)
    if reason is None:
        # Without a reason, its last output says more than Playwright's "has been closed".
        printed = [found["said"].strip() for found in _PRINTED.finditer(log)]
        ends = [one["code"] for one in _ENDED.finditer(log) if one["code"].isdecimal()]
        reason = printed[-1] if printed else f"it exited with code {ends[-1]}" if ends else None
    if reason is None:
        return report
    return replace(report, text=tidy(f"{_CLOSED.sub('', report.text)}: {reason}", secrets))
