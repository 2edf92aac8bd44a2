"""Run status, up, down and wait for all profiles of a home in parallel threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from gwctl.config import Settings
from gwctl.errors import Configuration, GwctlError, TimedOut, TryAgain
from gwctl.lifecycle import start
from gwctl.lifecycle.profile import Observer, Profile, translated
from gwctl.lifecycle.status import CANNOT_TELL, READY, STOPPED, blank_status, look_always
from gwctl.lifecycle.stop import gateway_runs, stop
from gwctl.profile_registry import configured_names, known_names
from gwctl.session_status import Status
from gwctl.setting_keys import SECRET_KEYS, variable_of
from gwctl.signals import Cancellation, Cancelled, cancelled_by, postponed, undisturbed

R = TypeVar("R")


class Turns:
    """How many work ``at_once``; a name whose work only waits from now on steps aside, so that another may begin."""

    def __init__(self, at_once: int) -> None:
        self.changed = threading.Event()
        self._at_once = at_once
        self._aside: set[str] = set()

    def step_aside(self, name: str) -> None:
        """Let another begin, from any thread."""
        self._aside.add(name)
        self.changed.set()

    def has_room(self, running: Iterable[str]) -> bool:
        """Return whether another may begin beside these."""
        return len({*running} - self._aside) < self._at_once


def run_each(
    names: Sequence[str],
    work: Callable[[str], R],
    *,
    turns: Turns,
    on_result: Callable[[R], None] = lambda _result: None,
) -> dict[str, R]:
    """Return ``work``'s result for each name, in ``turns``; call ``on_result`` for each as it arrives.

    On interruption, cancel the running ones and wait for them. An exception of one of them is raised here after all
    have ended.
    """
    pool = _Pool(work, turns)
    waiting = list(names)
    try:
        while waiting or pool.running:
            with postponed():
                while waiting and turns.has_room(pool.running):
                    pool.start(waiting.pop(0))
            pool.changed.wait()
            with postponed():
                for result in pool.collect():
                    on_result(result)
    except BaseException:
        with undisturbed():
            pool.cancel()
            while pool.running:
                pool.changed.wait()
                pool.collect()
        raise
    for error in pool.failed:
        raise error
    return pool.results


class _Pool(Generic[R]):
    """The running threads; each signals its end through ``changed``."""

    def __init__(self, work: Callable[[str], R], turns: Turns) -> None:
        self._work = work
        self._ended: list[tuple[str, R | None, BaseException | None]] = []
        self.running: dict[str, Cancellation] = {}
        self.results: dict[str, R] = {}
        self.failed: list[BaseException] = []
        self.changed = turns.changed

    def start(self, name: str) -> None:
        """Start one thread; a daemon, so that a hanging one does not keep the program from ending."""
        self.running[name] = cancellation = Cancellation()
        threading.Thread(target=self._do, args=(name, cancellation), name=f"gwctl-{name}", daemon=True).start()

    def _do(self, name: str, cancellation: Cancellation) -> None:
        try:
            with cancelled_by(cancellation):
                self._ended.append((name, self._work(name), None))
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            self._ended.append((name, None, error))
        self.changed.set()

    def collect(self) -> list[R]:
        """Remove the threads that have ended and return their results."""
        self.changed.clear()
        new: list[R] = []
        while self._ended:
            name, result, error = self._ended.pop(0)
            del self.running[name]
            if error is None:
                self.results[name] = result  # type: ignore[assignment] # without an error it is the result of `work`
                new.append(self.results[name])
            elif not isinstance(error, Cancelled):
                self.failed.append(error)
        return new

    def cancel(self) -> None:
        """Cancel all of them."""
        for cancellation in self.running.values():
            cancellation.cancel()


Look = tuple[Status, int]

WAIT_EVERY_S = 0.5
NO_PROFILES = "no profiles: config.toml has none, and no profile has run"
SECRETS = tuple(variable_of(name) for name in SECRET_KEYS)


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one profile: its data, or the error."""

    profile: str
    data: dict[str, Any] | None = field(default=None, repr=False)
    error: GwctlError | None = None
    took_s: float = 0.0

    @property
    def exit_code(self) -> int:
        """The contract's exit code for this outcome."""
        return 0 if self.error is None else self.error.exit_code


OnResult = Callable[[Result], None]


class _Steps(Observer):
    """Has a profile step aside for the next one once it is logged in."""

    def __init__(self, name: str, turns: Turns) -> None:
        self._name = name
        self._turns = turns

    def logged_in(self) -> None:
        self._turns.step_aside(self._name)


def cores() -> int:
    """Return how many cores we may use."""
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def look_at(home: Profile, names: Sequence[str]) -> list[Look]:
    """Return each profile's status and exit code; ask all at once, so that a hanging one delays no other."""

    def look(name: str) -> Look:
        profile = home.with_name(name)
        try:
            return look_always(profile)
        except (GwctlError, OSError) as error:
            told = error.message if isinstance(error, GwctlError) else str(error)
            unknown = blank_status(profile, None)
            unknown["phase"], unknown["reason"], unknown["last_error"] = "degraded", told, told
            return unknown, CANNOT_TELL

    found = run_each(names, look, turns=Turns(max(1, len(names))))
    return [found[name] for name in names]


def counted(home: Profile, names: Sequence[str], looks: Sequence[Look]) -> dict[str, int]:
    """Return the exit codes of the profiles that count: those in config.toml, and any others that run.

    If config.toml has no profiles, all count.
    """
    try:
        wanted = set(configured_names(home.paths)) or set(names)
    except Configuration:
        wanted = set(names)
    return {name: code for name, (_, code) in zip(names, looks, strict=True) if code != STOPPED or name in wanted}


def wait_all(home: Profile, wanted: str, timeout_s: float) -> list[Status]:
    """Return every status once all profiles that count are ``wanted`` (ready, stopped).

    Raise TryAgain if nothing will make one ready, and TimedOut.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        names = known_names(home.paths)
        looks = look_at(home, names)
        codes = counted(home, names, looks)
        stopped = [name for name, code in codes.items() if code == STOPPED]
        if wanted == "ready" and (stopped or not codes):
            who = f"stopped: {', '.join(stopped)}" if stopped else NO_PROFILES
            raise TryAgain(f"{who}; wait does not start profiles", hint="gwctl up --all")
        left = [name for name, code in codes.items() if code != (STOPPED if wanted == "stopped" else READY)]
        if not left:
            return [status for status, _ in looks]
        if time.monotonic() >= deadline_s:
            raise TimedOut(f"not {wanted} after {timeout_s:g} s: {', '.join(left)}", hint="gwctl status --all")
        time.sleep(min(WAIT_EVERY_S, max(0.0, deadline_s - time.monotonic())))  # until the next look


def up_all(  # noqa: PLR0913 - how many, how long, and an observer
    home: Profile, *, sandbox: bool, timeout_s: float, at_once: int, observer: Observer, on_result: OnResult
) -> dict[str, Result]:
    """Bring up every profile in config.toml, each within ``timeout_s``; return the outcomes.

    ``at_once`` start their gateway and log in at a time; after its login, a profile waits for its session beside the
    next one's start. A failing profile does not stop the others. On interruption, stop what this call started.
    """
    names = configured_names(home.paths)
    if not names:
        raise Configuration(f"{home.paths.config_file} has no profiles", hint="gwctl profile create NAME")
    _refuse_shared(home, sandbox=sandbox)
    results: dict[str, Result] = {}

    def add(result: Result) -> None:
        results[result.profile] = result
        on_result(result)

    looks = dict(zip(names, look_at(home, names), strict=True))
    left = _sift(home, looks, add, sandbox=sandbox)
    if left:
        observer.say(f"bringing up {len(left)} of {len(names)} profiles, {min(at_once, len(left))} at a time")

    turns = Turns(at_once)

    def bring_up(profile: Profile) -> dict[str, Any]:
        steps = _Steps(profile.name, turns)
        up = start.or_paused(profile, lambda: start.up(profile, sandbox=sandbox, timeout_s=timeout_s, observer=steps))
        return {**up.status, "started": up.started}

    try:
        _run(home, left, bring_up, add, turns)
    except BaseException:
        with undisturbed():
            ours = [name for name in left if name in results and (results[name].data or {}).get("started")]
            _undo(home, ours, observer)
        raise
    return {name: results[name] for name in names}


def down_all(home: Profile, *, keep_session: bool, on_result: OnResult) -> dict[str, Result]:
    """Stop every profile that has a folder, which is every profile that ever ran."""
    names = [name for name in known_names(home.paths) if (home.paths.profiles_dir / name).is_dir()]
    results: dict[str, Result] = {}

    def add(result: Result) -> None:
        results[result.profile] = result
        on_result(result)

    def bring_down(profile: Profile) -> dict[str, Any]:
        data: dict[str, Any] = {"profile": profile.name, "was_running": stop(profile, keep_session=keep_session)}
        return data | ({"gateway_runs": gateway_runs(profile)} if keep_session else {})

    _run(home, names, bring_down, add, Turns(2 * cores()))
    return {name: results[name] for name in names}


def _undo(home: Profile, names: Sequence[str], observer: Observer) -> None:
    observer.say("stopping what this command started")
    failed: list[str] = []

    def note(result: Result) -> None:
        if result.error is not None:
            failed.append(result.profile)

    _run(home, names, lambda profile: {"was_running": stop(profile)}, note, Turns(2 * cores()))
    failures = f"could not stop: {', '.join(failed)}"
    observer.undone = failures if failed else "stopped what this command had started"


def _run(
    home: Profile,
    names: Iterable[str],
    work: Callable[[Profile], dict[str, Any]],
    on_result: OnResult,
    turns: Turns,
) -> None:
    """Run ``work`` for each profile; on interruption, cancel the running ones, wait for them and report them."""

    def one(name: str) -> Result:
        profile, began_s = home.with_name(name), time.monotonic()
        try:
            data = work(profile)
        except Exception as error:  # noqa: BLE001 - a failing profile does not stop the others
            return Result(name, None, translated(error, profile), time.monotonic() - began_s)
        return Result(name, data, None, time.monotonic() - began_s)

    run_each(list(names), one, turns=turns, on_result=on_result)


def _refuse_shared(home: Profile, *, sandbox: bool) -> None:
    """Raise Configuration for a variable that would apply to every profile: a port, a user, or a password."""
    environment = home.environment
    names = [variable_of("port")]
    if environment.get(variable_of("health_port")) not in {None, "0"}:
        names.append(variable_of("health_port"))
    if not sandbox:
        names += [variable_of("username"), *SECRETS, *(f"{name}_FILE" for name in SECRETS)]
        folder = environment.get("CREDENTIALS_DIRECTORY")
        if folder and any((Path(folder) / name).exists() for name in SECRET_KEYS):
            raise _shared("CREDENTIALS_DIRECTORY")
    for name in names:
        if environment.get(name) is not None:
            raise _shared(name)


def _shared(variable: str) -> Configuration:
    return Configuration(
        f"{variable} would apply to every profile that --all brings up",
        hint=f"unset {variable} and set a value for each profile in config.toml or the keyring",
    )


def _sift(home: Profile, looks: Mapping[str, Look], add: OnResult, *, sandbox: bool) -> list[str]:
    """Report the profiles that are already ready and those that conflict with others, and return the rest.

    A running profile keeps its port and username before one that is stopped; otherwise the order in config.toml
    decides.
    """
    ports: dict[int, str] = {}
    users: dict[str, str] = {}
    left: list[str] = []
    for name in sorted(looks, key=lambda one: looks[one][0]["supervisor"] is None):
        status, _ = looks[name]
        try:
            settings = home.with_name(name).settings()
            running = status["supervisor"] is not None
            port = int((status["gateway"]["port"] if running else None) or settings["port"])
            _claim_port(settings, port, ports)
            if not sandbox:
                _claim_user(settings, users)
        except GwctlError as error:
            add(Result(name, None, error))
            continue
        if status["ready"] and status["sandbox"] == sandbox:
            add(Result(name, {**status, "started": False}))
        else:
            left.append(name)
    return [name for name in looks if name in left]


def _claim_port(settings: Settings, port: int, ports: dict[int, str]) -> None:
    from gwctl.profile_registry import taken_by

    if ports.setdefault(port, settings.profile) != settings.profile:
        raise taken_by(settings.paths, ports[port], "port", port)


def _claim_user(settings: Settings, users: dict[str, str]) -> None:
    from gwctl.login_ledger.accounts import same_username

    name, user = settings.profile, settings["username"]
    if user is not None and (first := users.setdefault(same_username(user), name)) != name:
        raise Configuration(
            f"profile {first!r} has the same username, and IBKR allows one session per username",
            hint=f"gwctl profile set {name} username=ANOTHER",
        )
