"""What to do about a browser that does not start, by its cause: only one that is missing needs an installation."""

from __future__ import annotations

import re
import sys

from gwctl.errors import BrowserMissing
from gwctl.login.browser import INSTALL_HINT
from gwctl.system_packages import apt_install, as_root

MORE_MEMORY = "give the machine or container more memory"
ANOTHER_BROWSER = f"{INSTALL_HINT}, or name another one in the setting `browser`"
# Playwright's Node.js, which starts the browser: unlike the browser, it needs only this one that Debian may be without.
_OF_NODE = re.compile(r"driver/node: .*libraries: (?P<file>\S+?):")
_PACKAGES = {"libatomic.so.1": "libatomic1"}
# First match wins. The texts are those of Chromium, of the system's loader and of Node, which starts it.
_CAUSES: tuple[tuple[str, str], ...] = (
    (r"dev/shm|shared memory", "chmod 1777 /dev/shm, or give the container more of it (--shm-size=256m)"),
    (
        r"no space left|ENOSPC|disk quota",
        "free space on the disks of TMPDIR and GWCTL_HOME (gwctl release prune helps), or set them to others",
    ),
    (r"socket path too long", "set TMPDIR to a short path, such as /tmp"),
    (
        r"sandbox|zygote|namespace",
        "allow user namespaces (sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container, seccomp)",
    ),
    (
        r"resource temporarily unavailable|pthread_create|EAGAIN|too many open files|EMFILE",
        "raise the limits of processes and open files: ulimit -u and -n, or a container's --pids-limit",
    ),
    (
        r"exec format error|ENOEXEC|cannot execute|bad CPU type",
        f"{INSTALL_HINT}: this one is for another kind of machine",
    ),
    (
        r"permission denied|EACCES|operation not permitted|EPERM|read-only file system",
        "let this user run it and write to TMPDIR: ls -l shows who may; a disk mounted with noexec runs nothing",
    ),
    (r"missing x server|\$DISPLAY|cannot open display", "run it where windows can be shown: echo $DISPLAY"),
    (r"ENOENT|no such file|executable doesn't exist", INSTALL_HINT),
    (r"timeout|did not start within", "ask again when the machine is less busy: gwctl doctor"),
)


def remedy_of_start(text: str) -> str:
    """Return what to do about a browser that failed with ``text``."""
    if re.search(r"error while loading shared libraries|library not loaded", text, re.IGNORECASE):
        return remedy_of_library(text)
    return next((todo for cause, todo in _CAUSES if re.search(cause, text, re.IGNORECASE)), ANOTHER_BROWSER)


def remedy_of_library(text: str) -> str:
    """Return what to do about a missing library of the browser, or of Playwright, in a line of the system's loader."""
    of_node = _OF_NODE.search(text)
    if of_node is None:
        return as_root(f"{sys.executable} -m playwright install-deps chromium")
    # `playwright install-deps` runs on the same Node.js, so it cannot help.
    return _remedy_of_node(of_node["file"])


def lacking_of_node(library: str) -> BrowserMissing | None:
    """Return the error of Playwright's Node.js in a line of the system's loader; None if the line is not of that."""
    of_node = _OF_NODE.search(library)
    if of_node is None:
        return None
    file = of_node["file"]
    what = f"the library {file}, which Playwright needs, was not found on this machine"
    return BrowserMissing(what, hint=_remedy_of_node(file), package=_PACKAGES.get(file))


def _remedy_of_node(file: str) -> str:
    package = _PACKAGES.get(file)
    command = apt_install(package) if package else None
    return command or f"install the package of this system that has {file}"
