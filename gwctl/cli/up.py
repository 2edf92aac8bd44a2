"""``gwctl up``: the one command."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import Seconds
from gwctl.cli.permission import check_law_2, look_for_secrets, look_for_ways, wish_login
from gwctl.cli.reaching import find_supervisor
from gwctl.cli.starting import await_answer, dismiss, start_waiting
from gwctl.cli.tether import attach, holder_of, let_go
from gwctl.cli.unwinding import Terminated
from gwctl.config import Settings
from gwctl.credentials import Found
from gwctl.errors import (
    Configuration,
    CredentialsMissing,
    NeedsPerson,
    ProfileHeld,
    TryAgain,
)
from gwctl.interruptions import postponed, undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.supervisor.tether import Holder

if TYPE_CHECKING:
    from gwctl.gateway.process import Spawned

START_LOCK_TIMEOUT_S = 60.0
REPLACEMENTS = 2
"""How often one call replaces a supervisor that is killed; more often it is not chance."""


@click.command("up")
@click.option("--foreground", is_flag=True, help="Supervise in this process, for units and containers.")
@click.option("--sandbox", is_flag=True, help="Use the built-in stand-in for IBKR: no account, no internet.")
@click.option("--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S",
              help="Seconds to wait for the session.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), metavar="PORT", help="Port of the gateway.")
@click.option("--all", "every", is_flag=True, help="Bring up every profile of config.toml; --timeout is for each.")
@click.option("--at-once", type=click.IntRange(1, 100), metavar="N",
              help="With --all: how many at a time; without it as many as there are cores.")  # fmt: skip
@click.option("--zero-when-final", is_flag=True,
              help="With --foreground: end with 0 instead of 77 and 78, which a person has to mend, for service "
              "managers that start anew whatever ends with another code.")  # fmt: skip
@click.option("--tether", type=click.IntRange(2), metavar="PID", help="Bring it down when process PID has ended.")
@click.option("--handed-over", is_flag=True, hidden=True)
@verb
def command(  # noqa: PLR0913 - one argument an option
    call: Call,
    *,
    foreground: bool,
    sandbox: bool,
    timeout_s: float,
    port: int | None,
    every: bool,
    at_once: int | None,
    zero_when_final: bool,
    tether: int | None,
    handed_over: bool,
) -> Outcome:
    """Start the gateway, log in, and keep the session alive in the background.

    Returns when the session is ready; on a healthy profile it says so and touches nothing.

    With --all one profile's failure does not stop the others; the exit code is the gravest: 77 before 78, 69, 1, 75.
    Ctrl-C stops again what the call started.
    """
    if every or at_once is not None:
        from gwctl.cli.each import bring_up_all
        from gwctl.cli.many import check_all

        check_all(call, every=every, foreground=foreground, port=port, tether=tether)
        return bring_up_all(call, sandbox=sandbox, timeout_s=timeout_s, at_once=at_once)
    flags = {"port": port} if port is not None else {}
    if foreground:
        from gwctl.cli.foreground import supervise, supervise_ending_final_with_zero

        begin = supervise_ending_final_with_zero if zero_when_final else supervise
        return begin(call, flags, sandbox=sandbox, handed_over=handed_over, holder=holder_of(tether))
    status, started = bring_up(call, flags, sandbox=sandbox, timeout_s=timeout_s, holder=holder_of(tether))
    text = f"{'ready' if started else 'already ready'}: {status['gateway']['base_url']} (profile {status['profile']})"
    if status.get("sandbox"):
        text += ", sandbox"
    if not started:
        for one in status.get("drift", []):
            call.say(f"{one['text']}; to apply it: {one['remedy']}")
    return Outcome({**status, "started": started}, "" if call.quiet else text)


def bring_up(
    call: Call, flags: Mapping[str, Any], *, sandbox: bool, timeout_s: float, holder: Holder | None = None
) -> tuple[dict[str, Any], bool]:
    """Return the ready profile's status and whether it was this call that started the supervisor; raise GwctlError.

    Interrupted, what this call started is stopped again. It is held by ``holder``, if there is one, until `let_go`;
    after any failure it is not.
    """
    began_s = time.monotonic()
    deadline_s = began_s + timeout_s
    try:
        settings = call.settings(flags)
    except Configuration as error:
        status = _ready_all_the_same(call, flags, error, sandbox=sandbox, holder=holder)
        if status is None:
            raise
        return status, False
    client = find_supervisor(call)
    if client is not None:
        status = _check_kind(call, client, sandbox=sandbox).status()
        _check_port(call, status, flags)
        if not attach(call, client, holder):
            client = None
        elif status["ready"]:
            return status, False
    from gwctl.cli.following import shown

    with shown(call) as show:
        rise = _Rise(call, settings, flags, sandbox, show, holder=holder, began_s=began_s)
        try:
            status = rise.until_ready(client, deadline_s)
        except BaseException as error:
            with undisturbed():
                if holder is not None:
                    show("letting go of what was started")
                    let_go(call, holder, started=rise.started)
                elif rise.started and not isinstance(error, Exception):
                    show("stopping what was started")
                    undo(call)
            raise
    return status, rise.started


def _ready_all_the_same(
    call: Call, flags: Mapping[str, Any], error: Configuration, *, sandbox: bool, holder: Holder | None
) -> dict[str, Any] | None:
    """Return the status of a session that is ready though the settings cannot be read now; None if none is."""
    client = find_supervisor(call)
    if client is None:
        return None
    status = _check_kind(call, client, sandbox=sandbox).status()
    _check_port(call, status, flags)
    if not status["ready"] or not attach(call, client, holder):
        return None
    if not any(error.message in one["text"] for one in status.get("drift", [])):
        call.say(f"{error.message}; the session goes on with the settings of before")
    return status


@dataclass(slots=True)
class _Rise:
    """One call's way to a ready session."""

    call: Call
    settings: Settings
    flags: Mapping[str, Any]
    sandbox: bool
    show: Callable[[str], None]
    by_hand: bool = False
    holder: Holder | None = None
    started: bool = False
    began_s: float = field(default_factory=time.monotonic)

    def until_ready(self, client: SupervisorClient | None, deadline_s: float) -> dict[str, Any]:
        """Return the ready status; a supervisor that is killed on the way is replaced, its gateway adopted (law 4)."""
        from gwctl.cli.following import Vanished

        left = REPLACEMENTS
        while True:
            try:
                return self._follow(client, deadline_s)
            except (NoSupervisor, Vanished):
                if left == 0 or time.monotonic() > deadline_s:
                    raise
            left -= 1
            self.show("the supervisor was killed; starting another one")
            client = find_supervisor(self.call)

    def _follow(self, client: SupervisorClient | None, deadline_s: float) -> dict[str, Any]:
        from gwctl.cli.following import follow_until_ready

        since: int | None = None
        if client is None:
            client, ours = _start(self)
            self.started = self.started or ours
        else:
            since = _wake_if_waiting_for_person(self.call, client, self.settings)
        left_s = max(1.0, deadline_s - time.monotonic())
        asked_s = deadline_s - self.began_s
        return follow_until_ready(self.call, client, timeout_s=left_s, show=self.show, since=since, asked_s=asked_s)


def undo(call: Call) -> None:
    """Stop what this call started, undisturbed by a second signal."""
    from gwctl.cli.down import bring_down

    with undisturbed():
        bring_down(call, keep_session=False)
    call.undone = "what was started is stopped again"


def _check_port(call: Call, status: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    port = status["gateway"]["port"]
    if flags.get("port", port) != port:
        raise ProfileHeld(
            f"profile {call.profile_name!r} is running on port {port}",
            hint=f"{call.command('down')}, then {call.command('up --port ' + str(flags['port']))}",
        )


def _check_kind(call: Call, client: SupervisorClient, *, sandbox: bool) -> SupervisorClient:
    if client.record.sandbox != sandbox:
        running = "the sandbox" if client.record.sandbox else "a session at IBKR"
        raise ProfileHeld(
            f"profile {call.profile_name!r} is running {running}",
            hint=f"{call.command('down')}, or another --profile",
        )
    return client


def _wake_if_waiting_for_person(call: Call, client: SupervisorClient, settings: Settings) -> int | None:
    """Have a supervisor that gave up on its password try another one, if there is another one.

    Returns the journal entry after which to look for what comes of it, None where nothing was asked for. Raises
    NeedsPerson, CredentialsRejected or LockedOut where only a person can go on: cron asks again and again.
    """
    from gwctl.supervisor.model import BY_HAND

    status = client.status()
    if status["phase"] != "locked_out" or (client.record.sandbox and status["reason"] != BY_HAND):
        return None
    if status["reason"] == BY_HAND:
        # Law 1: one login at a time, and this one is a person's.
        raise ProfileHeld(
            f"profile {call.profile_name!r} is {BY_HAND}",
            hint=f"{call.command('login --manual')}, or {call.command('login')}",
        )
    if status["login"]["last_outcome"] == "success":
        # The password is right and no session comes of it: one more login a call would mend nothing.
        raise NeedsPerson(f"a person is needed: {status['reason']}", hint=call.command("login"))
    found = look_for_secrets(call, settings)
    check_law_2(call, settings, found)
    return wish_login(call, client, found)


def start_for_hand(call: Call, settings: Settings, show: Callable[[str], None]) -> tuple[SupervisorClient, bool]:
    """Start a supervisor that makes no login of its own, unless one runs; return its client and whether it was us."""
    return _start(_Rise(call, settings, {}, sandbox=False, show=show, by_hand=True))


def _start(rise: _Rise) -> tuple[SupervisorClient, bool]:
    """Start a supervisor unless somebody else just did, and return its client and whether it was us."""
    from filelock import FileLock, Timeout

    from gwctl.cli.first_port import settle_port
    from gwctl.cli.following import await_its_end
    from gwctl.state_file import make_private_dir

    call = rise.call
    make_private_dir(call.paths.profile_dir)
    lock = FileLock(call.paths.start_lock, mode=0o600)
    try:
        lock.acquire(timeout=START_LOCK_TIMEOUT_S)
    except Timeout:
        raise ProfileHeld("another gwctl is starting or stopping the profile", hint=call.command("status")) from None
    try:
        client = find_supervisor(call)
        if client is not None:
            if attach(call, _check_kind(call, client, sandbox=rise.sandbox), rise.holder):
                return client, False
            await_its_end(client)
        rise.settings = settle_port(call, rise.settings, rise.flags)
        return _spawn(rise), True
    finally:
        lock.release()


def _prepare(rise: _Rise) -> None:
    """Do here, once, what needs large libraries, so that the supervisor need never load them."""
    from gwctl.cli.release import ensure_release, store_of
    from gwctl.gateway.keystore import ensure_leaf, kept_leaf
    from gwctl.gateway.launch import adopt

    paths = rise.call.paths
    if rise.sandbox:
        from gwctl.supervisor.standin import sandbox_release

        sandbox_release(store_of(paths), paths.cache_dir)
    else:
        ensure_release(rise.call, rise.settings, rise.show)
    # A gateway that was left running is known by the certificate it serves: another one waits for its next start.
    if adopt(paths) is None or kept_leaf(paths) is None:
        ensure_leaf(paths, rise.settings["certificate_names"])


def _spawn(rise: _Rise) -> SupervisorClient:
    """Start a supervisor and return its client; raise GwctlError with nothing left running.

    Its process is started first: while it loads, this one does what may still forbid the start.
    """
    from gwctl.supervisor.handover import Handover

    call = rise.call
    spawned: Spawned | None = None
    try:
        with postponed():
            spawned, offset = start_waiting(call, sandbox=rise.sandbox)
        found = {} if rise.sandbox or rise.by_hand else _what_a_login_needs(call, rise.settings)
        found |= {} if rise.sandbox else look_for_ways(call, rise.settings)
        _prepare(rise)
    except BaseException:
        if spawned is not None:
            dismiss(spawned)
        raise
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended already; why is in its log
            if spawned.stdin is not None:
                handover = Handover.make(
                    call.environment,
                    rise.flags,
                    found,
                    attended=call.may_ask,
                    by_hand=rise.by_hand,
                    holder=rise.holder,
                )
                spawned.stdin.write(handover.to_line())
                spawned.stdin.close()
        client = await_answer(call, spawned.poll, offset)
    except (KeyboardInterrupt, Terminated, TryAgain):
        # Still under the start lock, so that what is stopped here is what was started here.
        undo(call)
        raise
    spawned.let_go()
    return client


def _what_a_login_needs(call: Call, settings: Settings) -> dict[str, Found]:
    """Return the secrets; raise what forbids a login, unless a gateway is there to adopt, which may need none (law 4).

    Where it needs one after all, the supervisor asks the same questions before it logs in.
    """
    found: dict[str, Found] = {}
    try:
        found = look_for_secrets(call, settings)
        check_law_2(call, settings, found)
    except (CredentialsMissing, NeedsPerson):
        if not _has_gateway_to_adopt(settings):
            raise
    return found


def _has_gateway_to_adopt(settings: Settings) -> bool:
    from gwctl.gateway import launch
    from gwctl.supervisor.served import Served

    served = Served.load(settings.paths)
    ours = served is not None and served.is_for(settings, sandbox=False, upstream=str(settings["upstream"]))
    running = launch.adopt(settings.paths) if ours else None
    return running is not None and running.port == settings["port"]
