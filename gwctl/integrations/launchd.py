"""launchd, the service manager of macOS: one property list per profile. The tests render and parse it but never run it.

launchd restarts every job that exits with a code other than 0 and has no list of final codes. So the plist calls ``up
--zero-when-final``: it exits with 0, with its reason in the log, when a person must act first.
"""

from __future__ import annotations

import plistlib
import shlex
from collections.abc import Mapping
from pathlib import Path

from gwctl.integrations.service_file import Wanted, sealed

THROTTLE_S = 30
"""launchd waits at least this long between two starts."""
EXIT_TIMEOUT_S = 120
"""How long launchd waits after the TERM of a stop, which logs out first, before it kills."""
_HEAD_LINES = 2


def label(profile: str) -> str:
    """Return the job's label."""
    return f"gwctl.{profile}"


def file_of(profile: str, environ: Mapping[str, str]) -> Path:
    """Return the path of the job's file."""
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
        "<!-- Made by `gwctl service install (launchd)`; an install does not overwrite it after you edit it. -->\n",
        f"<!-- gwctl-options: {wanted.options.to_text()} -->\n",
        "<!-- gwctl-seal: - -->\n",
    ]
    return sealed("".join([*lines[:_HEAD_LINES], *comments, *lines[_HEAD_LINES:]]))


def enter_command(file: Path, uid: int) -> str:
    """Return the command that makes launchd load the file."""
    return f"launchctl bootstrap gui/{uid} {shlex.quote(str(file))}"


def leave_command(profile: str, uid: int) -> str:
    """Return the command that makes launchd end the job."""
    return f"launchctl bootout gui/{uid}/{label(profile)}"
