from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gwctl import system_packages
from gwctl.errors import BrowserMissing, DownloadFailed, JavaMissing
from gwctl.known_words import Unsuitable
from gwctl.login import browser
from gwctl.login.browser import arguments, find_browser
from gwctl.login.browser_install import install_chromium, look_at_driver
from gwctl.login.start_failures import remedy_of_start
from gwctl.setting_values import parse_browser

NO_LIBATOMIC = (
    "/x/playwright/driver/node: error while loading shared libraries: libatomic.so.1: cannot open shared object file: "
    "No such file or directory"
)


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


def test_a_failed_download_is_its_first_error_and_the_systems_own_package(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Playwright repeats an error with its stack and fields; the message has its cause, the hint another way."""
    printed = (
        "Error: getaddrinfo ENOTFOUND cdn.example\n    at x (node:dns)\n  errno: -3008,\n}\nError: Download failure"
    )
    interpreter = program(tmp_path / "bin", "python", f"#!/bin/sh\necho 'Downloading'\necho '{printed}' >&2\nexit 1\n")
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(system_packages, "_is_debian", lambda: True)
    monkeypatch.setattr(system_packages, "as_root", lambda command: f"sudo {command}")
    monkeypatch.setattr("gwctl.system_packages.shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(DownloadFailed, match=r"failed: getaddrinfo ENOTFOUND cdn\.example\Z") as caught:
        install_chromium(nowhere)
    assert caught.value.hint == "sudo apt-get install chromium-headless-shell"
    with pytest.raises(DownloadFailed) as caught:
        install_chromium(nowhere, window=True)
    assert caught.value.hint == "sudo apt-get install chromium"


def test_an_installer_without_its_library_names_the_package(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Playwright's Node.js cannot install the library that it needs itself, so the hint is the system's package."""
    interpreter = program(tmp_path / "bin", "python", f"#!/bin/sh\necho '{NO_LIBATOMIC}' >&2\nexit 127\n")
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(system_packages, "as_root", lambda command: f"sudo {command}")
    monkeypatch.setattr("gwctl.system_packages.shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(DownloadFailed, match="libatomic") as caught:
        install_chromium(nowhere)
    assert caught.value.hint == "sudo apt-get install libatomic1"
    assert remedy_of_start(NO_LIBATOMIC) == caught.value.hint


BY_AN_ADMINISTRATOR = "an administrator has to run: apt-get install cron"


@pytest.mark.parametrize(
    ("uid", "groups", "sudo", "typed"),
    [
        (0, [], "exit 1", "apt-get install cron"),
        (0, [], None, "apt-get install cron"),
        (1000, ["wheel"], "exit 1", "sudo apt-get install cron"),
        (1000, ["users"], '[ "$*" = "-n true" ]', "sudo apt-get install cron"),
        (1000, ["users"], "echo 'sudo: a password is required' >&2; exit 1", BY_AN_ADMINISTRATOR),
        (1000, ["users", "wheel"], None, BY_AN_ADMINISTRATOR),
        (None, [], "exit 1", BY_AN_ADMINISTRATOR),
    ],
)
def test_a_command_for_root_is_for_who_may_run_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    uid: int | None,
    groups: list[str],
    sudo: str | None,
    typed: str,
) -> None:
    """Root needs no sudo; a user needs its rights, by a group or a rule; for others an administrator types it."""
    gids = {"sudo": 27, "wheel": 10, "users": 100}
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=gids[name]))
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [gids[name] for name in groups])
    names = {} if uid is None else {uid: SimpleNamespace(pw_name="wren", pw_gid=100)}
    monkeypatch.setattr(pwd, "getpwuid", names.__getitem__)
    monkeypatch.setattr(os, "geteuid", lambda: 4417 if uid is None else uid)
    program(tmp_path / "bin", "apt-get")
    if sudo is not None:
        program(tmp_path / "bin", "sudo", f"#!/bin/sh\n{sudo}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert system_packages.apt_install("cron") == typed


@pytest.mark.parametrize(
    ("is_debian", "hint"),
    [
        (True, "sudo apt-get install default-jre-headless libatomic1 chromium-headless-shell"),
        (False, "sudo apt-get install default-jre-headless libatomic1, then gwctl browser install"),
    ],
)
def test_all_that_is_missing_is_one_error(
    nowhere: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_debian: bool, hint: str
) -> None:
    """One message names it all, and one command installs all that the system's packages have."""
    monkeypatch.setattr(system_packages, "_is_debian", lambda: is_debian)
    monkeypatch.setattr(system_packages, "as_root", lambda command: f"sudo {command}")
    program(tmp_path / "system", "apt-get")
    monkeypatch.setenv("PATH", str(tmp_path / "system"))
    node = program(tmp_path / "x" / "driver", "node", f"#!/bin/sh\necho '{NO_LIBATOMIC}' >&2\nexit 127\n")
    monkeypatch.setattr("gwctl.login.browser_install.driver_program", lambda: node)
    lacking = look_at_driver(nowhere)
    assert lacking is not None
    assert lacking.hint == "sudo apt-get install libatomic1"
    java = JavaMissing("no Java", hint="install one", package=system_packages.JAVA)
    with pytest.raises(BrowserMissing) as caught:
        find_browser(None, nowhere)
    error = system_packages.all_missing([java, lacking, caught.value])
    assert (error.exit_code, error.hint) == (69, hint)
    for word in ("no Java", "libatomic.so.1", "no Chromium"):
        assert word in error.message
    assert system_packages.all_missing([lacking]) is lacking


def test_a_driver_that_starts_lacks_nothing(nowhere: dict[str, str]) -> None:
    """Playwright's own Node.js, as it is installed here."""
    assert look_at_driver(nowhere) is None


def test_no_apt_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no apt-get, no hint says to type it."""
    monkeypatch.setattr("gwctl.system_packages.shutil.which", lambda _: None)
    assert system_packages.apt_install("cron") is None
    assert "apt-get" not in system_packages.browser_install("chromium")


def test_a_browser_that_is_not_there_is_a_wrong_setting(nowhere: dict[str, str]) -> None:
    """Another browser would not be used as long as the setting names this one, so the hint is not to install one."""
    with pytest.raises(BrowserMissing) as caught:
        find_browser("/gone/chrome", nowhere)
    assert "install" not in (caught.value.hint or "")


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
