"""What was kept of failed logins, read back, and what each end of a login means to the person whose account it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwctl.gateway.cause import Cause
from gwctl.login.evidence import CAUSE_FILE, NEVER_AUTHENTICATED, STEPS_FILE
from gwctl.login.outcome import LoginOutcome
from gwctl.login.recognition import UNDERSTOOD
from gwctl.state_file import look_at_json

# For each end: what happened, and what to do. docs/login.md has the same table.
EXPLANATIONS: dict[str, tuple[str, str]] = {
    LoginOutcome.SUCCESS: ("the login succeeded", "nothing"),
    LoginOutcome.REFUSED: (
        "IBKR refused the username or the password",
        "correct them (gwctl secret check password says where the password came from), then: gwctl up",
    ),
    LoginOutcome.FORM_AGAIN: (
        "IBKR showed the login form again without a word, which is how it refuses at times",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.LOCKED: (
        "IBKR says that the account is locked",
        "have it unlocked by IBKR, or wait 24 hours, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.WRONG_MODE: (
        "the user is a paper user and the profile says live, or the other way round",
        "set mode in the profile, then: gwctl up",
    ),
    LoginOutcome.PAGE_UNKNOWN: (
        "the login page is not one that gwctl knows; nothing more was sent",
        "gwctl login --probe shows what it found; set the selectors in the profile's page table, and report it",
    ),
    LoginOutcome.PAGE_NEVER_CAME: (
        "the login form never came, with one reload",
        "nothing: it is tried again; if it stays so, gwctl login --probe",
    ),
    LoginOutcome.TIMED_OUT: (
        "IBKR took the form and did not answer in time",
        "nothing: it is tried again; it does not count as a refusal",
    ),
    LoginOutcome.BROWSER_FAILED: (
        "the browser did not start, ended, or found another key at the gateway's port",
        "gwctl doctor says what it lacks; gwctl browser install gets one",
    ),
    LoginOutcome.SECOND_FACTOR_NEEDED: (
        "IBKR asked for a second factor, and nobody gave it",
        "set second_factor in the profile, or be there: gwctl login at a terminal",
    ),
    LoginOutcome.SECOND_FACTOR_REFUSED: (
        "IBKR refused the second factor",
        "look at the clock of this machine and at the secret or device, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.UPSTREAM_ILL: (
        "IBKR's login was not available",
        "nothing: it is tried again when IBKR is well; it does not count as a refusal",
    ),
    LoginOutcome.SWALLOWED: (
        "the login page swallowed the form twice; the password never left the browser",
        "nothing: the gateway is restarted and it is tried again",
    ),
    LoginOutcome.COOKIES_DISABLED: ("the login page says that cookies must be enabled", "use another browser"),
    LoginOutcome.UNCLEAR: (
        "IBKR ended the login without a clear reason, which counts as a refusal",
        "log in by hand at IBKR's website to see why, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.UNKNOWN_TEXT: (
        "the login page says something that gwctl does not know; it counts as a refusal",
        "read it, do what it says at IBKR's website, then: gwctl login --reset-lockout",
    ),
    LoginOutcome.CANCELLED: ("the login was stopped before anything was sent", "gwctl status says why"),
    NEVER_AUTHENTICATED: (
        "IBKR took the login and never opened the session",
        "log in once at IBKR's website, answer what it asks, log out there, then: gwctl login --reset-lockout",
    ),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """One failed login as it was kept; ``text`` is the page's own, redacted."""

    folder: Path
    outcome: str
    at: str | None
    text: str
    submits: int
    steps: tuple[tuple[str, float], ...]
    cause: str | None
    files: tuple[str, ...]

    @property
    def what(self) -> str:
        """What happened, in words."""
        return EXPLANATIONS.get(self.outcome, ("the login failed", ""))[0]

    @property
    def understood(self) -> str | None:
        """What was understood of a page that no known version describes, and by what; None for a known one."""
        return next((name for name, _ in self.steps if name.startswith(UNDERSTOOD)), None)

    @property
    def todo(self) -> str:
        """What to do about it."""
        return EXPLANATIONS.get(self.outcome, ("", "gwctl logs --supervisor"))[1]

    def to_json(self) -> dict[str, Any]:
        """Return it for the envelope."""
        return {
            "outcome": self.outcome,
            "at": self.at,
            "what": self.what,
            "todo": self.todo,
            "text": self.text,
            "cause": self.cause,
            "understood": self.understood,
            "submits": self.submits,
            "steps": [{"name": name, "at_ms": at_ms} for name, at_ms in self.steps],
            "folder": str(self.folder),
            "files": list(self.files),
        }


def latest(evidence_dir: Path) -> Kept | None:
    """Return the last failed login that was kept and can be read; None if there is none."""
    if not evidence_dir.is_dir():
        return None
    for folder in sorted((one for one in evidence_dir.iterdir() if one.is_dir()), reverse=True):
        kept = _read(folder)
        if kept is not None:
            return kept
    return None


def _read(folder: Path) -> Kept | None:
    steps = _object_in(folder / STEPS_FILE)
    cause = _object_in(folder / CAUSE_FILE) or {}
    try:
        return (
            None
            if steps is None
            else Kept(
                folder=folder,
                outcome=str(steps["outcome"]),
                at=steps.get("at"),
                text=str(steps.get("text", "")),
                submits=int(steps.get("submits", 0)),
                steps=tuple((str(name), float(at_ms)) for name, at_ms in steps.get("steps", ())),
                cause=None if cause.get("cause") == Cause.NONE else cause.get("text"),
                files=tuple(sorted(file.name for file in folder.iterdir())),
            )
        )
    except (KeyError, TypeError, ValueError, OSError):
        return None


def _object_in(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        return look_at_json(file)[0]
    except OSError:
        return None
