"""``up --all`` and ``down --all``: a call of gwctl for each profile, several at a time.

Calls rather than threads: each has its own signals, its own deadline and its own undoing, as if a person had typed it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gwctl.cli.call import Call
from gwctl.cli.many import NO_PROFILES, Look, look_at, of_profile
from gwctl.cli.output import Outcome, envelope, error_object, show_error, write
from gwctl.cli.status import CANNOT_TELL, STOPPED
from gwctl.config import SECRET_KEYS, Settings, variable_of
from gwctl.errors import Configuration, GwctlError, NeedsPerson, TryAgain, Unavailable
from gwctl.interruptions import postponed, undisturbed
from gwctl.roster import configured_names, known_names

if TYPE_CHECKING:
    from gwctl.gateway.process import CrewAnswer

GRAVITY = (NeedsPerson.exit_code, Configuration.exit_code, Unavailable.exit_code, 1, TryAgain.exit_code)
"""From the gravest: what only a person can mend, then what is set or installed wrongly, then what passes by itself."""

PERSON_AND_UNDO_S = 320.0
"""What an `up` may take beyond its time-out: 200 s for a second factor, and stopping what it started."""
DOWN_TIMEOUT_S = 180.0
SECRETS = tuple(variable_of(name) for name in SECRET_KEYS)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one profile."""

    profile: str
    exit_code: int
    data: dict[str, Any] | None = field(default=None, repr=False)
    error: dict[str, Any] | None = None
    took_s: float = 0.0

    @classmethod
    def of_error(cls, profile: str, error: GwctlError) -> Result:
        """Return the result of a profile for which no call was made."""
        return cls(profile, error.exit_code, None, error_object(error))

    @classmethod
    def of_answer(cls, answer: CrewAnswer) -> Result:
        """Return the result that a call printed; one that printed none was ended from outside."""
        try:
            told = json.loads(answer.stdout)
            data, error = told["data"], told["error"]
        except (ValueError, KeyError, TypeError):
            how = f"by signal {-answer.exit_code}" if answer.exit_code < 0 else f"with code {answer.exit_code}"
            said = GwctlError(f"the call for it ended {how}", hint=f"gwctl --profile {answer.name} status")
            return cls(answer.name, 1, None, error_object(said), answer.took_s)
        return cls(answer.name, answer.exit_code, data, error, answer.took_s)

    @property
    def started(self) -> bool:
        """Whether it is known that our call started it."""
        return self.data is not None and self.data.get("started") is True

    def to_json(self) -> dict[str, Any]:
        """Return the object for ``data.profiles``."""
        told = {"profile": self.profile, "exit_code": self.exit_code, "took_s": round(self.took_s, 1)}
        return told | {"data": self.data, "error": self.error}


def cores() -> int:
    """Return how many cores we may use."""
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def bring_up_all(call: Call, *, sandbox: bool, timeout_s: float, at_once: int | None) -> Outcome:
    """Bring up every profile of config.toml; interrupted, what this call started is stopped again."""
    names = configured_names(call.paths)
    if not names:
        raise Configuration(f"{call.paths.config_file} names no profile", hint="gwctl profile create NAME")
    _refuse_shared(call, sandbox=sandbox)
    looks = dict(zip(names, look_at(call, names), strict=True))
    report = _Report(call, len(names), _describe_up)
    left = _sift(call, looks, report, sandbox=sandbox)
    at_once = at_once or cores()
    if left:
        call.say(f"bringing up {len(left)} of {len(names)} profiles, {min(at_once, len(left))} at a time")
    argv = ["up", "--timeout", f"{timeout_s:g}", *(["--sandbox"] if sandbox else [])]
    try:
        _run(report, left, argv, at_once=at_once, timeout_s=timeout_s + PERSON_AND_UNDO_S)
    except BaseException:
        with undisturbed():
            _undo(report, {name: looks[name] for name in left})
        raise
    return report.outcome(names, "ready")


def bring_down_all(call: Call, *, keep_session: bool) -> Outcome:
    """Stop every profile that has a folder, which is every one that has ever run."""
    names = [name for name in known_names(call.paths) if (call.paths.profiles_dir / name).is_dir()]
    report = _Report(call, len(names), _describe_down)
    argv = ["down", *(["--keep-session"] if keep_session else [])]
    _run(report, names, argv, at_once=2 * cores(), timeout_s=DOWN_TIMEOUT_S)
    return report.outcome(names, "stopped")


@dataclass(slots=True)
class _Report:
    """What came of each so far; a person is told as it comes."""

    call: Call
    total: int
    describe: Callable[[Result], str]
    results: dict[str, Result] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        """Keep a result and tell it."""
        self.results[result.profile] = result
        call = self.call
        if call.as_json:
            return
        if result.error is not None:
            message = f"profile {result.profile!r}: {result.error['message']}"
            error = GwctlError(message, hint=result.error["hint"])
            show_error("up", error, as_json=False, quiet=call.quiet, no_color=call.no_color)
        elif not call.quiet:
            write(self.describe(result), sys.stdout)

    def outcome(self, names: Sequence[str], word: str) -> Outcome:
        """Return the answer of the whole call, with the gravest exit code."""
        results = [self.results[name] for name in names]
        good = sum(1 for one in results if one.exit_code == 0)
        codes = {one.exit_code for one in results} - {0}
        code = next((one for one in GRAVITY if one in codes), max(codes, default=0))
        text = f"{good} of {len(names)} profiles {word}" if names else NO_PROFILES
        if not self.call.as_json:
            return Outcome(None, "" if self.call.quiet else text, code)
        bad = [one for one in results if one.exit_code == code] if code else []
        first = (bad[0].error if bad else None) or {"code": "unexpected", "hint": None}
        error = {**first, "message": f"{text}; {_who(bad)}"} if bad else None
        data = {"profiles": [one.to_json() for one in results]}
        return Outcome(exit_code=code, raw=envelope(self.call.verb_name or "up", code, data, error))


def _who(bad: Sequence[Result]) -> str:
    return "; ".join(f"{one.profile}: {(one.error or {}).get('message', one.exit_code)}" for one in bad)


def _describe_up(result: Result) -> str:
    data = result.data or {}
    word = "ready" if result.started else "already ready"
    sandbox = ", sandbox" if data.get("sandbox") else ""
    took = f", {result.took_s:.1f} s" if result.started else ""
    return f"{word}: {data['gateway']['base_url']} (profile {result.profile}){sandbox}{took}"


def _describe_down(result: Result) -> str:
    was = (result.data or {}).get("was_running")
    return f"{'stopped' if was else 'already stopped'} (profile {result.profile})"


def _refuse_shared(call: Call, *, sandbox: bool) -> None:
    """Raise Configuration for a variable that every profile would take: a port, a user, or another one's password."""
    environment = call.environment
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
        f"{variable} would count for every profile, and --all brings up all of them",
        hint=f"unset {variable} and give each profile its own in config.toml or the keyring",
    )


def _sift(call: Call, looks: Mapping[str, Look], report: _Report, *, sandbox: bool) -> list[str]:
    """Report who is ready already and who cannot be brought up beside the others, and return who is left.

    What runs has its port and its username before what does not; otherwise the order of config.toml decides.
    """
    ports: dict[int, str] = {}
    users: dict[str, str] = {}
    left: list[str] = []
    for name in sorted(looks, key=lambda one: looks[one][0]["supervisor"] is None):
        status, _ = looks[name]
        try:
            settings = of_profile(call, name).settings()
            running = status["supervisor"] is not None
            port = int(status["gateway"]["port"] if running else settings["port"])
            _claim_port(settings, port, ports)
            if not sandbox:
                _claim_user(settings, users)
        except GwctlError as error:
            report.add(Result.of_error(name, error))
            continue
        if status["ready"] and status["sandbox"] == sandbox:
            report.add(Result(name, 0, {**status, "started": False}))
        else:
            left.append(name)
    return [name for name in looks if name in left]


def _claim_port(settings: Settings, port: int, ports: dict[int, str]) -> None:
    from gwctl.gateway.neighbour import taken_by

    if ports.setdefault(port, settings.profile) != settings.profile:
        raise taken_by(settings.paths, ports[port], "port", port)


def _claim_user(settings: Settings, users: dict[str, str]) -> None:
    name, user = settings.profile, settings["username"]
    if user is not None and users.setdefault(str(user).lower(), name) != name:
        raise Configuration(
            f"profile {users[str(user).lower()]!r} has the same username, and IBKR gives a username one session",
            hint=f"gwctl profile set {name} username=ANOTHER",
        )


def _run(report: _Report, names: Sequence[str], argv: Sequence[str], *, at_once: int, timeout_s: float) -> None:
    """Make a call for each name; interrupted, those under way are ended, waited for, and reported."""
    from gwctl.gateway.process import Crew

    crew = Crew()
    waiting = list(names)
    environment = {
        name: value for name, value in report.call.environment.variables.items() if not name.startswith(SECRETS)
    }
    try:
        while waiting or crew:
            with postponed():
                while waiting and len(crew) < at_once:
                    name = waiting.pop(0)
                    crew.start(name, list(_whole_argv(report.call, name, argv)), environment, timeout_s=timeout_s)
            crew.wait()
            with postponed():
                for answer in crew.collect():
                    report.add(Result.of_answer(answer))
    except BaseException:
        with undisturbed():
            crew.signal(signal.SIGTERM)  # a Ctrl-C is ignored by what a script started in its background
            while crew:
                crew.wait()
                for answer in crew.collect():
                    report.results[answer.name] = Result.of_answer(answer)
        raise


def _whole_argv(call: Call, name: str, argv: Sequence[str]) -> Iterator[str]:
    # -P: what lies in the folder a person stands in is no module of ours.
    yield from (sys.executable, "-P", "-m", "gwctl", "--profile", name, "--json", "--no-input")
    if call.verbose:
        yield "-v"
    yield from argv


def _undo(report: _Report, begun: Mapping[str, Look]) -> None:
    """Stop what this call started: what its calls say they did, and what was not there before and is now."""
    call = report.call
    call.say("stopping what was started")
    looks = look_at(call, list(begun))
    ours = [
        name
        for name, (_, code) in zip(begun, looks, strict=True)
        if code != STOPPED and name in report.results and (report.results[name].started or _was_unattended(begun[name]))
    ]
    undoing = _Report(call, len(ours), _describe_down)
    _run(undoing, ours, ["down"], at_once=2 * cores(), timeout_s=DOWN_TIMEOUT_S)
    failed = [name for name, result in undoing.results.items() if result.exit_code != 0]
    call.undone = f"these could not be stopped: {', '.join(failed)}" if failed else "what was started is stopped again"


def _was_unattended(look: Look) -> bool:
    status, code = look
    return status["supervisor"] is None and code != CANNOT_TELL
