"""``gwctl down``: always reaches stopped (law 10)."""

from __future__ import annotations

import time

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.errors import GwctlError, ProfileHeld, TimedOut
from gwctl.supervisor.control import NoSupervisor, SupervisorClient, SupervisorHangs, SupervisorRecord

STOP_TIMEOUT_S = 30.0
START_LOCK_TIMEOUT_S = 60.0


@click.command("down")
@click.option("--keep-session", is_flag=True, help="Leave the gateway and its session running.")
@verb
def command(call: Call, *, keep_session: bool) -> Outcome:
    """Log out, and stop supervisor, gateway and any browser of the profile."""
    was = bring_down(call, keep_session=keep_session)
    left = " (the gateway goes on)" if keep_session and was else ""
    text = f"stopped{left}" if was else "already stopped"
    return Outcome({"profile": call.profile_name, "was_running": was}, "" if call.quiet else text)


def bring_down(call: Call, *, keep_session: bool) -> bool:
    """Stop the profile and return whether anything of it ran; raise TimedOut if something of it is still there."""
    paths = call.paths
    if not paths.profile_dir.is_dir():
        return False
    was = _stop_supervisor(call, keep_session=keep_session)
    if not keep_session:
        was = _stop_what_is_left(call) or was
    return was


def _stop_supervisor(call: Call, *, keep_session: bool) -> bool:
    from gwctl.gateway import process
    from gwctl.state_file import read_json

    raw, _ = read_json(call.paths.supervisor_state_file)
    identity = process.Identity.from_json((raw or {}).get("identity"))
    if raw is None or identity is None or not process.is_ours(identity):
        return False
    record = SupervisorRecord.load(call.paths)
    try:
        if record is not None:
            SupervisorClient(record).command("stop", {"keep_session": keep_session})
    except (NoSupervisor, SupervisorHangs):
        call.say("the supervisor does not answer; ending its process")
        _end(identity)
        return True
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while process.is_alive(identity):
        if time.monotonic() > deadline_s:
            call.say("the supervisor does not come to its end; ending its process")
            _end(identity)
            break
        time.sleep(0.02)  # between two looks at another process, until the deadline
    return True


def _end(identity: object) -> None:
    import asyncio

    from gwctl.gateway import process

    if isinstance(identity, process.Identity):
        asyncio.run(process.stop([identity], grace_s=3.0))


def _stop_what_is_left(call: Call) -> bool:
    """Stop a gateway and a stand-in that have no supervisor (it was killed); only what is provably ours."""
    import asyncio

    from filelock import FileLock, Timeout

    paths = call.paths
    try:
        with FileLock(paths.supervisor_lock, timeout=START_LOCK_TIMEOUT_S, mode=0o600):
            return asyncio.run(_clear(call))
    except Timeout:
        raise ProfileHeld("another gwctl holds the profile", hint=call.command("down")) from None


async def _clear(call: Call) -> bool:
    from gwctl.gateway import launch
    from gwctl.supervisor.standin import StandInRecord, stop_stand_in

    paths = call.paths
    found = StandInRecord.load(paths) is not None
    running = launch.adopt(paths)
    if running is not None:
        found = True
        await _log_out(call, running.port)
    report = await launch.clear_leftovers(paths, grace_s=5.0)
    await stop_stand_in(paths)
    if report.survivors:
        pids = ", ".join(str(one.pid) for one in report.survivors)
        raise TimedOut(f"these processes of the gateway do not end: {pids}", hint=f"kill -9 {pids}")
    paths.supervisor_state_file.unlink(missing_ok=True)
    return found or bool(report.ended or report.killed)


async def _log_out(call: Call, port: int) -> None:
    import contextlib

    from gwctl.gateway import keystore
    from gwctl.gateway.api import GatewayClient

    with contextlib.suppress(GwctlError, OSError):
        leaf = keystore.ensure_leaf(call.paths)
        async with GatewayClient(port, call.paths.ca_file, leaf.der) as client:
            await client.logout(timeout_s=3.0)
