"""What the operating system has to install, as this user has to type it, or an administrator for this user."""

from __future__ import annotations

import contextlib
import grp
import os
import platform
import pwd
import shutil
from collections.abc import Sequence

from gwctl.errors import TimedOut, Unavailable
from gwctl.process import Child, environment_of, run

JAVA = "default-jre-headless"
"""Debian's package with a Java that runs the gateway."""
_ADMINISTRATORS = ("sudo", "admin", "wheel")
"""The groups whose members sudo obeys: Debian's and Ubuntu's, macOS's and earlier Ubuntu's, others'."""
_SUDO_TIMEOUT_S = 5.0


def as_root(command: str) -> str:
    """Return how ``command`` gets root's rights: as it is, with sudo, or typed by an administrator."""
    if os.geteuid() == 0:
        return command
    return f"sudo {command}" if _may_use_sudo() else f"an administrator has to run: {command}"


def _may_use_sudo() -> bool:
    """Return whether this user becomes root with sudo: by a group, or because sudo says so without a password."""
    if shutil.which("sudo") is None:
        return False
    with contextlib.suppress(KeyError):  # an account without a name
        own = pwd.getpwuid(os.geteuid())
        gids = os.getgrouplist(own.pw_name, own.pw_gid)
        for name in _ADMINISTRATORS:
            with contextlib.suppress(KeyError):  # no such group here
                if grp.getgrnam(name).gr_gid in gids:
                    return True
    try:
        env = environment_of(Child.OURS, os.environ)
        return run(["sudo", "-n", "true"], timeout_s=_SUDO_TIMEOUT_S, env=env).exit_code == 0
    except (OSError, TimedOut):
        return False


def apt_install(*packages: str) -> str | None:
    """Return how packages are installed on Debian, Ubuntu and their like; None elsewhere."""
    return as_root(f"apt-get install {' '.join(packages)}") if shutil.which("apt-get") else None


def browser_package(name: str) -> str | None:
    """Return Debian's package of a browser; None elsewhere.

    Ubuntu has the browser only as a snap, which cannot write to our folders.
    """
    return name if _is_debian() else None


def browser_install(name: str) -> str:
    """Return how to install the system's own browser: Debian's package ``name``, elsewhere Google Chrome."""
    package = browser_package(name)
    command = apt_install(package) if package else None
    return command or "install Google Chrome, or name a Chromium in the setting `browser`"


def all_missing(missing: Sequence[Unavailable]) -> Unavailable:
    """Return one error for all that is missing: what the system's packages have comes with one command."""
    if len(missing) == 1:
        return missing[0]
    packages = [one.package for one in missing if one.package]
    by_apt = apt_install(*packages) if packages else None
    others = [one.hint for one in missing if one.hint and not (by_apt and one.package)]
    hint = ", then ".join([by_apt, *others] if by_apt else others)
    return Unavailable("; ".join(one.message for one in missing), hint=hint)


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False
