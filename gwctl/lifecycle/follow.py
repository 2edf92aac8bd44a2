"""Follow a supervisor until its session is ready."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from gwctl.errors import GwctlError, NeedsPerson, SecondFactorNeeded, TimedOut, TryAgain
from gwctl.history.lines import describe, is_well
from gwctl.history.replay import seconds_at
from gwctl.lifecycle.profile import Observer, Profile
from gwctl.lifecycle.status import paused
from gwctl.session_status import UNREACHABLE, Status
from gwctl.signals import checkpoint
from gwctl.state_file import read_json
from gwctl.supervisor.control import NoSupervisor, SupervisorClient
from gwctl.times import MINUTE_S

PATIENCE_S = 60.0
PERSON_S = 200.0
"""How long a second factor may take: 180 s, the lifetime of a notification, and some time to continue after it."""
END_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.01
ANSWER_TIMEOUT_S = 180.0
"""How long IBKR waits for an approval or a code (login-page.md)."""
_ASKED = "awaiting_second_factor"
_NAME_TIMEOUT_S = 1.0
"""How long a look at IBKR's name may hold up a line; the answer of a name server takes a tenth of it."""
_TRIED = {"login": "logs in again", "start": "starts the gateway again"}


class Ended(GwctlError):
    """The supervisor ended; carries its error code and exit code."""

    def __init__(self, message: str, *, code: str, exit_code: int, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.code = code  # type: ignore[misc] # the supervisor's code, known only now
        self.exit_code = exit_code  # type: ignore[misc] # likewise

    def as_error(self) -> GwctlError:
        """Return it as the class of ``gwctl.errors`` that its code names, else its exit code: what a program catches.

        Inside of gwctl, the end of a supervisor is no other error: what raises ``TryAgain`` here has tried something.
        """
        known: list[type[GwctlError]] = [GwctlError]
        for one in known:
            known += [kind for kind in one.__subclasses__() if kind.__module__ == GwctlError.__module__]
        family = next((kind for kind in known if kind.exit_code == self.exit_code), GwctlError)
        return next((kind for kind in known if kind.code == self.code), family)(self.message, hint=self.hint)


class Vanished(Ended):
    """The supervisor was killed and left no final entry."""


def follow_until_ready(  # noqa: PLR0913 - what to follow, and for how long
    profile: Profile,
    client: SupervisorClient,
    observer: Observer,
    *,
    timeout_s: float,
    since: int | None = None,
    asked_s: float | None = None,
    began_s: float | None = None,
) -> Status:
    """Return the status once the session is ready; with ``since``, ready again after that journal entry.

    The time that IBKR waits for a second factor does not count; at a terminal, ask for the code.

    Raise Ended when the supervisor gives up, Vanished when it was killed, NeedsPerson when it waits for a person, and
    TimedOut after ``timeout_s``; ``asked_s`` is the whole call's time limit, for the message. ``began_s`` is when the
    call began, in seconds since 1970: an end recorded before that is another supervisor's.
    """
    deadline_s = time.monotonic() + timeout_s
    began_s = began_s or time.time()
    code, story = "", _Story(profile, client, observer)
    late = False
    try:
        for entry in client.events(since=since or 0, timeout_s=timeout_s):
            story.tell(entry, deadline_s)
            question = _question_in(entry)
            if question is not None:
                # The time that a person takes does not count.
                deadline_s = max(deadline_s, time.monotonic() + PERSON_S)
                _ask(client, observer, question, story.until_s)
            if entry["kind"] == "login":
                code = str(entry.get("code"))
                if entry.get("outcome") == "success":
                    observer.logged_in()
            status = _settled(profile, client, entry, from_now=since is not None, deadline_s=deadline_s, code=code)
            if status is not None:
                return status
            late = time.monotonic() > deadline_s
            if late:
                break
    except NoSupervisor:
        pass
    except TimedOut:
        late = True
    if late:
        raise TimedOut(
            f"not ready after {round(asked_s or timeout_s, 1):g} s ({story.last}); the supervisor keeps trying",
            hint=f"{profile.command('status')}, or {profile.command('down')}",
        )
    checkpoint()
    await_its_end(client)
    raise last_words(profile, began_s) or Vanished(
        "the supervisor ended unexpectedly", code="unexpected", exit_code=1, hint=profile.command("logs")
    )


class _Story:
    """What a person is shown of the way to a ready session."""

    def __init__(self, profile: Profile, client: SupervisorClient, observer: Observer) -> None:
        self.last = "no phase seen yet"
        self._profile = profile
        self._client = client
        self._observer = observer
        self.until_s: float | None = None
        """When an open question for a second factor ends."""

    def tell(self, entry: dict[str, Any], deadline_s: float) -> None:
        """Show an entry of the journal if it is for people; this call tries until ``deadline_s``, monotonic seconds."""
        line = describe(entry, with_times=not self._observer.shows_times)
        if line is None:
            return
        if entry["kind"] == "phase" and entry["reason"] == UNREACHABLE:
            line += self._why_unreachable()
        self.last = line
        if entry["kind"] == "question":
            self.until_s = time.monotonic() + ANSWER_TIMEOUT_S
        elif entry["kind"] == "login" or entry.get("phase", _ASKED) != _ASKED:
            self.until_s = None
        self._observer.show(line + self._outlook(entry, deadline_s), well=is_well(entry), until_s=self.until_s)

    def _why_unreachable(self) -> str:
        """Return what a look at IBKR's name shows, for a line's end; nothing if it has addresses."""
        try:
            if self._client.status()["sandbox"]:
                return ""
            host = urlsplit(self._profile.settings()["upstream"]).hostname or ""
        except GwctlError:
            return ""
        return "" if has_address(host) else f": {host} has no address"

    def _outlook(self, entry: dict[str, Any], deadline_s: float) -> str:
        """Return since when there is trouble, until when this call keeps trying, and what to type, for a line's end."""
        if entry["kind"] != "phase" or is_well(entry) or entry["phase"] == "locked_out" or "planned" in entry:
            return ""
        began_s = seconds_at(entry, "at") or time.time()
        since = f" since {_clock(began_s)}" if time.time() - began_s > MINUTE_S else ""
        until = _clock(time.time() + deadline_s - time.monotonic())
        return f"{since}; trying until {until}; {self._profile.command('doctor')}"


def has_address(host: str) -> bool:
    """Return whether a name resolves; also True if no name server has answered in time."""
    nameless: list[str] = []

    def look() -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            nameless.append(host)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(_NAME_TIMEOUT_S)
    return not nameless


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(at_s))


def _question_in(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return the question in an entry, or one that was already open when this call began."""
    if entry["kind"] == "status":
        pending = entry["status"].get("question")
        return {"id": pending["id"], "wants_code": True} if pending else None
    return entry if entry["kind"] == "question" else None


def _ask(client: SupervisorClient, observer: Observer, entry: dict[str, Any], until_s: float | None) -> None:
    """Ask the person at the terminal for the code that the supervisor waits for, if it still waits.

    ``until_s`` is when it waits no longer, monotonic; None if this call has not seen the question begin.
    """
    asked = client.status().get("question") if observer.can_answer else None
    if not entry.get("wants_code") or not asked or asked["id"] != entry.get("id"):
        return
    left = "" if until_s is None else f" ({until_s - time.monotonic():.0f} s left)"
    code = observer.ask(f"{asked['text']}{left}", hidden=False)
    if not client.command("answer", {"id": asked["id"], "code": code}).get("ok"):
        observer.say("the code came too late: the login has ended")


def last_words(profile: Profile, since_s: float) -> Ended | None:
    """Return how a supervisor ended since that time; None if it recorded no end."""
    entry, _ = read_json(profile.paths.last_end_file)
    try:
        return _ended(entry) if entry is not None and float(entry["at_s"]) >= since_s else None
    except (KeyError, TypeError, ValueError):
        return None


def await_its_end(client: SupervisorClient, timeout_s: float = END_TIMEOUT_S) -> None:
    """Wait until the process has ended: a caller that sees the end may check that nothing is left."""
    from gwctl import process

    identity = process.identify(client.record.pid)
    if identity is None or abs(identity.created_s - client.record.created_s) > 1.0:
        return
    deadline_s = time.monotonic() + timeout_s
    while process.is_alive(identity) and time.monotonic() < deadline_s:
        time.sleep(LOOK_EVERY_S)  # another process: nothing to wait on


def _settled(  # noqa: PLR0913 - everything that ends the wait
    profile: Profile, client: SupervisorClient, entry: dict[str, Any], *, from_now: bool, deadline_s: float, code: str
) -> Status | None:
    """Return the status if ``entry`` made the session ready; raise if the entry ends the wait."""
    if entry["kind"] == "finish":
        await_its_end(client)
        raise _ended(entry)
    if entry["kind"] not in ({"phase"} if from_now else {"phase", "status"}):
        return None
    status = client.status()
    if status["ready"]:
        return status
    if status["phase"] == "paused":
        raise paused(profile, status)
    if status["phase"] == "locked_out":
        raise _person_needed(profile, str(status["reason"]), code)
    coming = status["next"]
    waits_for_hours = status.get("planned", {}).get("logins_from")
    if status["phase"] == "backoff" and coming and coming["what"] == "login" and waits_for_hours:
        raise TryAgain(str(status["reason"]), hint=f"{profile.command('login')}, to log in now")
    if coming and coming["what"] in _TRIED and coming["in_s"] > max(PATIENCE_S, deadline_s - time.monotonic()):
        minutes = max(1, round(coming["in_s"] / 60))
        again = _TRIED[coming["what"]]
        hint = profile.command("status")
        if coming["what"] == "login" and status["login"]["last_outcome"] == "refused" and not status["sandbox"]:
            hint = f"fix the cause, then: {profile.command('login --reset-lockout')}"
        raise TryAgain(f"{status['reason']}; the supervisor {again} in {minutes} min", hint=hint)
    return None


def _person_needed(profile: Profile, reason: str, code: str) -> NeedsPerson:
    """Return what a person must do after a last login that ended with ``code``."""
    if code == SecondFactorNeeded.code:
        hint = (
            f"{profile.command('login')} at a terminal; {profile.command('login --explain')} shows what IBKR asked for"
        )
        return SecondFactorNeeded(f"a person is needed: {reason}", hint=hint)
    return NeedsPerson(f"a person is needed: {reason}", hint=profile.command("login --reset-lockout"))


def _ended(entry: dict[str, Any]) -> Ended:
    return Ended(
        entry["text"] or "the supervisor was stopped",
        code=entry["code"] or "stopped",
        exit_code=int(entry["exit_code"]) or 75,
        hint=entry["hint"],
    )
