"""launchd, macOS' own service manager: a property list a profile. Rendered and read back here, never run by the tests.

launchd starts anew whatever ends with another code than 0 and knows no list of codes that are final, so the plist
calls ``up --zero-when-final``: what a person has to mend first ends with 0, its reason in the log.
"""

from __future__ import annotations

import plistlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from gwctl.integrations.service_file import Wanted, sealed

THROTTLE_S = 30
"""launchd waits at least so long from one start to the next."""
EXIT_TIMEOUT_S = 120
"""After the TERM of a stop, which logs out first, launchd waits so long before it kills."""
_HEAD_LINES = 2


def label(profile: str) -> str:
    """Return the job's label."""
    return f"gwctl.{profile}"


def file_of(profile: str, environ: Mapping[str, str]) -> Path:
    """Return where the job's file is."""
    return Path(environ["HOME"]) / "Library" / "LaunchAgents" / f"{label(profile)}.plist"


def render(wanted: Wanted, log_file: Path) -> str:
    """Return the property list."""
    job = {
        "Label": label(wanted.profile),
        "ProgramArguments": wanted.argv("up", "--foreground", "--zero-when-final", *wanted.sandbox_words),
        "EnvironmentVariables": wanted.variables_with_files(),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE_S,
        "ExitTimeOut": EXIT_TIMEOUT_S,
        "Umask": 0o077,
        "HardResourceLimits": {"Core": 0},
        "StandardErrorPath": str(log_file),
    }
    lines = plistlib.dumps(job, sort_keys=False).decode().splitlines(keepends=True)
    comments = [
        "<!-- Made by `gwctl service install (launchd)`; an install does not overwrite it once it was edited. -->\n",
        f"<!-- gwctl-options: {wanted.options.to_text()} -->\n",
        "<!-- gwctl-seal: - -->\n",
    ]
    return sealed("".join([*lines[:_HEAD_LINES], *comments, *lines[_HEAD_LINES:]]))


def enter_command(file: Path, uid: int) -> str:
    """Return what to type so that launchd takes the file up."""
    return f"launchctl bootstrap gui/{uid} {shlex.quote(str(file))}"


def leave_command(profile: str, uid: int) -> str:
    """Return what to type so that launchd ends the job."""
    return f"launchctl bootout gui/{uid}/{label(profile)}"
