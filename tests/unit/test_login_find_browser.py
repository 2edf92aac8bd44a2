from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gwctl.errors import BrowserMissing, DownloadFailed
from gwctl.login import browser
from gwctl.login.browser import arguments, find_browser, install_chromium
from gwctl.setting_values import Unsuitable, parse_browser


def program(folder: Path, name: str, text: str = "#!/bin/sh\nexit 0\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment without any browser, on any machine."""
    monkeypatch.setattr(browser, "_PLACES", {})
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "pw")}


def test_no_browser_names_the_one_command(nowhere: dict[str, str]) -> None:
    """A missing browser is exit 69 with the command to type."""
    with pytest.raises(BrowserMissing) as caught:
        find_browser(None, nowhere)
    assert caught.value.exit_code == 69
    assert caught.value.hint == "gwctl browser install"


def test_playwrights_own_comes_first(nowhere: dict[str, str], tmp_path: Path) -> None:
    """Playwright's download comes before the system's, a newer before an older, the headless shell before a window."""
    program(tmp_path / "bin", "google-chrome")
    program(tmp_path / "pw" / "chromium-1" / "chrome-linux64", "chrome")
    assert find_browser(None, nowhere).source == "playwright"
    program(tmp_path / "pw" / "chromium_headless_shell-1" / "chrome-headless-shell-linux64", "chrome-headless-shell")
    newer = program(tmp_path / "pw" / "chromium_headless_shell-20" / "chrome-linux", "headless_shell")
    found = find_browser(None, nowhere)
    assert (found.executable, found.kind) == (newer, "chromium-headless-shell")


def test_the_systems_order(nowhere: dict[str, str], tmp_path: Path) -> None:
    """Of the system's, a headless shell comes before Chrome, Chrome before Chromium, Chromium before Edge."""
    for name, kind in (
        ("microsoft-edge", "msedge"),
        ("chromium-browser", "chromium"),
        ("google-chrome", "chrome"),
        ("chromium-headless-shell", "chromium-headless-shell"),
    ):
        path = program(tmp_path / "bin", name)
        assert find_browser(None, nowhere) == browser.Browser(kind, path, "system")


def test_firefox_is_never_taken(nowhere: dict[str, str], tmp_path: Path) -> None:
    """Firefox is never found automatically, and the setting refuses it."""
    path = program(tmp_path / "bin", "firefox")
    with pytest.raises(BrowserMissing):
        find_browser(None, nowhere)
    for setting in ("firefox", str(path)):
        with pytest.raises(Unsuitable):
            parse_browser(setting)


def test_a_snap_is_not_taken_by_itself(nowhere: dict[str, str], tmp_path: Path) -> None:
    """A browser in a snap cannot use our profile folder, and is used only when requested."""
    path = program(tmp_path / "bin", "chromium-browser", '#!/bin/sh\nexec /snap/bin/chromium "$@"\n')
    with pytest.raises(BrowserMissing):
        find_browser(None, nowhere)
    assert find_browser("chromium", nowhere).executable == path


def test_the_setting_wins(nowhere: dict[str, str], tmp_path: Path) -> None:
    """A path, a channel or a name on PATH is used as requested, and nothing else instead."""
    program(tmp_path / "bin", "google-chrome")
    path = program(tmp_path / "mine", "my-chrome")
    assert find_browser(str(path), nowhere).executable == path
    assert find_browser("chrome", nowhere).kind == "chrome"
    for missing in ("msedge", "playwright", "/nowhere/chrome", "no-such-browser"):
        with pytest.raises(BrowserMissing, match=missing):
            find_browser(missing, nowhere)


def test_a_file_that_cannot_be_executed_is_no_browser(nowhere: dict[str, str], tmp_path: Path) -> None:
    """A path that is not executable counts as missing."""
    path = program(tmp_path / "mine", "chrome")
    path.chmod(0o644)
    with pytest.raises(BrowserMissing):
        find_browser(str(path), nowhere)


def test_finding_does_not_import_playwright(tmp_path: Path) -> None:
    """The supervisor and the verbs look for a browser without loading Playwright."""
    code = (
        "import os, sys\nfrom gwctl.login.browser import find_browser\nfrom gwctl.errors import BrowserMissing\n"
        "import gwctl.login.worker_client\n"
        "try:\n    find_browser(None, os.environ)\nexcept BrowserMissing:\n    pass\n"
        "heavy = {'playwright', 'cryptography', 'yaml', 'rich', 'starlette', 'pyotp', 'psutil', 'greenlet'}\n"
        "sys.exit(','.join(heavy & {name.split('.')[0] for name in sys.modules}) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_browser_is_pinned_to_one_key() -> None:
    """The browser gets the pin, and no flag makes it accept any certificate."""
    flags = arguments("PIN=")
    assert "--ignore-certificate-errors-spki-list=PIN=" in flags
    assert "--ignore-certificate-errors" not in flags
    assert not any("spki" in flag for flag in arguments(None))


def test_a_failed_installer_is_one_line(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line of Playwright's installer is the error's message; its exit code is 69."""
    interpreter = program(
        tmp_path / "bin", "python", "#!/bin/sh\necho first\necho cannot reach the mirror >&2\nexit 1\n"
    )
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(DownloadFailed, match="cannot reach the mirror") as caught:
        install_chromium(nowhere)
    assert caught.value.exit_code == 69


def test_an_installer_that_worked_hands_over_its_browser(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the installation, the browser that is found is the installed one."""
    script = (
        '#!/bin/sh\n[ "$1 $2 $3 $4" = "-m playwright install chromium-headless-shell" ] || exit 9\n'
        'f="$PLAYWRIGHT_BROWSERS_PATH/chromium_headless_shell-7/chrome-linux"\n'
        '/bin/mkdir -p "$f" && echo "#!/bin/sh" > "$f/headless_shell" && /bin/chmod +x "$f/headless_shell"\n'
    )
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "bin", "python", script)))
    installed = install_chromium(nowhere)
    assert installed.executable.is_relative_to(tmp_path / "pw")
