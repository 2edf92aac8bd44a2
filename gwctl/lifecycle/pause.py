"""Pause a profile: give the brokerage session to a person, and take it back."""

from __future__ import annotations

import time

from gwctl.errors import GatewayUnreachable, TimedOut, TryAgain
from gwctl.lifecycle.follow import follow_until_ready
from gwctl.lifecycle.profile import Observer, Profile, start_locked
from gwctl.lifecycle.reach import find_supervisor
from gwctl.lifecycle.start import check_kind
from gwctl.lifecycle.status import look
from gwctl.lifecycle.stop import gateway_runs, stop
from gwctl.session_status import Status
from gwctl.supervisor import kept_pause
from gwctl.supervisor.control import SupervisorClient

PAUSE_TIMEOUT_S = 60.0
"""How long a logout and the end of the gateway may take."""


def pause(profile: Profile, *, until_s: float | None = None, reason: str = "") -> Status:
    """Log out, stop the gateway and keep it stopped until ``until_s``, seconds since 1970, or until `resume`.

    Return the status once the gateway has stopped. Without a supervisor, the pause holds for the next one. Raise
    GwctlError.
    """
    client = find_supervisor(profile)
    if client is None:
        with start_locked(profile):
            client = find_supervisor(profile)
            if client is None:
                kept_pause.save(profile.paths, kept_pause.paused(until_s, reason))
                if gateway_runs(profile):
                    stop(profile)  # it has no supervisor, and its session would compete
                return look(profile)[0]
    since = int(client.command("pause", {"until_s": until_s, "reason": reason})["n"])
    return _stopped_gateway(profile, client, since)


def pause_if_not(profile: Profile, *, sandbox: bool) -> None:
    """Pause the profile, without end, unless it is paused already; raise ProfileHeld if it runs as something else."""
    client = find_supervisor(profile)
    if client is not None:
        check_kind(profile, client, sandbox=sandbox)
    if look(profile)[0].get("paused") is None:
        pause(profile)


def _stopped_gateway(profile: Profile, client: SupervisorClient, since: int) -> Status:
    deadline_s = time.monotonic() + PAUSE_TIMEOUT_S
    for _ in client.events(since=since, timeout_s=PAUSE_TIMEOUT_S):
        status = client.status()
        coming = status["next"]
        if status.get("paused") is None:
            raise TryAgain("the pause was ended meanwhile", hint=profile.command("status"))
        if status["phase"] == "paused" and (coming is None or coming["what"] == "pause_end"):
            return status
        if time.monotonic() > deadline_s:
            break
    raise TimedOut("the gateway did not stop in time", hint=profile.command("status"))


def resume(profile: Profile, observer: Observer, *, timeout_s: float = 180.0) -> Status:
    """End the pause and return the status once the session is ready; raise GwctlError.

    Without a supervisor, only the pause ends: raise GatewayUnreachable.
    """
    began_s = time.time()
    client = find_supervisor(profile)
    if client is None:
        with start_locked(profile):
            client = find_supervisor(profile)
            if client is None:
                was = "has no pause any more" if kept_pause.look(profile.paths) else "is not paused"
                kept_pause.remove(profile.paths)
                text = f"profile {profile.name!r} {was}, and is not running"
                raise GatewayUnreachable(text, hint=profile.up_again())
    was_paused = client.status().get("paused") is not None
    since = int(client.command("resume")["n"]) if was_paused else None
    return follow_until_ready(profile, client, observer, timeout_s=timeout_s, since=since, began_s=began_s)
