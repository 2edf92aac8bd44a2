"""Hold a session for as long as a process lives: the calls' side of the supervisor's tether."""

from __future__ import annotations

import os

from gwctl.cli.call import Call
from gwctl.errors import Usage
from gwctl.interruptions import undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord
from gwctl.supervisor.tether import LABEL, Holder


def ourselves() -> Holder:
    """Return this process, with a label for its command that was never used before."""
    import secrets

    return _holder(os.getpid(), label=secrets.token_hex(16))


def holder_of(pid: int | None) -> Holder | None:
    """Return the process that an option names, None without one; raise Usage if there is no such process."""
    return None if pid is None else _holder(pid)


def _holder(pid: int, label: str = "") -> Holder:
    from gwctl.gateway import process

    identity = process.identify(pid)
    if identity is None:
        raise Usage(f"there is no process {pid} to end with", hint="--tether $$, for a shell's own")
    return Holder(identity, label)


def attach(call: Call, client: SupervisorClient, holder: Holder | None) -> bool:
    """Hold a supervisor that runs already or, for nobody in particular, keep it; return False if it is just ending."""
    if holder is not None:
        return not client.command("hold", holder.to_json()).get("ending")
    # Whoever types `up`, or has cron type it, wants it to stay; not so the command that an `exec` runs.
    kept = client.command("keep", {"label": call.environment.get(LABEL) or ""})
    if kept.get("was_bound") and not kept.get("bound"):
        call.say("it was brought up for the length of another command, and stays from now on")
    return True


def let_go(call: Call, holder: Holder, *, started: bool) -> bool:
    """Hold it no more; return whether it is stopped, and when what ends because of that has ended.

    What was ``started`` for the holder and has lost its supervisor is brought down from here.
    """
    from gwctl.cli.down import bring_down
    from gwctl.cli.reaching import find_supervisor

    with undisturbed():
        try:
            client = find_supervisor(call)
            ends = client is not None and bool(client.command("let_go", holder.to_json()).get("ending"))
        except (NoSupervisor, SupervisorHangs):
            client, ends = None, False
        if client is None:
            if started:
                bring_down(call, keep_session=False)
        elif ends:
            _see_it_end(call, client)
    if ends or (started and client is None):
        call.undone = "what was started is stopped again"
    return ends or client is None


def _see_it_end(call: Call, client: SupervisorClient) -> None:
    from gwctl.cli.down import STOP_TIMEOUT_S, bring_down
    from gwctl.cli.following import await_its_end

    await_its_end(client, STOP_TIMEOUT_S)
    left = SupervisorRecord.load(call.paths)
    if left is not None and left.instance == client.record.instance:
        # It did not come to its end, or was killed on the way there: its record is the last thing to go.
        bring_down(call, keep_session=False)
