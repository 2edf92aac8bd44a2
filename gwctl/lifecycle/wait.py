"""Wait for a profile's session to be ready, or stopped, without touching it."""

from __future__ import annotations

import time
from typing import Literal

from gwctl.errors import TimedOut, TryAgain
from gwctl.lifecycle.profile import Profile
from gwctl.lifecycle.status import STOPPED, look
from gwctl.session_status import Status
from gwctl.signals import checkpoint

LOOK_EVERY_S = 0.2

Wanted = Literal["ready", "stopped"]


def wait_for(profile: Profile, wanted: Wanted = "ready", *, timeout_s: float = 180.0) -> Status:
    """Return the status once it is ``wanted``; raise TryAgain where nothing will make it ready, and TimedOut."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        checkpoint()
        status, code = look(profile)
        if (wanted == "ready" and status["ready"]) or (wanted == "stopped" and code == STOPPED):
            return status
        if wanted == "ready" and code == STOPPED:
            text = f"profile {profile.name!r} is stopped: nothing will make it ready"
            raise TryAgain(text, hint=profile.command("up"))
        if time.monotonic() >= deadline_s:
            text = f"not {wanted} after {timeout_s:g} s: {status['phase']}, {status['reason']}"
            raise TimedOut(text, hint=profile.command("status"))
        time.sleep(min(LOOK_EVERY_S, max(0.0, deadline_s - time.monotonic())))  # between two looks
