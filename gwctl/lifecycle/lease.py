"""Hold a session for as long as a process lives: the client side of the supervisor's lease."""

from __future__ import annotations

import os

from gwctl.errors import Usage
from gwctl.lifecycle.follow import await_its_end
from gwctl.lifecycle.profile import SILENT, Observer, Profile
from gwctl.lifecycle.reach import find_supervisor
from gwctl.lifecycle.stop import STOP_TIMEOUT_S, stop
from gwctl.signals import undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.supervisor.handover import LABEL, LeaseHolder


def ourselves() -> LeaseHolder:
    """Return this process with a new, unique label for its command."""
    import secrets

    return _holder(os.getpid(), label=secrets.token_hex(16))


def holder_of(pid: int | None) -> LeaseHolder | None:
    """Return the process that an option names, None without the option; raise Usage if there is no such process."""
    return None if pid is None else _holder(pid)


def _holder(pid: int, label: str = "") -> LeaseHolder:
    from gwctl import process

    identity = process.identify(pid)
    if identity is None:
        raise Usage(f"no process with pid {pid} for --tether", hint="--tether $$ for the current shell")
    return LeaseHolder(identity, label)


def attach(profile: Profile, client: SupervisorClient, holder: LeaseHolder | None, observer: Observer = SILENT) -> bool:
    """Hold a running supervisor, or without a holder make it stay; return False if it is just ending."""
    if holder is not None:
        return not client.command("hold", holder.to_json()).get("ending")
    # A person or cron that runs `up` wants it to stay; a command run by `exec` does not.
    kept = client.command("keep", {"label": profile.environment.get(LABEL) or ""})
    if kept.get("was_bound") and not kept.get("bound"):
        observer.say("another command started it temporarily; it now stays running")
    return True


def let_go(profile: Profile, holder: LeaseHolder, *, started: bool, observer: Observer = SILENT) -> bool:
    """Release the hold and return whether the profile stopped, after everything that ends because of that has ended.

    If the profile was ``started`` for the holder and has lost its supervisor, bring it down from here.
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
        observer.undone = "stopped what this command had started"
    return ends or client is None


def _see_it_end(profile: Profile, client: SupervisorClient, observer: Observer) -> None:
    await_its_end(client, STOP_TIMEOUT_S)
    left = SupervisorRecord.load(profile.paths)
    if left is not None and left.instance == client.record.instance:
        # It did not exit in time, or was killed while ending: its record is removed last.
        stop(profile, observer=observer)
