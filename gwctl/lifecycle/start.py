"""Bring a profile's session up: find or start its supervisor, and follow it until the session is ready."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from gwctl.credentials import Found
from gwctl.errors import Configuration, NeedsPerson, Paused, PortBusy, ProfileHeld, TimedOut, TryAgain, Usage
from gwctl.lifecycle.follow import Ended, Vanished, await_its_end, follow_until_ready
from gwctl.lifecycle.lease import attach, let_go
from gwctl.lifecycle.preflight import check_login, has_lost_port, preflight
from gwctl.lifecycle.profile import SILENT, Observer, Profile, run, start_locked
from gwctl.lifecycle.reach import find_supervisor
from gwctl.lifecycle.status import look
from gwctl.lifecycle.stop import stop
from gwctl.ownership import read_ours
from gwctl.session_status import Status
from gwctl.signals import checkpoint, postponed, undisturbed
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.supervisor.handover import LeaseHolder

if TYPE_CHECKING:
    from gwctl.process import Spawned

SPAWN_TIMEOUT_S = 30.0
DISMISS_TIMEOUT_S = 5.0


def check_fast(*, sandbox: bool, fast: bool) -> None:
    """Raise Usage for a login without a page anywhere but at the sandbox."""
    if fast and not sandbox:
        raise Usage("--fast logs in without a browser, which only the sandbox allows", hint="add --sandbox")


def start_waiting(profile: Profile, observer: Observer, *, sandbox: bool, fast: bool = False) -> tuple[Spawned, int]:
    """Start the supervisor's process, which waits for its handover; return where its lines begin in the log."""
    from gwctl import process
    from gwctl.state_file import make_private_dir

    paths = profile.paths
    make_private_dir(paths.logs_dir)
    start_log = paths.logs_dir / "start.log"
    offset = start_log.stat().st_size if start_log.exists() else 0
    argv = [sys.executable, "-m", "gwctl", "--profile", profile.name, "up", "--foreground", "--handed-over"]
    argv += ["--sandbox"] if sandbox else []
    argv += ["--fast"] if fast else []
    argv += ["-v"] if observer.verbose else []
    spawned = process.spawn(
        argv,
        cwd=paths.profile_dir,
        env=process.environment_of(process.Child.SUPERVISOR, profile.environment.variables),
        log_file=start_log,
        pipes=True,
    )
    if spawned.stdout is not None:
        spawned.stdout.close()
    return spawned, offset


def dismiss(spawned: Spawned) -> None:
    """End a supervisor that got no handover: without one it ends by itself."""
    from gwctl import process

    with undisturbed():
        if spawned.stdin is not None:
            spawned.stdin.close()
        deadline_s = time.monotonic() + DISMISS_TIMEOUT_S
        while spawned.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)  # until our child ends or the deadline passes
        if spawned.poll() is None:
            run(process.stop([spawned.identity], grace_s=1.0))
            spawned.poll()


def await_answer(profile: Profile, poll: Callable[[], int | None], offset: int, *, since_s: float) -> SupervisorClient:
    """Return the supervisor's client once it answers; ``poll`` returns whether it ended. Raise GwctlError."""
    deadline_s = time.monotonic() + SPAWN_TIMEOUT_S
    while time.monotonic() < deadline_s:
        checkpoint()
        ended = poll()
        client = find_supervisor(profile)
        if client is not None:
            return client
        if ended is not None:
            raise _why_ended(profile, ended, offset, since_s)
        time.sleep(0.01)  # until the file exists and the port answers, or the deadline passes
    raise TimedOut(f"the supervisor did not start within {SPAWN_TIMEOUT_S:g} s", hint=profile.command("logs"))


def _why_ended(profile: Profile, exit_code: int, offset: int, since_s: float) -> Exception:
    """Return the error of a supervisor that ended before it answered: its output has the reason."""
    from gwctl.lifecycle.follow import Ended, Vanished, last_words

    words = last_words(profile, since_s)
    if words is not None:
        return words
    if exit_code < 0:
        killed = f"the supervisor was killed while it started (signal {-exit_code})"
        return Vanished(killed, code="supervisor_failed", exit_code=1, hint=profile.command("logs"))
    try:
        printed = read_ours(profile.paths.logs_dir / "start.log")[offset:].decode(errors="replace")
    except OSError:
        printed = ""
    message, hint = "the supervisor ended while it started", profile.command("logs")
    for line in printed.splitlines():
        if line.startswith("gwctl: "):
            message = line.removeprefix("gwctl: ")
        elif line.startswith("  try: "):
            hint = line.removeprefix("  try: ")
    return Ended(message, code="supervisor_failed", exit_code=exit_code if exit_code > 0 else 1, hint=hint)


REPLACEMENTS = 2
"""How often one call replaces a killed supervisor; more kills than that are no accident."""


class Up(Struct, frozen=True):
    """A profile that is ready or paused: its status, and whether this call started its supervisor."""

    status: Status
    started: bool


def up(  # noqa: PLR0913 - one argument an option
    profile: Profile,
    *,
    sandbox: bool = False,
    fast: bool = False,
    timeout_s: float = 180.0,
    holder: LeaseHolder | None = None,
    observer: Observer = SILENT,
) -> Up:
    """Return once the profile's session is ready; raise GwctlError.

    On interruption, stop what this call started. ``fast`` starts a sandbox without a browser. ``holder``, if given,
    holds the session until `let_go`, or until any failure.
    """
    check_fast(sandbox=sandbox, fast=fast)
    began_s = time.monotonic()
    try:
        profile.settings()
    except Configuration as error:
        ready = _ready_all_the_same(profile, error, observer, sandbox=sandbox, holder=holder)
        if ready is None:
            raise
        return Up(ready, started=False)
    client, found = None, SupervisorClient.find_with_status(profile.paths)
    if found is not None:
        client, status = found  # in one question: it may be killed before a second one
        check_kind(profile, client, sandbox=sandbox)
        _check_port(profile, status)
        if not attach(profile, client, holder, observer):
            client = None
        elif status["ready"]:
            return Up(status, started=False)
    start = _Start(profile, observer, sandbox=sandbox, fast=fast, holder=holder, began_s=began_s)
    try:
        status = start.until_ready(client, began_s + timeout_s)
    except BaseException as error:
        if isinstance(error, Paused):
            error.started = start.started and holder is None
        with undisturbed():
            if holder is not None:
                observer.show("releasing what this command holds")
                let_go(profile, holder, started=start.started, observer=observer)
            elif start.started and not isinstance(error, Exception):
                observer.show("stopping what this command started")
                undo(profile, observer)
        raise
    return Up(status, start.started)


def or_paused(profile: Profile, bring_up: Callable[[], Up]) -> Up:
    """Return what ``bring_up`` does, and for a paused profile its status: it is as a person wants it."""
    try:
        return bring_up()
    except Paused as paused:
        return Up(look(profile)[0], started=paused.started)


def _ready_all_the_same(
    profile: Profile, error: Configuration, observer: Observer, *, sandbox: bool, holder: LeaseHolder | None
) -> Status | None:
    """Return the status of a ready session whose settings cannot be read now; None if there is none."""
    client = find_supervisor(profile)
    if client is None:
        return None
    status = check_kind(profile, client, sandbox=sandbox).status()
    _check_port(profile, status)
    if not status["ready"] or not attach(profile, client, holder, observer):
        return None
    if not any(error.message in one["text"] for one in status.get("drift", [])):
        observer.say(f"{error.message}; the session continues with its previous settings")
    return status


def start_for_hand(profile: Profile, observer: Observer) -> tuple[SupervisorClient, bool]:
    """Start a supervisor that does not log in, unless one runs; return its client and whether this call started it."""
    return _Start(profile, observer, sandbox=False, by_hand=True).begin()


def undo(profile: Profile, observer: Observer) -> None:
    """Stop what this call started; a second signal does not interrupt this."""
    with undisturbed():
        stop(profile, observer=observer)
    observer.undone = "stopped what this command had started"


def wish_login(profile: Profile, client: SupervisorClient, found: Mapping[str, Found], observer: Observer) -> int:
    """Ask a running supervisor to log in now; return the journal entry after which to look for the result."""
    from gwctl.supervisor.handover import Handover, revealed

    secrets = Handover.make(profile.environment, {}, found).secrets
    return int(client.command("login", {"secrets": revealed(secrets), "attended": observer.can_answer})["n"])


def _check_port(profile: Profile, status: Status) -> None:
    port = status["gateway"]["port"]
    if profile.flags.get("port", port) != port:
        raise ProfileHeld(
            f"profile {profile.name!r} is already running on port {port}",
            hint=f"{profile.command('down')}, then {profile.command('up --port ' + str(profile.flags['port']))}",
        )


def check_kind(profile: Profile, client: SupervisorClient, *, sandbox: bool) -> SupervisorClient:
    """Return the client of a supervisor that runs as wanted, the sandbox or a session at IBKR; raise ProfileHeld."""
    if client.record.sandbox != sandbox:
        running = "the sandbox" if client.record.sandbox else "a session at IBKR"
        raise ProfileHeld(
            f"profile {profile.name!r} is already running {running}",
            hint=f"{profile.command('down')}, or to go on with it: {profile.up_again()}",
        )
    return client


class _Start(Struct):
    """One call's way to a ready session."""

    profile: Profile
    observer: Observer
    sandbox: bool
    fast: bool = False
    by_hand: bool = False
    holder: LeaseHolder | None = None
    started: bool = False
    began_s: float = field(default_factory=time.monotonic)
    since_s: float = field(default_factory=time.time)

    def until_ready(self, client: SupervisorClient | None, deadline_s: float) -> Status:
        """Return the ready status; replace a supervisor that is killed meanwhile, adopting its gateway (law 4).

        If another process takes the port that gwctl chose for a first start, such as another first start: choose again.
        """
        left = REPLACEMENTS
        while True:
            try:
                return self._follow(client, deadline_s)
            except (NoSupervisor, Vanished):
                if left == 0 or time.monotonic() > deadline_s:
                    raise
            except Ended as error:
                if error.code != PortBusy.code or time.monotonic() > deadline_s or not self._may_take_another_port():
                    raise
                client = None
                continue
            left -= 1
            self.observer.show("the supervisor was killed; starting a new one")
            client = find_supervisor(self.profile)

    def _may_take_another_port(self) -> bool:
        """Return whether the next start will choose another port, and forget how the last one ended."""
        self.since_s = time.time()
        return has_lost_port(self.profile.settings())

    def _follow(self, client: SupervisorClient | None, deadline_s: float) -> Status:
        since: int | None = None
        if client is None:
            client, ours = self.begin()
            self.started = self.started or ours
        else:
            since = self._wake_if_waiting_for_person(client)
        left_s = max(1.0, deadline_s - time.monotonic())
        asked_s = deadline_s - self.began_s
        return follow_until_ready(
            self.profile,
            client,
            self.observer,
            timeout_s=left_s,
            since=since,
            asked_s=asked_s,
            began_s=self.since_s,
        )

    def _wake_if_waiting_for_person(self, client: SupervisorClient) -> int | None:
        """Ask a supervisor that gave up on its password to try a new one, if there is a new one.

        Return the journal entry after which to look for the result, None if nothing was asked for. Raise NeedsPerson,
        CredentialsRejected or LockedOut if only a person can continue: cron asks again and again.
        """
        profile, status = self.profile, client.status()
        by_hand = status.get("person_needed") == "manual_login"
        if status["phase"] != "locked_out" or (client.record.sandbox and not by_hand):
            return None
        if by_hand:
            # Law 1: one login at a time, and this one is a person's.
            raise ProfileHeld(
                f"profile {profile.name!r} is {status['reason']}",
                hint=f"{profile.command('login --manual')}, or {profile.command('login')}",
            )
        if status["login"]["last_outcome"] == "success":
            # The password is correct but no session opens: another login per call would fix nothing.
            raise NeedsPerson(f"a person is needed: {status['reason']}", hint=profile.command("login"))
        if status.get("planned", {}).get("logins_from") and not self.observer.can_answer:
            raise TryAgain(f"outside the login hours: {status['reason']}", hint=profile.command("login"))
        found = check_login(profile, profile.settings(), self.observer)
        return wish_login(profile, client, found, self.observer)

    def begin(self) -> tuple[SupervisorClient, bool]:
        """Start a supervisor unless another process just did; return its client and whether this call started it."""
        profile = self.profile
        with start_locked(profile):
            client = find_supervisor(profile)
            if client is not None:
                if attach(profile, check_kind(profile, client, sandbox=self.sandbox), self.holder, self.observer):
                    return client, False
                await_its_end(client)
            return self._spawn(), True

    def _spawn(self) -> SupervisorClient:
        """Start a supervisor and return its client; raise GwctlError and leave nothing running.

        Its process starts first: while that loads, this one checks what may still forbid the start.
        """
        from gwctl.supervisor.handover import Handover

        profile, observer = self.profile, self.observer
        spawned: Spawned | None = None
        try:
            with postponed():
                spawned, offset = start_waiting(profile, observer, sandbox=self.sandbox, fast=self.fast)
            found = preflight(profile, observer, sandbox=self.sandbox, by_hand=self.by_hand).secrets
        except BaseException:
            if spawned is not None:
                dismiss(spawned)
            raise
        try:
            with contextlib.suppress(BrokenPipeError):  # it already ended; its log says why
                if spawned.stdin is not None:
                    handover = Handover.make(
                        profile.environment,
                        profile.flags,
                        found,
                        attended=observer.can_answer,
                        by_hand=self.by_hand,
                        holder=self.holder,
                    )
                    spawned.stdin.write(handover.to_line())
                    spawned.stdin.close()
            client = await_answer(profile, spawned.poll, offset, since_s=self.since_s)
        except BaseException as error:
            # Still under the start lock, so that only what this call started is stopped here.
            if isinstance(error, TryAgain) or not isinstance(error, Exception):
                undo(profile, observer)
            spawned.poll()
            spawned.let_go()
            raise
        spawned.let_go()
        return client
