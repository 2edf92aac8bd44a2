"""Whether there is a newer release, or a newer gwctl. Nothing is downloaded or installed for it.

A supervisor asks once a day, through ``python -m gwctl.release.newer``: in a child, which takes the memory and a server
that hangs with it when it ends. Verbs only read the answer.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from gwctl.config import BUILT_IN, Settings
from gwctl.environment import Environment
from gwctl.errors import GwctlError
from gwctl.release.download import Download, DownloadPolicy
from gwctl.release.served_file import ServedFile
from gwctl.release.store import Release, ReleaseStore
from gwctl.setting_keys import OFFICIAL_RELEASE
from gwctl.setting_values import url_fault
from gwctl.state_file import locked, look_at_json, write_json
from gwctl.version import VERSION

ASK_EVERY_S = 86_400.0
BOUND_S = 30
"""The child ends after this time, even if its parent was killed."""
_POLICY = DownloadPolicy(read_timeout_s=5.0)
_PAGE = "Releases"
"""The label of gwctl's page of releases among the project's URLs; it is missing until gwctl is published."""


class Notice(Struct, frozen=True):
    """What is newer, in words, and the command that installs it, or the page that has it."""

    text: str
    remedy: str


def is_wanted(settings: Settings, environment: Environment) -> bool:
    """Return whether to ask, and to tell: the setting, by default not in CI."""
    wanted = settings.values["check_for_updates"]
    return bool(wanted.value) and not (wanted.source == BUILT_IN and environment.flag("CI"))


def is_due(check_file: Path) -> bool:
    """Return whether nobody has asked within a day; False if the record is another user's."""
    try:
        asked_at_s = (look_at_json(check_file)[0] or {}).get("asked_at_s")
    except OSError:
        return False
    # A time in the future is one before the clock was set back.
    return not (isinstance(asked_at_s, int | float) and 0 <= time.time() - asked_at_s < ASK_EVERY_S)


def notices_of(settings: Settings, environment: Environment) -> list[Notice]:
    """Return what is newer than what is installed, nothing where nobody wants to know; change no file."""
    if not is_wanted(settings, environment):
        return []
    try:
        said = look_at_json(settings.paths.release_check_file)[0] or {}
    except OSError:
        return []
    is_pinned = settings["release_sha256"] is not None or "://" not in settings["release"]
    release = None if is_pinned else _newer_release(said.get("release"), settings.paths.releases_dir)
    return [one for one in (release, _newer_gwctl(said.get("gwctl"))) if one is not None]


def _newer_release(said: object, releases_dir: Path) -> Notice | None:
    if not isinstance(said, dict) or said.get("newer") is not True:
        return None
    found = _installed(releases_dir)
    # Another release may have been installed since.
    if found is None or (said.get("version"), said.get("installed")) != (found[0].version, found[1].to_json()):
        return None
    release, served = found
    source = "" if served.url == OFFICIAL_RELEASE else f" {shlex.quote(served.url)}"
    text = f"a newer Standard Release than {release.version} is available; gwctl does not install it by itself"
    return Notice(text, f"gwctl release install{source}")


def _newer_gwctl(said: object) -> Notice | None:
    match said:
        case {"version": str(version), "page": str(page)} if _may_ask(page) and _is_newer_gwctl(version):
            return Notice(f"gwctl {version} is available, and this is {VERSION}", page)
        case _:
            return None


def _is_newer_gwctl(version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) > Version(VERSION)
    except InvalidVersion:
        return False


def _may_ask(url: str) -> bool:
    return url_fault(url, loopback_allowed=True) is None


def _installed(releases_dir: Path) -> tuple[Release, ServedFile] | None:
    """Return the current release and what its server said of it, None if it came from no address."""
    release = ReleaseStore(releases_dir, releases_dir).current()
    served = None if release is None else ServedFile.kept(release.path.parent)
    return None if release is None or served is None else (release, served)


# The child.


def ask(releases_dir: Path, check_file: Path) -> list[str]:
    """Ask what there is to ask if it is time, record the answers, and say what came of it; raise GwctlError, OSError.

    The time is recorded first, so that a server that does not answer is not asked again on the same day, either. An
    earlier answer holds until there is another.
    """
    with locked(check_file.with_suffix(".lock")):
        if not is_due(check_file):
            return ["not due"]
        record = {**(look_at_json(check_file)[0] or {}), "asked_at_s": time.time()}
        write_json(check_file, record)
    looks: dict[str, Callable[[], dict[str, object] | None]]
    looks = {"release": lambda: _look_at_release(releases_dir), "gwctl": _look_at_page}
    outcomes = []
    for name, look in looks.items():
        try:
            found = look()
        except GwctlError as error:
            outcomes.append(f"{name}: {error.message}")
            continue
        outcomes.append(f"{name}: {found}")
        # At once: the next server may hang until the child's end.
        record[name] = found
        write_json(check_file, record)
    return outcomes


def _look_at_release(releases_dir: Path) -> dict[str, object] | None:
    found = _installed(releases_dir)
    if found is None:
        return None
    release, installed = found
    newer = Download(installed.url, releases_dir, lambda _seen: None, _POLICY).ask().is_newer_than(installed)
    return {"version": release.version, "installed": installed.to_json(), "newer": newer}


def _look_at_page() -> dict[str, object] | None:
    """Return the version of gwctl's latest release: the page's ``latest`` leads to ``tag/v1.2.3``."""
    page = releases_page()
    if page is None:
        return None
    latest = Download(f"{page}/latest", Path(), lambda _seen: None, _POLICY).leads_to()
    return {"version": urlsplit(latest).path.rpartition("/tag/")[2].removeprefix("v"), "page": page}


def releases_page() -> str | None:
    """Return the page of gwctl's releases from what is installed; None until there is one."""
    import importlib.metadata  # in the child alone

    try:
        urls = importlib.metadata.metadata("gwctl").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = dict(one.split(", ", 1) for one in urls if ", " in one)
    page = named.get(_PAGE, "").rstrip("/")
    return page if page and _may_ask(page) else None


def main(releases_dir: str, check_file: str) -> int:
    """Ask, and say on stdout what came of it."""
    signal.alarm(BOUND_S)
    try:
        said = ask(Path(releases_dir), Path(check_file))
    except (GwctlError, OSError) as error:
        said = [f"not asked: {error}"]
    sys.stdout.write("\n".join(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
