"""Start the supervisor's process in the background, and learn how its start went."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gwctl.errors import TimedOut
from gwctl.lifecycle.blocking import run
from gwctl.lifecycle.observer import Observer
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.reach import find_supervisor
from gwctl.signals import checkpoint, undisturbed
from gwctl.supervisor.control import SupervisorClient

if TYPE_CHECKING:
    from gwctl.process import Spawned

SPAWN_TIMEOUT_S = 30.0
DISMISS_TIMEOUT_S = 5.0


def start_waiting(profile: Profile, observer: Observer, *, sandbox: bool) -> tuple[Spawned, int]:
    """Start the supervisor's process, which waits for its handover, and return where its own lines begin in the log."""
    from gwctl import process
    from gwctl.state_file import make_private_dir

    paths = profile.paths
    make_private_dir(paths.logs_dir)
    start_log = paths.logs_dir / "start.log"
    offset = start_log.stat().st_size if start_log.exists() else 0
    argv = [sys.executable, "-m", "gwctl", "--profile", profile.name, "up", "--foreground", "--handed-over"]
    argv += ["--sandbox"] if sandbox else []
    argv += ["-v"] if observer.verbose else []
    variables = profile.environment.variables
    # The library asks its own process's environment which keyring to use.
    keyring = {name: value for name, value in variables.items() if name.startswith("PYTHON_KEYRING_")}
    spawned = process.spawn(
        argv,
        cwd=paths.profile_dir,
        env=process.child_environment({**process.FRUGAL_MALLOC, **keyring}, variables),
        log_file=start_log,
        pipes=True,
    )
    if spawned.stdout is not None:
        spawned.stdout.close()
    return spawned, offset


def dismiss(spawned: Spawned) -> None:
    """End a supervisor that was never handed anything: without a handover it ends by itself."""
    from gwctl import process

    with undisturbed():
        if spawned.stdin is not None:
            spawned.stdin.close()
        deadline_s = time.monotonic() + DISMISS_TIMEOUT_S
        while spawned.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)  # between two looks at our own child, until the deadline
        if spawned.poll() is None:
            run(process.stop([spawned.identity], grace_s=1.0))
            spawned.poll()


def await_answer(profile: Profile, poll: Callable[[], int | None], offset: int, *, since_s: float) -> SupervisorClient:
    """Return the client of a supervisor once it answers; ``poll`` says whether it ended. Raises GwctlError."""
    deadline_s = time.monotonic() + SPAWN_TIMEOUT_S
    while time.monotonic() < deadline_s:
        checkpoint()
        ended = poll()
        client = find_supervisor(profile)
        if client is not None:
            return client
        if ended is not None:
            raise _why_ended(profile, ended, offset, since_s)
        time.sleep(0.01)  # between two looks at a file and a port, until the deadline
    raise TimedOut(f"the supervisor did not begin within {SPAWN_TIMEOUT_S:g} s", hint=profile.command("logs"))


def _why_ended(profile: Profile, exit_code: int, offset: int, since_s: float) -> Exception:
    """Return the error of a supervisor that ended before it could be asked: what it printed has the reason."""
    from gwctl.lifecycle.follow import Ended, Vanished, last_words

    words = last_words(profile, since_s)
    if words is not None:
        return words
    if exit_code < 0:
        killed = f"the supervisor was killed at its start (signal {-exit_code})"
        return Vanished(killed, code="supervisor_failed", exit_code=1, hint=profile.command("logs"))
    try:
        printed = (profile.paths.logs_dir / "start.log").read_bytes()[offset:].decode(errors="replace")
    except OSError:
        printed = ""
    message, hint = "the supervisor ended at its start", profile.command("logs")
    for line in printed.splitlines():
        if line.startswith("gwctl: "):
            message = line.removeprefix("gwctl: ")
        elif line.startswith("  try: "):
            hint = line.removeprefix("  try: ")
    return Ended(message, code="supervisor_failed", exit_code=exit_code if exit_code > 0 else 1, hint=hint)
