"""`pause` and `resume`: give the brokerage session to a person, and take it back."""

from __future__ import annotations

import datetime as dt
import time
from contextlib import suppress

import click

from gwctl.cli.call import Call, Seconds, verb
from gwctl.cli.output import Outcome, ready_line
from gwctl.cli.terminal import Terminal
from gwctl.errors import Usage
from gwctl.times import DAY_S, age_s


@click.command("pause")
@click.option("--for", "for_text", metavar="TIME", help="How long: 90s, 30m, 2h, 1d.")
@click.option("--until", "until_text", metavar="TIME", help="Until when: 14:00, or 2026-11-30T08:00.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for everybody who looks at the status.")
@verb
def pause(call: Call, *, for_text: str | None, until_text: str | None, reason: str) -> Outcome:
    """Log out and leave the brokerage session to you, for TWS or the mobile app with the same username.

    The supervisor keeps running and takes the session back when the time is over, or at `gwctl resume`. Without --for
    and --until, the pause has no end. It also holds for the next start, and for a `gwctl up` from cron.
    """
    from gwctl.lifecycle.pause import pause as pause_it

    if for_text is not None and until_text is not None:
        raise Usage("--for and --until cannot be combined", hint="gwctl pause --help")
    status = pause_it(call.target(), until_s=_end_s(for_text, until_text), reason=reason)
    return Outcome(
        status, "" if call.quiet else told_pause(call, status["reason"], running=status["supervisor"] is not None)
    )


def told_pause(call: Call, reason: str, *, running: bool) -> str:
    """Return the answer of a call that leaves the profile paused."""
    how = "takes the session back" if running else "ends the pause"
    return f"{reason if running else 'paused'}; {call.command('resume')} {how}"


LONGEST_S = 366 * DAY_S


def _end_s(for_text: str | None, until_text: str | None) -> float | None:
    if for_text is not None:
        length_s = age_s(for_text)
        if not length_s or length_s > LONGEST_S:
            raise Usage(f"--for {for_text!r} is not a time such as 30m, 2h or 1d", hint="gwctl pause --for 2h")
        return time.time() + length_s
    return None if until_text is None else _until_s(until_text)


def _until_s(text: str) -> float:
    """Return the next time that the clock shows ``text``, or the date and time that it is; raise Usage."""
    now = dt.datetime.now().astimezone()
    with suppress(ValueError):
        at = dt.time.fromisoformat(text)
        found = dt.datetime.combine(now.date(), at).astimezone()
        return found.timestamp() if found > now else dt.datetime.combine(_tomorrow(now), at).astimezone().timestamp()
    with suppress(ValueError, OverflowError, OSError):
        until_s = dt.datetime.fromisoformat(text).timestamp()
        if until_s <= now.timestamp():
            raise Usage(f"--until {text} has passed", hint="gwctl pause --until 14:00")
        if until_s <= now.timestamp() + LONGEST_S:
            return until_s
    raise Usage(f"--until {text!r} is not a time such as 14:00 or 2026-11-30T08:00", hint="gwctl pause --until 14:00")


def _tomorrow(now: dt.datetime) -> dt.date:
    return now.date() + dt.timedelta(days=1)


@click.command("resume")
@click.option(
    "--timeout", "timeout_s", type=Seconds(1), default=180, show_default=True, metavar="S", help="Seconds to wait."
)
@verb
def resume(call: Call, *, timeout_s: float) -> Outcome:
    """End a pause: start the gateway, log in, and take the brokerage session back, once."""
    from gwctl.lifecycle.pause import resume as resume_it

    with Terminal(call) as terminal:
        status = resume_it(call.target(), terminal, timeout_s=timeout_s)
    return Outcome(status, "" if call.quiet else ready_line(status))
