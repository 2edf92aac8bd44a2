"""Hold a session for as long as a process lives: the other side of the supervisor's tether."""

from __future__ import annotations

import os

from gwctl.errors import Usage
from gwctl.lifecycle.follow import await_its_end
from gwctl.lifecycle.profile import SILENT, Observer, Profile
from gwctl.lifecycle.reach import find_supervisor
from gwctl.lifecycle.stop import STOP_TIMEOUT_S, stop
from gwctl.signals import undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.supervisor.handover import LABEL, Holder


def ourselves() -> Holder:
    """Return this process, with a label for its command that was never used before."""
    import secrets

    return _holder(os.getpid(), label=secrets.token_hex(16))


def holder_of(pid: int | None) -> Holder | None:
    """Return the process that an option names, None without one; raise Usage if there is no such process."""
    return None if pid is None else _holder(pid)


def _holder(pid: int, label: str = "") -> Holder:
    from gwctl import process

    identity = process.identify(pid)
    if identity is None:
        raise Usage(f"there is no process {pid} to end with", hint="--tether $$, for a shell's own")
    return Holder(identity, label)


def attach(profile: Profile, client: SupervisorClient, holder: Holder | None, observer: Observer = SILENT) -> bool:
    """Hold a supervisor that runs already or, for nobody in particular, keep it; return False if it is just ending."""
    if holder is not None:
        return not client.command("hold", holder.to_json()).get("ending")
    # Whoever types `up`, or has cron type it, wants it to stay; not so the command that an `exec` runs.
    kept = client.command("keep", {"label": profile.environment.get(LABEL) or ""})
    if kept.get("was_bound") and not kept.get("bound"):
        observer.say("it was brought up for the length of another command, and stays from now on")
    return True


def let_go(profile: Profile, holder: Holder, *, started: bool, observer: Observer = SILENT) -> bool:
    """Hold it no more; return whether it is stopped, and when what ends because of that has ended.

    What was ``started`` for the holder and has lost its supervisor is brought down from here.
    """
    with undisturbed():
        try:
            client = find_supervisor(profile)
            ends = client is not None and bool(client.command("let_go", holder.to_json()).get("ending"))
        except (NoSupervisor, SupervisorHangs):
            client, ends = None, False
        if client is None:
            if started:
                stop(profile, observer=observer)
        elif ends:
            _see_it_end(profile, client, observer)
    if ends or (started and client is None):
        observer.undone = "what was started is stopped again"
    return ends or client is None


def _see_it_end(profile: Profile, client: SupervisorClient, observer: Observer) -> None:
    await_its_end(client, STOP_TIMEOUT_S)
    left = SupervisorRecord.load(profile.paths)
    if left is not None and left.instance == client.record.instance:
        # It did not come to its end, or was killed on the way there: its record is the last thing to go.
        stop(profile, observer=observer)
